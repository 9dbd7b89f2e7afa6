"""`edgeconv bench` and `edgeconv compare`: how fast, how large, where the time goes; which of two is better."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeconv.cli import bench_flags, show
from edgeconv.errors import EXIT_COMPARED, UsageError, from_json

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
ThreadsOption = Annotated[int | None, typer.Option(min=1, max=64, help="Of the runtime. Default: 1.")]
TargetOption = Annotated[
    str | None,
    typer.Option("--target", "-t", help="Measure as this target's \\[harness] says: runtimes, threads, limits."),
]
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
BenchLimitOption = Annotated[
    float,
    typer.Option(
        "--time-limit", min=0.1, metavar="SECONDS",
        help="For one measurement, meant as given. The default is six times as long on arm and callgrind.",
    ),
]  # fmt: skip
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
    context: typer.Context,
    files: Files,
    runtime: RuntimeOption = None,
    device: DeviceOption = "host",
    target: TargetOption = None,
    threads: ThreadsOption = None,
    cpus: CpusOption = None,
    nice: NiceOption = None,
    memory_mb: MemoryOption = None,
    min_runs: Annotated[int, typer.Option(min=5, help="Least number of timed invokes.")] = 50,
    min_seconds: Annotated[float, typer.Option(min=0, help="Least time spent on them.")] = 1.0,
    inputs: InputsOption = None,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure memory too.")] = True,
    ops: Annotated[bool, typer.Option("--ops/--no-ops", help="Measure the time of each op too.")] = True,
    time_limit: BenchLimitOption = 300.0,
    repeats: RepeatsOption = 3,
    runner: RunnerOption = None,
    cooldown: CooldownOption = 10.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for records and every timed invoke.")] = Path(
        "benchmarks"
    ),
    page: Annotated[Path | None, typer.Option("--html", help="Write a page with charts, too.")] = None,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Measure files: each in its own process, phases apart, with a verdict on whether the times can be trusted."""
    from edgeconv.harness import Options
    from edgeconv.harness.devices import Order
    from edgeconv.harness.devices import check as check_device
    from edgeconv.harness.files import ModelFile, look, runtime_for
    from edgeconv.report import BenchList, BenchRecord, measuring

    bench_flags.refuse_idle(context, device)
    found = [look(path) for path in files]
    asked, confinement = confined(target, threads, cpus, nice, memory_mb)
    pairs = [
        (file, runtime_for(file, name))
        for file in found
        for name in runtime or (asked if file.kind == "tflite" else ()) or (None,)
    ]
    options = Options(confinement, min_runs, min_seconds, time_limit, inputs, memory, ops)
    limit = time_limit if bench_flags.given(context, "time_limit") else None

    def order(file: ModelFile, name: str) -> Order:
        return Order(
            file.path, name, inputs, repeats, limit, confinement.threads, min_runs, min_seconds, runner, cooldown,
            progress.say,
        )  # fmt: skip

    def one(file: ModelFile, name: str) -> BenchRecord:
        if device == "host":
            return measuring.bench(file, name, options, progress.say, out)
        return measuring.bench_on(device, file, order(file, name), out)

    with show.Progress("bench") as progress:
        if device != "host":
            bench_flags.refuse_limits(target, device)
            for file, name in pairs:
                check_device(device, order(file, name))
        measuring.check_inputs(pairs, options)
        measuring.check_places(out, page)
        records = measuring.each(device, pairs, one)
    if page is not None:
        measuring.write_page(page, records)
    if as_json:
        whole = records[0] if len(records) == 1 else BenchList(results=records)
        sys.stdout.write(json.dumps(whole.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    elif device == "host":
        show.bench(records)
    else:
        show.devices(records)
    failed = [(record, record.error) for record in records if record.error is not None]
    for record, error in failed:
        where = f"{Path(record.file).name} in {record.runtime}"
        show.error(from_json(error.model_dump()), traceback=traceback, model=where)
    raise typer.Exit(failed[0][1].exit_code if failed else 0)


@show.failure_as_json
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The file that is there.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The file that is to be judged.")],
    runtime: Annotated[
        str | None, typer.Option("--runtime", "-r", help="For both. Default: the usual one of each.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="What both should compute: .npz or .onnx.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="REF", help="The same as a PyTorch model.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Checkpoint for the factory's module.")] = None,
    input_specs: Annotated[
        list[str] | None, typer.Option("--input", "-i", metavar="SPEC", help="Inputs of the model.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Allow loading files that can execute code.")] = False,
    margin: Annotated[float, typer.Option(min=0.001, max=1, help="Share up to which times count as the same.")] = 0.03,
    margin_db: Annotated[float, typer.Option(min=0, help="Difference in dB up to which both are equally close.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=8, help="At most; a round is four blocks in four processes.")] = 27,
    block_seconds: Annotated[float, typer.Option(min=0.01, help="Least time of a block's invokes.")] = 0.1,
    target: TargetOption = None,
    threads: ThreadsOption = None,
    cpus: CpusOption = None,
    nice: NiceOption = None,
    memory_mb: MemoryOption = None,
    inputs: InputsOption = None,
    time_limit: LimitOption = 300.0,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,  # noqa: ARG001 - read by main
) -> None:
    """Say which of two files is faster, smaller, closer. Exit code 0: B is as fast; 41: faster; 42: slower; 43: inconclusive."""
    from edgeconv.harness import Options
    from edgeconv.harness.closeness import check_reference
    from edgeconv.harness.compare import BLOCK_RUNS, PairOptions, Side
    from edgeconv.harness.files import look, runtime_for
    from edgeconv.report import measuring
    from edgeconv.source import parse_input, parse_reference

    if reference is not None and model is not None:
        raise UsageError("--reference and --model exclude each other", hint="name one reference")
    if (weights or input_specs) and model is None:
        raise UsageError("--weights and --input go with --model", hint="name the model with --model")
    asked, confinement = confined(target, threads, cpus, nice, memory_mb)
    files = {"A": look(a), "B": look(b)}
    usual = {name: asked[0] if asked and file.kind == "tflite" else None for name, file in files.items()}
    sides = {name: Side(file, runtime_for(file, runtime or usual[name])) for name, file in files.items()}
    against: Any = reference
    if reference is not None:
        check_reference(reference)
        against = parse_reference(str(reference), base=Path.cwd()) if reference.suffix == ".onnx" else reference
    elif model is not None:
        specs = tuple(parse_input(text) for text in input_specs or [])
        against = parse_reference(model, base=Path.cwd(), weights=weights, inputs=specs, trust=trust)
    options = PairOptions(Options(confinement, BLOCK_RUNS, block_seconds, time_limit, inputs), margin, rounds=rounds)
    with show.Progress("compare") as progress:
        record = measuring.compare(sides, against, options, margin_db, progress.say)
    if as_json:
        sys.stdout.write(json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    else:
        show.comparison(record)
    raise typer.Exit(EXIT_COMPARED[record.latency.verdict])


def confined(
    target: str | None, threads: int | None, cpus: str | None, nice: int | None, memory_mb: float | None
) -> tuple[tuple[str, ...], Any]:
    """The target's runtimes for a .tflite (none without a target), and what a measuring process may use; flags win."""
    from edgeconv import target as targets
    from edgeconv.harness.machine import Confinement

    asked = targets.load(target, Path.cwd()).harness if target else None
    count = threads or (asked.threads if asked else 1)
    places = pinned(cpus, (asked.cores if asked else None) or count)
    if asked:
        nice = asked.niceness if nice is None else nice
        memory_mb = asked.memory_mb if memory_mb is None else memory_mb
    return tuple(asked.runtimes) if asked else (), Confinement(count, places, nice, memory_mb)


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
