"""Bitwise operators of opset 18 as arithmetic."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_bitwise import LegalizeBitwise
from tests.rewrite.helpers import check, model, op_types

KINDS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def _kind(name):
    return helper.np_dtype_to_tensor_dtype(np.dtype(name))


def _values(name):
    limits = np.iinfo(name)
    return np.array([limits.min, limits.max, 0, 1, 5, limits.max // 2], name)


@pytest.mark.parametrize("name", KINDS)
def test_not(name):
    proto = model(
        [helper.make_node("BitwiseNot", ["x"], ["y"])], {"x": (_kind(name), [6])}, {"y": _kind(name)}, opset=18
    )
    check(proto, LegalizeBitwise(), feeds={"x": _values(name)}, tolerance=0)


@pytest.mark.parametrize("name", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("turned", [False, True])
def test_and_with_low_bits(name, turned):
    node = helper.make_node("BitwiseAnd", ["m", "x"] if turned else ["x", "m"], ["y"])
    masks = np.array([0, 1, 3, 7, 15, 63], name)
    proto = model([node], {"x": (_kind(name), [6])}, {"y": _kind(name)}, {"m": masks}, opset=18)
    after = check(proto, LegalizeBitwise(), feeds={"x": _values(name)}, tolerance=0)
    assert op_types(after) == ["Mod"]


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Not"])
def test_booleans_are_logic(op):
    """ONNX does not allow these, exporters write them all the same."""
    inputs = ["x"] if op == "Not" else ["x", "z"]
    proto = onnx.helper.make_model(
        helper.make_graph(
            [helper.make_node(f"Bitwise{op}", inputs, ["y"])],
            "g",
            [helper.make_tensor_value_info(name, TensorProto.BOOL, [4]) for name in inputs],
            [helper.make_tensor_value_info("y", TensorProto.BOOL, [4])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    logic = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor, "Not": np.logical_not}[op]
    after = check(proto, LegalizeBitwise(), reference=lambda **feeds: [logic(*feeds.values())], tolerance=0)
    assert op_types(after) == [op]
