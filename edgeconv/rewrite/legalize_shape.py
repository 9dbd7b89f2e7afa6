"""Shape-15 can give a part of the shape; Shape-13 gives all of it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed, rank


class LegalizeShape(NodePass):
    """Writes a constant where the sizes are known, and a Slice of the whole shape where they are not."""

    ops = frozenset({"Shape"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Bounds are clamped to the rank as Slice does it."""
        data, start, end = needed(node, 0), attr(node, "start"), attr(node, "end")
        if start is None and end is None:
            return None
        if data.shape is not None:
            wanted = [dim for dim in list(data.shape)[slice(start, end)] if isinstance(dim, int)]
            if len(wanted) == len(list(data.shape)[slice(start, end)]):
                return [build.ints(wanted, "shape")]
        whole = build.op("Shape", data)
        if not start and (end is None or end == rank(data)):
            return [whole]
        last = end if end is not None else 2**31 - 1
        return [build.op("Slice", whole, build.ints([start or 0], "start"), build.ints([last], "end"))]
