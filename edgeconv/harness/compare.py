"""Holds two files against each other: which is faster, larger, closer to the reference."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeconv.errors import EdgeconvError, InputMismatch
from edgeconv.harness import closeness, pairing
from edgeconv.harness.bench import Options, Tell, feed, in_turns, job, version_of
from edgeconv.harness.files import ModelFile
from edgeconv.source import ModelSource
from edgeconv.worker import Limits

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

    bench: Options = field(default_factory=lambda: Options(min_runs=BLOCK_RUNS, min_seconds=BLOCK_SECONDS))
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
    payloads = {}
    for name, side in sides.items():
        with _about(name, side):
            payloads[name] = {**_payload(side, options, folder), "about": _title(name, side)}

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
    payload = _base(side, options)
    ends = job("sampling:describe", payload, bench, folder)
    _, path = feed(side.file, ends, bench, folder)
    timing = {"min_runs": bench.min_runs, "min_seconds": bench.min_seconds, "warm_up_seconds": options.warm_up_seconds}
    return {**payload, "inputs": path, **timing}


#: A change of size up to this share counts as none in the verdict; the bytes are told in any case.
SIZE_MARGIN = 0.005


def size(sides: dict[str, Side], options: PairOptions, folder: Path) -> dict[str, Any]:
    """Where the bytes went; see `sizediff.diff`. Adds the verdict: smaller, larger or same."""
    files = {name.lower(): {"path": str(side.file.path), "kind": side.file.kind} for name, side in sides.items()}
    found = job(
        "sizediff:diff", {**files, "artifact": files["a"]["path"], "runtime": sides["A"].runtime}, options.bench, folder
    )
    change = found["change_bytes"] / max(found["a_bytes"], 1)
    verdict = "same" if abs(change) <= SIZE_MARGIN else "larger" if change > 0 else "smaller"
    return {"verdict": verdict, "margin": SIZE_MARGIN, **found}


def fidelity(
    sides: dict[str, Side], reference: Path | ModelSource | None, margin_db: float, options: PairOptions, folder: Path
) -> dict[str, Any]:
    """How close both are to the reference.

    Args:
        sides: by "A" and "B".
        reference: the user's `.npz`; a model; None: B is held against A.
        margin_db: differences up to this count as none.
        options: for limits, and the user's inputs; a `.npz` reference has inputs of its own.
        folder: scratch.

    Returns:
        verdict (closer, farther, same; without a reference unknown, unless B gives NaN or Inf where A does not), reference,
        margin_db, a and b (see `metrics.summarize`; a is None without a reference), and reason, where not even B could be
        held against A, or NaN or Inf decide.
    """
    a, bench = sides["A"], options.bench
    if isinstance(reference, ModelSource):
        told = reference.reference
        path = closeness.from_model(reference, a.file.path, bench.inputs, folder, Limits(bench.time_limit))
    elif reference is not None:
        told = reference.name
        base = _base(a, options)
        path = closeness.from_arrays(reference, job("sampling:describe", base, bench, folder)["inputs"], folder)
    else:
        told = "A"
        with _about("A", a):
            path = closeness.between(a.file, a.runtime, bench.inputs, folder, bench)
    found: dict[str, Any] = {}
    reason = None
    for name, side in sides.items():
        if name == "A" and reference is None:
            continue
        try:
            with _about(name, side):
                found[name] = job(
                    "closeness:closeness", {**_base(side, options), "reference": str(path)}, bench, folder
                )
        except InputMismatch as error:
            if reference is not None:
                raise
            reason = f"B does not take what A takes: {error.message}"  # two models can still be timed and weighed
    verdict = "unknown"
    if "B" in found:
        verdict, reason = closeness.judge(found.get("A"), found["B"], margin_db)
    about = {"verdict": verdict, "reference": told, "margin_db": margin_db, "reason": reason}
    return {**about, "a": found.get("A"), "b": found.get("B")}


def overall(latency_verdict: str, size_verdict: str, fidelity_verdict: str) -> tuple[str, str]:
    """One verdict over three: better, worse, mixed, same or inconclusive; and the sentence that says it.

    B is better if it gains somewhere and loses nowhere. What is inconclusive leaves the whole inconclusive, unless B already
    gains in one and loses in another. An unknown fidelity does not count.
    """
    words = {"faster": 1, "slower": -1, "smaller": 1, "larger": -1, "closer": 1, "farther": -1, "same": 0}
    verdicts = [each for each in (latency_verdict, size_verdict, fidelity_verdict) if each != "unknown"]
    marks = {words[each] for each in verdicts if each in words}
    known = [
        {"same": "as fast", "inconclusive": "of unknown speed"}.get(latency_verdict, latency_verdict),
        "as large" if size_verdict == "same" else size_verdict,
        {"same": "as close", "unknown": "of unknown closeness"}.get(fidelity_verdict, fidelity_verdict),
    ]
    if {1, -1} <= marks:
        verdict = "mixed"
    elif "inconclusive" in verdicts:
        verdict = "inconclusive"
    else:
        verdict = "better" if 1 in marks else "worse" if -1 in marks else "same"
    return verdict, ", ".join(known)


@contextmanager
def _about(name: str, side: Side) -> Iterator[None]:
    """An error says which file it is about."""
    try:
        yield
    except EdgeconvError as error:
        error.stage = error.stage or _title(name, side)
        raise


def _title(name: str, side: Side) -> str:
    return f"{name}, {side.file.path.name} in {side.runtime}"


def _base(side: Side, options: PairOptions) -> dict[str, Any]:
    return {
        "runtime": side.runtime,
        "artifact": str(side.file.path.resolve()),
        "layouts": None,
        "confinement": options.bench.confinement.to_json(),
    }
