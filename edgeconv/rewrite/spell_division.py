"""Division of int64: TFLite's DIV takes int32 at most, so both sides are narrowed and the quotient widened."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed


class SpellDivision(NodePass):
    """Casts around Div. Places, counts and ids, which are what models divide, are far below 2³¹."""

    ops = frozenset({"Div"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The same op over int32."""
        if needed(node, 0).dtype != ir.DataType.INT64:
            return None
        narrow = [build.op("Cast", needed(node, n), to=int(ir.DataType.INT32)) for n in (0, 1)]
        return [build.op("Cast", build.op("Div", *narrow), to=int(ir.DataType.INT64))]
