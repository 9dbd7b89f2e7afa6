"""Cuts constants that a Split cuts.

The constant folder leaves nodes with several outputs alone. nn.MultiheadAttention splits its in_proj_weight where query, key
and value differ: the three would be no constants, and so not be quantized.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, given, needed


class FoldSplit(NodePass):
    """Split of a constant, by constant sizes or into equal parts, becomes constants."""

    ops: ClassVar[frozenset[str]] = frozenset({"Split"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """None where the input or the sizes are computed, or a part is an output of the model."""
        whole, sizes = const_value(needed(node, 0)), const_value(given(node, 1))
        if whole is None or (given(node, 1) is not None and sizes is None):
            return None
        if any(output.is_graph_output() for output in node.outputs):
            return None
        axis, count = attr(node, "axis", 0), len(node.outputs)
        part = -(-whole.shape[axis] // count)  # rounded up; the last one is the rest
        ends = np.cumsum(sizes)[:-1] if sizes is not None else np.arange(1, count) * part
        return [build.const(piece, "part") for piece in np.split(whole, ends, axis)]
