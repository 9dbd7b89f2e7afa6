"""CenterCropPad-18 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, needed, rank


class LegalizeCenterCropPad(NodePass):
    """Writes a Slice for the axes that shrink and a Pad for those that grow; an odd rest goes to the end."""

    ops = frozenset({"CenterCropPad"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs the sizes before and after."""
        data, wanted, dims = needed(node, 0), const_ints(needed(node, 1)), rank(needed(node, 0))
        if wanted is None or dims is None or data.shape is None:
            return build.refuse("the shape that it makes is computed while the model runs")
        axes = [axis % dims for axis in attr(node, "axes", list(range(dims)))]
        crops: list[tuple[int, int, int]] = []
        pads = [0] * (2 * dims)
        for axis, size in zip(axes, wanted, strict=True):
            have = data.shape[axis]
            if not isinstance(have, int):
                return build.refuse(f"its size along axis {axis} is not known")
            if have > size:
                crops.append((axis, (have - size) // 2, (have - size) // 2 + size))
            pads[axis] = max(size - have, 0) // 2
            pads[axis + dims] = max(size - have, 0) - pads[axis]
        value = data
        if crops:
            places, starts, ends = (build.ints(list(part), "crop") for part in zip(*crops, strict=True))
            value = build.op("Slice", value, starts, ends, places)
        if any(pads):
            value = build.op("Pad", value, build.ints(pads, "pads"))
        return [value if value is not data else build.op("Identity", data)]
