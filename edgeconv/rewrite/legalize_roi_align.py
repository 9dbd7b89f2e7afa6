"""RoiAlign-16 names how it maps coordinates; RoiAlign-10 has one way."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr


class LegalizeRoiAlign(NodePass):
    """Drops output_half_pixel, the way of 10; the default since 16, half_pixel, must be refused even where unnamed."""

    ops = frozenset({"RoiAlign"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """At opset 10 boxes are not shifted by half a pixel and are one pixel wide at least."""
        opsets = node.graph.opset_imports if node.graph is not None else {}  # a subgraph may have none of its own
        unnamed = "half_pixel" if opsets.get("", 16) >= 16 else "output_half_pixel"
        if attr(node, "coordinate_transformation_mode", unnamed) == "half_pixel":
            return build.refuse("opset 13 aligns boxes without the half pixel only; use roi_align(aligned=False)")
        if "coordinate_transformation_mode" not in node.attributes:
            return None
        return build.again(drop={"coordinate_transformation_mode"})
