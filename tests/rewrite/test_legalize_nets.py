"""BatchNormalization-15, LSTM/GRU/RNN-14, Trilu-14, Col2Im-18, pools, RoiAlign-16, SpaceToDepth-28 and Range-27."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_batch_norm import LegalizeBatchNorm
from edgeconv.rewrite.legalize_col2im import LegalizeCol2im
from edgeconv.rewrite.legalize_pool import LegalizePool
from edgeconv.rewrite.legalize_range import LegalizeRange
from edgeconv.rewrite.legalize_rnn import LegalizeRnn
from edgeconv.rewrite.legalize_roi_align import LegalizeRoiAlign
from edgeconv.rewrite.legalize_space_to_depth import LegalizeSpaceToDepth
from edgeconv.rewrite.legalize_trilu import LegalizeTrilu
from tests.rewrite.helpers import check, model, op_types, random_inputs

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(2)


def _values(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def _refusal(proto, one):
    graph = ir.from_proto(proto)
    assert one.apply(graph) == 0
    return refused(graph)[0][1]


def test_batch_norm():
    constants = {key: np.abs(_values(3)) for key in "sbmv"}
    node = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y"], training_mode=0, epsilon=1e-3)
    check(model([node], {"x": (FLOAT, [2, 3, 4])}, ["y"], constants, opset=15), LegalizeBatchNorm())


def test_batch_norm_that_trains_is_refused():
    constants = {key: np.abs(_values(3)) for key in "sbmv"}
    node = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y", "n", "w"], training_mode=1)
    proto = model([node], {"x": (FLOAT, [2, 3, 4])}, ["y", "n", "w"], constants, opset=15)
    assert "eval()" in _refusal(proto, LegalizeBatchNorm())


def _recurrent(op, layout, directions=1, states=True):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    batch, steps, size, hidden = 2, 4, 3, 5
    constants = {
        "w": _values(directions, gates * hidden, size),
        "r": _values(directions, gates * hidden, hidden),
        "b": _values(directions, 2 * gates * hidden),
    }
    inputs = {"x": (FLOAT, [batch, steps, size] if layout else [steps, batch, size])}
    names = ["x", "w", "r", "b"]
    if states:
        first = [batch, directions, hidden] if layout else [directions, batch, hidden]
        inputs |= {name: (FLOAT, first) for name in (("h", "c") if op == "LSTM" else ("h",))}
        names += ["", *list(inputs)[1:]]
    outputs = ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    direction = "bidirectional" if directions == 2 else "forward"
    node = helper.make_node(op, names, outputs, hidden_size=hidden, layout=layout, direction=direction)
    return model([node], inputs, outputs, constants, opset=14)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("states", [True, False])
def test_recurrent_layout_0(op, states):
    check(_recurrent(op, 0, 2, states), LegalizeRnn())


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("states", [True, False])
def test_recurrent_layout_1(op, states):
    """Against the same operator with the batch second and the transposes done here."""
    proto = _recurrent(op, 1, 2, states)
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    for attribute in plain.graph.node[0].attribute:
        if attribute.name == "layout":
            attribute.i = 0
    for value in (*plain.graph.input, *plain.graph.output):
        value.type.tensor_type.ClearField("shape")
    del plain.graph.value_info[:]

    def reference(**feeds):
        from tests.rewrite.helpers import infer

        turned = {name: np.ascontiguousarray(value.transpose(1, 0, 2)) for name, value in feeds.items()}
        y, *last = infer(plain, turned)
        return [y.transpose(2, 0, 1, 3), *(value.transpose(1, 0, 2) for value in last)]

    check(proto, LegalizeRnn(), reference=reference)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("offset", [None, 0, 1, -2, "computed"])
@pytest.mark.parametrize("shape", [[4, 5], [2, 3, 3], ["n", "r", 4]])
@pytest.mark.parametrize("kind", [FLOAT, TensorProto.INT64, TensorProto.BOOL])
def test_trilu(upper, offset, shape, kind):
    computed = offset == "computed"
    node = helper.make_node("Trilu", ["x"] if offset is None else ["x", "k"], ["y"], upper=upper)
    inputs = {"x": (kind, shape)} | ({"k": (TensorProto.INT64, [])} if computed else {})
    constants = {} if computed or offset is None else {"k": np.int64(offset)}
    proto = model([node], inputs, {"y": kind}, constants, opset=14)
    feeds = random_inputs(proto) | ({"k": np.array(1)} if computed else {})
    check(proto, LegalizeTrilu(), feeds=feeds, tolerance=0)


@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ([6, 5], [2, 2], {}),
        ([9, 8], [3, 3], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([9, 10], [2, 3], {"strides": [2, 1], "dilations": [2, 2]}),
        ([7], [3], {"strides": [3]}),
    ],
)
def test_col2im(image, block, attributes):
    count = len(image)
    strides, dilations = attributes.get("strides", [1] * count), attributes.get("dilations", [1] * count)
    pads = attributes.get("pads", [0] * 2 * count)
    steps = 1
    for i in range(count):
        steps *= (image[i] + pads[i] + pads[i + count] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
    node = helper.make_node("Col2Im", ["x", "i", "b"], ["y"], **attributes)
    shape = [2, 3 * int(np.prod(block)), steps]
    constants = {"i": np.array(image), "b": np.array(block)}
    proto = model([node], {"x": (FLOAT, shape)}, ["y"], constants, opset=18)
    assert op_types(check(proto, LegalizeCol2im())) == ["Reshape", "ConvTranspose"]


def test_pool_without_dilation():
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[1, 1], ceil_mode=1)
    check(model([node], {"x": (FLOAT, [1, 2, 5, 5])}, ["y"], opset=19), LegalizePool())
    node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[1, 1], ceil_mode=0)
    check(model([node], {"x": (FLOAT, [1, 2, 5, 5])}, ["y"], opset=18), LegalizePool())


def test_pool_with_dilation_is_refused():
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])
    assert "dilated" in _refusal(model([node], {"x": (FLOAT, [1, 2, 5, 5])}, ["y"], opset=19), LegalizePool())


def _roi_align(**attributes):
    constants = {"r": np.array([[0, 0, 3, 3], [1, 2, 5, 6]], np.float32), "b": np.array([0, 0])}
    node = helper.make_node("RoiAlign", ["x", "r", "b"], ["y"], output_height=2, output_width=2, **attributes)
    return model([node], {"x": (FLOAT, [1, 2, 8, 8])}, ["y"], constants, opset=16)


def test_roi_align():
    check(_roi_align(coordinate_transformation_mode="output_half_pixel"), LegalizeRoiAlign())


@pytest.mark.parametrize("attributes", [{}, {"coordinate_transformation_mode": "half_pixel"}])
def test_roi_align_with_half_pixel_is_refused(attributes):
    assert "half pixel" in _refusal(_roi_align(**attributes), LegalizeRoiAlign())


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth(mode):
    node = helper.make_node("SpaceToDepth", ["x"], ["y"], blocksize=2, mode=mode)
    proto = model([node], {"x": (FLOAT, [2, 3, 4, 6])}, ["y"], opset=28)

    def reference(x):
        cells = x.reshape(2, 3, 2, 2, 3, 2)
        order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return [cells.transpose(order).reshape(2, 12, 2, 3)]

    check(proto, LegalizeSpaceToDepth(), reference=reference, tolerance=0)


def test_range():
    node = helper.make_node("Range", ["a", "b", "c"], ["y"], stash_type=1)
    constants = {"a": np.float32(0), "c": np.float32(0.5)}
    proto = model([node], {"b": (FLOAT, [])}, ["y"], constants, opset=27)
    reference = ReferenceEvaluator(helper.make_model(_plain_range(), opset_imports=[helper.make_opsetid("", 13)]))
    feeds = {"b": np.float32(3)}
    check(proto, LegalizeRange(), feeds=feeds, reference=lambda b: reference.run(None, {"b": b}))


def _plain_range():
    return helper.make_graph(
        [helper.make_node("Range", ["a", "b", "c"], ["y"])],
        "g",
        [helper.make_tensor_value_info("b", FLOAT, [])],
        [helper.make_tensor_value_info("y", FLOAT, ["n"])],
        [onnx.numpy_helper.from_array(np.float32(v), k) for k, v in (("a", 0), ("c", 0.5))],
    )
