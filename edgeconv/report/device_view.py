"""The records of `edgeconv bench --device` for a person on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeconv.harness.devices.record import Block, DeviceLatency
from edgeconv.report.bench import BenchRecord

#: Functions that are shown; `--json` has more.
MOST_SYMBOLS = 8
_SYMBOL_WIDTH = 72


def render(records: list[BenchRecord]) -> RenderableType:
    """Each record: what it computes, what was counted or timed, where it goes, and what the number is not."""
    parts: list[RenderableType] = []
    for record in records:
        if record.error is None:
            parts += _record(record)
    return Group(*parts)


def _record(record: BenchRecord) -> list[RenderableType]:
    assert record.device_notes is not None
    notes = record.device_notes.model_dump()
    counted = record.instructions.model_dump() if record.instructions else None
    parts: list[RenderableType] = [
        Text(f"{Path(record.file).name} on {record.device}, {record.runtime} {record.runtime_version}", style="bold")
    ]
    if notes["equality"]:
        parts.append(_equality(notes["equality"]))
    if counted:
        parts += [_instructions(record, counted), *_kinds(counted["by_kind"]), _symbols(counted["by_symbol"])]
    if record.device_notes.latency:
        parts += _latency(record.device_notes.latency)
    parts += [Text(f"warning: {warning}", style="yellow") for warning in notes["warnings"]]
    parts.append(Text(f"What it is: {notes['what_it_is']}.\nWhat it is not: {notes['what_it_is_not']}.", style="dim"))
    return parts


def _equality(equality: dict[str, Any]) -> Text:
    worst = min(equality["outputs"].values(), key=lambda row: row["snr_db"])
    told = {
        "equal": f"the outputs equal the host's ({equality['host_runtime']}) to the last bit",
        "close": f"the outputs are the host's ({equality['host_runtime']}) to {worst['snr_db']:.0f} dB, "
        f"largest error {worst['max_abs_error']:.2g}",
        "differs": f"the outputs DIFFER from the host's ({equality['host_runtime']}): {worst['snr_db']:.1f} dB, "
        f"{equality['min_snr_db']:g} dB wanted",
    }
    colour = "red" if equality["verdict"] == "differs" else "green"
    return Text(told[equality["verdict"]], style=colour)


def _instructions(record: BenchRecord, found: dict[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("instructions of", "count"):
        table.add_column(name, justify="left" if name != "count" else "right")
    table.add_row("an invoke", f"{record.instructions_per_invoke:,}")
    table.add_row("the first invoke", f"{found['instructions_first_invoke']:,}")
    table.add_row("loading", f"{record.instructions_load:,}")
    processes = len(found["runs"])
    repeats = "equal to the last digit" if found["repeats_exactly"] else found["reason"]
    told = Text(
        f"{found['counted_on']}, one thread, by {found['counter']}; {processes} process(es): {repeats}", style="dim"
    )
    return Group(table, told)


def _latency(latency: DeviceLatency) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("block", "p50", "mean", "min", "max", "load", "first", "runs", "thermal", "pause"):
        table.add_column(name, justify="right")
    for number, block in enumerate(latency.blocks, 1):
        times = [f"{getattr(block, f'{key}_ms'):.3g} ms" for key in ("p50", "mean", "min", "max", "load", "first")]
        table.add_row(str(number), *times, str(block.runs), heat(block), f"{block.waited_s:.0f} s")
    return [table, Text(verdict(latency), style="green" if latency.trusted else "yellow")]


def heat(block: Block) -> str:
    """Thermal status before and after a block."""
    return " → ".join("?" if one is None else str(one) for one in (block.thermal_before, block.thermal_after))


def verdict(latency: DeviceLatency) -> str:
    """The median, by what it was had, and whether it may be quoted."""
    trusted = "trusted" if latency.trusted else f"not to be trusted: {latency.reason}"
    threads = f"{latency.threads} thread" + ("s" if latency.threads > 1 else "")
    return f"p50 {latency.p50_ms:.3g} ms, {threads}, {latency.runner}: {trusted}"


def kinds(counts: dict[str, int]) -> str:
    """Shares of an invoke by kind of instruction; empty where they were not counted."""
    total = sum(counts.values())
    shares = [f"{kind.replace('_', ' ')} {count / total:.1%}" for kind, count in counts.items() if count]
    return "of an invoke: " + ", ".join(shares) if shares else ""


def short(symbol: str) -> str:
    """A function's name without its arguments."""
    return symbol.replace("(anonymous namespace)::", "").partition("(")[0] or symbol


def _kinds(counts: dict[str, int]) -> list[RenderableType]:
    return [Text(kinds(counts))] if kinds(counts) else []


def _symbols(rows: list[dict[str, Any]]) -> RenderableType:
    if not rows:
        return Group()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("function", no_wrap=True)
    table.add_column("instructions", justify="right")
    table.add_column("share", justify="right")
    for row in rows[:MOST_SYMBOLS]:
        table.add_row(Text(short(row["symbol"])[:_SYMBOL_WIDTH]), f"{row['instructions']:,}", f"{row['share']:.1%}")
    return table
