"""AveragePool-19 and LpPool-18."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_pool import LegalizePool
from tests.rewrite.helpers import check, infer, model, random_inputs, rewritten

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


@pytest.mark.parametrize("op", ["AveragePool", "LpPool", "MaxPool"])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize(
    "options",
    [
        {"dilations": [2, 2]},
        {"dilations": [2, 1], "strides": [2, 3], "pads": [1, 0, 1, 1]},
        {"strides": [3, 3], "pads": [1, 1, 1, 1], "dilations": [1, 1]},
    ],
)
@pytest.mark.parametrize("include", [0, 1])
def test_dilated_and_rounded_up(op, ceil, options, include):
    extra = {"count_include_pad": include} if op == "AveragePool" else {}
    node = helper.make_node(op, ["x"], ["y"], kernel_shape=[3, 2], ceil_mode=ceil, **options, **extra)
    proto = model([node], {"x": (FLOAT, [1, 2, 7, 8])}, ["y"], opset=19)
    feeds = random_inputs(proto)
    wanted = infer(proto, feeds)[0]
    found = infer(rewritten(proto, LegalizePool())[0], feeds)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_window_of_an_unknown_size_is_refused():
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])
    assert "shape" in _refusal(model([node], {"x": (FLOAT, [1, 2, "h", 5])}, ["y"], opset=19), LegalizePool())
