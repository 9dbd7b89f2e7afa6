"""Translations of what serves training and stays in some models: losses, and embeddings whose rows have a largest norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeconv.stages.onnx_translate import exporters


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translation by ATen overload."""
    import torch

    aten = torch.ops.aten
    return {aten.cross_entropy_loss.default: _cross_entropy, aten.embedding_renorm.default: _embedding_renorm}


def _cross_entropy(
    x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore_index: int = -100, label_smoothing: float = 0.0
) -> Any:
    """The exporter's own leaves label smoothing out, and takes no probabilities as target.

    x [N, C, …] or [C]; target [N, …] of classes, or as x of probabilities; reduction 0 is none, 1 the mean, 2 the sum.
    """
    import torch
    from onnxscript import opset18 as op

    classes = not target.dtype.is_floating_point()
    if classes and not label_smoothing:
        usual = exporters(torch.ops.aten.cross_entropy_loss.default)
        return usual(x, target, weight, reduction, ignore_index, label_smoothing)
    axis = 1 if len(x.shape) > 1 else 0
    count = int(x.shape[axis])
    logs = op.LogSoftmax(x, axis=axis)
    if weight is not None:
        shape = [count if place == axis else 1 for place in range(len(x.shape))]
        weighted = op.Mul(logs, op.Reshape(weight, shape))
    else:
        weighted = logs
    if not classes:
        share = op.Add(op.Mul(target, 1.0 - label_smoothing), label_smoothing / count)
        loss = op.Neg(op.ReduceSum(op.Mul(weighted, share), [axis], keepdims=0))
        number = float(torch.Size(int(n) for n in x.shape).numel() // count)
        return loss if reduction == 0 else _summed(loss, number if reduction == 1 else None)
    kept = op.Not(op.Equal(target, op.CastLike(ignore_index, target)))
    known = op.Where(kept, op.Cast(target, to=7), 0)
    valid = op.Cast(kept, to=1)
    picked = op.Squeeze(op.GatherElements(weighted, op.Unsqueeze(known, [axis]), axis=axis), [axis])
    every = op.ReduceSum(weighted, [axis], keepdims=0)
    both = op.Add(op.Mul(picked, 1.0 - label_smoothing), op.Mul(every, label_smoothing / count))
    loss = op.Neg(op.Mul(both, valid))
    if reduction == 0:
        return loss
    share = valid if weight is None else op.Mul(valid, op.Gather(weight, known))
    return _summed(loss, op.ReduceSum(share, keepdims=0) if reduction == 1 else None)


def _summed(loss: Any, number: Any) -> Any:
    """The sum of all, over `number` unless that is None."""
    from onnxscript import opset18 as op

    total = op.ReduceSum(loss, keepdims=0)
    return total if number is None else op.Div(total, number)


def _embedding_renorm(weight: Any, indices: Any, max_norm: float, norm_type: float) -> Any:
    """All rows at once, which are constant: the exporter's has shapes that depend on the indices."""
    from onnxscript import opset18 as op

    del indices  # rows that are not looked up are not seen
    sizes = op.ReduceSum(op.Pow(op.Abs(weight), float(norm_type)), [-1], keepdims=1)
    norm = op.Pow(sizes, 1.0 / norm_type)
    # the small number is PyTorch's
    return op.Mul(weight, op.Where(op.Greater(norm, max_norm), op.Div(max_norm, op.Add(norm, 1e-7)), 1.0))
