"""Removes branches that add nothing: a conv or matrix product with all-zero weights whose result is only added; and x * 1.

Networks are often built with the last batch norm of each residual branch at zero; folded into its conv, it leaves a conv of
zeros. A trained network has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, given, needed, static_shape


class DropZero(NodePass):
    """x + 0 becomes x, where the zero is a constant or comes out of a conv, MatMul or Gemm with zero weights and bias.

    So does x * 1, which is left of a mask that is constant and leaves no row out.
    """

    ops: ClassVar[frozenset[str]] = frozenset({"Add", "Mul"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The other operand; None unless one changes nothing and the other has the result's shape."""
        shape = static_shape(node.outputs[0])
        if shape is None:
            return None
        idle = _is_zero if node.op_type == "Add" else _is_one
        for kept, other in ((needed(node, 0), needed(node, 1)), (needed(node, 1), needed(node, 0))):
            if static_shape(kept) == shape and const_value(kept) is None and idle(other):
                return [build.op("Identity", kept)] if node.outputs[0].is_graph_output() else [kept]
        return None


def _is_one(value: ir.Value) -> bool:
    array = const_value(value)
    return array is not None and bool(np.all(array == 1))


def _is_zero(value: ir.Value) -> bool:
    array = const_value(value)
    if array is not None:
        return not np.any(array)
    node = value.producer()
    if node is None or node.op_type not in {"Conv", "MatMul", "Gemm", "Mul"}:
        return False
    if node.op_type == "Mul":  # a layer scale of zero
        constants = [array for array in map(const_value, node.inputs) if array is not None]
        return any(not np.any(array) for array in constants)
    weight, bias = const_value(given(node, 1)), given(node, 2)
    bias_array = const_value(bias)
    return (
        weight is not None
        and not np.any(weight)
        and (bias is None or (bias_array is not None and not np.any(bias_array)))
    )
