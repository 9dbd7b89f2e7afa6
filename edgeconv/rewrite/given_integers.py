"""Makes a graph that came quantized float again, and keeps the integers that it was given.

onnxruntime's dynamic quantizer writes MatMulInteger and ConvInteger, its static one QuantizeLinear and DequantizeLinear round
everything; weights are uint8 or int8, symmetric or not, with one scale or one an output channel. Float again, every such
graph goes the same way, and a weight whose integers fit TFLite's int8 keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, run
from edgeconv.rewrite.fold_dequantize import FoldDequantize
from edgeconv.rewrite.fold_fake_quant import FoldFakeQuant
from edgeconv.rewrite.fold_quantized import FoldQuantized, QuantizedWeight

#: TFLite's int8 weights lie in [−127, 127].
LARGEST = 127


@dataclass(frozen=True)
class Given:
    """A weight as it was given.

    Attributes:
        integers: q − zero point, int16, [out, everything else].
        scale: float32, [out].
    """

    integers: Array
    scale: Array

    def fits(self) -> Array:
        """Which output channels TFLite's int8 can hold as they are; bool, [out]."""
        return np.abs(self.integers).max(axis=1) <= LARGEST


def take(model: ir.Model) -> dict[str, Given]:
    """Make the model float in place.

    Returns:
        What was given, by the name of the float initializer; empty for a float model.
    """
    folded, dequantized = FoldQuantized(), FoldDequantize()
    run(model, [folded, FoldFakeQuant(), dequantized])
    return {weight.name: _given(weight) for weight in [*folded.weights, *dequantized.weights]}


def _given(weight: QuantizedWeight) -> Given:
    rows = weight.integers.reshape(weight.integers.shape[0], -1)
    return Given(rows.astype(np.int16), np.broadcast_to(weight.scale.reshape(-1), rows.shape[:1]).astype(np.float32))
