"""Folds factors and offsets by feature into the weights of the matrix products and convs that read them.

The gain and bias of a layer norm before a dense layer, a batch norm before a 1 × 1 conv: (x · g + c) W + b is x (gW) + (cW + b).
Two passes over the activations go. It has to happen before weights are quantized: TensorFlow's converter folds such factors
too, and what it multiplies into an integer weight by input feature is no longer on the grid of its output channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, Pass, all_names, attr, const_value, given, needed, rank, static_shape

_OPS = frozenset({"Add", "Sub", "Mul", "Div"})
#: Largest gain over smallest that may go through a ReLU.
MOST_UNEVEN = 2.0
#: Steps of a chain: a layer norm has two, a batch norm that was spelled out four.
_LONGEST = 6


class FoldAffine(Pass):
    """x · g + c with constants by feature, read by constant matrices and convs only, goes into them."""

    def apply(self, model: ir.Model) -> int:
        """Rewrite in place; returns how many operations were folded away."""
        taken = all_names(model)
        changed = 0
        for node in list(model.graph):
            if node.graph is None or node.op_type not in _OPS | {"Relu"} or node.domain:
                continue
            readers = _readers(node.outputs[0])
            size = rank(node.outputs[0])
            if readers and size is not None and len({_reader_axis(reader, size) for reader in readers}) == 1:
                fold = self._fold_behind if node.op_type == "Relu" else self._fold
                changed += fold(node, readers, _reader_axis(readers[0], size), taken)
        return changed

    def _fold(self, last: ir.Node, readers: list[ir.Node], axis: int, taken: set[str]) -> int:
        """Fold the chain that ends in `last`, as far up as nothing else reads it."""
        chain = _chain(last.outputs[0], axis, moves=not any(_pads(reader) for reader in readers))
        if not chain:
            return 0
        gain, offset = _total(chain, axis)
        for reader in readers:
            _fold_into(reader, chain[-1].source, gain, offset, Builder(reader, taken))
        _remove(chain)
        return len(chain)

    def _fold_behind(self, activation: ir.Node, readers: list[ir.Node], axis: int, taken: set[str]) -> int:
        """The gain alone, through a ReLU: relu(x · g + c) W is relu(x + c / g) (gW) for g > 0.

        Only where gains are about equal: what the runtime quantizes for W would else lose its balance between features.
        """
        value = needed(activation, 0)
        chain = _chain(value, axis, moves=True) if len(value.uses()) == 1 else []
        if not chain:
            return 0
        gain, offset = _total(chain, axis)
        if gain.min() <= 0 or gain.max() > MOST_UNEVEN * gain.min() or np.all(gain == 1):
            return 0
        build = Builder(activation, taken)
        moved = chain[-1].source
        if offset.any():
            shape = [-1 if place == axis else 1 for place in range(rank(value) or 0)]
            moved = build.op("Add", moved, (offset / gain).astype(np.float32).reshape(shape))
        before = build.op("Relu", moved)
        build.insert()
        for reader in readers:
            _fold_into(reader, before, gain, np.zeros_like(gain), Builder(reader, taken))
        graph = activation.graph
        assert graph is not None
        graph.remove(activation, safe=True)
        _remove(chain)
        return len(chain)


@dataclass(frozen=True)
class _Step:
    """source · gain + offset, by feature.

    Attributes:
        node: the operation.
        source: the value that it is computed from.
        gain: factors, one a feature or one for all.
        offset: the same for what is added.
        moves: whether it maps zero to anything else, so that zero padding would no longer be the same.
    """

    node: ir.Node
    source: ir.Value
    gain: Array
    offset: Array
    moves: bool


def _chain(value: ir.Value, axis: int, *, moves: bool) -> list[_Step]:
    """Sums and products above a value, the last first, as far up as nothing else reads them."""
    chain: list[_Step] = []
    while len(chain) < _LONGEST and (not chain or len(value.uses()) == 1):
        step = _step(value, axis)
        if step is None or (step.moves and not moves):
            break
        chain.append(step)
        value = step.source
    return chain


def _total(chain: list[_Step], axis: int) -> tuple[Array, Array]:
    """Gain and offset of a whole chain, one a feature."""
    features = (static_shape(chain[-1].source) or [])[axis]
    gain, offset = np.ones(features, np.float64), np.zeros(features, np.float64)
    for step in reversed(chain):
        gain, offset = gain * step.gain, offset * step.gain + step.offset
    return gain, offset


def _remove(chain: list[_Step]) -> None:
    for step in chain:
        graph = step.node.graph
        if graph is not None and not step.node.outputs[0].uses():
            graph.remove(step.node, safe=True)


def _step(value: ir.Value, axis: int) -> _Step | None:
    """What computed a value, if that is a sum or product with a constant by feature that keeps the shape."""
    node = value.producer()
    if node is None or node.op_type not in _OPS or node.domain or value.is_graph_output():
        return None
    left, right = needed(node, 0), needed(node, 1)
    a, b = const_value(left), const_value(right)
    shape = static_shape(value)
    if (a is None) == (b is None) or shape is None:
        return None
    source, constant = (right, a) if a is not None else (left, b)
    assert constant is not None
    if static_shape(source) != shape or constant.dtype != np.float32:
        return None
    lone = [1] * (len(shape) - constant.ndim) + list(constant.shape)
    if constant.ndim > len(shape) or any(n != 1 for place, n in enumerate(lone) if place != axis):
        return None
    flat = constant.reshape(-1).astype(np.float64)
    one, zero = np.ones_like(flat), np.zeros_like(flat)
    if node.op_type == "Add":
        return _Step(node, source, one, flat, moves=True)
    if node.op_type == "Sub":
        return (
            _Step(node, source, one, -flat, moves=True)
            if b is not None
            else _Step(node, source, -one, flat, moves=True)
        )
    if node.op_type == "Mul":
        return _Step(node, source, flat, zero, moves=False)
    if b is None or not flat.all():
        return None
    return _Step(node, source, one / flat, zero, moves=False)


def _readers(value: ir.Value) -> list[ir.Node]:
    """The matrix products and convs with constant weights that read a value.

    Empty if anything else reads it, or something else reads one of those weights.
    """
    if value.is_graph_output():
        return []
    found = []
    for usage in value.uses():
        reader = usage.node
        weight = const_value(given(reader, 1))
        if usage.idx != 0 or weight is None or weight.dtype != np.float32 or len(needed(reader, 1).uses()) > 1:
            return []
        matrix = reader.op_type == "MatMul" and weight.ndim == 2
        gemm = reader.op_type == "Gemm" and not attr(reader, "transA", 0) and attr(reader, "alpha", 1.0) == 1.0
        conv = reader.op_type == "Conv" and attr(reader, "group", 1) == 1
        if reader.domain or not (matrix or gemm or conv):
            return []
        bias = given(reader, 2)
        if bias is not None and (const_value(bias) is None or attr(reader, "beta", 1.0) != 1.0):
            return []
        found.append(reader)
    return found


def _reader_axis(reader: ir.Node, size: int) -> int:
    """The axis of its input along which a reader takes features."""
    return 1 if reader.op_type == "Conv" else size - 1


def _pads(reader: ir.Node) -> bool:
    automatic = attr(reader, "auto_pad", "NOTSET")
    return reader.op_type == "Conv" and (any(attr(reader, "pads", [0])) or automatic not in {"NOTSET", "VALID"})


def _fold_into(reader: ir.Node, source: ir.Value, gain: Array, offset: Array, build: Builder) -> None:
    """Let a reader take `source`, with its weight scaled and its bias moved."""
    weight = const_value(reader.inputs[1])
    assert weight is not None
    wide = weight.astype(np.float64)
    if reader.op_type == "Conv":
        scaled = wide * gain.reshape(1, -1, *[1] * (weight.ndim - 2))
        extra = np.tensordot(wide, offset, ([1], [0])).reshape(weight.shape[0], -1).sum(axis=1)
    elif attr(reader, "transB", 0):
        scaled, extra = wide * gain, wide @ offset
    else:
        scaled, extra = wide * gain[:, None], offset @ wide
    inputs: list[ir.Value | None] = [source, build.const(scaled.astype(np.float32), "scaled")]
    bias = const_value(given(reader, 2))
    if reader.op_type == "MatMul":
        (result,) = build.again(*inputs)
        if offset.any() and not _moved_in_sum(reader, extra, build):
            result = build.op("Add", result, extra.astype(np.float32))
    else:
        moved = extra if bias is None else extra + bias.astype(np.float64)
        if offset.any() or bias is not None:
            inputs.append(build.const(moved.astype(np.float32), "moved"))
        (result,) = build.again(*inputs)
    build.commit([result])


def _moved_in_sum(product: ir.Node, extra: Array, build: Builder) -> bool:
    """Add to the bias that follows a MatMul, if one does."""
    uses = list(product.outputs[0].uses())
    adder = uses[0].node if len(uses) == 1 and not product.outputs[0].is_graph_output() else None
    if adder is None or adder.op_type != "Add":
        return False
    place = 1 - uses[0].idx
    bias = const_value(adder.inputs[place])
    if bias is None or bias.shape != extra.shape:
        return False
    adder.replace_input_with(place, build.const((bias + extra).astype(np.float32), "moved"))
    return True
