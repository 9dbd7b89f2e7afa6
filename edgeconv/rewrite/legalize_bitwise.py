"""The bitwise operators of opset 18 are not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, needed

_NARROW = frozenset({ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.UINT16})


class LegalizeBitwise(NodePass):
    """Logic for booleans, arithmetic for what arithmetic can say: NOT, and AND with a mask of low bits."""

    ops = frozenset({"BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The rest has no arithmetic of bearable size."""
        data = needed(node, 0)
        if data.dtype == ir.DataType.BOOL:
            return [build.op(node.op_type.removeprefix("Bitwise"), *node.inputs)]
        if data.dtype is not None and node.op_type == "BitwiseNot":
            return [self._not(build, data, data.dtype)]
        if data.dtype is not None and node.op_type == "BitwiseAnd":
            for value, other in ((data, needed(node, 1)), (needed(node, 1), data)):
                mask = const_value(other)
                if mask is not None and mask.size and (mask >= 0).all() and not (mask & (mask + 1)).any():
                    if int(mask.max()) == np.iinfo(mask.dtype).max:
                        continue
                    return [build.op("Mod", value, build.const(mask + np.array(1, mask.dtype), "modulus"))]
        return build.refuse("opset 13 has no bitwise operators on integers")

    def _not(self, build: Builder, data: ir.Value, dtype: ir.DataType) -> ir.Value:
        """All ones minus x where there is no sign, -x - 1 where there is one."""
        wide = build.op("Cast", data, to=ir.DataType.INT32.value) if dtype in _NARROW else data
        kind = np.dtype(np.int32) if dtype in _NARROW else dtype.numpy()
        if dtype.is_signed():
            value = build.op("Sub", build.op("Neg", wide), build.const(np.array(1, kind), "one"))
        else:
            value = build.op("Sub", build.const(np.array(np.iinfo(dtype.numpy()).max, kind), "ones"), wide)
        return build.op("Cast", value, to=dtype.value) if dtype in _NARROW else value
