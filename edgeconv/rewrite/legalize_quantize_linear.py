"""QuantizeLinear and DequantizeLinear of opsets 19 to 25 have attributes that 13 does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed
from edgeconv.rewrite.spell_quantized import quantized, real

_NEW = frozenset({"saturate", "block_size", "output_dtype", "precision"})


#: Types that opset 13 does not quantize to, and arithmetic can.
_WORDS = frozenset({ir.DataType.INT16, ir.DataType.INT16.value})


class LegalizeQuantizeLinear(NodePass):
    """Drops the attributes where they say what 13 does anyway, and gives int8 a zero point where it was only named."""

    ops = frozenset({"QuantizeLinear", "DequantizeLinear"})

    def _spelled(self, node: ir.Node, build: Builder, reason: str) -> Sequence[ir.Value] | None:
        """As arithmetic."""
        spell = quantized if node.op_type == "QuantizeLinear" else real
        made = spell(node, build, needed(node, 0), needed(node, 1), given(node, 2))
        return build.refuse(reason) if made is None else [made]

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Blocks, and types that 13 does not quantize to, are refused."""
        wide = any(value is not None and value.dtype in _WORDS for value in (needed(node, 0), given(node, 2)))
        if not _NEW & set(node.attributes) and not wide:
            return None
        if attr(node, "block_size", 0):
            return self._spelled(node, build, "it quantizes in blocks of a type that TFLite has not")
        data, scale, zero = needed(node, 0), needed(node, 1), given(node, 2)
        if {data.dtype, zero.dtype if zero is not None else None, attr(node, "output_dtype", 0)} & _WORDS:
            return self._spelled(node, build, "its type is none that TFLite has")
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
