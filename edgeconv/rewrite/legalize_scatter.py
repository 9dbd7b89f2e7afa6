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


class LegalizeScatter(NodePass):
    """Gathers what is there, reduces, and writes it back, where constant indices show that none occurs twice.

    Sums may meet twice: constant indices are then summed by a MatMul with ones and zeros, computed ones by a one-hot.
    """

    ops = frozenset({"ScatterElements", "ScatterND"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """What meets twice and is no sum is refused."""
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
            build.refuse(f"it reduces by {how} at indices that are computed or occur twice")
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
        others = all(a == b for i, (a, b) in enumerate(zip(shape, taken, strict=True)) if i != axis)
        if how != "add" or not others or int(np.prod(taken)) * shape[axis] > _ONE_HOT_LIMIT or data.dtype is None:
            return None
        depth = build.const(np.array(shape[axis], np.int64), "depth")
        spots = build.op("OneHot", where, depth, np.array([0, 1], data.dtype.numpy()), axis=axis + 1)
        parts = build.op("Mul", build.op("Unsqueeze", updates, build.ints([axis + 1], "axis")), spots)
        total = build.op("ReduceSum", parts, build.ints([axis], "axis"), keepdims=0)
        return [build.op("Add", data, total)]

    def _nd(
        self, node: ir.Node, build: Builder, how: str, indices: npt.NDArray[Any] | None
    ) -> Sequence[ir.Value] | None:
        data, where, updates = (needed(node, i) for i in range(3))
        shape = static_shape(data)
        if indices is None or shape is None:
            return None
        depth = indices.shape[-1]
        rows = indices.reshape(-1, depth)
        rows = np.where(rows < 0, rows + np.array(shape[:depth]), rows)
        once, inverse = np.unique(rows, axis=0, return_inverse=True)
        if len(once) < len(rows):
            if how != "add" or data.dtype is None:
                return None
            tail = shape[depth:]
            ones = np.zeros((len(once), len(rows)), data.dtype.numpy())
            ones[inverse.reshape(-1), np.arange(len(rows))] = 1
            flat = build.op("Reshape", updates, build.ints([len(rows), int(np.prod(tail))], "rows"))
            updates = build.op("Reshape", build.op("MatMul", ones, flat), build.ints([len(once), *tail], "sums"))
            where = build.const(once.astype(np.int64), "indices")
        value = build.op(_REDUCE[how], build.op("GatherND", data, where), updates)
        return [build.op("ScatterND", data, where, value)]
