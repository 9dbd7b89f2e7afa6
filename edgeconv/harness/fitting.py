"""Puts a reference's arrays into the places, shapes and layouts that a file has for them, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from edgeconv.errors import InputMismatch
from edgeconv.harness.runtimes import Array, Arrays


def place(arrays: Mapping[str, Array], ends: list[dict[str, Any]], what: str, source: str = "the reference") -> Arrays:
    """One array for each end of a file: that of the same name, else the next in order whose shape fits.

    Args:
        arrays: by the reference's names.
        ends: name, shape, dtype of the file's inputs, and free, the axes that may have any size.
        what: the file, for the message.
        source: whose arrays they are, for the message.

    Raises:
        InputMismatch: no array fits an end, or its values do not fit the dtype.
    """
    left = dict(arrays)
    placed: Arrays = {}
    for end in ends:
        names = [end["name"]] if end["name"] in left else list(left)
        found = next(
            (
                (name, fitted)
                for name in names
                if (fitted := fit(left[name], end["shape"], end.get("free", ()))) is not None
            ),
            None,
        )
        if found is None:
            have = ", ".join(f"{name} {list(array.shape)}" for name, array in left.items()) or "none"
            raise InputMismatch(
                f"nothing in {source} fits {what}'s input {end['name']!r} {list(end['shape'])}; it has: {have}",
                hint="take arrays of the same model, with the same input shapes",
            )
        del left[found[0]]
        placed[end["name"]] = cast(found[1], end, what, source)
    return placed


def cast(array: Array, end: dict[str, Any], what: str, source: str) -> Array:
    """The array in the end's dtype. Raises InputMismatch if that loses values."""
    if array.dtype.name == end["dtype"]:
        return array
    changed = array.astype(end["dtype"])
    lossless = np.dtype(end["dtype"]).kind == "f" or np.array_equal(changed.astype(array.dtype), array)
    if not lossless:
        raise InputMismatch(
            f"{what}'s input {end['name']!r} takes {end['dtype']}, which does not hold the {array.dtype.name} values of {source}",
            hint="take inputs of the dtype that it takes",
        )
    return changed


def fit(array: Array, shape: list[int], free: Collection[int] = ()) -> Array | None:
    """The array in that shape: as it is, with its channels moved last or first, or without axes of one; None if none of these.

    Args:
        array: any dtype.
        shape: wanted.
        free: axes of it that may have any size.
    """
    for turned in _turned(array):
        sizes = zip(turned.shape, shape, strict=False)
        if turned.ndim == len(shape) and all(a == b or axis in free for axis, (a, b) in enumerate(sizes)):
            return turned
    squeezed = [n for n in shape if n != 1]
    if [n for n in array.shape if n != 1] == squeezed:
        return array.reshape(shape)
    return None


def _turned(array: Array) -> Iterator[Array]:
    yield array
    if array.ndim >= 3:
        yield np.moveaxis(array, 1, -1)
        yield np.moveaxis(array, -1, 1)


def pair_outputs(wanted: Mapping[str, Array], found: Mapping[str, Array], what: str) -> Arrays:
    """A file's outputs under the reference's names and in its shapes.

    Raises:
        InputMismatch: the reference has an output that no output of the file fits.
    """
    left = dict(found)
    paired: Arrays = {}
    for name, array in wanted.items():
        names = [name] if name in left else list(left)
        match = next(
            ((own, fitted) for own in names if (fitted := fit(left[own], list(array.shape))) is not None), None
        )
        if match is None:
            have = ", ".join(f"{own} {list(each.shape)}" for own, each in left.items()) or "none"
            raise InputMismatch(
                f"no output of {what} fits the reference's {name!r} {list(array.shape)}; it has: {have}",
                hint="name a reference of the same model",
            )
        del left[match[0]]
        paired[name] = match[1]
    return paired
