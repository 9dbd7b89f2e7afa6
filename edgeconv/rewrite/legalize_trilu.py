"""Trilu-14 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, given, needed, static_shape


def triangle(build: Builder, data: ir.Value, offset: ir.Value | None, *, upper: bool) -> ir.Value | None:
    """Boolean [rows, columns]: column - row >= offset, or <= if not `upper`; None if the rank is not known."""
    shape, shift = static_shape(data), const_ints(offset) if offset is not None else [0]
    if shape is not None and shift is not None:
        whole = np.ones(shape[-2:], np.bool_)
        return build.const(np.triu(whole, shift[0]) if upper else np.tril(whole, shift[0]), "triangle")
    if data.shape is None:
        return None
    sizes = build.op("Shape", data)
    zero, one = build.const(np.array(0, np.int64), "zero"), build.const(np.array(1, np.int64), "one")
    rows, columns = (
        build.op("Range", zero, build.op("Gather", sizes, np.array(len(data.shape) + axis, np.int64), axis=0), one)
        for axis in (-2, -1)
    )
    first = build.op("Unsqueeze", rows, build.ints([1], "axis"))
    if offset is not None:
        first = build.op("Add", first, offset)
    return build.op("GreaterOrEqual" if upper else "LessOrEqual", columns, first)


class LegalizeTrilu(NodePass):
    """Selects with a constant mask, or with one made of two Ranges where a size or the offset is not known."""

    ops = frozenset({"Trilu"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs the rank and the type."""
        data = needed(node, 0)
        mask = triangle(build, data, given(node, 1), upper=bool(attr(node, "upper", 1)))
        if mask is None or data.dtype is None:
            return build.refuse("the rank or the type of its input is not known")
        if data.dtype == ir.DataType.BOOL:
            return [build.op("And", mask, data)]
        return [build.op("Where", mask, data, build.const(np.zeros((), data.dtype.numpy()), "zero"))]
