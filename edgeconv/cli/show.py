"""What people see: progress on standard error, results on standard output."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgeconv.errors import EdgeconvError

#: Columns where nobody's terminal says how many it has: wide enough for every table.
_WIDTH = 110


def _out() -> Console:
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=_WIDTH)


def _err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


class Progress:
    """Lines for finished steps and, on a terminal, a spinner with the seconds of the one that runs."""

    def __init__(self, title: str) -> None:
        self._console = _err()
        self._title = title
        self._status: Any = None
        self._all_cached = True
        self._task = ""
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        self._console.print(f"[bold]{escape(self._title)}[/bold]")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None:
            word = "all cached, " if self._all_cached else ""
            self._console.print(f"  {word}{time.monotonic() - self._started:.1f} s", style="dim")

    def stop(self) -> None:
        """End the spinner."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def say(self, text: str) -> None:
        """Something is being measured. What comes after a comma is progress, which only a terminal shows."""
        self.stop()
        self._all_cached = False
        task, _, _ = text.partition(",")
        if self._console.is_terminal or task != self._task:
            self._spin(f"  {text if self._console.is_terminal else task}")
        self._task = task

    def on_event(self, event: Any) -> None:
        """Takes the pipeline's events."""
        from edgeconv.report.view import size

        self.stop()
        if event.what == "started":
            self._all_cached = False
            why = f" ({escape(event.reason.text())})" if event.reason else ""
            self._spin(f"  {event.step}{why}")
        elif event.what == "measuring":
            self._all_cached = False
            self._spin(f"  measuring: {event.step}")
        elif event.what == "built":
            self._console.print(f"  [green]✓[/green] {event.step:<12} {event.seconds:6.1f} s  {size(event.bytes):>10}")
        elif event.what == "cached" and event.bytes:
            self._console.print(f"  [green]✓[/green] {event.step:<12}   cached  {size(event.bytes):>10}")
        elif event.what == "measured":
            self._console.print(f"  [green]✓[/green] {event.step}, {event.seconds:.1f} s", style="dim")

    def _spin(self, text: str) -> None:
        if self._console.is_terminal:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._console.print(f"{text} …")


def error(problem: EdgeconvError, *, traceback: bool, model: str = "") -> None:
    """One clear sentence, the hint, and what is already safe."""
    console = _err()
    where = " ".join(part for part in (model, problem.stage) if part)
    console.print(f"[bold red]error[/bold red]{escape(f' in {where}') if where else ''}: {escape(problem.message)}")
    if problem.hint:
        console.print(f"[bold]try[/bold]: {escape(problem.hint)}")
    if traceback and problem.detail:
        console.print(escape(problem.detail), style="dim")


def failure_as_json(comparison: Callable[..., None]) -> Callable[..., None]:
    """A command of two files a and b that, with as_json, prints its error on standard output too."""

    @functools.wraps(comparison)
    def told(**arguments: Any) -> None:
        try:
            comparison(**arguments)
        except EdgeconvError as problem:
            if arguments["as_json"]:
                from edgeconv.report.compare import failed

                record = failed(str(arguments["a"]), str(arguments["b"]), problem)
                sys.stdout.write(json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
            raise

    return told


def interrupted() -> None:
    """After Ctrl-C."""
    _err().print("interrupted; finished steps are in the cache, the next run goes on from there")


def report(result: Any) -> None:
    """A report as tables."""
    from edgeconv.report.view import render

    _out().print(render(result))


def devices(records: Sequence[Any]) -> None:
    """Records of other devices than this machine."""
    from edgeconv.report.device_view import render

    _out().print(render(list(records)))


def trace(found: dict[str, Any], top: int) -> None:
    """Error by layer."""
    from edgeconv.report.trace_view import render

    _out().print(render(found, top))


def bench(records: Sequence[Any]) -> None:
    """Bench records as tables."""
    from edgeconv.report.bench_view import render

    _out().print(render(list(records)))


def comparison(record: Any) -> None:
    """Two files against each other."""
    from edgeconv.report.compare_view import render

    _out().print(render(record))


def plan_json(model: str, target: str, steps: Sequence[Any]) -> dict[str, Any]:
    """A plan as plain data."""
    rows = [
        {
            "name": step.name,
            "status": step.status,
            "reason": step.reason.text(),
            "reason_kind": step.reason.kind,
            "details": step.reason.details,
            "key": step.key,
        }
        for step in steps
    ]
    return {"model": model, "target": target, "steps": rows}


def plan(model: str, target: str, steps: Sequence[Any]) -> None:
    """A plan as a table."""
    table = Table(
        "step", "status", "why", "key", box=None, pad_edge=False, title=f"{model} for {target}", title_justify="left"
    )
    for step in steps:
        word = {
            "cached": "[green]cached[/green]",
            "build": "[yellow]build[/yellow]",
            "unknown": "[yellow]build?[/yellow]",
        }
        table.add_row(step.name, word[step.status], escape(step.reason.text()), (step.key or "")[:16])
    _out().print(table)


def inspection(found: dict[str, Any]) -> None:
    """What a .tflite consists of, as tables: the largest constants, the ops, those that the delegate left."""
    from edgeconv.report.view import size

    console = _out()
    ends = (f"{end['name']} {end['dtype']}{end['shape']}" for end in [*found["inputs"], *found["outputs"]])
    console.print(f"{escape(found['file'])}: {size(found['bytes'])}, {escape(', '.join(ends))}")
    dtypes = ", ".join(f"{name} {size(count)}" for name, count in found["dtype_bytes"].items())
    console.print(
        f"constants: {dtypes or 'none'}; minimum runtime by its own metadata: {found['min_runtime'] or 'unknown'}"
    )
    table = Table("op", "count", "version", "delegated", "weights", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, count in found["op_counts"].items():
        rows = [row for row in found["ops"] if row["op"] == name]
        taken = sum(row["delegated"] for row in rows)
        weights = sum(row["weight_bytes"] for row in rows)
        version = str(found["op_versions"][name])
        table.add_row(name, str(count), version, f"{taken} of {count}", size(weights) if weights else "")
    console.print(table)
    left = {(row["op"], row["reason"]) for row in found["ops"] if not row["delegated"]}
    console.print(f"{found['partitions']} delegate partition(s)" + ("" if left else ", nothing outside"))
    for name, reason in sorted(left):
        console.print(f"  [yellow]{name}[/yellow] is not delegated: {escape(reason)}")
    largest = Table("largest constants", "dtype", "shape", "bytes", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for entry in found["tensors"][:10]:
        largest.add_row(escape(entry["name"]), entry["dtype"], str(entry["shape"]), size(entry["bytes"]))
    console.print(largest)


def obstacles(result: dict[str, Any]) -> None:
    """What `check` found: for each obstacle the op, where in the model, why, and what to try."""
    console = _out()
    found = result["obstacles"]
    title = f"{result['model']} for {result['target']}"
    if not found:
        console.print(f"[green]✓[/green] {escape(title)}: no obstacles")
        return
    console.print(f"{escape(title)}: {len(found)} obstacle{'s' if len(found) > 1 else ''}")
    for row in found:
        times = f" ({row['count']} times)" if row["count"] > 1 else ""
        module = f" in {row['module']!r}" if row["module"] else ""
        console.print(f"[red]✗[/red] {escape((row['op'] or row['kind']) + module + times)}: {escape(row['reason'])}")
        if row["place"]:
            console.print(f"    {escape(row['place'])}")
        if row["hint"]:
            console.print(f"    [bold]try[/bold]: {escape(row['hint'])}")
    if not result["complete"]:
        console.print("The model does not export yet: what lies behind that is seen once these are gone.")


def targets(found: Sequence[Any]) -> None:
    """Targets as a table."""
    table = Table("target", "stages", "summary", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.name, " → ".join(one.stages), escape(one.summary))
    _out().print(table)


def stats(found: Any, root: Path, *, as_json: bool) -> None:
    """The store's numbers."""
    from edgeconv.report.view import size

    data = {"root": str(root), **dataclasses.asdict(found)}
    if as_json:
        _json(data)
        return
    for name, value in data.items():
        shown = size(value) if name == "bytes" else value
        if name in {"oldest", "newest"}:
            shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value)) if value else "none"
        _out().print(f"{name:<12} {shown}")


def problems(found: Iterable[Any], *, as_json: bool) -> None:
    """What verify found."""
    rows = [dataclasses.asdict(problem) for problem in found]
    if as_json:
        _json({"problems": rows})
        return
    for row in rows:
        _out().print(f"[red]{row['kind']}[/red] {escape(row['path'])}: {escape(row['what'])}")
    if not rows:
        _out().print("the cache is clean")


def collected(result: Any, *, as_json: bool) -> None:
    """What gc removed."""
    data = dataclasses.asdict(result)
    if as_json:
        _json(data)
    else:
        _out().print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in data.items()))


def record(found: Any, *, as_json: bool) -> None:
    """One record with its ingredients."""
    data = {"key": found.key, "sha256": found.blob.digest, "bytes": found.blob.bytes, **found.meta}
    if as_json:
        _json(data)
    else:
        _out().print(json.dumps(data, indent=2, ensure_ascii=False), markup=False)


def records(found: Sequence[Any], *, as_json: bool) -> None:
    """All records, a line each."""
    rows = [
        {"key": one.key, "step": one.meta.get("ingredients", {}).get("step", ""), "bytes": one.blob.bytes}
        for one in found
    ]
    if as_json:
        _json(rows)
        return
    for row in rows:
        _out().print(f"{row['key']}  {row['step']:<12} {row['bytes']:>12,}")


def _json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
