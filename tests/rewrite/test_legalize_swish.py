"""Swish-24 written out."""

import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_swish import LegalizeSwish
from tests.rewrite.helpers import check, model, op_types, random_inputs


@pytest.mark.parametrize("attributes", [{}, {"alpha": 1.0}, {"alpha": 1.7}])
def test_values_agree(attributes):
    node = helper.make_node("Swish", ["x"], ["y"], **attributes)
    proto = model([node], {"x": (TensorProto.FLOAT, [64, 9])}, ["y"], opset=24)
    feeds = {"x": random_inputs(proto)["x"] * 4}
    assert "Swish" not in op_types(check(proto, LegalizeSwish(), feeds=feeds))
