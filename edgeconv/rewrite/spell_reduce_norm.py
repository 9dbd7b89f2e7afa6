"""Spells ReduceL1 and ReduceL2 as sums: onnx-tf takes norms of matrices where two axes are reduced, which are others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed


class SpellReduceNorm(NodePass):
    """Sum of sizes, root of the sum of squares."""

    ops: ClassVar[frozenset[str]] = frozenset({"ReduceL1", "ReduceL2"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        x, axes = needed(node, 0), attr(node, "axes")
        terms = build.op("Abs", x) if node.op_type == "ReduceL1" else build.op("Mul", x, x)
        where = [] if axes is None else [build.ints(axes, "axes")]
        total = build.op("ReduceSum", terms, *where, keepdims=int(attr(node, "keepdims", 1)))
        return [total if node.op_type == "ReduceL1" else build.op("Sqrt", total)]
