"""Computes DequantizeLinear of a constant: onnx-tf would leave a cast, a subtraction and a product in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, const_value, given
from edgeconv.rewrite.fold_quantized import QuantizedWeight, is_on_grid

#: By op and which input is its weight, the axis of the weight's output channel.
_OUTPUT_AXIS = {("Conv", 1): 0, ("MatMul", 1): 1, ("Gemm", 1): 1, ("ConvTranspose", 1): 1, ("Gather", 0): 0}


class FoldDequantize(NodePass):
    """DequantizeLinear over integer constants becomes the float constant scale · (q − zero point).

    Attributes:
        weights: those of convs and matrix products with one scale, or one an output channel; filled by `apply`.
    """

    ops: ClassVar[frozenset[str]] = frozenset({"DequantizeLinear"})

    def __init__(self) -> None:
        self.weights: list[QuantizedWeight] = []

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The float constant, or None where the input is computed."""
        q, scale = const_value(given(node, 0)), const_value(given(node, 1))
        zero = const_value(given(node, 2))
        if q is None or scale is None or (zero is None and given(node, 2) is not None):
            return None
        axis, scales = int(attr(node, "axis", 1)), scale
        if scale.ndim == 1 and scale.size > 1:
            around = [1] * q.ndim
            around[axis] = -1
            scale, zero = scale.reshape(around), zero.reshape(around) if zero is not None else None
        shifted = q.astype(np.int32) - (0 if zero is None else zero.astype(np.int32))
        constant = build.const(
            (shifted.astype(np.float32) * scale.astype(np.float32)).astype(np.float32), "dequantized"
        )
        self._note(node, constant, shifted, scales.astype(np.float32), axis)
        return [constant]

    def _note(self, node: ir.Node, constant: ir.Value, shifted: Array, scale: Array, axis: int) -> None:
        """Keep the integers of what a conv, matrix product or table look-up reads as its weight."""
        users = [(usage.node, usage.idx) for usage in node.outputs[0].uses()]
        kinds = {(user.op_type, place, int(attr(user, "transB", 0))) for user, place in users}
        if len(kinds) != 1 or np.abs(shifted).max(initial=0) > np.iinfo(np.int16).max:
            return
        op, place, transposed = kinds.pop()
        out = 0 if transposed else _OUTPUT_AXIS.get((op, place))
        if out is None or (op not in {"Conv", "ConvTranspose"} and shifted.ndim != 2):
            return
        if op == "Gather" and any(attr(user, "axis", 0) != 0 for user, _ in users):
            return
        if scale.size > 1 and axis % shifted.ndim != out:
            return
        integers = np.moveaxis(shifted.astype(np.int16), out, 0)
        on_grid, groups = is_on_grid(integers, scale), int(attr(users[0][0], "group", 1))
        self.weights.append(QuantizedWeight(constant.name or "", op, integers, scale, on_grid, groups))
