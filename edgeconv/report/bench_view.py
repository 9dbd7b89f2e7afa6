"""The record of a bench for a person on a terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeconv.report.bench import BenchRecord
from edgeconv.report.view import interval, milliseconds, size, thinned


def render(records: list[BenchRecord]) -> RenderableType:
    """One row a record, then what casts doubt on any."""
    parts: list[RenderableType] = []
    timed = [record for record in records if record.latency]
    if timed:
        parts += [_latency(timed), _phases(timed)]
    for record in records:
        parts += _memory(record) + _ops(record)
    for record in timed:
        assert record.latency is not None
        told = thinned(record.latency.conditions, record.latency.runs)
        if told:
            parts.append(Text(f"{Path(record.file).name} in {record.runtime}: {told}", style="dim"))
        parts += [
            Text(f"doubt: {Path(record.file).name} in {record.runtime}: {reason.text}", style="yellow")
            for reason in record.latency.trust.reasons
        ]
    return Group(*parts)


def _table(columns: tuple[str, ...], left: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table


def _latency(records: list[BenchRecord]) -> Table:
    names = ("file", "runtime", "size", "min", "p50", "95 % interval", "p90", "p99", "runs", "trust")
    table = _table(names, ("file", "runtime", "trust"))
    for record in records:
        row = record.latency
        assert row is not None
        table.add_row(
            Path(record.file).name, record.runtime, size(record.bytes), milliseconds(row.min_ms),
            milliseconds(row.p50_ms), interval(row.ci_low_ms, row.ci_high_ms), milliseconds(row.p90_ms),
            milliseconds(row.p99_ms), str(row.runs), "yes" if row.trust.trusted else "no",
        )  # fmt: skip
    return table


def _phases(records: list[BenchRecord]) -> Table:
    names = ("file", "runtime", "process start", "import", "load", "prepare", "first invoke", "warm-up")
    table = _table(names, ("file", "runtime"))
    for record in records:
        phases = record.phases
        assert phases is not None
        times = (
            phases.process_start_ms, phases.import_ms, phases.load_ms, phases.prepare_ms, phases.first_invoke_ms,
            phases.warm_up_ms,
        )  # fmt: skip
        table.add_row(Path(record.file).name, record.runtime, *(milliseconds(each) for each in times))
    return table


def _title(record: BenchRecord, what: str) -> str:
    return f"{what}, {Path(record.file).name} in {record.runtime}"


def _head(record: BenchRecord, what: str) -> Text:
    return Text(_title(record, what), style="bold")


def _memory(record: BenchRecord) -> list[RenderableType]:
    found = record.memory
    if found is None:
        return []
    if found.rows is None or found.phases is None:
        return [Text(f"{_title(record, 'memory')}: {found.reason}", style="yellow")]
    table = _table(("memory above an empty interpreter", "resident"), ("memory above an empty interpreter",))
    for row in found.rows:
        table.add_row(row.what, size(row.bytes))
    phases = ", ".join(f"{size(count)} after {name}" for name, count in found.phases.items())
    table.add_row(f"peak ({phases})", size(found.peak_bytes or 0))
    return [_head(record, "memory"), table]


#: Ops that a terminal shows; all are in the JSON and on the page.
_SHOWN = 10


def _ops(record: BenchRecord) -> list[RenderableType]:
    found = record.ops
    if found is None:
        return []
    if found.rows is None:
        return [Text(f"{_title(record, 'time by op')}: {found.reason}", style="yellow")]
    table = _table(("op", "time", "share", "weights", "delegate", "output"), ("op", "delegate", "output"))
    total = found.sum_ms or 1.0
    for row in sorted(found.rows, key=lambda row: -row.ms)[:_SHOWN]:
        weights = size(row.weight_bytes) if row.weight_bytes else ""
        table.add_row(
            row.op, milliseconds(row.ms), f"{row.ms / total:.0%}", weights, row.delegate or "none", row.output[-40:]
        )
    parts: list[RenderableType] = [_head(record, "time by op"), table]
    rest = len(found.rows) - _SHOWN
    more = f"and {rest} more; " if rest > 0 else ""
    told = f"{more}{found.method}, {found.runs} runs, {milliseconds(found.sum_ms)} in all kernels"
    parts.append(Text(told, style="dim"))
    left = Counter((row.op, row.reason) for row in found.rows if row.reason)
    parts += [
        Text(f"not delegated: {count} {op}: {reason}", style="yellow") for (op, reason), count in left.most_common()
    ]
    return parts
