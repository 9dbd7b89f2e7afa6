"""int64 is divided as int32; other types stay."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.spell_division import SpellDivision
from tests.rewrite.helpers import check, model, op_types


@pytest.mark.parametrize(("kind", "changed"), [(TensorProto.INT64, 1), (TensorProto.INT32, 0), (TensorProto.FLOAT, 0)])
def test_only_int64_is_narrowed(kind, changed):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    node = helper.make_node("Div", ["x", "c"], ["y"])
    proto = model([node], {"x": (kind, [2, 5])}, {"y": kind}, {"c": np.array(3, dtype)}, opset=13)
    after = check(proto, SpellDivision(), changed=changed)
    assert op_types(after) == (["Cast", "Cast", "Div", "Cast"] if changed else ["Div"])
