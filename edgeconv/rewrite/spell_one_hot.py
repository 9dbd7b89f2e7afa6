"""Spells OneHot as a comparison: the stock handler takes few dtypes, and places outside count as the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, given, needed, rank


class SpellOneHot(NodePass):
    """Every index with every place along a new axis; negative ones count from the end."""

    ops: ClassVar[frozenset[str]] = frozenset({"OneHot"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Where over Equal; None where the depth is computed."""
        indices, depth, size = needed(node, 0), const_ints(given(node, 1)), rank(needed(node, 0))
        if not depth or size is None:
            return None
        axis = int(attr(node, "axis", -1)) % (size + 1)
        wide = build.op("Cast", indices, to=ir.DataType.INT64.value)
        negative = build.op("Less", wide, np.array(0, np.int64))
        wide = build.op("Where", negative, build.op("Add", wide, np.array(depth[0], np.int64)), wide)
        places = np.arange(depth[0], dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(size + 1)])
        here = build.op("Equal", build.op("Unsqueeze", wide, build.ints([axis], "axis")), places)
        off, on = (build.op("Slice", needed(node, 2), build.ints([n]), build.ints([n + 1])) for n in (0, 1))
        return [build.op("Where", here, on, off)]
