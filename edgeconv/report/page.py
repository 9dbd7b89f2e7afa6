"""Bench records as one self-contained HTML page: no script, no font, no request; light or dark as the reader has it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path

from edgeconv.report import device_page
from edgeconv.report.bench import BenchRecord, Ops
from edgeconv.report.charts import Bar, Tile, bars, course, distribution, treemap
from edgeconv.report.html import dim, table
from edgeconv.report.view import interval, milliseconds, size, thinned

#: Ops with a bar of their own; the rest share one.
_BARS = 30

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --dim: #5c6773; --paper: #fcfcfb; --line: #d9dde2; --a: #3b6ea8; --b: #c8702a;
  --c: #4b8f6b; --d: #8a6bb1; --e: #a08a3c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --dim: #9aa5b1; --paper: #14181d; --line: #323a43; --a: #6ea3dd;
  --b: #e39a5b; --c: #74bd97; --d: #b59ddb; --e: #cdb768; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 62rem;
  padding: 0 1.2rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.6rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; } p { margin: .3rem 0; } .dim { color: var(--dim); }
.doubt { border-left: 4px solid var(--b); padding-left: .7rem; } svg { width: 100%; height: auto; display: block; }
text { fill: var(--ink); font: 13px system-ui, sans-serif; } .small { font-size: 12px; } .tiny { font-size: 11px; fill: #fff; }
.mark, .yes, .float32 { fill: var(--a); } .no, .int8, .uint8 { fill: var(--b); } .float16 { fill: var(--c); }
.int32, .int64 { fill: var(--d); } .other { fill: var(--e); } .rule { stroke: var(--b); stroke-width: 1.5; }
.range { stroke: var(--line); stroke-width: 2; } .line { fill: none; stroke: var(--a); stroke-width: 1.5; }
table { border-collapse: collapse; } td, th { padding: .15rem 1.2rem .15rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } th { font-weight: 600; color: var(--dim); }
tr.sum { border-top: 1px solid var(--line); }
.key span { display: inline-block; width: .8em; height: .8em; margin: 0 .35em 0 1em; } .wide { overflow-x: auto; }
"""


def render(records: Sequence[BenchRecord]) -> str:
    """The page. Samples are read from each record's side file, if that is still there."""
    body = ["<h1>edgeconv bench</h1>", _host(records), *(_record(record) for record in records)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>edgeconv bench</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _host(records: Sequence[BenchRecord]) -> str:
    host = records[0].host if records else {}
    told = [str(host[key]) for key in ("cpu", "kernel") if host.get(key)]
    if host:
        told += [
            f"{host.get('cores')} cores",
            f"governor {host.get('governor') or 'unknown'}",
            f"load {host.get('load_1min')}",
        ]
        told.append("virtual machine" if host.get("virtual") else "no virtual machine")
    return f'<p class="dim">{escape(", ".join(told))}</p>'


def _record(record: BenchRecord) -> str:
    name = f"{Path(record.file).name} in {record.runtime} {record.runtime_version}"
    parts = [
        f"<h2>{escape(name)}</h2>",
        f'<p class="dim">{escape(record.file)}, {size(record.bytes)}, {escape(record.device)}</p>',
    ]
    if record.error:
        parts.append(f'<p class="doubt">{escape(record.error.message)}</p>')
    parts.append(_conditions(record))
    if record.device_notes is None:
        parts += [_latency(record), _ops(record.ops), _memory(record), _sizes(record)]
    parts += device_page.render(record)
    parts.append(_inputs(record))
    return "\n".join(part for part in parts if part)


def _conditions(record: BenchRecord) -> str:
    """What the measuring process might use, and which delegates took what."""
    told = []
    allowed = record.confinement
    if allowed is not None:
        told.append(f"{allowed.threads} thread" + ("s" if allowed.threads > 1 else ""))
        cpus = ", ".join(str(cpu) for cpu in allowed.cpus or [])
        told.append(f"on the processors {cpus}" if cpus else "not pinned to processors")
        told.append("niceness inherited" if allowed.niceness is None else f"niceness {allowed.niceness}")
        limit = allowed.memory_mb
        told.append("no memory limit" if limit is None else f"at most {limit:g} MB beyond an empty interpreter")
    if record.delegates is not None:
        took = ", ".join(f"{name} {count}" for name, count in record.delegates.items())
        told.append(f"delegates (pieces of the graph): {took or 'none'}")
    return dim("; ".join(told)) if told else ""


def _inputs(record: BenchRecord) -> str:
    """What each input was fed."""
    if not record.inputs:
        return ""
    rows = [
        [row.name, f"{row.dtype}{row.shape}", "" if row.low is None else f"{row.low:g} to {row.high:g}", row.source]
        for row in record.inputs
    ]
    return f"<h3>Inputs</h3>{table(['input', 'type', 'values', 'by'], rows)}"


def _latency(record: BenchRecord) -> str:
    row = record.latency
    if row is None:
        return ""
    named = {"min": row.min_ms, "p50": row.p50_ms, "p90": row.p90_ms, "p95": row.p95_ms, "p99": row.p99_ms}
    cells = [(name, milliseconds(value)) for name, value in named.items() if value is not None]
    cells += [("95 % interval of p50", f"{interval(row.ci_low_ms, row.ci_high_ms)} ms"), ("runs", str(row.runs))]
    parts = ["<h3>Latency</h3>", table([name for name, _ in cells], [[value for _, value in cells]])]
    parts += [f'<p class="doubt">Not to be trusted: {escape(reason.text)}.</p>' for reason in row.trust.reasons]
    told = thinned(row.conditions, row.runs)
    parts += [dim(told)] if told else []
    samples = _samples(record)
    if samples:
        marks = [(name, value) for name, value in named.items() if value is not None and name in {"p50", "p90", "p99"}]
        ceiling = min(max(samples), 3 * row.p50_ms)
        parts += [distribution(samples, marks), course(samples, ceiling)]
    if record.phases:
        phases = record.phases.model_dump()
        names = [name.removesuffix("_ms").replace("_", " ") for name in phases]
        parts.append(table(names, [[milliseconds(value) for value in phases.values()]]))
    return "\n".join(parts)


def _samples(record: BenchRecord) -> list[float]:
    if record.samples_file is None or not Path(record.samples_file).is_file():
        return []
    data = json.loads(Path(record.samples_file).read_text(encoding="utf-8"))
    return [sample / 1e6 for sample in data["samples"]]


def _ops(found: Ops | None) -> str:
    if found is None:
        return ""
    if found.rows is None:
        return f"<h3>Time by op</h3><p>{escape(found.reason or '')}</p>"
    ordered = sorted((row for row in found.rows if row.kernels or row.ms), key=lambda row: -row.ms)
    total = found.sum_ms or 1.0
    shown = []
    for row in ordered[:_BARS]:
        weights = f", {size(row.weight_bytes)}" if row.weight_bytes else ""
        kernels = "; ".join(row.kernels)
        tip = f"{row.op} {row.output}: {row.ms:.4g} ms{weights}; {row.delegate or row.reason}; {kernels}"
        note = (f"{row.ms:.3g} ms, {row.ms / total:.1%}" if row.ms else "below 0.001 ms") + weights
        shown.append(Bar(f"{row.op} {row.output[-26:]}", note, row.ms, "yes" if row.delegate else "no", tip))
    rest = ordered[_BARS:]
    if rest:
        together = sum(row.ms for row in rest)
        shown.append(
            Bar(f"{len(rest)} more", f"{together:.3g} ms, {together / total:.1%}", together, "other", "all others")
        )
    reasons = sorted({f"{row.op}: {row.reason}" for row in found.rows if row.reason})
    key = '<p class="key"><span style="background:var(--a)"></span>delegated<span style="background:var(--b)"></span>not</p>'
    told = f"{found.method}; {found.runs} runs, {milliseconds(found.sum_ms)} in all kernels"
    parts = ["<h3>Time by op</h3>", f'<p class="dim">{escape(told)}</p>', key, bars(shown)]
    silent = len(found.rows) - len(ordered)
    if silent:
        parts.append(
            f'<p class="dim">{silent} more ops have no kernel of their own: fused, or done when the file is loaded.</p>'
        )
    parts += [f'<p class="doubt">Not delegated: {escape(reason)}.</p>' for reason in reasons]
    return "\n".join(parts)


def _memory(record: BenchRecord) -> str:
    found = record.memory
    if found is None:
        return ""
    if found.rows is None:
        return f"<h3>Memory</h3><p>{escape(found.reason or '')}</p>"
    rows = [[row.what, size(row.bytes)] for row in found.rows]
    shown = table(
        ["above an empty interpreter", "resident"], [*rows, ["peak", size(found.peak_bytes or 0)]], total=True
    )
    return f"<h3>Memory</h3>{shown}"


def _sizes(record: BenchRecord) -> str:
    """Constants by layer and dtype; what is not a constant stands together."""
    if not record.parts:
        return ""
    groups: dict[tuple[str, str], int] = defaultdict(int)
    for part in record.parts:
        groups[part.name, part.kind] += part.bytes
    tiles = [
        Tile(name, count, kind if kind in {"float32", "float16", "int8", "uint8", "int32", "int64"} else "other",
             f"{name}, {kind}: {size(count)}, {count / record.bytes:.1%}")
        for (name, kind), count in groups.items()
    ]  # fmt: skip
    colours = (("float32", "a"), ("int8", "b"), ("float16", "c"), ("int32 and int64", "d"), ("all else", "e"))
    key = "".join(f'<span style="background:var(--{colour})"></span>{name}' for name, colour in colours)
    return f'<h3>Size, {size(record.bytes)}</h3><p class="key">{key}</p>{treemap(tiles)}'
