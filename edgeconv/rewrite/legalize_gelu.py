"""Gelu-20 is not known at 13."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed


class LegalizeGelu(NodePass):
    """Writes both forms as the TFLite converter's patterns for its builtin GELU read them: x / 2 times (1 + ...)."""

    ops = frozenset({"Gelu"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The exact form takes Erf, the tanh form 0.044715 (Hendrycks and Gimpel, 2016)."""
        data = needed(node, 0)
        if attr(node, "approximate", "none") == "tanh":
            cube = build.op("Pow", data, build.scalar(3.0, data, "three"))
            inner = build.op("Add", data, build.op("Mul", cube, build.scalar(0.044715, data, "cubic")))
            inner = build.op("Tanh", build.op("Mul", inner, build.scalar(math.sqrt(2 / math.pi), data, "slope")))
        else:
            inner = build.op("Erf", build.op("Mul", data, build.scalar(math.sqrt(0.5), data, "slope")))
        half = build.op("Mul", data, build.scalar(0.5, data, "half"))
        return [build.op("Mul", half, build.op("Add", inner, build.scalar(1.0, data, "one")))]
