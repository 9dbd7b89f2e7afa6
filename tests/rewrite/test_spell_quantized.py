"""Quantized operators as float arithmetic: the same integers as onnxruntime's, give or take a tie."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_quantize_linear import LegalizeQuantizeLinear
from edgeconv.rewrite.spell_quantized import SpellQuantized
from tests.rewrite.helpers import check, infer, model, op_types, rewritten

T = TensorProto
RNG = np.random.default_rng(0)


def _bytes(*shape, dtype=np.uint8):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize(("dtype", "axis"), [(np.uint8, None), (np.int8, None), (np.int8, 1)])
def test_there_and_back(dtype, axis):
    shape = [] if axis is None else [3]
    scale = (np.full(shape, 0.1) * (1 if axis is None else np.arange(1, 4))).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
    ]
    constants = {"s": scale, "z": np.full(shape, 3, dtype)}
    proto = model(
        nodes,
        {"x": (T.FLOAT, [2, 3, 4])},
        {"y": T.FLOAT, "q": T.UINT8 if dtype is np.uint8 else T.INT8},
        constants,
        opset=13,
    )
    check(proto, SpellQuantized(), changed=2)


@pytest.mark.parametrize(
    ("op", "shapes"), [("MatMulInteger", ([3, 4], [4, 5])), ("ConvInteger", ([1, 2, 5, 5], [3, 2, 3, 3]))]
)
@pytest.mark.parametrize("zeros", [False, True])
def test_integer_products(op, shapes, zeros):
    inputs = {"a": (T.UINT8, shapes[0]), "b": (T.UINT8, shapes[1])}
    constants = {"za": np.array(7, np.uint8), "zb": np.array(130, np.uint8)} if zeros else {}
    proto = model([helper.make_node(op, [*inputs, *constants], ["y"])], inputs, {"y": T.INT32}, constants, opset=13)
    check(proto, SpellQuantized(), feeds={"a": _bytes(*shapes[0]), "b": _bytes(*shapes[1])}, tolerance=0)


def _quantized(op, shapes, weight_scales):
    inputs = {"a": (T.UINT8, shapes[0]), "b": (T.UINT8, shapes[1])}
    scale = np.full(weight_scales, 0.03, np.float32)
    constants = {
        "sa": np.float32(0.02), "za": np.array(120, np.uint8), "sb": scale, "zb": np.full(weight_scales, 110, np.uint8),
        "sy": np.float32(0.5), "zy": np.array(128, np.uint8),
    }  # fmt: skip
    node = helper.make_node(op, ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"], ["y"])
    return model([node], inputs, {"y": T.UINT8}, constants, opset=13), {
        n: _bytes(*s) for n, s in zip("ab", shapes, strict=True)
    }


@pytest.mark.parametrize(
    ("op", "shapes", "weight_scales"),
    [("QLinearMatMul", ([3, 4], [4, 5]), ()), ("QLinearConv", ([1, 2, 5, 5], [3, 2, 3, 3]), ()),
     ("QLinearConv", ([1, 2, 5, 5], [3, 2, 3, 3]), (3,))],
)  # fmt: skip
def test_quantized_products(op, shapes, weight_scales):
    proto, feeds = _quantized(op, shapes, weight_scales)
    wanted = infer(proto, feeds)[0].astype(int)
    found = infer(rewritten(proto, SpellQuantized())[0], feeds)[0].astype(int)
    assert np.abs(wanted - found).max() <= 1
    assert (wanted == found).mean() > 0.95


@pytest.mark.parametrize("values", [[0.0, 2.0, -3.0, 1.5], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
def test_dynamic(values):
    outputs = {"y": T.UINT8, "s": T.FLOAT, "z": T.UINT8}
    proto = model(
        [helper.make_node("DynamicQuantizeLinear", ["x"], list(outputs))], {"x": (T.FLOAT, [4])}, outputs, opset=13
    )
    found = infer(rewritten(proto, SpellQuantized())[0], {"x": np.array(values, np.float32)})
    if any(values):
        for wanted, got in zip(infer(proto, {"x": np.array(values, np.float32)}), found, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6)
    else:
        assert all(np.isfinite(array).all() for array in found)


@pytest.mark.parametrize("block", [False, True])
def test_what_opset_13_does_not_quantize_to(block):
    """int16, and scales by blocks."""
    scale = (
        np.full((2, 2), 0.5, np.float32) * np.arange(1, 5, dtype=np.float32).reshape(2, 2) if block else np.float32(0.5)
    )
    extra = {"axis": 1, "block_size": 3} if block else {}
    node = helper.make_node("DequantizeLinear", ["x", "s"], ["y"], **extra)
    proto = model([node], {"x": (T.INT16, [2, 6])}, ["y"], {"s": scale}, opset=21)
    x = _bytes(2, 6, dtype=np.int16)
    after, _ = rewritten(proto, LegalizeQuantizeLinear())
    assert "DequantizeLinear" not in op_types(after)
    np.testing.assert_allclose(infer(after, {"x": x})[0], x * (np.repeat(scale, 3, 1) if block else scale), rtol=1e-6)
