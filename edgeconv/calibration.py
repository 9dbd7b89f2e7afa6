"""A calibration set: real inputs, with labels or without, how they are preprocessed, and a digest of it all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeconv import fingerprint, tomlfile
from edgeconv.errors import CalibrationError
from edgeconv.paths import shipped

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Labelled:
    """Inputs with labels.

    Attributes:
        input: name of the model's input.
        output: index of the output that holds the logits.
        inputs: preprocessed, [N, …]: one sample a row.
        labels: int64 [N].
    """

    input: str
    output: int
    inputs: Array
    labels: Array


@dataclass(frozen=True)
class CalibrationSet:
    """A parsed calibration file.

    Attributes:
        name: the file's stem.
        path: the TOML file.
        data: the `.npz` beside it.
        digest: of the TOML and, through the digest that stands in it, of the data.
        content: the TOML as plain data.
    """

    name: str
    path: Path
    data: Path
    digest: str
    content: dict[str, Any]

    def preprocessing(self) -> list[dict[str, Any]]:
        """The steps from raw array to model input, for the manifest."""
        return list(self.content.get("preprocessing", []))

    def labelled(self) -> Labelled:
        """Load, verify and preprocess the labelled part.

        Raises:
            CalibrationError: no labelled part, data changed, array absent, or labels that do not fit.
        """
        section = self.content.get("labelled")
        if not section:
            raise CalibrationError(f"{self.path} has no [labelled] section")
        raw, labels = self._array(section["array"]), self._array(section["labels"])
        if len(raw) != len(labels):
            raise CalibrationError(f"{self.path}: {len(raw)} inputs but {len(labels)} labels")
        inputs = preprocess(raw, self.preprocessing(), str(self.path))
        return Labelled(section["input"], int(section.get("output", 0)), inputs, labels.astype(np.int64))

    def verify(self) -> None:
        """The data is what the TOML says. Raises CalibrationError."""
        wanted = self.content["data"].get("sha256")
        if not self.data.is_file():
            raise CalibrationError(f"{self.path} names the data file {self.data}, which is not there")
        if wanted and fingerprint.of_file(self.data) != wanted:
            raise CalibrationError(
                f"{self.data} has changed since {self.path.name} was written (its sha256 differs)",
                hint="restore the file, or update sha256 in the TOML",
            )

    def _array(self, name: str) -> Array:
        with np.load(self.data, allow_pickle=False) as arrays:
            if name not in arrays:
                raise CalibrationError(f"{self.data} has no array {name!r}", hint=f"it has: {', '.join(arrays.files)}")
            found: Array = arrays[name]
            return found


def load(name: str, base: Path) -> CalibrationSet:
    """The set called `name` in `./calibration` or among the shipped ones, or the file that `name` is a path to.

    Raises:
        CalibrationError: there is none, or it is broken.
    """
    places = [base / name, base / "calibration" / f"{name}.toml", shipped("calibration") / f"{name}.toml"]
    path = next((place for place in places if place.suffix == ".toml" and place.is_file()), None)
    if path is None:
        raise CalibrationError(f"there is no calibration set {name!r}", hint=f"looked for {places[1]} and {places[2]}")
    content = tomlfile.read(path, CalibrationError)
    file = content.get("data", {}).get("file")
    if not isinstance(file, str):
        raise CalibrationError(f"{path} has no [data] file")
    return CalibrationSet(path.stem, path, path.parent / file, fingerprint.of_data(content), content)


def preprocess(batch: Array, steps: list[dict[str, Any]], where: str) -> Array:
    """Apply the declared steps to a batch.

    Args:
        batch: raw data, [N, …].
        steps: `scale` (x · factor + offset, float32), `resize` (of the last two axes), `transpose`, `reshape`.
        where: file, for messages.

    Raises:
        CalibrationError: a step that is not known.
    """
    for step in steps:
        op = step.get("op")
        if op == "scale":
            batch = batch.astype(np.float32) * np.float32(step["factor"]) + np.float32(step.get("offset", 0.0))
        elif op == "resize":
            batch = _resize_bilinear(batch, int(step["size"][0]), int(step["size"][1]))
        elif op == "transpose":
            batch = batch.transpose(step["axes"])
        elif op == "reshape":
            batch = batch.reshape(step["shape"])
        else:
            raise CalibrationError(
                f"{where}: unknown preprocessing {op!r}", hint="known: scale, resize, transpose, reshape"
            )
    return np.ascontiguousarray(batch)


def _resize_bilinear(batch: Array, height: int, width: int) -> Array:
    """Bilinear over the last two axes with half-pixel centres and clamped edges."""

    def weights(size: int, out: int) -> Array:
        at = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
        low = np.minimum(at.astype(int), size - 1)
        high = np.minimum(low + 1, size - 1)
        matrix = np.zeros((out, size))
        np.add.at(matrix, (np.arange(out), low), 1 - (at - low))
        np.add.at(matrix, (np.arange(out), high), at - low)
        return matrix

    rows, columns = weights(batch.shape[-2], height), weights(batch.shape[-1], width)
    return (rows @ batch.astype(np.float64) @ columns.T).astype(np.float32)
