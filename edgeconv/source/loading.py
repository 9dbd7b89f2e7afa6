"""Loads a PyTorch model in a worker process: import, factory, checkpoint, eval mode, example inputs.

The only module of this room that imports torch, inside its functions. It tells apart the ways in which a user's model
can fail to come up, and records what the model consists of (see `Snapshot`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import random
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import (
    BrokenModelFile,
    EdgeconvError,
    FactoryFailed,
    InputMismatch,
    ModuleBroken,
    ModuleMissing,
    TrainingMode,
    Untrusted,
    WeightsMismatch,
)
from edgeconv.source.inputs import InputSpec
from edgeconv.source.model import ModelSource, Snapshot
from edgeconv.source.observe import Observer

#: Factories without a seed of their own then give the same weights in every process.
SEED = 0


@dataclass(frozen=True)
class Loaded:
    """A model ready to be called.

    Attributes:
        module: `torch.nn.Module` in eval mode, or the callable of a torch.export program.
        program: the torch.export program, where the source is one.
        inputs: specs in the order of the forward's parameters.
        example: tensors by input name.
        structured: None where every input is its own tensor.
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

    torch.manual_seed(SEED)
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - the user's factory may draw from the legacy generator
    observer = Observer()
    program = None
    warnings: list[str] = []
    with observer:
        if source.kind == "factory":
            module, given = _call_factory(source)
        elif source.kind == "pt2":
            program = _load_program(source)
            module, given = program.module(), None
        else:
            module, given = _load_torchscript(source), None
        if source.weights is not None:
            _load_weights(module, source.weights)
            observer.add(source.weights)
        if source.file is not None:
            observer.add(source.file)
    if program is None:
        warnings += to_eval(module)
    names = parameter_names(module, program)
    example, inputs = inputs_of(source, given, program, names)
    if program is None:
        check_deterministic(module, example)
    snapshot = replace(observer.snapshot(), inputs=inputs, facts={"warnings": warnings})
    return Loaded(module, program, inputs, example, snapshot, tuple(warnings))


def _call_factory(source: ModelSource) -> tuple[Any, Any]:
    import torch

    factory = getattr(_import(source), source.factory, None)
    if not callable(factory):
        raise FactoryFailed(
            f"{source.reference!r} names no callable: the module has no function {source.factory!r}",
            hint="name a function that returns the module, or (module, example_inputs)",
        )
    try:
        made = factory()
    except Exception as error:
        raise FactoryFailed(
            f"the factory {source.reference!r} raised {type(error).__name__}: {_first_line(error)}",
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
    sys.path.insert(0, str(source.file.parent if source.file else source.base))
    name = source.file.stem if source.file else source.module
    try:
        if source.file is None:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, source.file)
        if spec is None or spec.loader is None:
            raise ModuleMissing(f"{source.file} cannot be imported as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        if source.file is None and error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ModuleMissing(
                f"there is no module {error.name!r} on the path or in {source.base}",
                hint="check the spelling before the colon, or run from the folder that holds it",
            ) from error
        raise _broken(source, error) from error
    except EdgeconvError:
        raise
    except BaseException as error:
        raise _broken(source, error) from error


def _broken(source: ModelSource, error: BaseException) -> ModuleBroken:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "importlib" not in f.filename and not f.filename.endswith("source/loading.py")]
    where = f" (line {own[-1].lineno} of {own[-1].filename})" if own else ""
    if isinstance(error, SyntaxError) and error.lineno:
        where = f" (line {error.lineno} of {error.filename})"
    return ModuleBroken(
        f"{source.file or source.module} was found, but importing it raised {type(error).__name__}: "
        f"{_first_line(error)}{where}",
        hint="the fault is in that file or in what it imports; --traceback shows where",
        detail=traceback.format_exc(),
    )


def _load_weights(module: Any, path: Path) -> None:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported global" in str(error):
            raise Untrusted(
                f"{path} holds more than tensors: loading it would execute code",
                hint="save the state_dict alone, best as safetensors",
            ) from error
        raise BrokenModelFile(
            f"the checkpoint {path} cannot be read: {_first_line(error)}", hint="is the file complete?"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    extra = sorted(set(state) - set(own))
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, the module wants {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(state))
        if hasattr(own[name], "shape") and tuple(own[name].shape) != tuple(state[name].shape)
    ]
    if missing or extra or misshapen:
        parts = [f"{label} {_some(names)}" for label, names in (("missing:", missing), ("unknown:", extra)) if names]
        parts += [_some(misshapen)] if misshapen else []
        raise WeightsMismatch(
            f"the checkpoint {path.name} does not fit the module: {'; '.join(parts)}",
            hint="was it saved from the same architecture and configuration?",
        )
    module.load_state_dict(state)


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _load_program(source: ModelSource) -> Any:
    import torch

    assert source.file is not None
    try:
        return torch.export.load(str(source.file))
    except Exception as error:
        raise BrokenModelFile(
            f"{source.file} is no torch.export archive, or is truncated: {_first_line(error)}",
            hint="save it with torch.export.save",
            detail=traceback.format_exc(),
        ) from error


def _load_torchscript(source: ModelSource) -> Any:
    import torch

    if not source.trust:
        raise Untrusted(
            f"{source.file} is a TorchScript or pickled module: loading it can execute code from it",
            hint="say --trust if you know where it comes from, or save it with torch.export.save as .pt2",
        )
    try:
        return torch.jit.load(str(source.file), map_location="cpu")
    except Exception as error:
        raise BrokenModelFile(f"{source.file} cannot be loaded as TorchScript: {_first_line(error)}") from error


def to_eval(module: Any) -> list[str]:
    """Switch to eval mode; name what was in training mode, refuse what stays in it."""
    training = [name or type(module).__name__ for name, child in module.named_modules() if child.training]
    module.eval()
    stuck = [name or type(module).__name__ for name, child in module.named_modules() if child.training]
    if stuck:
        raise TrainingMode(
            f"still in training mode after eval(): {_some(stuck)}",
            hint="its train() or eval() is overridden; let eval() reach it",
        )
    if not training:
        return []
    return [f"the model was left in training mode ({_some(training)}); it was converted in eval mode"]


def parameter_names(module: Any, program: Any) -> list[str]:
    if program is not None:
        return [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    forward = getattr(module, "forward", module)
    with contextlib.suppress(ValueError, TypeError):
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [p.name for p in inspect.signature(forward).parameters.values() if p.kind in kinds]
    return []


def inputs_of(
    source: ModelSource, given: Any, program: Any, names: list[str]
) -> tuple[dict[str, Any], tuple[InputSpec, ...]]:
    """Example tensors by name and their specs, in the forward's order."""
    import torch

    if given is None and program is not None:
        args, kwargs = program.example_inputs or ((), {})
        given = {**dict(zip(names, args, strict=False)), **kwargs}
    if given is None and not source.inputs:
        raise InputMismatch(
            f"{source.reference} tells no example inputs",
            hint=f"say --input {names[0] if names else 'NAME'}=1x3x224x224, or return (module, example_inputs)",
        )
    if isinstance(given, torch.Tensor):
        given = (given,)
    if isinstance(given, (tuple, list)):
        if len(given) > len(names):
            raise InputMismatch(
                f"{len(given)} example inputs for a forward that takes {len(names)}: {', '.join(names)}"
            )
        given = dict(zip(names, given, strict=False))
    given = dict(given or {})
    declared = {spec.name: spec for spec in source.inputs}
    known = set(names) or set(given)
    for name in [*declared, *given]:
        if known and name not in known:
            raise InputMismatch(
                f"the forward has no input {name!r}", hint=f"its inputs are: {', '.join(names) or 'unknown'}"
            )
    example, specs = {}, []
    generator = np.random.default_rng(SEED)
    for name in names or list(given or declared):
        tensor = given.get(name)
        if name not in declared and tensor is None:
            continue
        if tensor is not None and not isinstance(tensor, torch.Tensor):
            raise InputMismatch(
                f"the example input {name!r} is {type(tensor).__name__}, not a tensor",
                hint="wrap the model so that its forward takes tensors only",
            )
        spec = declared.get(name) or _spec_of(name, tensor)
        if tensor is None or tuple(tensor.shape) != spec.shape or _dtype_of(tensor) != spec.dtype:
            tensor = torch.from_numpy(spec.sample(generator).copy())
        example[name] = tensor.detach().cpu().contiguous()
        specs.append(spec)
    return example, tuple(specs)


def _dtype_of(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _spec_of(name: str, tensor: Any) -> InputSpec:
    """A spec with the range that the example shows: integers and booleans as given, floats if they look like images."""
    dtype, shape = _dtype_of(tensor), tuple(tensor.shape)
    if tensor.numel() == 0:
        raise InputMismatch(f"the example input {name!r} has no elements (shape {shape})")
    low, high = float(tensor.min()), float(tensor.max())
    if dtype.startswith(("int", "uint", "bool")):
        return InputSpec(name, shape, dtype, low, high)
    looks_like_unit_range = low >= 0.0 and high <= 1.0 and high > low
    return InputSpec(name, shape, dtype, 0.0, 1.0) if looks_like_unit_range else InputSpec(name, shape, dtype)


def check_deterministic(module: Any, example: dict[str, Any]) -> None:
    """Call twice with different seeds; a difference means dropout or noise that eval mode does not switch off."""
    import torch

    outputs = []
    seen: list[dict[str, float]] = []
    for seed in (SEED, SEED + 1):
        torch.manual_seed(seed)
        record: dict[str, float] = {}
        with _watched(module, record):
            outputs.append(flatten(call(module, example)))
        seen.append(record)
    if not all(_same(a, b) for a, b in zip(outputs[0].values(), outputs[1].values(), strict=True)):
        culprits = [name for name, total in seen[0].items() if total != seen[1].get(name)]
        named = [name for name in culprits if name] or [type(module).__name__]
        raise TrainingMode(
            f"two calls with the same input give different outputs; the first module that differs is {named[0]!r}",
            hint="dropout called with training=True, or random numbers in forward: tie them to self.training",
        )


@contextlib.contextmanager
def _watched(module: Any, record: dict[str, float]) -> Iterator[None]:
    """Record the sum of every submodule's first output, innermost first. TorchScript modules take no hooks."""
    handles = []
    if not type(module).__module__.startswith("torch.jit"):
        for name, child in module.named_modules():

            def keep(_: Any, __: Any, output: Any, name: str = name) -> None:
                first = next(iter(flatten(output).values()), None)
                if first is not None:
                    record.setdefault(name, float(first.double().nan_to_num().sum()))

            handles.append(child.register_forward_hook(keep))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a.detach().numpy(), b.detach().numpy(), equal_nan=a.is_floating_point()))


def call(module: Any, inputs: dict[str, Any]) -> Any:
    """Run the module without gradients.

    Raises:
        InputMismatch: the forward raises on these inputs.
    """
    import torch

    try:
        with torch.no_grad():
            return module(**inputs) if not type(module).__module__.startswith("torch.jit") else module(*inputs.values())
    except Exception as error:
        shapes = ", ".join(f"{name} {_dtype_of(t)}{list(t.shape)}" for name, t in inputs.items())
        raise InputMismatch(
            f"the model's forward raised {type(error).__name__} on {shapes}: {_first_line(error)}",
            hint="check --input (shape and dtype) or the factory's example inputs; --traceback shows where",
            detail=traceback.format_exc(),
        ) from error


def flatten(output: Any) -> dict[str, Any]:
    """The tensors of an output by name, in order: "output", or "output_0", …, or the keys of a dict or named tuple."""
    import torch

    if isinstance(output, torch.Tensor):
        return {"output": output}
    leaves, _ = torch.utils._pytree.tree_flatten_with_path(output)
    found: dict[str, Any] = {}
    for path, leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
            name = "_".join(parts)
            found[name if not name[:1].isdigit() else f"output_{name}"] = leaf
    return found


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def probe(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: load the model and tell its snapshot."""
    source = ModelSource.from_json(payload["source"])
    if source.kind == "onnx":
        from edgeconv.source.onnx_file import snapshot_of

        return snapshot_of(source).to_json()
    return load(source).snapshot.to_json()
