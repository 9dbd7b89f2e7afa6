"""Spells Expand so that the constant in a .tflite has the new axes only: onnx-tf multiplies by ones of the whole result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed, static_shape

_T = ir.DataType
_NUMBERS = frozenset({_T.FLOAT, _T.INT32, _T.INT64})


class SpellExpand(NodePass):
    """Times ones, or with booleans or no, of the size of what is repeated: [3, 20, 1] to [3, 20, 64] by [1, 1, 64]."""

    ops: ClassVar[frozenset[str]] = frozenset({"Expand"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The product; None where shapes are unknown or onnx-tf must cast."""
        x = needed(node, 0)
        before, after = static_shape(x), static_shape(node.outputs[0])
        if before is None or after is None or x.dtype is None:
            return None
        before = [1] * (len(after) - len(before)) + before
        repeats = [new if old == 1 else 1 for old, new in zip(before, after, strict=True)]
        if x.dtype == _T.BOOL:
            return [build.op("Or", x, np.zeros(repeats, bool))]
        if x.dtype not in _NUMBERS:
            return None
        return [build.op("Mul", x, np.ones(repeats, x.dtype.numpy()))]
