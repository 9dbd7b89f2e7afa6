"""IsInf-20 on half precision."""

import numpy as np
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_is_inf import LegalizeIsInf
from tests.rewrite.helpers import check, model

FLOAT, BOOL, INT8, UINT8 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8


def test_is_inf_of_half_precision():
    node = helper.make_node("IsInf", ["x"], ["y"], detect_negative=0)
    proto = model([node], {"x": (TensorProto.FLOAT16, [4])}, {"y": BOOL}, opset=20)
    feeds = {"x": np.array([1, np.inf, -np.inf, 65504], np.float16)}
    check(proto, LegalizeIsInf(), feeds=feeds, tolerance=0)
