"""Equal weights are held once."""

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from edgeconv.rewrite.merge_weights import MergeWeights
from tests.rewrite.helpers import check, model

N = helper.make_node
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def graph():
    nodes = [N("MatMul", ["x", "a"], ["h"]), N("MatMul", ["x", "b"], ["g"]), N("Add", ["h", "g"], ["s"])]
    nodes += [N("Reshape", ["s", "c"], ["t"]), N("Add", ["t", "d"], ["y"])]
    held = {"a": WEIGHT, "b": WEIGHT.copy(), "c": np.array([4, 2]), "d": np.float32(1)}
    return model(nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], held, opset=13)


def test_equal_ones_become_one_and_others_stay():
    after = check(graph(), MergeWeights())
    assert sorted(tensor.name for tensor in after.graph.initializer) == ["a", "c", "d"]


def test_a_weight_that_is_not_contiguous():
    loaded = ir.serde.deserialize_model(graph())
    loaded.graph.initializers["b"].const_value = ir.tensor(np.asfortranarray(WEIGHT), name="b")
    assert MergeWeights().apply(loaded) == 1


def test_types_count():
    loaded = ir.serde.deserialize_model(graph())
    loaded.graph.initializers["b"].const_value = ir.tensor(WEIGHT.view(np.int32), name="b")
    assert MergeWeights().apply(loaded) == 0


def test_a_number_is_no_list_of_one():
    nodes = [N("Gather", ["x", "i"], ["row"]), N("Gather", ["x", "j"], ["rows"]), N("Add", ["row", "rows"], ["y"])]
    held = {"i": np.array(1), "j": np.array([1])}
    proto = model(nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], held, opset=13)
    check(proto, MergeWeights(), changed=0)
