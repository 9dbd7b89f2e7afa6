"""The report for a person on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeconv.report.model import Report


def size(count: float) -> str:
    """Bytes in the unit that reads best, decimal."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    raise AssertionError


def milliseconds(value: float | None) -> str:
    """Three digits and the unit that reads best; empty for what was not measured."""
    if value is None:
        return ""
    return f"{value:.3g} ms" if value < 999.5 else f"{value / 1000:.3g} s"


def interval(low: float | None, high: float | None) -> str:
    """An interval in ms; empty for what was not measured."""
    return "" if low is None or high is None else f"{low:.3g} to {high:.3g}"


def thinned(conditions: dict[str, Any], runs: int) -> str:
    """That fewer samples were kept than invokes were timed; empty where all were."""
    every = conditions.get("kept_every", 1)
    return f"one in {every} of {runs:,} timed invokes was kept, evenly spaced" if every > 1 else ""


def render(report: Report) -> RenderableType:
    """Tables of steps with parity, of the runtimes, and the verdict."""
    parts: list[RenderableType] = [_steps(report)]
    if report.latency:
        parts.append(_runtimes(report))
    entry = report.error_enters_at
    if entry is not None:
        told = f"The error enters at {entry.stage}: {entry.snr_before_db:.0f} → {entry.snr_after_db:.1f} dB."
        lost = entry.snr_before_db - entry.snr_after_db
        parts.append(Text(told if lost > 0 else "Every stage is exact to float rounding.", style="dim"))
    parts += [Text(f"warning: {warning}", style="yellow") for warning in report.warnings]
    parts += [
        Text(f"doubt: latency in {row.runtime}: {reason.text}", style="yellow")
        for row in report.latency
        for reason in row.trust.reasons
    ]
    parts += [_check(row.check, row.where, row.value, row.budget, row.unit) for row in report.acceptance if not row.ok]
    if report.accuracy:
        parts.append(_accuracy(report))
    colour = {"accepted": "green", "rejected": "red"}.get(report.verdict, "yellow")
    parts.append(
        Text.assemble(
            (f"{report.verdict}", f"bold {colour}"),
            f"  {report.model} for {report.target}: {report.artifact.path}, {size(report.artifact.bytes)}",
        )
    )
    return Group(*parts)


def _steps(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("stage", "status", "time", "size", "runtime", "SNR", "max error", "top-1"):
        table.add_column(name, justify="left" if name in {"stage", "status", "runtime"} else "right", no_wrap=True)
    for step in report.steps:
        rows = [row for row in report.parity if row.stage == step.name]
        head = (step.name, step.status, f"{step.seconds:.1f} s" if step.seconds else "", size(step.bytes))
        if not rows:
            table.add_row(*head)
        for position, row in enumerate(rows):
            agrees = "" if row.top1_agreement is None else f"{row.top1_agreement:.0%}"
            numbers = (row.runtime, f"{row.snr_db:.1f} dB", f"{row.max_abs_error:.2g}", agrees)
            table.add_row(*(head if position == 0 else ("",) * 4), *numbers)
    return table


def _runtimes(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("runtime", "threads", "p50", "p90", "p99", "runs", "trusted"):
        table.add_column(name, justify="left" if name == "runtime" else "right")
    for row in report.latency:
        old = " (cached)" if row.status == "cached" else ""
        times = (milliseconds(each) for each in (row.p50_ms, row.p90_ms, row.p99_ms))
        table.add_row(row.runtime + old, str(row.threads), *times, str(row.runs), "yes" if row.trust.trusted else "no")
    return table


def _check(check: str, where: str, value: float, budget: float, unit: str) -> Text:
    return Text(f"rejected: {check} of {where} is {value:.4g} {unit}, the budget is {budget:.4g} {unit}", style="red")


def _accuracy(report: Report) -> Table:
    """Each stage's metrics with their intervals, and what they lost against the original model."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("metric", "stage", "runtime", "value", "95 % interval", "drop", "95 % interval"):
        table.add_column(name, justify="left" if name in {"metric", "stage", "runtime"} else "right")
    named: set[str] = set()
    for row in sorted(report.accuracy, key=lambda row: [one.metric for one in report.accuracy].index(row.metric)):
        head = "" if row.metric in named else f"{row.metric} of {row.samples}"
        named.add(row.metric)
        value, low, high = (_points(each, row.metric) for each in (row.value, row.ci_low, row.ci_high))
        drop = "" if row.drop is None else _points(row.drop, row.metric)
        around = (
            ""
            if row.drop is None
            else f"{_points(row.drop_ci_low, row.metric)} to {_points(row.drop_ci_high, row.metric)}"
        )
        table.add_row(Text(head), row.stage, row.runtime, value, f"{low} to {high}", drop, around)
    return table


def _points(value: float | None, metric: str) -> str:
    """A fraction as percent; a number of a user's function as it is."""
    if value is None:
        return ""
    return f"{value:.4g}" if ":" in metric else f"{value + 0.0:.1%}".replace("-0.0%", "0.0%")
