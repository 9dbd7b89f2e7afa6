"""The window of a pool, and the pool's taps as strided slices: for whatever no pool operator computes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, attr


@dataclass(frozen=True)
class Window:
    """A pool's window, one entry a spatial axis; `out` as ceil_mode and pads give it."""

    size: list[int]
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    out: list[int]

    @classmethod
    def of(cls, node: ir.Node, shape: list[int]) -> Window:
        """The window of a pool node over an input of `shape`, [batch, channels, …]."""
        size, kernel = shape[2:], [int(n) for n in attr(node, "kernel_shape")]
        ones = [1] * len(kernel)
        strides, dilations = attr(node, "strides", ones), attr(node, "dilations", ones)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = attr(node, "pads", [0] * (2 * len(kernel)))
        before, after = list(pads[: len(kernel)]), list(pads[len(kernel) :])
        mode = str(attr(node, "auto_pad", "NOTSET"))
        if mode in {"SAME_UPPER", "SAME_LOWER"}:
            total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(size, strides, reach, strict=True)]
            small, large = [t // 2 for t in total], [t - t // 2 for t in total]
            before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
        elif mode == "VALID":
            before, after = [0] * len(kernel), [0] * len(kernel)
        out = []
        for n, r, s, b, a in zip(size, reach, strides, before, after, strict=True):
            room = n + b + a - r
            count = (-(-room // s) if attr(node, "ceil_mode", 0) else room // s) + 1
            out.append(count - 1 if attr(node, "ceil_mode", 0) and (count - 1) * s >= n + b else count)
        return cls(size, kernel, list(strides), list(dilations), before, after, out)

    def taps(self) -> list[list[int]]:
        """Offset of each tap from its window's first element."""
        steps = [range(0, k * d, d) for k, d in zip(self.kernel, self.dilations, strict=True)]
        return [list(tap) for tap in itertools.product(*steps)]

    def padded(self, build: Builder, x: ir.Value, fill: float) -> ir.Value:
        """The input, grown so that every tap of every window lies in it."""
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        after = [
            max((o - 1) * s + r - n - b, 0)
            for o, s, r, n, b in zip(self.out, self.strides, reach, self.size, self.before, strict=True)
        ]
        if not any([*self.before, *after]):
            return x
        return build.op(
            "Pad", x, build.ints([0, 0, *self.before, 0, 0, *after]), build.scalar(fill, x), mode="constant"
        )

    def slices(self, build: Builder, x: ir.Value) -> list[ir.Value]:
        """One strided slice a tap, each of the pool's output shape."""
        axes = build.ints(range(2, 2 + len(self.size)), "axes")
        found = []
        for tap in self.taps():
            ends = [t + (o - 1) * s + 1 for t, o, s in zip(tap, self.out, self.strides, strict=True)]
            found.append(build.op("Slice", x, build.ints(tap), build.ints(ends), axes, build.ints(self.strides)))
        return found

    def counts(self, *, include_pad: bool) -> Array:
        """How many taps of each window lie in the input (or in its pads), float64 [out …]."""
        whole = np.ones(self.out)
        for axis, n in enumerate(self.size):
            starts = np.arange(self.out[axis]) * self.strides[axis] - self.before[axis]
            places = starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]
            low, high = (-self.before[axis], n + self.after[axis]) if include_pad else (0, n)
            count = ((places >= low) & (places < high)).sum(1)
            whole = whole * count.reshape([-1 if a == axis else 1 for a in range(len(self.size))])
        return np.maximum(whole, 1)
