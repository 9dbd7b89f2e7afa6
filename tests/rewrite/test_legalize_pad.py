"""Pad with axes and with wrapping."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_pad import LegalizePad
from tests.rewrite.helpers import check, model, op_types, random_inputs

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("axes", [[1, 2], [-1, -2], [2]])
def test_axes_are_spread(mode, axes):
    count = len(axes)
    constants = {"p": np.array([1, 2, 0, 1][: 2 * count]), "f": np.float32(1.5), "a": np.array(axes)}
    node = helper.make_node("Pad", ["x", "p", "f" if mode == "constant" else "", "a"], ["y"], mode=mode)
    check(model([node], {"x": (FLOAT, [2, 4, 5])}, ["y"], constants, opset=18), LegalizePad(), tolerance=0)


def test_computed_pads():
    node = helper.make_node("Pad", ["x", "p", "", "a"], ["y"])
    inputs = {"x": (FLOAT, [2, 4, 5]), "p": (TensorProto.INT64, [4])}
    proto = model([node], inputs, ["y"], {"a": np.array([2, 0])}, opset=18)
    feeds = random_inputs(proto) | {"p": np.array([1, 0, 2, 3])}
    check(proto, LegalizePad(), feeds=feeds, tolerance=0)


@pytest.mark.parametrize("pads", [[0, 0, 1, 0, 0, 2], [0, 4, 2, 0, 1, 5], [1, 1, 1, 1, 1, 1]])
def test_wrap(pads):
    node = helper.make_node("Pad", ["x", "p"], ["y"], mode="wrap")
    proto = model([node], {"x": (FLOAT, [2, 4, 5])}, ["y"], {"p": np.array(pads)}, opset=19)
    pairs = list(zip(pads[:3], pads[3:], strict=True))
    after = check(proto, LegalizePad(), reference=lambda x: [np.pad(x, pairs, mode="wrap")], tolerance=0)
    assert set(op_types(after)) == {"Concat", "Slice"}


def test_wrap_without_pads_is_a_copy():
    node = helper.make_node("Pad", ["x", "p"], ["y"], mode="wrap")
    proto = model([node], {"x": (FLOAT, [2])}, ["y"], {"p": np.array([0, 0])}, opset=19)
    assert op_types(check(proto, LegalizePad(), tolerance=0)) == ["Identity"]


@pytest.mark.parametrize("pads", [[3, 0], [-1, 0]])
def test_wrapping_too_far_is_left(pads):
    node = helper.make_node("Pad", ["x", "p"], ["y"], mode="wrap")
    proto = model([node], {"x": (FLOAT, [2])}, ["y"], {"p": np.array(pads)}, opset=19)
    assert LegalizePad().apply(ir.from_proto(proto)) == 0
