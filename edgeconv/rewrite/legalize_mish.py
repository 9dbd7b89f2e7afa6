"""Mish-18 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed


class LegalizeMish(NodePass):
    """Writes x * tanh(softplus(x)), as the operator is defined."""

    ops = frozenset({"Mish"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        data = needed(node, 0)
        return [build.op("Mul", data, build.op("Tanh", build.op("Softplus", data)))]
