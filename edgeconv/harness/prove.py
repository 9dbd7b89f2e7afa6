"""Proves a finished chain: parity and accuracy of every artifact, latency of the last one, the I/O contract."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, ClassVar

from edgeconv import fingerprint
from edgeconv.calibration import CalibrationSet
from edgeconv.errors import CalibrationError, EdgeconvError
from edgeconv.harness import jobs, machine
from edgeconv.harness.bench import limits_named
from edgeconv.harness.runtimes import OF_KIND, RUNTIMES
from edgeconv.pipeline import Emit, Event, Measured, Pool, Run, measured
from edgeconv.pipeline.keys import key_of, of_measurement
from edgeconv.store import BlobCorrupt, Record
from edgeconv.target import Harness

_HERE = Path(__file__).parent


@dataclass
class Proof:
    """What was measured.

    Attributes:
        reference: what computed the reference: "torch", or "onnxruntime" for an ONNX source.
        parity: one row a stage and runtime.
        accuracy: the same on the labelled set, the reference first; empty without one.
        latency: one row a runtime.
        samples: every timed invoke in ns, by runtime.
        contract: inputs and outputs as the final artifact has them.
        measurements: name, status and seconds of each measurement.
    """

    reference: str = ""
    parity: list[dict[str, Any]] = field(default_factory=list)
    accuracy: list[dict[str, Any]] = field(default_factory=list)
    latency: list[dict[str, Any]] = field(default_factory=list)
    samples: dict[str, list[int]] = field(default_factory=dict)
    contract: dict[str, Any] = field(default_factory=dict)
    measurements: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Prover:
    """Measures one run.

    Attributes:
        run: the chain, finished before anything but the reference is asked for.
        pool: workers; the reference shares the one that exported.
        emit: where events go.
        harness: what the target wants measured.
        labelled: the labelled set, if one is declared.
        force: measure anew.
        worker: name of the process that computes the reference: the one that exported the model has it loaded.
    """

    worker: ClassVar[str] = "torch"
    run: Run
    pool: Pool
    emit: Emit
    harness: Harness
    labelled: CalibrationSet | None = None
    force: bool = False
    proof: Proof = field(default_factory=Proof)
    _record: Record | None = None
    _reference: Path | None = None
    _labelled: dict[str, Any] | None = None

    def prove(self, stages: Collection[str] | None = None, *, latency: bool = True) -> Proof:
        """Everything, in order; or the fidelity of some stages only. Raises what the jobs raise, named by measurement."""
        self.find_reference()
        try:
            for done in self.run.done:
                if stages is not None and done.name not in stages:
                    continue
                for runtime in self._runtimes(done.artifact.kind):
                    self._fidelity(done.name, runtime)
            for runtime in self.harness.runtimes if latency else ():
                self._latency(runtime)
        except EdgeconvError as error:
            error.stage = error.stage or "measuring"
            raise
        return self.proof

    def find_reference(self) -> None:
        """The original model's outputs, for which the process that has loaded the model is best. Raises as `prove`."""
        try:
            self._record = self._record or self._find_reference()
            self.proof.reference = self._record.meta["notes"]["runtime"]
        except EdgeconvError as error:
            error.stage = error.stage or "measuring"
            raise

    def read_contract(self) -> Proof:
        """No measurement: only the inputs and outputs, as the final artifact itself has them."""
        last = self.run.done[-1]
        payload = {
            "runtime": self._runtimes(last.artifact.kind)[0],
            "artifact": str(self.run.file_of(last.name).path),
            "threads": 1,
        }
        self.proof.contract = self.pool.get("litert").run("edgeconv.harness.jobs:contract", payload, who="the artifact")
        return self.proof

    def outputs(self) -> list[dict[str, Any]]:
        """Name, shape and dtype of the original model's outputs."""
        assert self._record is not None
        found: list[dict[str, Any]] = self._record.meta["notes"]["outputs"]
        return found

    def _runtimes(self, kind: str) -> tuple[str, ...]:
        return self.harness.runtimes if kind == "tflite" else (OF_KIND[kind],)

    def _find_reference(self) -> Record:
        """The original model's outputs on unseen inputs, computed once for all stages and targets."""
        assert self.run.snapshot is not None
        source = self.run.chain.source
        options = {
            "source": self.run.snapshot.digest(source),
            "inputs": [spec.to_json() for spec in self.run.snapshot.inputs],
            "seeds": self.harness.seeds,
            "labelled": self.labelled.digest if self.labelled else None,
        }
        distributions = ("onnxruntime", "numpy") if source.kind == "onnx" else ("torch", "numpy")
        ingredients = of_measurement("reference", _revision(), options, distributions)
        key = key_of(ingredients)
        store = self.run.store
        record = None if self.force else store.find(key)
        if record is not None:
            return record
        with store.lock(key):
            record = None if self.force else store.find(key)
            if record is not None:
                return record
            self.emit(Event("measuring", "reference"))
            destination = self.run.folder / "reference.npz"
            payload = {
                "source": source.to_json(),
                "inputs": options["inputs"],
                "seeds": self.harness.seeds,
                "labelled": self._labelled_payload(),
                "destination": str(destination),
            }
            notes = self.pool.get(self.worker).run("edgeconv.harness.jobs:reference", payload, who="the model")
            self._reference = destination
            return store.publish(key, destination, {"kind": "reference", "notes": notes, "ingredients": ingredients})

    def _reference_file(self) -> str:
        assert self._record is not None
        if self._reference is None or fingerprint.of_file(self._reference) != self._record.blob.digest:
            path = self.run.folder / "reference-fetched.npz"
            try:
                self.run.store.fetch(self._record.blob, path)
            except BlobCorrupt:
                self._record = self._find_reference()  # the damaged one is quarantined, so this computes it anew
                return self._reference_file()
            self._reference = path
        return str(self._reference)

    def _labelled_payload(self) -> dict[str, Any] | None:
        if self.labelled is None:
            return None
        if self._labelled is None:
            self.labelled.verify()
            data = self.labelled.labelled()
            self._check_labelled(data.input, data.inputs.shape[1:])
            path = self.run.folder / "labelled.npz"
            jobs.write_labelled(path, data.inputs, data.labels)
            self._labelled = {
                "npz": str(path),
                "input": data.input,
                "output": data.output,
                "metrics": list(data.metrics),
                "options": data.options,
                "batch": self.run.chain.source.batch,
                "base": str(self.run.chain.source.base),
            }
        return self._labelled

    def _metric_digests(self) -> dict[str, str | None] | None:
        """Content of the modules that the user's metrics are in: another text is another metric."""
        if self.labelled is None:
            return None
        base = self.run.chain.source.base
        return {name: _module_digest(name, base) for name in self.labelled.metrics() if ":" in name}

    def _check_labelled(self, name: str, shape: tuple[int, ...]) -> None:
        assert self.run.snapshot is not None
        specs = {spec.name: spec for spec in self.run.snapshot.inputs}
        if set(specs) != {name} or specs[name].shape != (self.run.chain.source.batch or 1, *shape):
            wanted = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs.values())
            assert self.labelled is not None
            raise CalibrationError(
                f"the labelled set {self.labelled.name!r} gives {name} {[1, *shape]}, the model takes {wanted}",
                hint="change the preprocessing in the calibration TOML",
            )

    def _fidelity(self, stage: str, runtime: str) -> None:
        assert self._record is not None
        done = next(done for done in self.run.done if done.name == stage)
        options = {
            "artifact": done.artifact.digest,
            "layouts": done.record.meta["notes"].get("layouts"),
            "reference": self._record.blob.digest,
            "labelled": self.labelled.digest if self.labelled else None,
            "metrics": self._metric_digests(),
            "runtime": runtime,
        }
        found = self._measure(
            f"fidelity of {stage} in {runtime}", "fidelity", options, runtime,
            lambda: {
                "runtime": runtime,
                "artifact": str(self.run.file_of(stage).path),
                "layouts": done.record.meta["notes"].get("layouts"),
                "reference": self._reference_file(),
                "labelled": self._labelled_payload(),
                "batches": self.run.chain.source.batch is not None and done.artifact.kind == "tflite",
                "threads": 1,
            },
        )  # fmt: skip
        result = found.result
        self.proof.parity.append({"stage": stage, "runtime": runtime, **result["parity"]})
        for row in result["accuracy"] or []:
            self._accuracy(stage, runtime, row)
        if result["contract"]:
            self.proof.contract = result["contract"]

    def _accuracy(self, stage: str, runtime: str, row: dict[str, Any]) -> None:
        """A metric's rows: the reference's the first time, and this stage's with its drop."""
        common = {"metric": row["metric"], "samples": row["samples"], "interval": row["method"]}
        if not any(known["stage"] == "reference" and known["metric"] == row["metric"] for known in self.proof.accuracy):
            reference = {**common, **row["reference"], "drop": None, "drop_ci_low": None, "drop_ci_high": None}
            first = sum(known["stage"] == "reference" for known in self.proof.accuracy)
            self.proof.accuracy.insert(first, {"stage": "reference", "runtime": self.proof.reference, **reference})
        drop = {"drop": row["drop"]["value"], **{f"drop_{end}": row["drop"][end] for end in ("ci_low", "ci_high")}}
        self.proof.accuracy.append({"stage": stage, "runtime": runtime, **common, **row["found"], **drop})

    def _latency(self, runtime: str) -> None:
        assert self._record is not None
        done = self.run.done[-1]
        if runtime not in self._runtimes(done.artifact.kind):
            return
        asked = self.harness
        options = {
            "artifact": done.artifact.digest,
            "runtime": runtime,
            **{
                name: getattr(asked, name)
                for name in ("threads", "cores", "niceness", "memory_mb", "min_runs", "min_seconds")
            },
            "host": machine.host(),
        }

        def payload() -> dict[str, Any]:
            cpus = machine.quietest(asked.cores or asked.threads)
            return {
                "runtime": runtime,
                "artifact": str(self.run.file_of(done.name).path),
                "layouts": done.record.meta["notes"].get("layouts"),
                "inputs": self._reference_file(),
                "confinement": machine.Confinement(asked.threads, cpus, asked.niceness, asked.memory_mb).to_json(),
                "min_runs": asked.min_runs,
                "min_seconds": asked.min_seconds,
                "spawned_ns": time.monotonic_ns(),
            }

        found = self._measure(f"latency in {runtime}", "latency", options, runtime, payload)
        numbers = {name: value for name, value in found.result.items() if name != "samples_ns"}
        self.proof.samples[runtime] = found.result["samples_ns"]
        self.proof.latency.append(
            {"stage": done.name, "runtime": runtime, "threads": asked.threads, **numbers, "status": found.status}
        )

    def _measure(self, label: str, job: str, options: dict[str, Any], runtime: str, payload: Any) -> Measured:
        """Find or run a measurement in a process of its own."""
        module = "sampling" if job == "latency" else "jobs"
        environment = machine.environment(self.harness.threads) if job == "latency" else None

        def produce() -> dict[str, Any]:
            self.emit(Event("measuring", label))
            given = payload()
            limit = self.harness.memory_mb if job == "latency" else None
            with (
                self.pool.fresh(environment=environment) as worker,
                limits_named(given, limit, "memory_mb in [harness]"),
            ):
                return worker.run(f"edgeconv.harness.{module}:{job}", given, who="the measurement")

        ingredients = of_measurement(job, _revision(), options, (*RUNTIMES[runtime].distributions, "numpy"))
        found = measured(self.run.store, ingredients, self.run.folder, produce, force=self.force)
        self.emit(Event("measured" if found.status == "measured" else "cached", label, seconds=found.seconds))
        self.proof.measurements.append({"name": label, "status": found.status, "seconds": round(found.seconds, 3)})
        return found


def _module_digest(metric: str, base: Path) -> str | None:
    """Digest of the file behind "pkg.mod:function", found without importing it; None where it is not a plain file."""
    places = [str(base), *sys.path]
    for part in metric.partition(":")[0].split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    return fingerprint.of_file(origin) if origin is not None and origin.is_file() else None


def _revision() -> str:
    """Digest of the harness's own text: a changed measurement is another measurement."""
    return fingerprint.of_data({path.name: fingerprint.of_file(path) for path in sorted(_HERE.glob("*.py"))})
