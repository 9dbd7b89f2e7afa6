"""GELU and hard-swish in the spellings that the TFLite converter fuses."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeconv.rewrite.spell_gelu import SpellGelu
from edgeconv.rewrite.spell_hard_swish import SpellHardSwish
from tests.rewrite.helpers import check, model


def live_ops(proto):
    """Op types of what the outputs depend on."""
    found = ir.serde.deserialize_model(proto)
    RemoveUnusedNodesPass()(found)
    return [node.op_type for node in found.graph]


X = {"x": (TensorProto.FLOAT, [2, 5, 7])}


def gelu(order):
    """PyTorch's spellings: the division, then the three factors in some order."""
    constants = {"r": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    head = [
        helper.make_node("Div", ["x", "r"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["a"]),
    ]
    tails = {
        "x·gate·half": [["x", "a"], ["t", "half"]],
        "half·x·gate": [["half", "x"], ["t", "a"]],
        "gate·half·x": [["a", "half"], ["x", "t"]],
    }
    first, second = tails[order]
    tail = [helper.make_node("Mul", first, ["t"]), helper.make_node("Mul", second, ["y"])]
    return model(head + tail, X, ["y"], constants, opset=13)


@pytest.mark.parametrize("order", ["x·gate·half", "half·x·gate", "gate·half·x"])
def test_gelu_is_found_in_any_order(order):
    after = check(gelu(order), SpellGelu())
    assert sorted(live_ops(after)) == ["Add", "Erf", "Mul", "Mul", "Mul"]


def test_gelu_of_a_product():
    proto = gelu("half·x·gate")
    proto.graph.node.insert(0, helper.make_node("Mul", ["z", "z"], ["x"]))
    proto.graph.input[0].name = "z"
    assert sorted(live_ops(check(proto, SpellGelu()))) == ["Add", "Erf", "Mul", "Mul", "Mul", "Mul"]


def test_an_erf_with_another_factor_is_no_gelu():
    proto = gelu("x·gate·half")
    for tensor in proto.graph.initializer:
        if tensor.name == "half":
            tensor.CopyFrom(helper.make_tensor("half", TensorProto.FLOAT, [], [0.7]))
    check(proto, SpellGelu(), changed=0)


def test_hard_swish_and_hard_sigmoid_keep_their_values():
    nodes = [
        helper.make_node("HardSigmoid", ["x"], ["g"], alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", ["x", "g"], ["s"]),
        helper.make_node("HardSigmoid", ["s"], ["h"], alpha=1 / 6, beta=0.5),
        helper.make_node("HardSigmoid", ["h"], ["y"], alpha=0.3, beta=0.4),
    ]
    feeds = {"x": np.linspace(-5, 5, 70, dtype=np.float32).reshape(2, 5, 7)}
    after = check(model(nodes, X, ["y"], opset=13), SpellHardSwish(), feeds=feeds, changed=4)
    assert "HardSigmoid" not in live_ops(after)
