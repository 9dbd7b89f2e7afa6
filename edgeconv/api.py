"""Runs a model through a target from Python, and what the command line is made of."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeconv import calibration, diagnosis, paths
from edgeconv import target as targets
from edgeconv.errors import (
    EdgeconvError,
    InputMismatch,
    MissingExtra,
    StageError,
    UsageError,
)
from edgeconv.harness import Proof, Prover
from edgeconv.pipeline import Chain, Emit, Event, Pool, Run, Step, silent
from edgeconv.report import Report, TraceRecord, assert_contract, build, manifest, publish, write_json
from edgeconv.source import PROBE_BATCH, InputSpec, ModelSource, parse_input, parse_reference
from edgeconv.stage import make
from edgeconv.stages import STAGES
from edgeconv.store import Store, os_error
from edgeconv.target import Target
from edgeconv.worker import Limits, Worker

if TYPE_CHECKING:
    import torch

#: Packages without which nothing converts; found without importing them.
_CONVERTERS = ("torch", "onnx", "onnxruntime", "onnx_tf", "tensorflow", "ai_edge_litert")


@dataclass(frozen=True)
class Settings:
    """How runs are made, apart from model and target.

    Attributes:
        base: folder that relative names start from.
        cache: the cache's root.
        out: folder for results.
        force: build and measure anew.
        remeasure: measure latency and fidelity anew.
        time_limit: seconds for one stage, instead of the target's.
        emit: where events go.
        save_repro: ONNX file to write if a stage fails: the smallest part of the graph that shows it.
        prove: whether to measure what was built; without it the verdict is "unproven".
    """

    base: Path
    cache: Path
    out: Path
    force: bool = False
    remeasure: bool = False
    time_limit: float | None = None
    emit: Emit = silent
    save_repro: Path | None = None
    prove: bool = True


def sample(base: Path) -> ModelSource:
    """The bundled sample: a small CNN for handwritten digits, trained, with a labelled set."""
    return parse_reference("edgeconv.models.sample:digits", base=base, name="digits", labelled="digits")


def chain_of(source: ModelSource, target: Target) -> Chain:
    """The target's stages with their options. Raises TargetError.

    An open batch is said by the model or by the target; either way the chain runs at `PROBE_BATCH`.
    """
    stages = [make(STAGES, name, target.options.get(name, {}), target.path) for name in target.stages]
    if source.batch is not None or any(stage.options().get("dynamic") for stage in stages):
        source = replace(source, batch=PROBE_BATCH)
        stages = [replace(stage, dynamic=(0,)) if "dynamic" in stage.options() else stage for stage in stages]  # type: ignore[call-arg]
    return Chain(source, target.name, tuple(stages))


def plan(source: ModelSource, target: Target, settings: Settings) -> list[Step]:
    """What `convert` would do."""
    return chain_of(source, target).plan(Store(settings.cache), force=settings.force)


def convert(source: ModelSource, target: Target, settings: Settings) -> Report:
    """Take one model through one target, prove it, and write its folder.

    Returns:
        The report; its verdict may be "rejected", or "unproven" where the settings ask for no proof.

    Raises:
        EdgeconvError: one of its subclasses; what was built before stays in the cache.
    """
    started = time.monotonic()
    chain = chain_of(source, target)
    labelled = calibration.load(source.labelled, source.base) if source.labelled else None
    store = Store(settings.cache)
    limits = Limits(
        settings.time_limit or target.limits.seconds,
        int(target.limits.memory_gb * 1e9) if target.limits.memory_gb else None,
    )
    with _disk_errors(settings.cache):
        store.sweep()
        outlook = chain.look(store, force=settings.force)
        if any(step.status != "cached" for step in outlook.steps):
            _require_converters()
        with store.workdir() as folder, Pool(limits, folder) as pool:
            run = Run(chain, store, pool, settings.emit, folder, settings.force)
            prover = Prover(run, pool, settings.emit, target.harness, labelled, settings.force or settings.remeasure)

            def leaving(worker: str) -> None:
                """PyTorch's memory is free before TensorFlow takes its own: the reference is made while the model is loaded."""
                if settings.prove and worker == Prover.worker:
                    prover.find_reference()
                pool.release(worker)

            run.leaving = leaving
            try:
                run.carry_out(outlook)
            except StageError as error:
                if error.stage in {stage.name for stage in chain.stages}:
                    diagnosis.explain(error, run, pool, settings.save_repro)
                raise
            run.file_of(run.done[-1].name)  # a damaged one is rebuilt before it is measured
            proof = prover.prove() if settings.prove else prover.read_contract()
            assert_contract(run, proof, prover.outputs() if settings.prove else None)
            destination = settings.out / source.name / target.name
            path = destination / f"{source.name}.tflite"
            report = build(run, proof, target, path, time.monotonic() - started)
            _write(run, report, proof, labelled, destination)
    return report


def check(source: ModelSource, target: Target, settings: Settings) -> dict[str, Any]:
    """All obstacles of a model on its way through a target, found without building or storing anything.

    Returns:
        model, target, obstacles (one row each: kind, op, module, place, reason, hint, count, nodes), and complete: False
        where the model does not export, so that what lies behind could not be seen.

    Raises:
        SourceError: the model itself cannot be had.
    """
    options = {stage.name: stage.options() for stage in chain_of(source, target).stages}
    _require_converters()
    store = Store(settings.cache)
    limits = Limits(settings.time_limit or target.limits.seconds)
    with _disk_errors(settings.cache), store.workdir() as folder, Pool(limits, folder) as pool:
        found, complete = diagnosis.obstacles(source, pool, folder, options.get("tflite", {}).get("min_runtime"))
    return {"model": source.name, "target": target.name, "complete": complete, "obstacles": found}


def _write(run: Run, report: Report, proof: Proof, labelled: Any, destination: Path) -> None:
    def fill(folder: Path) -> None:
        shutil.copyfile(run.file_of(run.done[-1].name).path, folder / Path(report.artifact.path).name)
        write_json(folder / "manifest.json", manifest(run, report, labelled))
        write_json(folder / "report.json", report.model_dump(mode="json"))
        if proof.samples:
            samples = json.dumps({"unit": "ns", "samples": proof.samples})  # on one line: nobody reads them
            (folder / "latency-samples.json").write_text(samples + "\n", encoding="utf-8")

    publish(destination, fill)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_error(error, Path(error.filename) if error.filename else folder) from error


def _require_converters() -> None:
    """Say in one sentence that the extra is missing, before any work."""
    from importlib.util import find_spec

    missing = [name for name in _CONVERTERS if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"converting needs packages that are not installed: {', '.join(missing)}",
            hint="pip install 'edgeconv[convert]'",
        )


def inspect(file: Path) -> dict[str, Any]:
    """What a `.tflite` consists of; see `edgeconv.harness.inspect`.

    Raises:
        UsageError: no such file.
        BadOutput, MeasurementError: it is no TFLite file, or LiteRT does not load it.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {file}", hint="name a .tflite file")
    _require_converters()
    with Worker() as worker:
        return worker.run("edgeconv.harness.inspect:inspect", {"artifact": str(file)})


def trace(source: ModelSource, target: Target, settings: Settings, samples: int = 2) -> dict[str, Any]:
    """Error by layer of a model's `.tflite`, which is built if it is not in the cache, as a `TraceRecord`'s plain data.

    Args:
        source: the model.
        target: whose last stage makes a `.tflite`.
        settings: as for `convert`; nothing is written but the cache.
        samples: random inputs to take the errors over.

    Raises:
        EdgeconvError: one of its subclasses.
        UsageError: the target does not end in a `.tflite`.
    """
    chain = chain_of(source, target)
    if chain.stages[-1].produces != "tflite":
        raise UsageError(f"the target {target.name!r} makes no .tflite", hint="trace a target that ends in `tflite`")
    _require_converters()
    store = Store(settings.cache)
    limits = Limits(settings.time_limit or target.limits.seconds)
    with _disk_errors(settings.cache), store.workdir() as folder, Pool(limits, folder) as pool:
        run = Run(chain, store, pool, settings.emit, folder, settings.force)
        run.carry_out()
        assert run.snapshot is not None
        last, graph = run.done[-1], None
        if source.kind != "factory":  # an archive has no modules to hook: its graph stands in for them
            graph = source.file if source.kind == "onnx" else run.file_of(run.done[0].name).path
        payload = {
            "source": source.to_json(),
            "inputs": [spec.to_json() for spec in run.snapshot.inputs],
            "seeds": samples,
            "onnx": str(graph) if graph else None,
            "artifact": str(run.file_of(last.name).path),
            "layouts": last.record.meta["notes"].get("layouts"),
        }
        settings.emit(Event("measuring", "error by layer"))
        with pool.fresh() as worker:
            found = worker.run("edgeconv.harness.trace.job:trace", payload, who="the model")
    reference = "onnxruntime" if graph else "torch"
    about = {"model": source.name, "target": target.name, "sha256": last.artifact.digest, "reference": reference}
    return TraceRecord(**about, **found).model_dump(mode="json")


def run(
    model: str | torch.nn.Module,
    target: str = "android",
    *,
    example_inputs: Sequence[Any] | Mapping[str, Any] | None = None,
    inputs: Sequence[str | InputSpec] = (),
    weights: str | Path | None = None,
    name: str | None = None,
    labelled: str | None = None,
    out: str | Path = "artifacts",
    cache_dir: str | Path | None = None,
    trust: bool = False,
    dynamic: Sequence[int] = (),
    force: bool = False,
    on_event: Callable[[Event], None] = silent,
) -> Report:
    """Convert a model and prove the result.

    Args:
        model: a module, or a reference: `pkg.mod:factory`, `file.py:factory`, a path to `.onnx` or `.pt2`.
        target: name of a target, or a path to its TOML.
        example_inputs: a tuple or dict of tensors; needed for a module unless `inputs` tells shapes.
        inputs: specs such as "image=1x3x224x224" or "ids=1x128:int64:0..30521".
        weights: checkpoint for a factory's module.
        name: what the result's folder is called.
        labelled: calibration set with labels.
        out: folder for results.
        cache_dir: the cache's root, instead of the platform's.
        trust: allow loading files that can execute code.
        dynamic: (0,) leaves the batch open; for references to a factory or an ONNX file.
        force: build anew.
        on_event: told what happens, step by step.

    Returns:
        The report. `report.accepted` is the verdict.

    Raises:
        EdgeconvError: one subclass a situation, see `edgeconv.errors`.
    """
    base = Path.cwd()
    specs = tuple(parse_input(spec) if isinstance(spec, str) else spec for spec in inputs)
    settings = Settings(
        base, paths.cache_dir(Path(cache_dir) if cache_dir else None), Path(out), force=force, emit=on_event
    )
    wanted = targets.load(target, base)
    if isinstance(model, str):
        source = parse_reference(
            model, base=base, name=name, weights=str(weights) if weights else None, inputs=specs, trust=trust,
            labelled=labelled,
        )  # fmt: skip
        if example_inputs is not None:
            raise UsageError("example_inputs go with a module; a reference takes `inputs`")
        source = replace(source, batch=PROBE_BATCH) if dynamic else source
        return convert(source, wanted, settings)
    if dynamic:
        raise UsageError("dynamic goes with a reference to a factory or an ONNX file")
    if weights is not None:
        raise UsageError("weights go with a reference; load them into the module before")
    store = Store(settings.cache)
    with store.workdir() as folder:
        source = _freeze(model, example_inputs, specs, name, labelled, folder)
        try:
            return convert(source, wanted, settings)
        finally:  # its archive has a path of its own each time: what was noted under that would never be read again
            chain_of(source, wanted).forget(store)


def _freeze(
    module: Any, example_inputs: Any, specs: tuple[InputSpec, ...], name: str | None, labelled: str | None, folder: Path
) -> ModelSource:
    """A live module becomes a torch.export archive, which workers can load without its class."""
    _require_converters()
    from edgeconv.source import live

    title = name or type(module).__name__.lower()
    path = folder / f"{title}.pt2"
    try:
        found = live.freeze(module, example_inputs, specs, path)
    except EdgeconvError as error:
        error.stage = error.stage or "onnx"
        raise
    if not found:
        raise InputMismatch("the module takes no tensors", hint="pass example_inputs or inputs")
    source = parse_reference(str(path), base=Path.cwd(), name=title, inputs=found, labelled=labelled)
    return replace(source, reference=title)
