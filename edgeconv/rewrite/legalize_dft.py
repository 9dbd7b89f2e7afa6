"""DFT-17 and STFT-17 are not known at 13: over a fixed length they are products with cosines and sines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, const_value, given, needed, rank, static_shape


class LegalizeDft(NodePass):
    """Fourier transforms as MatMul with constant matrices, which stand on the left: no quantizer takes them for weights."""

    ops = frozenset({"DFT", "STFT"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Refuses lengths and steps that are computed."""
        found = self._stft(node, build) if node.op_type == "STFT" else self._dft(node, build)
        if found is None:
            return build.refuse("its length is not constant, or its input's shape not known")
        return [found]

    def _dft(self, node: ir.Node, build: Builder) -> ir.Value | None:
        x, shape = needed(node, 0), static_shape(needed(node, 0))
        length, axes = const_ints(given(node, 1)), const_ints(given(node, 2))
        if (
            shape is None
            or (given(node, 1) is not None and length is None)
            or (given(node, 2) is not None and axes is None)
        ):
            return None
        axis = (axes[0] if axes else int(attr(node, "axis", -2 if len(shape) > 2 else 1))) % len(shape)
        perm = [a for a in range(len(shape)) if a != axis]
        perm.insert(len(shape) - 2, axis)
        size = length[0] if length else shape[axis]
        inverse, onesided = bool(attr(node, "inverse", 0)), bool(attr(node, "onesided", 0))
        turned = x if perm == list(range(len(shape))) else build.op("Transpose", x, perm=perm)
        made = _transform(
            build, turned, shape[axis], size, complex_in=shape[-1] == 2, inverse=inverse, onesided=onesided
        )
        home = [int(n) for n in np.argsort(perm)]
        return made if home == list(range(len(shape))) else build.op("Transpose", made, perm=home)

    def _stft(self, node: ir.Node, build: Builder) -> ir.Value | None:
        """Frames gathered into [batch, length, frames, 1], windowed, transformed along their length."""
        x, shape = needed(node, 0), static_shape(needed(node, 0))
        step, window, length = const_ints(given(node, 1)), given(node, 2), const_ints(given(node, 3))
        size = length[0] if length else (static_shape(window) or [0])[0] if window is not None else 0
        if shape is None or not step or not size or shape[-1] == 2 or x.dtype is None:
            return None
        frames = (shape[1] - size) // step[0] + 1
        flat = build.op("Reshape", x, build.ints(shape[:2], "flat"))
        places = np.arange(size)[:, None] + step[0] * np.arange(frames)
        cut = build.op("Gather", flat, places, axis=1)  # [batch, length, frames]
        if window is not None:
            known = const_value(window)
            wide = (
                build.const(known[:, None], "window")
                if known is not None
                else build.op("Unsqueeze", window, build.ints([1]))
            )
            cut = build.op("Mul", cut, wide)
        onesided = bool(attr(node, "onesided", 1))
        bins = size // 2 + 1 if onesided else size
        parts = [build.op("MatMul", m.astype(x.dtype.numpy()), cut) for m in _matrices(size, size, bins, inverse=False)]
        wide_parts = [build.op("Unsqueeze", build.op("Transpose", p, perm=[0, 2, 1]), build.ints([3])) for p in parts]
        return build.op("Concat", *wide_parts, axis=3)


def _matrices(given_size: int, size: int, bins: int, *, inverse: bool) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Real and imaginary part of the transform, float64 [bins, what of the input counts]."""
    used = min(given_size, size)
    turns = np.outer(np.arange(bins), np.arange(used)) % size * (2 * np.pi / size)
    scale = 1 / size if inverse else 1.0
    return np.cos(turns) * scale, np.sin(turns) * (scale if inverse else -scale)


def _transform(
    build: Builder, x: ir.Value, given_size: int, size: int, *, complex_in: bool, inverse: bool, onesided: bool
) -> ir.Value:
    """[..., n, 1 or 2] to [..., bins, 2] (or 1 for a real inverse) along the last axis but one."""
    dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
    full = size // 2 + 1
    if onesided and inverse:  # a real signal from half of its spectrum: the other half is its mirror image
        weight = np.full(full, 2.0)
        weight[0] = 1.0
        if size % 2 == 0:
            weight[-1] = 1.0
        cos, sin = (m * weight for m in _matrices(full, size, size, inverse=True))
    else:
        cos, sin = _matrices(given_size, size, full if onesided else size, inverse=inverse)
    used, last = cos.shape[1], (rank(x) or 2) - 1
    if used < given_size:
        x = build.op("Slice", x, build.ints([0]), build.ints([used]), build.ints([last - 1]))
    c, s = cos.astype(dtype), sin.astype(dtype)
    if not complex_in:
        return build.op("Concat", build.op("MatMul", c, x), build.op("MatMul", s, x), axis=last)
    re, im = (build.op("Slice", x, build.ints([n]), build.ints([n + 1]), build.ints([last])) for n in (0, 1))
    real = build.op("Sub", build.op("MatMul", c, re), build.op("MatMul", s, im))
    if onesided and inverse:
        return real
    return build.op("Concat", real, build.op("Add", build.op("MatMul", c, im), build.op("MatMul", s, re)), axis=last)
