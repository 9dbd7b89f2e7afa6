"""Translations of adaptive pools whose windows differ in size and overlap: the exporter has none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np


def windows(size: int, out: int) -> list[tuple[int, int]]:
    """Start and end of what each of `out` places sees of an axis."""
    return [(place * size // out, -(-(place + 1) * size // out)) for place in range(out)]


def avg_pool3d(x: Any, output_size: Sequence[int]) -> Any:
    """One product with a matrix of shares an axis."""
    import onnx_ir as ir
    from onnxscript import opset18 as op

    rank = len(x.shape)
    sizes = [int(n) for n in x.shape[-3:]]
    for axis, size, out in zip(range(rank - 3, rank), sizes, output_size, strict=True):
        shares = np.zeros((size, out), np.float32)
        for place, (first, last) in enumerate(windows(size, out)):
            shares[first:last, place] = 1 / (last - first)
        perm = [a for a in range(rank) if a != axis] + [axis]
        x = op.MatMul(op.Transpose(x, perm=perm), op.Constant(value=ir.tensor(shares)))
        x = op.Transpose(x, perm=[int(n) for n in np.argsort(perm)])
    return x


def max_pool(x: Any, output_size: Sequence[int]) -> tuple[Any, Any]:
    """The maximum axis by axis, and where in its image each stands; what a model does not ask for goes away with the rest."""
    sizes = [int(n) for n in x.shape[-len(output_size) :]]
    cuts = [windows(size, out) for size, out in zip(sizes, output_size, strict=True)]
    return _largest(x, cuts, sizes), _places(x, cuts, sizes)


def _largest(x: Any, cuts: list[list[tuple[int, int]]], sizes: list[int]) -> Any:
    from onnxscript import opset18 as op

    axes = [axis - len(sizes) for axis in range(len(sizes))]
    whole = [size // len(cut) for cut, size in zip(cuts, sizes, strict=True)]
    if len(x.shape) == len(sizes) + 2 and all(
        size == len(cut) * step for cut, size, step in zip(cuts, sizes, whole, strict=True)
    ):
        return op.MaxPool(x, kernel_shape=whole, strides=whole)[0]  # the second output is ONNX's places
    for axis, cut in zip(axes, cuts, strict=True):
        parts = [op.ReduceMax(_part(x, [axis], [ends]), [axis], keepdims=1) for ends in cut]
        x = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=axis)
    return x


def _places(x: Any, cuts: list[list[tuple[int, int]]], sizes: list[int]) -> Any:
    """Of each window's first largest element, counted through its image."""
    from onnxscript import opset18 as op

    lead = [int(n) for n in x.shape[: -len(sizes)]]
    axes = [axis - len(sizes) for axis in range(len(sizes))]
    places = []
    for ends in itertools.product(*cuts):
        part = op.Reshape(_part(x, axes, list(ends)), _ints([*lead, -1]))
        numbers = np.arange(int(np.prod(sizes)), dtype=np.int64).reshape(sizes)
        seen = numbers[tuple(slice(*pair) for pair in ends)].reshape(-1)
        places.append(op.Gather(_ints(seen.tolist()), op.ArgMax(part, axis=-1, keepdims=1)))
    return op.Reshape(op.Concat(*places, axis=-1), _ints([*lead, *(len(cut) for cut in cuts)]))


def _part(x: Any, axes: list[int], ends: list[tuple[int, int]]) -> Any:
    from onnxscript import opset18 as op

    return op.Slice(x, _ints([first for first, _ in ends]), _ints([last for _, last in ends]), _ints(axes))


def _ints(values: Sequence[int]) -> Any:
    from onnxscript import opset18 as op

    return op.Constant(value_ints=[int(n) for n in values])
