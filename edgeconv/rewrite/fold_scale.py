"""Multiplies the two scalars of a matrix product's operands, as attention has them: (a · s)(b · t) is (a · st) b.

PyTorch scales queries and keys by the root of the scale each, to stay within half precision; one product by the whole is left.
Keys that are only transposed then go into the product as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, needed


class FoldScale(NodePass):
    """MatMul of two values that were each multiplied by a scalar for it alone."""

    ops: ClassVar[frozenset[str]] = frozenset({"MatMul"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The product of the plain right operand and the left one, scaled once."""
        left, right = _scaled(needed(node, 0)), _scaled(needed(node, 1))
        if left is None or right is None:
            return None
        both = np.array(left[1] * right[1], np.float32)
        return [build.op("MatMul", build.op("Mul", left[0], both), right[0])]


def _scaled(value: ir.Value) -> tuple[ir.Value, float] | None:
    """The value and the scalar that a Mul takes, if nothing else reads its result."""
    node = value.producer()
    if node is None or node.op_type != "Mul" or node.domain or len(value.uses()) != 1 or value.is_graph_output():
        return None
    for place in (0, 1):
        array = const_value(node.inputs[place])
        if array is not None and array.size == 1 and array.dtype == np.float32:
            return needed(node, 1 - place), float(array.reshape(()))
    return None
