"""ModelSource: what the user has, told in plain data, with a digest that needs no import when nothing changed."""

from edgeconv.source.inputs import InputSpec, parse_input
from edgeconv.source.model import PROBE_BATCH, ModelSource, Snapshot, parse_reference

__all__ = ["PROBE_BATCH", "InputSpec", "ModelSource", "Snapshot", "parse_input", "parse_reference"]
