"""Computes what has more axes than TFLite's kernels take with fewer: neighbours that an op treats alike are one axis.

XNNPACK takes 6 axes and refuses the whole file where a SOFTMAX or SUM has more; PAD has 4 in the converter. Upsampling by
predicted weights (RAFT) and by inserted zeros (StyleGAN) have 6 or 7, most of which nothing happens to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, given, needed, static_shape
from edgeconv.rewrite.row_axes import REDUCTIONS, reduced

#: XNNPACK's XNN_MAX_TENSOR_DIMS.
MOST_AXES = 6
#: What the TensorFlow converter has a builtin for.
_FEWER = {"Pad": 4, "MatMul": 5}
_ALONG = {"ArgMax": 0, "ArgMin": 0, "Concat": 0, "Gather": 0, "LogSoftmax": -1, "Softmax": -1, "Split": 0, "TopK": -1}
_BY_ELEMENT = frozenset(
    "Abs Add And Cast Ceil Clip Cos Div Elu Equal Erf Exp Expand Floor Greater GreaterOrEqual HardSigmoid LeakyRelu Less "
    "LessOrEqual Log Max Min Mod Mul Neg Not Or Pow PRelu Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Sqrt Sub Sum "
    "Tanh Where Xor".split()
)


def _grouped(keys: Sequence[Hashable], sizes: Sequence[int]) -> list[list[int]]:
    """Neighbouring axes of equal keys; an axis of size 1 whose key is None joins any."""
    groups: list[list[int]] = []
    key: Hashable = None
    for axis, mine in enumerate(keys):
        free = mine is None and sizes[axis] == 1
        if groups and (free or key is None or mine == key):
            groups[-1].append(axis)
            key = key if free else mine
        else:
            groups.append([axis])
            key = None if free else mine
    return groups


def _sizes(shape: Sequence[int], groups: list[list[int]]) -> list[int]:
    return [math.prod(shape[axis] for axis in group) for group in groups]


def _reshape(build: Builder, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    return value if static_shape(value) == list(shape) else build.op("Reshape", value, build.ints(shape))


def _by_element(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    out = static_shape(node.outputs[0]) or []
    shapes = [None if value is None else static_shape(value) for value in node.inputs]
    data = slice(0, 1) if node.op_type in {"Expand", "Clip"} else slice(None)
    if any(shape is None for shape, value in zip(shapes[data], node.inputs[data], strict=True) if value is not None):
        return None
    aligned = [[1] * (len(out) - len(shape)) + shape for shape in shapes[data] if shape is not None]
    keys = [None if out[axis] == 1 else tuple(shape[axis] == 1 for shape in aligned) for axis in range(len(out))]
    groups = _grouped(keys, out)
    if len(groups) > MOST_AXES:
        return None
    inputs: list[ir.Value | None] = []
    for value, shape in zip(node.inputs[data], shapes[data], strict=True):
        whole = None if shape is None else [1] * (len(out) - len(shape)) + shape
        small = shape is not None and math.prod(shape) == 1 and len(shape) <= 1
        inputs.append(
            value if value is None or whole is None or small else _reshape(build, value, _sizes(whole, groups))
        )
    if node.op_type == "Expand":
        inputs.append(build.ints(_sizes(out, groups)))
    elif node.op_type == "Clip":
        inputs += node.inputs[1:]
    (made,) = build.again(*inputs)
    return [_reshape(build, made, out)]


def _reduced(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    value = needed(node, 0)
    shape, out = static_shape(value) or [], static_shape(node.outputs[0]) or []
    gone = reduced(node)
    if not gone:
        return None
    groups = _grouped([axis in gone for axis in range(len(shape))], shape)
    if len(groups) > MOST_AXES:
        return None
    over = [place for place, group in enumerate(groups) if group[0] in gone]
    made = _reshape(build, value, _sizes(shape, groups))
    if node.op_type == "ReduceSum":
        (total,) = build.again(made, build.ints(over), keepdims=0)
    else:
        (total,) = build.again(made, axes=over, keepdims=0)
    return [_reshape(build, total, out)]


def _along(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    """Nodes that go along one axis: what lies before it is one axis, what lies behind it another."""
    first = static_shape(needed(node, 0)) or []
    axis = attr(node, "axis", _ALONG[node.op_type]) % len(first)
    several = node.op_type == "Concat"
    inputs = []
    for place, value in enumerate(node.inputs):
        shape = static_shape(value)
        if value is None or (shape is None and (several or place == 0)):
            return None
        whole = several or place == 0
        inputs.append(_reshape(build, value, _three(shape or [], axis)) if whole else value)
    made = build.again(*inputs, axis=1)
    return [_reshape(build, one, static_shape(old) or []) for one, old in zip(made, node.outputs, strict=True)]


def _three(shape: list[int], axis: int) -> list[int]:
    return [math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])]


def _padded(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    """One axis after the other gives the same, in every mode."""
    value, pads = needed(node, 0), const_ints(given(node, 1))
    shape = list(static_shape(value) or [])
    if pads is None or len(pads) != 2 * len(shape) or min(pads) < 0:
        return None
    for axis in range(len(shape)):
        before, behind = pads[axis], pads[axis + len(shape)]
        if before or behind:
            around = build.ints([0, before, 0, 0, behind, 0])
            (value,) = build.again(_reshape(build, value, _three(shape, axis)), around, *node.inputs[2:])
            shape[axis] += before + behind
            value = build.op("Reshape", value, build.ints(shape))
    return [value]


def _sliced(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    value, shape = needed(node, 0), list(static_shape(needed(node, 0)) or [])
    starts, ends = const_ints(given(node, 1)), const_ints(given(node, 2))
    third, fourth = given(node, 3), given(node, 4)
    axes = const_ints(third) if third is not None else list(range(len(starts or [])))
    steps = const_ints(fourth) if fourth is not None else [1] * len(axes or [])
    if starts is None or ends is None or axes is None or steps is None:
        return None
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % len(shape)
        taken = len(range(*slice(start, end if step > 0 or end >= -shape[place] else None, step).indices(shape[place])))
        flat = _reshape(build, value, _three(shape, place))
        value = build.op("Slice", flat, build.ints([start]), build.ints([end]), build.ints([1]), build.ints([step]))
        shape[place] = taken
        value = build.op("Reshape", value, build.ints(shape))
    return [value]


def _turned(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    """Axes that stay neighbours are one; where more than the most are left, it takes several turns."""
    value = needed(node, 0)
    shape, out = static_shape(value) or [], static_shape(node.outputs[0]) or []
    perm = attr(node, "perm", list(range(len(shape)))[::-1])
    kept = sorted(axis for axis in perm if shape[axis] != 1)
    order = [kept.index(axis) for axis in perm if shape[axis] != 1]
    return [_reshape(build, _turn(build, value, [shape[axis] for axis in kept], order), out)]


def _turn(build: Builder, value: ir.Value, sizes: Sequence[int], order: Sequence[int]) -> ir.Value:
    """`value`, whose axes have these sizes, in another order; of whatever shape, and read by as few axes as there can be."""
    groups = _runs(order)
    source = sorted(groups)
    sizes = [math.prod(sizes[axis] for axis in group) for group in source]
    order = [source.index(group) for group in groups]
    if len(order) > MOST_AXES:
        first = _halfway(order, len(order) - MOST_AXES)
        value = _turn(build, value, sizes, first)
        return _turn(build, value, [sizes[axis] for axis in first], [first.index(axis) for axis in order])
    return build.op("Transpose", _reshape(build, value, sizes), perm=order) if len(order) > 1 else value


def _runs(order: Sequence[int]) -> list[list[int]]:
    """An order's parts in which each axis follows the one before."""
    runs: list[list[int]] = []
    for axis in order:
        if runs and axis == runs[-1][-1] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def _halfway(order: Sequence[int], fewer: int) -> list[int]:
    """An order in which that many axes still follow their neighbours, from which the way on is the shortest."""
    halves = []
    for starts in itertools.combinations(range(len(order) - 1), fewer):
        half = [axis for axis in order if axis - 1 not in starts]
        for start in starts:  # ascending: three in a row stay together too
            half.insert(half.index(start) + 1, start + 1)
        halves.append(half)
    return min(halves, key=lambda half: len(_runs([half.index(axis) for axis in order])))


def _multiplied(node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
    """Axes of the batch that both operands have, or one of them, are one."""
    shapes = [static_shape(needed(node, place)) or [] for place in (0, 1)]
    out = static_shape(node.outputs[0]) or []
    if min(map(len, shapes)) < 2:
        return None
    front = len(out) - 2
    aligned = [[1] * (front + 2 - len(shape)) + shape for shape in shapes]
    keys = [None if out[axis] == 1 else tuple(shape[axis] == 1 for shape in aligned) for axis in range(front)]
    groups = _grouped(keys, out[:front])
    if len(groups) > _FEWER["MatMul"] - 2:
        return None
    inputs = [
        _reshape(build, needed(node, place), [*_sizes(shape, groups), *shape[-2:]])
        for place, shape in enumerate(aligned)
    ]
    return [_reshape(build, build.op("MatMul", *inputs), out)]


_OTHERS = {"MatMul": _multiplied, "Pad": _padded, "Slice": _sliced, "Transpose": _turned}


class LowerRank(NodePass):
    """Puts a Reshape before and one after; chains of them are joined later."""

    ops = _BY_ELEMENT | REDUCTIONS | _ALONG.keys() | _OTHERS.keys()

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Only where all shapes are known and fewer axes are enough."""
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        most = max((len(value.shape) for value in values if value.shape is not None), default=0)
        if most <= _FEWER.get(node.op_type, MOST_AXES):
            return None
        if static_shape(needed(node, 0)) is None or any(static_shape(value) is None for value in node.outputs):
            return None
        if node.op_type in _BY_ELEMENT:
            return _by_element(node, build)
        if node.op_type in REDUCTIONS:
            return _reduced(node, build)
        return _OTHERS.get(node.op_type, _along)(node, build)
