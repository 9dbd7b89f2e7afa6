"""Spells a Gather of constant neighbouring entries as a Slice, which XNNPACK takes; it has no Gather."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, given, needed, rank, static_shape


class SpellGather(NodePass):
    """Gather with one constant index, or with indices that count up by one, becomes Slice (and Reshape).

    A view that PyTorch exports as a Gather over all elements is such a case too.
    """

    ops: ClassVar[frozenset[str]] = frozenset({"Gather"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The Slice; None where the indices are computed or scattered, or the data is constant."""
        x, indices = needed(node, 0), const_value(given(node, 1))
        size, shape = rank(x), static_shape(node.outputs[0])
        if indices is None or size is None or shape is None or const_value(x) is not None:
            return None
        axis = int(attr(node, "axis", 0)) % size
        dim = x.shape[axis] if x.shape is not None else None
        if not isinstance(dim, int) or indices.size == 0:
            return None
        flat = np.where(indices < 0, indices + dim, indices).reshape(-1)
        if not np.array_equal(flat, np.arange(flat[0], flat[0] + flat.size)):
            return None
        bounds = [build.ints([n], hint) for n, hint in ((flat[0], "start"), (flat[-1] + 1, "end"), (axis, "axis"))]
        piece = build.op("Slice", x, *bounds)
        return [piece if indices.ndim == 1 else build.op("Reshape", piece, build.ints(shape, "shape"))]
