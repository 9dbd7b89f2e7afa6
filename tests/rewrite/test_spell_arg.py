"""The largest of int64 numbers is looked for among int32 ones; floats stay."""

import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.spell_arg import SpellArg
from tests.rewrite.helpers import check, model, op_types


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize(("kind", "changed"), [(TensorProto.INT64, 1), (TensorProto.INT32, 0), (TensorProto.FLOAT, 0)])
def test_only_int64_is_narrowed(op, kind, changed):
    node = helper.make_node(op, ["x"], ["y"], axis=1, keepdims=0)
    proto = model([node], {"x": (kind, [2, 5])}, {"y": TensorProto.INT64}, opset=13)
    assert op_types(check(proto, SpellArg(), changed=changed)) == [*["Cast"] * changed, op]
