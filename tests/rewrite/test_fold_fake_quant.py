"""Pairs of QuantizeLinear and DequantizeLinear go; a range from zero on leaves a ReLU."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.fold_fake_quant import FoldFakeQuant
from tests.rewrite.helpers import model, op_types, rewritten


def pair(zero, scale=0.1, other=None):
    constants = {"s": np.float32(scale), "z": zero, "t": np.float32(scale if other is None else other)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "t", "z"], ["d"]),
        helper.make_node("Neg", ["d"], ["y"]),
    ]
    return model(nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], constants, opset=13)


@pytest.mark.parametrize(
    ("zero", "left"),
    [(np.uint8(0), "Relu"), (np.int8(-128), "Relu"), (np.uint8(120), "Identity"), (np.int8(0), "Identity")],
)
def test_a_pair_becomes_what_its_lower_end_means(zero, left):
    after, _ = rewritten(pair(zero), FoldFakeQuant())
    assert op_types(after)[-2:] == [left, "Neg"]


def test_a_pair_with_two_scales_rescales_and_stays():
    after, counts = rewritten(pair(np.uint8(0), other=0.2), FoldFakeQuant())
    assert not counts
    assert "DequantizeLinear" in op_types(after)
