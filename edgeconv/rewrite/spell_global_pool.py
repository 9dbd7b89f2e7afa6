"""Spells global pools as reductions, which fit any layout and become one MEAN or REDUCE_MAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed, rank


class SpellGlobalPool(NodePass):
    """GlobalAveragePool and GlobalMaxPool become ReduceMean and ReduceMax over the spatial axes."""

    ops: ClassVar[frozenset[str]] = frozenset({"GlobalAveragePool", "GlobalMaxPool"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The reduction; None where the rank is unknown."""
        x = needed(node, 0)
        size = rank(x)
        if size is None:
            return build.refuse("a global pool of a tensor of unknown rank")
        op = "ReduceMean" if node.op_type == "GlobalAveragePool" else "ReduceMax"
        return [build.op(op, x, axes=list(range(2, size)), keepdims=1)]
