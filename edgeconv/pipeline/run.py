"""Carries a plan out: builds what is missing in workers, publishes it, and tells by events what happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeconv import artifact
from edgeconv.artifact import Artifact, ArtifactFile
from edgeconv.errors import EdgeconvError, TargetError
from edgeconv.pipeline import identify
from edgeconv.pipeline.events import Emit, Event
from edgeconv.pipeline.keys import Ingredients
from edgeconv.pipeline.plan import Reason, Step, plan, plan_one
from edgeconv.pipeline.pool import Pool
from edgeconv.source import ModelSource, Snapshot
from edgeconv.stage import Job, Stage, to_payload
from edgeconv.store import BlobCorrupt, Record, Store

_LAST = "last"


@dataclass(frozen=True)
class Outlook:
    """What is known before anything runs.

    Attributes:
        snapshot: the model as it was last loaded, if it is still the same.
        changed: what of it changed otherwise.
        steps: the plan.
    """

    snapshot: Snapshot | None
    changed: list[str]
    steps: list[Step]


@dataclass(frozen=True)
class Chain:
    """A model on its way through a target's stages.

    Attributes:
        source: the model.
        target: name of the target, under which the last run is remembered.
        stages: in order.
    """

    source: ModelSource
    target: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        """Every stage must take what the one before makes. Raises TargetError."""
        kind: artifact.Kind = "torch"
        for stage in self.stages:
            if kind not in stage.consumes:
                raise TargetError(
                    f"target {self.target!r}: the stage {stage.name!r} takes {' or '.join(stage.consumes)}, "
                    f"but is handed {kind}",
                    hint="put a stage before it that makes that, or change the order in `stages`",
                )
            kind = stage.produces

    def last(self, store: Store, stage: str) -> Ingredients | None:
        """What the stage was built from when this model last went through this target."""
        found: Ingredients | None = store.note(_LAST, self._name(stage))
        return found

    def remember(self, store: Store, stage: str, ingredients: Ingredients) -> None:
        """Keep it for the next run's reasons."""
        if self.last(store, stage) != ingredients:
            store.put_note(_LAST, self._name(stage), ingredients)

    def _name(self, stage: str) -> str:
        return f"{self.source.identity()}/{self.target}/{stage}"

    def forget(self, store: Store) -> None:
        """Drop what was noted of this model: its snapshots and last ingredients. Results stay."""
        identify.forget(self.source, store)
        for stage in self.stages:
            store.drop_note(_LAST, self._name(stage.name))

    def plan(self, store: Store, *, force: bool = False) -> list[Step]:
        """Plan without running anything."""
        return self.look(store, force=force).steps

    def look(self, store: Store, *, force: bool = False) -> Outlook:
        """See whether the model is the same and what is in the store, without running anything."""
        snapshot, changed = identify.known(self.source, store)
        steps = plan(
            self.stages,
            snapshot.digest(self.source) if snapshot else None,
            store.find,
            lambda stage: self.last(store, stage),
            changed=changed,
            force=force,
        )
        return Outlook(snapshot, changed, steps)


@dataclass
class Done:
    """A step that is finished.

    Attributes:
        name, status, reason: as in the report; status is "built" or "cached".
        seconds: of this run; 0 where cached.
        record: in the store.
        artifact: kind, digest, size.
        peak_bytes: resident memory of the worker while it built; 0 where cached.
    """

    name: str
    status: str
    reason: Reason
    seconds: float
    record: Record
    artifact: Artifact
    peak_bytes: int = 0


@dataclass
class Run:
    """One chain being carried out in a scratch folder of the store.

    Attributes:
        chain, store, pool, emit, force: what it works with.
        folder: scratch; removed by its owner.
        done: finished steps in order.
        leaving: told a worker's name once no later stage wants it: whoever has work left for it does that now or lets it go.
    """

    chain: Chain
    store: Store
    pool: Pool
    emit: Emit
    folder: Path
    force: bool = False
    done: list[Done] = field(default_factory=list)
    leaving: Callable[[str], None] = lambda _: None
    snapshot: Snapshot | None = None
    _paths: dict[str, Path] = field(default_factory=dict)
    _missing: list[Stage] = field(default_factory=list)

    def carry_out(self, outlook: Outlook | None = None) -> list[Done]:
        """Run or find every step.

        Args:
            outlook: of the chain, if the caller has it already.

        Raises:
            EdgeconvError: what went wrong; `done` holds the steps before it, which stay in the store.
        """
        if outlook is None:
            outlook = self.chain.look(self.store, force=self.force)
        planned = list(zip(self.chain.stages, outlook.steps, strict=True))
        self._missing = [stage for stage, step in planned if step.status != "cached"]
        self.snapshot, changed = outlook.snapshot, outlook.changed
        if self.snapshot is None:
            self.snapshot, changed = identify.identify(self.chain.source, self.store, self.pool, self._prepare)
        digest = self._source_digest()
        for position, (stage, step) in enumerate(planned):
            try:
                holds = step.ingredients is not None and step.ingredients["input"] == digest
                now = step if holds else self._plan(stage, digest, changed if not self.done else [])
                self.done.append(self._step(stage, now, digest))
            except EdgeconvError as error:
                error.stage = error.stage or stage.name
                raise
            digest = self.done[-1].artifact.digest
            later = [stage.worker for stage, _ in planned[position + 1 :]]
            if later and stage.worker not in later:
                self.leaving(stage.worker)
        return self.done

    def file_of(self, name: str) -> ArtifactFile:
        """The finished artifact of a stage as a verified file or folder on disk.

        A copy in the store that turns out to be damaged is rebuilt.
        """
        position = next(i for i, done in enumerate(self.done) if done.name == name)
        done = self.done[position]
        if name in self._paths:
            return ArtifactFile(done.artifact, self._paths[name])
        path = self.folder / f"{name}{artifact.SUFFIX[done.artifact.kind] or ''}"
        try:
            self.store.fetch(done.record.blob, path)
        except BlobCorrupt:
            rebuilt = self._build(
                self.chain.stages[position],
                self.done[position - 1].artifact.digest if position else self._source_digest(),
                Reason("result_lost"),
                self.done[:position],
            )
            self.done[position] = rebuilt
            return self.file_of(name)
        self._paths[name] = path
        return ArtifactFile(done.artifact, path)

    def source_file(self) -> Path:
        """The model source as plain data, which stages and the reference load the model from."""
        path = self.folder / "source.json"
        if not path.exists():
            path.write_text(json.dumps(self.chain.source.to_json()))
        return path

    def _source_digest(self) -> str:
        assert self.snapshot is not None
        return self.snapshot.digest(self.chain.source)

    def _prepare(self) -> None:
        """Start the workers, once this process has the lock: of many that ask for the same, only one imports torch."""
        self.pool.prepare(self._missing)
        self._missing = []

    def _plan(self, stage: Stage, digest: str, changed: Sequence[str]) -> Step:
        return plan_one(
            stage, digest, self.store.find, lambda name: self.chain.last(self.store, name),
            changed=changed, force=self.force,
        )  # fmt: skip

    def _step(self, stage: Stage, step: Step, digest: str) -> Done:
        if step.record is None:
            return self._build(stage, digest, step.reason, self.done)
        assert step.ingredients is not None
        self.chain.remember(self.store, stage.name, step.ingredients)
        self.emit(Event("cached", stage.name, bytes=step.record.blob.bytes))
        return _finished(stage, step.record, "cached", step.reason)

    def _build(self, stage: Stage, digest: str, reason: Reason, before: Sequence[Done]) -> Done:
        self.emit(Event("started", stage.name, reason=reason))
        source = self.source_file()
        if before:  # before the key is made: a damaged input is rebuilt, and what comes out then is what counts
            found = self.file_of(before[-1].name)
            source, digest = found.path, found.artifact.digest
        step = plan_one(stage, digest, lambda _: None, lambda _: None)
        assert step.key is not None
        assert step.ingredients is not None
        with self.store.lock(step.key):
            record = None if self.force else self.store.find(step.key)
            if record is not None:  # another process built it while this one waited for the lock
                self.chain.remember(self.store, stage.name, step.ingredients)
                self.emit(Event("cached", stage.name, bytes=record.blob.bytes))
                return _finished(stage, record, "cached", Reason("cached"))
            self._prepare()
            started = time.monotonic()
            record, path, peak = self._work(stage, step, source)
            seconds = time.monotonic() - started
        self.chain.remember(self.store, stage.name, step.ingredients)
        if self.store.blob_of(path) == record.blob:  # else another's result counts
            self._paths[stage.name] = path
        self.emit(Event("built", stage.name, seconds=seconds, bytes=record.blob.bytes))
        return replace(_finished(stage, record, "built", reason), seconds=seconds, peak_bytes=peak)

    def _work(self, stage: Stage, step: Step, source: Path) -> tuple[Record, Path, int]:
        attempt = sum(1 for _ in self.folder.glob(f"{stage.name}-*"))
        room = self.folder / f"{stage.name}-{attempt}"
        scratch = room / "scratch"
        scratch.mkdir(parents=True)
        destination = room / f"{stage.name}{artifact.SUFFIX[stage.produces] or ''}"
        worker = self.pool.get(stage.worker)
        notes = worker.run("edgeconv.stage:execute_payload", to_payload(stage, Job(source, destination, scratch)))
        assert step.key is not None
        meta: dict[str, Any] = {"notes": notes, "ingredients": step.ingredients, "kind": stage.produces}
        return self.store.publish(step.key, destination, meta), destination, worker.peak_bytes


def _finished(stage: Stage, record: Record, status: str, reason: Reason) -> Done:
    made = Artifact(stage.produces, record.blob.digest, record.blob.bytes)
    return Done(stage.name, status, reason, 0.0, record, made)
