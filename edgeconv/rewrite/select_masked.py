"""x[mask] has as many rows as the mask has trues, and TFLite needs shapes that are known: all rows are computed instead.

What comes of the rows is the same where each is computed for itself (`row_axes` tells) and they then go back to where they
came from, as in x[mask] = f(x[mask]), or into others' places, as the tokens of a mixture's experts do, or into a sum, a mean
or an extreme: there a choice by the mask leaves the others out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import (
    Builder,
    Pass,
    all_names,
    attr,
    const_value,
    given,
    needed,
    nodes,
    rank,
    static_shape,
)
from edgeconv.rewrite.row_axes import axis_behind, reduced, sizes_beside

#: What a row that is left out counts as in a reduction; a mean is a sum over a count.
_NEUTRAL = {
    "ReduceSum": 0.0, "ReduceMean": 0.0, "ReduceL1": 0.0, "ReduceL2": 0.0, "ReduceSumSquare": 0.0, "ReduceProd": 1.0,
    "ReduceMax": -math.inf, "ReduceMin": math.inf,
}  # fmt: skip
#: What is computed with shapes before they shape something, or before they are numbers like others.
_SIZE_ARITHMETIC = frozenset(
    "Add Cast Concat Div Gather Identity Max Min Mul ReduceProd Slice Squeeze Sub Unsqueeze".split()
)
_SHAPED = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}


@dataclass
class _Region:
    """What depends on how many rows one mask selects.

    Attributes:
        mask: bool, or integers of which all but 0 count.
        starts: NonZero nodes.
        rows: values that have an axis of one row a true of the mask, and which axis that is.
        places: those of them that only tell where the trues are; all of them are places in the mask.
        full: those of `places` that tell all coordinates, [rows, axes of the mask].
        sizes: integers computed from the shapes of `rows`.
        numbers: nodes that take such integers as numbers, and which input.
        scatters: ScatterND nodes at the end.
        reductions: nodes at the end that reduce over the rows.
    """

    mask: ir.Value
    starts: list[ir.Node]
    rows: dict[ir.Value, int] = field(default_factory=dict)
    places: set[ir.Value] = field(default_factory=set)
    full: set[ir.Value] = field(default_factory=set)
    sizes: set[ir.Value] = field(default_factory=set)
    lookups: list[ir.Node] = field(default_factory=list)
    numbers: list[tuple[ir.Node, int]] = field(default_factory=list)
    scatters: list[ir.Node] = field(default_factory=list)
    reductions: list[ir.Node] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Of all rows."""
        return math.prod(static_shape(self.mask) or [])


class SelectMasked(Pass):
    """Computes rows that a mask selects together with the others, and chooses at the end."""

    def apply(self, model: ir.Model) -> int:
        """Number of masks that are no selection any more."""
        found = [node for node in nodes(model) if node.op_type == "NonZero" and node.graph is model.graph]
        by_mask: dict[ir.Value, list[ir.Node]] = {}
        told: dict[tuple[ir.Value | None, ir.Value | None], bool] = {}
        for node in found:
            mask = needed(node, 0)
            if static_shape(mask) and const_value(mask) is None:
                same = next((known for known in by_mask if _equal(known, mask, told)), mask)
                by_mask.setdefault(same, []).append(node)
        if not by_mask:
            return 0
        taken, changed = all_names(model), 0
        for mask, starts in by_mask.items():
            region = _grown(model, _Region(mask, starts))
            if region is not None:
                _compute_all(region, taken)
                model.graph.sort()
                changed += 1
        return changed


def _equal(a: ir.Value | None, b: ir.Value | None, told: dict[tuple[ir.Value | None, ir.Value | None], bool]) -> bool:
    """The same value, or one computed in the same way; `told` keeps the answers, for a value may be read many times."""
    if (a, b) not in told:
        told[a, b] = _alike(a, b, told)
    return told[a, b]


def _alike(a: ir.Value | None, b: ir.Value | None, told: dict[tuple[ir.Value | None, ir.Value | None], bool]) -> bool:
    if a is b:
        return True
    if a is None or b is None:
        return False
    one, other = const_value(a), const_value(b)
    if one is not None or other is not None:
        return one is not None and other is not None and one.dtype == other.dtype and np.array_equal(one, other)
    first, second = a.producer(), b.producer()
    if first is None or second is None or first.op_type.startswith("Random"):
        return False
    return (
        (first.domain, first.op_type, len(first.inputs)) == (second.domain, second.op_type, len(second.inputs))
        and a.index() == b.index()
        and {k: v.value for k, v in first.attributes.items()} == {k: v.value for k, v in second.attributes.items()}
        and all(_equal(x, y, told) for x, y in zip(first.inputs, second.inputs, strict=True))
    )


def _grown(model: ir.Model, region: _Region) -> _Region | None:
    """The region with all that depends on it; None where something in it needs to know which rows there are."""
    for node in list(model.graph):
        if node in region.starts:
            region.rows[node.outputs[0]] = 1
            region.places.add(node.outputs[0])
        elif _captured(node) & (region.rows.keys() | region.sizes):
            return None
        elif any(value in region.rows for value in node.inputs if value is not None):
            if not _grow(node, region):
                return None
        elif any(value in region.sizes for value in node.inputs if value is not None) and not _sized(node, region):
            return None
    if any(value.is_graph_output() for value in region.rows.keys() | region.sizes):
        return None
    return region


def _captured(node: ir.Node) -> set[ir.Value]:
    """Values that a node's subgraphs read."""
    found: set[ir.Value] = set()
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                found.update(value for value in inner.inputs if value is not None)
    return found


def _grow(node: ir.Node, region: _Region) -> bool:
    """Note a node that reads rows in the region; False if it stands in the way."""
    if node.op_type in {"Shape", "Size"}:
        region.sizes.update(node.outputs)
        return True
    if _ends(node, region):
        return True
    axis = axis_behind(node, region.rows)
    if axis is None:
        return False
    region.rows.update(dict.fromkeys(node.outputs, axis))
    first = needed(node, 0)
    if node.op_type in {"Gather", "GatherND"} and first not in region.rows:
        region.lookups.append(node)
    elif all(value in region.places or const_value(value) is not None for value in node.inputs if value is not None):
        region.places.update(node.outputs)
        whole = node.op_type == "Transpose" and axis == 0 and first.producer() in region.starts
        if whole or (node.op_type in {"Identity", "Cast"} and first in region.full):
            region.full.update(node.outputs)
    return True


def _sized(node: ir.Node, region: _Region) -> bool:
    """Note a node that reads sizes; False if it stands in the way."""
    shaping = _SHAPED.get(node.op_type)
    if shaping is not None and given(node, shaping) in region.sizes:
        shape = node.outputs[0].shape
        open_axes = (
            [place for place, size in enumerate(shape) if not isinstance(size, int)] if shape is not None else []
        )
        if len(open_axes) != 1:
            return False
        region.rows[node.outputs[0]] = open_axes[0]
        return True
    known = all(value in region.sizes or const_value(value) is not None for value in node.inputs if value is not None)
    to_integer = node.op_type != "Cast" or attr(node, "to") in (ir.DataType.INT32, ir.DataType.INT64)
    if node.op_type in _SIZE_ARITHMETIC and known and to_integer:
        region.sizes.update(node.outputs)
    elif node.op_type in {"Range", "ConstantOfShape", "Reshape", "Expand", "Tile", "Slice", "OneHot"}:
        return False
    else:
        region.numbers += [(node, place) for place, value in enumerate(node.inputs) if value in region.sizes]
    return True


def _ends(node: ir.Node, region: _Region) -> bool:
    """The rows go back into a tensor, or are reduced: noted in the region."""
    if node.op_type == "ScatterND":
        into, places, rows = (needed(node, place) for place in range(3))
        fits = (
            attr(node, "reduction", "none") in ("none", "add")
            and into not in region.rows
            and static_shape(into) is not None
            and region.rows.get(places) == 0
            and rank(places) == 2
            and region.rows.get(rows) == 0
        )
        if fits:
            region.scatters.append(node)
        return fits
    value = needed(node, 0)
    if node.op_type in _NEUTRAL and value in region.rows:
        axes = reduced(node)
        if axes is not None and region.rows[value] in axes and sizes_beside(value, region.rows[value]) is not None:
            region.reductions.append(node)
            return True
    return False


def _compute_all(region: _Region, taken: set[str]) -> None:
    """Replace the selections by all rows, and the ends by choices."""
    for node, place in region.numbers:
        build = Builder(node, taken)
        counted = _counted(needed(node, place), region, build, {})
        build.insert()
        node.replace_input_with(place, counted)
    for value, axis in region.rows.items():
        if value.shape is not None:
            value.shape = ir.Shape([region.count if place == axis else dim for place, dim in enumerate(value.shape)])
    for node in region.scatters:
        _scatter(node, region, taken)
    for node in region.reductions:
        _reduce(node, region, taken)
    for node in reversed(region.lookups):  # each by the names of those before it
        _look_up(node, region, taken)
    for node in region.starts:
        build = Builder(node, taken)
        shape = static_shape(region.mask) or []
        places = build.const(np.indices(shape).reshape(len(shape), -1).astype(np.int64))
        build.commit([build.op("Identity", places)])


def _chosen(build: Builder, region: _Region, axis: int, value: ir.Value, other: Any) -> ir.Value:
    """`value` in rows that the mask selects, `other` in those that it leaves out."""
    size = rank(value) or 0
    mask = build.op("Reshape", region.mask, build.ints([region.count if place == axis else 1 for place in range(size)]))
    if region.mask.dtype != ir.DataType.BOOL:
        mask = build.op("Cast", mask, to=ir.DataType.BOOL.value)
    return build.op("Where", mask, value, other)


def _scatter(node: ir.Node, region: _Region, taken: set[str]) -> None:
    """A choice where the rows lie as in the mask; else what is left out adds zero, or goes to a place that is cut off."""
    build = Builder(node, taken)
    into, places, rows = (needed(node, place) for place in range(3))
    shape, adds = static_shape(into) or [], attr(node, "reduction", "none") == "add"
    axes = static_shape(region.mask) or []
    if places in region.full and shape[: len(axes)] == axes:
        before = build.op("Reshape", into, build.ints([region.count, *shape[len(axes) :]]))
        made = build.op("Add", before, rows) if adds else rows
        build.commit([build.op("Reshape", _chosen(build, region, 0, made, before), build.ints(shape))])
        return
    if adds:
        kept = build.const(np.zeros((), (rows.dtype or ir.DataType.FLOAT).numpy()))
        rows = _chosen(build, region, 0, rows, kept)
        if places not in region.places:
            places = _chosen(build, region, 0, places, build.const(np.zeros((), np.int64)))
        build.insert()
        node.replace_input_with(1, places)
        node.replace_input_with(2, rows)
        return
    depth = sizes_beside(places, 0) or [1, 1]
    spare = build.const(np.zeros([1, *shape[1:]], (into.dtype or ir.DataType.FLOAT).numpy()))
    outside = build.const(np.array([[shape[0], *[0] * (depth[1] - 1)]], np.int64))
    longer = build.op("Concat", into, spare, axis=0)
    made = build.op("ScatterND", longer, _chosen(build, region, 0, places, outside), rows)
    build.commit([build.op("Slice", made, build.ints([0]), build.ints([shape[0]]), build.ints([0]))])


def _reduce(node: ir.Node, region: _Region, taken: set[str]) -> None:
    value = needed(node, 0)
    axis, axes = region.rows[value], reduced(node) or []
    build = Builder(node, taken)
    chosen = _chosen(build, region, axis, value, build.const(_neutral(node.op_type, value)))
    if node.op_type != "ReduceMean":
        build.insert()
        node.replace_input_with(0, chosen)  # it keeps its form, which is not opset 13's yet
        return
    total = build.op("ReduceSum", chosen, build.ints(axes), keepdims=attr(node, "keepdims", 1))
    others = math.prod(size for place, size in enumerate(static_shape(value) or []) if place in axes and place != axis)
    number = build.op("Cast", _trues(region, build), to=int(value.dtype or ir.DataType.FLOAT))
    build.commit([build.op("Div", total, build.op("Mul", number, build.scalar(others, value)))])


def _neutral(op_type: str, value: ir.Value) -> Any:
    """What changes nothing, of the value's dtype; the largest number that there is for an infinity."""
    dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array(np.clip(_NEUTRAL[op_type], limits.min, limits.max), dtype)


def _look_up(node: ir.Node, region: _Region, taken: set[str]) -> None:
    """x[mask] itself is x in another shape; an index that is left out may be any number, so place 0 is read there."""
    build = Builder(node, taken)
    data, places = needed(node, 0), needed(node, 1)
    shape, axes = static_shape(data), static_shape(region.mask) or []
    if node.op_type == "GatherND" and places in region.full and shape is not None and shape[: len(axes)] == axes:
        build.commit([build.op("Reshape", data, build.ints([region.count, *shape[len(axes) :]]))])
    elif places not in region.places:
        zero = build.const(np.zeros((), (places.dtype or ir.DataType.INT64).numpy()))
        chosen = _chosen(build, region, region.rows[places], places, zero)
        build.insert()
        node.replace_input_with(1, chosen)


def _trues(region: _Region, build: Builder) -> ir.Value:
    """How many rows the mask selects, int64 without dimensions."""
    flat = build.op("Reshape", region.mask, build.ints([-1]))
    if region.mask.dtype != ir.DataType.BOOL:
        flat = build.op("Cast", flat, to=ir.DataType.BOOL.value)
    return build.op("ReduceSum", build.op("Cast", flat, to=ir.DataType.INT64.value), build.ints([0]), keepdims=0)


def _counted(value: ir.Value, region: _Region, build: Builder, made: dict[ir.Value, ir.Value]) -> ir.Value:
    """An integer computed from shapes, computed again from the number of rows that the mask selects."""
    node = value.producer()
    if value not in region.sizes or node is None:
        return value
    if value not in made:
        if node.op_type in {"Shape", "Size"}:
            made[value] = _dimensions(node, region, build)
        else:
            inputs = [None if one is None else _counted(one, region, build, made) for one in node.inputs]
            made[value] = build.op(node.op_type, *inputs, **dict(node.attributes.items()))
            made[value].type, made[value].shape = value.type, value.shape
    return made[value]


def _dimensions(node: ir.Node, region: _Region, build: Builder) -> ir.Value:
    """What a Shape or Size node over rows says, with the number of rows that the mask selects."""
    value = needed(node, 0)
    axis, beside = region.rows[value], sizes_beside(value, region.rows[value]) or []
    count = _trues(region, build)
    if node.op_type == "Size":
        return build.op("Mul", count, build.const(np.array(math.prod(beside), np.int64)))
    chosen = list(range(len(beside)))[attr(node, "start", 0) : attr(node, "end", len(beside))]
    parts = [
        build.op("Reshape", count, build.ints([1])) if place == axis else build.ints([beside[place]])
        for place in chosen
    ]
    return build.op("Concat", *parts, axis=0)
