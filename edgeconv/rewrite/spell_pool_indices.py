"""Spells a MaxPool that gives the places of its maxima: TFLite's gives values only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, needed, static_shape
from edgeconv.rewrite.pool_window import Window


class SpellPoolIndices(NodePass):
    """The taps of all windows side by side: their maximum, and where it stands first."""

    ops: ClassVar[frozenset[str]] = frozenset({"MaxPool"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Values and flat places in the whole input; None where the places are not read, or the shape is not known."""
        x, shape = needed(node, 0), static_shape(needed(node, 0))
        if len(node.outputs) < 2 or shape is None:
            return None
        if not node.outputs[1].uses() and not node.outputs[1].is_graph_output():
            (value,) = build.ops("MaxPool", x, outputs=1, **{key: attr(node, key) for key in node.attributes})
            return [value, build.const(np.zeros(0, np.int64), "unread")]
        window = Window.of(node, shape)
        lowest = float(np.finfo(np.float32).min)
        taps = window.slices(build, window.padded(build, x, lowest))
        last = len(shape)
        side = build.op("Concat", *(build.op("Unsqueeze", tap, build.ints([last])) for tap in taps), axis=last)
        best = build.op("ReduceMax", side, axes=[last], keepdims=0)
        which = build.op("ArgMax", side, axis=last, keepdims=1)
        here = build.op("Equal", which, np.arange(len(taps), dtype=np.int64))
        places = _places(window, shape, column_major=bool(attr(node, "storage_order", 0)))
        chosen = build.op("Where", here, places, np.array(0, np.int64))
        flat = build.op("ReduceSum", chosen, build.ints([last]), keepdims=0)
        planes = np.arange(shape[0] * shape[1], dtype=np.int64) * int(np.prod(shape[2:]))
        return [best, build.op("Add", flat, planes.reshape(*shape[:2], *[1] * len(window.size)))]


def _places(window: Window, shape: list[int], *, column_major: bool) -> Array:
    """Place of each tap of each window in its plane, int64 [1, 1, out …, taps]."""
    sizes = shape[2:]
    steps = np.cumprod([1, *sizes[:-1]]) if column_major else np.cumprod([1, *sizes[:0:-1]])[::-1]
    whole = np.zeros((*window.out, len(window.taps())), np.int64)
    for number, tap in enumerate(window.taps()):
        for axis, (offset, step) in enumerate(zip(tap, steps, strict=True)):
            at = np.arange(window.out[axis]) * window.strides[axis] - window.before[axis] + offset
            whole[..., number] += (at * step).reshape([-1 if a == axis else 1 for a in range(len(sizes))])
    return whole[None, None]
