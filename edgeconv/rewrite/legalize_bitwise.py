"""The bitwise operators of opset 18 are not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, const_value, needed

_NARROW = frozenset({ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.UINT16})


_LONG = ir.DataType.INT64


def _sum(build: Builder, bits: ir.Value, start: int, weights: Array) -> ir.Value:
    part = build.op("Slice", bits, build.ints([start]), build.ints([start + len(weights)]), build.ints([-1]))
    return build.op("ReduceSum", build.op("Mul", part, weights), build.ints([-1]), keepdims=0)


def _bits(build: Builder, value: ir.Value, weights: Array) -> ir.Value:
    """Whether each bit is set, [..., bits]: the remainder by twice its weight reaches the weight."""
    wide = build.op("Unsqueeze", value, build.ints([-1], "axis"))
    low = weights[:62]
    rest = build.op("Mod", wide, low * 2)
    found = build.op("GreaterOrEqual", rest, low)
    if len(weights) <= 62:
        return found
    above = build.op("Sub", wide, build.op("Mod", wide, np.array([1 << 62], np.int64)))
    top = [build.op("Equal", above, np.array([n], np.int64)) for n in (1 << 62, -(1 << 62))]
    return build.op("Concat", found, build.op("Or", *top), axis=-1)


class LegalizeBitwise(NodePass):
    """Logic for booleans, arithmetic for integers: a bit is set where the remainder by twice its weight reaches it."""

    ops = frozenset({"BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Refuses what has no known type."""
        data = needed(node, 0)
        if data.dtype == ir.DataType.BOOL:
            return [build.op(node.op_type.removeprefix("Bitwise"), *node.inputs)]
        if data.dtype is not None and node.op_type == "BitwiseNot":
            return [self._not(build, data, data.dtype)]
        if data.dtype is not None and node.op_type == "BitwiseAnd":
            for value, other in ((data, needed(node, 1)), (needed(node, 1), data)):
                mask = const_value(other)
                if mask is not None and mask.size and (mask >= 0).all() and not (mask & (mask + 1)).any():
                    if int(mask.max()) == np.iinfo(mask.dtype).max:
                        continue
                    return [build.op("Mod", value, build.const(mask + np.array(1, mask.dtype), "modulus"))]
        if data.dtype is None:
            return build.refuse("the type of its inputs is not known")
        return [self._by_bits(build, node, data, data.dtype)]

    def _by_bits(self, build: Builder, node: ir.Node, data: ir.Value, dtype: ir.DataType) -> ir.Value:
        """AND as the sum of the bits that both have, on an axis of their own; OR and XOR from it."""
        sides = [v if v.dtype == _LONG else build.op("Cast", v, to=_LONG.value) for v in (data, needed(node, 1))]
        known = [const_value(needed(node, place)) for place in (0, 1)]
        # a mask tells which bits can be common at all; a negative one has every high bit
        masks = [int(np.bitwise_or.reduce(a, axis=None)) for a in known if a is not None and a.size and (a >= 0).all()]
        width = min(dtype.itemsize * 8, 63) if not masks else max(min(masks).bit_length(), 1)
        weights = np.left_shift(np.int64(1), np.arange(width, dtype=np.int64))
        spread = [_bits(build, side, weights) for side in sides]
        common = build.op("Cast", build.op("And", *spread), to=_LONG.value)
        both = _sum(build, common, 0, weights[:32])
        if width > 32:  # in two halves, since onnxruntime sums integers as doubles
            high = build.op("Mul", _sum(build, common, 32, weights[: width - 32]), np.array(1 << 32, np.int64))
            both = build.op("Add", both, high)
        if dtype == _LONG and not masks:  # in narrower types the cast below makes the sign
            zero = np.array(0, np.int64)
            negative = build.op("And", *(build.op("Less", side, zero) for side in sides))
            both = build.op("Where", negative, build.op("Add", both, np.array(np.iinfo(np.int64).min)), both)
        if node.op_type != "BitwiseAnd":
            both = build.op("Mul", both, np.array(2, np.int64)) if node.op_type == "BitwiseXor" else both
            both = build.op("Sub", build.op("Add", *sides), both)
        return both if dtype == _LONG else build.op("Cast", both, to=dtype.value)

    def _not(self, build: Builder, data: ir.Value, dtype: ir.DataType) -> ir.Value:
        """All ones minus x where there is no sign, -x - 1 where there is one."""
        wide = build.op("Cast", data, to=ir.DataType.INT32.value) if dtype in _NARROW else data
        kind = np.dtype(np.int32) if dtype in _NARROW else dtype.numpy()
        if dtype.is_signed():
            value = build.op("Sub", build.op("Neg", wide), build.const(np.array(1, kind), "one"))
        else:
            value = build.op("Sub", build.const(np.array(np.iinfo(dtype.numpy()).max, kind), "ones"), wide)
        return build.op("Cast", value, to=dtype.value) if dtype in _NARROW else value
