"""The row of passes that prepares an opset-13 graph for onnx-tf and for what TFLite makes of its result."""

from __future__ import annotations

import onnx_ir as ir

from edgeconv.rewrite import tidy
from edgeconv.rewrite.base import run
from edgeconv.rewrite.fold_dequantize import FoldDequantize
from edgeconv.rewrite.fold_quantized import FoldQuantized, QuantizedWeight
from edgeconv.rewrite.infer_shapes import infer_shapes
from edgeconv.rewrite.onnx_tf_split import OnnxTfSplit
from edgeconv.rewrite.onnx_tf_squeeze import OnnxTfSqueeze
from edgeconv.rewrite.spell_gelu import SpellGelu
from edgeconv.rewrite.spell_hard_swish import SpellHardSwish


def prepare(model: ir.Model) -> tuple[dict[str, int], list[QuantizedWeight]]:
    """Rewrite in place; returns changed places by pass, and the weights that the quantizer had made integer."""
    folded = FoldQuantized()
    counts = run(model, [folded, FoldDequantize()])
    tidy.fold(model)
    infer_shapes(model)
    counts |= run(model, [SpellGelu(), SpellHardSwish(), OnnxTfSqueeze(), OnnxTfSplit()])
    tidy.fold(model)
    return counts, folded.weights
