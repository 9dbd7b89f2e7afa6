"""Measures one file in one runtime: each measurement in a process of its own, which can only take itself down."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeconv import fingerprint
from edgeconv.errors import MeasurementError, OutOfMemory, SourceError, StageCrashed, StageError, StageTimeout
from edgeconv.harness import inputs, machine, per_op
from edgeconv.harness.files import ModelFile
from edgeconv.harness.machine import Confinement
from edgeconv.harness.runtimes import RUNTIMES
from edgeconv.worker import Limits, Worker

WHO = "the measurement"

#: Told what is being measured.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How a file is measured.

    Attributes:
        confinement: what the measuring process may use.
        min_runs: least number of timed invokes.
        min_seconds: least time spent on them.
        time_limit: seconds for one measurement.
        inputs: the user's arrays, instead of random ones.
        memory: whether to measure memory too.
        ops: whether to measure the time of each op too.
    """

    confinement: Confinement = field(default_factory=Confinement)
    min_runs: int = 50
    min_seconds: float = 1.0
    time_limit: float = 300.0
    inputs: Path | None = None
    memory: bool = True
    ops: bool = True


def bench(file: ModelFile, runtime: str, options: Options, folder: Path, tell: Tell) -> dict[str, Any]:
    """All measurements of one file in one runtime.

    Args:
        file: what to measure.
        runtime: a name in RUNTIMES that takes the file's kind.
        options: how.
        folder: scratch.
        tell: told what is being measured.

    Returns:
        runtime, runtime_version, inputs, outputs, delegates, confinement, phases, latency, samples_ns, memory, ops, parts.
        What could not be measured of the last three has a reason instead, or is None.

    Raises:
        StageTimeout, OutOfMemory, StageCrashed: what became of a measuring process.
        MeasurementError: the runtime does not load or run the file.
        InputMismatch, UsageError: the user's arrays do not fit.
    """
    confinement = options.confinement.to_json()
    base = {"runtime": runtime, "artifact": str(file.path.resolve()), "layouts": None, "confinement": confinement}
    tell(f"{file.path.name} in {runtime}: inputs")
    ends = job("sampling:describe", base, options, folder)
    rows, base["inputs"] = feed(file, ends, options, folder)
    tell(f"{file.path.name} in {runtime}: latency")
    timing = {"min_runs": options.min_runs, "min_seconds": options.min_seconds}
    found = job("sampling:latency", {**base, **timing}, options, folder)
    parts = _parts(file, base, options, folder)
    about = _look_inside(file, options, folder) if options.memory or options.ops else None
    if options.memory:
        tell(f"{file.path.name} in {runtime}: memory")
    memory = _memory(about, parts, base, options, folder) if options.memory else None
    if options.ops:
        tell(f"{file.path.name} in {runtime}: time by op")
    ops = per_op.measure(about, base, options, folder, job) if options.ops else None
    return {
        "runtime": runtime,
        "runtime_version": version_of(runtime),
        "inputs": rows,
        "outputs": ends["outputs"],
        "delegates": ends["delegates"],
        "confinement": confinement,
        "phases": found.pop("phases"),
        "samples_ns": found.pop("samples_ns"),
        "latency": found,
        "memory": memory,
        "ops": ops,
        "parts": parts,
    }


def _parts(file: ModelFile, base: dict[str, Any], options: Options, folder: Path) -> list[dict[str, Any]] | None:
    """What the file consists of, to the byte; None where it cannot be told."""
    payload = {**base, "path": str(file.path.resolve()), "kind": file.kind}
    try:
        return list(job("sizediff:sizes", payload, options, folder)["parts"])
    except (StageError, MeasurementError, SourceError):
        return None


def _look_inside(file: ModelFile, options: Options, folder: Path) -> dict[str, Any] | None:
    """What a `.tflite` consists of; None for other kinds, and where it cannot be told."""
    if file.kind != "tflite":
        return None
    try:
        return job("inspect:inspect", {"artifact": str(file.path), "runtime": "litert"}, options, folder)
    except (StageError, MeasurementError):  # the measurements of this runtime stand without
        return None


def _memory(
    about: dict[str, Any] | None,
    parts: list[dict[str, Any]] | None,
    base: dict[str, Any],
    options: Options,
    folder: Path,
) -> dict[str, Any]:
    weights = sum(entry["bytes"] for entry in about["tensors"]) if about else _weights(parts)
    try:
        return job("memory:memory", {**base, "weight_bytes": weights}, options, folder)
    except (StageError, MeasurementError) as error:
        return {"reason": error.message}


def _weights(parts: list[dict[str, Any]] | None) -> int | None:
    """Bytes of the file's constants, where it was told what it consists of."""
    return None if parts is None else sum(part["bytes"] for part in parts if part["kind"] not in ("ops", "file"))


def version_of(runtime: str) -> str:
    """Of the runtime's distribution; empty if it is not installed."""
    return next(iter(fingerprint.versions(RUNTIMES[runtime].distributions).values()))


def feed(
    file: ModelFile, described: dict[str, Any], options: Options, folder: Path
) -> tuple[list[dict[str, Any]], str]:
    """What each input gets, and the `.npz` that holds it. `described` is what `sampling.describe` said of the file."""
    ends = described["inputs"]
    path = folder / f"inputs-{file.sha256[:16]}.npz"
    if options.inputs is not None:
        rows, arrays = inputs.given(options.inputs, ends)
    else:
        rows = inputs.choose(file.path, ends, described["known"])
        arrays = inputs.make(rows)
    inputs.write(path, arrays)
    return rows, str(path)


def job(name: str, payload: dict[str, Any], options: Options, folder: Path) -> dict[str, Any]:
    """Run a measurement, named as module:function in edgeconv.harness, in a fresh process."""
    with (
        measuring_process(options, folder) as worker,
        limits_named(payload, options.confinement.memory_mb, "--memory-mb"),
    ):
        return worker.run(f"edgeconv.harness.{name}", {**payload, "spawned_ns": time.monotonic_ns()}, who=WHO)


def in_turns(payloads: list[dict[str, Any]], options: Options, folder: Path) -> list[dict[str, Any]]:
    """Run `sampling.block` for each payload in a fresh process; all are ready before the first has its turn."""
    with contextlib.ExitStack() as stack:
        workers = []
        for payload in payloads:
            preload = ("edgeconv.harness.sampling", RUNTIMES[payload["runtime"]].module)
            workers.append(stack.enter_context(measuring_process(options, folder, preload)))
            workers[-1].start()
        for worker in workers:
            worker.run("edgeconv.harness.sampling:ready", {}, who=WHO)
        found = []
        for worker, payload in zip(workers, payloads, strict=True):
            with limits_named(payload, options.confinement.memory_mb, "--memory-mb"):
                found.append(worker.run("edgeconv.harness.sampling:block", payload, who=WHO))
            worker.close()
        return found


@contextlib.contextmanager
def limits_named(payload: dict[str, Any], memory_mb: float | None, option: str) -> Iterator[None]:
    """What a measuring process died of may be a limit that the user set: say which.

    Args:
        payload: of the job; artifact and runtime, and about, which says which file it is.
        memory_mb: the limit, if there is one.
        option: where it was set.
    """
    try:
        yield
    except StageTimeout as error:
        error.hint = "give it more with --time-limit"
        error.stage = payload.get("about", "")
        raise
    except (OutOfMemory, MeasurementError, StageCrashed) as error:
        error.stage = payload.get("about", "")
        if memory_mb is None:
            raise
        raise OutOfMemory(
            f"{Path(payload['artifact']).name} does not run in {payload['runtime']} within {memory_mb:g} MB of memory "
            f"({error.message})",
            hint=f"raise the limit with {option}",
            stage=error.stage,
            detail=error.detail,
        ) from error


def measuring_process(options: Options, folder: Path, preload: tuple[str, ...] = ()) -> Worker:
    """A fresh process with an environment of its own, not yet started."""
    variables = {**machine.environment(options.confinement.threads), "TMPDIR": str(folder)}
    return Worker(preload, Limits(options.time_limit), variables, inherit=False)
