"""Two scalars round a matrix product become one."""

import numpy as np
from onnx import TensorProto, helper

from edgeconv.rewrite.fold_scale import FoldScale
from tests.rewrite.helpers import check, model, op_types

INPUTS = {"a": (TensorProto.FLOAT, [2, 3, 4]), "b": (TensorProto.FLOAT, [2, 4, 5])}


def product(outputs):
    nodes = [
        helper.make_node("Mul", ["a", "s"], ["as"]),
        helper.make_node("Mul", ["t", "b"], ["bt"]),
        helper.make_node("MatMul", ["as", "bt"], ["y"]),
    ]
    return model(nodes, INPUTS, outputs, {"s": np.float32(0.5), "t": np.array([0.25], np.float32)}, opset=13)


def test_queries_take_the_scale_of_the_keys():
    after = check(product(["y"]), FoldScale())
    makers = {name: node for node in after.graph.node for name in node.output}
    assert list(makers["y"].input)[1] == "b"
    assert makers[makers["y"].input[0]].op_type == "Mul"


def test_a_scaled_value_that_is_an_output_stays():
    assert op_types(check(product(["y", "bt"]), FoldScale(), changed=0)).count("Mul") == 2
