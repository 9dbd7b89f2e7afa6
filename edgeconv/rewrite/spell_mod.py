"""Spells the remainder that takes the dividend's sign: TFLite has the other one only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed


class SpellMod(NodePass):
    """Mod with fmod becomes the remainder of the sizes with the dividend's sign."""

    ops: ClassVar[frozenset[str]] = frozenset({"Mod"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The nodes; None for a remainder with the divisor's sign."""
        if not attr(node, "fmod", 0):
            return None
        x, y = needed(node, 0), needed(node, 1)
        size = build.op("Mod", *(build.op("Max", side, build.op("Neg", side)) for side in (x, y)))  # Abs is float only
        size.type, size.shape = x.type, node.outputs[0].shape  # Mod-13 of floats has no inference without fmod
        negative = build.op("Less", x, build.scalar(0, x))
        return [build.op("Where", negative, build.op("Neg", size), size)]
