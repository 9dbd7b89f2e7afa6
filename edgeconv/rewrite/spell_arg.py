"""ArgMax and ArgMin over int64: TFLite's builtins take int32 at most, so ids are narrowed before."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed


class SpellArg(NodePass):
    """Cast to int32 first. Values past 2³¹ would change their order: token ids and class numbers have none."""

    ops = frozenset({"ArgMax", "ArgMin"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The same op over int32."""
        x = needed(node, 0)
        if x.dtype != ir.DataType.INT64:
            return None
        return build.again(build.op("Cast", x, to=int(ir.DataType.INT32)))
