"""Writes a join of strided slices (Swin's patch merging, YOLO's focus) as one rearrangement.

x[:, 0::2, 0::2], x[:, 1::2, 0::2], … joined along the channels read the whole image once for each piece; XNNPACK takes no
strided slice at all. Reshape, Transpose, Reshape moves every element once, in whole runs of channels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, given, needed, static_shape

#: XNNPACK's XNN_MAX_TENSOR_DIMS.
MOST_AXES = 6


@dataclass(frozen=True)
class _Piece:
    """Every `steps[axis]`-th element of a value, from `starts[axis]` on."""

    source: ir.Value
    starts: dict[int, int]
    steps: dict[int, int]


class SpellPatchMerge(NodePass):
    """A Concat of all the pieces that steps along some axes leave becomes Reshape, Transpose, Reshape."""

    ops = frozenset({"Concat"})

    def rewrite(self, node: ir.Node, build: Builder) -> list[ir.Value] | None:
        """The same elements in the same order, or None where the inputs are anything else."""
        pieces = [_piece(value) for value in node.inputs]
        first = pieces[0]
        shape = static_shape(first.source) if first is not None else None
        if first is None or shape is None or len(first.steps) + len(shape) > MOST_AXES:
            return None
        joined = int(attr(node, "axis")) % len(shape)
        whole = [piece for piece in pieces if piece and piece.source is first.source and piece.steps == first.steps]
        if (
            len(whole) != len(pieces)
            or joined in first.steps
            or any(shape[axis] % k for axis, k in first.steps.items())
        ):
            return None
        order = _order([piece.starts for piece in whole], first.steps)
        if order is None:
            return None
        split: list[int] = []
        main, inner = {}, {}
        for axis, length in enumerate(shape):
            main[axis] = len(split)
            split.append(length // first.steps.get(axis, 1))
            if axis in first.steps:
                inner[axis] = len(split)
                split.append(first.steps[axis])
        perm: list[int] = []
        for axis in range(len(shape)):
            perm += [inner[one] for one in order] if axis == joined else []
            perm.append(main[axis])
        after = [length // first.steps.get(axis, 1) for axis, length in enumerate(shape)]
        after[joined] *= len(pieces)
        parted = build.op("Reshape", first.source, build.ints(split, "shape"))
        return [build.op("Reshape", build.op("Transpose", parted, perm=perm), build.ints(after, "shape"))]


def _piece(value: ir.Value | None) -> _Piece | None:
    """What a value takes of another through Slices with steps; None if it is no such slice."""
    starts: dict[int, int] = {}
    steps: dict[int, int] = {}
    while value is not None and (node := value.producer()) is not None and node.op_type == "Slice":
        source = needed(node, 0)
        shape = static_shape(source)
        begins, ends = const_ints(given(node, 1)), const_ints(given(node, 2))
        axes, strides = const_ints(given(node, 3)), const_ints(given(node, 4))
        if shape is None or begins is None or ends is None or axes is None:
            return None
        for start, end, axis, step in zip(begins, ends, axes, strides or [1] * len(axes), strict=True):
            axis %= len(shape)  # noqa: PLW2901 - counted from the front from here on
            places = range(*slice(start, end, step).indices(shape[axis]))
            if len(places) == shape[axis] and step == 1:
                continue
            if axis in steps or step < 2 or places[0] >= step or len(places) != shape[axis] // step:
                return None
            starts[axis], steps[axis] = places[0], step
        value = source
    return _Piece(value, starts, steps) if value is not None and steps else None


def _order(starts: list[dict[int, int]], steps: dict[int, int]) -> list[int] | None:
    """The axes from the slowest to the fastest in the order of the pieces; None if they are in no such order."""
    if len(starts) != int(np.prod(list(steps.values()))):
        return None
    for order in itertools.permutations(steps):
        combinations = itertools.product(*(range(steps[axis]) for axis in order))
        if all(dict(zip(order, one, strict=True)) == found for one, found in zip(combinations, starts, strict=True)):
            return list(order)
    return None
