"""The stages by name. Importing this imports no converter."""

from edgeconv.stage import Stage
from edgeconv.stages.onnx import Onnx
from edgeconv.stages.quantize import Quantize
from edgeconv.stages.saved_model import SavedModel
from edgeconv.stages.tflite import Tflite

STAGES: dict[str, type[Stage]] = {kind.name: kind for kind in (Onnx, Quantize, SavedModel, Tflite)}

__all__ = ["STAGES", "Onnx", "Quantize", "SavedModel", "Tflite"]
