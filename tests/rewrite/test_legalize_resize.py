"""Resize of opsets 18 and 19: axes, and what has a default that 13 shares."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_resize import LegalizeResize
from tests.rewrite.helpers import check, model, op_types

FLOAT = TensorProto.FLOAT


def _resize(shape=(1, 2, 4, 6), *, scales=None, sizes=None, opset=18, **attributes):
    constants = {}
    if scales is not None:
        constants["s"] = np.array(scales, np.float32)
    if sizes is not None:
        constants["z"] = np.array(sizes, np.int64)
    names = ["x", "", "s" if scales is not None else "", "z" if sizes is not None else ""]
    while not names[-1]:
        names.pop()
    node = helper.make_node("Resize", names, ["y"], **attributes)
    return model([node], {"x": (FLOAT, list(shape))}, ["y"], constants, opset=opset)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("how", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
def test_scales_for_axes(mode, how):
    proto = _resize(scales=[2, 1.5], axes=[2, 3], mode=mode, coordinate_transformation_mode=how, antialias=0)
    check(proto, LegalizeResize())


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_sizes_for_axes(axes):
    check(_resize(sizes=[7, 9], axes=axes, mode="linear", keep_aspect_ratio_policy="stretch"), LegalizeResize())


def test_sizes_for_axes_with_unknown_batch():
    check(_resize(("n", 2, 4, 6), sizes=[7, 9], axes=[2, 3], mode="linear"), LegalizeResize())


def test_defaults_are_dropped():
    check(_resize(scales=[1, 1, 2, 2], mode="nearest", antialias=0), LegalizeResize(), tolerance=0)


def test_plain_resize_is_left():
    check(_resize(scales=[1, 1, 2, 2], mode="nearest"), LegalizeResize(), changed=0)


def test_half_pixel_symmetric_with_whole_sizes():
    how = {"coordinate_transformation_mode": "half_pixel_symmetric", "mode": "linear"}
    check(_resize(scales=[1, 1, 2, 1.5], opset=19, **how), LegalizeResize())
    check(_resize(sizes=[1, 2, 7, 5], opset=19, **how), LegalizeResize())


@pytest.mark.parametrize(
    "attributes",
    [
        {"scales": [1, 1, 0.5, 0.5], "mode": "linear", "antialias": 1},
        {"scales": [1, 1, 0.6, 1.4], "mode": "cubic", "antialias": 1},
        {"sizes": [7, 9], "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
        {"sizes": [7, 9], "axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller", "mode": "linear"},
        {
            "scales": [1, 1, 1.3, 1.3],
            "opset": 19,
            "mode": "linear",
            "coordinate_transformation_mode": "half_pixel_symmetric",
        },
    ],
)
def test_what_13_has_no_word_for_is_written_out(attributes):
    assert "Resize" not in op_types(check(_resize(**attributes), LegalizeResize()))


def test_computed_sizes_are_refused():
    proto = _resize(sizes=[7, 9], axes=[2, 3], antialias=1, mode="linear")
    name = next(name for name in proto.graph.node[-1].input[3:4])
    proto.graph.initializer.remove(next(tensor for tensor in proto.graph.initializer if tensor.name == name))
    proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, [2]))
    graph = ir.from_proto(proto)
    assert LegalizeResize().apply(graph) == 0
    assert "antialiases" in refused(graph)[0][1]
