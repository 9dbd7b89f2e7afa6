"""Spells a batch norm that the exporter could not fold into a conv as one product and one sum a channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, const_value, given, needed, rank


class SpellBatchNorm(NodePass):
    """BatchNormalization in inference mode becomes x · (γ / √(σ² + ε)) + (β − μ · γ / √(σ² + ε))."""

    ops: ClassVar[frozenset[str]] = frozenset({"BatchNormalization"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The two ops; None in training mode, or where a parameter is computed."""
        x, size = needed(node, 0), rank(needed(node, 0))
        gamma, beta, mean, variance = (const_value(given(node, index)) for index in range(1, 5))
        if size is None or gamma is None or beta is None or mean is None or variance is None or len(node.outputs) > 1:
            return build.refuse("a batch norm in training mode or with computed parameters")
        factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + float(attr(node, "epsilon", 1e-5)))
        offset = beta.astype(np.float64) - mean.astype(np.float64) * factor

        def spread(array: Array) -> Array:
            return array.astype(gamma.dtype).reshape(-1, *[1] * (size - 2))

        scaled = build.op("Mul", x, build.const(spread(factor), "scale"))
        return [build.op("Add", scaled, build.const(spread(offset), "offset"))]
