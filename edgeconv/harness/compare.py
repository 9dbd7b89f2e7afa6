"""Holds two files against each other: which is faster. Size and fidelity have modules of their own."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeconv.harness import pairing
from edgeconv.harness.bench import Options, Tell, feed, in_turns, job, version_of
from edgeconv.harness.files import ModelFile

#: Of each block. Short blocks in many processes beat long ones in few: what differs from process to process (where memory
#: comes to lie) and from second to second (other load) is larger than the noise within a block.
WARM_UP_SECONDS = 0.05
BLOCK_SECONDS = 0.1
BLOCK_RUNS = 9


@dataclass(frozen=True)
class Side:
    """One of the two files.

    Attributes:
        file: what to measure.
        runtime: in which.
    """

    file: ModelFile
    runtime: str


@dataclass(frozen=True)
class PairOptions:
    """How two files are timed against each other.

    Attributes:
        bench: as for one file; min_runs and min_seconds are of one block.
        margin: differences up to this fraction count as none.
        warm_up_seconds: of one block.
        rounds: at most; looks beyond are left out.
        seed: of the order's coin; None: another one each time.
    """

    bench: Options = Options(min_runs=BLOCK_RUNS, min_seconds=BLOCK_SECONDS)  # noqa: RUF009 - frozen
    margin: float = pairing.MARGIN
    warm_up_seconds: float = WARM_UP_SECONDS
    rounds: int = pairing.LOOKS[-1]
    seed: int | None = None


def latency(sides: dict[str, Side], options: PairOptions, folder: Path, tell: Tell) -> dict[str, Any]:
    """Time A and B in turns; see `pairing`.

    Args:
        sides: by "A" and "B".
        options: how.
        folder: scratch.
        tell: told how far it is.

    Returns:
        `pairing.plain`, with seed, runtime by file, and confinement.

    Raises:
        StageTimeout, OutOfMemory, StageCrashed, MeasurementError: a block failed; the message says of which file.
    """
    bench = options.bench
    payloads = {name: _payload(side, options, folder) for name, side in sides.items()}

    def run_round(order: tuple[pairing.Name, ...]) -> tuple[pairing.Block, ...]:
        return tuple(
            pairing.Block(name, **found)
            for name, found in zip(order, in_turns([payloads[name] for name in order], bench, folder), strict=True)
        )

    looks = (*(look for look in pairing.LOOKS if look < options.rounds), options.rounds)
    paired = pairing.Paired(bench.confinement.threads == 1, options.margin, looks)
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    pairing.carry_out(run_round, paired, seed, tell)
    return {
        **pairing.plain(paired),
        "seed": seed,
        "runtimes": {name: {"name": side.runtime, "version": version_of(side.runtime)} for name, side in sides.items()},
        "confinement": bench.confinement.to_json(),
    }


def _payload(side: Side, options: PairOptions, folder: Path) -> dict[str, Any]:
    bench = options.bench
    payload = {
        "runtime": side.runtime,
        "artifact": str(side.file.path.resolve()),
        "layouts": None,
        "confinement": bench.confinement.to_json(),
    }
    ends = job("sampling:describe", payload, bench, folder)
    _, path = feed(side.file, ends, bench, folder)
    timing = {"min_runs": bench.min_runs, "min_seconds": bench.min_seconds, "warm_up_seconds": options.warm_up_seconds}
    return {**payload, "inputs": path, **timing}
