"""Writes a chain of reshapes and transposes as at most one of each kind: Reshape, Transpose, Reshape.

Every such chain only puts the axes in another order, once they are split finely enough. Window partition, patch unfolding and
the heads of attention come as four or five of them, each of which copies the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, Pass, all_names, attr, const_value, needed, static_shape

#: Ops that keep the order of the elements.
_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
#: XNNPACK's XNN_MAX_TENSOR_DIMS.
MOST_AXES = 6


@dataclass
class _Atoms:
    """A tensor as an order of pieces of the first one's axes.

    Attributes:
        sizes: of all pieces, in the first tensor's order.
        order: the pieces as they follow one another now.
    """

    sizes: list[int]
    order: list[int]

    def split(self, place: int, first: int) -> None:
        """Part the piece at a place of the order in two, the first of a given size."""
        piece = self.order[place]
        self.sizes[piece : piece + 1] = [first, self.sizes[piece] // first]
        self.order = [n + (n > piece) for n in self.order]
        self.order.insert(place + 1, piece + 1)

    def group(self, shape: list[int]) -> list[list[int]] | None:
        """Places of the pieces that make up each axis of a shape, splitting pieces where needed; None if one cannot be."""
        groups: list[list[int]] = []
        place = 0
        for length in shape:
            here: list[int] = []
            left = length
            while left > 1:
                if place >= len(self.order):
                    return None
                size = self.sizes[self.order[place]]
                if size > left or left % size:
                    if size % left:
                        return None
                    self.split(place, left)
                    size = left
                here.append(place)
                left //= size
                place += 1
            groups.append(here)
        return groups if place == len(self.order) else None

    def merged(self) -> tuple[list[int], list[int]]:
        """Sizes and permutation with pieces that follow one another in both orders put together."""
        runs: list[list[int]] = []
        for piece in self.order:
            if runs and runs[-1][-1] + 1 == piece:
                runs[-1].append(piece)
            else:
                runs.append([piece])
        ranked = sorted(runs)
        sizes = []
        for run in ranked:
            size = 1
            for piece in run:
                size *= self.sizes[piece]
            sizes.append(size)
        return sizes, [ranked.index(run) for run in runs]


class FuseViews(Pass):
    """Chains of two and more, whose inner values nothing else reads, become the shortest that does the same."""

    def apply(self, model: ir.Model) -> int:
        """Rewrite in place; returns how many chains became shorter."""
        taken = all_names(model)
        changed = 0
        for node in list(model.graph):
            if node.graph is None or not _is_view(node) or _goes_on(node):
                continue
            chain = _chain(node)
            if len(chain) > 1 and self._fuse(chain, taken):
                changed += 1
        return changed

    def _fuse(self, chain: list[ir.Node], taken: set[str]) -> bool:
        source, last = needed(chain[0], 0), chain[-1]
        before, after = static_shape(source), static_shape(last.outputs[0])
        if before is None or after is None or 0 in before:
            return False
        atoms = _follow(chain, before)
        if atoms is None:
            return False
        ways = [_steps(before, after, *way) for way in (atoms.merged(), (atoms.sizes, atoms.order))]
        steps = min((way for way in ways if way is not None), key=len, default=None)
        if steps is None or _cost(steps) >= _cost([node.op_type for node in chain]):
            return False
        build = Builder(last, taken)
        value: ir.Value = source
        for step in steps:
            kind, numbers = step
            if kind == "Transpose":
                value = build.op("Transpose", value, perm=numbers)
            else:
                value = build.op("Reshape", value, build.ints(numbers, "shape"))
        build.commit([value])
        for node in reversed(chain[:-1]):
            assert node.graph is not None
            node.graph.remove(node, safe=True)
        return True


def _is_view(node: ir.Node) -> bool:
    if node.domain or (node.op_type != "Transpose" and node.op_type not in _RESHAPES):
        return False
    return const_value(node.inputs[0]) is None and node.outputs[0].type is not None


def _goes_on(node: ir.Node) -> bool:
    """Whether another view alone reads the result, so that the chain ends later."""
    value = node.outputs[0]
    uses = list(value.uses())
    return len(uses) == 1 and uses[0].idx == 0 and not value.is_graph_output() and _is_view(uses[0].node)


def _chain(last: ir.Node) -> list[ir.Node]:
    chain = [last]
    while (node := needed(chain[0], 0).producer()) is not None and _is_view(node) and _goes_on(node):
        chain.insert(0, node)
    return chain


def _follow(chain: list[ir.Node], before: list[int]) -> _Atoms | None:
    """The order in which the chain leaves the pieces of its input's axes."""
    sizes = [n for n in before if n > 1]
    atoms = _Atoms(sizes, list(range(len(sizes))))
    for node in chain:
        into, out = static_shape(node.inputs[0]), static_shape(node.outputs[0])
        if into is None or out is None:
            return None
        groups = atoms.group(into if node.op_type == "Transpose" else out)
        if groups is None:
            return None
        if node.op_type == "Transpose":
            perm = attr(node, "perm") or list(range(len(into)))[::-1]
            atoms.order = [atoms.order[place] for axis in perm for place in groups[axis]]
    return atoms


def _cost(kinds: Sequence[Any]) -> tuple[int, int]:
    """Transposes first, then all: a transpose costs more than a plain copy."""
    names = [kind if isinstance(kind, str) else kind[0] for kind in kinds]
    return names.count("Transpose"), len(names)


def _steps(
    before: list[int], after: list[int], sizes: list[int], perm: list[int]
) -> list[tuple[str, list[int]]] | None:
    """Reshape to the pieces, Transpose, Reshape to the result, each only where it does something."""
    if len(sizes) > MOST_AXES:
        return None
    if perm == sorted(perm):
        return [("Reshape", after)]
    direct = _as_transpose(before, after, sizes, perm)
    if direct is not None:
        return [("Transpose", direct)]
    moved = [sizes[i] for i in perm]
    if [length for length in after if length > 1] == moved:
        return _transpose_last(before, after, sizes, perm)
    axes = [axis for axis, length in enumerate(before) if length > 1]
    if [before[axis] for axis in axes] == sizes and len(axes) < len(
        before
    ):  # axes of size 1 may stay: no reshape before
        ones = [axis for axis, length in enumerate(before) if length == 1]
        perm, sizes = [*ones, *(axes[i] for i in perm)], before
        moved = [before[axis] for axis in perm]
    found: list[tuple[str, list[int]]] = [] if sizes == before else [("Reshape", sizes)]
    found.append(("Transpose", perm))
    return found if moved == after else [*found, ("Reshape", after)]


def _transpose_last(
    before: list[int], after: list[int], sizes: list[int], perm: list[int]
) -> list[tuple[str, list[int]]]:
    """Reshape, then a Transpose that gives the result itself: a matrix product takes one of its last two axes in with it."""
    axes = [axis for axis, length in enumerate(after) if length > 1]
    split, turned = list(after), list(range(len(after)))
    for piece, axis in enumerate(axes):
        split[axis] = sizes[piece]
        turned[axis] = axes[perm[piece]]
    return [*([] if split == before else [("Reshape", split)]), ("Transpose", turned)]


def _as_transpose(before: list[int], after: list[int], sizes: list[int], perm: list[int]) -> list[int] | None:
    """The permutation of the input's own axes that does it all, if they are the pieces up to axes of size 1."""
    if [n for n in before if n > 1] != sizes or len(before) != len(after):
        return None
    places = [axis for axis, n in enumerate(before) if n > 1]
    ones = [axis for axis, n in enumerate(before) if n == 1]
    moved = [places[i] for i in perm]
    result: list[int] = []
    for length in after:
        pool = ones if length == 1 else moved
        if not pool or before[pool[0]] != length:
            return None
        result.append(pool.pop(0))
    return result
