"""Builds the report and the manifest from a finished run and its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeconv import fingerprint
from edgeconv.calibration import CalibrationSet
from edgeconv.errors import BadOutput
from edgeconv.harness import Proof, host
from edgeconv.pipeline import Done, Run
from edgeconv.report.model import (
    AccuracyRow,
    ArtifactRow,
    CheckRow,
    ErrorEntry,
    LatencyRow,
    ParityRow,
    Report,
    StepRow,
)
from edgeconv.source import InputSpec
from edgeconv.target import Acceptance, Target

MANIFEST_VERSION = 1

#: A loss of SNR that float32 rounding alone explains is not an error that "enters" anywhere.
FLOAT_FLOOR_DB = 150.0


def build(run: Run, proof: Proof, target: Target, path: Path, seconds: float) -> Report:
    """The report of a finished run.

    Args:
        run: with all steps done.
        proof: what was measured.
        target: with its acceptance.
        path: where the artifact goes.
        seconds: wall time of the run.
    """
    assert run.snapshot is not None
    final = run.done[-1].artifact
    acceptance = checks(target.acceptance, proof, final.bytes) if proof.parity else []
    return Report(
        model=run.chain.source.name,
        target=target.name,
        verdict=("accepted" if all(row.ok for row in acceptance) else "rejected") if proof.parity else "unproven",
        artifact=ArtifactRow(path=str(path), bytes=final.bytes, sha256=final.digest),
        steps=[_step(done) for done in run.done],
        reference=proof.reference,
        parity=[ParityRow(**row) for row in proof.parity],
        error_enters_at=error_entry(proof.parity) if proof.parity else None,
        accuracy=[AccuracyRow(**row, top1=row["value"] if row["metric"] == "top1" else None) for row in proof.accuracy],
        latency=[LatencyRow(**row) for row in proof.latency],
        acceptance=acceptance,
        contract=proof.contract,
        warnings=[*_warnings(run), *slow_runtimes(proof, run.done[-1].record.meta["notes"])],
        measurements=proof.measurements,
        host=host(),
        seconds=round(seconds, 3),
    )


def _step(done: Done) -> StepRow:
    return StepRow(
        name=done.name,
        status="built" if done.status == "built" else "cached",
        reason=done.reason.text(),
        reason_kind=done.reason.kind,
        seconds=round(done.seconds, 3),
        bytes=done.artifact.bytes,
        sha256=done.artifact.digest,
        peak_bytes=done.peak_bytes,
        notes={key: value for key, value in done.record.meta["notes"].items() if key != "warnings"},
    )


def _warnings(run: Run) -> list[str]:
    assert run.snapshot is not None
    found = list(run.snapshot.facts.get("warnings", []))
    for done in run.done:
        found += done.record.meta["notes"].get("warnings", [])
    return list(dict.fromkeys(found))


def slow_runtimes(proof: Proof, notes: dict[str, Any]) -> list[str]:
    """A sentence for each runtime that takes more than twice as long as the fastest over a file with int8 weights."""
    if not notes.get("int8_elements") or len(proof.latency) < 2:
        return []
    best = min(proof.latency, key=lambda row: row["p50_ms"])
    return [
        f"{row['runtime']} takes {row['p50_ms']:.3g} ms for this file, {best['runtime']} {best['p50_ms']:.3g} ms: it has no fast "
        "kernels for int8 weights with float activations; a float32 or float16 target may be faster there"
        for row in proof.latency
        if row["p50_ms"] > 2 * best["p50_ms"]
    ]


def checks(acceptance: Acceptance, proof: Proof, size: int) -> list[CheckRow]:
    """Every budget of the target beside the number that was measured."""
    rows: list[CheckRow] = []

    def at_least(check: str, where: str, value: float, budget: float, unit: str) -> None:
        rows.append(CheckRow(check=check, where=where, value=value, budget=budget, unit=unit, ok=value >= budget))

    def at_most(check: str, where: str, value: float, budget: float, unit: str) -> None:
        rows.append(CheckRow(check=check, where=where, value=value, budget=budget, unit=unit, ok=value <= budget))

    for row in proof.parity:
        where = f"{row['stage']} in {row['runtime']}"
        at_most("NaN and Inf that the reference does not have", where, row["nan"] + row["inf"], 0, "")
        if row["stage"] in acceptance.min_snr_db:
            at_least("SNR", where, row["snr_db"], acceptance.min_snr_db[row["stage"]], "dB")
            for batch, snr in row.get("batches", {}).items():
                at_least(f"SNR at batch {batch}", where, snr, acceptance.min_snr_db[row["stage"]], "dB")
        if row["stage"] in acceptance.min_cosine:
            at_least("cosine", where, row["cosine"], acceptance.min_cosine[row["stage"]], "")
    if acceptance.max_bytes is not None:
        at_most("size", "artifact", size, acceptance.max_bytes, "bytes")
    for row in proof.latency:
        if row["runtime"] in acceptance.max_p50_ms:
            at_most("latency p50", row["runtime"], row["p50_ms"], acceptance.max_p50_ms[row["runtime"]], "ms")
    if acceptance.max_accuracy_drop is not None and proof.accuracy:
        first, last = proof.accuracy[0]["metric"], proof.accuracy[-1]["stage"]
        for row in (row for row in proof.accuracy if row["stage"] == last and row["metric"] == first):
            at_most("accuracy drop", f"{last} in {row['runtime']}", row["drop"], acceptance.max_accuracy_drop, "")
    return rows


def error_entry(parity: list[dict[str, Any]]) -> ErrorEntry:
    """The stage behind which the SNR has fallen most, float rounding aside; the best runtime of each stage counts."""
    best: dict[str, float] = {}
    for row in parity:
        best[row["stage"]] = max(row["snr_db"], best.get(row["stage"], row["snr_db"]))
    before = FLOAT_FLOOR_DB
    entry: ErrorEntry | None = None
    for stage, snr in best.items():
        after = min(snr, FLOAT_FLOOR_DB)
        if entry is None or before - after > entry.snr_before_db - entry.snr_after_db:
            entry = ErrorEntry(stage=stage, snr_before_db=before, snr_after_db=after)
        before = min(before, after)
    assert entry is not None
    return entry


def manifest(run: Run, report: Report, labelled: CalibrationSet | None) -> dict[str, Any]:
    """What a mobile engineer needs to use the file. Holds no time and no machine: equal builds give equal text."""
    assert run.snapshot is not None
    ranges = {spec.name: spec for spec in run.snapshot.inputs}
    options = run.done[-1].record.meta["ingredients"]["options"]
    versions = {row.runtime: None for row in report.parity if row.stage == run.done[-1].name}
    last = report.steps[-1]
    layouts = last.notes.get("layouts", {"inputs": {}, "outputs": {}})
    return {
        "schema_version": MANIFEST_VERSION,
        "model": report.model,
        "target": report.target,
        "verdict": report.verdict,
        "file": Path(report.artifact.path).name,
        "bytes": report.artifact.bytes,
        "sha256": report.artifact.sha256,
        "dynamic_axes": [0] if run.chain.source.batch is not None else [],
        "inputs": [_input(entry, ranges[entry["name"]], layouts["inputs"]) for entry in report.contract["inputs"]],
        "outputs": [{**entry, "layout": _layout(entry, layouts["outputs"])} for entry in report.contract["outputs"]],
        "preprocessing": labelled.preprocessing() if labelled else None,
        "runtime": {"minimum": options.get("min_runtime"), "proven_on": sorted(versions)},
        "quantization": {key: last.notes[key] for key in sorted(last.notes) if key != "layouts"},
        "fidelity": [
            {"runtime": row.runtime, "snr_db": round(row.snr_db, 2), "max_abs_error": row.max_abs_error}
            for row in report.parity
            if row.stage == last.name
        ],
        "provenance": {
            "edgeconv": fingerprint.versions(["edgeconv"])["edgeconv"],
            "source": run.snapshot.digest(run.chain.source),
            "reference": report.reference,
            "stages": [_provenance(done) for done in run.done],
        },
    }


def _input(entry: dict[str, Any], spec: InputSpec, layouts: dict[str, list[int]]) -> dict[str, Any]:
    known = spec.low is not None and spec.high is not None
    return {**entry, "layout": _layout(entry, layouts), "range": [spec.low, spec.high] if known else None}


def _layout(entry: dict[str, Any], layouts: dict[str, list[int]]) -> str | None:
    """The order of the axes where it has a name; otherwise PyTorch's order stands."""
    names = {3: "NCL", 4: "NCHW", 5: "NCDHW"}.get(len(entry["shape"]))
    perm = layouts.get(entry["name"])
    return "".join(names[axis] for axis in perm) if perm and names else names


def _provenance(done: Done) -> dict[str, Any]:
    ingredients = done.record.meta["ingredients"]
    return {
        "name": done.name,
        "sha256": done.artifact.digest,
        "bytes": done.artifact.bytes,
        **{key: ingredients[key] for key in ("options", "versions", "python", "revision")},
    }


def _turned(entry: dict[str, Any], layouts: dict[str, list[int]]) -> dict[str, Any]:
    """A model's input or output as it should stand in an artifact of other layouts."""
    perm = layouts.get(entry["name"])
    return {**entry, "shape": [entry["shape"][axis] for axis in perm]} if perm else entry


def _at_rest(entry: dict[str, Any], batch: int | None) -> dict[str, Any]:
    """The same with batch 1, which a file with an open batch has before it is resized."""
    axis = next((axis for axis, n in enumerate(entry["shape"]) if batch and n % batch == 0), None)
    if axis is None or batch is None:
        return entry
    return {**entry, "shape": [n // batch if a == axis else n for a, n in enumerate(entry["shape"])]}


def assert_contract(run: Run, proof: Proof, outputs: list[dict[str, Any]] | None) -> None:
    """Names, order, shapes and dtypes of the final artifact are the original model's.

    Args:
        run: with all steps done.
        proof: holds the contract as the artifact has it.
        outputs: the original model's; None where it was not run.

    Raises:
        BadOutput: with the first difference.
    """
    assert run.snapshot is not None
    inputs = [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype} for s in run.snapshot.inputs]
    layouts = run.done[-1].record.meta["notes"].get("layouts", {})
    for side, model in (("inputs", inputs), ("outputs", outputs)):
        if model is None:
            continue
        wanted = [_turned(entry, layouts.get(side, {})) for entry in model]
        wanted = [_at_rest(entry, run.chain.source.batch) for entry in wanted]
        found = proof.contract.get(side, [])
        if [entry["name"] for entry in found] != [entry["name"] for entry in wanted]:
            raise BadOutput(
                f"the artifact's {side} are {[e['name'] for e in found]}, the model's are {[e['name'] for e in wanted]}"
            )
        for got, want in zip(found, wanted, strict=True):
            if got != want:
                raise BadOutput(
                    f"the artifact's {side[:-1]} {got['name']!r} is {got['dtype']}{got['shape']}, "
                    f"the model's is {want['dtype']}{want['shape']}"
                )
