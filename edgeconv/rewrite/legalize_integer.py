"""Arithmetic that later opsets allow on more types than 13 does: narrow integers, booleans, and float16 sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed

_NARROW = frozenset({ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.UINT16})


class LegalizeInteger(NodePass):
    """Computes in a wider type and casts back; integer overflow wraps round in the cast as it did before."""

    ops = frozenset({"Add", "Sub", "Mul", "Div", "Relu", "CumSum"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Add, Sub, Mul, Div of opset 14 on 8 and 16 bits, Relu-14 on integers, CumSum-14 on float16."""
        data = needed(node, 0)
        if data.dtype is None:
            return None
        if node.op_type == "Relu":
            if not data.dtype.is_integer():
                return None
            if data.dtype in _NARROW or data.dtype.is_signed():
                return [build.op("Max", data, build.const(np.zeros((), data.dtype.numpy()), "zero"))]
            return [build.op("Identity", data)]
        if node.op_type == "CumSum":
            if data.dtype != ir.DataType.FLOAT16:
                return None
            (value,) = build.again(build.op("Cast", data, to=ir.DataType.FLOAT.value), needed(node, 1))
            return [build.op("Cast", value, to=data.dtype.value)]
        if data.dtype == ir.DataType.BOOL and node.op_type == "Add":  # PyTorch's sum of booleans
            return [build.op("Or", data, needed(node, 1))]
        if data.dtype not in _NARROW:
            return None
        wide = [build.op("Cast", needed(node, i), to=ir.DataType.INT32.value) for i in (0, 1)]
        return [build.op("Cast", build.op(node.op_type, *wide), to=data.dtype.value)]
