"""Channels last: the same numbers, fewer transposes, ends moved only where images are."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite import onnx_tf
from edgeconv.rewrite.layout import groups, last, regroup
from tests.rewrite.helpers import infer, model, op_types, random_inputs

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), output.split(), name=output.split()[0], **attributes)


def prepared(proto, *, ends=True):
    """The graph after all passes, its layouts, and its outputs put back into the model's layouts."""
    found = ir.from_proto(proto)
    result = onnx_tf.prepare(found, channels_last_ends=ends)
    after = ir.to_proto(found)
    feeds = random_inputs(proto)
    turned = {n: a.transpose(result.moved[n]) if n in result.moved else a for n, a in feeds.items()}
    outputs = []
    for value, array in zip(after.graph.output, infer(after, turned), strict=True):
        outputs.append(array.transpose(np.argsort(result.moved[value.name])) if value.name in result.moved else array)
    for want, got in zip(infer(proto, feeds), outputs, strict=True):
        assert want.shape == got.shape
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    return after, result


def own_transposes(proto):
    """Transposes that do not stand beside a conv or pool."""
    spatial = {"Conv", "ConvTranspose", "MaxPool", "AveragePool"}
    makers = {out: n for n in proto.graph.node for out in n.output}
    count = 0
    for n in proto.graph.node:
        if n.op_type != "Transpose":
            continue
        readers = [m.op_type for m in proto.graph.node if n.output[0] in m.input]
        before = makers.get(n.input[0])
        count += not ((before is not None and before.op_type in spatial) or (readers and set(readers) <= spatial))
    return count


IMAGE = {"x": (TensorProto.FLOAT, [1, 4, 8, 8])}
CONV = {"w": weights(6, 4, 3, 3), "v": weights(6, 6, 1, 1)}
FIRST = node("Conv", "x w", "a", pads=[1, 1, 1, 1])


@pytest.mark.parametrize(
    ("name", "nodes", "constants"),
    [
        ("residual", [FIRST, node("Relu", "a", "b"), node("Conv", "b v", "c"), node("Add", "b c", "y")], {}),
        ("per channel", [FIRST, node("Mul", "a s", "b"), node("Add", "b t", "y")],
         {"s": weights(6, 1, 1), "t": weights(1, 6, 1, 1)}),
        ("squeeze and excite", [FIRST, node("ReduceMean", "a", "m", axes=[2, 3], keepdims=1), node("Conv", "m v", "g"),
                                node("Sigmoid", "g", "h"), node("Mul", "a h", "y")], {}),
        ("mean without axes kept", [FIRST, node("ReduceMean", "a", "m", axes=[2, 3], keepdims=0),
                                    node("MatMul", "m p", "y")], {"p": weights(6, 5)}),
        ("concat and slice", [FIRST, node("Concat", "a x", "c", axis=1), node("Slice", "c from to axes", "y")],
         {"from": np.array([1], np.int64), "to": np.array([7], np.int64), "axes": np.array([1], np.int64)}),
        ("pad", [FIRST, node("Pad", "a pads", "p"), node("MaxPool", "p", "y", kernel_shape=[2, 2], strides=[2, 2])],
         {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 4], np.int64)}),
        ("softmax over channels", [FIRST, node("Softmax", "a", "y", axis=1)], {}),
        ("layer norm over channels", [FIRST, node("Transpose", "a", "t", perm=[0, 2, 3, 1]),
                                      node("ReduceMean", "t", "m", axes=[-1], keepdims=1), node("Sub", "t m", "d"),
                                      node("Transpose", "d", "y", perm=[0, 3, 1, 2])], {}),
        ("tokens", [FIRST, node("Reshape", "a shape", "r"), node("Transpose", "r", "t", perm=[0, 2, 1]),
                    node("MatMul", "t p", "y")], {"shape": np.array([1, 6, 64], np.int64), "p": weights(6, 5)}),
        ("argmax over channels", [FIRST, node("ArgMax", "a", "i", axis=1, keepdims=0), node("Cast", "i", "y", to=1)], {}),
        ("flatten", [FIRST, node("Flatten", "a", "f"), node("Relu", "f", "r"), node("Gemm", "r p q", "y", transB=1)],
         {"p": weights(5, 384), "q": weights(5)}),
    ],
)  # fmt: skip
def test_the_numbers_stay_and_no_transpose_is_added(name, nodes, constants):
    after, _ = prepared(model(nodes, IMAGE, ["y"], CONV | constants, opset=13))
    assert own_transposes(after) == 0


def test_a_channel_shuffle_costs_one_transpose():
    nodes = [
        FIRST, node("Reshape", "a five", "r"), node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t four", "s"), node("Conv", "s v", "y"),
    ]  # fmt: skip
    shapes = {"five": np.array([1, 2, 3, 8, 8], np.int64), "four": np.array([1, 6, 8, 8], np.int64)}
    after, _ = prepared(model(nodes, IMAGE, ["y"], CONV | shapes, opset=13))
    assert own_transposes(after) == 1


def test_image_ends_move_and_others_stay():
    nodes = [FIRST, node("MatMul", "z p", "k"), node("Relu", "a", "y")]
    inputs = IMAGE | {"z": (TensorProto.FLOAT, [1, 2, 3, 4])}
    proto = model(nodes, inputs, ["y", "k"], CONV | {"p": weights(4, 5)}, opset=13)
    after, result = prepared(proto)
    assert result.moved == {"x": (0, 2, 3, 1), "y": (0, 2, 3, 1)}
    assert [d.dim_value for d in after.graph.input[0].type.tensor_type.shape.dim] == [1, 8, 8, 4]


def test_ends_can_keep_pytorchs_layout():
    _, result = prepared(model([FIRST, node("Relu", "a", "y")], IMAGE, ["y"], CONV, opset=13), ends=False)
    assert result.moved == {}


def test_a_value_that_is_used_in_both_layouts():
    nodes = [FIRST, node("Reshape", "a flat", "f"), node("Conv", "a v", "y")]
    proto = model(nodes, IMAGE, ["y", "f"], CONV | {"flat": np.array([1, 384], np.int64)}, opset=13)
    prepared(proto)


def test_a_graph_without_images_is_left_alone():
    proto = model(
        [node("MatMul", "x p", "y")], {"x": (TensorProto.FLOAT, [2, 4])}, ["y"], {"p": weights(4, 5)}, opset=13
    )
    after, result = prepared(proto)
    assert op_types(after) == ["MatMul"]
    assert result.moved == {}


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        ([1, 6, 8, 8], [1, 6, 64], [([0], [0]), ([1], [1]), ([2, 3], [2])]),
        ([1, 6, 8, 8], [1, 2, 3, 8, 8], [([0], [0]), ([1], [1, 2]), ([2], [3]), ([3], [4])]),
        ([4, 6], [24], [([0, 1], [0])]),
        ([4, 1], [4], [([0, 1], [0])]),
    ],
)
def test_groups_of_a_reshape(before, after, pairs):
    assert groups(before, after) == pairs


def test_groups_of_shapes_that_do_not_match():
    assert groups([2, 3], [7]) is None


def test_regroup_keeps_what_stands_together():
    assert regroup(last(4), [([0], [0]), ([1], [1]), ([2, 3], [2])]) == ((0, 2, 3, 1), (0, 2, 1))
