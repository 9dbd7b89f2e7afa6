"""Which of two files is closer to a reference: outputs of both on the same inputs, in dB."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import InputMismatch, StageTimeout, UsageError
from edgeconv.harness import fitting, inputs, machine, metrics
from edgeconv.harness.bench import Options, job
from edgeconv.harness.files import ModelFile
from edgeconv.harness.runtimes import RUNTIMES, Array, Arrays
from edgeconv.source import InputSpec, ModelSource, Snapshot
from edgeconv.worker import Limits, Worker

#: Random inputs on which files are held against the reference, each from its own seed.
SEEDS = 4
#: Differences up to this, in dB, count as none.
MARGIN_DB = 1.0
#: Where float32 rounding begins: what is closer than this is equally close.
CEILING_DB = 120.0


def from_model(source: ModelSource, near: Path, given: Path | None, folder: Path, limits: Limits) -> Path:
    """Compute a reference file with a model's outputs.

    Args:
        source: the model.
        near: a file with a manifest beside it, whose ranges count where the user declared none.
        given: the user's arrays, instead of random inputs; named and laid out as the model's inputs, or as a file's.
        folder: where to write.
        limits: of the model's process.

    Returns:
        `.npz` with in/<seed>/<name> and out/<seed>/<name>.

    Raises:
        UsageError: no such file, or no arrays in it.
        InputMismatch: the user's arrays do not fit the model.
    """
    path = folder / "reference.npz"
    with Worker((), limits) as worker, _time_limit_named():
        found = worker.run("edgeconv.source.loading:probe", {"source": source.to_json()}, who="the model")
        specs = [spec.to_json() for spec in Snapshot.from_json(found).inputs]
        declared = inputs.declared_ranges(near)
        for spec in specs:
            if spec["low"] is None and declared.get(spec["name"]):
                spec["low"], spec["high"] = declared[spec["name"]]
        payload = {
            "source": source.to_json(),
            "inputs": specs,
            "seeds": SEEDS,
            "given": None,
            "labelled": None,
            "destination": str(path),
        }
        if given is not None:
            payload["given"] = str(folder / "given.npz")
            placed = fitting.place(inputs.load_arrays(given), specs, "the model", given.name)
            inputs.write(folder / "given.npz", placed)
        worker.run("edgeconv.harness.jobs:reference", payload, who="the model")
    return path


@contextmanager
def _time_limit_named() -> Iterator[None]:
    """No target is converted for here: the limit is the command's."""
    try:
        yield
    except StageTimeout as error:
        error.hint = "give it more with --time-limit"
        raise


def from_arrays(path: Path, ends: list[dict[str, Any]], folder: Path) -> Path:
    """A reference file from the user's `.npz`.

    Args:
        path: with in/<n>/<name> and out/<n>/<name>, or with arrays named as the inputs, all others being outputs.
        ends: inputs of file A.
        folder: where to write.

    Raises:
        UsageError: no such file, or no arrays in it.
        InputMismatch: it has no inputs, or no outputs.
    """
    arrays = inputs.load_arrays(path)
    if not any(name.startswith("in/0/") for name in arrays):
        names = {end["name"] for end in ends}
        arrays = {f"{'in' if name in names else 'out'}/0/{name}": array for name, array in arrays.items()}
    for side, noun in (("in", "input"), ("out", "output")):
        if not any(name.startswith(f"{side}/0/") for name in arrays):
            raise InputMismatch(
                f"{path.name} has no {noun}s of the reference",
                hint="save inputs under their names and outputs under theirs, or as in/0/<name> and out/0/<name>",
            )
    found = folder / "reference.npz"
    inputs.write(found, arrays)
    return found


def between(file: ModelFile, runtime: str, given: Path | None, folder: Path, options: Options) -> Path:
    """Where there is no reference: inputs for both files, and A's outputs on them to hold B against."""
    path = folder / "between.npz"
    job(
        "closeness:record",
        {
            "runtime": runtime,
            "artifact": str(file.path.resolve()),
            "destination": str(path),
            "seeds": SEEDS,
            "inputs": str(given) if given else None,
            "confinement": options.confinement.to_json(),
        },
        options,
        folder,
    )
    return path


def record(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: run a file on random inputs (or the user's) and write inputs and outputs.

    Payload:
        runtime, artifact, seeds, destination, confinement; inputs: path of the user's arrays, or None.
    """
    from edgeconv.harness import vocabulary

    machine.enter(payload["confinement"])
    path = Path(payload["artifact"])
    runtime = RUNTIMES[payload["runtime"]](path, 1)
    runtime.prepare()
    ends = inputs.ends_of(runtime)
    arrays: Arrays = {}
    rows = inputs.choose(path, ends, vocabulary.known(path, ends))
    # drawing is the harness's work, not the file's: float64 first, then the dtype
    machine.allow_more(payload["confinement"], sum(2 * 8 * math.prod(row["shape"]) for row in rows))
    for seed in range(1 if payload["inputs"] else payload["seeds"]):
        generator = np.random.default_rng(inputs.SEED + seed)
        feeds = (
            inputs.read(Path(payload["inputs"]), ends)
            if payload["inputs"]
            else {
                row["name"]: InputSpec(row["name"], tuple(row["shape"]), row["dtype"], row["low"], row["high"]).sample(
                    generator
                )
                for row in rows
            }
        )
        outputs = runtime.run(feeds)
        arrays |= {f"in/{seed}/{name}": array for name, array in feeds.items()}
        arrays |= {f"out/{seed}/{name}": array for name, array in outputs.items()}
        machine.allow_more(payload["confinement"], sum(array.nbytes for array in [*feeds.values(), *outputs.values()]))
    machine.allow_more(payload["confinement"], None)
    inputs.write(Path(payload["destination"]), arrays)
    return {}


def closeness(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: how close a file's outputs are to the reference's; see `metrics.summarize`.

    Payload:
        runtime, artifact, reference, confinement.
    """
    path = Path(payload["artifact"])
    with np.load(payload["reference"], allow_pickle=False) as stored:
        arrays = dict(stored)
    machine.enter(payload["confinement"])  # what is measured gets this memory, the reference has its own
    runtime = RUNTIMES[payload["runtime"]](path, 1)
    runtime.prepare()
    ends = inputs.ends_of(runtime)
    samples: list[tuple[Mapping[str, Array], Mapping[str, Array]]] = []
    for number in sorted({name.split("/")[1] for name in arrays if name.startswith("in/")}):
        feeds = {name.split("/", 2)[2]: array for name, array in arrays.items() if name.startswith(f"in/{number}/")}
        wanted = {name.split("/", 2)[2]: array for name, array in arrays.items() if name.startswith(f"out/{number}/")}
        found = runtime.run(fitting.place(feeds, ends, path.name))
        samples.append((wanted, fitting.pair_outputs(wanted, found, path.name)))
        machine.allow_more(payload["confinement"], sum(array.nbytes for array in found.values()))
    machine.allow_more(payload["confinement"], None)
    return metrics.summarize(samples)


def judge(a: dict[str, Any] | None, b: dict[str, Any], margin_db: float) -> tuple[str, str | None]:
    """B against A: closer, farther, same or unknown; and why, where it is not the dB that decide.

    NaN and Inf where the reference has finite numbers come before any dB, which are of the other places only.

    Args:
        a: see `metrics.summarize`; None where A itself is the reference.
        b: the same of B.
        margin_db: differences up to this count as none.
    """
    bad_a, bad_b = (0 if found is None else found["nan"] + found["inf"] for found in (a, b))
    told = [_nonfinite(name, found) for name, found in (("A", a), ("B", b)) if found and found["nan"] + found["inf"]]
    reason = " and ".join(told) + " where the reference has finite numbers" if told else None
    if bad_a != bad_b:
        return "farther" if bad_b > bad_a else "closer", reason
    if a is None:
        return "unknown", None
    change = min(b["snr_db"], CEILING_DB) - min(a["snr_db"], CEILING_DB)
    return "same" if abs(change) <= margin_db else "closer" if change > 0 else "farther", reason


def _nonfinite(name: str, found: dict[str, Any]) -> str:
    counts = [f"{found[key]} {noun}" for key, noun in (("nan", "NaN"), ("inf", "Inf")) if found[key]]
    return f"{name} gives {' and '.join(counts)}"


def check_reference(path: Path) -> None:
    """Raises UsageError for a reference that is neither arrays nor ONNX."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="name a .npz or .onnx file with --reference")
    if path.suffix not in {".npz", ".onnx"}:
        raise UsageError(
            f"a reference is a .npz or .onnx file, not {path.name}", hint="name a PyTorch model with --model"
        )
