"""Resize along one axis, as ONNX defines it: a matrix of weights, or the index that each output element copies.

Everything here is numpy on sizes; `spell_resize` and `legalize_resize` decide what to build from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeconv.rewrite.base import Array


@dataclass(frozen=True)
class Axis:
    """One axis of a Resize.

    Attributes:
        size, out: length before and after.
        scale: out / size, or what the node says where that gives no whole size.
        coordinates: coordinate_transformation_mode.
        start, end: of the region of interest, as shares of the axis (tf_crop_and_resize).
    """

    size: int
    out: int
    scale: float
    coordinates: str
    start: float = 0.0
    end: float = 1.0

    def at(self) -> Array:
        """Where each output element lies on the input, float64 [out]."""
        x = np.arange(self.out, dtype=np.float64)
        n, out, mode = self.size, self.out, self.coordinates
        half = (x + 0.5) / self.scale - 0.5
        if mode == "asymmetric":
            return x / self.scale
        if mode == "align_corners":
            return x * (n - 1) / (out - 1) if out > 1 else np.zeros(out)
        if mode == "pytorch_half_pixel":
            return half if out > 1 else np.zeros(out)
        if mode == "half_pixel_symmetric":
            return half + n / 2 * (1 - out / (self.scale * n))
        if mode == "tf_half_pixel_for_nn":
            return half + 0.5
        if mode == "tf_crop_and_resize":
            span = (self.end - self.start) * (n - 1)
            if out == 1:
                return np.full(1, 0.5 * (self.start + self.end) * (n - 1))
            return self.start * (n - 1) + x * span / (out - 1)
        return half

    def outside(self) -> Array:
        """Output elements that the extrapolation value fills, bool [out]."""
        if self.coordinates != "tf_crop_and_resize":
            return np.zeros(self.out, bool)
        at = self.at()
        return np.asarray((at < 0) | (at > self.size - 1))

    def nearest(self, rounding: str) -> Array:
        """Index of the input element that each output element copies, int64 [out]."""
        at = self.at()
        rounded = {
            "round_prefer_floor": np.ceil(at - 0.5),
            "round_prefer_ceil": np.floor(at + 0.5),
            "floor": np.floor(at),
            "ceil": np.ceil(at),
        }[rounding]
        return np.clip(rounded, 0, self.size - 1).astype(np.int64)

    def weights(self, mode: str, *, cubic: float, antialias: bool, exclude_outside: bool) -> Array:
        """Weights of the input elements, float32 [out, size]; rows sum to one.

        Args:
            mode: "linear" or "cubic".
            cubic: cubic_coeff_a.
            antialias: widen the kernel where the axis shrinks.
            exclude_outside: spread the weight of what lies outside over the rest, instead of repeating the edge.
        """
        shrink = min(self.scale, 1.0) if antialias else 1.0
        reach = 1 if mode == "linear" else 2
        first = math.floor(-reach / shrink) + 1
        taps = np.arange(first, 2 - first)
        whole = np.zeros((self.out, self.size))
        for row, at in enumerate(self.at()):
            base = math.ceil(at) - 1  # a whole position is the second of its two neighbours
            found = _kernel((taps - (at - base)) * shrink, mode, cubic)
            places = base + taps
            if exclude_outside:
                found = np.where((places < 0) | (places >= self.size), 0.0, found)
            total = found.sum()
            if total:
                np.add.at(whole[row], np.clip(places, 0, self.size - 1), found / total)
        return whole.astype(np.float32)


def _kernel(distance: Array, mode: str, a: float) -> Array:
    x = np.abs(distance)
    if mode == "linear":
        return np.clip(1 - x, 0, 1)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def builtin_nearest(size: int, out: int, kind: str) -> Array:
    """What TFLite's RESIZE_NEAREST_NEIGHBOR copies, by its kind: "half_pixel", "align_corners" or "asymmetric"."""
    x = np.arange(out)
    if kind == "align_corners" and out > 1:
        found = np.floor(x * (np.float32(size - 1) / np.float32(out - 1)) + 0.5)
    else:
        shift = 0.5 if kind == "half_pixel" else 0.0
        found = np.floor((x + shift) * (np.float32(size) / np.float32(out)))
    return np.clip(found, 0, size - 1).astype(np.int64)


def builtin_linear(size: int, out: int, kind: str) -> Array:
    """The weights of TFLite's RESIZE_BILINEAR along one axis, float32 [out, size]."""
    one = Axis(size, out, out / size, kind)
    return one.weights("linear", cubic=0.0, antialias=False, exclude_outside=False)
