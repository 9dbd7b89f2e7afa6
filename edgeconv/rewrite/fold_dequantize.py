"""Computes DequantizeLinear of a constant: onnx-tf would leave a cast, a subtraction and a product in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, given


class FoldDequantize(NodePass):
    """DequantizeLinear over integer constants becomes the float constant scale · (q − zero point)."""

    ops: ClassVar[frozenset[str]] = frozenset({"DequantizeLinear"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The float constant, or None where the input is computed."""
        q, scale = const_value(given(node, 0)), const_value(given(node, 1))
        zero = const_value(given(node, 2))
        if q is None or scale is None or (zero is None and given(node, 2) is not None):
            return None
        axis = int(attr(node, "axis", 1))
        if scale.ndim == 1 and scale.size > 1:
            around = [1] * q.ndim
            around[axis] = -1
            scale, zero = scale.reshape(around), zero.reshape(around) if zero is not None else None
        shifted = q.astype(np.int32) - (0 if zero is None else zero.astype(np.int32))
        return [build.const((shifted.astype(np.float32) * scale.astype(np.float32)).astype(np.float32), "dequantized")]
