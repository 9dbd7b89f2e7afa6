"""GroupNormalization (18: scale and bias per group, 21: per channel) is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, needed, static_shape
from edgeconv.rewrite.legalize_layer_norm import wide
from edgeconv.rewrite.spell_instance_norm import normalized


class LegalizeGroupNorm(NodePass):
    """As `spell_instance_norm` spells it; of an unknown shape, each group as one row of a three-dimensional view."""

    ops = frozenset({"GroupNormalization"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs the number of channels and the rank; a batch or spatial size may be unknown."""
        source, groups = needed(node, 0), attr(node, "num_groups")
        channels = source.shape[1] if source.shape is not None else None
        if source.shape is None or not isinstance(channels, int):
            return build.refuse("the number of channels of its input is not known")
        shape, constants = static_shape(source), [const_value(needed(node, i)) for i in (1, 2)]
        if shape is not None and source.dtype == ir.DataType.FLOAT and all(array is not None for array in constants):
            scale, bias = (np.repeat(array, channels // len(array)) for array in constants if array is not None)
            return [normalized(build, source, groups, scale, bias, attr(node, "epsilon", 1e-5))]
        parameters = [
            self._per_channel(build, needed(node, i), groups, channels, len(source.shape) - 2) for i in (1, 2)
        ]
        data, back = wide(build, source, attr(node, "stash_type", ir.DataType.FLOAT.value))
        rows = build.op("Reshape", data, build.ints([0, groups, -1], "rows"))
        mean = build.op("ReduceMean", rows, axes=[2], keepdims=1)
        centred = build.op("Sub", rows, mean)
        variance = build.op("ReduceMean", build.op("Mul", centred, centred), axes=[2], keepdims=1)
        epsilon = build.scalar(attr(node, "epsilon", 1e-5), data, "epsilon")
        value = build.op("Div", centred, build.op("Sqrt", build.op("Add", variance, epsilon)))
        value = build.op("Reshape", value, self._shape(build, source))
        value.shape = source.shape.copy()
        if back is not None:
            value = build.op("Cast", value, to=back)
        return [build.op("Add", build.op("Mul", value, parameters[0]), parameters[1])]

    def _shape(self, build: Builder, source: ir.Value) -> ir.Value:
        shape = static_shape(source)
        return build.ints(shape, "shape") if shape is not None else build.op("Shape", source)

    def _per_channel(self, build: Builder, value: ir.Value, groups: int, channels: int, spatial: int) -> ir.Value:
        """One number per channel as [C, 1, 1, ...]; where there are as many groups as channels both forms agree."""
        repeat = channels // groups if static_shape(value) == [groups] else 1
        array = const_value(value)
        if array is not None:
            return build.const(np.repeat(array, repeat).reshape([channels] + [1] * spatial), "per_channel")
        if repeat > 1:
            column = build.op("Reshape", value, build.ints([groups, 1], "column"))
            value = build.op("Expand", column, build.ints([groups, repeat], "repeat"))
        return build.op("Reshape", value, build.ints([channels] + [1] * spatial, "per_channel"))
