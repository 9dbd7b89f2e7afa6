"""Translations of ATen ops that the exporter has none for, or takes apart: handed to torch.onnx.export as its table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translation by ATen overload."""
    import torch

    from edgeconv.source import packed
    from edgeconv.stages import (
        onnx_translate_adaptive,
        onnx_translate_linalg,
        onnx_translate_math,
        onnx_translate_order,
        onnx_translate_rnn,
        onnx_translate_scatter,
        onnx_translate_training,
    )

    aten = torch.ops.aten
    bags = (
        aten.embedding_bag.default,
        aten.embedding_bag.padding_idx,
        aten._embedding_bag,
        aten._embedding_bag_forward_only,
    )
    return {
        aten.rnn_tanh.input: onnx_translate_rnn.rnn_of("Tanh"),
        aten.rnn_relu.input: onnx_translate_rnn.rnn_of("Relu"),
        aten.hypot.default: _hypot,
        aten.cumprod.default: _cumprod,
        aten.scaled_dot_product_attention.default: _attention_of(aten.scaled_dot_product_attention.default),
        aten._adaptive_avg_pool3d.default: onnx_translate_adaptive.avg_pool3d,
        aten.adaptive_max_pool1d.default: onnx_translate_adaptive.max_pool,
        aten.adaptive_max_pool2d.default: onnx_translate_adaptive.max_pool,
        aten.adaptive_max_pool3d.default: onnx_translate_adaptive.max_pool,
        packed.recurrent(): onnx_translate_rnn.recurrent,
        aten.lstm.input: onnx_translate_rnn.lstm_of(lambda: exporters(aten.lstm.input)),
        aten.amin.default: _extreme_of("ReduceMin"),
        aten.amax.default: _extreme_of("ReduceMax"),
        aten.rrelu.default: _rrelu,
        aten.rrelu_with_noise_functional.default: _rrelu_with_noise,
        aten._cdist_forward.default: _cdist,
        aten._pdist_forward.default: _pdist,
        aten.index_put.default: _index_put,
        aten.hstack.default: _hstack,
        aten.vstack.default: _vstack,
        **{getattr(aten, f"atleast_{rank}d").Sequence: _at_least(rank) for rank in (1, 2, 3)},
        **onnx_translate_linalg.table(),
        **onnx_translate_math.table(),
        **onnx_translate_order.table(),
        **onnx_translate_scatter.table(),
        **onnx_translate_training.table(),
        **dict.fromkeys([getattr(bag, "default", bag) for bag in bags], _embedding_bag),
    }


def _embedding_bag(
    weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """A product with the matrix of what lies in which bag, for the exporter's loop over sequences of tensors.

    indices [n], offsets [bags] (one more with `include_last_offset`); mode 0 is the sum, 1 the mean, 2 the maximum.
    """
    from onnxscript import opset18 as op

    del scale_grad_by_freq, sparse  # they concern training
    count = op.Constant(value_int=int(indices.shape[0]))
    place = op.Unsqueeze(op.Range(0, count, 1), [0])  # [1, n]
    if include_last_offset:
        start, end = op.Slice(offsets, [0], [-1], [0]), op.Slice(offsets, [1], [2**62], [0])
    else:
        start = offsets
        end = op.Concat(op.Slice(offsets, [1], [2**62], [0]), op.Unsqueeze(count, [0]), axis=0)
    inside = op.And(
        op.GreaterOrEqual(place, op.Unsqueeze(op.Cast(start, to=7), [1])),
        op.Less(place, op.Unsqueeze(op.Cast(end, to=7), [1])),
    )  # [bags, n]
    if padding_idx is not None and padding_idx >= 0:
        inside = op.And(inside, op.Not(op.Unsqueeze(op.Equal(op.Cast(indices, to=7), padding_idx), [0])))
    rows = op.Gather(weight, indices)  # [n, width]
    if per_sample_weights is not None:
        rows = op.Mul(rows, op.Unsqueeze(per_sample_weights, [1]))
    share = op.Cast(inside, to=1)
    number = op.ReduceSum(share, [1], keepdims=1)
    if mode == 2:
        # an empty bag gives zero, as in PyTorch
        held = op.Where(op.Unsqueeze(inside, [2]), op.Unsqueeze(rows, [0]), -3.4e38)
        result = op.Where(op.Greater(number, 0.0), op.ReduceMax(held, [1], keepdims=0), 0.0)
    else:
        result = op.MatMul(share, rows)
        result = op.Div(result, op.Max(number, 1.0)) if mode == 1 else result
    return result, op.Cast(offsets, to=7), op.Cast(offsets, to=7), op.Cast(offsets, to=7)


def _attention_of(target: Any) -> Callable[..., Any]:
    """The exporter's own for four axes without a mask; it takes no others, such as a window axis before the heads.

    A row of which all is masked gives zero, as in PyTorch; the exporter's gives NaN, or looks for NaN in the whole matrix.
    """
    from onnxscript import opset18 as op

    def attention(
        query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
        scale: float | None = None, enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        axes = len(query.shape)
        single = query.dtype is not None and query.dtype.name == "FLOAT"
        if enable_gqa or (axes == 4 and (attn_mask is None or not single)):
            usual = exporters(target)
            return usual(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        turned = op.Transpose(key, perm=[*range(axes - 2), axes - 1, axes - 2])
        factor = float(scale) if scale is not None else float(query.shape[-1]) ** -0.5
        scores = op.MatMul(op.Mul(query, op.CastLike(factor, query)), turned)
        if is_causal:
            ones = np.ones((int(query.shape[-2]), int(key.shape[-2])), np.float32)
            scores = op.Add(scores, op.Constant(value=onnx_tensor(np.triu(ones, 1) * np.float32(-1e9))))
        if attn_mask is None:
            return op.MatMul(op.Softmax(scores, axis=-1), value)
        if attn_mask.dtype is not None and attn_mask.dtype.name == "BOOL":
            added = op.Where(attn_mask, 0.0, -1e38)
            seen = op.ReduceMax(op.Cast(attn_mask, to=1), [-1], keepdims=1)
        else:
            added = op.Max(attn_mask, -1e38)
            seen = None
            if _holds_minus_infinity(attn_mask):  # of which the TensorFlow converter makes the lowest number
                seen = op.ReduceMax(op.Clip(op.Add(attn_mask, 3.4028234663852886e38), 0.0, 1.0), [-1], keepdims=1)
        found = op.MatMul(op.Softmax(op.Add(scores, added), axis=-1), value)
        return found if seen is None else op.Mul(found, seen)

    return attention


_MASKS_ARE_MADE_OF = frozenset(
    "Add Cast CastLike Concat Constant ConstantOfShape Expand Gather Identity Max Min Mul Reshape Slice Squeeze Sub Tile "
    "Transpose Unsqueeze Where".split()
)


def _holds_minus_infinity(mask: Any) -> bool:
    """The mask is made with a constant of -inf, so far as its making can be followed."""
    left, seen = [mask], set()
    while left:
        value = left.pop()
        node = value.producer()
        tensor = value.const_value
        if node is not None and node.op_type == "Constant" and "value" in node.attributes:
            tensor = node.attributes["value"].value
        if tensor is not None:
            array = tensor.numpy()
            if array.dtype.kind == "f" and np.isneginf(array).any():
                return True
        elif node is not None and node.op_type in _MASKS_ARE_MADE_OF and id(node) not in seen:
            seen.add(id(node))
            left += [one for one in node.inputs if one is not None]
    return False


@functools.cache
def exporters(target: Any) -> Callable[..., Any]:
    """The exporter's own translation, out of the two lists that it is made from: its registry takes a second to build."""
    from onnxscript.function_libs.torch_lib import ops, registration
    from torch.onnx._internal.exporter._torchlib import _torchlib_registry

    from edgeconv.stages.onnx import EXPORT_OPSET

    del ops  # its import fills the second list
    name = target._schema.name + (f".{target._overloadname}" if target._overloadname != "default" else "")
    own = [meta for meta in _torchlib_registry.get_torchlib_ops() if meta.fx_target == target]
    made = [meta.onnx_function for meta in own if meta.opset_introduced <= EXPORT_OPSET]
    function: Callable[..., Any] = [*made, *registration.default_registry[name].overloads][0]
    return function


def onnx_tensor(array: Any) -> Any:
    """An array as an attribute's value."""
    from onnx import numpy_helper

    return numpy_helper.from_array(array)


def _extreme_of(name: str) -> Callable[..., Any]:
    """The exporter's wants axes, without which PyTorch takes all."""

    def extreme(x: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
        from onnxscript import opset18 as op

        axes = [dim] if isinstance(dim, int) else [int(axis) for axis in dim]
        given = [op.Constant(value_ints=axes)] if axes else []
        return getattr(op, name)(x, *given, keepdims=int(keepdim))

    return extreme


def _rrelu(x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None) -> Any:
    """An evaluated model takes the middle of the slopes."""
    from onnxscript import opset18 as op

    del training, generator  # drawn at random in training only, which the loader refuses
    return op.LeakyRelu(x, alpha=(lower + upper) / 2)


def _rrelu_with_noise(
    x: Any, noise: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None
) -> tuple[Any, Any]:
    return _rrelu(x, lower, upper, training, generator), noise


def _index_put(x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """x[mask] = v, where v does not depend on how many there are, is a choice: the exporter's has shapes that depend on data."""
    import onnx_ir as ir
    import torch
    from onnxscript import opset18 as op

    usual = exporters(torch.ops.aten.index_put.default)
    masks = [place for place, index in enumerate(indices) if index is not None]
    if len(masks) != 1 or indices[masks[0]].dtype != ir.DataType.BOOL or None in (x.shape, values.shape):
        return usual(x, indices, values, accumulate)
    mask = indices[masks[0]]
    behind = len(x.shape) - masks[0] - len(mask.shape)
    single = all(size == 1 for size in values.shape)
    if not single and len(values.shape) > behind:
        if len(values.shape) != len(x.shape) - len(mask.shape) + 1 or isinstance(values.shape[masks[0]], int):
            return usual(x, indices, values, accumulate)
        return _put_rows(x, mask, masks[0], values, accumulate)
    if single and len(values.shape) > len(x.shape):
        values = op.Reshape(values, op.Constant(value_ints=[1]))
    if behind:
        mask = op.Unsqueeze(mask, op.Constant(value_ints=[len(mask.shape) + axis for axis in range(behind)]))
    chosen = op.CastLike(values, x)
    return op.Where(mask, op.Add(x, chosen) if accumulate else chosen, x)


def _put_rows(x: Any, mask: Any, first: int, values: Any, accumulate: bool) -> Any:
    """x[:, mask] = values with a row of values for each true: `rewrite.select_masked` makes a choice of it."""
    from onnxscript import opset18 as op

    size, masked = len(x.shape), list(range(first, first + len(mask.shape)))
    perm = [*masked, *(axis for axis in range(size) if axis not in masked)]
    rows = [first, *(axis for axis in range(len(values.shape)) if axis != first)]
    places = op.Transpose(op.NonZero(mask), perm=[1, 0])
    into, values = (x, values) if first == 0 else (op.Transpose(x, perm=perm), op.Transpose(values, perm=rows))
    made = op.ScatterND(into, places, values, reduction="add" if accumulate else "none")
    return made if first == 0 else op.Transpose(made, perm=[perm.index(axis) for axis in range(size)])


def _hstack(tensors: Sequence[Any]) -> Any:
    """For the exporter's loop over a sequence of tensors, as the next ones are."""
    from onnxscript import opset18 as op

    return op.Concat(*(_of_rank(tensor, 1) for tensor in tensors), axis=0 if len(tensors[0].shape) < 2 else 1)


def _vstack(tensors: Sequence[Any]) -> Any:
    from onnxscript import opset18 as op

    return op.Concat(*(_of_rank(tensor, 2) for tensor in tensors), axis=0)


def _at_least(rank: int) -> Callable[..., Any]:
    return lambda tensors: [_of_rank(tensor, rank) for tensor in tensors]


def _of_rank(x: Any, rank: int) -> Any:
    """With as many axes of size 1 as PyTorch's atleast_1d, _2d, _3d add: in front, but for 3-D the last one behind."""
    from onnxscript import opset18 as op

    missing = rank - len(x.shape)
    if missing <= 0:
        return x
    axes = list(range(missing)) if rank < 3 else [0, 2][-missing:] if missing < 3 else [0, 1, 2]
    return op.Unsqueeze(x, axes)


def _hypot(x: Any, y: Any) -> Any:
    """The exporter has none."""
    from onnxscript import opset18 as op

    return op.Sqrt(op.Add(op.Mul(x, x), op.Mul(y, y)))


def _cumprod(x: Any, dim: int, dtype: int = -1) -> Any:
    """Each element times the one 1, 2, 4, … places before it: the exporter has none."""
    from onnxscript import opset18 as op

    shape, rank = x.shape, len(x.shape)
    small = x.dtype is not None and x.dtype.name in {"BOOL", "INT8", "UINT8", "INT16", "INT32"}
    if dtype != -1 or small:
        x = op.Cast(x, to=dtype if dtype != -1 else 7)  # as PyTorch, integers as int64
    if rank == 0:
        return op.Identity(x)
    axis, step = dim % rank, 1
    while step < int(shape[axis]):
        pads = [step if place == axis else 0 for place in range(2 * rank)]
        before = op.Pad(op.Slice(x, [0], [-step], [axis]), pads, op.CastLike(1, x))
        x, step = op.Mul(x, before), step * 2
    return op.Identity(x) if step == 1 else x


def _cdist(a: Any, b: Any, p: float, compute_mode: int | None = None) -> Any:
    """The p-norm of the difference of every row of a and every row of b."""
    from onnxscript import opset18 as op

    del compute_mode  # how PyTorch computes it, not what
    return _norm(op.Sub(op.Unsqueeze(a, [-2]), op.Unsqueeze(b, [-3])), p)


def _pdist(x: Any, p: float = 2.0) -> Any:
    """The p-norm of the difference of every two rows."""
    import numpy as np
    from onnxscript import opset18 as op

    first, second = (op.Constant(value=onnx_tensor(n)) for n in np.triu_indices(int(x.shape[0]), 1))
    return _norm(op.Sub(op.Gather(x, first, axis=0), op.Gather(x, second, axis=0)), p)


def _norm(x: Any, p: float) -> Any:
    from onnxscript import opset18 as op

    if p == 1:
        return op.ReduceSum(op.Abs(x), [-1], keepdims=0)
    if p == 2:
        return op.Sqrt(op.ReduceSum(op.Mul(x, x), [-1], keepdims=0))
    if p == float("inf"):
        return op.ReduceMax(op.Abs(x), [-1], keepdims=0)
    if p == 0:
        return op.ReduceSum(op.Cast(op.Not(op.Equal(x, 0.0)), to=1), [-1], keepdims=0)
    return op.Pow(op.ReduceSum(op.Pow(op.Abs(x), float(p)), [-1], keepdims=0), 1.0 / p)
