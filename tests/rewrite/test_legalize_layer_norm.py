"""LayerNormalization-17 written out."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_layer_norm import LegalizeLayerNorm
from tests.rewrite.helpers import check, model, op_types

RNG = np.random.default_rng(1)


def _norm(axis, shape, *, outputs=("y",), bias=True, kind=TensorProto.FLOAT, **attributes):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    constants = {"s": RNG.standard_normal(shape[axis:]).astype(dtype)}
    if bias:
        constants["b"] = RNG.standard_normal(shape[axis:]).astype(dtype)
    node = helper.make_node("LayerNormalization", ["x", *constants], list(outputs), axis=axis, **attributes)
    types = {name: kind if i == 0 else TensorProto.FLOAT for i, name in enumerate(outputs) if name}
    return model([node], {"x": (kind, shape)}, types, constants, opset=17)


@pytest.mark.parametrize("axis", [-1, -2, 1, 0, 2])
def test_any_axis(axis):
    check(_norm(axis, [2, 3, 4]), LegalizeLayerNorm())


def test_without_bias():
    after = check(_norm(-1, [2, 8], bias=False, epsilon=1e-2), LegalizeLayerNorm())
    assert op_types(after) == ["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]


@pytest.mark.parametrize("outputs", [("y", "m"), ("y", "m", "d"), ("y", "", "d")])
def test_mean_and_deviation(outputs):
    check(_norm(-1, [2, 8], outputs=outputs), LegalizeLayerNorm())


def test_half_precision_is_computed_in_float():
    after = check(_norm(-1, [2, 8], kind=TensorProto.FLOAT16), LegalizeLayerNorm(), tolerance=5e-3)
    assert op_types(after).count("Cast") == 2


def test_constant_input_does_not_divide_by_zero():
    feeds = {"x": np.full((2, 8), 3, np.float32)}
    check(_norm(-1, [2, 8]), LegalizeLayerNorm(), feeds=feeds)
