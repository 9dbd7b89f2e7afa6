"""Reshape-14's allowzero."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_reshape import LegalizeReshape
from tests.rewrite.helpers import check, model

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize("allow", [0, 1])
def test_reshape_drops_allowzero(allow):
    node = helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=allow)
    proto = model([node], {"x": (FLOAT, [2, 6])}, ["y"], {"s": np.array([3, -1])}, opset=14)
    check(proto, LegalizeReshape(), tolerance=0)


def test_reshape_keeps_a_copying_zero():
    node = helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=0)
    proto = model([node], {"x": (FLOAT, [2, 6])}, ["y"], {"s": np.array([0, 3, 2])}, opset=14)
    check(proto, LegalizeReshape(), tolerance=0)


def test_reshape_to_nothing_is_refused():
    node = helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=1)
    graph = ir.from_proto(model([node], {"x": (FLOAT, ["n"])}, ["y"], {"s": np.array([0])}, opset=14))
    assert LegalizeReshape().apply(graph) == 0
    assert refused(graph)[0][1] == "it makes an empty tensor"
