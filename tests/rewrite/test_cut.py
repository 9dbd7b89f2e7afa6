"""Part of a graph as a model of its own: it runs, and gives what the whole gives there."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeconv.rewrite.cut import cut, neighbours
from tests.rewrite.helpers import infer, model, op_types


def whole():
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Add", ["b", "a"], ["d"], name="third"),
        helper.make_node("Neg", ["d"], ["y"], name="fourth"),
    ]
    return model(nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], {"c": np.float32([1, -2, 3])}, opset=13)


def test_constants_come_along_and_ends_are_what_others_make_and_read():
    part = cut(whole(), {"first", "second"})
    onnx.checker.check_model(part, full_check=True)
    assert [value.name for value in part.graph.input] == ["x"]
    assert [value.name for value in part.graph.output] == ["a", "b"]
    assert [tensor.name for tensor in part.graph.initializer] == ["c"]
    x = np.float32([[1, 1, 1], [-1, 2, 0]])
    a, b = infer(part, {"x": x})
    assert np.array_equal(a, x * np.float32([1, -2, 3]))
    assert np.array_equal(b, np.maximum(a, 0))


def test_a_node_in_the_middle_takes_inputs():
    part = cut(whole(), {"third"})
    assert op_types(part) == ["Add"]
    assert [value.name for value in part.graph.input] == ["b", "a"]
    assert [value.name for value in part.graph.output] == ["d"]


def test_neighbours_grow_by_one_step_each_way_but_not_over_constants():
    assert neighbours(whole(), {"second"}) == {"first", "second", "third"}
    assert neighbours(whole(), {"fourth"}) == {"third", "fourth"}
