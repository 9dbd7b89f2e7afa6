"""Spells Split as Slices: onnx-tf's Split with sizes becomes tf.SplitV with computed sizes, which is Flex only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, given, needed, static_shape


class OnnxTfSplit(NodePass):
    """Split along an axis of known size becomes one Slice an output."""

    ops: ClassVar[frozenset[str]] = frozenset({"Split"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The Slices; None where the sizes are not constant."""
        source = needed(node, 0)
        axis = int(attr(node, "axis", 0))
        sizes = const_ints(given(node, 1))
        if sizes is None:
            shape = static_shape(source)
            if shape is None or given(node, 1) is not None:
                build.refuse("Split with computed sizes")
                return None
            sizes = [shape[axis] // len(node.outputs)] * len(node.outputs)
        pieces, start = [], 0
        for size in sizes:
            bounds = [build.ints([n], hint) for n, hint in ((start, "start"), (start + size, "end"), (axis, "axis"))]
            pieces.append(build.op("Slice", source, *bounds))
            start += size
        return pieces
