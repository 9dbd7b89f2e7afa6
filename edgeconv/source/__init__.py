"""ModelSource: what the user has, told in plain data, with a digest that needs no import when nothing changed."""

from edgeconv.source.inputs import InputSpec, parse_input
from edgeconv.source.model import ModelSource, Snapshot, parse_reference

__all__ = ["InputSpec", "ModelSource", "Snapshot", "parse_input", "parse_reference"]
