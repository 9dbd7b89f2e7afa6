"""A calibration set: real inputs, with labels or without, how they are preprocessed, and a digest of it all."""

from __future__ import annotations

import difflib
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeconv import fingerprint, tomlfile
from edgeconv.errors import CalibrationError
from edgeconv.paths import shipped

Array = npt.NDArray[Any]

#: Metrics of edgeconv's own, with the number of axes that their labels have.
BUILTIN_METRICS = {"top1": 1, "top5": 1, "cosine_retrieval": 1, "mean_iou": 3}


@dataclass(frozen=True)
class Labelled:
    """Inputs with labels.

    Attributes:
        input: name of the model's input.
        output: index of the output that is scored.
        inputs: preprocessed, [N, …]: one sample a row.
        labels: int64 [N] or [N, H, W], as the metrics want them; of any dtype for a metric of the user's.
        metrics: names in BUILTIN_METRICS, or "pkg.mod:function"; the first is the one that budgets are about.
        options: `ignore_label` for mean_iou.
    """

    input: str
    output: int
    inputs: Array
    labels: Array
    metrics: tuple[str, ...] = ("top1",)
    options: dict[str, Any] = field(default_factory=dict)


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
        """The steps from raw array to model input, for the manifest. Raises CalibrationError."""
        steps = self.content.get("preprocessing", [])
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise CalibrationError(
                f"{tomlfile.place(self.path, 'preprocessing')}: `preprocessing` must be a list of steps",
                hint="begin each step with [[preprocessing]]",
            )
        return list(steps)

    def labelled(self) -> Labelled:
        """Load, verify and preprocess the labelled part.

        Raises:
            CalibrationError: no labelled part, data changed, array absent, or labels that do not fit.
        """
        section = self.content.get("labelled")
        if not isinstance(section, dict):
            raise CalibrationError(f"{self.path} has no [labelled] section", hint="name input, array and labels in one")
        name, array, labels_name = (self._text(section, key) for key in ("input", "array", "labels"))
        output = section.get("output", 0)
        if not isinstance(output, int) or output < 0:
            raise CalibrationError(
                f"{tomlfile.place(self.path, 'labelled.output')}: `output` is {output!r}",
                hint="write an output's index",
            )
        metrics, options = self.metrics(), {}
        if "ignore_label" in section:
            options["ignore_label"] = self._whole(section, "ignore_label")
        raw, labels = self._array(array), self._array(labels_name)
        self._check_labels(metrics, array, raw, labels)
        inputs = preprocess(raw, self.preprocessing(), str(self.path))
        integers = labels.dtype.kind in "iu"
        return Labelled(name, output, inputs, labels.astype(np.int64) if integers else labels, metrics, options)

    def metrics(self) -> tuple[str, ...]:
        """The metrics of the labelled part, the first one first. Raises CalibrationError."""
        section = self.content.get("labelled")
        found = section.get("metric", "top1") if isinstance(section, dict) else "top1"
        names = [found] if isinstance(found, str) else found
        place = tomlfile.place(self.path, "labelled.metric")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise CalibrationError(f"{place}: `metric` is {found!r}", hint='write "top1", or a list of such names')
        for name in names:
            if name not in BUILTIN_METRICS and not re.fullmatch(r"[\w.]+:\w+", name):
                near = difflib.get_close_matches(name, BUILTIN_METRICS, n=1)
                known = f"known: {', '.join(BUILTIN_METRICS)}, or a function as pkg.mod:function"
                raise CalibrationError(
                    f"{place}: there is no metric {name!r}", hint=f"did you mean {near[0]!r}?" if near else known
                )
        return tuple(dict.fromkeys(names))

    def _check_labels(self, metrics: tuple[str, ...], array: str, raw: Array, labels: Array) -> None:
        wanted = {BUILTIN_METRICS[name] for name in metrics if name in BUILTIN_METRICS}
        fits = labels.ndim >= 1 and all(labels.ndim == axes for axes in wanted)
        if raw.ndim < 1 or not fits or len(raw) != len(labels) or not len(raw):
            form = " or ".join("a class map" if axes == 3 else "one label" for axes in sorted(wanted)) or "labels"
            raise CalibrationError(
                f"{self.path}: the array {array!r} has the shape {raw.shape}, its labels {labels.shape}",
                hint=f"{form} for each of at least one sample",
            )
        if wanted and labels.dtype.kind not in "iu":
            raise CalibrationError(f"{self.path}: the labels are {labels.dtype}", hint="labels are integers from 0")
        self._check_negative(metrics, labels)

    def _check_negative(self, metrics: tuple[str, ...], labels: Array) -> None:
        """Classes count from 0; only what retrieval looks for may be any number."""
        ignored = self.content["labelled"].get("ignore_label") if "mean_iou" in metrics else None
        counted = labels if ignored is None else labels[labels != ignored]
        if {"top1", "top5", "mean_iou"} & set(metrics) and counted.min(initial=0) < 0:
            raise CalibrationError(
                f"{self.path}: the labels go down to {counted.min()}",
                hint="labels are integers from 0; for mean_iou, `ignore_label` names one that does not count",
            )

    def _whole(self, section: dict[str, Any], key: str) -> int:
        value = section[key]
        if not isinstance(value, int) or isinstance(value, bool):
            raise CalibrationError(
                f"{tomlfile.place(self.path, f'labelled.{key}')}: `{key}` is {value!r}", hint="write a whole number"
            )
        return value

    def verify(self) -> None:
        """The data is what the TOML says. Raises CalibrationError."""
        wanted = self.content["data"].get("sha256")
        if not self.data.is_file():
            raise CalibrationError(
                f"{self.path} names the data file {self.data}, which is not there", hint="put it beside the TOML"
            )
        if wanted and fingerprint.of_file(self.data) != wanted:
            raise CalibrationError(
                f"{self.data} has changed since {self.path.name} was written (its sha256 differs)",
                hint="restore the file, or update sha256 in the TOML",
            )

    def _text(self, section: dict[str, Any], key: str) -> str:
        value = section.get(key)
        if not isinstance(value, str):
            raise CalibrationError(
                f"{tomlfile.place(self.path, f'labelled.{key}')}: [labelled] needs a name in `{key}`",
                hint="it names input, array and labels",
            )
        return value

    def _array(self, name: str) -> Array:
        try:
            with np.load(self.data, allow_pickle=False) as arrays:
                if name not in arrays:
                    raise CalibrationError(
                        f"{self.data} has no array {name!r}", hint=f"it has: {', '.join(arrays.files)}"
                    )
                found: Array = arrays[name]
        except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise CalibrationError(
                f"{self.data} is no .npz file of plain arrays, or is truncated", hint="write it with numpy.savez"
            ) from error
        return found


def load(name: str, base: Path) -> CalibrationSet:
    """The set called `name` in `./calibration` or among the shipped ones, or the file that `name` is a path to.

    Raises:
        CalibrationError: there is none, or it is broken.
    """
    places = [base / name, base / "calibration" / f"{name}.toml", shipped("calibration") / f"{name}.toml"]
    path = next((place for place in places if place.suffix == ".toml" and place.is_file()), None)
    if path is None:
        known = {p.stem for place in places[1:] if place.parent.is_dir() for p in place.parent.glob("*.toml")}
        near = difflib.get_close_matches(name, known, n=1)
        raise CalibrationError(
            f"there is no calibration set {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"looked for {places[1]} and {places[2]}",
        )
    content = tomlfile.read(path, CalibrationError)
    data = content.get("data")
    file = data.get("file") if isinstance(data, dict) else None
    if not isinstance(file, str):
        raise CalibrationError(
            f"{tomlfile.place(path, 'data')}: there is no data file", hint='write file = "NAME.npz" in [data]'
        )
    return CalibrationSet(path.stem, path, path.parent / file, fingerprint.of_data(content), content)


def preprocess(batch: Array, steps: list[dict[str, Any]], where: str) -> Array:
    """Apply the declared steps to a batch.

    Args:
        batch: raw data, [N, …].
        steps: `scale` (x · factor + offset, float32), `resize` (of the last two axes), `transpose`, `reshape`.
        where: file, for messages.

    Raises:
        CalibrationError: a step that is not known, or does not fit.
    """
    for step in steps:
        op = step.get("op")
        apply = _STEPS.get(str(op))
        if apply is None:
            raise CalibrationError(f"{where}: unknown preprocessing {op!r}", hint=f"known: {', '.join(_STEPS)}")
        try:
            batch = apply(batch, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"needs {error}" if isinstance(error, KeyError) else str(error).strip()
            raise CalibrationError(
                f"{where}: the preprocessing {op!r} does not fit an array of shape {batch.shape}: {what}",
                hint="compare its options with the data's shape",
            ) from error
    return np.ascontiguousarray(batch)


def _scale(batch: Array, step: dict[str, Any]) -> Array:
    return batch.astype(np.float32) * np.float32(step["factor"]) + np.float32(step.get("offset", 0.0))


def _resize(batch: Array, step: dict[str, Any]) -> Array:
    if step.get("mode", "bilinear") != "bilinear":
        raise ValueError(f"the mode {step['mode']!r} is not known, only 'bilinear'")
    height, width = (int(size) for size in step["size"])
    if height < 1 or width < 1:
        raise ValueError(f"the size {step['size']} is empty")
    return resize_bilinear(batch, height, width)


_STEPS: dict[str, Callable[[Array, dict[str, Any]], Array]] = {
    "scale": _scale,
    "resize": _resize,
    "transpose": lambda batch, step: batch.transpose(step["axes"]),
    "reshape": lambda batch, step: batch.reshape(step["shape"]),
}


def resize_bilinear(batch: Array, height: int, width: int) -> Array:
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
