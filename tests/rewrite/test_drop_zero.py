"""Branches of zeros go; everything else stays."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.drop_zero import DropZero
from tests.rewrite.helpers import check, model

X = {"x": (TensorProto.FLOAT, [1, 3, 4, 4])}


def residual(weight, bias):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "w", "b"], ["c"]),
        helper.make_node("Add", ["c", "r"], ["s"]),
        helper.make_node("Neg", ["s"], ["y"]),
    ]
    constants = {"w": np.full((3, 3, 1, 1), weight, np.float32), "b": np.full(3, bias, np.float32)}
    return model(nodes, X, ["y"], constants, opset=13)


def test_a_conv_of_zeros_adds_nothing():
    check(residual(0, 0), DropZero(), changed=1)


@pytest.mark.parametrize(("weight", "bias"), [(1, 0), (0, 1)])
def test_what_is_not_zero_stays(weight, bias):
    check(residual(weight, bias), DropZero(), changed=0)


def test_a_zero_that_widens_the_result_stays():
    node = helper.make_node("Add", ["x", "z"], ["y"])
    check(model([node], X, ["y"], {"z": np.zeros((2, 1, 1, 1), np.float32)}, opset=13), DropZero(), changed=0)


def test_a_zero_constant_goes():
    node = helper.make_node("Add", ["z", "x"], ["y"])
    check(model([node], X, ["y"], {"z": np.zeros(1, np.float32)}, opset=13), DropZero(), changed=1)
