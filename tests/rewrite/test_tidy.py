"""Folding leaves a broadcast scalar alone, but not one that a scatter fills, and cuts constants that are split."""

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from edgeconv.rewrite import tidy
from tests.rewrite.helpers import infer, model, op_types, random_inputs


def test_a_mask_that_is_scattered_together_becomes_a_constant():
    nodes = [
        helper.make_node(
            "ConstantOfShape", ["shape"], ["zeros"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0])
        ),
        helper.make_node("ScatterND", ["zeros", "where", "what"], ["mask"]),
        helper.make_node("Add", ["x", "mask"], ["y"]),
    ]
    constants = {
        "shape": np.array([4, 4], np.int64),
        "where": np.array([[0], [2]], np.int64),
        "what": np.ones((2, 4), np.float32),
    }
    graph = ir.from_proto(model(nodes, {"x": (TensorProto.FLOAT, [4, 4])}, ["y"], constants, opset=13))
    tidy.fold(graph)
    assert op_types(ir.to_proto(graph)) == ["Add"]


def test_a_constant_that_is_split_and_what_is_computed_from_its_parts_are_constants():
    nodes = [
        helper.make_node("Split", ["whole", "sizes"], ["first", "second"], axis=-1),
        helper.make_node("Transpose", ["second"], ["turned"]),
        helper.make_node("Split", ["turned"], ["third", "fourth"], axis=0),
        helper.make_node("MatMul", ["first", "third"], ["product"]),
        helper.make_node("MatMul", ["x", "product"], ["one"]),
        helper.make_node("Add", ["one", "fourth"], ["y"]),
    ]
    whole = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    constants = {"whole": whole, "sizes": np.array([2, 4], np.int64)}
    proto = model(nodes, {"x": (TensorProto.FLOAT, [2, 4])}, ["y"], constants, opset=13)
    graph = ir.from_proto(proto)
    tidy.fold(graph)
    after = ir.to_proto(graph)
    assert op_types(after) == ["MatMul", "Add"]
    feeds = random_inputs(proto)
    np.testing.assert_allclose(infer(after, feeds)[0], infer(proto, feeds)[0], rtol=1e-5)


def test_a_part_that_is_an_output_stays_one():
    nodes = [helper.make_node("Split", ["whole"], ["a", "b"], axis=0), helper.make_node("Add", ["x", "a"], ["y"])]
    constants = {"whole": np.arange(4, dtype=np.float32)}
    graph = ir.from_proto(model(nodes, {"x": (TensorProto.FLOAT, [2])}, ["y", "b"], constants, opset=13))
    tidy.fold(graph)
    assert op_types(ir.to_proto(graph)) == ["Split", "Add"]
