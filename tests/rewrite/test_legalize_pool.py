"""AveragePool-19 and LpPool-18."""

import onnx_ir as ir
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_pool import LegalizePool
from tests.rewrite.helpers import check, model

FLOAT = TensorProto.FLOAT


def _refusal(proto, one):
    graph = ir.from_proto(proto)
    assert one.apply(graph) == 0
    return refused(graph)[0][1]


def test_pool_without_dilation():
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[1, 1], ceil_mode=1)
    check(model([node], {"x": (FLOAT, [1, 2, 5, 5])}, ["y"], opset=19), LegalizePool())
    node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[1, 1], ceil_mode=0)
    check(model([node], {"x": (FLOAT, [1, 2, 5, 5])}, ["y"], opset=18), LegalizePool())


def test_pool_with_dilation_is_refused():
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])
    assert "dilated" in _refusal(model([node], {"x": (FLOAT, [1, 2, 5, 5])}, ["y"], opset=19), LegalizePool())
