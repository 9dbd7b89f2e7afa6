"""What a series of times says, and how far it can be trusted. Pure numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]

#: Of every interval that is reported.
CONFIDENCE = 0.95
#: Percentiles that are reported where the samples support them.
PERCENTILES = (50, 90, 95, 99)
#: Limit on the numbers that the bootstrap draws in all: about a second of work.
_DRAWS = 10_000_000
#: Consecutive samples resemble each other, so the bootstrap draws this many blocks of neighbours, not single samples.
_BLOCKS = 60
#: Segments in which a series is looked at for a drift.
_SEGMENTS = 12
#: A change smaller than this, of the median, is no drift and no second mode.
_NOTABLE = 0.03


def summarize(milliseconds: Times) -> dict[str, Any]:
    """Numbers of a series of times in the order in which they were taken, all in ms.

    Returns:
        min_ms, mean_ms, mad_ms (median absolute deviation), p50_ms, and p90_ms, p95_ms, p99_ms, which are None where the
        samples are too few for them; ci_low_ms and ci_high_ms of the median; runs.
    """
    found: dict[str, Any] = {"min_ms": float(milliseconds.min()), "mean_ms": float(milliseconds.mean())}
    for percent in PERCENTILES:
        enough = percent == 50 or len(milliseconds) >= needed(percent)
        found[f"p{percent}_ms"] = float(np.percentile(milliseconds, percent)) if enough else None
    found["mad_ms"] = float(np.median(np.abs(milliseconds - found["p50_ms"])))
    found["ci_low_ms"], found["ci_high_ms"] = bootstrap_median(milliseconds)
    return {**found, "runs": len(milliseconds)}


def needed(percent: float) -> int:
    """Least number of samples at which a percentile has a distribution-free upper bound among them.

    The largest of n samples lies above the percentile p with probability 1 − pⁿ; that is to be at least 97.5 %, the
    upper end of a two-sided interval of 95 %: 36 samples for p90, 72 for p95, 368 for p99.
    """
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(percent / 100))


def bootstrap_median(times: Times, seed: int = 0) -> tuple[float, float]:
    """Interval of the median by a block bootstrap (percentile method); blocks of neighbours keep what they share."""
    length = math.ceil(len(times) / _BLOCKS)
    count = len(times) // length
    blocks = times[len(times) - count * length :].reshape(count, length)
    draws = int(np.clip(_DRAWS // len(times), 200, 1000))
    generator = np.random.default_rng(seed)
    medians = np.concatenate(
        [
            np.median(blocks[generator.integers(0, count, (step, count))].reshape(step, -1), axis=1)
            for step in [
                min(50, draws - done) for done in range(0, draws, 50)
            ]  # a part of them at once bounds the memory
        ]
    )
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def drift(times: Times) -> float:
    """Relative change of the level from the first to the last sample; 0 where no trend is sure.

    Mann and Kendall's test on the medians of consecutive segments at p < 0.001, and Theil and Sen's slope.
    """
    if len(times) < 3 * _SEGMENTS:
        return 0.0
    medians = np.array([np.median(part) for part in np.array_split(times, _SEGMENTS)])
    first, second = np.triu_indices(_SEGMENTS, 1)
    score = int(np.sign(medians[second] - medians[first]).sum())
    deviation = math.sqrt(_SEGMENTS * (_SEGMENTS - 1) * (2 * _SEGMENTS + 5) / 18)
    if (abs(score) - 1) / deviation < 3.29:  # two-sided 0.001 of the normal distribution
        return 0.0
    slope = float(np.median((medians[second] - medians[first]) / (second - first)))
    change = slope * (_SEGMENTS - 1) / float(np.median(medians))
    return change if abs(change) >= _NOTABLE else 0.0


def two_modes(times: Times) -> tuple[float, float, float] | None:
    """Low mode, high mode and the share of the smaller one, where times fall into two groups that stand apart.

    The sorted series is split where the variance within the halves is least (Otsu). The halves count as modes if
    each holds a tenth of the samples, they lie more than 5 % apart, and Ashman's D exceeds 4 (2 is its usual bound; a
    uniform distribution cut in half has 3.5).
    """
    ordered = np.sort(times)
    ordered = ordered[: max(1, math.ceil(len(ordered) * 0.98))]  # outliers are no mode
    count = len(ordered)
    if count < 30:
        return None
    at = np.arange(math.ceil(count * 0.1), count - math.ceil(count * 0.1))
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    left, right = at, count - at
    within = squares[-1] - sums[at - 1] ** 2 / left - (sums[-1] - sums[at - 1]) ** 2 / right
    cut = int(at[np.argmin(within)])
    low, high = ordered[:cut], ordered[cut:]
    gap = float(np.median(high) - np.median(low))
    spread = math.sqrt(float(low.var() + high.var()) / 2)
    if gap <= 0.05 * float(np.median(low)) or gap <= 4 * spread:
        return None
    return float(np.median(low)), float(np.median(high)), min(cut, count - cut) / count


def trust(milliseconds: Times, conditions: dict[str, Any]) -> dict[str, Any]:
    """Whether a series may be quoted, and if not, why not.

    Args:
        milliseconds: in the order in which they were taken.
        conditions: settled (bool), waited, stolen (shares of the time, 0 to 1).

    Returns:
        trusted, and reasons: kind ("not settled", "drift", "bimodal", "host busy", "stolen CPU", "few samples") and text.
    """
    reasons = []

    def doubt(kind: str, text: str) -> None:
        reasons.append({"kind": kind, "text": text})

    if not conditions["settled"]:
        doubt("not settled", "the times did not settle during the warm-up")
    change = drift(milliseconds)
    if change:
        doubt("drift", f"the times {'rise' if change > 0 else 'fall'} by {abs(change):.1%} from first to last")
    modes = two_modes(milliseconds)
    if modes:
        doubt(
            "bimodal",
            f"two groups of times, at {modes[0]:.3g} ms and {modes[1]:.3g} ms ({modes[2]:.0%} in the smaller)",
        )
    if conditions["waited"] > 0.05:
        doubt(
            "host busy", f"the process waited {conditions['waited']:.0%} of the time for a processor that others used"
        )
    if conditions["stolen"] > 0.01:
        doubt("stolen CPU", f"the hypervisor took {conditions['stolen']:.1%} of the processors' time")
    if len(milliseconds) < needed(50):
        doubt("few samples", f"{len(milliseconds)} runs are too few for an interval")
    return {"trusted": not reasons, "reasons": reasons}
