"""Pad-18 names the axes that it pads and Pad-19 can wrap round; Pad-13 does neither."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, given, needed, rank


class LegalizePad(NodePass):
    """Spreads the pads over all axes, and writes wrapping as a Concat of Slices."""

    ops = frozenset({"Pad"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Pads may be computed unless they wrap; axes may not."""
        data, amount, source = needed(node, 0), needed(node, 1), given(node, 3)
        wraps = attr(node, "mode", "constant") == "wrap"
        if source is None and not wraps:
            return None
        axes, dims, pads = const_ints(source), rank(data), const_ints(amount)
        if dims is None or (source is not None and axes is None):
            return build.refuse("the rank of its input or its axes are not known")
        axes = list(range(dims)) if axes is None else [axis % dims for axis in axes]
        if wraps:
            return self._wrap(build, data, axes, pads)
        places = axes + [axis + dims for axis in axes]
        if pads is not None:
            spread = [0] * (2 * dims)
            for place, pad in zip(places, pads, strict=True):
                spread[place] = pad
            wide = build.ints(spread, "pads")
        else:
            zero = build.ints([0], "zero")
            parts = [zero] * (2 * dims)
            for i, place in enumerate(places):
                parts[place] = build.op("Slice", amount, build.ints([i], "at"), build.ints([i + 1], "upto"))
            wide = build.op("Concat", *parts, axis=0)
        fill = given(node, 2)
        return build.again(data, wide, *([] if fill is None else [fill]))

    def _wrap(
        self, build: Builder, data: ir.Value, axes: list[int], pads: list[int] | None
    ) -> Sequence[ir.Value] | None:
        if pads is None:
            return build.refuse("its pads are computed while the model runs, and it wraps round")
        value = data
        for i, axis in enumerate(axes):
            before, after = pads[i], pads[i + len(axes)]
            size = data.shape[axis] if data.shape is not None else None
            if not before and not after:
                continue
            if not isinstance(size, int) or not 0 <= before <= size or not 0 <= after <= size:
                return build.refuse(f"it wraps axis {axis} by less than nothing or by more than its known size")
            parts = [value]
            if before:
                parts.insert(0, self._slice(build, value, axis, size - before, size))
            if after:
                parts.append(self._slice(build, value, axis, 0, after))
            value = build.op("Concat", *parts, axis=axis)
        return [value]

    def _slice(self, build: Builder, value: ir.Value, axis: int, start: int, end: int) -> ir.Value:
        bounds = build.ints([start], "start"), build.ints([end], "end")
        return build.op("Slice", value, *bounds, build.ints([axis], "axis"))
