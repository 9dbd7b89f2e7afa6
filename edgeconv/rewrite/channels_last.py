"""Moves a graph from channels first to channels last, so that no transpose is left but those the model asked for.

TFLite computes images as NHWC. Each conv or pool is written as Transpose, op, Transpose; onnx-tf puts the inverse
transposes around its NHWC op, and the pairs cancel. Everything between is computed in whatever layout its input has,
with axes adapted (`channels_last_rules`). The graph stays standard ONNX: onnxruntime runs it before and after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, Pass, all_names, rank
from edgeconv.rewrite.channels_last_rules import SPATIAL, rule_of
from edgeconv.rewrite.layout import Layouts, Perm, identity, inverse, last, move


@dataclass(frozen=True)
class Moved:
    """A graph input or output whose layout changed.

    Attributes:
        name: of the input or output.
        perm: it is Transpose(the model's, perm).
    """

    name: str
    perm: Perm


class ChannelsLast(Pass):
    """The pass.

    Args:
        ends: whether image inputs and outputs of the graph become channels last too.

    Attributes:
        moved: inputs and outputs that did, filled by `apply`.
        reordered: new order of the input features of weights, by the weight's name before.
    """

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self.moved: list[Moved] = []
        self.reordered: dict[str, Array] = {}

    def apply(self, model: ir.Model) -> int:
        """Rewrite in place; returns how many nodes changed their layout. Inside subgraphs nothing moves."""
        graph = model.graph
        layouts = Layouts(all_names(model))
        if self.ends:
            self._move_inputs(graph, layouts)
        old = list(graph)
        replaced = []
        for node in old:
            build = Builder(node, layouts.taken)
            if rule_of(node)(node, layouts, build):
                replaced.append(node)
                layouts.changed += 1
            else:
                for reader, position, value in _reads(node):
                    if layouts.is_replaced(value):
                        reader.replace_input_with(position, layouts.want(value, identity(rank(value) or 0), build))
            build.insert()
        self._finish(graph, layouts, old)
        for node in reversed(replaced):
            graph.remove(node, safe=True)
        self.reordered = layouts.reordered
        return layouts.changed

    def _move_inputs(self, graph: ir.Graph, layouts: Layouts) -> None:
        """Give image inputs the layout in which their first conv wants them."""
        for position, value in enumerate(list(graph.inputs)):
            size = rank(value)
            if size is None or size < 4 or not _feeds_spatial(value) or value.type is None or value.shape is None:
                continue
            perm = last(size)
            moved = ir.Value(name=value.name, type=value.type, shape=ir.Shape([value.shape[axis] for axis in perm]))
            value.name = f"{value.name}_first"
            graph.inputs[position] = moved
            layouts.put(value, perm, moved)
            self.moved.append(Moved(moved.name or "", perm))

    def _finish(self, graph: ir.Graph, layouts: Layouts, old: list[ir.Node]) -> None:
        """Graph outputs in their own layout, or in channels last where that is what exists."""
        if not old:
            return
        for position, value in enumerate(list(graph.outputs)):
            if not layouts.is_replaced(value):
                continue
            name, size = value.name or "", rank(value) or 0
            reps = layouts.of(value)
            keep = self.ends and size >= 4 and last(size) in reps and identity(size) not in reps
            build = Builder(old[-1], layouts.taken)
            if keep:
                made = build.op("Identity", reps[last(size)])
                self.moved.append(Moved(name, last(size)))
            else:
                perm, source = next(iter(reps.items()))
                made = build.op("Identity", move(build, source, inverse(perm)))
            build.insert(after=True)
            value.name = f"{name}_first"
            made.name = name
            if value.type is not None:
                made.type = value.type
            graph.outputs[position] = made


def _reads(node: ir.Node) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """What a node and the nodes of its subgraphs read: reader, position, value."""
    inner = [n for a in node.attributes.values() for g in _graphs(a) for n in ir.traversal.RecursiveGraphIterator(g)]
    for reader in (node, *inner):
        for position, value in enumerate(list(reader.inputs)):
            if value is not None:
                yield reader, position, value


def _graphs(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return tuple(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else ()


def _feeds_spatial(value: ir.Value, depth: int = 12) -> bool:
    """Whether a conv or pool reads the value, directly or through ops that work element by element."""
    elementwise = {
        "Add", "Sub", "Mul", "Div", "Pad", "Relu", "Clip", "Cast", "Concat", "Identity", "Slice", "Sigmoid", "Tanh", "Neg",
    }  # fmt: skip
    frontier, seen = [value], {value}
    for _ in range(depth):
        following = []
        for one in frontier:
            for usage in one.uses():
                if usage.node.op_type in SPATIAL:
                    return usage.idx == 0
                if usage.node.op_type in elementwise:
                    following += [out for out in usage.node.outputs if out not in seen]
        seen.update(following)
        frontier = following
    return False
