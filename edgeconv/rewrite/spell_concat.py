"""Writes long concatenations as chains that share their beginnings.

XNNPACK joins at most five tensors at once; a longer CONCATENATION leaves the delegate. In a densely connected network each
layer joins all tensors before it: written as the join before plus one tensor, every join is short, and nothing is
copied twice that was not copied before.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, Pass, all_names, attr, rank

#: Most inputs that XNNPACK's concatenation takes (xnn_define_concatenate5).
MOST = 5


class SpellConcat(Pass):
    """A Concat that begins with another's inputs takes its result; one with more than five inputs becomes a tree."""

    def apply(self, model: ir.Model) -> int:
        """Rewrite in place; returns how many changed."""
        taken = all_names(model)
        made: dict[tuple[int, tuple[int, ...]], ir.Value] = {}
        keep: list[ir.Value] = []  # ids stay unique while the values live
        changed = 0
        for node in list(model.graph):
            if node.op_type != "Concat" or node.domain or any(value is None for value in node.inputs):
                continue
            size = rank(node.outputs[0])
            if size is None:
                continue
            axis = int(attr(node, "axis")) % size
            inputs = [value for value in node.inputs if value is not None]
            keep += inputs
            shorter = _with_beginnings(inputs, axis, made)
            key = (axis, tuple(map(id, inputs)))
            if len(shorter) == len(inputs) and len(inputs) <= MOST:
                made[key] = node.outputs[0]
                continue
            build = Builder(node, taken)
            result = _tree(build, shorter, axis)
            build.commit([result])
            made[key] = result
            keep.append(result)
            changed += 1
        return changed


def _with_beginnings(
    inputs: list[ir.Value], axis: int, made: dict[tuple[int, tuple[int, ...]], ir.Value]
) -> list[ir.Value]:
    """The inputs, with the longest beginning that has been joined already replaced by its join."""
    for length in range(len(inputs) - 1, 1, -1):
        joined = made.get((axis, tuple(map(id, inputs[:length]))))
        if joined is not None:
            return [joined, *inputs[length:]]
    return inputs


def _tree(build: Builder, inputs: list[ir.Value], axis: int) -> ir.Value:
    while len(inputs) > MOST:
        groups = [inputs[at : at + MOST] for at in range(0, len(inputs), MOST)]
        inputs = [group[0] if len(group) == 1 else build.op("Concat", *group, axis=axis) for group in groups]
    return build.op("Concat", *inputs, axis=axis)
