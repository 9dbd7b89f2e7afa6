"""IsInf-20 takes all float types; IsInf-10 takes float and double."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed


class LegalizeIsInf(NodePass):
    """Casts other floats first, which keeps infinities as they are."""

    ops = frozenset({"IsInf"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        data = needed(node, 0)
        if data.dtype in (None, ir.DataType.FLOAT, ir.DataType.DOUBLE):
            return None
        return build.again(build.op("Cast", data, to=ir.DataType.FLOAT.value))
