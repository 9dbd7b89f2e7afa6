"""One rule an op family for `channels_last`: what becomes of a node whose inputs exist in other layouts.

A rule returns True if it put the node's outputs in some layout; the node then goes. False leaves the node, which is
handed its inputs in their own layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, attr, const_ints, const_value, given, needed, rank, static_shape
from edgeconv.rewrite.layout import Layouts, Perm, groups, identity, inverse, last, regroup, taste, widen

Rule = Callable[[ir.Node, Layouts, Builder], bool]

#: Ops that TFLite computes in channels last only.
SPATIAL = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "Resize", "DepthToSpace", "SpaceToDepth", "LpPool", "LRN"}
)

_UNARY = frozenset(
    "Abs Cast Ceil Celu Cos Dropout Elu Erf Exp Floor HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Neg Not "
    "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Gelu Mish".split()
)
_NARY = frozenset(
    "Add Sub Mul Div Pow Max Min Sum Mean Mod PRelu Where And Or Xor Equal Less LessOrEqual Greater GreaterOrEqual "
    "Clip BitShift Expand".split()
)
_REDUCE = frozenset(
    "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare "
    "ArgMax ArgMin".split()
)


def rule_of(node: ir.Node) -> Rule:
    """The rule for a node; ops without one are left."""
    if node.domain not in {"", "ai.onnx"}:
        return _leave
    if node.op_type in SPATIAL:
        return _spatial
    if node.op_type in _UNARY or node.op_type in _NARY:
        return _elementwise
    if node.op_type in _REDUCE:
        return _reduce
    return _RULES.get(node.op_type, _leave)


def _leave(_: ir.Node, __: Layouts, ___: Builder) -> bool:
    return False


def _attributes(node: ir.Node, **changed: Any) -> dict[str, Any]:
    return {key: attr(node, key) for key in node.attributes} | changed


def _known(node: ir.Node) -> bool:
    return all(rank(out) is not None for out in node.outputs) and rank(node.inputs[0]) is not None


def _copy(node: ir.Node, build: Builder, inputs: list[Any], **changed: Any) -> list[ir.Value]:
    """The same op over other inputs."""
    return list(build.ops(node.op_type, *inputs, outputs=len(node.outputs), **_attributes(node, **changed)))


def _spatial(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    x = needed(node, 0)
    size = rank(x)
    if size is None or size < 3 or len([out for out in node.outputs if out.uses()]) > 1:
        return False
    if node.op_type in {"Resize", "DepthToSpace", "SpaceToDepth"} and size != 4:
        return False
    perm = last(size)
    turned = build.op("Transpose", layouts.want(x, perm, build), perm=list(inverse(perm)))
    others = [
        value if value is None else layouts.want(value, identity(rank(value) or 0), build) for value in node.inputs[1:]
    ]
    (y, *_) = _copy(node, build, [turned, *others])
    shape = node.outputs[0].shape
    if shape is not None:
        y.shape = shape
    y.type = node.outputs[0].type
    layouts.put(node.outputs[0], perm, build.op("Transpose", y, perm=list(perm)))
    return True


def _best(node: ir.Node, layouts: Layouts, wanted: int) -> Perm | None:
    """The layout for which the fewest elements must be moved; None if that is the inputs' own, or nothing is tracked."""
    operands = [
        v for v in node.inputs if v is not None and rank(v) == wanted and const_value(v) is None and layouts.of(v)
    ]
    candidates = list(dict.fromkeys(perm for value in operands for perm in layouts.of(value)))

    def cost(perm: Perm) -> float:
        return sum(float(np.prod(static_shape(v) or [1])) for v in operands if perm not in layouts.of(v))

    best = min(candidates, key=lambda perm: (cost(perm), *taste(perm)), default=None)
    return None if best == identity(wanted) and not any(layouts.is_replaced(v) for v in operands) else best


def _elementwise(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    wanted = rank(node.outputs[0])
    if wanted is None or len([out for out in node.outputs if out.uses()]) > 1:
        return False
    perm = _best(node, layouts, wanted)
    if perm is None:
        return False
    inputs: list[Any] = []
    for position, value in enumerate(node.inputs):
        if value is None or (node.op_type in {"Clip", "Expand"} and position > 0):
            inputs.append(value)
            continue
        made = _broadcast(value, perm, layouts, build)
        if made is None:
            return False
        inputs.append(made)
    if node.op_type == "Expand":
        shape = const_ints(node.inputs[1])
        if shape is None or len(shape) != wanted:
            return False
        inputs[1] = build.ints([shape[axis] for axis in perm], "shape")
    if node.op_type == "Dropout":
        layouts.put(node.outputs[0], perm, inputs[0])
        return True
    layouts.put(node.outputs[0], perm, _copy(node, build, inputs)[0])
    return True


def _broadcast(value: ir.Value, perm: Perm, layouts: Layouts, build: Builder) -> ir.Value | None:
    """An operand in a layout of higher rank: as it is if it has one element, else with leading axes and moved."""
    array = const_value(value)
    if array is not None:
        if array.size == 1 and array.ndim <= 1:
            return value
        return build.const(widen(array, len(perm)).transpose(perm), "permuted")
    size = rank(value)
    if size is None:
        return None
    if size == len(perm):
        return layouts.want(value, perm, build)
    shape = static_shape(value)
    if shape == [] or size == 0:
        return layouts.want(value, identity(size), build)
    if shape is None:
        return None
    wide = [1] * (len(perm) - size) + shape
    moved = [wide[axis] for axis in perm]
    flat = layouts.want(value, identity(size), build)
    if [n for n in moved if n != 1] == [n for n in wide if n != 1]:
        return build.op("Reshape", flat, build.ints(moved, "shape"))
    return build.op("Transpose", build.op("Reshape", flat, build.ints(wide, "shape")), perm=list(perm))


def _axes(values: list[int], size: int) -> list[int]:
    return [axis % size for axis in values]


def _reduce(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    x = needed(node, 0)
    perm, size = layouts.preferred(x), rank(x)
    if perm is None or size is None or perm == identity(size):
        return False
    single = node.op_type in {"ArgMax", "ArgMin"}
    if single:
        axes = [int(attr(node, "axis", 0)) % size]
    elif node.op_type == "ReduceSum":
        found = const_ints(given(node, 1))
        if found is None and given(node, 1) is not None:
            return False
        axes = _axes(found or [], size)
    else:
        axes = _axes(attr(node, "axes", []), size)
    axes = axes or list(range(size))
    moved = sorted(perm.index(axis) for axis in axes)
    keep = bool(attr(node, "keepdims", 1))
    source = layouts.want(x, perm, build)
    if single:
        made = _copy(node, build, [source], axis=moved[0])[0]
    elif node.op_type == "ReduceSum":
        made = _copy(node, build, [source, build.ints(moved, "axes")])[0]
    else:
        made = _copy(node, build, [source], axes=moved)[0]
    if keep:
        result = perm
    else:
        rest = [axis for axis in perm if axis not in axes]
        ranks = sorted(rest)
        result = tuple(ranks.index(axis) for axis in rest)
    layouts.put(node.outputs[0], result, made)
    return True


def _softmax(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    """TFLite's softmax works on the last axis: the layout that has it there is the best."""
    x = needed(node, 0)
    size = rank(x)
    if size is None:
        return False
    axis = int(attr(node, "axis", -1)) % size
    if axis == size - 1 and identity(size) in layouts.of(x):
        return False
    perm = next((perm for perm in layouts.of(x) if perm[-1] == axis), None)
    perm = perm or (*[a for a in (layouts.preferred(x) or identity(size)) if a != axis], axis)
    if perm == identity(size):
        return False
    layouts.put(node.outputs[0], perm, _copy(node, build, [layouts.want(x, perm, build)], axis=size - 1)[0])
    return True


def _concat(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    size = rank(node.outputs[0])
    if size is None:
        return False
    perm = _best(node, layouts, size)
    if perm is None:
        return False
    axis = int(attr(node, "axis")) % size
    inputs = [layouts.want(value, perm, build) for value in node.inputs if value is not None]
    layouts.put(node.outputs[0], perm, _copy(node, build, inputs, axis=perm.index(axis))[0])
    return True


def _slice(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    x = needed(node, 0)
    perm, size = layouts.preferred(x), rank(x)
    starts = const_ints(given(node, 1))
    if perm is None or size is None or perm == identity(size) or starts is None:
        return False
    axes = const_ints(given(node, 3))
    if axes is None and given(node, 3) is not None:
        return False
    moved = [perm.index(axis) for axis in _axes(axes or list(range(len(starts))), size)]
    inputs = [layouts.want(x, perm, build), node.inputs[1], node.inputs[2], build.ints(moved, "axes"), given(node, 4)]
    layouts.put(node.outputs[0], perm, _copy(node, build, inputs)[0])
    return True


def _pad(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    x = needed(node, 0)
    perm, size = layouts.preferred(x), rank(x)
    pads = const_ints(given(node, 1))
    if perm is None or size is None or perm == identity(size) or pads is None:
        return False
    moved = [pads[axis] for axis in perm] + [pads[size + axis] for axis in perm]
    inputs = [layouts.want(x, perm, build), build.ints(moved, "pads"), *node.inputs[2:]]
    layouts.put(node.outputs[0], perm, _copy(node, build, inputs)[0])
    return True


def _gather(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    x, indices = needed(node, 0), needed(node, 1)
    perm, size = layouts.preferred(x), rank(x)
    many = rank(indices)
    if perm is None or size is None or perm == identity(size) or many is None or many > 1:
        return False
    axis = int(attr(node, "axis", 0)) % size
    index = layouts.want(indices, identity(many), build)
    made = _copy(node, build, [layouts.want(x, perm, build), index], axis=perm.index(axis))[0]
    if many:
        layouts.put(node.outputs[0], perm, made)
        return True
    rest = [a for a in perm if a != axis]
    layouts.put(node.outputs[0], tuple(sorted(rest).index(a) for a in rest), made)
    return True


def _transpose(node: ir.Node, layouts: Layouts, build: Builder) -> bool:  # noqa: ARG001 - builds nothing: that is its point
    """Only a new name for layouts that exist.

    The model's own transpose of a tensor that was never moved stays, unless it goes from channels last to channels first.
    """
    x = needed(node, 0)
    size = rank(x)
    if size is None or layouts.preferred(x) is None:
        return False
    back = inverse(tuple(attr(node, "perm") or range(size)[::-1]))
    if layouts.preferred(x) == identity(size) and back != last(size):
        return False
    for have, value in layouts.of(x).items():
        # axis j of `value` is axis have[j] of x, which is axis back[have[j]] of the result
        layouts.put(node.outputs[0], tuple(back[axis] for axis in have), value)
    return True


def _reshape(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    x = needed(node, 0)
    before, after = static_shape(x), static_shape(node.outputs[0])
    if before is None or after is None or not layouts.of(x) or const_value(x) is not None:
        return False
    perm = layouts.preferred(x)
    pairs = groups(before, after)
    if perm is None or pairs is None:
        return False
    if perm == identity(len(before)):
        return False
    if _flatten_into_weights(node, before, after, layouts, build):
        return True
    inner, outer = regroup(perm, pairs)
    source = layouts.want(x, inner, build)
    made = build.op("Reshape", source, build.ints([after[axis] for axis in outer], "shape"))
    layouts.put(node.outputs[0], outer, made)
    return True


def _flatten_into_weights(node: ir.Node, before: list[int], after: list[int], layouts: Layouts, build: Builder) -> bool:
    """Flatten channels last, and let the matrix that reads the result take its features in that order.

    Holds where everything that reads the flat tensor is a product with a constant matrix, with at most element-by-element
    ops between.
    """
    x = needed(node, 0)
    perm = last(len(before))
    if len(before) < 3 or len(after) != 2 or after[0] != before[0] or perm not in layouts.of(x):
        return False
    readers = _matrices(node.outputs[0])
    if not readers:
        return False
    order = np.arange(after[1]).reshape(before[1:]).transpose([axis - 1 for axis in perm[1:]]).reshape(-1)
    for reader in readers:
        weight = needed(reader, 1)
        array = const_value(weight)
        assert array is not None
        axis = 1 if attr(reader, "transB", 0) else 0
        moved = build.const(array.take(order, axis), "features_last")
        reader.replace_input_with(1, moved)
        layouts.reordered[weight.name or ""] = order
    flat = build.op("Reshape", layouts.want(x, perm, build), build.ints(after, "shape"))
    layouts.put(node.outputs[0], identity(2), flat)
    return True


def _matrices(value: ir.Value) -> list[ir.Node]:
    """The products with constant matrices that read a flat tensor; empty if anything else does."""
    found: list[ir.Node] = []
    if value.is_graph_output():
        return []
    for usage in value.uses():
        reader = usage.node
        constant = const_value(reader.inputs[1]) if len(reader.inputs) > 1 else None
        if reader.op_type in {"MatMul", "Gemm"} and usage.idx == 0 and constant is not None and constant.ndim == 2:
            if attr(reader, "transA", 0):
                return []
            found.append(reader)
        elif reader.op_type in _UNARY:
            deeper = _matrices(reader.outputs[0])
            if not deeper:
                return []
            found += deeper
        else:
            return []
    return found


def _shape(node: ir.Node, layouts: Layouts, build: Builder) -> bool:
    """The shape of a value that exists in another layout: the other's, put in order."""
    x = needed(node, 0)
    perm, size = layouts.preferred(x), rank(x)
    if perm is None or size is None or perm == identity(size):
        return False
    found = build.op("Shape", layouts.want(x, perm, build))
    layouts.put(node.outputs[0], identity(1), build.op("Gather", found, build.ints(list(inverse(perm))), axis=0))
    return True


_RULES: dict[str, Rule] = {
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gather,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Shape": _shape,
}
