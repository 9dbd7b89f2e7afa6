"""Gains that the converter would fold into a matrix get a second axis; biases keep one."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.spell_affine import SpellAffine
from tests.rewrite.helpers import check, model

X = {"x": (TensorProto.FLOAT, [2, 5, 4])}
ROW = np.linspace(0.5, 2, 4, dtype=np.float32)
WEIGHT = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize("op", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("names", [["x", "c"], ["c", "x"]])
def test_a_row_gets_an_axis(op, names):
    after = check(model([helper.make_node(op, names, ["y"])], X, ["y"], {"c": ROW}, opset=13), SpellAffine())
    assert [list(tensor.dims) for tensor in after.graph.initializer] == [[1, 4]]


@pytest.mark.parametrize("constant", [np.float32(2), np.ones(1, np.float32), ROW[None]])
def test_other_constants_stay(constant):
    node = helper.make_node("Mul", ["x", "c"], ["y"])
    check(model([node], X, ["y"], {"c": constant}, opset=13), SpellAffine(), changed=0)


def test_a_bias_behind_a_product_stays():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "c"], ["y"])]
    check(model(nodes, X, ["y"], {"c": ROW, "w": WEIGHT}, opset=13), SpellAffine(), changed=0)
