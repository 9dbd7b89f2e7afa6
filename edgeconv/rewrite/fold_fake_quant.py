"""Drops the pairs of QuantizeLinear and DequantizeLinear that a static quantizer puts round activations.

The runtime quantizes activations by their own range at each invoke, which is closer to the float model than a range that was
fixed on other data. A pair whose range starts at zero is also what is left of a ReLU that the quantizer took out: it becomes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, given, needed


class FoldFakeQuant(NodePass):
    """DequantizeLinear(QuantizeLinear(x)) with equal scales and zero points becomes x, or Relu(x)."""

    ops: ClassVar[frozenset[str]] = frozenset({"DequantizeLinear"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The value before both, or None where the two differ or a scale is computed."""
        quantize = needed(node, 0).producer()
        if quantize is None or quantize.op_type != "QuantizeLinear":
            return None
        pairs = [(const_value(given(quantize, place)), const_value(given(node, place))) for place in (1, 2)]
        if pairs[0][0] is None or any((a is None) != (b is None) for a, b in pairs):
            return None
        if any(a is not None and b is not None and not np.array_equal(a, b) for a, b in pairs):
            return None
        zero = pairs[1][0] if pairs[1][0] is not None else np.zeros((), np.uint8)
        if np.all(zero == np.iinfo(zero.dtype).min):
            return [build.op("Relu", needed(quantize, 0))]
        return [build.op("Identity", needed(quantize, 0))]
