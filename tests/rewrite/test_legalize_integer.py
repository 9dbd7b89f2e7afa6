"""Arithmetic on types that 13 does not take."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_integer import LegalizeInteger
from tests.rewrite.helpers import check, model, op_types, rewritten

FLOAT, BOOL, INT8, UINT8 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8


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


def test_checker_of_13_takes_the_narrow_result():
    node = helper.make_node("Add", ["a", "b"], ["y"])
    proto = model([node], {"a": (INT8, [4]), "b": (INT8, [4])}, {"y": INT8}, opset=14)
    after, _ = rewritten(proto, LegalizeInteger())
    assert op_types(after) == ["Cast", "Cast", "Add", "Cast"]
