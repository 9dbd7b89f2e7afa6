"""Loads a PyTorch model in a worker process: import, factory, checkpoint, eval mode, example inputs.

Tells apart the ways in which a user's model can fail to come up, and records what it consists of (see `Snapshot`).
torch is imported inside functions, here and in the modules that this one is made of.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import random
import sys
import traceback
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeconv.errors import EdgeconvError, FactoryFailed, ModuleBroken, ModuleMissing, SourceError, UsageError
from edgeconv.source import traceable
from edgeconv.source.archive import ByName, load_program, load_torchscript, program_of_script
from edgeconv.source.calling import (
    SEED,
    call,
    check_deterministic,
    first_line,
    flatten,
    is_script,
    outputs_of,
    parameter_names,
    place,
    to_eval,
)
from edgeconv.source.checkpoint import load_weights
from edgeconv.source.examples import inputs_of, within_tables
from edgeconv.source.inputs import InputSpec
from edgeconv.source.model import ModelSource, Snapshot
from edgeconv.source.nesting import by_tensors, only_tensors
from edgeconv.source.observe import Observer

__all__ = ["Loaded", "call", "flatten", "load", "outputs_of", "place", "probe"]


@dataclass(frozen=True)
class Loaded:
    """A model ready to be called.

    Attributes:
        module: `torch.nn.Module` in eval mode, or another callable that takes tensors by name.
        program: the torch.export program, where the source is one or can only be exported as one.
        inputs: specs in the order of the forward's parameters.
        example: tensors by input name.
        snapshot: what it consists of.
        warnings: sentences for the report.
    """

    module: Any
    program: Any
    inputs: tuple[InputSpec, ...]
    example: dict[str, Any]
    snapshot: Snapshot
    warnings: tuple[str, ...]


_loaded: dict[str, Loaded] = {}


def load(source: ModelSource) -> Loaded:
    """The model, loaded once a process.

    Raises:
        SourceError: one of its subclasses, by what went wrong.
    """
    key = str(source.to_json())
    if key not in _loaded:
        _loaded[key] = _load(source)
    return _loaded[key]


def _load(source: ModelSource) -> Loaded:
    import torch

    traceable.prefer()  # and stay with it: the process is a worker
    torch.manual_seed(SEED)  # factories without a seed of their own then give the same weights in every process
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - the user's factory may draw from the legacy generator
    observer = Observer()
    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # a factory that computes weights, say norms from a batch, then sums alike in every process
    try:
        with observer:
            for file in (source.file, source.weights):
                if file is not None:
                    observer.add(file)
            loaded = _load_program(source) if source.kind == "pt2" else _load_module(source)
    finally:
        torch.set_num_threads(threads)
    snapshot = replace(observer.snapshot(), inputs=loaded.inputs, facts={"warnings": list(loaded.warnings)})
    return replace(loaded, snapshot=snapshot)


def _load_program(source: ModelSource) -> Loaded:
    program, module = load_program(source)
    example, inputs = inputs_of(source, module.example, module.names)
    _require_open_batch(source, module)
    if program.range_constraints:  # dimensions that are free: a target needs them fixed
        call(module, example)
        program = module.fixed(example)
        if source.batch is None:  # else the open one is the reference at every batch
            module = ByName(program)
    return Loaded(module, program, inputs, example, Snapshot({}), ())


def _require_open_batch(source: ModelSource, module: ByName) -> None:
    fixed = {name: size for name, size in module.batches.items() if size is not None}
    if source.batch is not None and fixed:
        name, size = next(iter(fixed.items()))
        raise UsageError(
            f"the batch of {source.reference} cannot be left open: the file fixes it at {size} for its input {name!r}",
            hint="export it with dynamic_shapes={...: {0: torch.export.Dim.AUTO}}, or name the model's factory",
        )


def _load_module(source: ModelSource) -> Loaded:
    module, given = _call_factory(source) if source.kind == "factory" else (load_torchscript(source), None)
    if source.weights is not None:
        load_weights(module, source.weights)
    warnings = to_eval(module)
    module, given = by_tensors(module, given)
    example, inputs = inputs_of(source, given, parameter_names(module))
    output = check_deterministic(module, example)  # also runs what the forward imports, while the observer looks on
    module = module if source.kind == "torchscript" else only_tensors(module, output)
    inputs = within_tables(module, example, inputs, [spec.name for spec in source.inputs])
    program = None
    if source.kind == "torchscript":
        program = program_of_script(module, example)
    elif any(is_script(child) for child in module.modules()):  # which torch.export does not enter
        program = program_of_script(_scripted(source, module, example), example)
    return Loaded(module, program, inputs, example, Snapshot({}), tuple(warnings))


def _scripted(source: ModelSource, module: Any, example: dict[str, Any]) -> Any:
    """A module with scripted parts as TorchScript, traced on its example.

    Raises:
        SourceError: it cannot be traced.
    """
    import torch

    try:
        with torch.no_grad():
            return torch.jit.trace(module, example_kwarg_inputs=example, check_trace=False)
    except Exception as error:
        raise SourceError(
            f"{source.reference} has scripted parts and cannot be traced: {first_line(error)}{place(error)}",
            hint="leave torch.jit.script away in the factory",
            detail=traceback.format_exc(),
        ) from error


def _call_factory(source: ModelSource) -> tuple[Any, Any]:
    import torch

    module = _import(source)
    factory = getattr(module, source.factory, None)
    if not callable(factory):
        where = source.file or source.module
        own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        near = difflib.get_close_matches(source.factory, own, n=3)
        raise FactoryFailed(
            f"{where} has no function {source.factory!r}"
            if factory is None
            else f"{source.factory!r} in {where} is {type(factory).__name__}, not a function",
            hint=f"did you mean {' or '.join(near)}?"
            if near
            else "name a function that returns the module, or (module, example_inputs)",
        )
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise FactoryFailed(
            f"the factory {source.reference!r} raised {type(error).__name__}: {first_line(error)}{place(error)}",
            hint="call it in a Python shell first; --traceback shows where",
            detail=traceback.format_exc(),
        ) from error
    module, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise FactoryFailed(
            f"the factory {source.reference!r} returned {type(module).__name__}, not a torch.nn.Module",
            hint="return the module, or (module, example_inputs)",
        )
    return module, given


def _import(source: ModelSource) -> Any:
    """Import the factory's module; tells "not there" from "its own import failed"."""
    folders = [str(source.base)] if source.file is None else [str(source.base), str(source.file.parent)]
    for folder in folders:  # the last one comes first, as for a script that Python runs
        if folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return _import_file(source) if source.file else importlib.import_module(source.module)
    except ModuleNotFoundError as error:
        missing, wanted = error.name or "", source.module
        if not source.file and (wanted == missing or wanted.startswith(f"{missing}.")):
            raise ModuleMissing(
                f"there is no module {missing!r} on the path or in {source.base}",
                hint="check the spelling before the colon, or run from the folder that holds it",
            ) from error
        raise _broken(source, error) from error
    except EdgeconvError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(source, error) from error


def _import_file(source: ModelSource) -> Any:
    assert source.file is not None
    name = source.file.stem
    while name in sys.modules:  # a file called onnx.py must not replace the library
        name += "_"
    spec = importlib.util.spec_from_file_location(name, source.file)
    if spec is None or spec.loader is None:
        raise ModuleMissing(f"{source.file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _broken(source: ModelSource, error: BaseException) -> ModuleBroken:
    relative = source.file is not None and "no known parent package" in str(error)
    return ModuleBroken(
        f"{source.file or source.module} was found, but importing it raised {type(error).__name__}: "
        f"{first_line(error)}{place(error)}",
        hint="a file with relative imports is named as a module: --model package.module:factory"
        if relative
        else "the fault is in that file or in what it imports; --traceback shows where",
        detail=traceback.format_exc(),
    )


def probe(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: load the model and tell its snapshot."""
    source = ModelSource.from_json(payload["source"])
    if source.kind == "onnx":
        from edgeconv.source.onnx_file import snapshot_of

        return snapshot_of(source).to_json()
    return load(source).snapshot.to_json()
