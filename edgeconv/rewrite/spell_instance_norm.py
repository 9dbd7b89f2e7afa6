"""Spells instance and group norms as means and products that move with the layout.

All that is computed of a whole image keeps the image's axes, and what differs by group is computed of numbers by channel:
so it is the same in channels last, and no transpose is needed around it. PyTorch's exporter writes a group norm as an
instance norm of a view [N, G, -1], which only channels first has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, const_value, needed, static_shape


class SpellInstanceNorm(NodePass):
    """InstanceNormalization of an image, or of its groups between two Reshapes, with a gain by channel behind it."""

    ops: ClassVar[frozenset[str]] = frozenset({"InstanceNormalization", "Mul", "Reshape"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """None where the shape is not known, or the constants are computed."""
        if node.op_type == "InstanceNormalization":
            x, shape = needed(node, 0), static_shape(needed(node, 0))
            scale, bias = const_value(node.inputs[1]), const_value(node.inputs[2])
            if shape is None or scale is None or bias is None or _groups_of(_only_reader(node.outputs[0])) is not None:
                return None
            return [normalized(build, x, shape[1], scale, bias, float(attr(node, "epsilon", 1e-5)))]
        if node.op_type == "Reshape":
            found = _groups_of(node)
            return None if found is None or _gain(node) is not None else [_spell(build, found, None)]
        value = next(
            (v for v in node.inputs if v is not None and v.producer() is not None and _groups_of(v.producer())), None
        )
        if value is None or len(value.uses()) != 1:
            return None
        found, gain = _groups_of(value.producer()), _gain(value.producer())
        return None if found is None or gain is None else [_spell(build, found, gain)]


@dataclass(frozen=True)
class _Groups:
    """A norm of groups of channels: of x [N, C, …], `groups` of them, with a gain and an offset by group."""

    x: ir.Value
    groups: int
    scale: Array
    bias: Array
    epsilon: float


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = [usage.node for usage in value.uses()]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _groups_of(back: ir.Node | None) -> _Groups | None:
    """What a Reshape gives back its shape after, if that is an InstanceNormalization of [N, G, -1]."""
    if back is None or back.op_type != "Reshape" or back.domain:
        return None
    norm = needed(back, 0).producer()
    if norm is None or norm.op_type != "InstanceNormalization" or _only_reader(norm.outputs[0]) is not back:
        return None
    view = needed(norm, 0).producer()
    scale, bias = const_value(norm.inputs[1]), const_value(norm.inputs[2])
    if view is None or view.op_type != "Reshape" or scale is None or bias is None:
        return None
    x = needed(view, 0)
    shape, rows = static_shape(x), static_shape(view.outputs[0])
    if shape is None or rows is None or len(shape) < 3 or len(rows) != 3 or shape != static_shape(back.outputs[0]):
        return None
    if rows[0] != shape[0] or shape[1] % rows[1]:
        return None
    return _Groups(x, rows[1], scale, bias, float(attr(norm, "epsilon", 1e-5)))


def _gain(back: ir.Node | None) -> Array | None:
    """The constant by channel that the only reader of a norm multiplies it with, [C]."""
    reader = _only_reader(back.outputs[0]) if back is not None else None
    shape = static_shape(back.outputs[0]) if back is not None else None
    if reader is None or shape is None or reader.op_type != "Mul" or reader.domain:
        return None
    factor = next((array for value in reader.inputs if (array := const_value(value)) is not None), None)
    wide = [1, shape[1], *[1] * (len(shape) - 2)]
    if factor is None or factor.size != shape[1] or list(factor.shape) not in (wide, wide[1:]):
        return None
    return factor.reshape(-1)


def _spell(build: Builder, found: _Groups, gain: Array | None) -> ir.Value:
    shape = static_shape(found.x)
    assert shape is not None
    each = shape[1] // found.groups
    factor = np.ones(shape[1], np.float32) if gain is None else gain
    scale, bias = (np.repeat(array, each) * factor for array in (found.scale, found.bias))
    return normalized(build, found.x, found.groups, scale, bias, found.epsilon)


def normalized(build: Builder, x: ir.Value, groups: int, scale: Array, bias: Array, epsilon: float) -> ir.Value:
    """(x − mean) / √(variance + ε) · scale + bias, mean and variance by group of channels.

    Args:
        build: of the node to replace.
        x: float32 [N, C, …] of a known shape.
        groups: as many as channels for an instance norm.
        scale: by channel, [C].
        bias: by channel, [C].
        epsilon: ε.
    """
    shape = static_shape(x)
    assert shape is not None
    batch, channels, *image = shape
    axes = list(range(2, len(shape)))
    ones = [1] * len(image)

    def by_group(value: ir.Value) -> ir.Value:
        """[N, C, 1, …] as [N, G, 1]: the mean of a group's channels."""
        rows = build.op("Reshape", value, build.ints([batch, groups, channels // groups]))
        return build.op("ReduceMean", rows, axes=[2], keepdims=1)

    def by_channel(value: ir.Value) -> ir.Value:
        return build.op("Reshape", value, build.ints([batch, channels, *ones]))

    def spread(array: Array) -> Array:
        return array.astype(np.float32)

    mean = build.op("ReduceMean", x, axes=axes, keepdims=1)
    if groups != channels:
        mean = by_channel(build.op("Mul", by_group(mean), spread(np.ones((1, groups, channels // groups)))))
    centred = build.op("Sub", x, mean)
    variance = build.op("ReduceMean", build.op("Mul", centred, centred), axes=axes, keepdims=1)
    if groups != channels:
        variance = by_group(variance)
    deviation = build.op("Sqrt", build.op("Add", variance, build.scalar(epsilon, x)))
    gain = spread(scale.reshape((1, groups, -1) if groups != channels else (1, channels, *ones)))
    factor = build.op("Div", gain, deviation)
    if groups != channels:
        factor = by_channel(factor)
    result = build.op("Mul", centred, factor)
    return build.op("Add", result, spread(bias.reshape(1, channels, *ones))) if np.any(bias) else result
