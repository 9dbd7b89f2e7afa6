"""BitShift-28 shifts signed integers; 13 unsigned ones only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed

_BITS = {ir.DataType.INT8: 8, ir.DataType.INT16: 16, ir.DataType.INT32: 32, ir.DataType.INT64: 64}
_LONG = ir.DataType.INT64


class LegalizeBitshift(NodePass):
    """Left is a product with a power of two, right a division rounded down; both in int64."""

    ops = frozenset({"BitShift"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """A shift by less than nothing, or by all bits, leaves zeros, or ones of a negative number shifted right."""
        x = needed(node, 0)
        bits = _BITS.get(x.dtype) if x.dtype is not None else None
        if bits is None or x.dtype is None:
            return None
        wide, count = (v if v.dtype == _LONG else build.op("Cast", v, to=_LONG.value) for v in (x, needed(node, 1)))
        right = str(attr(node, "direction")) == "RIGHT"
        last = min(bits, 63) - 1 if right else bits - 1
        zero, top = np.array(0, np.int64), np.array(last, np.int64)
        table = np.left_shift(np.int64(1), np.arange(last + 1, dtype=np.int64))
        power = build.op("Gather", table, build.op("Min", build.op("Max", count, zero), top))
        inside = build.op("And", build.op("GreaterOrEqual", count, zero), build.op("LessOrEqual", count, top))
        if right:
            made = build.op("Div", build.op("Sub", wide, build.op("Mod", wide, power)), power)
            rest = build.op("Where", build.op("Less", wide, zero), np.array(-1, np.int64), zero)
        else:
            made, rest = build.op("Mul", wide, power), build.const(zero, "zero")
        result = build.op("Where", inside, made, rest)
        return [result if x.dtype == _LONG else build.op("Cast", result, to=x.dtype.value)]
