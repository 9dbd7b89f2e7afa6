"""A gain or offset per channel, of rank 1, is given a second axis where a matrix product may read the result.

The TFLite converter folds Mul(x, gain) and Add(x, offset) into a FULLY_CONNECTED that follows, but only where the
constant has one axis (FuseMulAndFullyConnected in its optimize pass). Multiplying the weight's rows by the gains of a layer
norm takes it off the grid that the quantizer put it on, so that its integers could no longer be carried.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, needed, rank

#: Behind these, an Add is a bias and a Mul a scale per output channel, which the converter folds without harm.
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})


class SpellAffine(NodePass):
    """[C] becomes [1, C] beside an operand of at least two axes that comes from no product."""

    ops = frozenset({"Mul", "Add", "Sub", "Div"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The same op with the wider constant."""
        for position in (0, 1):
            array, other = const_value(node.inputs[position]), needed(node, 1 - position)
            if array is None or array.ndim != 1 or array.size == 1 or (rank(other) or 0) < 2:
                continue
            producer = other.producer()
            if producer is not None and producer.op_type in _PRODUCTS:
                return None
            inputs = list(node.inputs)
            inputs[position] = build.const(array[None], "row")
            return build.again(*inputs)
        return None
