"""CastLike-15 as Cast."""

import numpy as np
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_cast_like import LegalizeCastLike
from tests.rewrite.helpers import check, model, op_types

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def test_cast_like():
    node = helper.make_node("CastLike", ["x", "z"], ["y"])
    inputs = {"x": (FLOAT, [4]), "z": (TensorProto.INT32, [1])}
    proto = model([node], inputs, {"y": TensorProto.INT32}, opset=15)
    feeds = {"x": np.array([1.7, -2.2, 0, 5], np.float32), "z": np.zeros(1, np.int32)}
    assert op_types(check(proto, LegalizeCastLike(), feeds=feeds, tolerance=0)) == ["Cast"]
