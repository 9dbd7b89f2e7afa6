"""Where on dtypes that onnxruntime has no kernel for."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_where import LegalizeWhere
from tests.rewrite.helpers import check, model

BOOL, FLOAT, INT8, INT16 = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT16


@pytest.mark.parametrize("kind", [BOOL, INT8, INT16])
def test_a_choice_of_small_numbers_is_made_in_int32(kind):
    node = helper.make_node("Where", ["c", "a", "b"], ["y"])
    inputs = {"c": (BOOL, [2, 3]), "a": (kind, [2, 3]), "b": (kind, [3])}
    proto = model([node], inputs, {"y": kind}, opset=13)
    check(proto, LegalizeWhere(), reference=lambda c, a, b: [np.where(c, a, b)], tolerance=0)


def test_a_choice_of_floats_stays():
    node = helper.make_node("Where", ["c", "a", "b"], ["y"])
    inputs = {"c": (BOOL, [2, 3]), "a": (FLOAT, [2, 3]), "b": (FLOAT, [3])}
    check(model([node], inputs, {"y": FLOAT}, opset=13), LegalizeWhere(), changed=0)
