"""How close two tensors are. Pure numpy; everything is computed in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: Reported where outputs are equal to the last bit, so that JSON needs no infinity. Float32 ends near 150 dB.
SNR_CEILING = 200.0


def compare(reference: Array, other: Array) -> dict[str, Any]:
    """Closeness of one output to the reference's.

    Args:
        reference: any shape and numeric dtype.
        other: the same shape.

    Returns:
        max_abs_error, mean_abs_error, snr_db (signal power over error power, at most 200), cosine, nan, inf (counts in
        `other` that the reference does not have at the same place). Places where the reference is not finite are left
        out of the error.
    """
    a, b = reference.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    sound = np.isfinite(a)
    nan = int(np.isnan(b[sound]).sum())
    inf = int(np.isinf(b[sound]).sum())
    inf += int((b[np.isinf(a)] != a[np.isinf(a)]).sum())
    both = sound & np.isfinite(b)
    if sound.any() and not both.any():  # nothing is left to compare: the worst there is, not the best
        worst = float(np.abs(a[sound]).max())
        return {
            "max_abs_error": worst,
            "mean_abs_error": worst,
            "snr_db": -SNR_CEILING,
            "cosine": 0.0,
            "nan": nan,
            "inf": inf,
        }
    a, b = a[both], b[both]
    error = np.abs(a - b)
    return {
        "max_abs_error": float(error.max(initial=0.0)),
        "mean_abs_error": float(error.mean()) if error.size else 0.0,
        "snr_db": snr_db(a, b),
        "cosine": cosine(a, b),
        "nan": nan,
        "inf": inf,
    }


def snr_db(reference: Array, other: Array) -> float:
    """10 · log10(Σ reference² / Σ (reference − other)²), between −200 and 200 dB."""
    signal = float(np.square(reference.astype(np.float64)).sum())
    noise = float(np.square(reference.astype(np.float64) - other.astype(np.float64)).sum())
    return snr_of(signal, noise)


def snr_of(signal: float, noise: float) -> float:
    """The same from the two sums."""
    if noise == 0.0:
        return SNR_CEILING
    if signal == 0.0:
        return -SNR_CEILING
    return float(np.clip(10.0 * np.log10(signal / noise), -SNR_CEILING, SNR_CEILING))


def cosine(reference: Array, other: Array) -> float:
    """Cosine of the angle between two flat arrays; 1 where both are zero, 0 where one is."""
    a, b = reference.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0.0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float(np.clip(np.dot(a, b) / lengths, -1.0, 1.0))


def top1_agreement(reference: Array, other: Array) -> float:
    """Fraction of rows whose largest entry along the last axis stands at the same place; with NaN no entry is the largest."""
    sound = ~(np.isnan(reference).any(-1) | np.isnan(other).any(-1))
    return float((sound & (reference.argmax(-1) == other.argmax(-1))).mean())


def looks_like_logits(output: Array) -> bool:
    """Whether an output is [N, classes] floats."""
    return output.ndim == 2 and output.shape[1] > 1 and output.dtype.kind == "f"


def summarize(samples: list[tuple[Mapping[str, Array], Mapping[str, Array]]]) -> dict[str, Any]:
    """Closeness over several samples of several outputs.

    Args:
        samples: (reference outputs, other outputs) by name.

    Returns:
        The worst output's numbers at the top (each computed over all samples together), all outputs' under "outputs",
        and "top1_agreement" where the first output looks like logits.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name in samples[0][0]:
        reference = np.concatenate([ref[name].ravel() for ref, _ in samples])
        other = np.concatenate([out[name].ravel() for _, out in samples])
        rows[name] = compare(reference, other)
    worst = min(rows.values(), key=lambda row: row["snr_db"])
    result = {**worst, "samples": len(samples), "outputs": rows}
    result["max_abs_error"] = max(row["max_abs_error"] for row in rows.values())
    result["cosine"] = min(row["cosine"] for row in rows.values())
    result["nan"] = sum(row["nan"] for row in rows.values())
    result["inf"] = sum(row["inf"] for row in rows.values())
    first = next(iter(samples[0][0]))
    if looks_like_logits(samples[0][0][first]):
        agreements = [top1_agreement(ref[first], out[first]) for ref, out in samples]
        result["top1_agreement"] = float(np.mean(agreements))
    return result
