"""A Stage: one step of the chain, which turns one artifact kind into the next.

A concrete stage is a frozen dataclass whose fields are its options; they are all that the key sees of the target, and
all that the stage can read. `execute` enforces requires → build → ensures and runs inside a worker process.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from edgeconv import fingerprint, tomlfile
from edgeconv.artifact import Kind
from edgeconv.errors import EdgeconvError, TargetError


@dataclasses.dataclass(frozen=True)
class Job:
    """What a stage may use while it builds.

    Attributes:
        source: file or folder of the kind it consumes; read only.
        destination: where its product goes; does not exist yet.
        scratch: an empty folder of its own, removed afterwards.
    """

    source: Path
    destination: Path
    scratch: Path


@dataclasses.dataclass(frozen=True)
class Stage(ABC):
    """Base of all stages."""

    name: ClassVar[str]
    consumes: ClassVar[tuple[Kind, ...]]
    produces: ClassVar[Kind]
    #: Distributions whose version enters the key.
    distributions: ClassVar[tuple[str, ...]]
    #: edgeconv's own modules that decide what comes out; the digest of their text is the stage's revision.
    built_from: ClassVar[tuple[str, ...]] = ()
    #: Stages with the same worker name share one process, and so its imports.
    worker: ClassVar[str]
    #: Modules worth importing while earlier stages still run.
    preload: ClassVar[tuple[str, ...]] = ()

    def options(self) -> dict[str, Any]:
        """The options as plain data."""
        return dataclasses.asdict(self)

    def requires(self, job: Job) -> None:  # noqa: B027 - most stages take whatever has the right kind
        """Refuse an input that this stage cannot take, before any work. Raises StageError."""

    @abstractmethod
    def build(self, job: Job) -> dict[str, Any]:
        """Write `job.destination`; return notes (plain data) that travel with the artifact's record."""

    @abstractmethod
    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        """Read the product back and fail where it breaks its promise. Raises BadOutput."""

    def execute(self, job: Job) -> dict[str, Any]:
        """Requires → build → ensures. An error carries the stage's name."""
        try:
            self.requires(job)
            notes = self.build(job)
            self.ensures(job, notes)
        except EdgeconvError as error:
            error.stage = error.stage or self.name
            raise
        return notes

    @classmethod
    def revision(cls) -> str:
        """Digest of the source text of the modules that this stage is built from."""
        texts = {}
        for name in (cls.__module__, *cls.built_from):
            path = _location(name)
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                texts[f"{name}/{file.name}"] = fingerprint.of_file(file)
        return fingerprint.of_data(texts)


def _location(module: str) -> Path:
    """Where a module of edgeconv lies, without importing it."""
    root = Path(__file__).parent
    path = root.joinpath(*module.split(".")[1:])
    return path if path.is_dir() else path.with_suffix(".py")


def make(kinds: dict[str, type[Stage]], name: str, options: dict[str, Any], path: Path) -> Stage:
    """Build the stage `name` from a target's options.

    Args:
        kinds: stage class by name.
        name: as the target wrote it.
        options: plain data from the target's section.
        path: of the target, for the message.

    Raises:
        TargetError: no such stage, an unknown option, or a value of the wrong type.
    """
    import difflib

    from pydantic import TypeAdapter, ValidationError

    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        raise TargetError(
            f"{tomlfile.place(path, 'stages')}: there is no stage {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"the stages are {', '.join(kinds)}",
        )
    kind = kinds[name]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for option in options:
        if option not in fields:
            near = difflib.get_close_matches(option, fields, n=1)
            known = ", ".join(sorted(fields)) or "none"
            raise TargetError(
                f"{tomlfile.place(path, f'{name}.{option}')}: the stage {name!r} has no option {option!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"its options are: {known}",
            )
    try:
        adapter: TypeAdapter[Stage] = TypeAdapter(kind)
        return adapter.validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        raise TargetError(
            f"{tomlfile.place(path, f'{name}.{option}')}: option {option!r} of the stage {name!r}: "
            f"{first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}",
            hint="correct that value",
        ) from None


def execute_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """The job function by which a worker runs a stage; see `to_payload`."""
    module, _, name = payload["stage"].partition(":")
    kind: Callable[..., Stage] = getattr(importlib.import_module(module), name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in payload["options"].items()}
    sys.setrecursionlimit(10_000)  # deep graphs: exporters and onnx-tf recurse once a node
    job = Job(Path(payload["source"]), Path(payload["destination"]), Path(payload["scratch"]))
    return kind(**options).execute(job)


def to_payload(stage: Stage, job: Job) -> dict[str, Any]:
    """Plain data from which `execute_payload` runs `stage` on `job`."""
    return {
        "stage": f"{type(stage).__module__}:{type(stage).__qualname__}",
        "options": stage.options(),
        "source": str(job.source),
        "destination": str(job.destination),
        "scratch": str(job.scratch),
    }
