"""Mish-18 written out."""

from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_mish import LegalizeMish
from tests.rewrite.helpers import check, model, op_types, random_inputs


def test_values_agree():
    node = helper.make_node("Mish", ["x"], ["y"])
    proto = model([node], {"x": (TensorProto.FLOAT, [64, 9])}, ["y"], opset=18)
    feeds = {"x": random_inputs(proto)["x"] * 4}
    assert "Mish" not in op_types(check(proto, LegalizeMish(), feeds=feeds))
