"""Keeps factors that widen what they multiply, as [10, 1] · [4], out of the weights behind them.

TensorFlow's converter (2.21) folds a factor of one axis into the FULLY_CONNECTED that reads the product, and does not see that
without the factor its input has one feature instead of four: "expect 'input' num_elements % 4 == 0". A Linear with one input
feature, which series of one number begin with, is such a product. Constants of as many axes as the other side are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, needed, rank


class SpellWide(NodePass):
    """Such constants have as many axes as the other side; a MatMul over one feature is a Mul.

    Args:
        kept: names of weights that a quantized model came with.
    """

    ops: ClassVar[frozenset[str]] = frozenset({"MatMul", "Mul", "Div"})

    def __init__(self, kept: frozenset[str] = frozenset()) -> None:
        self._kept = kept

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The node; None if the constant has all axes, or widens nothing."""
        for place in (1, 0) if node.op_type == "Mul" else (1,):
            data, factor = needed(node, 1 - place), const_value(needed(node, place))
            axes = rank(data) or 0
            if factor is None or axes < 2 or const_value(data) is not None:
                continue
            if data.shape is None or data.shape[-1] != 1:
                continue
            if needed(node, place).name in self._kept:
                continue
            product = node.op_type == "MatMul"
            if factor.dtype.kind != "f" or factor.ndim < 1 or factor.shape[-1] < 2:
                continue
            if factor.ndim != 2 or axes < 3 if product else factor.ndim >= axes:
                continue
            wide = factor.reshape(*[1] * (axes - factor.ndim), *factor.shape)
            return [build.op("Mul" if product else node.op_type, data, build.const(wide, "wide"))]
        return None
