"""A finished run of one stage, and a pool that invents its measurements: proving is tested without runtimes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeconv.artifact import Kind
from edgeconv.fingerprint import of_file
from edgeconv.pipeline import Chain, Event, Pool, Run
from edgeconv.source import InputSpec, ModelSource, Snapshot
from edgeconv.stage import Job, Stage, execute_payload
from edgeconv.store import Store
from edgeconv.target import Harness
from edgeconv.worker import Limits

PARITY = {
    "max_abs_error": 0.5, "mean_abs_error": 0.1, "snr_db": 30.0, "cosine": 0.9, "nan": 0, "inf": 0, "samples": 4,
    "outputs": {},
}  # fmt: skip
ACCURACY = {
    "metric": "top1", "samples": 4, "method": "wilson",
    "reference": {"value": 0.8, "ci_low": 0.5, "ci_high": 1.0},
    "found": {"value": 0.75, "ci_low": 0.4, "ci_high": 0.9},
    "drop": {"value": 0.05, "ci_low": -0.1, "ci_high": 0.2},
}  # fmt: skip
CONTRACT = {
    "inputs": [{"name": "image", "shape": [1, 2], "dtype": "float32"}],
    "outputs": [{"name": "output", "shape": [1, 2], "dtype": "float32"}],
}


@dataclass(frozen=True)
class Copy(Stage):
    """The model file as it is."""

    mark: str = ""

    name: ClassVar[str] = "copy"
    consumes: ClassVar[tuple[Kind, ...]] = ("torch",)
    produces: ClassVar[Kind] = "tflite"
    distributions: ClassVar[tuple[str, ...]] = ()
    worker: ClassVar[str] = "torch"

    @classmethod
    def revision(cls) -> str:
        return "1"

    def build(self, job: Job) -> dict[str, Any]:
        job.destination.write_text(Path(json.loads(job.source.read_text())["file"]).read_text() + self.mark)
        return {}

    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        assert job.destination.is_file()


class Invented(Pool):
    """Answers every job at once; remembers the jobs and what they were handed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Limits(), folder)
        self.jobs: list[str] = []
        self.payloads: list[dict[str, Any]] = []
        self.ms = 1.0

    def fresh(self, preload: Any = (), environment: Any = None) -> Any:
        return self

    def start(self) -> None:
        pass

    close = start
    peak_bytes = 0

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, function: str, payload: dict[str, Any], **limits: Any) -> dict[str, Any]:
        job = function.partition(":")[2]
        if job == "execute_payload":
            return execute_payload(payload)
        self.jobs.append(job)
        self.payloads.append(payload)
        if job == "reference":
            with Path(payload["destination"]).open("wb") as stream:
                np.savez(stream, **{"in/0/image": np.zeros((1, 2)), "out/0/output": np.ones((1, 2))})
            return {"runtime": "torch", "outputs": CONTRACT["outputs"]}
        stored = payload["inputs" if job == "latency" else "reference"]
        assert np.load(stored)["out/0/output"].sum() == 2  # the job gets a whole file
        assert Path(payload["artifact"]).read_text().startswith("model")
        if job == "latency":
            return {"p50_ms": self.ms, "runs": 5, "samples_ns": [1, 2]}
        accuracy = [ACCURACY] if payload["labelled"] else None
        return {"parity": PARITY, "accuracy": accuracy, "contract": CONTRACT}


@dataclass
class Bench:
    """A model file and a store, and proofs over them."""

    folder: Path
    harness: Harness = Harness(seeds=2)  # noqa: RUF009  # frozen
    labelled: Any = None
    mark: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.model = self.folder / "model.txt"
        self.model.write_text("model")
        self.store = Store(self.folder / "cache")
        self.ms = 1.0

    def prove(self) -> Any:
        """One run and its proof; `jobs` is what had to be measured for it."""
        from edgeconv.harness import Prover

        source = ModelSource("model", "factory", "model.txt:make", self.folder, file=self.model, factory="make")
        files = {"model": {"path": str(self.model), "sha256": of_file(self.model)}}
        snapshot = Snapshot(files, {}, (InputSpec("image", (1, 2)),))
        self.store.put_note("snapshots", source.identity(), [snapshot.to_json()])
        events: list[Event] = []
        with self.store.workdir() as folder:
            pool = Invented(folder)
            pool.ms = self.ms
            run = Run(Chain(source, "phone", (Copy(self.mark),)), self.store, pool, events.append, folder)
            run.carry_out()
            prover = Prover(run, pool, events.append, self.harness, self.labelled, self.force)
            try:
                proof = prover.prove()
            finally:
                self.jobs, self.payloads, self.events = pool.jobs, pool.payloads, events
            self.outputs = prover.outputs()
        return proof

    def blobs_of(self, step: str) -> list[Path]:
        return [
            self.folder / "cache" / "v1" / "blobs" / record.blob.digest
            for record in self.store.records()
            if record.meta["ingredients"]["step"] == step
        ]
