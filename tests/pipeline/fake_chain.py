"""Four stages that work on text, so that the pipeline is tested without torch; also imported by real workers."""

from __future__ import annotations

import importlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgeconv.artifact import Kind
from edgeconv.errors import StageError
from edgeconv.fingerprint import of_file
from edgeconv.pipeline import Chain, Event, Pool, Run
from edgeconv.source import ModelSource, Snapshot
from edgeconv.stage import Job, Stage
from edgeconv.store import Store
from edgeconv.worker import Limits


@dataclass(frozen=True)
class TextStage(Stage):
    """What the fakes share."""

    distributions: ClassVar[tuple[str, ...]] = ("numpy", "pydantic")
    worker: ClassVar[str] = "text"
    edition: ClassVar[str] = "1"

    @classmethod
    def revision(cls) -> str:
        return cls.edition

    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        assert job.destination.exists()


@dataclass(frozen=True)
class Spell(TextStage):
    """The model file without comments, in capitals."""

    name: ClassVar[str] = "spell"
    consumes: ClassVar[tuple[Kind, ...]] = ("torch",)
    produces: ClassVar[Kind] = "onnx"

    def build(self, job: Job) -> dict[str, Any]:
        text = Path(json.loads(job.source.read_text())["file"]).read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        job.destination.write_text("\n".join(lines).upper())
        return {"lines": len(lines)}


@dataclass(frozen=True)
class Twice(TextStage):
    """The text several times; or whatever can go wrong."""

    times: int = 2
    words: tuple[str, ...] = ("and", "so")
    mishap: str = ""

    name: ClassVar[str] = "twice"
    consumes: ClassVar[tuple[Kind, ...]] = ("onnx",)
    produces: ClassVar[Kind] = "onnx-quantized"

    def build(self, job: Job) -> dict[str, Any]:
        if self.mishap == "refuses":
            raise StageError("no", hint="try yes")
        job.destination.write_text("half of it")
        if self.mishap == "raises":
            raise ZeroDivisionError("oh")
        if self.mishap == "dies":
            os._exit(3)
        if self.mishap == "hangs":
            time.sleep(600)
        text = job.source.read_text() * self.times
        job.destination.write_text(text + (os.urandom(8).hex() if self.mishap == "differs" else ""))
        return {}


@dataclass(frozen=True)
class Shelf(TextStage):
    """A folder with two files; with `throws` each build of it gives another one."""

    throws: bool = False

    name: ClassVar[str] = "shelf"
    consumes: ClassVar[tuple[Kind, ...]] = ("onnx-quantized",)
    produces: ClassVar[Kind] = "saved-model"

    def build(self, job: Job) -> dict[str, Any]:
        (job.destination / "inside").mkdir(parents=True)
        (job.destination / "text").write_bytes(job.source.read_bytes())
        (job.destination / "inside" / "dice").write_text(os.urandom(8).hex() if self.throws else "4")
        return {}


@dataclass(frozen=True)
class Pack(TextStage):
    """The folder as one file."""

    wrap: str = "<>"

    name: ClassVar[str] = "pack"
    consumes: ClassVar[tuple[Kind, ...]] = ("saved-model",)
    produces: ClassVar[Kind] = "tflite"

    def build(self, job: Job) -> dict[str, Any]:
        text = (job.source / "text").read_text() + (job.source / "inside" / "dice").read_text()
        job.destination.write_text(self.wrap[0] + text + self.wrap[1])
        return {}


class Inline:
    """A worker's place, in this process."""

    peak_bytes = 7

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.started = 0

    def start(self) -> None:
        self.started += 1

    def run(self, function: str, payload: dict[str, Any], **limits: Any) -> dict[str, Any]:
        module, _, name = function.partition(":")
        self.calls.append(payload["stage"].partition(":")[2] if "stage" in payload else name)
        if name == "probe":
            file = Path(payload["source"]["file"])
            return Snapshot({"model": {"path": str(file), "sha256": of_file(file)}}).to_json()
        found: dict[str, Any] = getattr(importlib.import_module(module), name)(payload)
        return found

    def dismiss(self) -> None:
        """Nothing to dismiss: it runs in this process."""

    def close(self) -> None:
        pass


class InlinePool(Pool):
    """Runs everything in this process and remembers what it ran."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Limits(), folder)
        self.calls: list[str] = []

    def fresh(self, preload: Any = ()) -> Any:
        return Inline(self.calls)


@dataclass
class Bench:
    """A model file, a store, and runs over them."""

    folder: Path
    stages: tuple[Stage, ...] = (Spell(), Twice(), Shelf(), Pack())
    force: bool = False
    target: str = "paper"
    events: list[Event] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.model = self.folder / "model.txt"
        if not self.model.exists():
            self.model.write_text("a model\n")
        self.store = Store(self.folder / "cache")

    @property
    def chain(self) -> Chain:
        source = ModelSource("model", "factory", "model.txt:make", self.folder, file=self.model, factory="make")
        return Chain(source, self.target, self.stages)

    def plan(self) -> dict[str, tuple[str, str]]:
        return {step.name: (step.status, step.reason.kind) for step in self.chain.plan(self.store, force=self.force)}

    def reason(self, name: str) -> Any:
        return next(step.reason for step in self.chain.plan(self.store, force=self.force) if step.name == name)

    def run(self, pool: Pool | None = None) -> dict[str, tuple[str, str]]:
        """One run; status and reason of every step. `text` is what came out."""
        self.events.clear()
        with self.store.workdir() as folder:
            self.pool = pool or InlinePool(folder)
            run = Run(self.chain, self.store, self.pool, self.events.append, folder, self.force)
            try:
                run.carry_out()
            finally:
                self.calls = list(getattr(self.pool, "calls", []))
                self.done = run.done
            self.text = run.file_of(run.done[-1].name).path.read_text()
            self.calls = list(getattr(self.pool, "calls", []))
        return {done.name: (done.status, done.reason.kind) for done in run.done}

    def record(self, kind: str) -> Any:
        return next(record for record in self.store.records() if record.meta["kind"] == kind)

    def blob(self, kind: str) -> Path:
        return self.folder / "cache" / "v1" / "blobs" / self.record(kind).blob.digest

    def kinds(self) -> list[str]:
        return sorted(record.meta["kind"] for record in self.store.records())
