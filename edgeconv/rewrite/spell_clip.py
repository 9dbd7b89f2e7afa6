"""Spells a Clip with computed bounds as Max and Min, in ONNX's order: the upper bound wins where they cross."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, given, needed


class SpellClip(NodePass):
    """Clip whose bounds are not constant."""

    ops: ClassVar[frozenset[str]] = frozenset({"Clip"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Max and Min; None where the bounds are constant or absent."""
        low, high = given(node, 1), given(node, 2)
        if all(value is None or const_value(value) is not None for value in (low, high)):
            return None
        made = needed(node, 0)
        for op, bound in (("Max", low), ("Min", high)):
            made = made if bound is None else build.op(op, made, bound)
        return [made]
