"""CastLike-15 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed


class LegalizeCastLike(NodePass):
    """Writes a Cast to the other input's type."""

    ops = frozenset({"CastLike"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs that type."""
        like = needed(node, 1)
        if like.dtype is None:
            return build.refuse("the type to cast to is not known")
        return [build.op("Cast", needed(node, 0), to=like.dtype.value)]
