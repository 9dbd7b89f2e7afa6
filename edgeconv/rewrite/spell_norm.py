"""Spells MeanVarianceNormalization and LpNormalization as what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed

#: Added to the deviation (ONNX's function body of MeanVarianceNormalization).
EPSILON = 1e-9
#: Least norm that is divided by: a vector of zeros stays one.
TINY = 1e-30


class SpellNorm(NodePass):
    """Means, differences, a quotient."""

    ops: ClassVar[frozenset[str]] = frozenset({"LpNormalization", "MeanVarianceNormalization"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        x = needed(node, 0)
        if node.op_type == "LpNormalization":
            order = int(attr(node, "p", 2))
            norm = build.op(f"ReduceL{order}", x, axes=[int(attr(node, "axis", -1))], keepdims=1)
            return [build.op("Div", x, build.op("Max", norm, build.scalar(TINY, x)))]
        axes = attr(node, "axes", [0, 2, 3])
        centred = build.op("Sub", x, build.op("ReduceMean", x, axes=axes, keepdims=1))
        variance = build.op("ReduceMean", build.op("Mul", centred, centred), axes=axes, keepdims=1)
        return [build.op("Div", centred, build.op("Add", build.op("Sqrt", variance), build.scalar(EPSILON, x)))]
