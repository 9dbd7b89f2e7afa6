"""Bitwise operators on integers of every width, against numpy."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_bitshift import LegalizeBitshift
from edgeconv.rewrite.legalize_bitwise import LegalizeBitwise
from tests.rewrite.helpers import infer, model, rewritten

KINDS = {"INT64": np.int64, "INT32": np.int32, "INT16": np.int16, "INT8": np.int8, "UINT8": np.uint8}
OPS = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}


@pytest.mark.parametrize(("kind", "op", "mask"), itertools.product(KINDS, OPS, [None, 5, 64]))
def test_any_integers(kind, op, mask):
    dtype, code = KINDS[kind], TensorProto.DataType.Value(kind)
    info, rng = np.iinfo(dtype), np.random.default_rng(0)
    x, other = (rng.integers(info.min, info.max, (3, 5), dtype=dtype, endpoint=True) for _ in range(2))
    other = other if mask is None else np.array(mask, dtype)
    inputs = {"x": (code, [3, 5])} | ({"m": (code, [3, 5])} if mask is None else {})
    constants = {} if mask is None else {"m": other}
    proto = model([helper.make_node(op, ["x", "m"], ["y"])], inputs, {"y": code}, constants, opset=18)
    after, _ = rewritten(proto, LegalizeBitwise())
    found = infer(after, {"x": x} | ({"m": other} if mask is None else {}))[0]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, OPS[op](x, other))


@pytest.mark.parametrize(
    ("kind", "direction"), itertools.product(["INT64", "INT32", "INT16", "INT8"], ["LEFT", "RIGHT"])
)
def test_shifts_of_signed_integers(kind, direction):
    dtype, code = KINDS[kind], TensorProto.DataType.Value(kind)
    info, bits = np.iinfo(dtype), np.iinfo(dtype).bits
    x = np.array([info.min, -8, -1, 0, 1, 5, info.max], dtype)[:, None]
    count = np.array([-1, 0, 1, 3, bits - 2, bits - 1, bits, bits + 1], dtype)[None]
    inputs = {"x": (code, [7, 1]), "n": (code, [1, 8])}
    node = helper.make_node("BitShift", ["x", "n"], ["y"], direction=direction)
    proto = model([node], inputs, {"y": code}, opset=28)
    after, _ = rewritten(proto, LegalizeBitshift())
    inside = (count >= 0) & (count < bits)
    shift = np.left_shift if direction == "LEFT" else np.right_shift
    rest = np.where(x < 0, -1, 0) if direction == "RIGHT" else np.zeros_like(x)
    wanted = np.where(inside, shift(x, np.where(inside, count, 0)), rest).astype(dtype)
    np.testing.assert_array_equal(infer(after, {"x": x, "n": count})[0], wanted)
