"""Long joins become chains of short ones; a max pool behind a ReLU is padded with zeros."""

import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.spell_concat import MOST, SpellConcat
from edgeconv.rewrite.spell_max_pool import SpellMaxPool
from tests.rewrite.helpers import check, model, op_types


def widest(proto):
    return max(len(node.input) for node in proto.graph.node if node.op_type == "Concat")


def test_a_join_of_seven_becomes_a_tree():
    inputs = {f"x{i}": (TensorProto.FLOAT, [1, 2, 3]) for i in range(7)}
    node = helper.make_node("Concat", list(inputs), ["y"], axis=-1)
    assert widest(check(model([node], inputs, ["y"], opset=13), SpellConcat())) <= MOST


def test_joins_that_grow_share_their_beginnings():
    inputs = {f"x{i}": (TensorProto.FLOAT, [1, 2, 3]) for i in range(4)}
    names = list(inputs)
    nodes = [
        helper.make_node("Concat", names[:2], ["a"], axis=1),
        helper.make_node("Concat", names[:3], ["b"], axis=1),
        helper.make_node("Concat", names, ["c"], axis=1),
        helper.make_node("Concat", names, ["other"], axis=2),
    ]
    after = check(model(nodes, inputs, ["a", "b", "c", "other"], opset=13), SpellConcat(), changed=2)
    joins = [list(node.input) for node in after.graph.node if node.op_type == "Concat"]
    assert joins == [["x0", "x1"], ["a", "x2"], ["b", "x3"], names]


POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize("before", ["Relu", "Sigmoid"])
def test_a_max_pool_of_what_is_never_negative_is_padded_with_zeros(before):
    nodes = [helper.make_node(before, ["x"], ["r"]), helper.make_node("MaxPool", ["r"], ["y"], **POOL)]
    after = check(model(nodes, {"x": (TensorProto.FLOAT, [1, 2, 7, 8])}, ["y"], opset=13), SpellMaxPool())
    assert "Pad" in op_types(after)


def test_a_max_pool_of_anything_else_stays():
    nodes = [helper.make_node("Tanh", ["x"], ["r"]), helper.make_node("MaxPool", ["r"], ["y"], **POOL)]
    check(model(nodes, {"x": (TensorProto.FLOAT, [1, 2, 7, 8])}, ["y"], opset=13), SpellMaxPool(), changed=0)
