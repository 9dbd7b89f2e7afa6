"""A comparison for a person on a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeconv.report.compare import CompareRecord, ConstantRow, Ratio, SizeComparison
from edgeconv.report.view import milliseconds, size

_COLOURS = {
    "faster": "green", "smaller": "green", "closer": "green", "better": "green", "slower": "red", "larger": "red",
    "farther": "red", "worse": "red", "inconclusive": "yellow", "mixed": "yellow", "unknown": "yellow",
}  # fmt: skip
#: Changed constants that a terminal shows; all are in the JSON.
_SHOWN = 8


def render(record: CompareRecord) -> RenderableType:
    """The three verdicts with their numbers, where the bytes went, and the one verdict."""
    a, b = record.a, record.b
    parts: list[RenderableType] = [
        Text(f"A  {a.file}, {size(a.bytes)}, in {a.runtime} {a.runtime_version}"),
        Text(f"B  {b.file}, {size(b.bytes)}, in {b.runtime} {b.runtime_version}"),
        _latency(record),
        _fidelity(record),
        _size_line(record.size),
    ]
    parts += _constants(record.size.constants)
    table = _counts(record.size)
    parts += [table] if table.row_count else []
    verdict = Text.assemble(
        (record.verdict, f"bold {_COLOURS.get(record.verdict, '')}".strip()), f"  B is {record.summary}"
    )
    return Group(*parts, verdict)


def percent(ratio: float) -> str:
    """A ratio as a change, such as +3.1%."""
    return minus(f"{ratio - 1:+.1%}")


def minus(text: str) -> str:
    """A number's text with the sign that is as wide as a plus."""
    return text.replace("-", "−")


def _span(ratio: Ratio) -> str:
    return f"{percent(ratio.median)} ({percent(ratio.low)} to {percent(ratio.high)})"


def _line(title: str, verdict: str, rest: str) -> Text:
    return Text.assemble(f"{title:<9}", (verdict, _COLOURS.get(verdict, "")), f"  {rest}")


def _latency(record: CompareRecord) -> Text:
    found = record.latency
    if found.effect is None or found.control is None:
        return _line("latency", found.verdict, found.reason)
    control = f"control {_span(found.control)}"
    times = f"{milliseconds(found.p50_ms['A'])} → {milliseconds(found.p50_ms['B'])}"
    clock = "CPU time" if found.clock == "cpu" else "wall time"
    return _line(
        "latency",
        found.verdict,
        f"{times}; {clock} {_span(found.effect)}, {control}, {found.rounds} rounds; {found.reason}",
    )


def _fidelity(record: CompareRecord) -> Text:
    found = record.fidelity
    if found.b is None:
        return _line("fidelity", found.verdict, found.reason or "")
    if found.a is None:
        return _line(
            "fidelity",
            found.verdict,
            found.reason or f"B against A: {found.b['snr_db']:.1f} dB; name a reference to know which is closer",
        )
    return _line(
        "fidelity",
        found.verdict,
        f"A {found.a['snr_db']:.1f} dB, B {found.b['snr_db']:.1f} dB against {found.reference}"
        + (f"; {found.reason}" if found.reason else ""),
    )


def _size_line(found: SizeComparison) -> Text:
    counts = f"{size(found.a_bytes)} → {size(found.b_bytes)}, {change(found.change_bytes)}"
    if found.found_bytes == found.change_bytes:
        told = minus(f"{found.found_bytes:+,} bytes found to the byte")
    else:
        told = minus(f"only {found.found_bytes:+,} of {found.change_bytes:+,} bytes found")
    equal = f"{found.unchanged} constants are equal, {found.renamed} of them renamed"
    return _line("size", found.verdict, f"{counts}; {told}; {equal}")


def change(count: int) -> str:
    """Bytes with their sign."""
    return f"{'+' if count >= 0 else '−'}{size(abs(count))}"


def sentence(row: ConstantRow) -> str:
    """Such as "classifier.1: weights became float32: +3.84 MB"."""
    one = row.b or row.a
    where = row.layer or (one.name if one else "") or "without a name"
    noun = {"constant": "constants", "bias": "biases", "table": "table's rows"}.get(row.role, row.role)
    return f"{where}: {noun} {row.what}: {change(row.change_bytes)}"


def _constants(rows: list[ConstantRow]) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(f"  {sentence(row)}") for row in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        rest = sum(row.change_bytes for row in rows[_SHOWN:])
        parts.append(Text(f"  and {len(rows) - _SHOWN} more constants: {change(rest)}"))
    return parts


def _counts(found: SizeComparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), show_header=False)
    for row in found.dtypes:
        if row.change_bytes:
            table.add_row(f"{row.name} constants", size(row.a), "→", size(row.b), change(row.change_bytes))
    for row in found.ops:
        if row.a != row.b or row.change_bytes:
            table.add_row(row.name, str(row.a), "→", str(row.b), minus(f"{row.change_bytes:+,} B"))
    for row in found.rest:
        if row.change_bytes:
            table.add_row(row.name, size(row.a), "→", size(row.b), minus(f"{row.change_bytes:+,} B"))
    return table


def title(record: CompareRecord) -> str:
    """Names of both files."""
    return f"{Path(record.a.file).name} against {Path(record.b.file).name}"
