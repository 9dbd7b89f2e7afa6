"""Swish-24 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed


class LegalizeSwish(NodePass):
    """Writes x * sigmoid(alpha * x); the SiLU of PyTorch has alpha 1."""

    ops = frozenset({"Swish"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        data, alpha = needed(node, 0), attr(node, "alpha", 1.0)
        inner = data if alpha == 1.0 else build.op("Mul", data, build.scalar(alpha, data, "alpha"))
        return [build.op("Mul", data, build.op("Sigmoid", inner))]
