"""How well a model does on a labelled set, with the uncertainty that a small set leaves. Pure numpy.

A metric gives each sample what it contributes and puts contributions together. Resampling the samples then gives
intervals, and resampling them for two models at once gives that of the drop, in which what both get wrong cancels.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeconv.calibration import BUILTIN_METRICS
from edgeconv.errors import CalibrationError

Array = npt.NDArray[Any]

CONFIDENCE = 0.95
#: Resamples for an interval; a user's function is called once for each, where it gives one number for the whole set.
RESAMPLES = 2000
RESAMPLES_OF_USER = 200
_SEED = 0
#: Bytes that the indices of one batch of resamples may take.
_BATCH = 64_000_000


@dataclass(frozen=True)
class Scores:
    """What each sample contributes.

    Attributes:
        parts: [N, …], one row a sample.
        total: from the mean of some rows to the metric.
        proportion: whether rows are 0 or 1 and the metric their mean: then Wilson's interval is exact enough.
        whole: instead of `total`, a user's function of some samples' numbers; None otherwise.
    """

    parts: Array
    total: Callable[[Array], Array]
    proportion: bool = False
    whole: Callable[[Array], float] | None = None

    def value(self) -> float:
        """The metric over all samples."""
        if self.whole is not None:
            return self.whole(np.arange(len(self.parts)))
        return float(self.total(self.parts.mean(axis=0)))

    def resampled(self, indices: Array) -> Array:
        """The metric of each resample. indices: [R, N]. Returns float64 [R]."""
        if self.whole is not None:
            return np.array([self.whole(row) for row in indices])
        counts = np.zeros((len(indices), len(self.parts)))
        for row, drawn in zip(counts, indices, strict=True):
            np.add.at(row, drawn, 1.0)
        flat = self.parts.reshape(len(self.parts), -1).astype(np.float64)
        means = (counts @ flat / len(self.parts)).reshape(len(indices), *self.parts.shape[1:])
        return np.asarray(self.total(means), np.float64)


def top_k(outputs: Array, labels: Array, k: int) -> Scores:
    """1 where the label is among the k largest logits; 0 where any logit is NaN, since then none is the largest.

    Args:
        outputs: [N, classes] after flattening.
        labels: int [N].
        k: how many count.

    Raises:
        CalibrationError: a label is no class.
    """
    logits = outputs.reshape(len(outputs), -1)
    check_labels(labels, logits.shape[1])
    chosen = np.take_along_axis(logits, labels[:, None], axis=1)
    # a class of the same logit counts as before the label only if its number is smaller, as argmax has it
    before = (logits > chosen) | ((logits == chosen) & (np.arange(logits.shape[1]) < labels[:, None]))
    right = (before.sum(axis=1) < k) & ~np.isnan(logits).any(axis=1)
    return Scores(right.astype(np.float64), lambda mean: mean, proportion=True)


def check_labels(labels: Array, classes: int | None, ignore: int | None = None) -> None:
    """Raises CalibrationError for a label that is no class.

    Args:
        labels: int, any shape.
        classes: how many there are; None: not known.
        ignore: a label that does not count, or None.
    """
    counted = labels if ignore is None else labels[labels != ignore]
    hint = "check `output` and `labels` in the [labelled] section"
    if ignore is None and labels.ndim > 1:
        hint += ", or name the label that does not count in `ignore_label`"
    if counted.min(initial=0) < 0:
        raise CalibrationError(f"the labels go down to {counted.min()}, classes count from 0", hint=hint)
    if classes is not None and counted.max(initial=0) >= classes:
        raise CalibrationError(f"the labels go up to {counted.max()}, the output has {classes} classes", hint=hint)


def class_map(logits: Array, axis: int) -> Array:
    """The class of the largest logit along an axis, int32; -1, which is no class, where a logit is NaN."""
    return np.where(np.isnan(logits).any(axis=axis), -1, logits.argmax(axis=axis)).astype(np.int32)


def mean_iou(outputs: Array, labels: Array, ignore: int | None) -> Scores:
    """Intersection over union, averaged over the classes that occur.

    Args:
        outputs: [N, classes, H, W] logits, or [N, H, W] integer classes.
        labels: int [N, H, W].
        ignore: a label that does not count, or None.

    Raises:
        CalibrationError: the map is not of the labels' size, or a label is no class.
    """
    is_map = outputs.dtype.kind in "iu" and outputs.ndim == labels.ndim
    predicted = outputs if is_map else class_map(outputs, 1)
    if predicted.shape != labels.shape:
        raise CalibrationError(
            f"the output gives a class map of {list(predicted.shape[1:])}, the labels are {list(labels.shape[1:])}",
            hint="store the labels at the output's size",
        )
    check_labels(labels, None if is_map else outputs.shape[1], ignore)
    kept = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    classes = int(max(predicted.max(initial=0), labels[kept].max(initial=0))) + 1
    parts = np.zeros((len(labels), 2, classes))
    for row, found, wanted, counts in zip(parts, predicted, labels, kept, strict=True):
        hits = np.bincount(wanted[counts & (found == wanted)], minlength=classes)
        row[0] = hits
        row[1] = (
            np.bincount(found[counts & (found >= 0)], minlength=classes)
            + np.bincount(wanted[counts], minlength=classes)
            - hits
        )
    return Scores(parts, _mean_iou)


def _mean_iou(mean: Array) -> Array:
    hits, union = mean[..., 0, :], mean[..., 1, :]
    occurs = union > 0
    ratios = np.divide(hits, union, out=np.zeros_like(hits), where=occurs)
    return np.asarray(ratios.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def cosine_retrieval(outputs: Array, labels: Array) -> Scores:
    """1 where a sample's nearest other one, by the cosine of their embeddings, has its label (recall at 1).

    Samples whose label no other one has cannot be found and do not count. One whose embedding holds NaN or Inf finds nothing.
    """
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
        near = flat @ flat.T
    near[~np.isfinite(near)] = -np.inf
    np.fill_diagonal(near, -np.inf)
    findable = (labels[:, None] == labels[None, :]).sum(axis=1) > 1
    if not findable.any():
        raise CalibrationError(
            "every label of the set occurs once: there is nothing to retrieve", hint="label at least two samples alike"
        )
    found = (labels[near.argmax(axis=1)] == labels) & np.isfinite(near.max(axis=1))
    return Scores(found[findable].astype(np.float64), lambda mean: mean, proportion=True)


def of_user(reference: str, base: Path, outputs: Array, labels: Array) -> Scores:
    """Scores by a user's function `pkg.mod:metric` of (outputs, labels), which gives one number a sample, or one in all.

    Raises:
        CalibrationError: it cannot be imported, raises, or gives something else.
    """
    function = _import(reference, base)
    found = _called(function, reference, outputs, labels)
    if found.shape == (len(labels),):
        return Scores(found, lambda mean: mean)
    if found.shape != ():
        raise CalibrationError(
            f"the metric {reference} gives an array of the shape {list(found.shape)} for {len(labels)} samples",
            hint="return one number a sample, or one number",
        )
    return Scores(
        np.zeros(len(labels)),
        lambda mean: mean,
        whole=lambda chosen: float(_called(function, reference, outputs[chosen], labels[chosen])),
    )


def _import(reference: str, base: Path) -> Callable[[Array, Array], Any]:
    module, _, name = reference.partition(":")
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise CalibrationError(
            f"the metric {reference} cannot be imported: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
            hint="name a function as pkg.mod:function, importable from the folder that edgeconv runs in",
        ) from error
    if not callable(found):
        raise CalibrationError(f"the metric {reference} is no function", hint="name a function of (outputs, labels)")
    checked: Callable[[Array, Array], Any] = found
    return checked


def _called(function: Callable[[Array, Array], Any], reference: str, outputs: Array, labels: Array) -> Array:
    try:
        found = np.asarray(function(outputs, labels), np.float64)
    except Exception as error:
        raise CalibrationError(
            f"the metric {reference} raised {type(error).__name__}: {(str(error) or 'no message').splitlines()[0][:200]}",
            hint="it gets the outputs [N, …] and the labels [N, …] as numpy arrays",
        ) from error
    if not np.isfinite(found).all():
        raise CalibrationError(f"the metric {reference} gives NaN or Inf", hint="return finite numbers")
    return found


def score(metric: str, outputs: Array, labels: Array, options: Mapping[str, Any], base: Path) -> Scores:
    """The scores of a metric by its name in the calibration TOML. Raises CalibrationError."""
    if metric in {"top1", "top5"}:
        return top_k(outputs, labels, int(metric[3:]))
    if metric == "mean_iou":
        return mean_iou(outputs, labels, options.get("ignore_label"))
    if metric == "cosine_retrieval":
        return cosine_retrieval(outputs, labels)
    assert metric not in BUILTIN_METRICS
    return of_user(metric, base, outputs, labels)


def evaluate(
    metrics: Sequence[str], reference: Array, found: Array, labels: Array, options: Mapping[str, Any], base: Path
) -> list[dict[str, Any]]:
    """Each metric for the reference and for another model, and the drop between them.

    Args:
        metrics: names, or "pkg.mod:function".
        reference: outputs of the original model, [N, …].
        found: of the other model, the same shape.
        labels: [N, …].
        options: of the [labelled] section.
        base: folder that a user's function is imported from.

    Returns:
        One row a metric: metric, samples, reference and found (each value, ci_low, ci_high), method of their
        intervals, drop (value, ci_low, ci_high: reference − found, by bootstrap paired by sample).
    """
    rows = []
    for metric in metrics:
        a, b = (score(metric, outputs, labels, options, base) for outputs in (reference, found))
        indices = _indices(len(a.parts), RESAMPLES if a.whole is None else RESAMPLES_OF_USER)
        drawn_a, drawn_b = (_resampled(scores, indices) for scores in (a, b))
        row: dict[str, Any] = {"metric": metric, "samples": len(a.parts)}
        row["method"] = "wilson" if a.proportion else "bootstrap"
        for name, scores, drawn in (("reference", a, drawn_a), ("found", b, drawn_b)):
            value = scores.value()
            low, high = wilson(value, len(scores.parts)) if scores.proportion else _quantiles(drawn)
            row[name] = {"value": value, "ci_low": low, "ci_high": high}
        low, high = _quantiles(drawn_a - drawn_b)
        row["drop"] = {"value": row["reference"]["value"] - row["found"]["value"], "ci_low": low, "ci_high": high}
        rows.append(row)
    return rows


def _indices(samples: int, resamples: int) -> Array:
    return np.random.default_rng(_SEED).integers(0, samples, (resamples, samples))


def _resampled(scores: Scores, indices: Array) -> Array:
    """In batches: a set of many samples need not have all resamples in memory at once."""
    step = max(1, _BATCH // (8 * indices.shape[1]))
    return np.concatenate([scores.resampled(indices[at : at + step]) for at in range(0, len(indices), step)])


def _quantiles(drawn: Array) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def wilson(proportion: float, samples: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion; unlike the normal one it is right near 0 and 1 (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    centre = proportion + z * z / (2 * samples)
    spread = z * ((proportion * (1 - proportion) + z * z / (4 * samples)) / samples) ** 0.5
    scale = 1 + z * z / samples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
