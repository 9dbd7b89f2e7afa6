"""Split-18's num_outputs becomes what Split-13 knows: equal parts, or their sizes as an input."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed


class LegalizeSplit(NodePass):
    """Drops num_outputs where the parts are equal and writes their sizes where the last one is shorter."""

    ops = frozenset({"Split"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs the size along the axis only to know whether the parts are equal."""
        count = attr(node, "num_outputs")
        if count is None:
            return None
        data, axis = needed(node, 0), attr(node, "axis", 0)
        size = data.shape[axis] if data.shape is not None else None
        if not isinstance(size, int):
            return build.refuse(f"its size along axis {axis} is not known, so neither are those of its parts")
        if size % count == 0:
            return build.again(data, drop={"num_outputs"})
        part = -(-size // count)  # rounded up; the last part is the rest
        rest = size - part * (count - 1)
        if rest < 0:
            return build.refuse(f"{size} elements cannot be split into {count} parts of {part}")
        return build.again(data, build.ints([part] * (count - 1) + [rest], "sizes"), drop={"num_outputs"})
