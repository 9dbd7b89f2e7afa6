"""Shape-15 in part."""

import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_shape import LegalizeShape
from tests.rewrite.helpers import check, model, op_types

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


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
