"""RotaryEmbedding-23 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed, static_shape


class LegalizeRotaryEmbedding(NodePass):
    """Turns each pair (a, b) of a head into (a cos - b sin, a sin + b cos)."""

    ops = frozenset({"RotaryEmbedding"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs the sizes; works on [batch, sequence, heads, head size] as the operator's definition does."""
        source, positions = needed(node, 0), given(node, 3)
        shape, heads = static_shape(source), attr(node, "num_heads", 0)
        if shape is None or (len(shape) == 3 and not heads):
            return build.refuse("the shape of its input is not known")
        if len(shape) == 3:
            split = build.ints([shape[0], shape[1], heads, shape[2] // heads], "heads")
            data = build.op("Reshape", source, split)
        else:
            data = build.op("Transpose", source, perm=[0, 2, 1, 3])
        size = shape[2] // heads if len(shape) == 3 else shape[3]
        turned = attr(node, "rotary_embedding_dim", 0) or size
        waves = [needed(node, 1), needed(node, 2)]
        if positions is not None:
            waves = [build.op("Gather", wave, positions, axis=0) for wave in waves]
        cosine, sine = (build.op("Unsqueeze", wave, build.ints([2], "axis")) for wave in waves)
        if attr(node, "interleaved", 0):
            first, second = _cut(build, data, 0, turned, 2), _cut(build, data, 1, turned, 2)
        else:
            first, second = _cut(build, data, 0, turned // 2), _cut(build, data, turned // 2, turned)
        real = build.op("Sub", build.op("Mul", cosine, first), build.op("Mul", sine, second))
        imaginary = build.op("Add", build.op("Mul", sine, first), build.op("Mul", cosine, second))
        if attr(node, "interleaved", 0):
            pairs = [build.op("Unsqueeze", part, build.ints([4], "axis")) for part in (real, imaginary)]
            merged = build.op("Concat", *pairs, axis=4)
            value = build.op("Reshape", merged, build.ints([0, 0, 0, turned], "merged"))
        else:
            value = build.op("Concat", real, imaginary, axis=3)
        if turned < size:
            value = build.op("Concat", value, _cut(build, data, turned, size), axis=3)
        if len(shape) == 3:
            return [build.op("Reshape", value, build.ints(shape, "joined"))]
        return [build.op("Transpose", value, perm=[0, 2, 1, 3])]


def _cut(build: Builder, value: ir.Value, start: int, end: int, step: int = 1) -> ir.Value:
    bounds = build.ints([start], "start"), build.ints([end], "end")
    return build.op("Slice", value, *bounds, build.ints([3], "axis"), build.ints([step], "step"))
