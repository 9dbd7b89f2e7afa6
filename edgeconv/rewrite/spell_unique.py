"""Spells Unique of all elements with a sort: TFLite's UNIQUE neither sorts nor counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, needed, static_shape

_LONG = ir.DataType.INT64.value


class SpellUnique(NodePass):
    """Unique without an axis: equal elements stand together once sorted, and each run begins where a neighbour differs."""

    ops: ClassVar[frozenset[str]] = frozenset({"Unique"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Values, first places, inverse and counts; how many there are is known at run time only."""
        x, shape = needed(node, 0), static_shape(needed(node, 0))
        if shape is None or (attr(node, "axis") is not None and len(shape) > 1):
            build.refuse("it compares whole slices, or its input's size is not known")
            return None
        count = int(np.prod(shape))
        flat = build.op("Reshape", x, build.ints([count], "flat"))
        values, order = build.ops("TopK", flat, build.ints([count], "all"), outputs=2, axis=0, largest=0)
        begins = _begins(build, values, count)
        starts = _where(build, begins)
        group = build.op("Sub", build.op("CumSum", begins, np.array(0, np.int64)), np.array(1, np.int32))
        group = build.op("Cast", group, to=_LONG)
        firsts = build.op("Gather", order, starts, axis=0)
        ends = build.op("Concat", build.op("Slice", starts, *_ints(build, 1, count, 0)), build.ints([count]), axis=0)
        counts = build.op("Sub", ends, starts)
        zeros = build.const(np.zeros(count, np.int64), "zeros")
        if attr(node, "sorted", 1):
            inverse = build.op("ScatterElements", zeros, order, group, axis=0)
            found = [build.op("Gather", values, starts, axis=0), firsts, inverse, counts]
            return found[: len(node.outputs)]
        # in order of first occurrence: mark the first of each run where it stood
        marks = build.op("ScatterElements", zeros, order, build.op("Cast", begins, to=_LONG), axis=0)
        number = build.op("CumSum", build.op("Cast", marks, to=ir.DataType.INT32.value), np.array(0, np.int64))
        number = build.op("Cast", build.op("Sub", number, np.array(1, np.int32)), to=_LONG)
        mine = build.op("Gather", number, build.op("Gather", firsts, group, axis=0), axis=0)
        inverse = build.op("ScatterElements", zeros, order, mine, axis=0)
        each = build.op("ScatterElements", zeros, order, build.op("Gather", counts, group, axis=0), axis=0)
        places = _where(build, marks)
        found = [build.op("Gather", flat, places, axis=0), places, inverse, build.op("Gather", each, places, axis=0)]
        return found[: len(node.outputs)]


def _begins(build: Builder, values: ir.Value, count: int) -> ir.Value:
    """One where a run begins, int32 [count]."""
    one = build.const(np.ones(1, np.int32), "one")
    if count == 1:
        return one
    later = build.op("Slice", values, *_ints(build, 1, count, 0))
    earlier = build.op("Slice", values, *_ints(build, 0, count - 1, 0))
    differs = build.op("Cast", build.op("Not", build.op("Equal", later, earlier)), to=ir.DataType.INT32.value)
    return build.op("Concat", one, differs, axis=0)


def _ints(build: Builder, *numbers: int) -> list[ir.Value]:
    return [build.ints([number]) for number in numbers]


def _where(build: Builder, marks: ir.Value) -> ir.Value:
    found = build.op("NonZero", build.op("Cast", marks, to=ir.DataType.BOOL.value))
    return build.op("Reshape", found, build.ints([-1], "places"))
