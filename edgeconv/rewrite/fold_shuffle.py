"""Folds channel shuffles into the weights of the convs around them.

A shuffle only says in which order the next conv finds its channels. So every conv may write its output channels in any order
and read them in any order: each keeps together what is read together, and what reads takes slices of what was written. In
ShuffleNet the Reshape, Transpose, Reshape of each block and the splits go; what is left are slices and short joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import (
    Array,
    Builder,
    Pass,
    all_names,
    attr,
    const_ints,
    const_value,
    given,
    needed,
    rank,
    static_shape,
)

#: A read of more pieces than this costs more than the shuffle that it replaces.
MOST_PIECES = 12
#: Ops by element that keep the order of channels and have no constants by channel.
_UNARY = frozenset("Relu LeakyRelu Sigmoid HardSigmoid HardSwish Tanh Elu Softplus Clip".split())

Channel = tuple[ir.Value, int]


@dataclass
class _Read:
    """A value that is read by something else than a permutation of channels.

    Attributes:
        value: what is read.
        channels: where each of its channels was written: a root and the channel's number there.
        readers: the convs that read it.
        free: whether they take its channels in any order; others read the value as it was.
        order: the order chosen.
    """

    value: ir.Value
    channels: list[Channel]
    readers: list[ir.Node]
    free: bool
    order: list[int] = field(default_factory=list)

    def pieces(self, places: dict[ir.Value, Array]) -> list[tuple[ir.Value, int, int]]:
        """Choose the order; (root, first, past the last) of each slice, by where roots keep their channels."""
        self.order = list(range(len(self.channels)))
        if self.free:
            roots = list(dict.fromkeys(root for root, _ in self.channels))
            self.order.sort(
                key=lambda c: (roots.index(self.channels[c][0]), places[self.channels[c][0]][self.channels[c][1]])
            )
        found: list[tuple[ir.Value, int, int]] = []
        for channel in self.order:
            root, number = self.channels[channel]
            place = int(places[root][number])
            if found and found[-1][0] is root and found[-1][2] == place:
                found[-1] = (root, found[-1][1], place + 1)
            else:
                found.append((root, place, place + 1))
        return found


class FoldShuffle(Pass):
    """Shuffles between convs go; a graph without one, or in which slices would cost more, stays as it is."""

    def apply(self, model: ir.Model) -> int:
        """Rewrite in place; returns how many values are read from where they were computed instead."""
        shuffles = {node: found for node in model.graph if (found := _shuffle(node)) is not None}
        if not shuffles:
            return 0
        origin = _Origin(shuffles)
        moved = [node for node in model.graph if origin.moves(node)]
        reads = [read for node in moved for value in node.outputs if (read := origin.read(value)) is not None]
        while True:
            free = [read for read in reads if read.free]
            roots = list(dict.fromkeys(root for read in free for root, _ in read.channels))
            fixed = {root for read in reads if not read.free for root, _ in read.channels}
            makers = {root: maker for root in roots if root not in fixed and (maker := origin.maker(root)) is not None}
            places = {root: _places(root, free, movable=root in makers) for root in roots}
            pieces = [read.pieces(places) for read in free]
            torn = [read for read, found in zip(free, pieces, strict=True) if len(found) > MOST_PIECES]
            if not torn:
                break
            for read in torn:
                read.free = False
        taken = all_names(model)
        slices: dict[tuple[ir.Value, int, int], ir.Value] = {}
        for root, maker in makers.items():
            order = np.argsort(places[root])
            _take(maker, 1, order, 0, Builder(maker, taken))
            if given(maker, 2) is not None:
                _take(maker, 2, order, 0, Builder(maker, taken))
        for read, parts in zip(free, pieces, strict=True):
            _join(read, parts, slices, taken)
        return len(free)


class _Origin:
    """Follows channels back through permutations to where they were computed.

    Args:
        shuffles: source and permutation by the last node of each shuffle.
    """

    def __init__(self, shuffles: dict[ir.Node, tuple[ir.Value, list[int]]]) -> None:
        self._shuffles = shuffles
        self._known: dict[ir.Value, list[Channel]] = {}
        inner = {needed(node, 0).producer() for node in shuffles}
        inner |= {needed(node, 0).producer() for node in inner if node is not None}
        self._inner = inner

    def moves(self, node: ir.Node) -> bool:
        """Whether a node only permutes, joins or takes channels."""
        return node in self._shuffles or _bounds(node) is not None or _joins(node)

    def of(self, value: ir.Value) -> list[Channel]:
        """Root and number of every channel; the value itself is the root where it is computed."""
        if value not in self._known:
            self._known[value] = self._follow(value)
        return self._known[value]

    def _follow(self, value: ir.Value) -> list[Channel]:
        node = value.producer()
        if node in self._shuffles:
            source, perm = self._shuffles[node]
            channels = self.of(source)
            return [channels[i] for i in perm]
        if node is not None and _joins(node):
            return [channel for one in node.inputs if one is not None for channel in self.of(one)]
        bounds = _bounds(node) if node is not None else None
        if node is not None and bounds is not None:
            first, last = bounds[list(node.outputs).index(value)]
            return self.of(needed(node, 0))[first:last]
        shape = static_shape(value) or [0, 0]
        return [(value, number) for number in range(shape[1])]

    def read(self, value: ir.Value) -> _Read | None:
        """How a permuted value is read by nodes that do not permute; None if it is not."""
        readers = [u.node for u in value.uses() if not self.moves(u.node) and u.node not in self._inner]
        if not readers and not value.is_graph_output():
            return None
        free = not value.is_graph_output() and all(_takes_any_order(node, value) for node in readers)
        return _Read(value, self.of(value), readers, free)

    def maker(self, root: ir.Value) -> ir.Node | None:
        """The conv that can write a root's channels in another order; None if there is none."""
        value = root
        if root.is_graph_output() or any(not self.moves(u.node) and u.node not in self._inner for u in root.uses()):
            return None
        while (node := value.producer()) is not None and node.op_type in _UNARY and not node.domain:
            value = needed(node, 0)
            if len(value.uses()) != 1 or value.is_graph_output():
                return None
        return node if node is not None and _is_free_conv(node) else None


def _places(root: ir.Value, reads: Sequence[_Read], *, movable: bool) -> Array:
    """Where each channel of a root stands: beside those that are read together with it, if it may move."""
    shape = static_shape(root) or [0, 0]
    readings: list[list[int]] = [[] for _ in range(shape[1])]
    for number, read in enumerate(reads):
        for source, channel in read.channels:
            if source is root:
                readings[channel].append(number)
    order = sorted(range(shape[1]), key=lambda c: readings[c]) if movable else list(range(shape[1]))
    return np.argsort(order)


def _join(
    read: _Read,
    found: list[tuple[ir.Value, int, int]],
    slices: dict[tuple[ir.Value, int, int], ir.Value],
    taken: set[str],
) -> None:
    """Let the readers of a value read slices of roots instead, with their weights in that order."""
    build = Builder(read.readers[0], taken)
    parts = []
    for key in found:
        root, first, last = key
        if key not in slices:
            whole = (static_shape(root) or [0, 0])[1] == last - first
            slices[key] = (
                root if whole else build.op("Slice", root, *(build.ints([n], "bound") for n in (first, last, 1)))
            )
        parts.append(slices[key])
    joined = parts[0] if len(parts) == 1 else build.op("Concat", *parts, axis=1)
    build.insert()
    order = np.array(read.order)
    for reader in read.readers:
        reader.replace_input_with(0, joined)
        if int(attr(reader, "group", 1)) == 1:
            _take(reader, 1, order, 1, Builder(reader, taken))
            continue
        _take(reader, 1, order, 0, Builder(reader, taken))
        if given(reader, 2) is not None:
            _take(reader, 2, order, 0, Builder(reader, taken))
        for usage in reader.outputs[0].uses():
            _take(usage.node, 1, order, 1, Builder(usage.node, taken))


def _take(node: ir.Node, place: int, order: Array, axis: int, build: Builder) -> None:
    """Put a constant input of a node in another order along an axis."""
    array = const_value(node.inputs[place])
    assert array is not None
    node.replace_input_with(place, build.const(array.take(order, axis), "reordered"))
    build.insert()


def _takes_any_order(node: ir.Node, value: ir.Value) -> bool:
    """A conv over all channels; or one by channel whose result is read by such convs only."""
    if [v for v in node.inputs if v is value] != [value] or node.inputs[0] is not value:
        return False
    if _is_free_conv(node):
        return True
    shape = static_shape(value)
    by_channel = shape is not None and len(shape) == 4 and _is_free_conv(node, groups=shape[1])
    out = node.outputs[0]
    if not by_channel or out.is_graph_output() or (static_shape(out) or [0, 0])[1] != (shape or [0, 0])[1]:
        return False
    return all(usage.idx == 0 and _is_free_conv(usage.node) for usage in out.uses())


def _is_free_conv(node: ir.Node, groups: int = 1) -> bool:
    """A conv with constants of its own."""
    if node.op_type != "Conv" or node.domain or int(attr(node, "group", 1)) != groups:
        return False
    constants = [value for value in node.inputs[1:] if value is not None]
    return all(const_value(value) is not None and len(value.uses()) == 1 for value in constants)


def _joins(node: ir.Node) -> bool:
    size = rank(node.outputs[0])
    return node.op_type == "Concat" and not node.domain and size == 4 and int(attr(node, "axis")) % 4 == 1


def _bounds(node: ir.Node) -> list[tuple[int, int]] | None:
    """First and past the last channel of each output of a Split or Slice of the channels."""
    if node.domain or node.op_type not in {"Split", "Slice"} or rank(node.inputs[0]) != 4:
        return None
    shape = static_shape(node.inputs[0])
    if shape is None:
        return None
    if node.op_type == "Split":
        sizes = [(static_shape(out) or [0, 0])[1] for out in node.outputs]
        ends = np.cumsum(sizes)
        if int(attr(node, "axis", 0)) % 4 != 1 or ends[-1] != shape[1]:
            return None
        return [(int(end) - size, int(end)) for end, size in zip(ends, sizes, strict=True)]
    starts, stops, axes = (const_ints(given(node, place)) for place in (1, 2, 3))
    steps = const_ints(given(node, 4)) if given(node, 4) is not None else [1]
    if starts is None or stops is None or axes is None or [axis % 4 for axis in axes] != [1] or steps != [1]:
        return None
    first, last, _ = slice(starts[0], stops[0]).indices(shape[1])
    return [(first, last)] if last > first else None


def _shuffle(node: ir.Node) -> tuple[ir.Value, list[int]] | None:
    """Source and permutation of the channels if a node is the last of Reshape, Transpose, Reshape that shuffles them."""
    if node.op_type != "Reshape" or node.domain:
        return None
    turn = needed(node, 0).producer()
    if turn is None or turn.op_type != "Transpose" or attr(turn, "perm") != [0, 2, 1, 3, 4]:
        return None
    part = needed(turn, 0).producer()
    if part is None or part.op_type != "Reshape":
        return None
    source = needed(part, 0)
    before, split, after = static_shape(source), static_shape(part.outputs[0]), static_shape(node.outputs[0])
    if before is None or split is None or after != before or len(before) != 4:
        return None
    if split[0] != before[0] or split[3:] != before[2:] or split[1] * split[2] != before[1]:
        return None
    if any(len(inner.outputs[0].uses()) != 1 or inner.outputs[0].is_graph_output() for inner in (turn, part)):
        return None
    return source, np.arange(before[1]).reshape(split[1], split[2]).T.reshape(-1).tolist()
