"""SpaceToDepth-28 in both orders."""

import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_space_to_depth import LegalizeSpaceToDepth
from tests.rewrite.helpers import check, model

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth(mode):
    node = helper.make_node("SpaceToDepth", ["x"], ["y"], blocksize=2, mode=mode)
    proto = model([node], {"x": (FLOAT, [2, 3, 4, 6])}, ["y"], opset=28)

    def reference(x):
        cells = x.reshape(2, 3, 2, 2, 3, 2)
        order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return [cells.transpose(order).reshape(2, 12, 2, 3)]

    check(proto, LegalizeSpaceToDepth(), reference=reference, tolerance=0)
