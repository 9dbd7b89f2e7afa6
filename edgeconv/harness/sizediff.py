"""Where the bytes went: two files part by part, attributed to layers, matched by content where names changed, to the byte."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.harness.parts import Array, Constant, Parts, take_apart

#: Points at which the sorted values of two constants are compared, and how far they may lie apart there on average, as a share
#: of the largest magnitude: 8-bit rounding is 0.4 %, float16 rounding far less.
_QUANTILES = 65
_NEAR = 0.01
#: Constants smaller than this have too little content to be told by it.
_TELLING = 8

Pair = tuple[Constant | None, Constant | None]


def diff(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job.

    Payload:
        a, b: {"path", "kind"} of the two files.

    Returns:
        a_bytes, b_bytes, change_bytes; found_bytes (all rows added up: equal to change_bytes); constants: rows whose bytes
        changed (layer, role, what, a, b: name, dtype, shape, bytes; change_bytes), the largest change first; unchanged: how
        many constants are equal, and how many of them under another name; ops and dtypes and rest: rows of name, counts or
        bytes of both, change_bytes.

    Raises:
        BrokenModelFile: a file is damaged.
    """
    a, b = (take_apart(Path(payload[side]["path"]), payload[side]["kind"]) for side in ("a", "b"))
    pairs = match(a.constants, b.constants)
    rows = [_row(old, new) for old, new in pairs]
    same = [(old, new) for old, new in pairs if old and new and old.digest == new.digest and old.dtype == new.dtype]
    changed = [row for row in rows if row["change_bytes"] or row["what"] != "unchanged"]
    ops, rest = _counters(a, b)
    found = sum(row["change_bytes"] for row in [*rows, *ops, *rest])
    return {
        "a_bytes": a.bytes,
        "b_bytes": b.bytes,
        "change_bytes": b.bytes - a.bytes,
        "found_bytes": found,
        "constants": sorted(changed, key=lambda row: (-abs(row["change_bytes"]), row["layer"])),
        "unchanged": len(same),
        "renamed": sum(old.name != new.name for old, new in same),
        "ops": ops,
        "dtypes": _dtypes(a, b),
        "rest": rest,
    }


def sizes(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: what one file consists of.

    Payload:
        path, kind.

    Returns:
        parts: rows of name (a constant's layer, an op's type), kind (a dtype, "ops" or "file") and bytes, which add up.
    """
    found = take_apart(Path(payload["path"]), payload["kind"])
    rows = [
        {"name": one.layer or one.name or one.role, "kind": one.dtype, "bytes": one.bytes} for one in found.constants
    ]
    rows += [{"name": name, "kind": "ops", "bytes": count} for name, count in found.ops.items()]
    rows += [{"name": name, "kind": "file", "bytes": count} for name, count in found.rest.items()]
    return {"parts": [row for row in rows if row["bytes"]]}


def match(a: list[Constant], b: list[Constant]) -> list[Pair]:
    """Constants of two files in pairs; None where one has no counterpart.

    In this order: same name and content; same content; same name and role, where that is unambiguous; same layer and role;
    same role and nearly the same values whatever the dtype and the order of the axes.
    """
    left, right = list(a), list(b)
    pairs: list[Pair] = []
    keys: list[Callable[[Constant], Hashable]] = [
        lambda c: (c.name, c.dtype, tuple(c.shape), c.digest),
        lambda c: (c.dtype, tuple(c.shape), c.digest, c.role),
        lambda c: (c.dtype, c.digest),
    ]
    for key in keys:
        pairs += _pair_off(left, right, key, ambiguous=True)
    for key in (lambda c: (c.name, c.role), lambda c: (c.layer, c.role)):
        pairs += _pair_off(left, right, key, ambiguous=False)
    pairs += _by_values(left, right)
    return [*pairs, *((one, None) for one in left), *((None, one) for one in right)]


def _pair_off(
    left: list[Constant], right: list[Constant], key: Callable[[Constant], Hashable], *, ambiguous: bool
) -> list[Pair]:
    """Take pairs with the same key out of both lists; `ambiguous`: also where several have it, in order."""
    groups: dict[Hashable, tuple[list[Constant], list[Constant]]] = defaultdict(lambda: ([], []))
    for side, constants in enumerate((left, right)):
        for one in constants:
            groups[key(one)][side].append(one)
    pairs: list[Pair] = []
    for olds, news in groups.values():
        if ambiguous or len(olds) == len(news) == 1:
            pairs += zip(olds, news, strict=False)
    _remove(left, (old for old, _ in pairs))
    _remove(right, (new for _, new in pairs))
    return pairs


def _remove(constants: list[Constant], gone: Iterable[Constant | None]) -> None:
    ids = {id(one) for one in gone}
    constants[:] = [one for one in constants if id(one) not in ids]


def _by_values(left: list[Constant], right: list[Constant]) -> list[Pair]:
    prints = {id(one): _print(one) for one in [*left, *right]}
    pairs: list[Pair] = []
    for old in list(left):
        mine = prints[id(old)]
        if mine is None:
            continue
        best, distance = None, _NEAR
        for new in right:
            other = prints[id(new)]
            if other is not None and old.role == new.role and mine[0] == other[0]:
                apart = float(np.abs(mine[1] - other[1]).mean())
                if apart < distance:
                    best, distance = new, apart
        if best is not None:
            pairs.append((old, best))
            _remove(left, [old])
            _remove(right, [best])
    return pairs


def _print(one: Constant) -> tuple[int, Array] | None:
    """How many values, and how they are distributed relative to the largest: whatever the scale, dtype and order of axes."""
    values = one.values()
    largest = float(np.abs(values).max(initial=0.0))
    if len(values) < _TELLING or not np.isfinite(largest) or largest == 0.0:
        return None
    return len(values), np.quantile(values / largest, np.linspace(0, 1, _QUANTILES))


def _row(old: Constant | None, new: Constant | None) -> dict[str, Any]:
    one = new or old
    assert one is not None
    change = (new.bytes if new else 0) - (old.bytes if old else 0)
    return {
        "layer": one.layer,
        "role": one.role,
        "what": _what(old, new),
        "a": None if old is None else _plain(old),
        "b": None if new is None else _plain(new),
        "change_bytes": change,
    }


def _what(old: Constant | None, new: Constant | None) -> str:
    if old is None or new is None:
        return "were added" if old is None else "are gone"
    told = []
    if old.dtype != new.dtype:
        told.append(f"became {new.dtype}")
    if math.prod(old.shape) != math.prod(new.shape):
        told.append(f"went from {old.shape} to {new.shape}")
    elif old.shape != new.shape:
        told.append(f"changed layout from {old.shape} to {new.shape}")
    if not told and old.digest != new.digest:
        told.append("have other values")
    if not told and old.name != new.name:
        told.append(f"are now called {new.name!r}")
    return " and ".join(told) or "unchanged"


def _plain(one: Constant) -> dict[str, Any]:
    return {"name": one.name, "dtype": one.dtype, "shape": one.shape, "bytes": one.bytes}


def _counters(a: Parts, b: Parts) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    ops = [
        {"name": name, "a": a.op_counts[name], "b": b.op_counts[name], "change_bytes": b.ops[name] - a.ops[name]}
        for name in sorted({*a.ops, *b.ops})
    ]
    rest = [
        {"name": name, "a": a.rest[name], "b": b.rest[name], "change_bytes": b.rest[name] - a.rest[name]}
        for name in sorted({*a.rest, *b.rest})
    ]
    return ops, rest


def _dtypes(a: Parts, b: Parts) -> list[dict[str, Any]]:
    """Bytes of constants by dtype; the same bytes as the constants' rows, seen otherwise."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for side, parts in enumerate((a, b)):
        for one in parts.constants:
            totals[one.dtype][side] += one.bytes
    return [
        {"name": name, "a": old, "b": new, "change_bytes": new - old} for name, (old, new) in sorted(totals.items())
    ]
