"""Runs a PyTorch model once and notes what torch.export or the ONNX exporter would stumble over, all of it at once.

torch.export stops at the first Python `if` over a tensor. Here the model runs as it is, and every operator that it calls
is seen with the module and the line that called it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeconv.source.calling import own_path
from edgeconv.source.observe import is_users

#: What torch.export adds for side effects: what they check is not part of the result.
_SIDE_EFFECTS = ("with_effects", "aten._linalg_check_errors", "aten._assert", "aten.sym_")
#: What Python's bool(), int(), float(), item() and index access become.
_READS = frozenset({"aten._local_scalar_dense.default"})
_HINTS = {
    "control-flow": "use torch.where or torch.cond there, or compute the value outside the model",
    "complex": "keep real and imaginary part as two real tensors, or a last axis of two",
    "no-onnx": "replace that operator in the model by others that compute the same",
}


def obstacle(
    kind: str, op: str, module: str, place: str, reason: str, hint: str = "", node: str = ""
) -> dict[str, Any]:
    """One finding as plain data: what, where in the model, where in the source, why, and what to try."""
    found = {"kind": kind, "op": op, "module": module, "place": place, "reason": reason}
    return {**found, "hint": hint or _HINTS.get(kind, ""), "node": node}


def grouped(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same without repetitions, each with how often it stands there and the nodes of the graph that it is about."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for entry in found:
        key = tuple(entry[name] for name in ("kind", "op", "module", "place", "reason"))
        group = groups.setdefault(key, {**{k: v for k, v in entry.items() if k != "node"}, "count": 0, "nodes": []})
        group["count"] += 1
        group["nodes"] += [entry["node"]] if entry["node"] else []
    return list(groups.values())


def watch(module: Any, example: dict[str, Any]) -> list[dict[str, Any]]:
    """Obstacles met while the module runs on its example: values read by Python, complex numbers, untranslated operators.

    A read is an obstacle only if it decides something, which cannot be seen from here: ask torch.export first.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from edgeconv.source import loading

    names = (
        {id(child): own_path(name) for name, child in module.named_modules()}
        if hasattr(module, "named_modules")
        else {}
    )
    path: list[str] = [""]
    found: list[dict[str, Any]] = []
    translated = _translated()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            op = str(function)
            if op in _READS:
                reason = "Python reads a tensor's value here, on which the further way through the model depends"
                found.append(obstacle("control-flow", op, path[-1], _line(), reason))
            elif any(isinstance(t, torch.Tensor) and t.is_complex() for t in torch.utils._pytree.tree_leaves(result)):
                found.append(obstacle("complex", op, path[-1], _line(), "TFLite has no complex numbers"))
            elif translated is not None and not op.startswith(_SIDE_EFFECTS) and not translated(function):
                found.append(obstacle("no-onnx", op, path[-1], _line(), "PyTorch's ONNX exporter has no translation"))
            return result

    with _modules(names, path), Watch():
        loading.call(module, example)
    return found


def untranslated(program: Any) -> list[dict[str, Any]]:
    """Operators of a torch.export program that the ONNX exporter has no translation for, after its decompositions."""
    from edgeconv.stages import onnx_translate

    try:
        from torch.onnx._internal.exporter import _decomp, _registration

        registry = _registration.ONNXRegistry.from_torchlib()
        own = onnx_translate.table()
        table = _decomp.create_onnx_friendly_decomposition_table(
            [*_decomp.get_onnx_implemented_overloads(registry), *own]
        )
    except (ImportError, AttributeError, TypeError):  # not public: another torch may have it elsewhere
        return []
    found = []
    for node in program.run_decompositions(table).graph.nodes:
        op = str(node.target)
        if node.op != "call_function" or op.startswith(("<built-in", *_SIDE_EFFECTS)):
            continue
        if registry.is_registered(node.target) or node.target in own:
            continue
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        module = own_path(str(stack[-1][0])) if stack else ""
        place = place_in(node.meta.get("stack_trace") or "")
        found.append(obstacle("no-onnx", op, module, place, "PyTorch's ONNX exporter has no translation"))
    return found


def place_in(trace: str) -> str:
    """Such as "net.py:12: y = a @ b": the innermost line of the user's code in a stack trace as torch.export keeps it.

    Where none of it is the user's, the innermost line outside PyTorch.
    """
    frames: list[tuple[Path, str, str]] = []
    lines = trace.splitlines()
    for number, line in enumerate(lines):
        part = line.strip()
        if part.startswith('File "') and ", line " in part:
            file, _, rest = part.removeprefix('File "').partition('", line ')
            code = lines[number + 1].strip() if number + 1 < len(lines) else ""
            frames.append((Path(file), rest.partition(",")[0].strip(), code))
    outside = [frame for frame in frames if "torch" not in frame[0].parts]
    own = [frame for frame in outside if is_users(frame[0])]
    chosen = own or outside or frames
    if not chosen:
        return ""
    path, at, code = chosen[-1]
    return f"{_short(path)}:{at}" + (f": {code}" if code else "")


def _short(file: Path) -> str:
    """Relative to the working folder where it lies below it."""
    folder = Path.cwd()
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)


def _line() -> str:
    """The innermost line outside PyTorch and edgeconv of the call that is going on; the user's own before others'."""
    import linecache

    frame: Any = sys._getframe(2)
    outside = ""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_file() and "torch" not in file.parts:
            code = linecache.getline(str(file), frame.f_lineno).strip()
            place = f"{_short(file)}:{frame.f_lineno}: {code}"
            if is_users(file):
                return place
            outside = outside or place
        frame = frame.f_back
    return outside


@contextmanager
def _modules(names: dict[int, str], path: list[str]) -> Iterator[None]:
    """Keep the dotted name of the module that runs as the last entry of `path`."""
    from torch.nn.modules import module as hooks

    def enter(child: Any, _: Any) -> None:
        path.append(names.get(id(child), path[-1]))

    def leave(_: Any, __: Any, ___: Any) -> None:
        path.pop()

    handles = [hooks.register_module_forward_pre_hook(enter), hooks.register_module_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _translated() -> Any:
    """Whether an operator has an ONNX translation, or a decomposition into some; None if torch does not tell."""
    from edgeconv.stages import onnx_translate

    try:
        from torch._decomp import decomposition_table
        from torch.onnx._internal.exporter import _registration

        registry = _registration.ONNXRegistry.from_torchlib()
    except (ImportError, AttributeError):
        return None
    own = onnx_translate.table()
    return lambda function: (
        function in own
        or function.namespace not in {"aten", "torchvision"}
        or registry.is_registered(function)
        or function in decomposition_table
        or function.is_view
        or str(function).split(".")[1].endswith("_")  # in place: torch.export makes another of it
        or "alias" in str(function)
    )
