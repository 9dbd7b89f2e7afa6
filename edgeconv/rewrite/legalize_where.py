"""onnxruntime has Where for some dtypes only; torch.where of booleans is not among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed

_T = ir.DataType
_NARROW = frozenset({_T.BOOL, _T.INT8, _T.INT16, _T.UINT16})


class LegalizeWhere(NodePass):
    """A choice of booleans or small integers is made in int32."""

    ops: ClassVar[frozenset[str]] = frozenset({"Where"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """None for the dtypes that onnxruntime takes."""
        condition, yes, no = (needed(node, i) for i in range(3))
        kind = yes.dtype or no.dtype
        if kind not in _NARROW:
            return None
        sides = [build.op("Cast", side, to=_T.INT32.value) for side in (yes, no)]
        return [build.op("Cast", build.op("Where", condition, *sides), to=kind.value)]
