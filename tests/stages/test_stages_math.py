"""Our handlers of functions, selections and resizes against numpy and onnxruntime, op by op, through TensorFlow."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.stages import onnx_tf_compat
from tests.rewrite.helpers import infer, model
from tests.stages.test_stages_handlers import agrees, ops_of

FLOAT = TensorProto.FLOAT
FUNCTIONS = {
    "Acos": (np.arccos, -0.99, 0.99), "Acosh": (np.arccosh, 1.01, 5), "Asin": (np.arcsin, -0.99, 0.99),
    "Asinh": (np.arcsinh, -5, 5),
    "Atan": (np.arctan, -5, 5), "Atanh": (np.arctanh, -0.9, 0.9), "Cosh": (np.cosh, -3, 3), "Sinh": (np.sinh, -3, 3),
    "Tan": (np.tan, -1.2, 1.2),
}  # fmt: skip


def run(proto, feeds):
    import tensorflow as tf

    function = onnx_tf_compat.concrete_function(proto, 13)
    return [value.numpy() for value in function(**{name: tf.constant(array) for name, array in feeds.items()}).values()]


@pytest.mark.parametrize("op", FUNCTIONS)
def test_functions(op):
    compute, low, high = FUNCTIONS[op]
    x = np.linspace(low, high, 101, dtype=np.float32)
    proto = model([helper.make_node(op, ["x"], ["y"])], {"x": (FLOAT, [101])}, ["y"], opset=13)
    np.testing.assert_allclose(run(proto, {"x": x})[0], compute(x), rtol=3e-6, atol=5e-7)


def test_erf():
    x = np.linspace(-4, 4, 1001, dtype=np.float32)
    proto = model([helper.make_node("Erf", ["x"], ["y"])], {"x": (FLOAT, [1001])}, ["y"], opset=13)
    np.testing.assert_allclose(run(proto, {"x": x})[0], infer(proto, {"x": x})[0], atol=4e-7)


@pytest.mark.parametrize(("kind", "direction"), itertools.product(["UINT8", "UINT16", "UINT32"], ["LEFT", "RIGHT"]))
def test_shifts(kind, direction):
    code = TensorProto.DataType.Value(kind)
    dtype = helper.tensor_dtype_to_np_dtype(code)
    node = helper.make_node("BitShift", ["x", "n"], ["y"], direction=direction)
    proto = model([node], {"x": (code, [4]), "n": (code, [4])}, {"y": code}, opset=13)
    feeds = {"x": np.array([1, 5, 200, 255], dtype), "n": np.array([1, 0, 3, 7], dtype)}
    shift = np.left_shift if direction == "LEFT" else np.right_shift
    np.testing.assert_array_equal(run(proto, feeds)[0], shift(feeds["x"], feeds["n"]))


@pytest.mark.parametrize(("axis", "largest"), itertools.product([0, 1, -1], [0, 1]))
def test_top_k(axis, largest):
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=largest)
    outputs = {"y": FLOAT, "i": TensorProto.INT64}
    proto = model([node], {"x": (FLOAT, [4, 3, 5])}, outputs, {"k": np.array([2])}, opset=13)
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    for wanted, found in zip(infer(proto, {"x": x}), run(proto, {"x": x}), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("axes", [[1], [1, 3], [-1, 0], []])
@pytest.mark.parametrize("options", [{}, {"keepdims": 0}, {"noop_with_empty_axes": 1}])
def test_reduce_sum(axes, options):
    agrees([helper.make_node("ReduceSum", ["x", "a"], ["y"], **options)], [2, 3, 4, 5], {"a": np.array(axes, np.int64)})


@pytest.mark.parametrize(("mode", "kind", "rounding"), [("linear", "half_pixel", None), ("linear", "align_corners", None),
    ("linear", "asymmetric", None), ("nearest", "half_pixel", "round_prefer_ceil"), ("nearest", "asymmetric", "floor"),
    ("nearest", "align_corners", "round_prefer_ceil")])  # fmt: skip
@pytest.mark.parametrize("size", [[1, 2, 7, 9], [1, 2, 3, 4], [1, 2, 8, 12]])
def test_resize_is_one_builtin(mode, kind, rounding, size):
    extra = {} if rounding is None else {"nearest_mode": rounding}
    node = helper.make_node(
        "Resize", ["x", "", "", "s"], ["y"], mode=mode, coordinate_transformation_mode=kind, **extra
    )
    function = agrees([node], [1, 2, 4, 6], {"s": np.array(size)})
    assert {"ResizeBilinear" if mode == "linear" else "ResizeNearestNeighbor"} <= ops_of(function)
