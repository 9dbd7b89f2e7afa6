"""The user's project: models declared in `edgeconv.toml`, or in `[tool.edgeconv]` of pyproject.toml."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeconv import tomlfile
from edgeconv.errors import EdgeconvError, ProjectError
from edgeconv.source import ModelSource, parse_input, parse_reference


class _Declared(BaseModel):
    """One `[models.NAME]` section."""

    model_config = ConfigDict(extra="forbid")

    model: str
    weights: str | None = None
    inputs: list[str] = Field(default_factory=list)
    labelled: str | None = None


@dataclass(frozen=True)
class Project:
    """Declared models by name, and the folder that relative paths start from."""

    base: Path
    models: dict[str, ModelSource]


def find(folder: Path) -> Project:
    """The project of `folder`: its own file, or the nearest above it; without one, a project that declares nothing.

    Raises:
        ProjectError: broken TOML, an unknown key, or a model that cannot be had.
    """
    for here in [folder, *folder.parents]:
        for name in ("edgeconv.toml", "pyproject.toml"):
            path = here / name
            if not path.is_file():
                continue
            data = tomlfile.read(path, ProjectError)
            section = data if name == "edgeconv.toml" else data.get("tool", {}).get("edgeconv")
            if section is not None:
                return Project(here, _models(section, path))
    return Project(folder, {})


def pick(project: Project, names: list[str]) -> list[ModelSource]:
    """The named models in that order, or all. Raises ProjectError for a name that is not declared."""
    for name in names:
        if name not in project.models:
            near = difflib.get_close_matches(name, project.models, n=3)
            declared = ", ".join(project.models) or "none"
            raise ProjectError(
                f"no model {name!r} is declared",
                hint=f"did you mean {' or '.join(near)}?"
                if near
                else f"declared are: {declared}; a model that is not declared goes with --model",
            )
    return [project.models[name] for name in names] or list(project.models.values())


def _models(section: dict[str, Any], path: Path) -> dict[str, ModelSource]:
    unknown = sorted(set(section) - {"models"})
    if unknown:
        raise ProjectError(
            f"{tomlfile.place(path, unknown[0])}: unknown key {unknown[0]!r}", hint="models stand in [models.NAME]"
        )
    found = {}
    for name, entry in section.get("models", {}).items():
        try:
            declared = _Declared.model_validate(entry)
            found[name] = parse_reference(
                declared.model,
                base=path.parent,
                name=name,
                weights=declared.weights,
                inputs=tuple(parse_input(text) for text in declared.inputs),
                labelled=declared.labelled,
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise ProjectError(
                f"{tomlfile.place(path, f'models.{name}')}: {'.'.join(str(p) for p in first['loc'])}: "
                f"{first['msg'].lower()}",
                hint="a model has the keys: model, weights, inputs, labelled",
            ) from None
        except EdgeconvError as error:
            error.message = f"model {name!r} in {path}: {error.message}"
            error.args = (error.message,)
            raise
    return found
