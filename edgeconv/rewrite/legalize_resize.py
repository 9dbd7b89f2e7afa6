"""Resize-18 names the axes that it scales, and 19 adds a coordinate mode; Resize-13 has neither, nor antialiasing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, given, needed, rank
from edgeconv.rewrite.spell_resize import plan_of, spelled

_NEW = frozenset({"antialias", "axes", "keep_aspect_ratio_policy"})
_MODE = "coordinate_transformation_mode"


class LegalizeResize(NodePass):
    """Spreads scales or sizes over all axes and drops what is left at its default."""

    ops = frozenset({"Resize"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """What opset 13 has no word for is written out, where sizes are constant."""
        symmetric = attr(node, _MODE) == "half_pixel_symmetric"
        if not symmetric and not _NEW & set(node.attributes):
            return None
        plan = plan_of(node)
        aspect = attr(node, "keep_aspect_ratio_policy", "stretch") != "stretch" and _present(given(node, 3))
        exact = not symmetric or _exact(needed(node, 0), given(node, 2), attr(node, "axes"))
        if plan is not None and (attr(node, "antialias", 0) or aspect or not exact):
            return [spelled(node, build, plan)]
        if attr(node, "antialias", 0):
            return build.refuse("it antialiases, which neither ONNX 13 nor TFLite can; resize without antialias")
        if aspect:
            return build.refuse("it keeps the aspect ratio, which must be worked into its sizes first")
        data, roi, scales, sizes = needed(node, 0), given(node, 1), given(node, 2), given(node, 3)
        if not exact:
            return build.refuse("half_pixel_symmetric differs from half_pixel: its scales do not give whole sizes")
        axes, dims = attr(node, "axes"), rank(data)
        if axes is not None:
            if dims is None:
                return build.refuse("the rank of its input is not known")
            axes = [axis % dims for axis in axes]
            if sorted(axes) != axes or len(axes) != dims:
                scales = _spread(build, scales, axes, [build.const(np.ones(1, np.float32), "one")] * dims)
                sizes = _spread(build, sizes, axes, _sizes(build, data) if _present(sizes) else [])
                roi = _roi(build, roi, axes, dims)
        mode = {_MODE: "half_pixel"} if symmetric else {}
        inputs = [data, roi, scales, sizes]
        while inputs[-1] is None:
            inputs.pop()
        return build.again(*inputs, drop=_NEW, **mode)


def _present(value: ir.Value | None) -> bool:
    """Whether an optional input is given: an empty constant stands for one that is not."""
    array = const_value(value)
    return value is not None and (array is None or array.size > 0)


def _exact(data: ir.Value, scales: ir.Value | None, axes: list[int] | None) -> bool:
    """Whether every output size is a whole number, in which case both modes agree."""
    if not _present(scales):
        return True
    factors = const_value(scales)
    if factors is None or data.shape is None:
        return False
    for axis, factor in zip(axes or range(len(data.shape)), factors.tolist(), strict=True):
        size = data.shape[axis]
        if factor != 1 and not (isinstance(size, int) and float(size * factor).is_integer()):
            return False
    return True


def _sizes(build: Builder, data: ir.Value) -> list[ir.Value]:
    assert data.shape is not None
    if all(isinstance(dim, int) for dim in data.shape):
        return [build.ints([int(dim)], "size") for dim in data.shape if isinstance(dim, int)]
    shape = build.op("Shape", data)
    return [build.op("Gather", shape, build.ints([axis], "axis"), axis=0) for axis in range(len(data.shape))]


def _spread(build: Builder, value: ir.Value | None, axes: list[int], default: list[ir.Value]) -> ir.Value | None:
    """One entry per axis: the given ones at `axes`, the defaults elsewhere."""
    if value is None or not _present(value):
        return value
    array = const_value(value)
    plain = [const_value(one) for one in default]
    if array is not None and all(one is not None for one in plain):
        whole = np.concatenate([one for one in plain if one is not None]).astype(array.dtype)
        whole[axes] = array
        return build.const(whole, "spread")
    parts = list(default)
    for i, axis in enumerate(axes):
        parts[axis] = build.op("Slice", value, build.ints([i], "at"), build.ints([i + 1], "upto"))
    return build.op("Concat", *parts, axis=0)


def _roi(build: Builder, roi: ir.Value | None, axes: list[int], dims: int) -> ir.Value | None:
    array = const_value(roi)
    if roi is None or (array is not None and not array.size):
        return roi
    edges = [np.zeros(1, np.float32)] * dims + [np.ones(1, np.float32)] * dims
    return _spread(build, roi, axes + [axis + dims for axis in axes], [build.const(edge, "edge") for edge in edges])
