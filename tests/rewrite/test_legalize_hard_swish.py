"""HardSwish-14 written out."""

from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_hard_swish import LegalizeHardSwish
from tests.rewrite.helpers import check, model, op_types, random_inputs


def test_values_agree():
    node = helper.make_node("HardSwish", ["x"], ["y"])
    proto = model([node], {"x": (TensorProto.FLOAT, [64, 9])}, ["y"], opset=14)
    feeds = {"x": random_inputs(proto)["x"] * 4}
    assert "HardSwish" not in op_types(check(proto, LegalizeHardSwish(), feeds=feeds))
