"""Constant nodes that the exporter's folder leaves."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.fold_rest import FoldRest
from tests.rewrite.helpers import check, model, op_types

X = {"x": (TensorProto.FLOAT, [2, 3])}
TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


def added(node, constants, name="c"):
    """x + what the node makes of constants."""
    return model([node, helper.make_node("Add", ["x", name], ["y"])], X, ["y"], constants, opset=13)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (helper.make_node("GatherElements", ["t", "i"], ["c"], axis=0), {"t": TABLE, "i": np.array([[3, 1, 0]])}),
        (helper.make_node("Split", ["t", "s"], ["c", "d"], axis=0), {"t": TABLE, "s": np.array([1, 3])}),
        (helper.make_node("TopK", ["t", "k"], ["c", "d"], axis=0), {"t": TABLE, "k": np.array([2])}),
    ],
    ids=["shorter-indices", "two-outputs", "two-dtypes"],
)
def test_what_reads_constants_alone_becomes_one(node, constants):
    assert op_types(check(added(node, constants), FoldRest(100))) == ["Add"]


def test_few_elements_are_not_spread_out_into_more_than_allowed():
    tile = helper.make_node("Tile", ["t", "r"], ["c"])
    graph = added(tile, {"t": np.ones((1, 3), np.float32), "r": np.array([2, 1])})
    assert op_types(check(graph, FoldRest(5), changed=0)) == ["Tile", "Add"]
    assert op_types(check(graph, FoldRest(6))) == ["Add"]


@pytest.mark.parametrize("kind", ["ConstantOfShape", "DequantizeLinear", "RandomNormalLike"])
def test_some_stay(kind):
    inputs = {
        "ConstantOfShape": {"s": np.array([2, 3])},
        "DequantizeLinear": {"q": np.ones((2, 3), np.int8), "s": np.float32(0.5)},
        "RandomNormalLike": {"t": np.zeros((2, 3), np.float32)},
    }[kind]
    node = helper.make_node(kind, list(inputs), ["c"])
    assert FoldRest(100).apply(loaded(added(node, inputs))) == 0


def loaded(proto):
    import onnx_ir

    return onnx_ir.serde.deserialize_model(proto)
