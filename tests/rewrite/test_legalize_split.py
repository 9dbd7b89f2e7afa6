"""num_outputs of Split-18: equal parts need no sizes, unequal ones get them."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_split import LegalizeSplit
from tests.rewrite.helpers import check, model, rewritten


def _split(size, parts, axis=1):
    names = [f"y{i}" for i in range(parts)]
    node = helper.make_node("Split", ["x"], names, axis=axis, num_outputs=parts)
    return model([node], {"x": (TensorProto.FLOAT, [2, size, 3])}, names, opset=18)


@pytest.mark.parametrize(("size", "parts", "sized"), [(6, 3, False), (7, 3, True), (5, 2, True), (4, 1, False)])
def test_parts_agree(size, parts, sized):
    after = check(_split(size, parts), LegalizeSplit(), tolerance=0)
    assert len(after.graph.node[0].input) == 1 + sized


def test_negative_axis():
    check(_split(7, 2, axis=-1), LegalizeSplit(), tolerance=0)


def test_given_sizes_are_left():
    node = helper.make_node("Split", ["x", "s"], ["a", "b"], axis=0)
    proto = model([node], {"x": (TensorProto.FLOAT, [5])}, ["a", "b"], {"s": np.array([2, 3])}, opset=18)
    check(proto, LegalizeSplit(), changed=0)


def test_unknown_size_is_refused():
    node = helper.make_node("Split", ["x"], ["a", "b"], num_outputs=2)
    proto = model([node], {"x": (TensorProto.FLOAT, ["n"])}, ["a", "b"], opset=18)
    with pytest.raises(Exception, match="num_outputs"):
        rewritten(proto, LegalizeSplit())
