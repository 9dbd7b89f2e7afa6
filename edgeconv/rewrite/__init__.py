"""Graph passes, one idea a file: imported inside worker processes only, since they import onnx and onnx-ir."""
