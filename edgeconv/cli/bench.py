"""`edgeconv bench`: how fast, how large in memory, and where the time goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeconv.cli import show
from edgeconv.errors import UsageError, from_json

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="A .tflite, .onnx or .ort file, or a SavedModel's folder.")
]
RuntimeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        "-r",
        help="litert, tflite-runtime, onnxruntime, tensorflow; may be repeated.",
    ),
]
ThreadsOption = Annotated[int, typer.Option(min=1, max=64, help="Of the runtime.")]
CpusOption = Annotated[
    str | None, typer.Option(help="Processors to run on, such as 0,1. Default: as many as threads, the quietest ones.")
]
NiceOption = Annotated[int | None, typer.Option(min=-20, max=19, help="Niceness of the measuring process.")]
MemoryOption = Annotated[
    float | None, typer.Option("--memory-mb", min=1, help="Limit on what the measuring process allocates.")
]
InputsOption = Annotated[
    Path | None, typer.Option("--inputs", help="Your own arrays, .npz or .npy. Default: random ones.")
]
LimitOption = Annotated[float, typer.Option("--time-limit", min=0.1, metavar="SECONDS", help="For one measurement.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", "-d", metavar="DEVICE",
        help="host, arm:cortex-a76, arm:cortex-a53 (emulated), callgrind, adb or adb:SERIAL.",
    ),
]  # fmt: skip
RepeatsOption = Annotated[int, typer.Option(min=1, help="On a device: processes to count in, or blocks to time.")]
RunnerOption = Annotated[
    Path | None,
    typer.Option(help="For adb: LiteRT's benchmark_model for Android.", envvar="EDGECONV_ANDROID_RUNNER"),
]
CooldownOption = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="For adb: pause between blocks.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
TracebackOption = Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")]


def bench(
    files: Files,
    runtime: RuntimeOption = None,
    device: DeviceOption = "host",
    threads: ThreadsOption = 1,
    cpus: CpusOption = None,
    nice: NiceOption = None,
    memory_mb: MemoryOption = None,
    min_runs: Annotated[int, typer.Option(min=5, help="Least number of timed invokes.")] = 50,
    min_seconds: Annotated[float, typer.Option(min=0, help="Least time spent on them.")] = 1.0,
    inputs: InputsOption = None,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure memory too.")] = True,
    ops: Annotated[bool, typer.Option("--ops/--no-ops", help="Measure the time of each op too.")] = True,
    time_limit: LimitOption = 300.0,
    repeats: RepeatsOption = 3,
    runner: RunnerOption = None,
    cooldown: CooldownOption = 10.0,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Measure files: each in its own process, phases apart, with a verdict on whether the times can be trusted."""
    from edgeconv import api
    from edgeconv.harness import Options
    from edgeconv.harness.devices import Order
    from edgeconv.harness.files import look, runtime_for
    from edgeconv.harness.machine import Confinement

    found = [look(path) for path in files]
    wanted: list[str | None] = [*runtime] if runtime else [None]
    pairs = [(file, runtime_for(file, name)) for file in found for name in wanted]
    confinement = Confinement(threads, pinned(cpus, threads), nice, memory_mb)
    options = Options(confinement, min_runs, min_seconds, time_limit, inputs, memory, ops)
    with show.Progress("bench") as progress:
        if device == "host":
            records = [api.bench(file, name, options, progress.say) for file, name in pairs]
        else:
            orders = [
                (file, Order(file.path, name, inputs, repeats, time_limit, threads, runner, cooldown, progress.say))
                for file, name in pairs
            ]
            records = [api.bench_on(device, file, order) for file, order in orders]
    if as_json:
        plain: list[Any] = [record.model_dump(mode="json") for record in records]
        sys.stdout.write(
            json.dumps(plain[0] if len(plain) == 1 else {"results": plain}, indent=2, ensure_ascii=False) + "\n"
        )
    elif device == "host":
        show.bench(records)
    else:
        show.devices(records)
    failed = [(record, record.error) for record in records if record.error is not None]
    for record, error in failed:
        where = f"{Path(record.file).name} in {record.runtime}"
        show.error(from_json(error.model_dump()), traceback=traceback, model=where)
    raise typer.Exit(failed[0][1].exit_code if failed else 0)


def pinned(cpus: str | None, threads: int) -> tuple[int, ...] | None:
    """The processors named, or as many as threads, the quietest. Raises UsageError."""
    from edgeconv.harness import machine

    if cpus is None:
        return machine.quietest(threads)
    try:
        wanted = tuple(sorted({int(part) for part in cpus.split(",")}))
    except ValueError:
        raise UsageError(f"cannot read the processors {cpus!r}", hint="write their numbers as 0,1") from None
    allowed = machine.allowed()
    if not set(wanted) <= set(allowed):
        numbers = ", ".join(str(cpu) for cpu in allowed)
        raise UsageError(f"edgeconv may not run on the processors {cpus}", hint=f"it may run on: {numbers}")
    return wanted
