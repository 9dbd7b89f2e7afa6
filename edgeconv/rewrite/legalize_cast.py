"""Cast-19 and 24 tell how to round to 8-bit floats, which opset 13 does not have."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass

_NEW = frozenset({"saturate", "round_mode"})


class LegalizeCast(NodePass):
    """Drops what concerns 8-bit floats only; a cast to one of them is left for the final check to find."""

    ops = frozenset({"Cast"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        return build.again(drop=_NEW) if _NEW & set(node.attributes) else None
