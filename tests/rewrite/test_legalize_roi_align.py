"""RoiAlign-16 and its ways to map coordinates."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_roi_align import LegalizeRoiAlign
from tests.rewrite.helpers import check, model, op_types

FLOAT = TensorProto.FLOAT


def _refusal(proto, one):
    graph = ir.from_proto(proto)
    assert one.apply(graph) == 0
    return refused(graph)[0][1]


def _roi_align(**attributes):
    constants = {"r": np.array([[0, 0, 3, 3], [1, 2, 5, 6]], np.float32), "b": np.array([0, 0])}
    node = helper.make_node("RoiAlign", ["x", "r", "b"], ["y"], output_height=2, output_width=2, **attributes)
    return model([node], {"x": (FLOAT, [1, 2, 8, 8])}, ["y"], constants, opset=16)


@pytest.mark.parametrize("attributes", [{}, {"coordinate_transformation_mode": "half_pixel"}])
def test_a_number_of_samples_that_depends_on_the_box_is_refused(attributes):
    assert "sampling_ratio" in _refusal(_roi_align(**attributes), LegalizeRoiAlign())


def test_with_a_fixed_number_it_becomes_products():
    """Both ways to map coordinates are in test_spell_search."""
    after = check(_roi_align(sampling_ratio=2, coordinate_transformation_mode="output_half_pixel"), LegalizeRoiAlign())
    assert op_types(after).count("MatMul") == 2
