"""Spells what is left of quantized operators as float arithmetic on whole numbers, exact up to 2^24.

What a quantizer of weights wrote is folded before this (`fold_quantized`, `fold_fake_quant`); these are the rest: integers in
and out, computed scales, blocks, 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed, rank, static_shape

_FLOAT = ir.DataType.FLOAT
_RANGE = {ir.DataType.INT8: (-128, 127), ir.DataType.UINT8: (0, 255), ir.DataType.INT16: (-32768, 32767),
          ir.DataType.INT32: (-(2**31), 2**31 - 1)}  # fmt: skip


class SpellQuantized(NodePass):
    """QuantizeLinear, DequantizeLinear, QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger, DynamicQuantizeLinear."""

    ops: ClassVar[frozenset[str]] = frozenset(
        {"ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
        | {"QuantizeLinear"}
    )

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The arithmetic; None for a dtype that no TFLite tensor has."""
        op = node.op_type
        if op == "DynamicQuantizeLinear":
            return _dynamic(build, needed(node, 0))
        if op in {"ConvInteger", "MatMulInteger"}:
            return [_integer_product(node, build)]
        if op == "QuantizeLinear":
            made = quantized(node, build, needed(node, 0), needed(node, 1), given(node, 2))
            return None if made is None else [made]
        if op == "DequantizeLinear":
            return [real(node, build, needed(node, 0), needed(node, 1), given(node, 2))]
        return _quantized_product(node, build)


def real(node: ir.Node, build: Builder, x: ir.Value, scale: ir.Value, zero: ir.Value | None) -> ir.Value:
    """(x − zero) · scale, float32."""
    made = _float(build, x)
    if zero is not None:
        made = build.op("Sub", made, _along(node, build, _float(build, zero), x))
    return build.op("Mul", made, _along(node, build, _float(build, scale), x))


def quantized(
    node: ir.Node, build: Builder, x: ir.Value, scale: ir.Value, zero: ir.Value | None, kind: ir.DataType | None = None
) -> ir.Value | None:
    """Round(x / scale) + zero, kept within the dtype; None for one that TFLite has not."""
    if kind is None:
        named = attr(node, "output_dtype", 0)
        kind = zero.dtype if zero is not None else ir.DataType(named) if named else ir.DataType.UINT8
    if kind not in _RANGE:
        return None
    low, high = (np.array(end, np.float32) for end in _RANGE[kind])
    made = build.op("Round", build.op("Div", _float(build, x), _along(node, build, _float(build, scale), x)))
    if zero is not None:
        made = build.op("Add", made, _along(node, build, _float(build, zero), x))
    return build.op("Cast", build.op("Min", build.op("Max", made, low), high), to=kind.value)


def _float(build: Builder, value: ir.Value) -> ir.Value:
    return value if value.dtype == _FLOAT else build.op("Cast", value, to=_FLOAT.value)


def _along(node: ir.Node, build: Builder, value: ir.Value, x: ir.Value) -> ir.Value:
    """Scales or zero points so that they broadcast: along an axis, or one a block of it."""
    size, shape = rank(x), static_shape(value)
    if shape is None or size is None or int(np.prod(shape)) == 1:
        return value
    axis = int(attr(node, "axis", 1)) % size
    block = int(attr(node, "block_size", 0))
    if block and len(shape) == size:
        spread = build.op("Unsqueeze", value, build.ints([axis + 1], "axis"))
        wide = [*shape[: axis + 1], block, *shape[axis + 1 :]]
        whole = build.op("Expand", spread, build.ints(wide, "blocks"))
        flat = [*shape[:axis], shape[axis] * block, *shape[axis + 1 :]]
        return build.op("Reshape", whole, build.ints(flat, "spread"))
    return build.op("Reshape", value, build.ints([-1 if a == axis else 1 for a in range(size)], "shape"))


def _dynamic(build: Builder, x: ir.Value) -> list[ir.Value]:
    """Scale and zero point of uint8 from the range of x, which holds zero; a range of nothing has the scale 1."""
    zero, most = np.array(0, np.float32), np.array(255, np.float32)
    low = build.op("Min", build.op("ReduceMin", x, keepdims=0), zero)
    high = build.op("Max", build.op("ReduceMax", x, keepdims=0), zero)
    span = build.op("Div", build.op("Sub", high, low), most)
    scale = build.op("Where", build.op("Equal", span, zero), np.array(1, np.float32), span)
    point = build.op(
        "Round", build.op("Min", build.op("Max", build.op("Neg", build.op("Div", low, scale)), zero), most)
    )
    whole = build.op("Add", build.op("Round", build.op("Div", x, scale)), point)
    byte = ir.DataType.UINT8.value
    y = build.op("Cast", build.op("Min", build.op("Max", whole, zero), most), to=byte)
    return [y, span, build.op("Cast", point, to=byte)]


def _integer_product(node: ir.Node, build: Builder) -> ir.Value:
    sides = []
    for place in (0, 1):
        value, zero = _float(build, needed(node, place)), given(node, place + 2)
        if zero is not None:
            point, shape = _float(build, zero), static_shape(zero)
            if node.op_type == "ConvInteger" and place == 1 and shape and shape != [1]:
                point = build.op("Reshape", point, build.ints([-1, *[1] * ((rank(value) or 2) - 1)], "shape"))
            elif node.op_type == "MatMulInteger" and place == 0 and shape and shape != [1]:
                point = build.op("Unsqueeze", point, build.ints([-1], "axis"))
            value = build.op("Sub", value, point)
        sides.append(value)
    op = "Conv" if node.op_type == "ConvInteger" else "MatMul"
    made = build.op(op, *sides, **{key: attr(node, key) for key in node.attributes})
    return build.op("Cast", made, to=ir.DataType.INT32.value)


def _quantized_product(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    """Dequantized operands, the product, quantized again."""
    conv = node.op_type == "QLinearConv"
    a = real(node, build, needed(node, 0), needed(node, 1), needed(node, 2))
    w, scale, zero = needed(node, 3), needed(node, 4), needed(node, 5)
    if conv and (static_shape(scale) or [1]) != [1]:
        around = build.ints([-1, *[1] * ((rank(w) or 2) - 1)], "shape")
        scale, zero = build.op("Reshape", scale, around), build.op("Reshape", zero, around)
    point = _float(build, zero)
    b = build.op("Mul", build.op("Sub", _float(build, w), point), _float(build, scale))
    inputs = [a, b]
    if conv and given(node, 8) is not None:
        step = build.op("Mul", _float(build, needed(node, 1)), _float(build, needed(node, 4)))
        inputs.append(build.op("Mul", _float(build, needed(node, 8)), step))
    made = build.op("Conv" if conv else "MatMul", *inputs, **{key: attr(node, key) for key in node.attributes})
    result = quantized(node, build, made, needed(node, 6), needed(node, 7), needed(node, 7).dtype)
    return None if result is None else [result]
