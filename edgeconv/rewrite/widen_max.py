"""Max and Min of 16 bits in 32: onnxruntime has no kernel for them, and must run the file that the first stage writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed

_WORD = ir.DataType.INT32


class WidenMax(NodePass):
    """Casts around Max and Min of int16 and uint16."""

    ops: ClassVar[frozenset[str]] = frozenset({"Max", "Min"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The op between casts; None for other dtypes."""
        dtype = needed(node, 0).dtype
        if dtype not in {ir.DataType.INT16, ir.DataType.UINT16}:
            return None
        wide = [build.op("Cast", value, to=_WORD.value) for value in node.inputs if value is not None]
        return [build.op("Cast", build.op(node.op_type, *wide), to=dtype.value)]
