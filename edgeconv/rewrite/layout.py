"""Keeps, for every value of a graph, the layouts in which it exists, and makes others when they are asked for.

A layout is a permutation p: the value in layout p is Transpose(value, p), so axis j of it is axis p[j] of the original. A
transposed value costs nothing until somebody wants another layout of it; a Transpose of the model itself is only a new
name for a layout that is already there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, const_value, static_shape

Perm = tuple[int, ...]


def identity(rank: int) -> Perm:
    """The layout of the value itself."""
    return tuple(range(rank))


def last(rank: int) -> Perm:
    """Channels last: (0, 2, 3, 1) for images."""
    return (0, *range(2, rank), 1)


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes `perm`."""
    return tuple(int(i) for i in np.argsort(perm))


def then(first: Perm, second: Perm) -> Perm:
    """One permutation for Transpose(Transpose(x, first), second)."""
    return tuple(first[i] for i in second)


def taste(perm: Perm) -> tuple[bool, bool]:
    """Sort key of equally cheap layouts: images channels last, else the value's own, else the first made."""
    return (len(perm) < 4 or perm != last(len(perm)), perm != identity(len(perm)))


class Layouts:
    """The layouts of a graph's values while a pass walks over it.

    Attributes:
        changed: how many nodes were rewritten.
        reordered: new order of the input features of weights, by the weight's old name.
    """

    def __init__(self, taken: set[str]) -> None:
        self._reps: dict[ir.Value, dict[Perm, ir.Value]] = {}
        self._replaced: set[ir.Value] = set()
        self.reordered: dict[str, Array] = {}
        self.taken = taken
        self.changed = 0

    def put(self, value: ir.Value, perm: Perm, made: ir.Value) -> None:
        """`made` is `value` in layout `perm`; the value itself no longer exists unless its own layout is put."""
        self._reps.setdefault(value, {}).setdefault(perm, made)
        self._replaced.add(value)

    def of(self, value: ir.Value | None) -> dict[Perm, ir.Value]:
        """Every layout that exists, the first made first. Its own counts only where the value still exists."""
        if value is None:
            return {}
        reps = dict(self._reps.get(value, {}))
        if value not in self._replaced and value.shape is not None:
            reps.setdefault(identity(len(value.shape)), value)
        return reps

    def preferred(self, value: ir.Value | None) -> Perm | None:
        """The layout to go on with, among those that exist; None for a value that is not tracked."""
        reps = self.of(value)
        return min(reps, key=taste, default=None)

    def want(self, value: ir.Value, perm: Perm, build: Builder) -> ir.Value:
        """The value in layout `perm`; a Transpose is built where it does not exist yet.

        The Transpose becomes a Reshape where only axes of size 1 change their place.
        """
        array = const_value(value)
        if array is not None:
            return value if perm == identity(array.ndim) else build.const(array.transpose(perm), "permuted")
        reps = self.of(value)
        if not reps or perm in reps:
            return reps.get(perm, value)
        have, source = next(iter(reps.items()))
        step = then(inverse(have), perm)
        made = move(build, source, step)
        self._reps.setdefault(value, {})[perm] = made
        return made

    def is_replaced(self, value: ir.Value) -> bool:
        """Whether the value exists in other layouts only."""
        return value in self._replaced


def move(build: Builder, source: ir.Value, perm: Perm) -> ir.Value:
    """Transpose, or nothing, or a Reshape if only axes of size 1 move."""
    if perm == identity(len(perm)):
        return source
    shape = static_shape(source)
    if shape is not None:
        long_axes = [axis for axis in perm if shape[axis] != 1]
        if long_axes == sorted(long_axes):
            return build.op("Reshape", source, build.ints([shape[axis] for axis in perm], "shape"))
    return build.op("Transpose", source, perm=list(perm))


def groups(before: list[int], after: list[int]) -> list[tuple[list[int], list[int]]] | None:
    """How a Reshape regroups axes: pairs of (input axes, output axes) with equal products, as fine as possible.

    Returns:
        None where a size is zero or the shapes do not match.
    """
    if 0 in before or 0 in after or int(np.prod(before)) != int(np.prod(after)):
        return None
    pairs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [], []
        a = b = 1
        if i < len(before):
            left.append(i)
            a *= before[i]
            i += 1
        if j < len(after):
            right.append(j)
            b *= after[j]
            j += 1
        while a != b:
            if a < b:
                left.append(i)
                a *= before[i]
                i += 1
            else:
                right.append(j)
                b *= after[j]
                j += 1
        pairs.append((left, right))
    return _settle_ones(pairs)


def _settle_ones(pairs: list[tuple[list[int], list[int]]]) -> list[tuple[list[int], list[int]]]:
    """Trailing axes of size 1 without a partner join the group before them."""
    settled: list[tuple[list[int], list[int]]] = []
    for left, right in pairs:
        if settled and (not left or not right):
            settled[-1] = (settled[-1][0] + left, settled[-1][1] + right)
        else:
            settled.append((left, right))
    return settled


def regroup(perm: Perm, pairs: list[tuple[list[int], list[int]]]) -> tuple[Perm, Perm]:
    """The layout nearest to `perm` in which a Reshape's groups stand together, and the layout of its result.

    Args:
        perm: a layout of the Reshape's input.
        pairs: from `groups`.

    Returns:
        (input layout, output layout): groups in the order in which `perm` first meets them, axes of a group in order.
    """
    place = {axis: number for number, (left, _) in enumerate(pairs) for axis in left}
    order = list(dict.fromkeys(place[axis] for axis in perm))
    missing = [number for number in range(len(pairs)) if number not in order]  # groups without input axes
    order += missing
    return (
        tuple(axis for number in order for axis in pairs[number][0]),
        tuple(axis for number in order for axis in pairs[number][1]),
    )


def widen(array: Array, rank: int) -> Array:
    """A constant with leading axes of size 1, so that it broadcasts over `rank` axes as before."""
    return array.reshape([1] * (rank - array.ndim) + list(array.shape))
