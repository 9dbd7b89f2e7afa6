"""Operators that look for places: OneHot, Unique, MaxPool with indices, RoiAlign, Det; against onnxruntime."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_roi_align import LegalizeRoiAlign
from edgeconv.rewrite.spell_det import SpellDet
from edgeconv.rewrite.spell_is_inf import SpellIsInf
from edgeconv.rewrite.spell_one_hot import SpellOneHot
from edgeconv.rewrite.spell_pool_indices import SpellPoolIndices
from edgeconv.rewrite.spell_unique import SpellUnique
from tests.rewrite.helpers import check, infer, model, op_types, random_inputs, rewritten

T = TensorProto
FLOAT, INT64 = T.FLOAT, T.INT64


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis):
    constants = {"d": np.array(4), "v": np.array([0.5, 2.0], np.float32)}
    proto = model(
        [helper.make_node("OneHot", ["i", "d", "v"], ["y"], axis=axis)],
        {"i": (INT64, [2, 3])},
        ["y"],
        constants,
        opset=13,
    )
    check(proto, SpellOneHot(), feeds={"i": np.array([[0, 3, -1], [-4, 2, 9]])}, tolerance=0)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("outputs", ["y", "yi", "yinc"])
@pytest.mark.parametrize(
    ("kind", "x"), [(FLOAT, [2.0, 1.0, 1.0, 3.0, 4.0, 3.0]), (INT64, [5, -3, 5, 5, -3, 0]), (INT64, [7])]
)
def test_unique(order, outputs, kind, x):
    named = {name: kind if name == "y" else INT64 for name in outputs}
    proto = model(
        [helper.make_node("Unique", ["x"], list(named), sorted=order)], {"x": (kind, [len(x)])}, named, opset=13
    )
    check(proto, SpellUnique(), feeds={"x": np.array(x, helper.tensor_dtype_to_np_dtype(kind))}, tolerance=0)


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize(
    "options", [{"strides": [2, 2]}, {"pads": [1, 0, 1, 1]}, {"dilations": [2, 1], "strides": [1, 2]}]
)
def test_max_pool_with_indices(storage_order, options):
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[3, 2], storage_order=storage_order, **options)
    proto = model([node], {"x": (FLOAT, [2, 3, 7, 6])}, {"y": FLOAT, "i": INT64}, opset=12)
    after = check(proto, SpellPoolIndices(), tolerance=0)
    assert "MaxPool" not in op_types(after)


def test_max_pool_whose_indices_nothing_reads_stays():
    proto = model(
        [helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])],
        {"x": (FLOAT, [1, 1, 4, 4])},
        ["y"],
        opset=12,
    )
    assert op_types(check(proto, SpellPoolIndices())) == ["MaxPool"]


@pytest.mark.parametrize("options", [{}, {"detect_negative": 0}, {"detect_positive": 0}])
def test_infinities(options):
    proto = model([helper.make_node("IsInf", ["x"], ["y"], **options)], {"x": (FLOAT, [5])}, {"y": T.BOOL}, opset=13)
    check(proto, SpellIsInf(), feeds={"x": np.array([1, np.inf, -np.inf, np.nan, 3e38], np.float32)}, tolerance=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_determinants(size):
    proto = model([helper.make_node("Det", ["x"], ["y"])], {"x": (FLOAT, [3, size, size])}, ["y"], opset=13)
    check(proto, SpellDet(), reference=lambda x: [np.linalg.det(x)], tolerance=1e-4)


@pytest.mark.parametrize("half", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_means_over_boxes(half, samples):
    node = helper.make_node("RoiAlign", ["x", "b", "n"], ["y"], output_height=3, output_width=2, sampling_ratio=samples,
                            spatial_scale=0.5, coordinate_transformation_mode=half)  # fmt: skip
    inputs = {"x": (FLOAT, [2, 3, 8, 10]), "b": (FLOAT, [4, 4]), "n": (INT64, [4])}
    proto = model([node], inputs, ["y"], opset=16)
    boxes = np.array([[0, 0, 9, 9], [2, 3, 15, 12], [-6, -2, 4, 5], [10, 10, 30, 30]], np.float32)
    feeds = random_inputs(proto) | {"b": boxes, "n": np.array([0, 1, 1, 0])}
    wanted = infer(proto, feeds)[0]
    after, _ = rewritten(proto, LegalizeRoiAlign())
    np.testing.assert_allclose(infer(after, feeds)[0], wanted, atol=1e-5)
