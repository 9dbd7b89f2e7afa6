"""edgeconv turns a PyTorch model into a .tflite for a phone, with the proof that it still is the same model."""
