"""Spells IsInf as comparisons with the largest float: the converter's own form takes every value for finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed


class SpellIsInf(NodePass):
    """IsInf of either sign."""

    ops: ClassVar[frozenset[str]] = frozenset({"IsInf"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Greater and Less; None for other dtypes than float32, and where neither sign counts."""
        x = needed(node, 0)
        if x.dtype != ir.DataType.FLOAT:
            return None
        most = np.array(np.finfo(np.float32).max, np.float32)
        signs = [(op, bound) for op, key, bound in (("Greater", "detect_positive", most), ("Less", "detect_negative", -most))
                 if attr(node, key, 1)]  # fmt: skip
        found = [build.op(op, x, bound) for op, bound in signs]
        return [found[0] if len(found) == 1 else build.op("Or", *found)] if found else None
