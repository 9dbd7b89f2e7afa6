"""Cast-19, QuantizeLinear-19 and later, IsInf-20, and arithmetic on types that 13 does not take."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_cast import LegalizeCast
from edgeconv.rewrite.legalize_integer import LegalizeInteger
from edgeconv.rewrite.legalize_is_inf import LegalizeIsInf
from edgeconv.rewrite.legalize_quantize_linear import LegalizeQuantizeLinear
from tests.rewrite.helpers import check, model, op_types, rewritten

FLOAT, BOOL, INT8, UINT8 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8


def test_cast():
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32, saturate=1)
    check(model([node], {"x": (FLOAT, [6])}, {"y": TensorProto.INT32}, opset=19), LegalizeCast(), tolerance=0)


def test_is_inf_of_half_precision():
    node = helper.make_node("IsInf", ["x"], ["y"], detect_negative=0)
    proto = model([node], {"x": (TensorProto.FLOAT16, [4])}, {"y": BOOL}, opset=20)
    feeds = {"x": np.array([1, np.inf, -np.inf, 65504], np.float16)}
    check(proto, LegalizeIsInf(), feeds=feeds, tolerance=0)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16"])
def test_narrow_arithmetic(op, name):
    """Against numpy, which wraps round as C does; division truncates."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(name))
    limits = np.iinfo(name)
    a, b = np.array([limits.max, limits.min, 7, 100], name), np.array([3, 5, 2, 9], name)
    numbers = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
    wanted = numbers[op](a, b) if op in numbers else (a / b.astype(np.float64)).astype(np.int64).astype(name)
    node = helper.make_node(op, ["a", "b"], ["y"])
    proto = model([node], {"a": (kind, [4]), "b": (kind, [4])}, {"y": kind}, opset=14)
    check(proto, LegalizeInteger(), feeds={"a": a, "b": b}, reference=lambda a, b: [wanted], tolerance=0)


def test_integer_relu():
    node = helper.make_node("Relu", ["x"], ["y"])
    proto = model([node], {"x": (TensorProto.INT32, [6])}, {"y": TensorProto.INT32}, opset=14)
    check(proto, LegalizeInteger(), tolerance=0)


@pytest.mark.parametrize("name", ["int8", "int16", "uint8"])
def test_narrow_relu_is_declared_as_13_allows(name):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(name))
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = ir.from_proto(
        helper.make_model(
            helper.make_graph(
                [node],
                "g",
                [helper.make_tensor_value_info("x", kind, [3])],
                [helper.make_tensor_value_info("y", kind, [3])],
            ),
            opset_imports=[helper.make_opsetid("", 14)],
        )
    )
    assert LegalizeInteger().apply(graph) == 1


def test_half_precision_cumsum():
    node = helper.make_node("CumSum", ["x", "a"], ["y"], reverse=1)
    kind = TensorProto.FLOAT16
    proto = model([node], {"x": (kind, [3, 4])}, {"y": kind}, {"a": np.int64(1)}, opset=14)
    reference = lambda x: [x[:, ::-1].astype(np.float32).cumsum(1)[:, ::-1].astype(np.float16)]  # noqa: E731
    check(proto, LegalizeInteger(), reference=reference, tolerance=1e-2)


def test_float_arithmetic_is_left():
    nodes = [helper.make_node("Add", ["x", "x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    check(model(nodes, {"x": (FLOAT, [3])}, ["y"], opset=14), LegalizeInteger(), changed=0)


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


def test_blocks_and_wide_types_are_refused():
    node = helper.make_node("DequantizeLinear", ["x", "s"], ["y"], block_size=2, axis=0)
    proto = model([node], {"x": (INT8, [4])}, ["y"], {"s": np.ones(2, np.float32)}, opset=21)
    graph = ir.from_proto(proto)
    assert LegalizeQuantizeLinear().apply(graph) == 0
    assert "blocks" in refused(graph)[0][1]
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], output_dtype=TensorProto.INT16)
    proto = model([node], {"x": (FLOAT, [4])}, {"y": TensorProto.INT16}, {"s": np.float32(1)}, opset=21)
    graph = ir.from_proto(proto)
    assert LegalizeQuantizeLinear().apply(graph) == 0
    assert "int8" in refused(graph)[0][1]


def test_checker_of_13_takes_the_narrow_result():
    node = helper.make_node("Add", ["a", "b"], ["y"])
    proto = model([node], {"a": (INT8, [4]), "b": (INT8, [4])}, {"y": INT8}, opset=14)
    after, _ = rewritten(proto, LegalizeInteger())
    assert op_types(after) == ["Cast", "Cast", "Add", "Cast"]
