"""Target: a TOML file that names the stages with their options, the runtimes to measure, and the acceptance."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeconv import tomlfile
from edgeconv.errors import TargetError
from edgeconv.paths import shipped

RuntimeName = Literal["litert", "tflite-runtime"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Harness(_Section):
    """What is measured, and how.

    Attributes:
        runtimes: the runtimes that the final artifact is proven and timed on, the most important first.
        threads: of the runtime.
        cores: how many processors the timed process may use; absent: as many as threads.
        niceness: of the timed process, as for `nice`; absent: edgeconv's own.
        memory_mb: what the timed process may allocate beyond an empty interpreter, in 10⁶ bytes; absent: no limit.
        seeds: how many random inputs parity is measured on.
        min_runs: least number of timed invokes.
        min_seconds: least time spent on timed invokes.
    """

    runtimes: tuple[RuntimeName, ...] = ("litert", "tflite-runtime")
    threads: int = Field(1, ge=1, le=64)
    cores: int | None = Field(None, ge=1, le=1024)
    niceness: int | None = Field(None, ge=-20, le=19)
    memory_mb: float | None = Field(None, gt=0)
    seeds: int = Field(4, ge=1, le=1000)
    min_runs: int = Field(30, ge=5, le=100_000)
    min_seconds: float = Field(0.5, ge=0, le=3600)


class Acceptance(_Section):
    """What the result must keep, else the verdict is `rejected`. Absent means: no budget.

    Attributes:
        min_snr_db: by stage, signal-to-noise ratio against the reference, in dB.
        min_cosine: by stage, cosine similarity with the reference.
        max_bytes: size of the final artifact.
        max_p50_ms: by runtime, median latency in milliseconds.
        max_accuracy_drop: loss of the final artifact against the reference in the labelled set's first metric (top-1 accuracy,
            where it names none), as a fraction of 1.
    """

    min_snr_db: dict[str, float] = Field(default_factory=dict)
    min_cosine: dict[str, float] = Field(default_factory=dict)
    max_bytes: int | None = Field(None, gt=0)
    max_p50_ms: dict[RuntimeName, float] = Field(default_factory=dict)
    max_accuracy_drop: float | None = Field(None, ge=0, le=1)


class Limits(_Section):
    """What one stage may use.

    Attributes:
        seconds: wall time.
        memory_gb: resident memory in GB; absent: 90 % of the machine's.
    """

    seconds: float = Field(1800.0, gt=0)
    memory_gb: float | None = Field(None, gt=0)


class Target(BaseModel):
    """A parsed target file.

    Attributes:
        name: the file's stem.
        path: where it was found.
        summary: one sentence for `edgeconv targets`.
        stages: names in order.
        options: by stage, as written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: Path
    summary: str = ""
    stages: tuple[str, ...]
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    harness: Harness = Field(default_factory=Harness)
    acceptance: Acceptance = Field(default_factory=Acceptance)
    limits: Limits = Field(default_factory=Limits)


def folders(base: Path) -> list[Path]:
    """Where targets are looked up: the user's own folder first."""
    return [base / "targets", shipped("targets")]


def available(base: Path) -> dict[str, Path]:
    """Path of every target by name; the user's own hide shipped ones of the same name."""
    found: dict[str, Path] = {}
    for folder in reversed(folders(base)):
        if folder.is_dir():
            found.update({path.stem: path for path in sorted(folder.glob("*.toml"))})
    return dict(sorted(found.items()))


def load(name: str, base: Path) -> Target:
    """The target called `name`, or the one in the file that `name` is a path to.

    Raises:
        TargetError: unknown (with near names), broken TOML (with the line), an unknown or ill-typed option.
    """
    if name.endswith(".toml"):
        path = base / name
        if not path.is_file():
            raise TargetError(f"there is no target file {path}", hint="check the path, or see `edgeconv targets`")
        return parse(path)
    known = available(base)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise TargetError(
            f"there is no target {name!r}",
            hint=f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}",
        )
    return parse(known[name])


def parse(path: Path) -> Target:
    """Read one target file. Stage options are checked later, by the stages themselves."""
    data = tomlfile.read(path, TargetError)
    stages = data.get("stages")
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, str) for stage in stages):
        raise TargetError(
            f"{tomlfile.place(path, 'stages')}: `stages` must be a list of stage names",
            hint='for example stages = ["onnx", "saved_model", "tflite"]',
        )
    own = {"summary", "stages", "harness", "acceptance", "limits"}
    for key, value in data.items():
        if key not in own and (key not in stages or not isinstance(value, dict)):
            raise _unknown(path, key, value, sorted({*own, *stages}))
    try:
        target = Target(
            name=path.stem,
            path=path,
            options={stage: data.get(stage, {}) for stage in stages},
            **{key: data[key] for key in own if key in data},
        )
    except ValidationError as error:
        raise _invalid(path, error) from None
    _check_budgets(target)
    return target


def _unknown(path: Path, key: str, value: Any, known: list[str]) -> TargetError:
    near = difflib.get_close_matches(key, known, n=1)
    if key in known:
        what, hint = f"{key!r} must be a section", f"write [{key}] and its options below"
    else:
        what = f"[{key}] configures a stage that is not in `stages`" if isinstance(value, dict) else f"unknown {key!r}"
        hint = f"did you mean {near[0]!r}?" if near else f"sections are: {', '.join(known)}"
    return TargetError(f"{tomlfile.place(path, key)}: {what}", hint=hint)


def _invalid(path: Path, error: ValidationError) -> TargetError:
    """The first thing that pydantic found, with its line and near names."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "[key]")
    section, _, last = where.rpartition(".")
    sections: dict[str, type[_Section]] = {"harness": Harness, "acceptance": Acceptance, "limits": Limits}
    model = sections.get(section)
    known = list(model.model_fields) if model else []
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(last, known, n=1)
        what, hint = "unknown option", f"did you mean {near[0]!r}?" if near else f"options are: {', '.join(known)}"
    elif first["type"] == "model_type":
        what, hint = "must be a section", f"write [{where}] and its options below"
    else:
        what, hint = f"{_lower(first['msg'])}, got {first['input']!r}", "correct that value"
    return TargetError(f"{tomlfile.place(path, where)}: {where}: {what}", hint=hint)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _check_budgets(target: Target) -> None:
    """A budget for a stage or a runtime that does not take part would silently never be checked."""
    budgets: dict[str, tuple[dict[Any, float], str, tuple[str, ...]]] = {
        "min_snr_db": (target.acceptance.min_snr_db, "stage", target.stages),
        "min_cosine": (target.acceptance.min_cosine, "stage", target.stages),
        "max_p50_ms": (target.acceptance.max_p50_ms, "runtime", target.harness.runtimes),
    }
    for option, (entries, noun, known) in budgets.items():
        for name in entries:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                place = tomlfile.place(target.path, f"acceptance.{option}.{name}")
                raise TargetError(
                    f"{place}: acceptance.{option}: the target has no {noun} {name!r}",
                    hint=f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}",
                )
