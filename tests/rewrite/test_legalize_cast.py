"""Cast-19 without what concerns 8-bit floats."""

from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_cast import LegalizeCast
from tests.rewrite.helpers import check, model

FLOAT, BOOL, INT8, UINT8 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8


def test_cast():
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32, saturate=1)
    check(model([node], {"x": (FLOAT, [6])}, {"y": TensorProto.INT32}, opset=19), LegalizeCast(), tolerance=0)
