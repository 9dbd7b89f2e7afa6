"""Which of two files is faster: paired blocks in fresh processes, interleaved at random, and an exact test of the ratios.

A round is four blocks, A B B A or B A A B by a coin. Each block is a process of its own that loads the file, warms up and
takes the median of its invokes. The four start together, then take turns: while one measures, the others wait. Of the four
medians' logarithms come two numbers:

    effect   (B + B − A − A) / 2, what B takes more than A; a linear drift of the machine cancels
    control  (first A − second A + second B − first B) / 2: the same blocks with the same weights, but each file against
             itself, so that it is 0 but for noise

The median of the effects over the rounds has an exact interval from the sign test (order statistics): it needs no
assumption on how the noise is distributed. The verdict waits until the interval lies wholly on one side of the margin.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Name = Literal["A", "B"]
Verdict = Literal["faster", "slower", "same", "inconclusive"]

#: Probability with which an interval misses the true median, over all looks of one comparison together.
ERROR = 0.05
#: Numbers of rounds at which the intervals are looked at. Each look gets an equal part of ERROR (Bonferroni).
LOOKS = (8, 12, 18, 27)
_ORDERS: tuple[tuple[Name, Name], ...] = (("A", "B"), ("B", "A"))
#: Differences up to this count as none.
MARGIN = 0.03


@dataclass(frozen=True)
class Interval:
    """Of a median.

    Attributes:
        low, median, high: logarithms of ratios.
        error: probability that the interval misses the true median.
    """

    low: float
    median: float
    high: float
    error: float


def sign_interval(values: Sequence[float], error: float) -> Interval | None:
    """The narrowest interval between two order statistics that misses the median with at most `error`; None if there is none.

    The number of values below the true median is binomial(n, ½). So [x₍ₖ₊₁₎, x₍ₙ₋ₖ₎] misses it with probability
    2 · P(Bin(n, ½) ≤ k), whatever the values' distribution.
    """
    ordered, count = sorted(values), len(values)
    tail, best = 0, None
    for k in range((count + 1) // 2):
        tail += math.comb(count, k)
        missed = 2 * tail / 2**count
        if missed > error:
            break
        best = (k, missed)
    if best is None:
        return None
    k, missed = best
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Interval(ordered[k], middle, ordered[count - 1 - k], missed)


def judge(effects: Interval | None, controls: Interval | None, margin: float) -> tuple[Verdict, str]:
    """What two intervals say, and why.

    A difference must be larger than the margin and than anything that the control shows between equal files: where the
    noise is large, the control's interval is wide, and so is what it takes to raise an alarm.

    Args:
        effects: of B against A.
        controls: of each file against itself.
        margin: as a fraction.
    """
    if effects is None or controls is None:
        return "inconclusive", "too few rounds for an interval"
    bound = math.log1p(margin)
    if controls.low > 0 or controls.high < 0:
        favour = f"the control finds {percent(controls.median)} between equal files: the machine favours a place"
        beyond = bound + 2 * max(controls.high, -controls.low)  # a difference that no such favour explains is one
        if effects.low > beyond or effects.high < -beyond:
            return (
                "slower" if effects.low > 0 else "faster",
                f"the whole interval lies beyond ±{margin:.1%} and {favour}",
            )
        return "inconclusive", favour
    if effects.low > max(bound, controls.high):
        return "slower", f"the whole interval lies above +{margin:.1%} and above the control's"
    if effects.high < min(-bound, controls.low):
        return "faster", f"the whole interval lies below −{margin:.1%} and below the control's"
    if -bound <= effects.low and effects.high <= bound:
        return "same", f"the whole interval lies within ±{margin:.1%}"
    return "inconclusive", f"the interval reaches over a margin of ±{margin:.1%}"


def percent(log_ratio: float) -> str:
    """A logarithm of a ratio as a change, such as +3.1 %."""
    return f"{math.expm1(log_ratio):+.1%}".replace("-", "−")


@dataclass(frozen=True)
class Block:
    """One process's measurement of one file.

    Attributes:
        file: "A" or "B".
        wall_ms, cpu_ms: medians over its invokes.
        mean_ms: mean wall time; never used for a verdict.
        runs: how many.
    """

    file: Name
    wall_ms: float
    cpu_ms: float
    mean_ms: float
    runs: int


@dataclass
class Paired:
    """The rounds so far.

    Attributes:
        rounds: of four blocks each, in the order in which they were run.
        one_thread: whether the runtime was told to use one thread.
        margin: see `judge`.
        looks: numbers of rounds after which to look.
    """

    one_thread: bool
    margin: float = MARGIN
    looks: tuple[int, ...] = LOOKS
    rounds: list[tuple[Block, ...]] = field(default_factory=list)

    @property
    def clock(self) -> Literal["wall", "cpu"]:
        """Whose times decide.

        One thread that computes takes as much wall time as CPU time, plus what it waited for a processor that others had,
        which says nothing of the file: so CPU time decides. Where CPU time exceeds wall time, the file brings threads of its
        own, and wall time decides, as it does for more threads than one.
        """
        alone = all(block.cpu_ms <= 1.05 * block.wall_ms for blocks in self.rounds for block in blocks)
        return "cpu" if self.one_thread and alone else "wall"

    def effects(self, clock: str | None = None) -> list[float]:
        """One logarithm a round: what B takes more than A."""
        return [self._contrast(blocks, clock, {"A": (-1, -1), "B": (1, 1)}) for blocks in self.rounds]

    def controls(self, clock: str | None = None) -> list[float]:
        """The same of each file against itself."""
        return [self._contrast(blocks, clock, {"A": (1, -1), "B": (-1, 1)}) for blocks in self.rounds]

    def interval(self, values: Sequence[float]) -> Interval | None:
        """At the error that one look may have."""
        return sign_interval(values, ERROR / len(self.looks))

    def verdict(self) -> tuple[Verdict, str]:
        """See `judge`."""
        return judge(self.interval(self.effects()), self.interval(self.controls()), self.margin)

    def _contrast(self, blocks: tuple[Block, ...], clock: str | None, weights: dict[str, tuple[int, int]]) -> float:
        total, seen = 0.0, {"A": 0, "B": 0}
        for block in blocks:
            total += weights[block.file][seen[block.file]] * math.log(getattr(block, f"{clock or self.clock}_ms"))
            seen[block.file] += 1
        return total / 2


def carry_out(
    run_round: Callable[[tuple[Name, ...]], tuple[Block, ...]], paired: Paired, seed: int, tell: Callable[[str], None]
) -> None:
    """Run rounds until a look gives a verdict, or the last look is over.

    Args:
        run_round: measures the files in the given order, each block in a fresh process.
        paired: gets the rounds.
        seed: of the coin.
        tell: told how far it is.
    """
    coin = random.Random(seed)  # noqa: S311 - no secret
    for number in range(1, paired.looks[-1] + 1):
        outer, inner = coin.choice(_ORDERS)
        tell(f"latency, round {number} of at most {paired.looks[-1]}")
        paired.rounds.append(run_round((outer, inner, inner, outer)))
        if number in paired.looks and paired.verdict()[0] != "inconclusive":
            return


def plain(paired: Paired) -> dict[str, Any]:
    """The comparison as plain data; ratios are B over A."""
    verdict, reason = paired.verdict()
    return {
        "verdict": verdict,
        "reason": reason,
        "clock": paired.clock,
        "margin": paired.margin,
        "rounds": len(paired.rounds),
        "effect": _ratio(paired.interval(paired.effects())),
        "effect_wall": _ratio(paired.interval(paired.effects("wall"))),
        "control": _ratio(paired.interval(paired.controls())),
        "p50_ms": {file: _median(paired, file) for file in ("A", "B")},
        "blocks": [[asdict(block) for block in blocks] for blocks in paired.rounds],
    }


def _median(paired: Paired, file: str) -> float:
    """Of a file's blocks, wall time."""
    return statistics.median(block.wall_ms for blocks in paired.rounds for block in blocks if block.file == file)


def _ratio(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {
        "low": math.exp(interval.low),
        "median": math.exp(interval.median),
        "high": math.exp(interval.high),
        "error": interval.error,
    }
