"""Memory of one artifact in one runtime, in a process of its own: what the peak consists of, as far as it can be told."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

from edgeconv.errors import MeasurementError
from edgeconv.harness import machine
from edgeconv.harness.runtimes import RUNTIMES
from edgeconv.harness.sampling import read_inputs

#: Invokes before the peak is read; what a runtime allocates lazily it has allocated by then.
INVOKES = 5


def memory(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: resident memory above an empty interpreter's, phase by phase, and what it consists of.

    Payload:
        runtime, artifact, inputs (`.npz` by input), confinement, weight_bytes (of the file, None where not known).

    Returns:
        empty_bytes: resident before anything of the runtime was loaded: interpreter, numpy, this harness.
        phases: resident bytes above that after import, load, prepare and the invokes.
        peak_bytes: the highest above that.
        rows: what and bytes; they add up to peak_bytes. What is told by the growth of allocated memory is what the runtime
            took in a phase beyond what another row names. The library's row holds its pages that were touched later too.
            "unexplained" is the rest, negative where an allocation reused what another had given back.
        arena_bytes: of the runtime's tensors, None where it does not tell.
        weight_bytes: as given.

    Raises:
        MeasurementError: the system does not tell resident memory.
    """
    machine.enter(payload["confinement"])
    path = Path(payload["artifact"])
    feeds = read_inputs(Path(payload["inputs"]))
    runtime_class = RUNTIMES[payload["runtime"]]
    _forget_peak()
    empty = _status("VmRSS")
    phases: dict[str, int] = {}
    private: dict[str, int | None] = {}
    mapped: dict[str, int] = {}

    def note(phase: str) -> None:
        phases[phase], private[phase], mapped[phase] = _status("VmRSS") - empty, _private(), _status("RssFile")

    importlib.import_module(runtime_class.module)
    note("import")
    runtime = runtime_class(path, payload["confinement"]["threads"])
    note("load")
    runtime.prepare()
    note("prepare")
    outputs = runtime.run(feeds)
    for _ in range(INVOKES):
        runtime.invoke()
    note("invoke")
    peak = max(_status("VmHWM") - empty, *phases.values())
    arena = _arena(runtime)
    copied = sum(array.nbytes for array in [*feeds.values(), *outputs.values()])
    pages = _mapped(path)
    weights = 0 if pages else min(payload["weight_bytes"] or 0, _grown(private, "import", "prepare"))
    told = {
        "the runtime's library": phases["import"] + max(mapped["invoke"] - mapped["import"] - pages, 0),
        "pages of the file": pages,
        "weights, copied from the file": weights,
        "arena of tensors": arena or 0,
        "inputs and outputs, copied": copied,
        "taken while loading and preparing: packed weights, workspace, graph": max(
            _grown(private, "import", "prepare") - weights - (arena or 0), 0
        ),
        "taken by the invokes": max(_grown(private, "prepare", "invoke") - copied, 0),
        "for a moment only, given back since": max(peak - phases["invoke"], 0),
    }
    rows = [{"what": what, "bytes": count} for what, count in told.items() if count]
    rows.append({"what": "unexplained", "bytes": peak - sum(row["bytes"] for row in rows)})
    return {
        "empty_bytes": empty,
        "phases": phases,
        "peak_bytes": peak,
        "rows": rows,
        "arena_bytes": arena,
        "weight_bytes": payload["weight_bytes"],
    }


def _status(field: str) -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    raise MeasurementError("this system does not tell a process's resident memory", hint="leave it out: --no-memory")


def _private() -> int | None:
    """Bytes of memory that is no file's: what was allocated. None where the kernel does not tell (before Linux 4.14)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    return None


def _grown(private: dict[str, int | None], start: str, end: str) -> int:
    """Bytes allocated between two phases and still held; 0 where that is not known."""
    before, after = private[start], private[end]
    return 0 if before is None or after is None else max(after - before, 0)


def _forget_peak() -> None:
    """Start VmHWM anew (proc(5): clear_refs 5); where that is refused the peak includes the start's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _mapped(path: Path) -> int:
    """Resident bytes of the file's own pages, where the runtime maps it into memory."""
    total, inside = 0, False
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/smaps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if "-" in fields[0] and not fields[0].endswith(":"):
                inside = len(fields) == 6 and fields[5] == str(path)
            elif inside and fields[0] == "Rss:":
                total += int(fields[1]) * 1024
    return total


def _arena(runtime: Any) -> int | None:
    """Bytes that the interpreter's computed tensors take, places that several share counted once; None for other runtimes.

    Tensors inside a delegate have no memory of the interpreter's.
    """
    interpreter = getattr(runtime, "_interpreter", None)
    if interpreter is None:
        return None
    constant = _constants(runtime)
    spans = []
    for entry in interpreter.get_tensor_details():
        if entry["index"] in constant:
            continue
        with contextlib.suppress(ValueError, RuntimeError):  # it has no data
            view = interpreter.tensor(entry["index"])()
            if view.nbytes:
                spans.append((view.__array_interface__["data"][0], view.nbytes))
    total, end = 0, 0
    for start, count in sorted(spans):
        total += max(0, start + count - max(start, end))
        end = max(end, start + count)
    return total


def _constants(runtime: Any) -> set[int]:
    """Tensors that no op computes and that are no inputs."""
    interpreter = runtime._interpreter
    made = {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    fed = {entry["index"] for entry in interpreter.get_input_details()}
    return {entry["index"] for entry in interpreter.get_tensor_details()} - made - fed
