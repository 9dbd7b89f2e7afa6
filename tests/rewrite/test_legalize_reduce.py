"""Axes of reductions move from the input to the attribute."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_reduce import LegalizeReduce
from tests.rewrite.helpers import check, model, op_types

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize("op", sorted(LegalizeReduce.ops))
@pytest.mark.parametrize("keep", [0, 1])
def test_axes_become_an_attribute(op, keep):
    node = helper.make_node(op, ["x", "a"], ["y"], keepdims=keep)
    proto = model([node], {"x": (FLOAT, [2, 3, 4])}, ["y"], {"a": np.array([-1, 1])}, opset=18)
    feeds = {"x": np.random.default_rng(0).random((2, 3, 4), np.float32) + 0.5}
    after = check(proto, LegalizeReduce(), feeds=feeds)
    assert op_types(after) == [op]
    assert not after.graph.initializer


def test_axes_from_a_constant_node():
    constant = helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(np.array([0])))
    node = helper.make_node("ReduceMax", ["x", "a"], ["y"])
    after = check(model([constant, node], {"x": (FLOAT, [2, 3])}, ["y"], opset=18), LegalizeReduce())
    assert op_types(after) == ["ReduceMax"]


def test_no_axes_reduce_all():
    node = helper.make_node("ReduceMean", ["x"], ["y"], noop_with_empty_axes=0)
    check(model([node], {"x": (FLOAT, [2, 3])}, ["y"], opset=18), LegalizeReduce())


def test_axes_of_length_zero_reduce_all():
    node = helper.make_node("ReduceMean", ["x", "a"], ["y"])
    check(model([node], {"x": (FLOAT, [2, 3])}, ["y"], {"a": np.zeros(0, np.int64)}, opset=18), LegalizeReduce())


@pytest.mark.parametrize(
    ("op", "single"),
    [
        ("ReduceMax", lambda x: x),
        ("ReduceMean", lambda x: x),
        ("ReduceProd", lambda x: x),
        ("ReduceLogSumExp", lambda x: x),
        ("ReduceL1", np.abs),
        ("ReduceL2", np.abs),
        ("ReduceLogSum", np.log),
        ("ReduceSumSquare", np.square),
    ],
)
def test_noop_does_what_is_left_for_single_elements(op, single):
    node = helper.make_node(op, ["x"], ["y"], noop_with_empty_axes=1)
    proto = model([node], {"x": (FLOAT, [2, 3])}, ["y"], opset=18)
    feeds = {"x": np.random.default_rng(0).random((2, 3), np.float32) + 0.5}
    check(proto, LegalizeReduce(), feeds=feeds, reference=lambda x: [single(x)])


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_booleans(op):
    node = helper.make_node(op, ["x", "a"], ["y"], keepdims=0)
    proto = model([node], {"x": (TensorProto.BOOL, [4, 3])}, {"y": TensorProto.BOOL}, {"a": np.array([1])}, opset=20)
    check(proto, LegalizeReduce(), tolerance=0)


def test_computed_axes_are_left():
    node = helper.make_node("ReduceMean", ["x", "a"], ["y"], keepdims=0)
    inputs = {"x": (FLOAT, [2, 3]), "a": (TensorProto.INT64, [1])}
    proto = model([node], inputs, ["y"], opset=18)
    graph = ir.from_proto(proto)
    assert LegalizeReduce().apply(graph) == 0
    assert "axes are computed" in refused(graph)[0][1]
