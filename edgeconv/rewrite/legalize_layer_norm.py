"""LayerNormalization-17 is not known at 13: means, a square root and a division say the same."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed, rank


def normalized_axes(build: Builder, data: ir.Value, first: int) -> list[int] | None:
    """All axes from `first` on, counted from the end; None (refused) if the rank is needed and not known."""
    if first < 0:
        return list(range(first, 0))
    dims = rank(data)
    if dims is None:
        build.refuse(f"the rank of its input is not known, so the axes from {first} on are not either")
        return None
    return list(range(first - dims, 0))


def wide(build: Builder, value: ir.Value, stash_type: int) -> tuple[ir.Value, int | None]:
    """The value in the type in which the op computes, and the type to come back to if that differs."""
    if value.dtype is None or value.dtype.value == stash_type or value.dtype == ir.DataType.DOUBLE:
        return value, None
    return build.op("Cast", value, to=stash_type), value.dtype.value


class LegalizeLayerNorm(NodePass):
    """Writes (x - mean) / sqrt(mean of squares + epsilon) * scale + bias.

    The square root under a division, not a Reciprocal: TensorFlow turns exactly this pair into RSQRT and MUL.
    """

    ops = frozenset({"LayerNormalization"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Mean and InvStdDev are computed only if something reads them."""
        source, scale, bias = needed(node, 0), needed(node, 1), given(node, 2)
        axes = normalized_axes(build, source, attr(node, "axis", -1))
        if axes is None:
            return None
        data, back = wide(build, source, attr(node, "stash_type", ir.DataType.FLOAT.value))
        mean = build.op("ReduceMean", data, axes=axes, keepdims=1)
        centred = build.op("Sub", data, mean)
        variance = build.op("ReduceMean", build.op("Mul", centred, centred), axes=axes, keepdims=1)
        epsilon = build.scalar(attr(node, "epsilon", 1e-5), data, "epsilon")
        deviation = build.op("Sqrt", build.op("Add", variance, epsilon))
        value = build.op("Div", centred, deviation)
        if back is not None:
            value = build.op("Cast", value, to=back)
        value = build.op("Mul", value, scale)
        if bias is not None:
            value = build.op("Add", value, bias)
        extra = len(node.outputs) - 1
        read = extra == 2 and (node.outputs[2].uses() or node.outputs[2].is_graph_output())
        return [value, mean, build.op("Reciprocal", deviation) if read else mean][: extra + 1]
