"""AveragePool-19 and LpPool-18 can dilate, and LpPool-18 can round its size up; 13 knows neither."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr


class LegalizePool(NodePass):
    """Drops dilations of one and, of LpPool, a ceil_mode of zero."""

    ops = frozenset({"AveragePool", "LpPool"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """A pool that dilates is refused."""
        new = {"dilations"} if node.op_type == "AveragePool" else {"dilations", "ceil_mode"}
        if not new & set(node.attributes):
            return None
        if any(step != 1 for step in attr(node, "dilations", [])):
            return build.refuse("its window is dilated")
        if "ceil_mode" in new and attr(node, "ceil_mode", 0):
            return build.refuse("it rounds its output size up")
        return build.again(drop=new)
