"""Computes in int32 what TFLite has no integer or bool kernel for, or only since lately, and casts back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, given, needed

_NARROW = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16})
_WORD, _FLOAT = ir.DataType.INT32, ir.DataType.FLOAT
_ORDER = frozenset({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
_SAME = frozenset(
    "Add Sub Mul Div Neg Abs Sign Sum Min Max Mod ReduceSum ReduceMax ReduceMin ReduceProd ReduceMean ReduceL1 "
    "ReduceSumSquare CumSum MatMul Gemm Relu PRelu ArgMax ArgMin TopK Clip Where".split()
)
#: They move data; booleans have no kernel in the runtimes of today's phones either.
_MOVES = frozenset({"Pad", "ScatterND", "ScatterElements", "Slice", "Tile"})


class WidenIntegers(NodePass):
    """Ops on 8 and 16 bits become the same on 32; a power takes the dtype of its base."""

    ops: ClassVar[frozenset[str]] = _ORDER | _SAME | _MOVES | {"Pow"}

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The op between casts, or None where TFLite takes it as it is."""
        x = needed(node, 1 if node.op_type == "Where" else 0)
        if node.op_type == "Pow":
            return self._pow(node, build)
        if x.dtype not in _NARROW and not (x.dtype == ir.DataType.BOOL and node.op_type in _MOVES):
            return None
        if node.op_type == "Slice" and not _reverses(node):
            return None
        kind = x.dtype
        inputs = [
            build.op("Cast", value, to=_WORD.value) if value is not None and value.dtype == kind else value
            for value in node.inputs
        ]
        results = build.again(*inputs)
        return [
            build.op("Cast", made, to=old.dtype.value) if old.dtype == kind else made
            for made, old in zip(results, node.outputs, strict=True)
        ]

    def _pow(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Whole powers up to 4 of integers are products; others go through int32, or float32 if the exponent is one."""
        x, power = needed(node, 0), needed(node, 1)
        if x.dtype is None or power.dtype is None:
            return None
        number = const_value(power)
        if (
            x.dtype.is_integer()
            and number is not None
            and number.size == 1
            and float(number.reshape(-1)[0]) in (1, 2, 3, 4)
        ):
            made = x
            for _ in range(int(number.reshape(-1)[0]) - 1):
                made = build.op("Mul", made, x)
            return [build.op("Identity", made)] if made is x else [made]
        floating = not (x.dtype.is_integer() and power.dtype.is_integer())
        kind = _FLOAT if floating else _WORD
        if x.dtype == kind and power.dtype == kind:
            return None
        sides = [value if value.dtype == kind else build.op("Cast", value, to=kind.value) for value in (x, power)]
        made = build.op("Pow", *sides)
        return [made if x.dtype == kind else build.op("Cast", made, to=x.dtype.value)]


def _reverses(node: ir.Node) -> bool:
    steps = const_value(given(node, 4))
    return steps is not None and bool((steps < 0).any())
