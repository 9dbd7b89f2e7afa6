"""What onnx-tf cannot take at opset 13, spelled otherwise."""

import numpy as np
from onnx import TensorProto, helper

from edgeconv.rewrite.fold_dequantize import FoldDequantize
from edgeconv.rewrite.onnx_tf_split import OnnxTfSplit
from edgeconv.rewrite.onnx_tf_squeeze import OnnxTfSqueeze
from tests.rewrite.helpers import check, model, op_types


def test_squeeze_unsqueeze_and_flatten_become_reshape():
    constants = {"a": np.array([0], np.int64), "b": np.array([2], np.int64)}
    nodes = [
        helper.make_node("Squeeze", ["x", "a"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "b"], ["u"]),
        helper.make_node("Flatten", ["u"], ["y"], axis=2),
    ]
    after = check(
        model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 4])}, ["y"], constants, opset=13), OnnxTfSqueeze(), changed=3
    )
    assert set(op_types(after)) == {"Reshape"}


def test_split_becomes_slices():
    nodes = [helper.make_node("Split", ["x", "sizes"], ["a", "b", "c"], axis=-1)]
    constants = {"sizes": np.array([1, 4, 2], np.int64)}
    after = check(model(nodes, {"x": (TensorProto.FLOAT, [2, 7])}, ["a", "b", "c"], constants, opset=13), OnnxTfSplit())
    assert set(op_types(after)) == {"Slice"}


def test_an_even_split_without_sizes_becomes_slices():
    nodes = [helper.make_node("Split", ["x"], ["a", "b"], axis=0)]
    after = check(model(nodes, {"x": (TensorProto.FLOAT, [4, 3])}, ["a", "b"], opset=13), OnnxTfSplit())
    assert set(op_types(after)) == {"Slice"}


def test_a_dequantized_constant_becomes_float():
    constants = {
        "q": np.arange(24, dtype=np.uint8).reshape(4, 6),
        "s": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "z": np.array([128, 0, 7, 255], np.uint8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    after = check(model(nodes, {"x": (TensorProto.FLOAT, [2, 4])}, ["y"], constants, opset=13), FoldDequantize())
    assert op_types(after) == ["MatMul"]
