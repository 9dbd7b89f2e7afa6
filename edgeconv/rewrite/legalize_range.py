"""Range-27 names the type in which it sums; Range-11 does not."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass


class LegalizeRange(NodePass):
    """Drops stash_type, which concerns 16-bit floats only, and those Range-11 does not take."""

    ops = frozenset({"Range"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        return build.again(drop={"stash_type"}) if "stash_type" in node.attributes else None
