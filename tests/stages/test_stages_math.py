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


@pytest.mark.parametrize("kind", ["INT32", "INT64"])
def test_integers_divide_towards_zero(kind):
    code = TensorProto.DataType.Value(kind)
    dtype = helper.tensor_dtype_to_np_dtype(code)
    proto = model(
        [helper.make_node("Div", ["x", "y"], ["q"])], {"x": (code, [4]), "y": (code, [4])}, {"q": code}, opset=13
    )
    feeds = {"x": np.array([7, -7, 7, -6], dtype), "y": np.array([2, 2, -2, 3], dtype)}
    np.testing.assert_array_equal(run(proto, feeds)[0], [3, -3, -3, -2])


@pytest.mark.parametrize(("most", "overlap", "least"), [(3, 0.5, 0.0), (2, 0.1, 0.4), (6, 1.0, 0.6)])
@pytest.mark.parametrize("center", [0, 1])
def test_non_max_suppression(most, overlap, least, center):
    rng = np.random.default_rng(0)
    corner, size = rng.random((2, 6, 2)), rng.random((2, 6, 2)) * 0.5 + 0.1
    boxes = np.concatenate([corner, size if center else corner + size], -1).astype(np.float32)
    constants = {"m": np.array([most]), "o": np.array([overlap], np.float32), "l": np.array([least], np.float32)}
    node = helper.make_node("NonMaxSuppression", ["b", "s", "m", "o", "l"], ["y"], center_point_box=center)
    inputs = {"b": (FLOAT, [2, 6, 4]), "s": (FLOAT, [2, 3, 6])}
    proto = model([node], inputs, {"y": TensorProto.INT64}, constants, opset=13)
    feeds = {"b": boxes, "s": rng.random((2, 3, 6)).astype(np.float32)}
    np.testing.assert_array_equal(run(proto, feeds)[0], infer(proto, feeds)[0])


@pytest.mark.parametrize("include", [0, 1])
def test_padded_average_over_three_axes(include):
    node = helper.make_node(
        "AveragePool",
        ["x"],
        ["y"],
        kernel_shape=[2, 3, 3],
        strides=[2, 2, 2],
        pads=[0, 1, 1, 1, 1, 0],
        count_include_pad=include,
    )
    agrees([node], [1, 2, 5, 7, 6])


@pytest.mark.parametrize("options", [{"strides": [2, 2, 2]}, {"strides": [2, 1, 2], "pads": [1, 0, 1, 0, 1, 1]}])
def test_transposed_conv_over_three_axes(options):
    constants = {"w": np.random.default_rng(0).standard_normal((2, 3, 3, 2, 3)).astype(np.float32)}
    agrees([helper.make_node("ConvTranspose", ["x", "w"], ["y"], **options)], [1, 2, 3, 4, 3], constants)


@pytest.mark.parametrize(
    "options", [{"dilations": [2, 2], "strides": [3, 2]}, {"strides": [3, 2], "output_shape": [10, 8]}]
)
def test_transposed_conv_with_a_computed_weight(options):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **options)
    proto = model([node], {"x": (FLOAT, [1, 1, 3, 3]), "w": (FLOAT, [1, 2, 3, 3])}, ["y"], opset=13)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.random((1, 1, 3, 3)).astype(np.float32), "w": rng.random((1, 2, 3, 3)).astype(np.float32)}
    np.testing.assert_allclose(run(proto, feeds)[0], infer(proto, feeds)[0], rtol=1e-5)


def _counting_loop(keep_going):
    """Adds the turn's number to a sum and collects the sums; ends early where `keep_going` is not Identity."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["turn"], ["number"], to=FLOAT),
        helper.make_node("Add", ["sum", "number"], ["next"]),
        helper.make_node("Identity", ["next"], ["row"]),
        *keep_going,
    ]
    inputs = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("sum", FLOAT, [2])]
    outputs = [value("more", TensorProto.BOOL, []), value("next", FLOAT, [2]), value("row", FLOAT, [2])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    loop = helper.make_node("Loop", ["most", "first", "x"], ["last", "rows"], body=body)
    constants = {"most": np.array(5), "first": np.array(True), "limit": np.array(4.0, np.float32)}
    return model([loop], {"x": (FLOAT, [2])}, ["last", "rows"], constants, opset=13)


ENDLESS = [helper.make_node("Identity", ["going"], ["more"])]
EARLY = [
    helper.make_node("ReduceMax", ["next"], ["most_of_all"], keepdims=0),
    helper.make_node("Less", ["most_of_all", "limit"], ["more"]),
]


@pytest.mark.parametrize("keep_going", [ENDLESS, EARLY])
def test_loops_collect_rows(keep_going):
    proto = _counting_loop(keep_going)
    feeds = {"x": np.array([0.5, 1.0], np.float32)}
    for wanted, found in zip(infer(proto, feeds), run(proto, feeds), strict=True):
        np.testing.assert_allclose(found, wanted)
