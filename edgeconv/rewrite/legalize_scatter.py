"""ScatterElements and ScatterND of opsets 16 and 18 can reduce; those of 13 only write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, needed, static_shape

_REDUCE = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
_ONE_HOT_LIMIT = 1 << 22  # elements: a larger one-hot costs more than the scatter is worth
_PRODUCT_LIMIT = (
    1 << 24
)  # elements, where a matrix product sums and no copy of the updates is spread out over the places


class LegalizeScatter(NodePass):
    """Gathers what is there, reduces, and writes it back, where constant indices show that none occurs twice.

    Where one may, the entries that fall on each place are reduced first: whole rows are summed by a MatMul with ones and zeros,
    all else by comparing every index with every place.
    """

    ops = frozenset({"ScatterElements", "ScatterND"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """What would take too many comparisons is refused."""
        how = attr(node, "reduction")
        if how is None:
            return None
        if how == "none":
            return build.again(drop={"reduction"})
        indices = const_value(needed(node, 1))
        found = self._nd(node, build, how, indices) if node.op_type == "ScatterND" else None
        if node.op_type == "ScatterElements":
            found = self._elements(node, build, how, indices)
        if found is None:
            build.refuse(f"it reduces by {how} over more places than can be compared, or of unknown shape")
        return found

    def _elements(
        self, node: ir.Node, build: Builder, how: str, indices: npt.NDArray[Any] | None
    ) -> Sequence[ir.Value] | None:
        data, where, updates = (needed(node, i) for i in range(3))
        shape, taken = static_shape(data), static_shape(where)
        if shape is None or taken is None:
            return None
        axis = attr(node, "axis", 0) % len(shape)
        if indices is not None:
            sorted_ones = np.sort(np.where(indices < 0, indices + shape[axis], indices), axis=axis)
            if (np.diff(sorted_ones, axis=axis) != 0).all():
                here = build.op("GatherElements", data, where, axis=axis)
                value = build.op(_REDUCE[how], here, updates)
                return [build.op("ScatterElements", data, where, value, axis=axis)]
        same = _same_along(where, axis)
        if how == "add" and same is not None and data.dtype == ir.DataType.FLOAT:
            found = self._summed_rows(build, data, same, updates, axis)
            if found is not None:
                return found
        if int(np.prod(taken)) * shape[axis] > _ONE_HOT_LIMIT or data.dtype is None:
            return None
        # [..., entries, places, ...]: which place each entry goes to, along a new axis
        here = build.op("Unsqueeze", _counted(build, where, shape[axis]), build.ints([axis + 1], "axis"))
        places = np.arange(shape[axis], dtype=np.int64).reshape(
            [-1 if a == axis + 1 else 1 for a in range(len(shape) + 1)]
        )
        spots = build.op("Equal", here, places)
        total = _gathered(build, spots, build.op("Unsqueeze", updates, build.ints([axis + 1], "axis")), axis, how)
        missing = [0 if a == axis else n - m for a, (n, m) in enumerate(zip(shape, taken, strict=True))]
        if any(missing):
            neutral = build.const(_neutral(how, data.dtype), "neutral")
            total = build.op("Pad", total, build.ints([0] * len(shape) + missing, "pads"), neutral, mode="constant")
        return [build.op(_REDUCE[how], data, total)]

    def _summed_rows(
        self, build: Builder, data: ir.Value, where: ir.Value, updates: ir.Value, axis: int
    ) -> Sequence[ir.Value] | None:
        """Whole slices along an axis, each added at a place of its own."""
        shape, taken = static_shape(data), static_shape(updates)
        rest = None if shape is None else [axis, *(other for other in range(len(shape)) if other != axis)]
        if (
            shape is None
            or taken is None
            or rest is None
            or [*shape[:axis], *shape[axis + 1 :]] != [*taken[:axis], *taken[axis + 1 :]]
        ):
            return None
        count, rows = taken[axis], shape[axis]
        if count * rows > _PRODUCT_LIMIT:
            return None
        number = _counted(build, build.op("Reshape", where, build.ints([count, 1], "entries")), rows)
        first = build.op("Reshape", build.op("Transpose", updates, perm=rest), build.ints([count, -1], "updates"))
        total = build.op("Reshape", _summed(build, number, rows, first), build.ints([shape[a] for a in rest], "shape"))
        return [build.op("Add", data, build.op("Transpose", total, perm=[int(n) for n in np.argsort(rest)]))]

    def _nd(
        self, node: ir.Node, build: Builder, how: str, indices: npt.NDArray[Any] | None
    ) -> Sequence[ir.Value] | None:
        data, where, updates = (needed(node, i) for i in range(3))
        shape = static_shape(data)
        if shape is None:
            return None
        if indices is None:
            return self._computed_nd(node, build, how, shape)
        depth = indices.shape[-1]
        rows = indices.reshape(-1, depth)
        rows = np.where(rows < 0, rows + np.array(shape[:depth]), rows)
        once, inverse = np.unique(rows, axis=0, return_inverse=True)
        if len(once) < len(rows):
            if data.dtype is None:
                return None
            if how != "add":
                return self._computed_nd(node, build, how, shape)
            tail = shape[depth:]
            ones = np.zeros((len(once), len(rows)), data.dtype.numpy())
            ones[inverse.reshape(-1), np.arange(len(rows))] = 1
            flat = build.op("Reshape", updates, build.ints([len(rows), int(np.prod(tail))], "rows"))
            updates = build.op("Reshape", build.op("MatMul", ones, flat), build.ints([len(once), *tail], "sums"))
            where = build.const(once.astype(np.int64), "indices")
        value = build.op(_REDUCE[how], build.op("GatherND", data, where), updates)
        return [build.op("ScatterND", data, where, value)]

    def _computed_nd(self, node: ir.Node, build: Builder, how: str, shape: list[int]) -> Sequence[ir.Value] | None:
        """Rows of the data numbered through, and for each the entries that go there."""
        data, where, updates = (needed(node, i) for i in range(3))
        taken = static_shape(where)
        if taken is None or data.dtype is None:
            return None
        depth, count = taken[-1], int(np.prod(taken[:-1]))
        rows, tail = int(np.prod(shape[:depth])), int(np.prod(shape[depth:]))
        by_product = how == "add" and data.dtype == ir.DataType.FLOAT and tail > 1
        if count * rows * (1 if by_product else tail) > (_PRODUCT_LIMIT if by_product else _ONE_HOT_LIMIT):
            return None
        steps = np.array([int(np.prod(shape[axis + 1 : depth])) for axis in range(depth)], np.int64)
        flat = build.op("Reshape", where, build.ints([count, depth], "entries"))
        lengths = np.array(shape[:depth], np.int64)
        flat = build.op("Where", build.op("Less", flat, np.array(0, np.int64)), build.op("Add", flat, lengths), flat)
        number = build.op("ReduceSum", build.op("Mul", flat, steps), build.ints([1], "axis"))  # [entries, 1]
        if by_product:
            values = build.op("Reshape", updates, build.ints([count, tail], "updates"))
            total = build.op("Reshape", _summed(build, number, rows, values), build.ints(shape, "shape"))
            return [build.op("Add", data, total)]
        spots = build.op("Equal", number, np.arange(rows, dtype=np.int64)[None])
        spots = build.op("Unsqueeze", spots, build.ints([2], "axis"))  # [entries, rows, 1]
        values = build.op("Reshape", updates, build.ints([count, 1, tail], "updates"))
        total = build.op("Reshape", _gathered(build, spots, values, 0, how), build.ints(shape, "shape"))
        return [build.op(_REDUCE[how], data, total)]


def _summed(build: Builder, number: ir.Value, rows: int, values: ir.Value) -> ir.Value:
    """Values [entries, n] summed up by the row [entries, 1] that each belongs to, [rows, n].

    What is infinite counts as the largest number: zero times it is zero, for all the other rows.
    """
    most = np.float32(np.finfo(np.float32).max)
    values = build.op("Clip", values, -most, most)
    spots = build.op(
        "Cast", build.op("Equal", number, np.arange(rows, dtype=np.int64)[None]), to=ir.DataType.FLOAT.value
    )
    return build.op("MatMul", build.op("Transpose", spots, perm=[1, 0]), values)


def _same_along(where: ir.Value, axis: int) -> ir.Value | None:
    """The indices [1, …, entries, …, 1] that an Expand or Tile spreads out over all other axes."""
    node, shape = where.producer(), static_shape(where)
    if node is None or node.op_type not in {"Expand", "Tile"} or shape is None:
        return None
    small = static_shape(needed(node, 0))
    if small is None or len(small) != len(shape) or small[axis] != shape[axis] or int(np.prod(small)) != shape[axis]:
        return None
    return needed(node, 0)


def _counted(build: Builder, indices: ir.Value, length: int) -> ir.Value:
    """Indices counted from the start, int64."""
    known = const_value(indices)
    if known is not None:
        return build.const(np.where(known < 0, known + length, known).astype(np.int64), "indices")
    wide = indices if indices.dtype == ir.DataType.INT64 else build.op("Cast", indices, to=ir.DataType.INT64.value)
    return build.op(
        "Where", build.op("Less", wide, np.array(0, np.int64)), build.op("Add", wide, np.array(length)), wide
    )


def _neutral(how: str, dtype: ir.DataType) -> npt.NDArray[Any]:
    """What changes nothing when it is reduced by `how`."""
    kind = dtype.numpy()
    if how in {"add", "mul"}:
        return np.array(0 if how == "add" else 1, kind)
    info = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    return np.array(info.min if how == "max" else info.max, kind)


def _gathered(build: Builder, spots: ir.Value, values: ir.Value, axis: int, how: str) -> ir.Value:
    """The values that fall on each spot, reduced along the axis of entries."""
    dtype = values.dtype or ir.DataType.FLOAT
    parts = build.op("Where", spots, values, _neutral(how, dtype))
    if how == "add":
        return build.op("ReduceSum", parts, build.ints([axis], "axis"), keepdims=0)
    return build.op({"mul": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}[how], parts, axes=[axis], keepdims=0)
