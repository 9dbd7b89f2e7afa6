"""GridSample-16 is not known at 13."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, needed, static_shape

#: Float32 counts this far: the rows of a larger table are numbered in integers.
_FLOAT_COUNTS = 1 << 24
#: Where the pixels that a place is mixed of lie, from the one below it on.
_STEPS = {
    "nearest": (0,),
    **dict.fromkeys(("linear", "bilinear"), (0, 1)),
    **dict.fromkeys(("cubic", "bicubic"), (-1, 0, 1, 2)),
}
_CUBIC = -0.75  # what PyTorch takes; its kernel is Keys' with that slope


class LegalizeGridSample(NodePass):
    """Gathers the pixels round each place (one, two or four an axis), all channels at once, and weighs them.

    Pixels are the rows of a table [batch * depth * height * width, channels], so one Gather serves every image of the batch.
    Coordinates and sums are taken in PyTorch's order: rounded otherwise, a nearest pixel could be another one.
    """

    ops = frozenset({"GridSample"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Images and volumes of known size; outside are zeros, the border or reflections."""
        source, grid = needed(node, 0), needed(node, 1)
        shape, places = static_shape(source), static_shape(grid)
        if shape is None or places is None or len(shape) not in (4, 5):
            return build.refuse("it samples images or volumes of unknown size")
        steps_of = _STEPS.get(attr(node, "mode", "linear"), ())
        if not steps_of or (len(steps_of) == 4 and len(shape) == 5):
            return build.refuse("it samples volumes bicubically, or in a mode that ONNX does not name")
        if source.dtype != ir.DataType.FLOAT:
            return build.refuse("it samples other numbers than float32")
        batch, channels, *size = shape
        rank, rows = len(size), int(np.prod(size))
        table = build.op("Transpose", source, perm=[0, *range(2, rank + 2), 1])
        table = build.op("Reshape", table, build.ints([batch * rows, channels], "pixels"))
        around = [batch, *places[1:-1]]
        if rank == 3:  # few ops of TFLite broadcast over five axes
            around = [batch, int(np.prod(places[1:-1]))]
            grid = build.op("Reshape", grid, build.ints([*around, 3], "places"))
        axes = [_Axis(build, node, grid, rank - 1 - i, length, len(around)) for i, length in enumerate(size)]
        offsets = (np.arange(batch) * rows).reshape(batch, *[1] * len(around))
        total = None
        for steps in itertools.product(steps_of, repeat=rank):
            sides = [axis.side(step) for axis, step in zip(axes, steps, strict=True)]
            index = _number(build, [place for place, _ in sides], size, offsets, batch * rows)
            part = build.op("Gather", table, build.op("Reshape", index, build.ints([-1], "flat")), axis=0)
            part = build.op("Reshape", part, build.ints([*around, channels], "image"))
            weight = None
            for _, share in reversed(sides):
                weight = share if weight is None or share is None else build.op("Mul", weight, share)
            part = part if weight is None else build.op("Mul", part, weight)
            total = part if total is None else build.op("Add", total, part)
        assert total is not None
        if rank == 3:
            total = build.op("Reshape", total, build.ints([batch, *places[1:-1], channels], "volume"))
        return [build.op("Transpose", total, perm=[0, rank + 1, *range(1, rank + 1)])]


def _number(build: Builder, places: list[ir.Value], size: list[int], offsets: Array, rows: int) -> ir.Value:
    """The table's row for a position along each axis, int64."""
    kind = np.dtype(np.float32 if rows <= _FLOAT_COUNTS else np.int64)
    whole = [place if kind == np.float32 else build.op("Cast", place, to=ir.DataType.INT64.value) for place in places]
    index = whole[0]
    for place, length in zip(whole[1:], size[1:], strict=True):
        index = build.op("Add", build.op("Mul", index, np.array(length, kind)), place)
    index = build.op("Add", index, offsets.astype(kind))
    return index if kind == np.int64 else build.op("Cast", index, to=ir.DataType.INT64.value)


class _Axis:
    """Pixel positions along one axis, as [batch, …, 1], and how much each neighbour counts."""

    def __init__(self, build: Builder, node: ir.Node, grid: ir.Value, index: int, size: int, last_axis: int) -> None:
        self._build, self._last = build, np.float32(size - 1)
        outside = attr(node, "padding_mode", "zeros")
        self._zeros = outside == "zeros"
        self._nearest = attr(node, "mode", "linear") == "nearest"
        aligned = bool(attr(node, "align_corners", 0))
        bounds = build.ints([index], "start"), build.ints([index + 1], "end")
        place = build.op("Slice", grid, *bounds, build.ints([last_axis], "axis"))
        place = build.op("Add", place, np.float32(1))
        if aligned:  # -1 and 1 are the centres of the first and the last pixel
            place = build.op("Mul", place, np.float32((size - 1) / 2))
        else:  # their outer edges
            place = build.op("Sub", build.op("Mul", place, np.float32(size / 2)), np.float32(0.5))
        self._cubic = attr(node, "mode", "linear").endswith("cubic")
        self._fold = lambda at: self._reflected(at, size, aligned=aligned) if outside == "reflection" else at
        if not self._cubic:  # of four pixels each is brought inside for itself
            place = self._fold(place)
            place = place if self._zeros else build.op("Clip", place, np.float32(0), self._last)
        self._first = build.op("Round" if self._nearest else "Floor", place)
        self._rest = build.op("Sub", place, self._first)

    def _reflected(self, place: ir.Value, size: int, *, aligned: bool) -> ir.Value:
        """Back and forth between the centres or the outer edges of the first and the last pixel."""
        build = self._build
        low, span = (0.0, 2.0 * (size - 1)) if aligned else (-0.5, 2.0 * size)
        if span == 0:
            return build.op("Mul", place, np.float32(0))
        far = build.op("Abs", place if aligned else build.op("Sub", place, np.float32(low)))
        turns = build.op("Floor", build.op("Div", far, np.float32(span)))
        far = build.op("Sub", far, build.op("Mul", turns, np.float32(span)))
        near = build.op("Min", far, build.op("Sub", np.float32(span), far))
        return near if aligned else build.op("Add", near, np.float32(low))

    def side(self, step: int) -> tuple[ir.Value, ir.Value | None]:
        """Position of the lower (0), the upper (1) or the next neighbours, kept inside, and its weight; None stands for one."""
        build = self._build
        place = build.op("Add", self._first, np.float32(step)) if step else self._first
        inside = build.op("Clip", self._fold(place) if self._cubic else place, np.float32(0), self._last)
        weight = None
        if self._cubic:
            weight = self._kernel(step)
        elif not self._nearest:
            weight = self._rest if step else build.op("Sub", np.float32(1), self._rest)
        if self._zeros:
            there = build.op("Cast", build.op("Equal", place, inside), to=ir.DataType.FLOAT.value)
            weight = there if weight is None else build.op("Mul", weight, there)
        return inside, weight

    def _kernel(self, step: int) -> ir.Value:
        """Keys' cubic kernel at the distance of that neighbour: one polynomial up to 1, another up to 2."""
        build, a = self._build, _CUBIC
        far = self._rest if step <= 0 else build.op("Sub", np.float32(1), self._rest)
        if step in (0, 1):
            factors = [a + 2, -(a + 3), 0, 1]
        else:
            far, factors = build.op("Add", far, np.float32(1)), [a, -5 * a, 8 * a, -4 * a]
        total = build.op("Mul", far, np.float32(factors[0]))
        for factor in factors[1:-1]:
            total = build.op("Mul", build.op("Add", total, np.float32(factor)) if factor else total, far)
        return build.op("Add", total, np.float32(factors[-1]))
