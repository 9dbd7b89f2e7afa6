"""A model as a torch.export program that the ONNX exporter understands."""

from __future__ import annotations

import contextlib
from typing import Any

from edgeconv.source import traceable
from edgeconv.stages import complex_pairs

_STAYS_COMPLEX = "edgeconv_stays_complex"
_FIXED = "edgeconv_fixed"


def stays_complex(program: Any) -> str:
    """Why complex tensors are still in what `program_of` gave; empty if there are none, or nothing was in their way."""
    return str(getattr(getattr(program, "graph_module", None), "meta", {}).get(_STAYS_COMPLEX, ""))


def warnings_of(program: Any) -> list[str]:
    """What must be said of what `program_of` gave: sentences for the report."""
    names = getattr(getattr(program, "graph_module", None), "meta", {}).get(_FIXED, [])
    if not names:
        return []
    return [
        f"the model reads numbers, as a rule sizes, of {' or '.join(names)}: in the file they are those that the example's "
        "value gives; with another value there what the model does with these numbers stays the same"
    ]


def program_of(loaded: Any) -> Any:
    """The program to hand to torch.onnx.export; the module itself where it cannot be traced in the usual way.

    The exporter then tries others, and says what is wrong.

    Args:
        loaded: `edgeconv.source.loading.Loaded`.
    """
    try:
        return traced(loaded)
    except Exception:  # noqa: BLE001 - see above
        return loaded.module


def traced(loaded: Any) -> Any:
    """The torch.export program. Raises whatever torch.export raises."""
    import torch

    program = loaded.program if loaded.program is not None else _exported(loaded)
    if complex_pairs.has_complex(program):
        try:
            program = complex_pairs.without_complex(program, loaded.example)
        except Exception as error:  # noqa: BLE001 - the exporter knows some operators itself; if it fails, this is told
            program.graph_module.meta[_STAYS_COMPLEX] = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for graph_module in program.graph_module.modules():
        if isinstance(graph_module, torch.fx.GraphModule):
            _equal_bounds(graph_module.graph)
            _promote(graph_module.graph)
    return program


def _exported(loaded: Any) -> Any:
    """The program; numbers that it reads of an input are taken for constants where the input has but one value."""
    steady = {spec.name: loaded.example[spec.name] for spec in loaded.inputs if _has_one_value(spec)}
    try:
        program, _ = _once(loaded, {})
    except Exception:
        if not steady:
            raise
        program = None
    if steady and (program is None or _reads_numbers(program)):
        with (
            contextlib.nullcontext() if program is None else contextlib.suppress(Exception)
        ):  # the first one stands then
            found, seen = _once(loaded, steady)
            if seen.read:
                found.graph_module.meta[_FIXED] = sorted(steady)
            program = found
    return program


def _once(loaded: Any, steady: dict[str, Any]) -> tuple[Any, Any]:
    import torch

    with traceable.followed(loaded.module, steady) as seen:
        return torch.export.export(loaded.module, (), kwargs=dict(loaded.example), strict=False), seen


def _reads_numbers(program: Any) -> bool:
    """Whether sizes are integers that the program reads of tensors."""
    import torch

    return any(
        isinstance(node.meta.get("val"), torch.SymInt)
        and node.target in {aten.item.default, aten._local_scalar_dense.default}
        for aten in [torch.ops.aten]
        for node in program.graph.nodes
    )


def _has_one_value(spec: Any) -> bool:
    return spec.low is not None and spec.low == spec.high and spec.dtype.startswith(("int", "uint"))


def _equal_bounds(graph: Any) -> None:
    """clamp(x, 0.5, 2) with both bounds as floats: of one float and one integer the exporter makes a number and a tensor."""
    import torch

    aten = torch.ops.aten
    for node in graph.nodes:
        if node.target in (
            aten.clamp.default,
            aten.clamp_.default,
            aten.clip.default,
            aten.clip_.default,
            aten.hardtanh.default,
            aten.hardtanh_.default,
        ):
            numbers = [one for one in (*node.args[1:], *node.kwargs.values()) if isinstance(one, (int, float))]
            if any(isinstance(one, float) for one in numbers):
                node.args = (node.args[0], *(_as_float(one) for one in node.args[1:]))
                node.kwargs = {name: _as_float(one) for name, one in node.kwargs.items()}


def _promote(graph: Any) -> None:
    """1.0 - mask, n // 2.5, 2 ** x: tensors of the result's type where the exporter does not see that they must be."""
    import torch

    aten = torch.ops.aten
    rounded = {aten.floor_divide.default, aten.floor_divide.Scalar}
    for node in list(graph.nodes):
        made = node.meta.get("val")
        if node.target not in {aten.rsub.Scalar, aten.pow.Tensor_Tensor, *rounded} or not isinstance(
            made, torch.Tensor
        ):
            continue
        for place, one in enumerate(node.args[:2]):
            known = one.meta.get("val") if isinstance(one, torch.fx.Node) else one
            if isinstance(known, torch.Tensor) and known.dtype != made.dtype:
                with graph.inserting_before(node):
                    new = graph.call_function(aten._to_copy.default, (one,), {"dtype": made.dtype})
                new.meta = {**node.meta, "val": known.to(made.dtype)}
                node.update_arg(place, new)
            elif node.target in rounded and isinstance(known, (int, float)):
                with graph.inserting_before(node):
                    new = graph.call_function(aten.full.default, ([], known), {"dtype": made.dtype})
                new.meta = {**node.meta, "val": made.new_empty(())}
                node.update_arg(place, new)
        if node.target in rounded:
            node.target = aten.floor_divide.default


def _as_float(number: Any) -> Any:
    return float(number) if isinstance(number, int) else number
