"""GridSample-16 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed, static_shape


class LegalizeGridSample(NodePass):
    """Gathers the one or four pixels round each place, all channels at once, and weighs them.

    Pixels are the rows of a table [batch * height * width, channels], so one Gather serves every image of the batch.
    """

    ops = frozenset({"GridSample"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Flat images of known size, bilinear or nearest, with zeros or the border outside."""
        source, grid = needed(node, 0), needed(node, 1)
        shape, places = static_shape(source), static_shape(grid)
        if shape is None or places is None or len(shape) != 4:
            return build.refuse("it samples volumes or images of unknown size")
        nearest = attr(node, "mode", "linear") == "nearest"
        outside = attr(node, "padding_mode", "zeros")
        if attr(node, "mode", "linear") not in ("nearest", "linear", "bilinear") or outside == "reflection":
            return build.refuse("it samples bicubically or reflects at the border")
        if source.dtype != ir.DataType.FLOAT:
            return build.refuse("it samples other numbers than float32")
        batch, channels, height, width = shape
        table = build.op("Transpose", source, perm=[0, 2, 3, 1])
        table = build.op("Reshape", table, build.ints([batch * height * width, channels], "pixels"))
        axes = [_Axis(build, node, grid, i, size) for i, size in enumerate((width, height))]
        offsets = (np.arange(batch) * height * width).reshape(batch, 1, 1, 1).astype(np.float32)
        parts = []
        for right in (0,) if nearest else (0, 1):
            for below in (0,) if nearest else (0, 1):
                (column, across), (row, down) = axes[0].side(right), axes[1].side(below)
                index = build.op("Add", build.op("Mul", row, np.float32(width)), column)
                index = build.op("Cast", build.op("Add", index, offsets), to=ir.DataType.INT64.value)
                pixels = build.op("Gather", table, build.op("Reshape", index, build.ints([-1], "flat")), axis=0)
                pixels = build.op("Reshape", pixels, build.ints([batch, places[1], places[2], channels], "image"))
                weight = build.op("Mul", across, down) if across is not None and down is not None else None
                parts.append(pixels if weight is None else build.op("Mul", pixels, weight))
        total = parts[0]
        for part in parts[1:]:
            total = build.op("Add", total, part)
        return [build.op("Transpose", total, perm=[0, 3, 1, 2])]


class _Axis:
    """Pixel positions along one axis, as [batch, rows, columns, 1], and how much each of two neighbours counts."""

    def __init__(self, build: Builder, node: ir.Node, grid: ir.Value, index: int, size: int) -> None:
        self._build, self._last = build, np.float32(size - 1)
        self._zeros = attr(node, "padding_mode", "zeros") == "zeros"
        self._nearest = attr(node, "mode", "linear") == "nearest"
        bounds = build.ints([index], "start"), build.ints([index + 1], "end")
        place = build.op("Slice", grid, *bounds, build.ints([3], "axis"))
        if attr(node, "align_corners", 0):  # -1 and 1 are the centres of the first and the last pixel
            slope, shift = (size - 1) / 2, (size - 1) / 2
        else:  # their outer edges
            slope, shift = size / 2, (size - 1) / 2
        place = build.op("Add", build.op("Mul", place, np.float32(slope)), np.float32(shift))
        if not self._zeros:
            place = build.op("Clip", place, np.float32(0), self._last)
        self._first = build.op("Round" if self._nearest else "Floor", place)
        self._rest = build.op("Sub", place, self._first)

    def side(self, step: int) -> tuple[ir.Value, ir.Value | None]:
        """Position of the lower (0) or the upper (1) neighbour, kept inside, and its weight; None stands for one."""
        build = self._build
        place = build.op("Add", self._first, np.float32(1)) if step else self._first
        inside = build.op("Clip", place, np.float32(0), self._last)
        weight = None
        if not self._nearest:
            weight = self._rest if step else build.op("Sub", np.float32(1), self._rest)
        if self._zeros:
            there = build.op("Cast", build.op("Equal", place, inside), to=ir.DataType.FLOAT.value)
            weight = there if weight is None else build.op("Mul", weight, there)
        return inside, weight
