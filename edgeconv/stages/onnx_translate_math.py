"""Translations of arithmetic that the exporter has none for, or a wrong one: signs, shifts, windows, inverses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeconv.stages.onnx_translate import exporters, onnx_tensor

#: Largest matrix that is inverted: some fifteen nodes a row.
MOST_ROWS = 32


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translation by ATen overload."""
    import torch

    aten = torch.ops.aten
    shifts: dict[Callable[..., Any], Callable[..., Any]] = {}
    for name, direction in (("left", "LEFT"), ("right", "RIGHT")):
        packet = getattr(aten, f"bitwise_{name}_shift")
        short = getattr(aten, f"__{name[0]}shift__")
        shifts |= dict.fromkeys([packet.Tensor, packet.Tensor_Scalar, short.Tensor, short.Scalar], _shift_of(direction))
    windows = {
        overload: _window_of(overload)
        for packet in (aten.hann_window, aten.hamming_window, aten.blackman_window, aten.bartlett_window)
        for overload in (getattr(packet, name) for name in packet.overloads() if "out" not in name)
    }
    return {
        aten.signbit.default: _signbit,
        aten.copysign.Tensor: _copysign,
        aten.copysign.Scalar: _copysign,
        aten.fmax.default: _fmax_of("Max"),
        aten.fmin.default: _fmax_of("Min"),
        aten.linalg_inv_ex.default: _inv_ex,
        aten.linalg_inv.default: _inv,
        aten.inverse.default: _inv,
        aten._linalg_solve_ex.default: _solve_ex,
        aten.linalg_solve.default: _solve,
        aten.softmax.int: _softmax_of("Softmax"),
        aten.log_softmax.int: _softmax_of("LogSoftmax"),
        aten.mean.dim: _mean_of(aten.mean.dim),
        aten.mean.default: _mean_of(aten.mean.default),
        aten.avg_pool2d.default: _avg_pool_of(aten.avg_pool2d.default, 2),
        aten.avg_pool3d.default: _avg_pool_of(aten.avg_pool3d.default, 3),
        **shifts,
        **windows,
    }


def _signbit(x: Any) -> Any:
    """True for -0.0 too, whose reciprocal is below zero."""
    from onnxscript import opset18 as op

    negative = op.Less(x, op.CastLike(0, x))
    if x.dtype is not None and x.dtype.is_floating_point():
        return op.Or(negative, op.Less(op.Reciprocal(x), op.CastLike(0, x)))
    return negative


def _copysign(x: Any, sign: Any) -> Any:
    from onnxscript import opset18 as op

    size = op.Abs(x)
    if isinstance(sign, int | float):
        return op.Neg(size) if math.copysign(1, sign) < 0 else size
    return op.Where(_signbit(sign), op.Neg(size), size)


def _fmax_of(kind: str) -> Callable[..., Any]:
    """The larger or smaller one; the other one where one is no number."""
    from onnxscript import opset18 as op

    def chosen(x: Any, y: Any) -> Any:
        made = getattr(op, kind)(x, y)
        if x.dtype is None or not x.dtype.is_floating_point():
            return made
        return op.Where(op.IsNaN(x), y, op.Where(op.IsNaN(y), x, made))

    return chosen


def _shift_of(direction: str) -> Callable[..., Any]:
    """BitShift-28's own meaning, which the legalization knows: the exporter's goes through unsigned integers."""
    from onnxscript import opset18 as op

    def shifted(x: Any, count: Any) -> Any:
        if isinstance(count, int) and 0 <= count < 62:
            power = op.CastLike(1 << count, x)
            if direction == "LEFT":
                return op.Mul(x, power)
            return op.Div(op.Sub(x, op.Mod(x, power)), power)  # rounded down
        return _by_tensor(x, op.CastLike(count, x), right=direction == "RIGHT")

    return shifted


def _by_tensor(x: Any, count: Any, *, right: bool) -> Any:
    from onnxscript import opset18 as op

    bits = 63 if x.dtype is None else min(63, x.dtype.itemsize * 8)
    powers = op.Constant(value=onnx_tensor(np.left_shift(np.int64(1), np.arange(bits - 1, dtype=np.int64))))
    power = op.CastLike(op.Gather(powers, op.Cast(count, to=7)), x)
    return op.Div(op.Sub(x, op.Mod(x, power)), power) if right else op.Mul(x, power)


def _window_of(overload: Any) -> Callable[..., Any]:
    """PyTorch's own numbers: the exporter's differ in the third digit."""

    def window(length: int, *given: Any, **options: Any) -> Any:
        from onnxscript import opset18 as op

        del options  # dtype is the exporter's number, layout and device say nothing here
        return op.Constant(value=onnx_tensor(overload(length, *given).numpy()))

    return window


def _softmax_of(kind: str) -> Callable[..., Any]:
    """Of what dtype says: the exporter casts what comes out."""
    from onnxscript import opset18 as op

    def softmax(x: Any, dim: int, dtype: int = -1) -> Any:
        rank = len(x.shape)
        x = x if dtype in (-1, None) else op.Cast(x, to=dtype)
        return getattr(op, kind)(x, axis=dim) if rank else op.Squeeze(getattr(op, kind)(op.Unsqueeze(x, [0])), [0])

    return softmax


def _mean_of(target: Any) -> Callable[..., Any]:
    """The exporter's own of what dtype says, which it forgets."""
    from onnxscript import opset18 as op

    def mean(x: Any, *given: Any, dtype: int = -1, **options: Any) -> Any:
        shape = x.shape
        if dtype not in (-1, None):
            x = op.Cast(x, to=dtype)
            x.shape = shape  # which the exporter's own asks for
        return exporters(target)(x, *given, **options)

    return mean


def _avg_pool_of(target: Any, axes: int) -> Callable[..., Any]:
    """The exporter's own, which forgets divisor_override."""
    from onnxscript import opset18 as op

    def pooled(
        x: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        usual = exporters(target)
        if not divisor_override:
            return usual(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
        kernel = [kernel_size] * axes if isinstance(kernel_size, int) else list(kernel_size)
        kernel = kernel * axes if len(kernel) == 1 else kernel
        mean = usual(x, kernel, stride, padding, ceil_mode, True)
        return op.Mul(mean, op.CastLike(math.prod(kernel) / divisor_override, x))

    return pooled


def _inv_ex(a: Any, check_errors: bool = False) -> tuple[Any, Any]:
    from onnxscript import opset18 as op

    del check_errors  # a matrix without an inverse gives infinities
    return _inv(a), op.Constant(value_int=0)


def _inv(a: Any) -> Any:
    from onnxscript import opset18 as op

    size, rank = int(a.shape[-1]), len(a.shape)
    return _solved(
        a, op.Add(op.Mul(a, 0.0), op.Constant(value=onnx_tensor(np.eye(size, dtype=np.float32)))), size, rank
    )


def _solve_ex(a: Any, b: Any, left: bool = True, check_errors: bool = False) -> tuple[Any, Any, Any, Any]:
    from onnxscript import opset18 as op

    del check_errors
    none = op.Constant(value_int=0)
    return _solve(a, b, left), a, none, none


def _solve(a: Any, b: Any, left: bool = True) -> Any:
    from onnxscript import opset18 as op

    size, rank, batch = int(a.shape[-1]), len(a.shape), list(a.shape[:-2])
    vector = len(b.shape) == 1 or (len(b.shape) == rank - 1 and list(b.shape) == list(a.shape[:-1]))
    if batch and list(b.shape[: len(batch)]) != batch:
        raise ValueError("the systems and their right sides are batches of other shapes")
    if vector:
        return op.Squeeze(_solved(a, op.Unsqueeze(b, [-1]), size, rank), [-1])
    if left:
        return _solved(a, b, size, rank)
    return _turned(_solved(_turned(a, rank), _turned(b, rank), size, rank), rank)


def _turned(x: Any, rank: int) -> Any:
    from onnxscript import opset18 as op

    return op.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def _solved(a: Any, b: Any, size: int, rank: int) -> Any:
    """Gauss-Jordan over [a | b] with the largest pivot of each column, whose row is marked instead of moved."""
    from onnxscript import opset18 as op

    if size > MOST_ROWS:
        raise ValueError(f"a system of {size} equations is larger than {MOST_ROWS}")
    both = op.Concat(a, b, axis=-1)
    rows = op.Constant(value=onnx_tensor(np.arange(size, dtype=np.int64)[:, None]))  # [n, 1]
    used, marks = None, []
    for column in range(size):
        here = op.Slice(both, [column], [column + 1], [rank - 1])  # [..., n, 1]
        extent = op.Abs(here)
        if used is not None:
            extent = op.Where(op.Greater(used, 0.5), -1.0, extent)
        mark = op.Cast(op.Equal(op.ArgMax(extent, axis=rank - 2, keepdims=1), rows), to=1)  # [..., n, 1]
        marks.append(mark)
        used = mark if used is None else op.Add(used, mark)
        row = op.ReduceSum(op.Mul(both, mark), [rank - 2], keepdims=1)
        row = op.Div(row, op.Slice(row, [column], [column + 1], [rank - 1]))  # [..., 1, n + m]
        both = op.Where(op.Greater(mark, 0.5), row, op.Sub(both, op.Mul(here, row)))
    order = op.Concat(*marks, axis=-1) if size > 1 else marks[0]  # which row holds which unknown
    return op.MatMul(_turned(order, rank), op.Slice(both, [size], [2**62], [rank - 1]))
