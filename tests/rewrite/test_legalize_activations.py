"""HardSwish-14, Gelu-20, Mish-18 and Swish-24 written out."""

import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_gelu import LegalizeGelu
from edgeconv.rewrite.legalize_hard_swish import LegalizeHardSwish
from edgeconv.rewrite.legalize_mish import LegalizeMish
from edgeconv.rewrite.legalize_swish import LegalizeSwish
from tests.rewrite.helpers import check, model, op_types, random_inputs

CASES = {
    "hard_swish": ("HardSwish", 14, LegalizeHardSwish(), {}),
    "gelu": ("Gelu", 20, LegalizeGelu(), {}),
    "gelu_tanh": ("Gelu", 20, LegalizeGelu(), {"approximate": "tanh"}),
    "mish": ("Mish", 18, LegalizeMish(), {}),
    "swish": ("Swish", 24, LegalizeSwish(), {}),
    "swish_alpha": ("Swish", 24, LegalizeSwish(), {"alpha": 1.7}),
}


@pytest.mark.parametrize("case", CASES)
def test_values_agree(case):
    op, opset, one, attributes = CASES[case]
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    proto = model([node], {"x": (TensorProto.FLOAT, [64, 9])}, ["y"], opset=opset)
    feeds = {"x": random_inputs(proto)["x"] * 4}
    assert op not in op_types(check(proto, one, feeds=feeds))


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
