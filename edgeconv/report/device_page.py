"""What a device's measurement puts on the page: counts and where they go, blocks of times, equality with the host."""

from __future__ import annotations

from html import escape

from edgeconv.harness.devices.record import Counted, DeviceLatency, Equality
from edgeconv.report.bench import BenchRecord
from edgeconv.report.charts import Bar, bars
from edgeconv.report.device_view import heat, kinds, short, verdict
from edgeconv.report.html import dim, doubt, table
from edgeconv.report.view import milliseconds

#: Functions with a bar of their own; `--json` has more.
MOST_SYMBOLS = 30


def render(record: BenchRecord) -> list[str]:
    """Parts of the page, in order; none for a record of the host."""
    notes = record.device_notes
    if notes is None:
        return []
    parts = []
    if record.instructions is not None:
        parts += _instructions(record, record.instructions)
    if notes.latency is not None:
        parts += _latency(notes.latency)
    parts += [f"<p>What the number is: {escape(notes.what_it_is)}.</p>"]
    parts += [f"<p>What it is not: {escape(notes.what_it_is_not)}.</p>"]
    if notes.equality is not None:
        parts += _equality(notes.equality)
    return parts + [doubt(f"{warning}.") for warning in notes.warnings]


def _instructions(record: BenchRecord, found: Counted) -> list[str]:
    counts = {
        "an invoke": record.instructions_per_invoke,
        "the first invoke": found.instructions_first_invoke,
        "loading": record.instructions_load,
    }
    rows = [[name, f"{count:,}"] for name, count in counts.items() if count is not None]
    processes = f"{len(found.runs)} process" + ("es" if len(found.runs) > 1 else "")
    told = f"{found.counted_on}, one thread, by {found.counter} {found.counter_version}; {processes}"
    parts = ["<h3>Instructions</h3>", table(["instructions of", "count"], rows)]
    if found.repeats_exactly:
        parts.append(dim(f"{told}: equal to the last digit"))
    else:
        parts += [dim(told), doubt(f"Not equal to the last digit: {found.reason}.")]
    shares = kinds(found.by_kind)
    if shares:
        parts.append(dim(shares))
    shown = [
        Bar(short(row.symbol), f"{row.instructions:,}, {row.share:.1%}", row.instructions, "yes",
            f"{row.symbol} in {row.library}: {row.instructions:,} instructions")
        for row in found.by_symbol[:MOST_SYMBOLS]
    ]  # fmt: skip
    return [*parts, "<h3>Instructions of an invoke by function</h3>", bars(shown)] if shown else parts


def _latency(found: DeviceLatency) -> list[str]:
    names = ("p50", "mean", "min", "max", "load", "first")
    rows = [
        [str(number), *(milliseconds(getattr(block, f"{name}_ms")) for name in names), str(block.runs), heat(block),
         f"{block.waited_s:.0f} s"]
        for number, block in enumerate(found.blocks, 1)
    ]  # fmt: skip
    told = verdict(found)
    head = ["block", *names, "runs", "thermal", "pause"]
    return ["<h3>Latency on the device</h3>", table(head, rows), dim(told) if found.trusted else doubt(f"{told}.")]


def _equality(found: Equality) -> list[str]:
    rows = [
        [name, row.dtype, row.verdict, f"{row.max_abs_error:.3g}", f"{row.snr_db:.1f} dB"]
        for name, row in found.outputs.items()
    ]
    head = ["output", "dtype", "beside the host's", "largest error", "SNR"]
    told = f"the host's: {found.host_runtime}, on the same inputs; floats are close from {found.min_snr_db:g} dB"
    return ["<h3>Outputs</h3>", table(head, rows), dim(told)]
