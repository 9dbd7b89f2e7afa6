"""SpaceToDepth-28 can order its channels the other way; SpaceToDepth-13 has one order."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed, static_shape


class LegalizeSpaceToDepth(NodePass):
    """Drops mode DCR, which is the order of 13, and writes CRD as Reshape, Transpose, Reshape."""

    ops = frozenset({"SpaceToDepth"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """CRD needs the sizes."""
        mode = attr(node, "mode")
        if mode is None:
            return None
        if mode == "DCR":
            return build.again(drop={"mode"})
        shape, block = static_shape(needed(node, 0)), attr(node, "blocksize")
        if shape is None:
            return build.refuse("the shape of its input is not known")
        batch, channels, height, width = shape
        cells = [batch, channels, height // block, block, width // block, block]
        value = build.op("Reshape", needed(node, 0), build.ints(cells, "cells"))
        value = build.op("Transpose", value, perm=[0, 1, 3, 5, 2, 4])
        deep = [batch, channels * block * block, height // block, width // block]
        return [build.op("Reshape", value, build.ints(deep, "deep"))]
