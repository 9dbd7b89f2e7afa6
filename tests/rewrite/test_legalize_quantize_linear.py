"""QuantizeLinear and DequantizeLinear of opset 19 and later."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_quantize_linear import LegalizeQuantizeLinear
from tests.rewrite.helpers import check, model

FLOAT, BOOL, INT8, UINT8 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8


@pytest.mark.parametrize("attributes", [{"saturate": 1}, {"block_size": 0}, {"output_dtype": UINT8}])
def test_quantize_drops_defaults(attributes):
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], **attributes)
    proto = model([node], {"x": (FLOAT, [4])}, {"y": UINT8}, {"s": np.float32(0.1)}, opset=21)
    check(proto, LegalizeQuantizeLinear(), tolerance=0)


@pytest.mark.parametrize("scale", [np.float32(0.1), np.array([0.1, 0.2, 0.3], np.float32)])
def test_quantize_to_int8_gets_a_zero_point(scale):
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], output_dtype=INT8, axis=1)
    proto = model([node], {"x": (FLOAT, [4, 3])}, {"y": INT8}, {"s": scale}, opset=21)
    after = check(proto, LegalizeQuantizeLinear(), tolerance=0)
    assert len(after.graph.node[0].input) == 3


def test_dequantize():
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], block_size=0)
    constants = {"s": np.float32(0.1), "z": np.int8(3)}
    check(model([node], {"x": (INT8, [4])}, ["y"], constants, opset=21), LegalizeQuantizeLinear(), tolerance=0)


def test_types_that_tflite_has_not_are_refused():
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], output_dtype=TensorProto.UINT16)
    proto = model([node], {"x": (FLOAT, [4])}, {"y": TensorProto.UINT16}, {"s": np.float32(1)}, opset=21)
    graph = ir.from_proto(proto)
    assert LegalizeQuantizeLinear().apply(graph) == 0
    assert "int8" in refused(graph)[0][1]
