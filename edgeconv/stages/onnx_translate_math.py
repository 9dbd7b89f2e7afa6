"""Translations of arithmetic that the exporter has none for, or a wrong one: signs, shifts, windows, pools."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeconv.stages.onnx_translate import onnx_tensor


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
        aten.softmax.int: _softmax_of("Softmax"),
        aten.log_softmax.int: _softmax_of("LogSoftmax"),
        aten.mean.dim: _mean,
        aten.mean.default: lambda x, dtype=-1: _mean(x, dtype=dtype),
        aten.avg_pool2d.default: _avg_pool_of(2),
        aten.avg_pool3d.default: _avg_pool_of(3),
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
        bits = 64 if x.dtype is None else int(x.dtype.itemsize * 8)
        if (
            isinstance(count, int)
            and direction == "RIGHT"
            and count >= bits - 1
            and (x.dtype is None or x.dtype.is_signed())
        ):
            return op.Where(op.Less(x, op.CastLike(0, x)), op.CastLike(-1, x), op.CastLike(0, x))
        if isinstance(count, int) and 0 <= count < min(62, bits - 1):
            power = op.CastLike(1 << count, x)
            if direction == "LEFT":
                return op.Mul(x, power)
            return op.Div(op.Sub(x, op.Mod(x, power)), power)  # rounded down
        return _by_tensor(x, op.CastLike(count, x), right=direction == "RIGHT")

    return shifted


def _by_tensor(x: Any, count: Any, *, right: bool) -> Any:
    from onnxscript import opset18 as op

    signed = x.dtype is None or x.dtype.is_signed()
    most = min(62, 64 if x.dtype is None else int(x.dtype.itemsize * 8)) - (
        2 if signed else 1
    )  # largest power that x holds
    powers = op.Constant(value=onnx_tensor(np.left_shift(np.int64(1), np.arange(most + 1, dtype=np.int64))))
    count = op.Cast(count, to=7)
    power = op.CastLike(op.Gather(powers, op.Min(count, op.Constant(value_int=most))), x)
    made = op.Div(op.Sub(x, op.Mod(x, power)), power) if right else op.Mul(x, power)
    if not signed:
        return made
    beyond = op.Greater(count, op.Constant(value_int=most))  # one bit more: the sign, or twice as much
    if not right:
        return op.Where(beyond, op.Mul(made, op.CastLike(2, x)), made)
    return op.Where(beyond, op.Where(op.Less(x, op.CastLike(0, x)), op.CastLike(-1, x), op.CastLike(0, x)), made)


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


def _mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: int = -1) -> Any:
    """Of what dtype says, which the exporter's forgets."""
    from onnxscript import opset18 as op

    axes = [dim] if isinstance(dim, int) else list(dim or range(len(x.shape)))
    single = len(x.shape) == 0
    x = x if dtype in (-1, None) else op.Cast(x, to=dtype)
    return op.Identity(x) if single else op.ReduceMean(x, axes, keepdims=int(keepdim))


def _avg_pool_of(axes: int) -> Callable[..., Any]:
    """The exporter's forgets divisor_override."""
    from onnxscript import opset18 as op

    def spread(given: Any) -> list[int]:
        sizes = [given] if isinstance(given, int) else [int(one) for one in given]
        return sizes * axes if len(sizes) == 1 else sizes

    def pooled(
        x: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        if divisor_override and ceil_mode:
            raise ValueError("divisor_override with ceil_mode")
        kernel = spread(kernel_size)
        strides = spread(stride) if stride not in (None, [], ()) else kernel
        single = len(x.shape) == axes + 1
        made = op.AveragePool(
            op.Unsqueeze(x, [0]) if single else x, kernel_shape=kernel, strides=strides, pads=spread(padding) * 2,
            ceil_mode=int(ceil_mode), count_include_pad=int(count_include_pad or bool(divisor_override)),
        )  # fmt: skip
        if divisor_override:
            made = op.Mul(made, op.CastLike(math.prod(kernel) / divisor_override, x))
        return op.Squeeze(made, [0]) if single else made

    return pooled
