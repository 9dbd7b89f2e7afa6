"""Spells every Resize of fixed sizes as TFLite's builtin where that computes the same, else as what it is.

A nearest one is a Gather an axis, a linear, cubic or antialiased one a product with a matrix of weights an axis. The builtin has
three ways to place pixels and one way to round each; which of them fits is found by comparing indices or weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, const_value, given, needed, static_shape
from edgeconv.rewrite.resize_axes import Axis, builtin_linear, builtin_nearest

#: The builtin's kinds, with the rounding by which ONNX names the same pixels.
KINDS = {"half_pixel": "round_prefer_ceil", "align_corners": "round_prefer_ceil", "asymmetric": "floor"}


@dataclass(frozen=True)
class Plan:
    """A Resize whose sizes are all known.

    Attributes:
        axes: by axis of the tensor, those that change.
        shape: of the input.
        out: of the result.
    """

    axes: dict[int, Axis]
    shape: list[int]
    out: list[int]


class SpellResize(NodePass):
    """Resize becomes a canonical Resize, Gathers, or MatMuls."""

    ops: ClassVar[frozenset[str]] = frozenset({"Resize"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """What computes the same; None where sizes are not constant."""
        plan = plan_of(node)
        if plan is None:
            build.refuse("its sizes are computed")
            return None
        x, mode = needed(node, 0), str(attr(node, "mode", "nearest"))
        if not plan.axes:
            return [build.op("Identity", x)]
        kind = _builtin(node, plan, mode)
        if kind is not None:
            return [_canonical(build, x, plan, mode, kind)]
        return [spelled(node, build, plan)]


def plan_of(node: ir.Node) -> Plan | None:
    """Sizes and axes of a Resize of any opset; None unless scales or sizes, and the input's shape, are constant."""
    shape = static_shape(needed(node, 0))
    scales, sizes, roi = (const_value(given(node, place)) for place in (2, 3, 1))
    if shape is None or (given(node, 3) is not None and sizes is None):
        return None
    axes = [int(a) % len(shape) for a in attr(node, "axes", None) or range(len(shape))]
    if sizes is not None and sizes.size:
        factors, lengths = _from_sizes([shape[a] for a in axes], [int(n) for n in sizes], node)
    elif scales is not None and scales.size:
        factors = [float(s) for s in scales]
        lengths = [int(np.floor(np.float32(shape[a]) * np.float32(s))) for a, s in zip(axes, scales, strict=True)]
    else:
        return None
    out = list(shape)
    found = {}
    crop = attr(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if crop and roi is None:
        return None
    for place, (axis, length, factor) in enumerate(zip(axes, lengths, factors, strict=True)):
        out[axis] = length
        ends = (float(roi[place]), float(roi[len(axes) + place])) if crop and roi is not None else (0.0, 1.0)
        if factor != 1 or length != shape[axis] or ends != (0.0, 1.0):
            mode = str(attr(node, "coordinate_transformation_mode", "half_pixel"))
            found[axis] = Axis(shape[axis], length, factor, mode, *ends)
    return Plan(found, shape, out)


def _from_sizes(shape: list[int], sizes: list[int], node: ir.Node) -> tuple[list[float], list[int]]:
    """Scales and output lengths, with the aspect ratio kept if the node asks for it."""
    factors = [new / old for new, old in zip(sizes, shape, strict=True)]
    policy = attr(node, "keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return factors, sizes
    one = min(factors) if policy == "not_larger" else max(factors)
    return [one] * len(shape), [int(np.floor(one * old + 0.5)) for old in shape]


def _builtin(node: ir.Node, plan: Plan, mode: str) -> str | None:
    """The builtin's kind that gives the same, for images and lines whose first two axes stay."""
    spatial = len(plan.shape) - 2
    if spatial not in (1, 2) or min(plan.axes) < 2 or mode == "cubic" or attr(node, "antialias", 0):
        return None
    if any(axis.outside().any() for axis in plan.axes.values()) or attr(node, "exclude_outside", 0):
        return None
    rounding = str(attr(node, "nearest_mode", "round_prefer_floor"))
    for kind in KINDS:
        if mode == "nearest":
            fits = all(
                (axis.nearest(rounding) == builtin_nearest(axis.size, axis.out, kind)).all()
                for axis in plan.axes.values()
            )
        else:
            fits = all(
                np.allclose(_weights(node, axis), builtin_linear(axis.size, axis.out, kind), atol=1e-6)
                for axis in plan.axes.values()
            )
        if fits:
            return kind
    return None


def _canonical(build: Builder, x: ir.Value, plan: Plan, mode: str, kind: str) -> ir.Value:
    line = len(plan.shape) == 3
    sizes = [*plan.out[:2], 1, plan.out[2]] if line else plan.out
    if line:
        x = build.op("Reshape", x, build.ints([*plan.shape[:2], 1, plan.shape[2]], "image"))
    extra = {"nearest_mode": KINDS[kind]} if mode == "nearest" else {}
    made = build.op(
        "Resize", x, None, None, build.ints(sizes, "sizes"), mode=mode, coordinate_transformation_mode=kind, **extra
    )
    return build.op("Reshape", made, build.ints(plan.out, "line")) if line else made


def _weights(node: ir.Node, axis: Axis) -> Array:
    return axis.weights(
        str(attr(node, "mode", "nearest")),
        cubic=float(attr(node, "cubic_coeff_a", -0.75)),
        antialias=bool(attr(node, "antialias", 0)),
        exclude_outside=bool(attr(node, "exclude_outside", 0)),
    )


def spelled(node: ir.Node, build: Builder, plan: Plan) -> ir.Value:
    """Gathers or matrix products, one an axis; opset 13 holds them whatever the node is."""
    x = needed(node, 0)
    dtype, mode = x.dtype, str(attr(node, "mode", "nearest"))
    floats = mode == "nearest" or dtype in {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16}
    made = x if floats else build.op("Cast", x, to=ir.DataType.FLOAT.value)
    for number, axis in plan.axes.items():
        if mode == "nearest":
            rounding = str(attr(node, "nearest_mode", "round_prefer_floor"))
            made = build.op("Gather", made, axis.nearest(rounding), axis=number)
        else:
            made = _product(build, made, number, _weights(node, axis), len(plan.shape))
    made = made if floats else build.op("Cast", made, to=dtype.value if dtype is not None else ir.DataType.FLOAT.value)
    outside = np.zeros(plan.out, bool)
    for number, axis in plan.axes.items():
        outside |= axis.outside().reshape([-1 if a == number else 1 for a in range(len(plan.out))])
    if outside.any():
        value = build.scalar(float(attr(node, "extrapolation_value", 0.0)), x)
        made = build.op("Where", outside, value, made)
    return made


def _product(build: Builder, x: ir.Value, axis: int, weights: Array, rank: int) -> ir.Value:
    """Weights times x along an axis. The matrix stands on the left, where no quantizer takes it for a layer's weight."""
    like = weights.astype(x.dtype.numpy()) if x.dtype is not None else weights
    if axis == rank - 2:
        return build.op("MatMul", like, x)
    if rank == 1:
        return build.op("MatMul", like, x)
    perm = [a for a in range(rank) if a != axis]
    perm.insert(rank - 2, axis)
    turned = build.op("MatMul", like, build.op("Transpose", x, perm=perm))
    return build.op("Transpose", turned, perm=[int(n) for n in np.argsort(perm)])
