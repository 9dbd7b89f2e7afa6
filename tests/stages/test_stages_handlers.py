"""Our onnx-tf handlers against onnxruntime, op by op, through TensorFlow."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.stages import SavedModel, onnx_tf_compat
from tests.rewrite.helpers import infer, model, random_inputs

RNG = np.random.default_rng(0)


def agrees(nodes, shape, constants=None, tolerance=1e-4, kind=TensorProto.FLOAT):
    proto = model(nodes, {"x": (kind, shape)}, {"y": kind}, constants, opset=13)
    feeds = random_inputs(proto)
    wanted = infer(proto, feeds)[0]
    import tensorflow as tf

    function = onnx_tf_compat.concrete_function(proto, 13)
    found = function(**{name: tf.constant(array) for name, array in feeds.items()})["y"].numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    return function


def ops_of(function):
    return {op.type for op in function.graph.get_operations()}


@pytest.mark.parametrize(
    ("kernel", "pads", "strides", "dilations", "group"),
    [
        ([3, 3], [1, 1, 1, 1], [1, 1], [1, 1], 1),
        ([3, 3], [1, 1, 1, 1], [2, 2], [1, 1], 1),
        ([3, 3], [0, 1, 2, 0], [2, 1], [1, 1], 1),
        ([3, 3], [2, 2, 2, 2], [1, 1], [2, 2], 1),
        ([5, 3], [2, 1, 2, 1], [1, 1], [1, 1], 2),
        ([3, 3], [1, 1, 1, 1], [1, 1], [1, 1], 4),
        ([3, 3], [1, 1, 1, 1], [2, 1], [1, 1], 4),
        ([3, 3], [2, 2, 2, 2], [1, 1], [2, 2], 4),
        ([1, 1], [0, 0, 0, 0], [1, 1], [1, 1], 1),
    ],
)
def test_conv(kernel, pads, strides, dilations, group):
    constants = {
        "w": RNG.standard_normal((8, 4 // group, *kernel)).astype(np.float32),
        "b": RNG.standard_normal(8).astype(np.float32),
    }
    conv = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], pads=pads, strides=strides, dilations=dilations, group=group
    )
    function = agrees([conv], [2, 4, 11, 9], constants)
    assert not {"PyFunc", "Split", "SplitV"} & ops_of(function)


@pytest.mark.parametrize(("group", "stride", "dilation"), itertools.product([1, 2, 6], [1, 2], [1, 3]))
def test_conv_1d(group, stride, dilation):
    constants = {"w": RNG.standard_normal((6, 6 // group, 3)).astype(np.float32)}
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[2, 1], strides=[stride], dilations=[dilation], group=group)
    agrees([conv], [1, 6, 20], constants)


def test_conv_3d():
    constants = {"w": RNG.standard_normal((4, 2, 3, 3, 3)).astype(np.float32)}
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 6, strides=[1, 2, 2])
    agrees([conv], [1, 2, 5, 8, 8], constants)


@pytest.mark.parametrize(
    ("kernel", "attributes", "group"),
    [
        ([2, 2], {"strides": [2, 2]}, 1),
        ([3, 3], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, 1),
        ([4, 4], {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 2),
        ([3, 3], {"strides": [1, 1], "pads": [0, 1, 2, 1]}, 1),
        ([3, 3], {"strides": [2, 2], "dilations": [2, 2]}, 1),
        ([5, 4], {"strides": [3, 2], "auto_pad": "SAME_UPPER"}, 1),
    ],
)
def test_conv_transpose(kernel, attributes, group):
    constants = {
        "w": RNG.standard_normal((4, 6 // group, *kernel)).astype(np.float32),
        "b": RNG.standard_normal(6).astype(np.float32),
    }
    agrees(
        [helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=group, **attributes)], [1, 4, 5, 6], constants
    )


def test_conv_transpose_1d():
    constants = {"w": RNG.standard_normal((4, 3, 4)).astype(np.float32)}
    agrees([helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2], pads=[1, 1])], [1, 4, 9], constants)


POOLS = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
]


@pytest.mark.parametrize("attributes", POOLS)
def test_max_pool(attributes):
    agrees([helper.make_node("MaxPool", ["x"], ["y"], **attributes)], [2, 3, 10, 9])


def test_dilated_max_pool():
    agrees(
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], dilations=[2, 2], strides=[2, 1])],
        [1, 3, 11, 9],
    )


@pytest.mark.parametrize(("attributes", "include"), itertools.product(POOLS, [0, 1]))
def test_average_pool(attributes, include):
    agrees([helper.make_node("AveragePool", ["x"], ["y"], count_include_pad=include, **attributes)], [2, 3, 10, 9])


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(("shape", "kernel"), [([1, 3, 12], [3]), ([1, 3, 6, 8, 8], [2, 2, 2])])
def test_pools_over_one_and_three_axes(op, shape, kernel):
    agrees([helper.make_node(op, ["x"], ["y"], kernel_shape=kernel, strides=kernel)], shape)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode):
    constants = {"pads": np.array([0, 0, 2, 1, 0, 0, 1, 3], np.int64)}
    function = agrees([helper.make_node("Pad", ["x", "pads"], ["y"], mode=mode)], [1, 2, 5, 6], constants)
    assert "PyFunc" not in ops_of(function)


def test_a_negative_pad_crops():
    constants = {"pads": np.array([0, -1, 0, -2, 0, 0, 1, 0], np.int64), "v": np.float32(0.5)}
    agrees([helper.make_node("Pad", ["x", "pads", "v"], ["y"])], [1, 3, 5, 6], constants)


def test_every_handler_class_is_found_by_onnx_tf():
    table = onnx_tf_compat.handlers(13)
    for op in ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "Pad"):
        assert table[op].__module__.startswith("edgeconv."), op
        assert hasattr(table[op], f"version_{onnx.defs.get_schema(op, 13).since_version}")


@pytest.mark.parametrize("axes", [[1], [1, 2, 3], [-1, 0], [], None])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("noop", [0, 1])
def test_sums_run_over_all_axes(axes, keepdims, noop):
    constants = {} if axes is None else {"a": np.array(axes, np.int64)}
    inputs = ["x"] if axes is None else ["x", "a"]
    node = helper.make_node("ReduceSum", inputs, ["y"], keepdims=keepdims, noop_with_empty_axes=noop)
    agrees([node], [2, 3, 4, 5], constants)


def test_every_handlers_text_enters_the_stages_revision():
    folder = Path(onnx_tf_compat.__file__).parent
    modules = {f"edgeconv.stages.{path.stem}" for path in folder.glob("onnx_tf_*.py")}
    assert modules <= set(SavedModel.built_from)


@pytest.mark.parametrize(
    ("shape", "taken", "axis"),
    [
        ([2, 3, 5], [2, 3, 4], -1),
        ([2, 3, 5], [2, 3, 4], 2),
        ([2, 3, 5], [2, 2, 4], -1),
        ([2, 3, 5], [2, 7, 5], 1),
        ([2, 3, 5], [1, 4, 3], -2),
        ([4, 3], [6, 2], 0),
        ([5], [9], -1),
    ],
)
@pytest.mark.parametrize("computed", [True, False])
def test_gather_elements(shape, taken, axis, computed):
    indices = RNG.integers(-shape[axis], shape[axis], taken)
    nodes = [helper.make_node("GatherElements", ["x", "i"], ["y"], axis=axis)]
    if computed:  # depends on the input, and is what it was
        nodes = [
            helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "zero"], ["none"]),
            helper.make_node("Cast", ["none"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Add", ["whole", "known"], ["i"]),
            *nodes,
        ]
    constants = {"known": indices, "zero": np.float32(0)} if computed else {"i": indices}
    agrees(nodes, shape, constants)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.BOOL])
@pytest.mark.parametrize(
    ("shape", "indices", "batch"),
    [
        ([4, 3], [[1], [-1], [0]], 0),
        ([4, 3], [[[1, 2]], [[-1, -3]]], 0),
        ([2, 4, 3], [[[1], [-1]], [[0], [3]]], 1),
        ([2, 4, 3], [[1, -1], [0, 2]], 1),
        ([2, 2, 3, 4], [[[[2]], [[0]]], [[[-1]], [[1]]]], 2),
    ],
)
def test_gather_nd(kind, shape, indices, batch):
    node = helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch)
    function = agrees([node], shape, {"i": np.array(indices, np.int64)}, kind=kind)
    assert "GatherV2" in ops_of(function)
    assert not {"While", "StatelessWhile"} & ops_of(function)
