"""The bundled sample: a trained model to convert on the first day, as a user's own model file would stand."""
