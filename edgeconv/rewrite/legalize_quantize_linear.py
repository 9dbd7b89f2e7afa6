"""QuantizeLinear and DequantizeLinear of opsets 19 to 25 have attributes that 13 does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed

_NEW = frozenset({"saturate", "block_size", "output_dtype", "precision"})


class LegalizeQuantizeLinear(NodePass):
    """Drops the attributes where they say what 13 does anyway, and gives int8 a zero point where it was only named."""

    ops = frozenset({"QuantizeLinear", "DequantizeLinear"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Blocks, and types that 13 does not quantize to, are refused."""
        if not _NEW & set(node.attributes):
            return None
        if attr(node, "block_size", 0):
            return build.refuse("it quantizes in blocks, opset 13 only per tensor or per axis")
        data, scale, zero = needed(node, 0), needed(node, 1), given(node, 2)
        kind = attr(node, "output_dtype", 0)
        if node.op_type == "DequantizeLinear":
            if kind not in (0, ir.DataType.FLOAT.value) or scale.dtype not in (None, ir.DataType.FLOAT):
                return build.refuse("opset 13 dequantizes to float32 only")
            return build.again(drop=_NEW)
        if attr(node, "precision", 0) not in (0, ir.DataType.FLOAT.value):
            return build.refuse("opset 13 quantizes in float32 only")
        if zero is not None or kind in (0, ir.DataType.UINT8.value):
            return build.again(drop=_NEW)
        if kind != ir.DataType.INT8.value or scale.shape is None:
            return build.refuse("opset 13 quantizes to int8 and uint8 only")
        if len(scale.shape) == 0:
            return build.again(data, scale, build.const(np.zeros((), np.int8), "zero_point"), drop=_NEW)
        channels = scale.shape[0]
        if not isinstance(channels, int):
            return build.refuse("the number of its scales is not known")
        return build.again(data, scale, build.const(np.zeros(channels, np.int8), "zero_point"), drop=_NEW)
