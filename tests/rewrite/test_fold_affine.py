"""A gain and an offset by feature go into the weights that read them, and the numbers stay the same."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.fold_affine import FoldAffine
from tests.rewrite.helpers import check, model, op_types

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_the_gain_and_bias_of_a_layer_norm_go_into_every_dense_layer_that_reads_it():
    constants = {"g": draw(6), "c": draw(6), "w": draw(6, 5), "v": draw(6, 4), "b": draw(5)}
    nodes = [
        helper.make_node("Mul", ["x", "g"], ["m"]),
        helper.make_node("Add", ["m", "c"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
        helper.make_node("MatMul", ["a", "v"], ["z"]),
    ]  # the first has a bias that takes its share, the second gets one
    proto = model(nodes, {"x": (TensorProto.FLOAT, [2, 3, 6])}, ["y", "z"], constants, opset=13)
    after = check(proto, FoldAffine(), changed=2)
    assert sorted(op_types(after)) == ["Add", "Add", "MatMul", "MatMul"]


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_gemm_with_and_without_bias_and_transposed_weight(trans, bias):
    constants = {"g": draw(1, 6), "w": draw(5, 6) if trans else draw(6, 5)} | ({"b": draw(5)} if bias else {})
    nodes = [
        helper.make_node("Sub", ["g", "x"], ["a"]),
        helper.make_node("Gemm", ["a", "w", *(["b"] if bias else [])], ["y"], transB=trans),
    ]
    after = check(model(nodes, {"x": (TensorProto.FLOAT, [3, 6])}, ["y"], constants, opset=13), FoldAffine())
    assert op_types(after) == ["Gemm"]


@pytest.mark.parametrize(("pads", "changed"), [([0, 0, 0, 0], 2), ([1, 1, 1, 1], 0)])
def test_an_offset_goes_into_a_conv_only_where_nothing_is_padded(pads, changed):
    constants = {"g": draw(3, 1, 1), "c": draw(1, 3, 1, 1), "w": draw(4, 3, 3, 3), "b": draw(4)}
    nodes = [
        helper.make_node("Div", ["x", "g"], ["m"]),
        helper.make_node("Add", ["m", "c"], ["a"]),
        helper.make_node("Conv", ["a", "w", "b"], ["y"], pads=pads),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 7, 7])}, ["y"], constants, opset=13)
    check(proto, FoldAffine(), changed=changed, tolerance=1e-4)


def test_a_factor_goes_into_a_padded_conv():
    constants = {"g": draw(3, 1, 1), "w": draw(4, 3, 3, 3)}
    nodes = [
        helper.make_node("Mul", ["x", "g"], ["m"]),
        helper.make_node("Conv", ["m", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 7, 7])}, ["y"], constants, opset=13)
    assert op_types(check(proto, FoldAffine())) == ["Conv"]


@pytest.mark.parametrize(("gain", "changed"), [((0.5, 0.9), 2), ((0.1, 0.9), 0), ((-0.9, 0.9), 0)])
@pytest.mark.parametrize("pads", [0, 1])
def test_about_equal_positive_gains_go_through_a_relu(gain, changed, pads):
    gains = np.linspace(*gain, 3, dtype=np.float32).reshape(3, 1, 1)
    constants = {"g": gains, "c": draw(1, 3, 1, 1), "w": draw(4, 3, 3, 3), "v": draw(2, 3, 1, 1)}
    nodes = [
        helper.make_node("Mul", ["x", "g"], ["m"]),
        helper.make_node("Add", ["m", "c"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"], pads=[pads] * 4),
        helper.make_node("Conv", ["r", "v"], ["z"]),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 7, 7])}, ["y", "z"], constants, opset=13)
    after = check(proto, FoldAffine(), changed=changed, tolerance=1e-4)
    assert ("Mul" in op_types(after)) == (changed == 0)


def residual():
    return [
        helper.make_node("Mul", ["x", "g"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["p"]),
        helper.make_node("Add", ["p", "m"], ["y"]),
    ]


def by_row():
    return [helper.make_node("Mul", ["x", "r"], ["m"]), helper.make_node("MatMul", ["m", "w"], ["y"])]


def shared():
    return [
        helper.make_node("Mul", ["x", "g"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["p"]),
        helper.make_node("MatMul", ["p", "w"], ["y"]),
    ]


@pytest.mark.parametrize("nodes", [residual(), by_row(), shared()], ids=["residual", "by row", "shared weight"])
def test_what_is_read_elsewhere_or_lies_along_another_axis_stays(nodes):
    constants = {"g": draw(6), "r": draw(3, 1), "w": draw(6, 6)}
    check(model(nodes, {"x": (TensorProto.FLOAT, [3, 6])}, ["y"], constants, opset=13), FoldAffine(), changed=0)
