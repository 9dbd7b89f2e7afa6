"""Models that come as one file: torch.export archives (`.pt2`) and TorchScript."""

from __future__ import annotations

import contextlib
import logging
import pickle
import traceback
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeconv.errors import BrokenModelFile, SourceError, TrainingMode, Untrusted
from edgeconv.source import packed
from edgeconv.source.calling import first_line, own_path, some
from edgeconv.source.model import ModelSource


class ByName:
    """A torch.export program as a function of its tensors by name, whatever containers its forward takes them in.

    Args:
        program: `torch.export.ExportedProgram`.

    Attributes:
        names: of the tensors, in the graph's order.
        example: the tensors it was exported with, by name; None where it keeps none.
        batches: size of the first axis by name, None where the program leaves it open.
    """

    def __init__(self, program: Any) -> None:
        from torch.utils import _pytree as pytree

        specs = [spec for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
        self._module = program.module()
        self._structure = program.call_spec.in_spec
        self._slots = [(spec.arg.name, getattr(spec.arg, "value", None)) for spec in specs]
        self.names = [spec.arg.name for spec in specs if type(spec.arg).__name__ == "TensorArgument"]
        self.example: dict[str, Any] | None = None
        if program.example_inputs:
            leaves = pytree.tree_leaves(program.example_inputs)
            pairs = zip(self._slots, leaves, strict=False)
            self.example = {name: leaf for (name, _), leaf in pairs if name in self.names}

        shapes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.name in self.names}
        self.batches: dict[str, int | None] = {
            name: size if isinstance(size := shapes[name][0], int) else None
            for name in self.names
            if name in shapes and len(shapes[name])
        }

    def __call__(self, **tensors: Any) -> Any:
        """Run it; values that the program was specialized for are filled in."""
        args, kwargs = self.containers(tensors)
        return self._module(*args, **kwargs)

    def containers(self, tensors: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The tensors as the original forward's arguments and keywords."""
        from torch.utils import _pytree as pytree

        leaves = [tensors[name] if name in self.names else value for name, value in self._slots]
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return args, kwargs

    def fixed(self, tensors: dict[str, Any]) -> Any:
        """The program exported again for exactly the shapes of `tensors`."""
        import torch

        args, kwargs = self.containers(tensors)
        return torch.export.export(self._module, args, kwargs)


def load_program(source: ModelSource) -> tuple[Any, ByName]:
    """Read a `.pt2`; returns the program, and the same as a function.

    Raises:
        BrokenModelFile: truncated or foreign.
        Untrusted: loading it would execute code from it.
        TrainingMode: it was exported in training mode.
    """
    import torch

    assert source.file is not None
    try:
        with warnings.catch_warnings(), _silent("torch.export", "torch._export"):
            warnings.simplefilter("ignore")
            _refuse_libraries(source)
            with contextlib.nullcontext() if source.trust else _tensors_only(source.file):
                packed.recurrent()  # which the program may hold
                program = torch.export.load(str(source.file))
            module = ByName(program)
    except Untrusted:
        raise
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported global" in str(error):
            raise _untrusted(source.file, "pickled objects") from error
        raise BrokenModelFile(
            f"{source.file} is no torch.export archive, or is truncated: {first_line(error)}",
            hint="copy it again, or save it anew with torch.export.save",
            detail=traceback.format_exc(),
        ) from error
    _refuse_training(program)
    return program, module


def load_torchscript(source: ModelSource) -> Any:
    """Read a TorchScript file that the user trusts. Raises Untrusted, BrokenModelFile."""
    import torch

    if not source.trust:
        raise Untrusted(
            f"{source.file} is a TorchScript or pickled module: loading it can execute code from it",
            hint="say --trust if you know where it comes from, or save it with torch.export.save as .pt2",
        )
    try:
        return torch.jit.load(str(source.file), map_location="cpu")
    except Exception as error:
        raise BrokenModelFile(
            f"{source.file} cannot be loaded as TorchScript: {first_line(error)}",
            hint="save it with torch.jit.save, or with torch.export.save as .pt2",
        ) from error


def program_of_script(module: Any, example: dict[str, Any]) -> Any:
    """A TorchScript module as a torch.export program of fixed shapes, which is what the ONNX exporter takes.

    Raises:
        SourceError: PyTorch's converter refuses the module.
    """
    from torch._export.converter import TS2EPConverter

    try:
        with warnings.catch_warnings(), _silent("torch._export", "torch.fx"):
            warnings.simplefilter("ignore")
            converted = TS2EPConverter(module, tuple(example.values())).convert()
            return ByName(converted).fixed(dict(zip(ByName(converted).names, example.values(), strict=True)))
    except Exception as error:
        raise SourceError(
            f"PyTorch cannot turn this TorchScript module into a torch.export program: {first_line(error)}",
            hint="export the original module with torch.export.save as .pt2, or name its factory",
            detail=traceback.format_exc(),
        ) from error


def _untrusted(path: Path, what: str) -> Untrusted:
    return Untrusted(
        f"{path} holds {what}: loading it can execute code from it",
        hint="say --trust if you know where it comes from, or save it anew with torch.export.save",
    )


def _refuse_libraries(source: ModelSource) -> None:
    """torch.export.load would load compiled code that lies in the archive."""
    assert source.file is not None
    if source.trust:
        return
    with zipfile.ZipFile(source.file) as archive:
        if any("/aotinductor/" in f"/{name}" for name in archive.namelist()):
            raise _untrusted(source.file, "compiled code")


@contextlib.contextmanager
def _tensors_only(path: Path) -> Iterator[None]:
    """torch.export.load unpickles anything; meanwhile, only tensors and plain containers come through."""
    import torch

    load, loads = torch.load, pickle.loads

    def load_tensors(*args: Any, **kwargs: Any) -> Any:
        return load(*args, **{**kwargs, "weights_only": True})

    def refuse(*_: Any, **__: Any) -> Any:
        raise _untrusted(path, "pickled objects")

    torch.load, pickle.loads = load_tensors, refuse
    try:
        yield
    finally:
        torch.load, pickle.loads = load, loads


@contextlib.contextmanager
def _silent(*loggers: str) -> Iterator[None]:
    """What these libraries log on the way to an exception is said by the exception."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _refuse_training(program: Any) -> None:
    """A program keeps the mode in which it was exported; name the modules that were in training mode."""
    flags = {"aten.dropout.default": 2, "aten.feature_dropout.default": 2, "aten.batch_norm.default": 5}
    found = []
    for node in program.graph.nodes:
        flag = flags.get(str(node.target))
        if flag is not None and len(node.args) > flag and node.args[flag] is True:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            found.append(own_path(str(stack[-1][0])) if stack and stack[-1][0] else str(node.target))
    if found:
        raise TrainingMode(
            f"the program was exported in training mode: {some(list(dict.fromkeys(found)))}",
            hint="call eval() on the module, then torch.export.export and save it again",
        )
