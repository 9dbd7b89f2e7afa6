"""Spells the determinant of small matrices by its rows: TFLite has no solver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed, static_shape

#: Largest matrix; the products grow with the factorial.
MOST = 4


class SpellDet(NodePass):
    """Det of [..., n, n], expanded by the first row."""

    ops: ClassVar[frozenset[str]] = frozenset({"Det"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Products and sums; None for matrices that are larger than four by four, or of unknown size."""
        x, shape = needed(node, 0), static_shape(needed(node, 0))
        if shape is None or shape[-1] > MOST:
            build.refuse("its matrices are larger than 4 x 4, or of unknown size")
            return None
        size, rank = shape[-1], len(shape)
        axes = build.ints([rank - 2, rank - 1], "axes")

        def entry(row: int, column: int) -> ir.Value:
            ends = [build.ints([row, column]), build.ints([row + 1, column + 1]), axes]
            return build.op("Squeeze", build.op("Slice", x, *ends), axes)

        entries = [[entry(row, column) for column in range(size)] for row in range(size)]
        return [build.op("Identity", _expanded(build, entries))]


def _expanded(build: Builder, rows: list[list[ir.Value]]) -> ir.Value:
    if len(rows) == 1:
        return rows[0][0]
    total: ir.Value | None = None
    for column, first in enumerate(rows[0]):
        minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
        part = build.op("Mul", first, _expanded(build, minor))
        total = part if total is None else build.op("Sub" if column % 2 else "Add", total, part)
    assert total is not None
    return total
