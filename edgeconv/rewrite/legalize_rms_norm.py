"""RMSNormalization-23 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed
from edgeconv.rewrite.legalize_layer_norm import normalized_axes, wide


class LegalizeRmsNorm(NodePass):
    """Writes x / sqrt(mean of squares + epsilon) * scale."""

    ops = frozenset({"RMSNormalization"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs the rank only where the axis is counted from the front."""
        source, scale = needed(node, 0), needed(node, 1)
        axes = normalized_axes(build, source, attr(node, "axis", -1))
        if axes is None:
            return None
        data, back = wide(build, source, attr(node, "stash_type", ir.DataType.FLOAT.value))
        square = build.op("ReduceMean", build.op("Mul", data, data), axes=axes, keepdims=1)
        epsilon = build.scalar(attr(node, "epsilon", 1e-5), data, "epsilon")
        value = build.op("Div", data, build.op("Sqrt", build.op("Add", square, epsilon)))
        if back is not None:
            value = build.op("Cast", value, to=back)
        return [build.op("Mul", value, scale)]
