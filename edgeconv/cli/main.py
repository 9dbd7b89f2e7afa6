"""Commands, and `main`, which turns every error into one clear sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeconv.cli import bench, cache, show
from edgeconv.errors import EXIT_INTERRUPTED, EXIT_REJECTED, DiskFull, EdgeconvError, UnsupportedOp, UsageError

#: What typer raises for a wrong command line. It lives in click, or in a private copy inside newer typers.
_WrongUsage: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Take a PyTorch model to a proven .tflite: convert, quantize, compare, measure.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cache.app, name="cache", help="Look into the cache, verify it, make it smaller.")

app.command()(bench.bench)
app.command()(bench.compare)

Names = Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help=r"Models declared in \[tool.edgeconv].")]
TargetOption = Annotated[str, typer.Option("--target", "-t", help="Name of a target, or a path to its TOML.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="REF", help="pkg.mod:factory, file.py:factory, or a path to .onnx or .pt2."),
]
WeightsOption = Annotated[str | None, typer.Option(help="Checkpoint for the factory's module, best .safetensors.")]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="SPEC", help="NAME=SHAPE[:DTYPE[:LOW..HIGH]], e.g. image=1x3x224x224."),
]
NameOption = Annotated[str | None, typer.Option(help="What the model's folder is called.")]
LabelledOption = Annotated[str | None, typer.Option(help="Calibration set with labels, for accuracy.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")]
CacheOption = Annotated[Path | None, typer.Option("--cache-dir", help="The cache's root.", envvar="EDGECONV_CACHE")]
TrustOption = Annotated[bool, typer.Option("--trust", help="Allow loading files that can execute code.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Build and measure anew.")]
DynamicOption = Annotated[
    list[int] | None,
    typer.Option(
        "--dynamic", metavar="AXIS", min=0, max=0, help="Leave the batch open: 0. The file can then be resized."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
TracebackOption = Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")]


@app.command()
def run(
    names: Names = None,
    target: TargetOption = "android",
    model: ModelOption = None,
    weights: WeightsOption = None,
    inputs: InputOption = None,
    name: NameOption = None,
    labelled: LabelledOption = None,
    out: OutOption = Path("artifacts"),
    cache_dir: CacheOption = None,
    trust: TrustOption = False,
    dynamic: DynamicOption = None,
    force: ForceOption = False,
    remeasure: Annotated[bool, typer.Option("--remeasure", help="Measure anew what is cached.")] = False,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Convert only: no fidelity, no latency, no verdict.")
    ] = False,
    time_limit: Annotated[float | None, typer.Option(min=0.001, metavar="SECONDS", help="For one stage.")] = None,
    save_repro: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="If a stage fails: write the smallest graph that shows it.")
    ] = None,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Convert models and prove the results. Without a model: those declared, or the bundled sample."""
    from edgeconv import api
    from edgeconv import target as targets

    base = Path.cwd()
    sources = _sources(base, names, model, weights, inputs, name, labelled, trust, dynamic)
    wanted = targets.load(target, base)
    results: list[dict[str, Any]] = []
    code = 0
    for source in sources:
        with show.Progress(f"{source.name} for {wanted.name}") as progress:
            settings = api.Settings(
                base,
                _cache_root(cache_dir),
                out,
                force,
                remeasure,
                time_limit,
                progress.on_event,
                save_repro,
                not unproven,
            )
            try:
                report = api.convert(source, wanted, settings)
            except EdgeconvError as error:
                if len(sources) == 1:
                    error.detail = error.detail or _trace(error)
                    if as_json:
                        _print_json(_failed(source.name, wanted.name, error))
                    raise
                progress.stop()
                show.error(error, traceback=traceback, model=source.name)
                results.append(_failed(source.name, wanted.name, error))
                code = code if code not in (0, EXIT_REJECTED) else error.exit_code
                continue
        results.append(report.model_dump(mode="json"))
        code = code or (EXIT_REJECTED if report.verdict == "rejected" else 0)
        if not as_json:
            show.report(report)
    if as_json:
        _print_json(results[0] if len(results) == 1 else {"reports": results})
    raise typer.Exit(code)


@app.command()
def plan(
    names: Names = None,
    target: TargetOption = "android",
    model: ModelOption = None,
    weights: WeightsOption = None,
    inputs: InputOption = None,
    name: NameOption = None,
    cache_dir: CacheOption = None,
    trust: TrustOption = False,
    dynamic: DynamicOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,  # noqa: ARG001 - read by main
) -> None:
    """Say what a run would do, step by step, and why. Converts nothing."""
    from edgeconv import api
    from edgeconv import target as targets

    base = Path.cwd()
    wanted = targets.load(target, base)
    plans = {}
    for source in _sources(base, names, model, weights, inputs, name, None, trust, dynamic):
        settings = api.Settings(base, _cache_root(cache_dir), Path("artifacts"), force)
        plans[source.name] = api.plan(source, wanted, settings)
    if as_json:
        _print_json({"plans": [show.plan_json(model_name, wanted.name, steps) for model_name, steps in plans.items()]})
        return
    for model_name, steps in plans.items():
        show.plan(model_name, wanted.name, steps)


@app.command()
def trace(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A declared model, or a reference as for --model.")
    ] = None,
    target: TargetOption = "android",
    weights: WeightsOption = None,
    inputs: InputOption = None,
    cache_dir: CacheOption = None,
    trust: TrustOption = False,
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Random inputs to take the errors over.")] = 2,
    top: Annotated[int, typer.Option(min=1, help="Rows to show; --json has all.")] = 20,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,  # noqa: ARG001 - read by main
) -> None:
    """Say which layers a conversion hurts: each module beside its tensor in the .tflite, the worst first."""
    from edgeconv import api
    from edgeconv import target as targets

    base = Path.cwd()
    named = model is not None and (":" in model or Path(model).suffix in {".onnx", ".pt2", ".pt", ".pth"})
    names = None if named or model is None else [model]
    (source,) = _sources(base, names, model if named else None, weights, inputs, None, None, trust)[:1]
    wanted = targets.load(target, base)
    with show.Progress(f"{source.name} for {wanted.name}") as progress:
        settings = api.Settings(base, _cache_root(cache_dir), Path("artifacts"), emit=progress.on_event)
        found = api.trace(source, wanted, settings, samples)
    if as_json:
        _print_json(found)
    else:
        show.trace(found, top)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Declared models, or one reference.")
    ] = None,
    target: TargetOption = "android",
    model: ModelOption = None,
    weights: WeightsOption = None,
    inputs: InputOption = None,
    cache_dir: CacheOption = None,
    trust: TrustOption = False,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,  # noqa: ARG001 - read by main
) -> None:
    """Say all of a model's obstacles at once, with op, module and source line. Builds and stores nothing."""
    from edgeconv import api
    from edgeconv import target as targets

    if model is None and names is not None and len(names) == 1 and (":" in names[0] or Path(names[0]).suffix):
        model, names = names[0], None
    base = Path.cwd()
    wanted = targets.load(target, base)
    settings = api.Settings(base, _cache_root(cache_dir), Path("artifacts"))
    results = []
    for source in _sources(base, names, model, weights, inputs, None, None, trust):
        results.append(api.check(source, wanted, settings))
        if not as_json:
            show.obstacles(results[-1])
    if as_json:
        _print_json(results[0] if len(results) == 1 else {"checks": results})
    raise typer.Exit(UnsupportedOp.exit_code if any(result["obstacles"] for result in results) else 0)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .tflite file.")],
    as_json: JsonOption = False,
    traceback: TracebackOption = False,  # noqa: ARG001 - read by main
) -> None:
    """Say what a .tflite consists of: ops, delegated or not and why not, bytes, dtypes, versions."""
    from edgeconv import api

    found = api.inspect(file)
    if as_json:
        _print_json(found)
    else:
        show.inspection(found)


@app.command()
def targets(as_json: JsonOption = False) -> None:
    """List the targets: the user's own in ./targets first, then those that edgeconv ships."""
    from edgeconv import target as known

    found = [known.parse(path) for path in known.available(Path.cwd()).values()]
    if as_json:
        _print_json([{"name": t.name, "path": str(t.path), "summary": t.summary, "stages": t.stages} for t in found])
        return
    show.targets(found)


def _sources(
    base: Path,
    names: list[str] | None,
    model: str | None,
    weights: str | None,
    inputs: list[str] | None,
    name: str | None,
    labelled: str | None,
    trust: bool,
    dynamic: list[int] | None = None,
) -> list[Any]:
    """The models that a command is about."""
    from edgeconv.source import PROBE_BATCH

    found = _named(base, names, model, weights, inputs, name, labelled, trust)
    return [replace(source, batch=PROBE_BATCH) for source in found] if dynamic else found


def _named(
    base: Path,
    names: list[str] | None,
    model: str | None,
    weights: str | None,
    inputs: list[str] | None,
    name: str | None,
    labelled: str | None,
    trust: bool,
) -> list[Any]:
    from edgeconv import api, project
    from edgeconv.source import parse_input, parse_reference

    if model is not None:
        if names:
            raise UsageError("--model and declared model names exclude each other", hint="leave out one of the two")
        specs = tuple(parse_input(text) for text in inputs or [])
        return [
            parse_reference(model, base=base, name=name, weights=weights, inputs=specs, trust=trust, labelled=labelled)
        ]
    if weights or inputs or name or labelled:
        raise UsageError(
            "--weights, --input, --name and --labelled go with --model", hint="name the model with --model"
        )
    declared = project.find(base)
    if names or declared.models:
        return [replace(source, trust=trust) for source in project.pick(declared, names or [])]
    return [api.sample(base)]


def _cache_root(given: Path | None) -> Path:
    from edgeconv import paths

    return paths.cache_dir(given)


def _failed(model: str, target: str, error: EdgeconvError) -> dict[str, Any]:
    data = {key: value for key, value in error.to_json().items() if key != "detail"}
    return {"model": model, "target": target, "verdict": "failed", **data, "exit_code": error.exit_code}


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _trace(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def main() -> None:
    """Entry point of the `edgeconv` command."""
    try:
        code = app(standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # how newer typers pass Ctrl-C on
            show.interrupted()
        sys.stdout.flush()  # a full disk or a closed pipe shows here, not in the interpreter's last breath
    except KeyboardInterrupt:
        show.interrupted()
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()  # whoever read our output has gone; nothing is left to tell
        code = 1
    except Exception as raised:  # noqa: BLE001 - the one place where every error becomes a sentence and an exit code
        code = _exit_code(raised)
    sys.exit(code if isinstance(code, int) else 0)


def _exit_code(raised: Exception) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(raised, typer.Exit):
        return raised.exit_code
    if isinstance(raised, typer.Abort):
        show.interrupted()
        return EXIT_INTERRUPTED
    error = _as_error(raised)
    error.detail = error.detail or _trace(raised)
    show.error(error, traceback="--traceback" in sys.argv)
    if isinstance(error, DiskFull):
        _forget_stdout()
    return error.exit_code


def _as_error(raised: Exception) -> EdgeconvError:
    """Any exception as one that speaks to people."""
    if isinstance(raised, EdgeconvError):
        return raised
    if isinstance(raised, _WrongUsage):
        text = str(raised.format_message())  # type: ignore[attr-defined]
        return UsageError(text[:1].lower() + text[1:].rstrip("."), hint=f"see `{_command(raised)} --help`")
    if isinstance(raised, OSError):
        from edgeconv.store import os_error

        if raised.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return os_error(raised, Path(str(raised.filename or "the output")))
    return EdgeconvError(
        f"edgeconv itself failed with {type(raised).__name__}: {(str(raised).strip() or 'no message').splitlines()[0]}",
        hint="run again with --traceback and report it",
    )


def _command(raised: Exception) -> str:
    context = getattr(raised, "ctx", None)
    return str(context.command_path) if context is not None else "edgeconv"


def _forget_stdout() -> None:
    """What could not be written is not tried again when the interpreter ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
