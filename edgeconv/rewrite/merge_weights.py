"""Merges initializers that hold the same: a block that is called again has its weights again once its batch norm is folded.

onnx_ir has a pass for it, which stops at arrays that are not contiguous (a transposed weight).
"""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Pass


class MergeWeights(Pass):
    """Equal initializers of a graph become the first of them."""

    def apply(self, model: ir.Model) -> int:
        """Returns how many went away."""
        merged = 0
        for graph in model.graphs():
            first: dict[tuple[object, ...], ir.Value] = {}
            for name, value in list(graph.initializers.items()):
                tensor = value.const_value
                if (
                    tensor is None
                    or tensor.dtype == ir.DataType.STRING
                    or value.is_graph_input()
                    or value.is_graph_output()
                ):
                    continue
                array = tensor.numpy()
                digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes()).digest()
                same = first.setdefault((tensor.dtype, array.shape, digest), value)
                if same is not value:
                    value.replace_all_uses_with(same)
                    del graph.initializers[name]
                    merged += 1
        return merged
