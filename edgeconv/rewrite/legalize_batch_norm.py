"""BatchNormalization-14 can train; the form of opset 9, which 13 still has, only normalizes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr


class LegalizeBatchNorm(NodePass):
    """Drops training_mode where it is off."""

    ops = frozenset({"BatchNormalization"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """A node that trains is refused."""
        if "training_mode" not in node.attributes:
            return None
        if attr(node, "training_mode"):
            return build.refuse("it is in training mode; export the module after eval()")
        return build.again(drop={"training_mode"})
