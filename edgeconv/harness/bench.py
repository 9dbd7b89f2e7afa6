"""Measures one file in one runtime: each measurement in a process of its own, which can only take itself down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeconv import fingerprint
from edgeconv.errors import MeasurementError, OutOfMemory, StageCrashed, StageTimeout
from edgeconv.harness import inputs, machine
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
    """

    confinement: Confinement = field(default_factory=Confinement)
    min_runs: int = 50
    min_seconds: float = 1.0
    time_limit: float = 300.0
    inputs: Path | None = None


def bench(file: ModelFile, runtime: str, options: Options, folder: Path, tell: Tell) -> dict[str, Any]:
    """All measurements of one file in one runtime.

    Args:
        file: what to measure.
        runtime: a name in RUNTIMES that takes the file's kind.
        options: how.
        folder: scratch.
        tell: told what is being measured.

    Returns:
        runtime, runtime_version, inputs, outputs, confinement, phases, latency, samples_ns.

    Raises:
        StageTimeout, OutOfMemory, StageCrashed: what became of a measuring process.
        MeasurementError: the runtime does not load or run the file.
        InputMismatch, UsageError: the user's arrays do not fit.
    """
    confinement = options.confinement.to_json()
    base = {"runtime": runtime, "artifact": str(file.path.resolve()), "layouts": None, "confinement": confinement}
    tell(f"{file.path.name} in {runtime}: inputs")
    ends = job("sampling:describe", base, options, folder)
    rows, base["inputs"] = feed(file, ends["inputs"], options, folder)
    tell(f"{file.path.name} in {runtime}: latency")
    timing = {"min_runs": options.min_runs, "min_seconds": options.min_seconds}
    found = job("sampling:latency", {**base, **timing}, options, folder)
    return {
        "runtime": runtime,
        "runtime_version": version_of(runtime),
        "inputs": rows,
        "outputs": ends["outputs"],
        "confinement": confinement,
        "phases": found.pop("phases"),
        "samples_ns": found.pop("samples_ns"),
        "latency": found,
    }


def version_of(runtime: str) -> str:
    """Of the runtime's distribution; empty if it is not installed."""
    return next(iter(fingerprint.versions(RUNTIMES[runtime].distributions).values()))


def feed(
    file: ModelFile, ends: list[dict[str, Any]], options: Options, folder: Path
) -> tuple[list[dict[str, Any]], str]:
    """What each input gets, and the `.npz` that holds it."""
    path = folder / f"inputs-{file.sha256[:16]}.npz"
    if options.inputs is not None:
        arrays = inputs.read(options.inputs, ends)
        rows = [{**end, "low": None, "high": None, "source": f"user: {options.inputs.name}"} for end in ends]
    else:
        rows = inputs.choose(file.path, ends, {})
        arrays = inputs.make(rows)
    inputs.write(path, arrays)
    return rows, str(path)


def job(name: str, payload: dict[str, Any], options: Options, folder: Path) -> dict[str, Any]:
    """Run a measurement, named as module:function in edgeconv.harness, in a fresh process."""
    with measuring_process(options.confinement.threads, options.time_limit, folder) as worker:
        try:
            return worker.run(f"edgeconv.harness.{name}", {**payload, "spawned_ns": time.monotonic_ns()}, who=WHO)
        except StageTimeout as error:
            error.hint = "give it more with --time-limit"
            raise
        except (OutOfMemory, MeasurementError, StageCrashed) as error:
            limit = options.confinement.memory_mb
            if limit is None:
                raise
            raise OutOfMemory(
                f"{Path(payload['artifact']).name} does not run in {payload['runtime']} within {limit:g} MB of memory "
                f"({error.message})",
                hint="raise the limit with --memory-mb",
                detail=error.detail,
            ) from error


def measuring_process(threads: int, seconds: float, folder: Path) -> Worker:
    """A fresh process with an environment of its own, not yet started."""
    variables = {**machine.environment(threads), "TMPDIR": str(folder)}
    return Worker((), Limits(seconds), variables, inherit=False)
