"""Finds the .tflite's tensor for each place of the original model: by value, names deciding between near ones.

Conversion folds modules into others and moves layouts, so that a name alone is no proof: a convolution's tensor often
holds what the batch norm or the activation behind it gives. A tensor goes to the place whose value it comes nearest to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeconv.harness import metrics
from edgeconv.harness.trace import channels as moved
from edgeconv.harness.trace.points import MOVES, Array, Point, Tensor, laid, layouts, unlaid

#: Below this a tensor and a place have nothing to do with each other, unless they have the same name.
LEAST_DB = 6.0
#: How many tensors before a place are tried with their channels in another order.
_SHUFFLED = 8
#: A place of the same name wins against one that is nearer by less than this.
NAME_DB = 3.0


@dataclass(frozen=True)
class Match:
    """A place and its tensor.

    Attributes:
        tensor: of the .tflite.
        perm: its elements are those of the place's value in this axis order.
        snr_db: nearness on the sample that was matched.
        channels: which of the place's channels each of its channels is; None: they are in the same order.
    """

    tensor: Tensor
    perm: tuple[int, ...]
    snr_db: float
    channels: Array | None = None

    def value(self, values: Mapping[int, Array], like: Array) -> Array:
        """The tensor's value in the shape, layout and channel order of the place."""
        found = unlaid(values[self.tensor.index].reshape(-1), like, self.perm)
        return found if self.channels is None else moved.undone(found, self.channels)


def distinct(points: Sequence[Point]) -> list[int]:
    """Numbers of the places whose value no earlier one has: a wrapper that passes its last child's value on is left out."""
    seen: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    found = []
    for number, point in enumerate(points):
        key = (point.value.size, point.value.reshape(-1)[:8].tobytes())
        if any(np.array_equal(points[other].value.reshape(-1), point.value.reshape(-1)) for other in seen[key]):
            continue
        seen[key].append(number)
        found.append(number)
    return found


def match(points: Sequence[Point], tensors: Sequence[Tensor], values: Mapping[int, Array]) -> dict[int, Match]:
    """The tensor of each place that has one.

    Args:
        points: of one run of the original model.
        tensors: of the .tflite.
        values: of the tensors, from the same inputs.
    """
    by_size: dict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for number in distinct(points):
        value = points[number].value
        if value.size > 1:
            by_size[value.size] += [(number, perm) for perm in layouts(value)]
    best: dict[int, Match] = {}
    for size, places in by_size.items():
        rivals = [tensor for tensor in tensors if values[tensor.index].size == size]
        if not rivals:
            continue
        rows = np.stack([laid(points[number].value, perm) for number, perm in places]).astype(np.float32)
        power = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        for tensor in rivals:
            chosen = _choose(tensor, values[tensor.index], rows, power, [points[number].name for number, _ in places])
            if chosen is None:
                continue
            number, perm = places[chosen]
            snr = metrics.snr_db(rows[chosen], values[tensor.index].reshape(-1))
            if number not in best or snr > best[number].snr_db:
                best[number] = Match(tensor, perm, snr)
    return {number: _reordered(points[number].value, found, values) for number, found in best.items()}


def _reordered(value: Array, found: Match, values: Mapping[int, Array]) -> Match:
    """A match by name alone, with its channels in the order that makes it one by value, if there is such an order."""
    if found.snr_db >= 2 * LEAST_DB:
        return found
    best = found
    for perm in layouts(value):
        other = unlaid(values[found.tensor.index].reshape(-1), value, perm)
        channels = moved.order(value, other)
        if channels is None:
            continue
        snr = moved.snr_db(value, other, channels)
        if snr > max(best.snr_db + LEAST_DB, 2 * LEAST_DB):
            best = Match(found.tensor, perm, snr, channels)
    return best


def _choose(tensor: Tensor, value: Array, rows: Array, power: Array, names: list[str]) -> int | None:
    """Row of the place that the tensor belongs to."""
    flat = value.reshape(-1).astype(np.float32)
    if not np.isfinite(flat).all():
        return None
    noise = np.maximum(power + float(np.dot(flat, flat)) - 2.0 * (rows @ flat), 1e-30)
    snr = 10.0 * np.log10(np.maximum(power, 1e-30) / noise)
    same = np.array([plain(name) == tensor.name for name in names])
    nearest = int(np.argmax(snr + NAME_DB * same))
    if snr[nearest] >= LEAST_DB or (same[nearest] and tensor.name and tensor.op not in MOVES):
        return nearest
    return None


def plain(name: str) -> str:
    """A place's name without the marks of a second call or output."""
    return name.partition("#")[0].partition("[")[0]


@dataclass(frozen=True)
class Upstream:
    """Where the .tflite has what a place was fed: a tensor, and the order of its axes and channels."""

    index: int
    perm: tuple[int, ...]
    channels: Array | None = None

    def value(self, values: Mapping[int, Array], like: Array) -> Array:
        """In the original model's shape and layout."""
        found = unlaid(values[self.index].reshape(-1), like, self.perm)
        return found if self.channels is None else moved.undone(found, self.channels)


def upstream(
    fed: Array, before: int, tensors: Sequence[Tensor], values: Mapping[int, Array], least_db: float
) -> Upstream | None:
    """Where the .tflite has what a place was fed, if no other place made it; None if nothing comes near enough.

    Args:
        fed: in the original model.
        before: position of the op that computes the place.
        tensors: of the .tflite.
        values: theirs.
        least_db: how near it must come. A value that is merely similar would look like an error of the place.
    """
    rivals = [each for each in tensors if each.position < before and values[each.index].size == fed.size]
    found, nearest = None, least_db
    for tensor in rivals:
        flat = values[tensor.index].reshape(-1)
        for perm in layouts(fed):
            snr = metrics.snr_db(laid(fed, perm), flat)
            if snr > nearest:
                found, nearest = Upstream(tensor.index, perm), snr
    if found is not None:
        return found
    for tensor in rivals[-_SHUFFLED:]:
        for perm in layouts(fed):
            other = unlaid(values[tensor.index].reshape(-1), fed, perm)
            channels = moved.order(fed, other)
            if channels is not None and (snr := moved.snr_db(fed, other, channels)) > nearest:
                found, nearest = Upstream(tensor.index, perm, channels), snr
    return found
