"""Shape inference over an onnx_ir model, without copying its weights through a protobuf."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass


def infer_shapes(model: ir.Model) -> None:
    """Fill in types and shapes of all values as far as onnx can; never changes what is known."""
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
