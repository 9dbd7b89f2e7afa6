"""Gelu-20 in both forms."""

import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_gelu import LegalizeGelu
from tests.rewrite.helpers import check, model, op_types, random_inputs


@pytest.mark.parametrize("attributes", [{}, {"approximate": "none"}, {"approximate": "tanh"}])
def test_values_agree(attributes):
    node = helper.make_node("Gelu", ["x"], ["y"], **attributes)
    proto = model([node], {"x": (TensorProto.FLOAT, [64, 9])}, ["y"], opset=20)
    feeds = {"x": random_inputs(proto)["x"] * 4}
    assert "Gelu" not in op_types(check(proto, LegalizeGelu(), feeds=feeds))


@pytest.mark.parametrize(("approximate", "order"), [("none", "Mul Erf Mul Add Mul"), ("tanh", None)])
def test_gelu_has_the_converters_spelling(approximate, order):
    node = helper.make_node("Gelu", ["x"], ["y"], approximate=approximate)
    after = check(model([node], {"x": (TensorProto.FLOAT, [8])}, ["y"], opset=20), LegalizeGelu())
    assert "Div" not in op_types(after)
    if order:
        assert sorted(op_types(after)) == sorted(order.split())


def test_half_precision_keeps_its_type():
    node = helper.make_node("Gelu", ["x"], ["y"])
    proto = model([node], {"x": (TensorProto.FLOAT16, [8])}, {"y": TensorProto.FLOAT16}, opset=20)
    check(proto, LegalizeGelu(), tolerance=5e-3)
