"""Where the rows that a mask selects are in a node's result, if the node computes each row for itself and keeps their order."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from edgeconv.rewrite.base import attr, const_ints, given, needed, rank, static_shape

_ELEMENTWISE = frozenset(
    "Abs Add And BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh Div Dropout Elu Equal "
    "Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log "
    "Max Min Mish Mod Mul Neg Not Or Pow PRelu Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt "
    "Sub Sum Tan Tanh ThresholdedRelu Where Xor".split()
)
#: Nodes that take a batch of rows along axis 0, with weights or without.
_BATCHED = frozenset(
    "AveragePool BatchNormalization Conv ConvTranspose DepthToSpace Flatten Gemm GlobalAveragePool GlobalMaxPool "
    "GroupNormalization InstanceNormalization MaxPool SpaceToDepth".split()
)
REDUCTIONS = frozenset(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare".split()
)
_ALONG = {
    **dict.fromkeys(REDUCTIONS), "ArgMax": 0, "ArgMin": 0, "CumSum": None, "Gather": 0, "Hardmax": -1,
    "LayerNormalization": None, "LogSoftmax": -1, "LpNormalization": -1, "OneHot": -1, "Slice": None, "Softmax": -1,
    "Split": 0, "TopK": -1,
}  # fmt: skip


def axis_behind(node: ir.Node, rows: Mapping[ir.Value, int]) -> int | None:
    """The axis of the rows in a node's outputs; None if it may mix or drop rows, or too little is known.

    Args:
        node: reads at least one of `rows`.
        rows: values with one axis for the rows, and which.
    """
    if node.domain:
        return None
    values = [value for value in node.inputs if value is not None]
    if any(rank(value) is None for value in values):
        return None
    first, size = needed(node, 0), rank(needed(node, 0)) or 0
    axis = rows.get(first)
    alone = not any(value in rows for value in values[1:])
    if node.op_type in _ELEMENTWISE:
        return _broadcast(values, rows)
    if node.op_type == "MatMul":
        return _product(values, rows)
    if node.op_type == "Concat":
        return _beside(node, values, rows)
    if node.op_type in {"Gather", "GatherND"} and axis is None:
        return _looked_up(node, rows)
    if axis is None or not alone:
        return None
    if node.op_type in _BATCHED:
        return _batched(node, axis)
    if node.op_type in _ALONG:
        return _along(node, axis, size)
    return _reshaped(node, axis, size)


def reduced(node: ir.Node) -> list[int] | None:
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


def sizes_beside(value: ir.Value, axis: int) -> list[int] | None:
    """The shape with 1 for the rows' axis; None if another one is unknown."""
    if value.shape is None:
        return None
    dims = [1 if place == axis else size for place, size in enumerate(value.shape)]
    known = [size for size in dims if isinstance(size, int)]
    return known if len(known) == len(dims) else None


def _same_for_all(value: ir.Value, from_right: int) -> bool:
    """It is the same for all rows, which lie on that axis of the result."""
    shape = static_shape(value)
    return shape is not None and (len(shape) < from_right or shape[-from_right] == 1)


def _broadcast(values: list[ir.Value], rows: Mapping[ir.Value, int]) -> int | None:
    places = {(rank(value) or 0) - rows[value] for value in values if value in rows}
    if len(places) != 1:
        return None
    from_right = places.pop()
    if not all(_same_for_all(value, from_right) for value in values if value not in rows):
        return None
    return max(rank(value) or 0 for value in values) - from_right


def _product(values: list[ir.Value], rows: Mapping[ir.Value, int]) -> int | None:
    """Rows of the left operand, or products row by row."""
    left, right = values
    sizes = (rank(left) or 0, rank(right) or 0)
    if left in rows and right not in rows and sizes[1] == 2 and sizes[0] >= 2:
        return rows[left] if rows[left] < sizes[0] - 1 else None
    if any(value in rows and rows[value] >= size - 2 for value, size in zip(values, sizes, strict=True)):
        return None
    return _broadcast(values, rows)


def _beside(node: ir.Node, values: list[ir.Value], rows: Mapping[ir.Value, int]) -> int | None:
    """Rows of several values side by side."""
    axes = {rows.get(value) for value in values}
    axis = axes.pop()
    return axis if not axes and axis is not None and attr(node, "axis", 0) % (rank(values[0]) or 1) != axis else None


def _looked_up(node: ir.Node, rows: Mapping[ir.Value, int]) -> int | None:
    """What each row of indices names, in data that is there for all."""
    places = needed(node, 1)
    if places not in rows:
        return None
    if node.op_type == "GatherND":
        last = (rank(places) or 0) - 1
        return rows[places] if rows[places] < last and not attr(node, "batch_dims", 0) else None
    return rows[places] + attr(node, "axis", 0) % (rank(needed(node, 0)) or 1)


def _batched(node: ir.Node, axis: int) -> int | None:
    if node.op_type == "BatchNormalization" and attr(node, "training_mode", 0):
        return None
    if node.op_type == "Flatten" and attr(node, "axis", 1) != 1:
        return None
    if node.op_type == "Gemm":
        third = given(node, 2)
        if attr(node, "transA", 0) or (third is not None and not _same_for_all(third, 2)):
            return None
    return axis if axis == 0 else None


def _along(node: ir.Node, axis: int, size: int) -> int | None:
    """A node that goes along other axes, of which it may drop some, or take one place, or several."""
    if node.op_type == "LayerNormalization":
        return axis if axis < attr(node, "axis", -1) % size else None
    if node.op_type in REDUCTIONS:
        axes = reduced(node)
        if axes is None or axis in axes:
            return None
        return axis if attr(node, "keepdims", 1) else axis - sum(one < axis for one in axes)
    if node.op_type == "Slice":
        axes = const_ints(given(node, 3))
        return axis if axes is not None and axis not in {one % size for one in axes} else None
    if node.op_type == "CumSum":
        taken = const_ints(given(node, 1))
        return axis if taken is not None and axis != taken[0] % size else None
    if node.op_type == "OneHot":
        return axis if attr(node, "axis", -1) in (-1, size) else None
    along = attr(node, "axis", _ALONG[node.op_type]) % size
    if axis == along:
        return None
    if node.op_type == "Gather":
        return axis if axis < along else axis - 1 + (rank(needed(node, 1)) or 0)
    gone = node.op_type in {"ArgMax", "ArgMin"} and not attr(node, "keepdims", 1) and along < axis
    return axis - 1 if gone else axis


def _reshaped(node: ir.Node, axis: int, size: int) -> int | None:
    """A node that only changes the shape, if it is one."""
    target = const_ints(given(node, 1))
    if node.op_type == "Reshape":
        return _regrouped(node, axis, target)
    if node.op_type == "Expand":
        after = rank(node.outputs[0]) if target is None else max(len(target), size)
        return (
            axis + after - size if after is not None and (target is None or _same_size(target, size - axis)) else None
        )
    if node.op_type == "Transpose":
        return list(attr(node, "perm", list(range(size))[::-1])).index(axis)
    if node.op_type not in {"Squeeze", "Unsqueeze"}:
        return None
    axes = target if target is not None else attr(node, "axes")
    if axes is None:
        return None
    if node.op_type == "Squeeze":
        dropped = {one % size for one in axes}
        return None if axis in dropped else axis - sum(one < axis for one in dropped)
    added = {one % (size + len(axes)) for one in axes}
    return [place for place in range(size + len(axes)) if place not in added][axis]


def _same_size(target: list[int], from_right: int) -> bool:
    return len(target) < from_right or target[-from_right] == 1


def _regrouped(node: ir.Node, axis: int, target: list[int] | None) -> int | None:
    """A Reshape that takes apart or puts together what is within each row."""
    value, made = needed(node, 0), node.outputs[0]
    before = sizes_beside(value, axis)
    if before is None:
        return None
    if target is None:  # computed from the number of rows: what the exporter says of the result must do
        if made.shape is None:
            return None
        target = [size if isinstance(size, int) else -1 for size in made.shape]
    if all(size == 1 for size in before[:axis]) and target.count(-1) == 1:
        place = target.index(-1)
        rest = [before[n] if size == 0 and n < len(before) else size for n, size in enumerate(target) if n != place]
        ones_before = all(size == 1 for size in rest[:place])
        return place if ones_before and math.prod(rest) == math.prod(before) else None
    if (
        0 in target[axis : axis + 1]
        and -1 not in target[:axis]
        and all(size in (0, before[n]) for n, size in enumerate(target[:axis]))
    ):
        return axis
    return None
