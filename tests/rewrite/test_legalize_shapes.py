"""Reshape-14, Shape-15, CastLike-15 and CenterCropPad-18."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_cast_like import LegalizeCastLike
from edgeconv.rewrite.legalize_center_crop_pad import LegalizeCenterCropPad
from edgeconv.rewrite.legalize_reshape import LegalizeReshape
from edgeconv.rewrite.legalize_shape import LegalizeShape
from tests.rewrite.helpers import check, model, op_types

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize("allow", [0, 1])
def test_reshape_drops_allowzero(allow):
    node = helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=allow)
    proto = model([node], {"x": (FLOAT, [2, 6])}, ["y"], {"s": np.array([3, -1])}, opset=14)
    check(proto, LegalizeReshape(), tolerance=0)


def test_reshape_keeps_a_copying_zero():
    node = helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=0)
    proto = model([node], {"x": (FLOAT, [2, 6])}, ["y"], {"s": np.array([0, 3, 2])}, opset=14)
    check(proto, LegalizeReshape(), tolerance=0)


def test_reshape_to_nothing_is_refused():
    node = helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=1)
    graph = ir.from_proto(model([node], {"x": (FLOAT, ["n"])}, ["y"], {"s": np.array([0])}, opset=14))
    assert LegalizeReshape().apply(graph) == 0
    assert refused(graph)[0][1] == "it makes an empty tensor"


@pytest.mark.parametrize(
    ("bounds", "ops"),
    [
        ({"start": 1}, ["Shape", "Slice"]),
        ({"start": -1}, []),
        ({"end": 1}, ["Shape", "Slice"]),
        ({"start": 1, "end": -1}, []),
        ({"start": -2, "end": 9}, []),
        ({"start": 0}, ["Shape"]),
        ({"start": 2, "end": 2}, []),
    ],
)
def test_shape_in_part(bounds, ops):
    node = helper.make_node("Shape", ["x"], ["s"], **bounds)
    copy = helper.make_node("Identity", ["s"], ["y"])
    shape = ["n", 3, 4] if ops != ["Shape", "Slice"] or "end" in bounds else [2, "m", 4]
    proto = model([node, copy], {"x": (FLOAT, shape)}, {"y": INT64}, opset=15)
    assert op_types(check(proto, LegalizeShape(), tolerance=0)) == [*ops, "Identity"]


def test_cast_like():
    node = helper.make_node("CastLike", ["x", "z"], ["y"])
    inputs = {"x": (FLOAT, [4]), "z": (TensorProto.INT32, [1])}
    proto = model([node], inputs, {"y": TensorProto.INT32}, opset=15)
    feeds = {"x": np.array([1.7, -2.2, 0, 5], np.float32), "z": np.zeros(1, np.int32)}
    assert op_types(check(proto, LegalizeCastLike(), feeds=feeds, tolerance=0)) == ["Cast"]


@pytest.mark.parametrize(
    ("sizes", "axes"), [([2, 3, 4], None), ([5, 9], [1, 2]), ([3, 8], [-2, -1]), ([4, 7, 6], [0, 1, 2])]
)
def test_center_crop_pad(sizes, axes):
    node = helper.make_node("CenterCropPad", ["x", "s"], ["y"], **({"axes": axes} if axes else {}))
    proto = model([node], {"x": (FLOAT, [4, 7, 6])}, ["y"], {"s": np.array(sizes)}, opset=18)
    reference = ReferenceEvaluator(proto)
    check(proto, LegalizeCenterCropPad(), reference=lambda x: reference.run(None, {"x": x}), tolerance=0)
