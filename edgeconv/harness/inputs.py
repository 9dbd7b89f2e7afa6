"""Inputs for a measurement: the user's arrays, or random ones that follow what the manifest or the file itself says."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import InputMismatch, MeasurementError, UsageError
from edgeconv.harness.runtimes import Arrays
from edgeconv.source import InputSpec

SEED = 2000

#: What an input has besides the columns of a record.
_FREE = "free"

#: What an input that is named so holds, where neither manifest nor file tells.
_MASK = "mask"


def choose(artifact: Path, ends: list[dict[str, Any]], known: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """What each input of a file gets: a row with name, shape, dtype, low, high, and source, which says who decided that.

    Args:
        artifact: the file; a manifest.json of edgeconv beside it counts if it is about this file.
        ends: inputs as the runtime sees them.
        known: ranges that the graph itself implies, such as token ids within an embedding's rows.

    Raises:
        MeasurementError: an input's dtype is one that no array can be made for.
    """
    declared = _manifest(artifact)
    rows = []
    for end in ends:
        low, high, source = _range(end, declared.get(end["name"]), known.get(end["name"]))
        rows.append({**_columns(end), "low": low, "high": high, "source": source})
    return rows


def _range(end: dict[str, Any], declared: Any, known: Any) -> tuple[float | None, float | None, str]:
    try:
        dtype = np.dtype(end["dtype"])
    except TypeError:
        raise MeasurementError(
            f"the input {end['name']!r} is of type {end['dtype']}, for which edgeconv makes no data",
            hint="bring your own inputs with --inputs FILE.npz",
        ) from None
    fits = declared is not None and declared["dtype"] == end["dtype"] and len(declared["shape"]) == len(end["shape"])
    if fits and declared["range"]:
        return *declared["range"], "manifest"
    if dtype.kind in "iub" and _MASK in end["name"].lower():
        return 1, 1, "name: a mask of ones"
    if known is not None:
        return *known, "file: rows of the table that it indexes"
    if dtype.itemsize == 1 and dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max), "dtype: quantized values"
    if dtype.kind in "iub":
        return 0, 1, "dtype"
    return None, None, "manifest" if fits else "dtype: standard normal"


def _manifest(artifact: Path) -> dict[str, dict[str, Any]]:
    """Inputs by name of the manifest beside the file; empty where there is none, or it is about another file."""
    try:
        data = json.loads((artifact.parent / "manifest.json").read_text(encoding="utf-8"))
        if data["file"] != artifact.name:
            return {}
        return {entry["name"]: {"range": None, **entry} for entry in data["inputs"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def make(rows: list[dict[str, Any]]) -> Arrays:
    """Random arrays for the rows of `choose`; the same each time."""
    generator = np.random.default_rng(SEED)
    return {
        row["name"]: InputSpec(row["name"], tuple(row["shape"]), row["dtype"], row["low"], row["high"]).sample(
            generator
        )
        for row in rows
    }


def ends_of(runtime: Any) -> list[dict[str, Any]]:
    """Inputs of a prepared `Runtime`: name, shape, dtype, and free: the axes whose 1 in the shape stands for any size."""
    free = runtime.free()
    return [{**end, _FREE: free.get(end["name"], [])} for end in runtime.ends()["inputs"]]


def given(path: Path, ends: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Arrays]:
    """The user's arrays, and rows as `choose` makes them, with the arrays' own shapes. Raises as `read` does."""
    arrays = read(path, ends)
    about = {"low": None, "high": None, "source": f"user: {path.name}"}
    return [{**_columns(end), "shape": list(arrays[end["name"]].shape), **about} for end in ends], arrays


def _columns(end: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in end.items() if key != _FREE}


def read(path: Path, ends: list[dict[str, Any]]) -> Arrays:
    """The user's arrays, one an input.

    Args:
        path: `.npz` with arrays named as the inputs, or `.npy` where there is one input.
        ends: inputs as the runtime sees them, see `ends_of`.

    Raises:
        UsageError: no such file, or it is neither.
        InputMismatch: an input is missing, or an array's shape or dtype is not the input's; free axes may have any size.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="name a .npz or .npy file with --inputs")
    arrays = _load(path, ends)
    for end in ends:
        if end["name"] not in arrays:
            raise InputMismatch(
                f"{path.name} has no array {end['name']!r}; it has: {', '.join(arrays) or 'none'}",
                hint=f"save one array for each input: {', '.join(each['name'] for each in ends)}",
            )
        array = arrays[end["name"]]
        free = end.get(_FREE, [])
        wanted = [array.shape[axis] if axis in free and axis < array.ndim else n for axis, n in enumerate(end["shape"])]
        if list(array.shape) != wanted or array.dtype.name != end["dtype"]:
            told = ", ".join("any" if axis in free else str(n) for axis, n in enumerate(end["shape"]))
            raise InputMismatch(
                f"the array {end['name']!r} in {path.name} is {array.dtype.name}{list(array.shape)}, "
                f"the file takes {end['dtype']}[{told}]",
                hint="cast or reshape it",
            )
        if not array.size:
            raise InputMismatch(
                f"the array {end['name']!r} in {path.name} is empty: {list(array.shape)}",
                hint="every dimension is at least 1",
            )
    return {end["name"]: arrays[end["name"]] for end in ends}


def _load(path: Path, ends: list[dict[str, Any]]) -> Arrays:
    arrays = load_arrays(path)
    if path.suffix == ".npy":
        if len(ends) != 1:
            raise InputMismatch(
                f"{path.name} holds one array, the file has {len(ends)} inputs", hint="save them by name in a .npz"
            )
        return {ends[0]["name"]: next(iter(arrays.values()))}
    return arrays


def load_arrays(path: Path) -> Arrays:
    """The arrays of an `.npz` by name, or the one of an `.npy`. Raises UsageError if it holds none, or objects."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {path.stem: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} holds no plain arrays: {(str(error) or type(error).__name__).splitlines()[0]}",
            hint="write it with numpy.savez or numpy.save",
        ) from None


def declared_ranges(artifact: Path) -> dict[str, Any]:
    """Range by input of the manifest beside a file; None where it declares none."""
    return {name: entry["range"] for name, entry in _manifest(artifact).items()}


def write(path: Path, arrays: Arrays) -> None:
    """The file through which jobs get inputs."""
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
