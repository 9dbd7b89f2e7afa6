"""AveragePool-19 and LpPool-18 can dilate, LpPool-18 rounds its size up, and windows that begin in the padding are gone.

Opset 13 knows none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed, static_shape
from edgeconv.rewrite.pool_window import Window

_UNKNOWN = "its input's shape is not known"


class LegalizePool(NodePass):
    """Drops what is left at its default; writes the rest as a sum, or a maximum, of one strided slice a tap."""

    ops = frozenset({"AveragePool", "LpPool", "MaxPool"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Refuses inputs of unknown shape where the window dilates or the size is rounded up."""
        op, shape = node.op_type, static_shape(needed(node, 0))
        dilated = any(step != 1 for step in attr(node, "dilations", []))
        ceil = bool(attr(node, "ceil_mode", 0))
        if op == "MaxPool":
            if not ceil or shape is None or len(node.outputs) > 1 or not _drops(node, shape):
                return None
            return [_largest(build, node, Window.of(node, shape))]
        new = {"dilations"} if op == "AveragePool" else {"dilations", "ceil_mode"}
        if shape is None and (dilated or (ceil and op == "LpPool")):
            return build.refuse(_UNKNOWN)
        volume = op == "LpPool" and shape is not None and len(shape) > 4
        if shape is not None and (dilated or volume or (ceil and (op == "LpPool" or _drops(node, shape)))):
            return [_mean(build, node, Window.of(node, shape))]
        return build.again(drop=new) if new & set(node.attributes) else None


def _drops(node: ir.Node, shape: list[int]) -> bool:
    """Whether a last window begins in the padding: opset 13's shape inference counts it."""
    window = Window.of(node, shape)
    reach = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    return any(
        -(-(n + b + a - r) // s) + 1 > o
        for n, b, a, r, s, o in zip(
            window.size, window.before, window.after, reach, window.strides, window.out, strict=True
        )
    )


def _largest(build: Builder, node: ir.Node, window: Window) -> ir.Value:
    x = needed(node, 0)
    dtype: Any = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
    lowest = float(np.finfo(dtype).min) if dtype.kind == "f" else float(np.iinfo(dtype).min)
    return build.op("Max", *window.slices(build, window.padded(build, x, lowest)))


def _mean(build: Builder, node: ir.Node, window: Window) -> ir.Value:
    """The mean over a window, or the p-norm of an LpPool."""
    x = needed(node, 0)
    order = float(attr(node, "p", 2))
    powers = node.op_type == "LpPool"
    source = build.op("Pow", build.op("Abs", x), build.scalar(order, x)) if powers else x
    pieces = window.slices(build, window.padded(build, source, 0.0))
    total = pieces[0]
    for piece in pieces[1:]:
        total = build.op("Add", total, piece)
    if powers:
        return build.op("Pow", total, build.scalar(1 / order, x))
    counts = window.counts(include_pad=bool(attr(node, "count_include_pad", 0)))
    share = (1 / counts).astype(x.dtype.numpy() if x.dtype is not None else np.float32)
    return build.op("Mul", total, share[None, None])
