"""x[mask] has as many rows as the mask has trues, and TFLite needs shapes that are known: all rows are computed instead.

What comes of the rows is the same where each is computed for itself and they then go back to where they came from, as in
x[mask] = f(x[mask]), or into a sum, a mean or an extreme: there a choice by the mask leaves the others out.
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
    const_ints,
    const_value,
    given,
    needed,
    nodes,
    rank,
    static_shape,
)

_ELEMENTWISE = frozenset(
    "Abs Add And Cast CastLike Ceil Celu Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid "
    "HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Min Mish Mod Mul Neg Not Or Pow PRelu Reciprocal "
    "Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor".split()
)
#: What a row that is left out counts as; a mean is a sum over a count.
_NEUTRAL = {
    "ReduceSum": 0.0, "ReduceMean": 0.0, "ReduceL1": 0.0, "ReduceL2": 0.0, "ReduceSumSquare": 0.0, "ReduceProd": 1.0,
    "ReduceMax": -math.inf, "ReduceMin": math.inf,
}  # fmt: skip


@dataclass
class _Region:
    """What depends on how many rows one mask selects: values with the axis of the rows, and the nodes at its ends."""

    mask: ir.Value
    rows: dict[ir.Value, int] = field(default_factory=dict)
    gathers: list[ir.Node] = field(default_factory=list)
    scatters: list[ir.Node] = field(default_factory=list)
    reductions: list[ir.Node] = field(default_factory=list)


class SelectMasked(Pass):
    """Computes rows that a boolean mask selects together with the others, and chooses at the end."""

    def apply(self, model: ir.Model) -> int:
        """Number of masks that are no selection any more."""
        by_mask: dict[ir.Value, list[ir.Node]] = {}
        for node in nodes(model):
            mask = _mask_of(given(node, 1)) if node.op_type == "GatherND" and not attr(node, "batch_dims", 0) else None
            if mask is not None and static_shape(mask) and static_shape(needed(node, 0)) is not None:
                same = next((known for known in by_mask if _equal(known, mask)), mask)
                by_mask.setdefault(same, []).append(node)
        if not by_mask:
            return 0
        taken, changed = all_names(model), 0
        for mask, gathers in by_mask.items():
            region = _grown(model, mask, gathers)
            if region is not None:
                _compute_all(region, taken)
                changed += 1
        return changed


def _mask_of(places: ir.Value | None) -> ir.Value | None:
    """The mask whose trues' places these are, one a row; None if they come from elsewhere."""
    turned = places.producer() if places is not None else None
    found = needed(turned, 0).producer() if turned is not None and turned.op_type == "Transpose" else None
    if found is None or found.op_type != "NonZero" or needed(found, 0).dtype != ir.DataType.BOOL:
        return None
    return needed(found, 0)


def _equal(a: ir.Value | None, b: ir.Value | None) -> bool:
    """The same value, or one computed in the same way."""
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
        and all(_equal(x, y) for x, y in zip(first.inputs, second.inputs, strict=True))
    )


def _grown(model: ir.Model, mask: ir.Value, gathers: list[ir.Node]) -> _Region | None:
    """The region behind these; None where something in it needs to know which rows there are."""
    region = _Region(mask)
    graph = gathers[0].graph
    if graph is not model.graph or any(node.graph is not graph for node in gathers):
        return None
    for node in list(model.graph):
        if node in gathers:
            region.gathers.append(node)
            region.rows[node.outputs[0]] = 0
        elif any(value in region.rows for value in node.inputs if value is not None):
            if _ends(node, region):
                continue
            axis = _axis_behind(node, region.rows)
            if axis is None:
                return None
            region.rows.update(dict.fromkeys(node.outputs, axis))
        elif any(region.rows.keys() & set(_captured(node))):
            return None
    if any(value.is_graph_output() for value in region.rows):
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


def _ends(node: ir.Node, region: _Region) -> bool:
    """The rows go back into a tensor, or are reduced to one: noted in the region."""
    if node.op_type == "ScatterND":
        places = _mask_of(given(node, 1))
        fits = (
            attr(node, "reduction", "none") in ("none", "add")
            and region.rows.get(needed(node, 2)) == 0
            and needed(node, 0) not in region.rows
            and static_shape(needed(node, 0)) is not None
            and places is not None
            and _equal(places, region.mask)
        )
        if fits:
            region.scatters.append(node)
        return fits
    if node.op_type in _NEUTRAL:
        value, axes = needed(node, 0), _reduced(node)
        if axes is not None and region.rows[value] in axes and _sizes(value, 0) is not None:
            region.reductions.append(node)
            return True
    return False


def _reduced(node: ir.Node) -> list[int] | None:
    """Axes of a reduction, counted from the front; None if they are computed."""
    size = rank(needed(node, 0))
    if size is None:
        return None
    second = given(node, 1)
    axes = const_ints(second) if second is not None else attr(node, "axes")
    if second is not None and axes is None:
        return None
    if not axes:
        return [] if attr(node, "noop_with_empty_axes", 0) else list(range(size))
    return sorted(axis % size for axis in axes)


def _sizes(value: ir.Value, axis: int) -> list[int] | None:
    """The shape with 1 for the rows' axis; None if another one is unknown."""
    if value.shape is None:
        return None
    dims = [1 if place == axis else size for place, size in enumerate(value.shape)]
    return [size for size in dims if isinstance(size, int)] if all(isinstance(size, int) for size in dims) else None


def _axis_behind(node: ir.Node, rows: dict[ir.Value, int]) -> int | None:
    """Where the rows are in a node's result, if it computes each for itself and keeps their order; None if not."""
    if node.domain:
        return None
    values = [value for value in node.inputs if value is not None]
    ranks = [rank(value) for value in values]
    if any(size is None for size in ranks):
        return None
    size = rank(needed(node, 0)) or 0
    axis = rows.get(needed(node, 0))
    only_first = axis is not None and not any(value in rows for value in values[1:])
    if node.op_type in _ELEMENTWISE:
        return _broadcast(values, rows)
    if node.op_type == "MatMul" and only_first and axis is not None and axis < size - 1 and rank(values[1]) == 2:
        return axis
    if node.op_type == "Gemm" and only_first and axis == 0 and not attr(node, "transA", 0):
        return 0 if len(values) < 3 or _apart(values[2], 2) else None
    if not only_first or axis is None:
        return _joined(node, values, rows)
    if node.op_type == "Transpose":
        return list(attr(node, "perm", list(range(size))[::-1])).index(axis)
    if node.op_type == "LayerNormalization":
        return axis if axis < attr(node, "axis", -1) % size else None
    if node.op_type in {"Softmax", "LogSoftmax", "CumSum", "Split", "Slice", "Gather"}:
        return _along(node, axis, size)
    if node.op_type in _NEUTRAL:
        axes = _reduced(node)
        if axes is None or axis in axes:
            return None
        return axis if attr(node, "keepdims", 1) else axis - sum(one < axis for one in axes)
    if node.op_type in {"Unsqueeze", "Squeeze", "Reshape"}:
        return _reshaped(node, axis, size)
    return None


def _apart(value: ir.Value, from_right: int) -> bool:
    """A value that is the same for all rows, which lie on that axis of the result."""
    shape = static_shape(value)
    return shape is not None and (len(shape) < from_right or shape[-from_right] == 1)


def _broadcast(values: list[ir.Value], rows: dict[ir.Value, int]) -> int | None:
    places = {(rank(value) or 0) - rows[value] for value in values if value in rows}
    if len(places) != 1:
        return None
    from_right = places.pop()
    if not all(_apart(value, from_right) for value in values if value not in rows):
        return None
    return max(rank(value) or 0 for value in values) - from_right


def _joined(node: ir.Node, values: list[ir.Value], rows: dict[ir.Value, int]) -> int | None:
    """Rows of several values side by side."""
    if node.op_type != "Concat" or not all(value in rows for value in values):
        return None
    axes = {rows[value] for value in values}
    size = rank(values[0]) or 0
    return axes.pop() if len(axes) == 1 and attr(node, "axis", 0) % size not in axes | {rows[values[0]]} else None


def _along(node: ir.Node, axis: int, size: int) -> int | None:
    """A node that goes along another axis; a Gather takes one place of it, or several."""
    if node.op_type == "Slice":
        axes = const_ints(given(node, 3))
        return axis if axes is not None and axis not in {one % size for one in axes} else None
    if node.op_type == "CumSum":
        along = const_ints(given(node, 1))
        return axis if along is not None and axis != along[0] % size else None
    default = 0 if node.op_type in {"Split", "Gather"} else -1
    along_one = attr(node, "axis", default) % size
    if axis == along_one:
        return None
    if node.op_type != "Gather":
        return axis
    return axis if axis < along_one else axis - 1 + (rank(needed(node, 1)) or 0)


def _reshaped(node: ir.Node, axis: int, size: int) -> int | None:
    target = const_ints(given(node, 1))
    if node.op_type == "Reshape":
        before = _sizes(needed(node, 0), axis)
        kept = target is not None and axis == 0 and target[:1] in ([-1], [0]) and before is not None
        if not kept or target is None or before is None:
            return None
        rest = [before[place] if n == 0 and place < size else n for place, n in enumerate(target)][1:]
        return 0 if -1 not in rest and math.prod(rest) == math.prod(before) else None
    axes = target if target is not None else attr(node, "axes")
    if axes is None:
        return None
    if node.op_type == "Squeeze":
        dropped = sorted(one % size for one in axes)
        return None if axis in dropped else axis - sum(one < axis for one in dropped)
    added = {one % (size + len(axes)) for one in axes}
    return [place for place in range(size + len(axes)) if place not in added][axis]


def _compute_all(region: _Region, taken: set[str]) -> None:
    """Replace the selections by all rows, and the ends by a choice."""
    mask = region.mask
    count = math.prod(static_shape(mask) or [])
    for value, axis in region.rows.items():
        if value.shape is not None:
            value.shape = ir.Shape([count if place == axis else dim for place, dim in enumerate(value.shape)])
    for node in region.scatters:
        build = Builder(node, taken)
        into, rows = needed(node, 0), needed(node, 2)
        shape = static_shape(into) or []
        behind = shape[rank(mask) or 0 :]
        before = build.op("Reshape", into, build.ints([count, *behind]))
        made = build.op("Add", before, rows) if attr(node, "reduction", "none") == "add" else rows
        chosen = build.op("Where", _column(build, mask, count, 0, len(behind) + 1), made, before)
        build.commit([build.op("Reshape", chosen, build.ints(shape))])
    for node in region.reductions:
        _reduce(node, region, count, taken)
    for node in region.gathers:
        build = Builder(node, taken)
        shape = static_shape(needed(node, 0)) or []
        build.commit([build.op("Reshape", needed(node, 0), build.ints([count, *shape[rank(mask) or 0 :]]))])


def _column(build: Builder, mask: ir.Value, count: int, axis: int, size: int) -> ir.Value:
    """The mask along one axis of `size`."""
    return build.op("Reshape", mask, build.ints([count if place == axis else 1 for place in range(size)]))


def _reduce(node: ir.Node, region: _Region, count: int, taken: set[str]) -> None:
    value = needed(node, 0)
    axis, axes = region.rows[value], _reduced(node) or []
    build = Builder(node, taken)
    column = _column(build, region.mask, count, axis, rank(value) or 0)
    neutral = build.const(_neutral(node.op_type, value))
    chosen = build.op("Where", column, value, neutral)
    if node.op_type != "ReduceMean":
        build.insert()
        node.replace_input_with(0, chosen)  # it keeps its form, which is not opset 13's yet
        return
    total = build.op("ReduceSum", chosen, build.ints(axes), keepdims=attr(node, "keepdims", 1))
    others = math.prod(size for place, size in enumerate(static_shape(value) or []) if place in axes and place != axis)
    flat = build.op("Cast", build.op("Reshape", region.mask, build.ints([-1])), to=int(value.dtype or 1))
    number = build.op("ReduceSum", flat, build.ints([0]), keepdims=0)
    build.commit([build.op("Div", total, build.op("Mul", number, build.scalar(others, value)))])


def _neutral(op_type: str, value: ir.Value) -> Any:
    """What changes nothing, of the value's dtype; the largest number that there is for an infinity."""
    dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array(np.clip(_NEUTRAL[op_type], limits.min, limits.max), dtype)
