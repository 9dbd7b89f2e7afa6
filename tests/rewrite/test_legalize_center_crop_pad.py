"""CenterCropPad-18 as Slice and Pad."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgeconv.rewrite.legalize_center_crop_pad import LegalizeCenterCropPad
from tests.rewrite.helpers import check, model

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize(
    ("sizes", "axes"), [([2, 3, 4], None), ([5, 9], [1, 2]), ([3, 8], [-2, -1]), ([4, 7, 6], [0, 1, 2])]
)
def test_center_crop_pad(sizes, axes):
    node = helper.make_node("CenterCropPad", ["x", "s"], ["y"], **({"axes": axes} if axes else {}))
    proto = model([node], {"x": (FLOAT, [4, 7, 6])}, ["y"], {"s": np.array(sizes)}, opset=18)
    reference = ReferenceEvaluator(proto)
    check(proto, LegalizeCenterCropPad(), reference=lambda x: reference.run(None, {"x": x}), tolerance=0)
