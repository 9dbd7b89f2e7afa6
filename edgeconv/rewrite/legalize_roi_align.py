"""RoiAlign-16 places boxes with or without half a pixel; 13 has no word for it, and TFLite no builtin for any.

Bilinear sampling is separable: the mean over a box is a matrix of weights by rows, times the image, times one by columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed, static_shape


class LegalizeRoiAlign(NodePass):
    """RoiAlign with a fixed number of samples becomes two matrix products a box."""

    ops = frozenset({"RoiAlign"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """How many samples a box takes must be known: with sampling_ratio 0 it depends on the box."""
        x, boxes, shape = needed(node, 0), needed(node, 1), static_shape(needed(node, 0))
        samples = int(attr(node, "sampling_ratio", 0))
        if samples < 1:
            return build.refuse("how many samples a box takes depends on its size; set sampling_ratio")
        if shape is None or given(node, 2) is None:
            return build.refuse("its input's shape is not known")
        opsets = node.graph.opset_imports if node.graph is not None else {}  # a subgraph may have none of its own
        unnamed = "half_pixel" if opsets.get("", 16) >= 16 else "output_half_pixel"
        half = attr(node, "coordinate_transformation_mode", unnamed) == "half_pixel"
        scale = build.scalar(float(attr(node, "spatial_scale", 1.0)), boxes)
        ends = build.op("Sub", build.op("Mul", boxes, scale), build.scalar(0.5 if half else 0.0, boxes))
        out = [int(attr(node, "output_height", 1)), int(attr(node, "output_width", 1))]
        largest = str(attr(node, "mode", "avg")) == "max"
        rows, columns = (
            _weights(build, ends, axis, out[1 - axis], samples, shape[3 - axis], half=half, each=largest)
            for axis in (1, 0)
        )
        images = build.op("Gather", x, needed(node, 2), axis=0)  # [boxes, channels, height, width]
        one = build.ints([1], "axis")
        tall = build.op("MatMul", build.op("Unsqueeze", rows, one), images)
        made = build.op("MatMul", tall, build.op("Unsqueeze", build.op("Transpose", columns, perm=[0, 2, 1]), one))
        if largest:
            parts = [0, 0, out[0], samples, out[1], samples]
            made = build.op("ReduceMax", build.op("Reshape", made, build.ints(parts)), axes=[3, 5], keepdims=0)
        return [made]


def _weights(
    build: Builder, ends: ir.Value, axis: int, out: int, samples: int, size: int, *, half: bool, each: bool
) -> ir.Value:
    """Weights of the image's rows (axis 1) or columns (0): [boxes, out, size], or one row a sample."""
    last = build.ints([1], "axis")
    low, high = (
        build.op("Slice", ends, build.ints([n]), build.ints([n + 1]), last) for n in (axis, axis + 2)
    )  # [boxes, 1]
    length = build.op("Sub", high, low)
    if not half:
        length = build.op("Max", length, build.scalar(1.0, ends))
    steps = ((np.arange(out * samples) + 0.5) / (samples * out)).astype(np.float32)
    at = build.op("Add", low, build.op("Mul", length, steps[None]))  # [boxes, out · samples]
    inside = build.op("And", build.op("GreaterOrEqual", at, np.array(-1, np.float32)),
                      build.op("LessOrEqual", at, np.array(size, np.float32)))  # fmt: skip
    kept = build.op("Min", build.op("Max", at, np.array(0, np.float32)), np.array(size - 1, np.float32))
    two = build.ints([2], "axis")
    distance = build.op("Abs", build.op("Sub", build.op("Unsqueeze", kept, two), np.arange(size, dtype=np.float32)))
    hat = build.op("Max", build.op("Sub", np.array(1, np.float32), distance), np.array(0, np.float32))
    hat = build.op("Where", build.op("Unsqueeze", inside, two), hat, np.array(0, np.float32))
    if each:
        return hat
    grouped = build.op("Reshape", hat, build.ints([-1, out, samples, size], "samples"))
    return build.op("ReduceMean", grouped, axes=[2], keepdims=0)
