"""Translations of what orders or accumulates, and the exporter has none for: sort, median, cummax, searchsorted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translation by ATen overload."""
    import torch

    aten = torch.ops.aten
    return {
        aten.sort.stable: _sort,
        aten.kthvalue.default: _kthvalue,
        aten.median.default: _median,
        aten.median.dim: _median_dim,
        aten.cummax.default: _cummax_of("Greater"),
        aten.cummin.default: _cummax_of("Less"),
        aten.logcumsumexp.default: _logcumsumexp,
        aten.searchsorted.Tensor: _searchsorted,
        aten.searchsorted.Scalar: _searchsorted,
    }


def _sort(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> tuple[Any, Any]:
    """TopK of all: of equals, the first ones come first."""
    from onnxscript import opset18 as op

    del stable
    if len(x.shape) == 0:
        return op.Identity(x), op.Constant(value_int=0)
    made: tuple[Any, Any] = op.TopK(x, [int(x.shape[dim])], axis=dim, largest=int(descending), sorted=1)
    return made


def _kthvalue(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Any, Any]:
    from onnxscript import opset18 as op

    if x.shape is not None and len(x.shape) == 0:
        return op.Identity(x), op.Constant(value_int=0)
    found = op.TopK(x, [k], axis=dim, largest=0, sorted=1)
    last = [op.Slice(one, [k - 1], [k], [dim]) for one in found]
    values, places = last if keepdim else [op.Squeeze(one, [dim]) for one in last]
    return values, places


def _median(x: Any) -> Any:
    """The smaller one of the two in the middle, as in PyTorch."""
    from onnxscript import opset18 as op

    return _kthvalue(op.Reshape(x, [-1]), (math.prod(int(size) for size in x.shape) + 1) // 2, 0)[0]


def _median_dim(x: Any, dim: int, keepdim: bool = False) -> tuple[Any, Any]:
    size = int(x.shape[dim]) if len(x.shape) else 1
    return _kthvalue(x, (size + 1) // 2, dim, keepdim)


def _accumulated(tensors: list[Any], dim: int, size: int, combine: Callable[..., list[Any]]) -> list[Any]:
    """Every prefix, in log2(size) steps: each place with the one 1, 2, 4, … places before it."""
    from onnxscript import opset18 as op

    step = 1
    while step < size:
        before = [op.Slice(one, [0], [size - step], [dim]) for one in tensors]
        after = [op.Slice(one, [step], [size], [dim]) for one in tensors]
        made = combine(before, after)
        first = [op.Slice(one, [0], [step], [dim]) for one in tensors]
        tensors = [op.Concat(head, rest, axis=dim) for head, rest in zip(first, made, strict=True)]
        step *= 2
    return tensors


def _cummax_of(better: str) -> Callable[..., Any]:
    """Values and their places; of equals, the last."""
    import numpy as np
    from onnxscript import opset18 as op

    from edgeconv.stages.onnx_translate import onnx_tensor

    def accumulated(x: Any, dim: int) -> tuple[Any, Any]:
        if len(x.shape) == 0:
            return op.Identity(x), op.Constant(value_int=0)
        shape = [int(size) for size in x.shape]
        axis = dim % len(shape)
        line = np.arange(shape[axis]).reshape([-1 if place == axis else 1 for place in range(len(shape))])
        places = op.Constant(value=onnx_tensor(np.ascontiguousarray(np.broadcast_to(line, shape), np.int64)))

        def combine(before: list[Any], after: list[Any]) -> list[Any]:
            earlier = getattr(op, better)(before[0], after[0])
            return [op.Where(earlier, old, new) for old, new in zip(before, after, strict=True)]

        values, found = _accumulated([x, places], axis, shape[axis], combine)
        return op.Identity(values), op.Identity(found)

    return accumulated


def _logcumsumexp(x: Any, dim: int) -> Any:
    """By pairs: the exporter's subtracts the maximum of all, next to which the first ones vanish."""
    from onnxscript import opset18 as op

    if len(x.shape) == 0:
        return op.Identity(x)

    def combine(before: list[Any], after: list[Any]) -> list[Any]:
        top = op.Max(before[0], after[0])
        apart = op.Sub(op.Min(before[0], after[0]), top)
        apart = op.Where(op.Equal(before[0], after[0]), op.CastLike(0, x), apart)  # of two infinities too
        return [op.Add(top, op.Log(op.Add(op.Exp(apart), 1.0)))]

    axis = dim % len(x.shape)
    return op.Identity(_accumulated([x], axis, int(x.shape[axis]), combine)[0])


def _searchsorted(
    rows: Any, x: Any, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None
) -> Any:
    """How many of the row are smaller, or with `right` not larger."""
    from onnxscript import opset18 as op

    lines, single = len(rows.shape) > 1, not hasattr(x, "shape")
    if single:
        x = op.CastLike(x, rows)
    elif rows.dtype != x.dtype:
        rows, x = op.Cast(rows, to=1), op.Cast(x, to=1)
    if sorter is not None:
        rows = op.GatherElements(rows, sorter, axis=-1)
    compare = op.LessOrEqual if right or side == "right" else op.Less
    if lines:
        rows = op.Unsqueeze(rows, [-2])
    below = compare(rows, op.Unsqueeze(x, [-1]))
    return op.Cast(op.ReduceSum(op.Cast(below, to=6), [-1], keepdims=0), to=6 if out_int32 else 7)
