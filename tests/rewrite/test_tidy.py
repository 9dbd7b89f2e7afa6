"""Folding leaves a broadcast scalar alone, but not one that a scatter fills."""

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from edgeconv.rewrite import tidy
from tests.rewrite.helpers import model, op_types


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
