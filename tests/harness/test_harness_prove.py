"""Which measurements are made, which are found in the cache, and what a damaged one does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from harness_fakes import CONTRACT, PARITY, Bench, Invented

from edgeconv.calibration import Labelled
from edgeconv.errors import CalibrationError, NonFinite
from edgeconv.harness import jobs, machine, prove
from edgeconv.target import Harness

FIRST = ["reference", "fidelity", "fidelity", "latency", "latency"]


@pytest.fixture
def bench(tmp_path) -> Bench:
    made = Bench(tmp_path / "bench")
    made.prove()
    assert made.jobs == FIRST
    return made


@dataclass
class Digits:
    """A labelled set."""

    name: str = "digits"
    digest: str = "d" * 64
    input: str = "image"
    read: list[str] = field(default_factory=list)

    def verify(self) -> None:
        self.read.append("verify")

    names: tuple[str, ...] = ("top1",)

    def labelled(self) -> Labelled:
        self.read.append("labelled")
        return Labelled(self.input, 0, np.zeros((4, 2), np.float32), np.zeros(4, np.int64), self.names)

    def metrics(self) -> tuple[str, ...]:
        return self.names


def corrupt(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_proof_holds_every_measurement(tmp_path):
    bench = Bench(tmp_path / "bench")
    proof = bench.prove()
    assert proof.reference == "torch"
    assert [row["runtime"] for row in proof.parity] == ["litert", "tflite-runtime"]
    assert all(row == {"stage": "copy", "runtime": row["runtime"], **PARITY} for row in proof.parity)
    assert [(row["runtime"], row["threads"], row["status"]) for row in proof.latency] == [
        ("litert", 1, "measured"),
        ("tflite-runtime", 1, "measured"),
    ]
    assert proof.accuracy == []
    assert proof.contract == CONTRACT
    assert bench.outputs == CONTRACT["outputs"]
    assert [entry["status"] for entry in proof.measurements] == ["measured"] * 4


def test_a_second_proof_measures_nothing_and_says_the_same(bench):
    first = bench.prove()
    second = bench.prove()
    assert bench.jobs == []
    assert second.parity == first.parity
    assert [{**row, "status": ""} for row in second.latency] == [{**row, "status": ""} for row in first.latency]
    assert [entry["status"] for entry in second.measurements] == ["cached"] * 4
    assert not [event for event in bench.events if event.what in {"measuring", "measured"}]


def test_inputs_for_parity_are_of_seeds_that_no_stage_has_seen(bench):
    from edgeconv.source import loading

    assert jobs.FIRST_SEED > loading.SEED + 1


@pytest.mark.parametrize(
    ("harness", "wanted"),
    [
        (Harness(seeds=2, threads=2), ["latency", "latency"]),
        (Harness(seeds=2, min_runs=31), ["latency", "latency"]),
        (Harness(seeds=2, min_seconds=0.6), ["latency", "latency"]),
        (Harness(seeds=3), FIRST[:1]),  # the invented reference is the same for 3 seeds, so what compares with it holds
        (Harness(seeds=2, runtimes=("litert",)), []),
    ],
)
def test_an_option_of_the_harness_measures_again_what_depends_on_it(bench, harness, wanted):
    bench.harness = harness
    bench.prove()
    assert bench.jobs == wanted


def test_another_artifact_is_measured_against_the_same_reference(bench):
    bench.mark = "!"
    bench.prove()
    assert bench.jobs == FIRST[1:]


def test_another_model_has_another_reference(bench):
    bench.model.write_text("model 2")
    bench.prove()
    assert bench.jobs[0] == "reference"


def test_another_machine_measures_latency_again_and_nothing_else(bench, monkeypatch):
    monkeypatch.setattr(machine, "host", lambda: {"cpu": "another"})
    bench.prove()
    assert bench.jobs == ["latency", "latency"]


def test_another_version_of_a_runtime_measures_it_again(bench, monkeypatch):
    from edgeconv import fingerprint

    real = fingerprint.versions
    monkeypatch.setattr(
        fingerprint, "versions", lambda names: {n: "9" if n == "ai-edge-litert" else v for n, v in real(names).items()}
    )
    bench.prove()
    assert bench.jobs == ["fidelity", "latency"]
    assert {payload["runtime"] for payload in bench.payloads} == {"litert"}


def test_a_changed_harness_is_another_measurement(bench, monkeypatch):
    monkeypatch.setattr(prove, "_revision", lambda: "another")
    bench.prove()
    assert bench.jobs == FIRST


@pytest.mark.parametrize("step", ["fidelity", "latency"])
def test_a_corrupted_measurement_is_measured_again(bench, step):
    for blob in set(bench.blobs_of(step)):
        corrupt(blob)
    proof = bench.prove()
    assert set(bench.jobs) == {step}
    assert len(proof.parity) == len(proof.latency) == 2
    assert bench.store.verify() == []
    bench.prove()
    assert bench.jobs == []


def test_a_corrupted_reference_is_not_missed_until_it_is_needed_and_then_made_again(bench):
    corrupt(bench.blobs_of("reference")[0])
    bench.prove()
    assert bench.jobs == []
    bench.harness = Harness(seeds=2, threads=2)
    bench.prove()
    assert bench.jobs == ["reference", "latency", "latency"]
    assert bench.store.verify() == []


def test_a_corrupted_artifact_is_rebuilt_for_its_measurement(bench):
    corrupt(bench.blobs_of("copy")[0])
    bench.harness = Harness(seeds=2, threads=2)
    bench.prove()
    assert bench.jobs == ["latency", "latency"]
    assert bench.store.verify() == []


def test_everything_collected_before_a_proof_is_measured_again(bench):
    bench.store.gc(max_bytes=0)
    bench.prove()
    assert bench.jobs == FIRST


def test_force_measures_all_again_and_the_new_numbers_stay(bench):
    bench.force, bench.ms = True, 7.0
    assert bench.prove().latency[0]["p50_ms"] == 7.0
    assert bench.jobs == FIRST
    bench.force, bench.ms = False, 1.0
    assert bench.prove().latency[0]["p50_ms"] == 7.0
    assert bench.jobs == []


def test_a_labelled_set_gives_accuracy_with_the_reference_first(bench):
    bench.labelled = Digits()
    proof = bench.prove()
    assert bench.jobs == FIRST[:3]  # latency does not depend on labels
    assert [(row["stage"], row["runtime"], row["value"], row["drop"]) for row in proof.accuracy] == [
        ("reference", "torch", 0.8, None),
        ("copy", "litert", 0.75, 0.05),
        ("copy", "tflite-runtime", 0.75, 0.05),
    ]
    assert bench.labelled.read == ["verify", "labelled"]  # once for all jobs
    again = Digits()
    bench.labelled = again
    assert bench.prove().accuracy == proof.accuracy
    assert bench.jobs == again.read == []  # a cached proof does not even read the data


def test_another_labelled_set_is_measured_again(bench):
    bench.labelled = Digits()
    bench.prove()
    bench.labelled = Digits(digest="e" * 64)
    bench.prove()
    assert bench.jobs == FIRST[:3]


def test_a_metric_of_the_users_counts_by_its_text(bench):
    """Editing the function measures fidelity anew, and nothing else does."""
    bench.labelled = Digits(names=("mine.parts:error",))
    package = bench.folder / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for text, wanted in [("a = 1", 2), ("a = 1", 0), ("a = 2", 2)]:
        (package / "parts.py").write_text(text)
        bench.prove()
        assert bench.jobs.count("fidelity") == wanted
    assert bench.payloads[-1]["labelled"]["metrics"] == ["mine.parts:error"]


def test_a_labelled_set_that_does_not_fit_the_model_is_one_sentence(bench):
    bench.labelled = Digits(input="picture")
    with pytest.raises(CalibrationError, match=r"gives picture \[1, 2\], the model takes image \[1, 2\]") as caught:
        bench.prove()
    assert caught.value.stage == "measuring"


def test_a_failed_measurement_is_not_stored(tmp_path, monkeypatch):
    bench = Bench(tmp_path / "bench")
    real = Invented.run

    def fail(self: Any, function: str, payload: Any, **limits: Any) -> Any:
        if function.endswith("latency"):
            raise NonFinite("all NaN")
        return real(self, function, payload, **limits)

    monkeypatch.setattr(Invented, "run", fail)
    for _ in range(2):
        with pytest.raises(NonFinite) as caught:
            bench.prove()
        assert caught.value.stage == "measuring"
    monkeypatch.undo()
    bench.prove()
    assert bench.jobs == ["latency", "latency"]  # what was measured before the failure is kept
