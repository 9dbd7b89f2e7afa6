"""The user's project: models declared in `edgeconv.toml`, or in `[tool.edgeconv]` of pyproject.toml."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeconv import tomlfile
from edgeconv.errors import EdgeconvError, ProjectError
from edgeconv.source import PROBE_BATCH, ModelSource, parse_input, parse_reference

_FORM = "each model stands in a section [models.NAME]; in pyproject.toml [tool.edgeconv.models.NAME]"


class _Declared(BaseModel):
    """One `[models.NAME]` section."""

    model_config = ConfigDict(extra="forbid")

    model: str
    weights: str | None = None
    inputs: list[str] = Field(default_factory=list)
    labelled: str | None = None
    dynamic: list[Literal[0]] = Field(default_factory=list)


@dataclass(frozen=True)
class Project:
    """What a project declares.

    Attributes:
        base: folder that relative paths start from.
        path: file with the declarations; None where there is none.
        models: the sections by name; a model is looked for only when it is picked.
    """

    base: Path
    path: Path | None
    models: dict[str, _Declared]


def find(folder: Path) -> Project:
    """The project of `folder`: its own file, or the nearest above it; without one, a project that declares nothing.

    Raises:
        ProjectError: broken TOML, or an unknown or ill-typed key.
    """
    for here in [folder, *folder.parents]:
        for name in ("edgeconv.toml", "pyproject.toml"):
            path = here / name
            if not path.is_file():
                continue
            section: Any = tomlfile.read(path, ProjectError)
            prefix: tuple[str, ...] = ()
            if name == "pyproject.toml":
                prefix = ("tool", "edgeconv")
                tool = section.get("tool")
                section = tool.get("edgeconv") if isinstance(tool, dict) else None
            if section is not None:
                return Project(here, path, _declared(section, path, prefix))
    return Project(folder, None, {})


def pick(project: Project, names: list[str]) -> list[ModelSource]:
    """The named models in that order, or all.

    Raises:
        ProjectError: a name that is not declared.
        SourceError, UsageError: what a model names cannot be had.
    """
    for name in names:
        if name not in project.models:
            near = difflib.get_close_matches(name, project.models, n=3)
            declared = ", ".join(project.models) or "none"
            raise ProjectError(
                f"no model {name!r} is declared" + (f" in {project.path}" if project.path else ""),
                hint=f"did you mean {' or '.join(near)}?"
                if near
                else f"declared are: {declared}; a model that is not declared goes with --model",
            )
    return [_source(project, name) for name in dict.fromkeys(names or project.models)]


def _source(project: Project, name: str) -> ModelSource:
    declared = project.models[name]
    try:
        source = parse_reference(
            declared.model,
            base=project.base,
            name=name,
            weights=declared.weights,
            inputs=tuple(parse_input(text) for text in declared.inputs),
            labelled=declared.labelled,
        )
        return replace(source, batch=PROBE_BATCH) if declared.dynamic else source
    except EdgeconvError as error:
        error.message = f"model {name!r} in {project.path}: {error.message}"
        error.args = (error.message,)
        raise


def _declared(section: Any, path: Path, prefix: tuple[str, ...]) -> dict[str, _Declared]:
    title = ".".join(prefix)
    if not isinstance(section, dict):
        raise ProjectError(f"{tomlfile.place(path, title)}: [{title}] must be a section", hint=_FORM)
    for key in section:
        if key != "models":
            near = difflib.get_close_matches(key, ["models"], n=1)
            raise ProjectError(
                f"{tomlfile.place(path, '.'.join([*prefix, key]))}: unknown key {key!r}",
                hint=f"did you mean {near[0]!r}?" if near else _FORM,
            )
    models = section.get("models", {})
    if not isinstance(models, dict):
        raise ProjectError(
            f"{tomlfile.place(path, '.'.join([*prefix, 'models']))}: `models` must be a section", hint=_FORM
        )
    found = {}
    for name, entry in models.items():
        try:
            found[name] = _Declared.model_validate(entry)
        except ValidationError as error:
            raise _invalid(error, path, (*prefix, "models", name)) from None
    return found


def _invalid(error: ValidationError, path: Path, at: tuple[str, ...]) -> ProjectError:
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])  # a misspelt key is also missing
    at = (*at, *map(str, first["loc"]))
    key = at[-1]
    said = {"extra_forbidden": "unknown key", "missing": "is missing", "model_type": "must be a section"}
    what = said.get(first["type"], first["msg"])
    known = list(_Declared.model_fields)
    near = difflib.get_close_matches(key, known, n=1) if first["type"] == "extra_forbidden" else []
    return ProjectError(
        f"{tomlfile.place(path, '.'.join(at))}: {'.'.join(at)}: {what[:1].lower()}{what[1:]}",
        hint=f"did you mean {near[0]!r}?" if near else f"a model has the keys: {', '.join(known)}",
    )
