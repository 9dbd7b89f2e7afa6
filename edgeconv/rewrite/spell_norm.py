"""Spells MeanVarianceNormalization, LpNormalization and GlobalLpPool as what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed, rank

#: Added to the deviation (ONNX's function body of MeanVarianceNormalization).
EPSILON = 1e-9
#: Least norm that is divided by: a vector of zeros stays one.
TINY = 1e-30


class SpellNorm(NodePass):
    """Means, differences, a quotient."""

    ops: ClassVar[frozenset[str]] = frozenset({"GlobalLpPool", "LpNormalization", "MeanVarianceNormalization"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Refuses a GlobalLpPool of unknown rank."""
        x = needed(node, 0)
        if node.op_type == "LpNormalization":
            order = int(attr(node, "p", 2))
            norm = build.op(f"ReduceL{order}", x, axes=[int(attr(node, "axis", -1))], keepdims=1)
            return [build.op("Div", x, build.op("Max", norm, build.scalar(TINY, x)))]
        if node.op_type == "GlobalLpPool":
            return self._global_norm(node, build, x)
        axes = attr(node, "axes", [0, 2, 3])
        centred = build.op("Sub", x, build.op("ReduceMean", x, axes=axes, keepdims=1))
        variance = build.op("ReduceMean", build.op("Mul", centred, centred), axes=axes, keepdims=1)
        return [build.op("Div", centred, build.op("Add", build.op("Sqrt", variance), build.scalar(EPSILON, x)))]

    def _global_norm(self, node: ir.Node, build: Builder, x: ir.Value) -> Sequence[ir.Value] | None:
        """The p-norm over all axes but the first two."""
        size, order = rank(x), int(attr(node, "p", 2))
        if size is None:
            return build.refuse("the rank of its input is not known")
        axes = list(range(2, size))
        if order in (1, 2):
            return [build.op(f"ReduceL{order}", x, axes=axes, keepdims=1)]
        powers = build.op("Pow", build.op("Abs", x), build.scalar(order, x))
        total = build.op("ReduceSum", powers, build.ints(axes, "axes"), keepdims=1)
        return [build.op("Pow", total, build.scalar(1 / order, x))]
