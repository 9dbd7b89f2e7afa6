"""Gives vectors in a MatMul a second axis: TensorFlow's product wants matrices.

A vector times a computed matrix is a product and a sum: the TFLite converter takes the vector's new axis away again and then
refuses its own product. Before a clamp, a product of matrices of which the second is computed gets a third axis: the converter
fuses the clamp into a FULLY_CONNECTED, makes that a BATCH_MATMUL, and loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, needed, rank, static_shape


class SpellMatmul(NodePass):
    """A MatMul with a one-dimensional operand becomes one of matrices between Unsqueeze and Squeeze, or a Mul and a ReduceSum."""

    ops: ClassVar[frozenset[str]] = frozenset({"MatMul"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The nodes; None for matrices."""
        a, b = needed(node, 0), needed(node, 1)
        if rank(b) == 2 and const_value(b) is None and (rank(a) == 1 or _was_vector(a)):
            column = build.op("Reshape", a, build.ints([-1, 1], "column"))
            keep = int(rank(a) == 2)
            return [build.op("ReduceSum", build.op("Mul", column, b), build.ints([0], "axis"), keepdims=keep)]
        if rank(a) == rank(b) == 2 and const_value(b) is None and _is_clamped(node.outputs[0]):
            a, b = (build.op("Unsqueeze", value, build.ints([0], "axis")) for value in (a, b))
            return [build.op("Squeeze", build.op("MatMul", a, b), build.ints([0], "axis"))]
        thin = [axis for axis, value in ((-2, a), (-1, b)) if rank(value) == 1]
        if not thin:
            return None
        if -2 in thin:
            a = build.op("Unsqueeze", a, build.ints([0], "axis"))
        if -1 in thin:
            b = build.op("Unsqueeze", b, build.ints([1], "axis"))
        return [build.op("Squeeze", build.op("MatMul", a, b), build.ints(thin, "axes"))]


def _was_vector(value: ir.Value) -> bool:
    """Whether it is one row, [1, n], made from [n]."""
    shape, maker = static_shape(value), value.producer()
    if shape is None or len(shape) != 2 or shape[0] != 1 or maker is None:
        return False
    return maker.op_type in {"Reshape", "Unsqueeze"} and rank(needed(maker, 0)) == 1


def _is_clamped(value: ir.Value) -> bool:
    """Whether a clamp reads it, at once or reshaped."""
    readers = [use.node for use in value.uses()]
    views = [node for node in readers if node.op_type in {"Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten"}]
    return any(node.op_type in {"Relu", "Clip", "Max", "Min"} for node in readers) or any(
        _is_clamped(view.outputs[0]) for view in views
    )
