"""Translations of writes into tensors that the exporter has none for, or a wrong one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeconv.stages.onnx_translate import exporters, onnx_tensor


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translation by ATen overload."""
    import torch

    aten = torch.ops.aten
    return {
        aten.copy.default: _copy,
        aten.masked_scatter.default: _masked_scatter,
        aten.masked_select.default: _masked_select,
        aten.scatter.reduce: _scatter,
        aten.scatter.value_reduce: _scatter,
        aten.scatter_reduce.two: _scatter_reduce,
        aten.index_reduce.default: _index_reduce,
        aten.diagonal_scatter.default: _diagonal_scatter,
        aten.as_strided_scatter.default: _as_strided_scatter,
        aten.put.default: _put,
        aten.unfold_backward.default: _overlap_add,
        aten.repeat_interleave.self_Tensor: _repeat_interleave,
        aten.repeat_interleave.Tensor: _repeats,
    }


def _copy(x: Any, src: Any, non_blocking: bool = False) -> Any:
    """As large as what it is written over: the exporter's keeps the size of the source."""
    from onnxscript import opset18 as op

    del non_blocking
    made = op.CastLike(src, x)
    return made if list(src.shape) == list(x.shape) else op.Expand(made, [int(n) for n in x.shape])


def _overlap_add(grad: Any, input_size: Any, dim: int, size: int, step: int) -> Any:
    """Frames [..., frames, ..., size] summed where they lie, `step` apart along `dim`: what an inverse STFT ends with.

    The exporter's decomposition writes each sample of a frame for itself. Here a frame is cut in pieces of `step`, and all first
    pieces are a line, all second ones another, one step later.
    """
    from onnxscript import opset18 as op

    target = [int(n) for n in input_size]
    axes = len(grad.shape) - 1
    dim = dim % len(target)
    at = dim + axes - len(target)  # missing axes of the target are in front
    frames, pieces = int(grad.shape[at]), -(-size // step)
    others = [axis for axis in range(axes) if axis != at]
    x = op.Transpose(grad, perm=[*others, at, axes])
    lead = [int(grad.shape[axis]) for axis in others]
    if pieces * step > size:
        x = op.Pad(x, [0] * len(others) + [0, 0] + [0] * len(others) + [0, pieces * step - size])
    total: Any = None
    for piece in range(pieces):
        part = op.Reshape(op.Slice(x, [piece * step], [(piece + 1) * step], [axes]), [*lead, frames * step])
        ends = [0] * len(lead)
        part = op.Pad(part, [*ends, piece * step, *ends, (pieces - 1 - piece) * step])
        total = part if total is None else op.Add(total, part)
    length = (frames - 1 + pieces) * step
    if length < target[dim]:
        total = op.Pad(total, [*ends, 0, *ends, target[dim] - length])
    elif length > target[dim]:
        total = op.Slice(total, [0], [target[dim]], [axes - 1])
    back = [*range(at), axes - 1, *range(at, axes - 1)]
    return op.Expand(op.Transpose(total, perm=back), target)


def _scatter_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool = True) -> Any:
    """The exporter's own; for the mean, which it takes for an overwriting, a sum over a count."""
    import torch
    from onnxscript import opset18 as op

    if reduce != "mean":
        return exporters(torch.ops.aten.scatter_reduce.two)(x, dim, index, src, reduce, include_self)
    if len(x.shape) == 0:
        raise ValueError("scatter_reduce of a single number")

    def summed(into: Any, values: Any) -> Any:
        return op.ScatterElements(into, index, values, axis=dim, reduction="add")

    own = np.ones([int(n) for n in x.shape], np.float32)
    ones = op.Constant(value=onnx_tensor(np.ones([int(n) for n in index.shape], np.float32)))
    part = op.Slice(src, [0] * len(index.shape), [int(n) for n in index.shape], list(range(len(index.shape))))
    count = summed(op.Constant(value=onnx_tensor(own if include_self else own * 0)), ones)
    if include_self:
        return op.Div(summed(x, part), op.CastLike(count, x))
    total = summed(op.Mul(x, op.CastLike(0, x)), part)
    return op.Where(op.Greater(count, 0.5), op.Div(total, op.CastLike(op.Max(count, 1.0), x)), x)


def _scatter(x: Any, dim: int, index: Any, src: Any, reduce: str) -> Any:
    """scatter_(reduce=), the older spelling."""
    from onnxscript import opset18 as op

    if isinstance(src, int | float):
        src = op.Expand(op.CastLike(src, x), [int(n) for n in index.shape])
    elif list(src.shape) != list(index.shape):
        src = op.Slice(src, [0] * len(index.shape), [int(n) for n in index.shape], list(range(len(index.shape))))
    return op.ScatterElements(x, index, src, axis=dim, reduction={"add": "add", "multiply": "mul"}[reduce])


def _masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """The n-th place of the mask takes the n-th element: the exporter's has shapes that depend on data."""
    from onnxscript import opset18 as op

    shape = [int(n) for n in x.shape]
    if not all(
        isinstance(size, int) for size in source.shape
    ):  # one for each true: `rewrite.select_masked` knows these
        places = op.Transpose(op.NonZero(op.Expand(mask, shape)), perm=[1, 0])
        return op.ScatterND(x, places, op.Reshape(source, [-1]))
    flat = op.Reshape(op.Expand(mask, shape), [-1])
    number = op.CumSum(op.Cast(flat, to=6), op.Constant(value_int=0))
    last = math.prod(int(n) for n in source.shape) - 1
    place = op.Min(op.Max(op.Sub(number, _int32(1)), _int32(0)), _int32(last))
    made = op.Where(flat, op.Gather(op.Reshape(source, [-1]), op.Cast(place, to=7)), op.Reshape(x, [-1]))
    return op.Reshape(made, shape)


def _masked_select(x: Any, mask: Any) -> Any:
    """As x[mask] of both at their common shape: the exporter has none."""
    from onnxscript import opset18 as op

    shape = [int(n) for n in np.broadcast_shapes(tuple(x.shape), tuple(mask.shape))]
    x, mask = (one if list(one.shape) == shape else op.Expand(one, shape) for one in (x, mask))
    return op.GatherND(x, op.Transpose(op.NonZero(mask), perm=[1, 0]))


def _int32(number: int) -> Any:
    from onnxscript import opset18 as op

    return op.Constant(value=onnx_tensor(np.array(number, np.int32)))


def _index_reduce(x: Any, dim: int, index: Any, source: Any, reduce: str, include_self: bool = True) -> Any:
    """A scatter whose places are the same in all lines."""
    from onnxscript import opset18 as op

    rank = len(source.shape)
    others = [axis for axis in range(rank) if axis != dim % rank]
    shape = [int(size) for size in source.shape]
    places = op.Expand(op.Unsqueeze(op.Cast(index, to=7), others), shape)
    places.shape = source.shape
    return _scatter_reduce(x, dim, places, source, reduce, include_self)


def _diagonal(shape: Any, offset: int, dim1: int, dim2: int) -> tuple[Any, Any, list[int]]:
    """Of the matrices over two axes, flattened: which elements are on the diagonal, their places in it, the others' axes."""
    rank = len(shape)
    dim1, dim2 = dim1 % rank, dim2 % rank
    row, column = np.indices((int(shape[dim1]), int(shape[dim2])))
    inside = column - row == offset
    place = np.where(inside, np.minimum(row, column), 0)
    return (
        inside.reshape(-1),
        place.reshape(-1).astype(np.int64),
        [axis for axis in range(rank) if axis not in (dim1, dim2)],
    )


def _diagonal_scatter(x: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A choice between x and the diagonal spread over the matrix: no shapes that a ScatterND would need."""
    from onnxscript import opset18 as op

    rank = len(x.shape)
    inside, place, others = _diagonal(x.shape, offset, dim1, dim2)
    perm = [*others, dim1 % rank, dim2 % rank]
    front = [int(x.shape[axis]) for axis in others]
    size = [int(x.shape[dim1]), int(x.shape[dim2])]
    spread = op.Gather(src, op.Constant(value=onnx_tensor(place)), axis=len(others))
    flat = op.Reshape(op.Transpose(x, perm=perm), [*front, size[0] * size[1]])
    made = op.Where(op.Constant(value=onnx_tensor(inside)), spread, flat)
    return op.Transpose(op.Reshape(made, [*front, *size]), perm=[int(n) for n in np.argsort(perm)])


def _as_strided_scatter(x: Any, src: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """What fill_diagonal_ leaves: the elements lie at places that are known."""
    from onnxscript import opset18 as op

    shape = [int(n) for n in x.shape]
    steps = np.indices([int(n) for n in size]).reshape(len(size), -1)
    places = (storage_offset or 0) + np.array(stride, np.int64) @ steps
    inside, place = np.zeros(math.prod(shape), np.bool_), np.zeros(math.prod(shape), np.int64)
    inside[places], place[places] = True, np.arange(places.size)
    spread = op.Gather(op.Reshape(src, [-1]), op.Constant(value=onnx_tensor(place)))
    return op.Reshape(op.Where(op.Constant(value=onnx_tensor(inside)), spread, op.Reshape(x, [-1])), shape)


def _put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    from onnxscript import opset18 as op

    flat, places, values = (op.Reshape(one, [-1]) for one in (x, index, source))
    made = op.ScatterElements(flat, places, values, axis=0, reduction="add" if accumulate else "none")
    return op.Reshape(made, [int(n) for n in x.shape])


def _repeat_interleave(x: Any, repeats: Any, dim: int | None = None, output_size: int | None = None) -> Any:
    """Rows by the place at which their copies end: a shape that is known, where the exporter's depends on data."""
    from onnxscript import opset18 as op

    size = math.prod(int(n) for n in x.shape) if dim is None else int(x.shape[dim])
    if math.prod(int(n) for n in repeats.shape) == 1:
        repeats = op.Expand(op.Reshape(repeats, [-1]), [size])
    if dim is None:
        x, dim = op.Reshape(x, [-1]), 0
    return op.Gather(x, _repeats(repeats, output_size), axis=dim)


def _repeats(repeats: Any, output_size: int | None = None) -> Any:
    import torch
    from onnxscript import opset18 as op

    if output_size is None:
        return exporters(torch.ops.aten.repeat_interleave.Tensor)(repeats)
    ends = op.CumSum(op.Cast(repeats, to=6), op.Constant(value_int=0))
    line = op.Constant(value=onnx_tensor(np.arange(output_size, dtype=np.int32)[:, None]))
    return op.ReduceSum(op.Cast(op.LessOrEqual(op.Unsqueeze(ends, [0]), line), to=7), [1], keepdims=0)
