"""Gives vectors in a MatMul a second axis: TensorFlow's product wants matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed, rank


class SpellMatmul(NodePass):
    """A MatMul with a one-dimensional operand becomes one of matrices between Unsqueeze and Squeeze."""

    ops: ClassVar[frozenset[str]] = frozenset({"MatMul"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The nodes; None for matrices."""
        a, b = needed(node, 0), needed(node, 1)
        thin = [axis for axis, value in ((-2, a), (-1, b)) if rank(value) == 1]
        if not thin:
            return None
        if -2 in thin:
            a = build.op("Unsqueeze", a, build.ints([0], "axis"))
        if -1 in thin:
            b = build.op("Unsqueeze", b, build.ints([1], "axis"))
        return [build.op("Squeeze", build.op("MatMul", a, b), build.ints(thin, "axes"))]
