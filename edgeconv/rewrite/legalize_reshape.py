"""Reshape-14's allowzero is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, needed, static_shape


class LegalizeReshape(NodePass):
    """Drops allowzero.

    The attribute tells only what a 0 in the shape means: at 13 the input's size. In a computed shape a 0 can be nothing
    but an empty tensor, which no TFLite model holds, so that case is not kept apart.
    """

    ops = frozenset({"Reshape"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """A literal 0 under allowzero is refused unless the input's size there is 0 too."""
        if "allowzero" not in node.attributes:
            return None
        shape = const_ints(needed(node, 1)) if attr(node, "allowzero") else None
        sizes = static_shape(needed(node, 0)) or []
        for axis, size in enumerate(shape or []):
            if size == 0 and (axis >= len(sizes) or sizes[axis] != 0):
                return build.refuse("it makes an empty tensor")
        return build.again(drop={"allowzero"})
