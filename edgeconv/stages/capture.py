"""A model as a torch.export program that the ONNX exporter understands."""

from __future__ import annotations

from typing import Any

from edgeconv.source import traceable
from edgeconv.stages import complex_pairs

_STAYS_COMPLEX = "edgeconv_stays_complex"
_TOLD = "edgeconv_told"


def stays_complex(program: Any) -> str:
    """Why complex tensors are still in what `program_of` gave; empty if there are none, or nothing was in their way."""
    return str(getattr(getattr(program, "graph_module", None), "meta", {}).get(_STAYS_COMPLEX, ""))


def warnings_of(program: Any) -> list[str]:
    """What must be said of what `program_of` gave: sentences for the report."""
    return list(getattr(getattr(program, "graph_module", None), "meta", {}).get(_TOLD, []))


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

    program, told = loaded.program, list[str]()
    if program is None:
        program, told = traceable.exported(loaded.module, loaded.example, loaded.inputs)
    if complex_pairs.has_complex(program):
        try:
            program = complex_pairs.without_complex(program, loaded.example)
        except Exception as error:  # noqa: BLE001 - the exporter knows some operators itself; if it fails, this is told
            program.graph_module.meta[_STAYS_COMPLEX] = (str(error).strip().splitlines() or [type(error).__name__])[0]
    program.graph_module.meta[_TOLD] = told
    for graph_module in program.graph_module.modules():
        if isinstance(graph_module, torch.fx.GraphModule):
            _equal_bounds(graph_module.graph)
            _promote(graph_module.graph)
    return program


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
