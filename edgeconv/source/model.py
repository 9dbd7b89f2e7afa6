"""What names a model, and the snapshot by which later runs know that it has not changed, without importing it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgeconv import fingerprint
from edgeconv.errors import BrokenModelFile, ModuleMissing, UsageError
from edgeconv.source.inputs import InputSpec

SourceKind = Literal["factory", "onnx", "pt2", "torchscript"]

_SUFFIXES: dict[str, SourceKind] = {".onnx": "onnx", ".pt2": "pt2", ".ts": "torchscript", ".torchscript": "torchscript"}


#: The batch at which a chain runs whose result is to take any: a size that hardly anything else in a network has, so that
#: a multiple of it in a finished file is the batch (see rewrite.free_batch). 13 is not: 65 tokens are 64 patches and a
#: class; 17, 19, 23 and 29 are in the widths of well-known networks.
PROBE_BATCH = 31


@dataclass(frozen=True)
class ModelSource:
    """A model as the user named it.

    Attributes:
        name: what its folder and its report are called.
        kind: how it is loaded.
        reference: as written.
        base: folder against which modules and files are found.
        file: the `.py`, `.onnx` or `.pt2` file, if the reference names one.
        module: dotted module name of a factory that is not given by file.
        factory: name of the callable.
        weights: checkpoint for the factory's module.
        inputs: what the user said of the inputs; empty: the factory tells.
        trust: whether a file may be executed on load.
        labelled: calibration set with labels, if one is declared.
        batch: size of the first axis of every input, instead of the model's own; see PROBE_BATCH.
    """

    name: str
    kind: SourceKind
    reference: str
    base: Path
    file: Path | None = None
    module: str = ""
    factory: str = ""
    weights: Path | None = None
    inputs: tuple[InputSpec, ...] = ()
    trust: bool = False
    labelled: str | None = None
    batch: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data from which a worker loads the model."""
        return {
            "name": self.name,
            "kind": self.kind,
            "reference": self.reference,
            "base": str(self.base),
            "file": str(self.file) if self.file else None,
            "module": self.module,
            "factory": self.factory,
            "weights": str(self.weights) if self.weights else None,
            "inputs": [spec.to_json() for spec in self.inputs],
            "trust": self.trust,
            "labelled": self.labelled,
            "batch": self.batch,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> ModelSource:
        """The source that `to_json` described."""
        return ModelSource(
            **{
                key: data[key]
                for key in ("name", "kind", "reference", "module", "factory", "trust", "labelled", "batch")
            },
            base=Path(data["base"]),
            file=Path(data["file"]) if data["file"] else None,
            weights=Path(data["weights"]) if data["weights"] else None,
            inputs=tuple(InputSpec.from_json(spec) for spec in data["inputs"]),
        )

    def identity(self) -> str:
        """Digest of how the model is named, under which its snapshots are kept. Not of what it contains."""
        data = self.to_json()
        del data["name"], data["labelled"], data["trust"]
        return fingerprint.of_data(data | {"reader": reader(Path(__file__).parent)})


@functools.cache
def reader(folder: Path) -> str:
    """Digest of the code in a folder: snapshots hold ranges that this room's code read off an example; newer code reads anew."""
    return fingerprint.of_data({file.name: fingerprint.of_file(file) for file in sorted(folder.glob("*.py"))})


@dataclass(frozen=True)
class Snapshot:
    """What a model consisted of when it was last loaded.

    Attributes:
        files: by a name that does not depend on the folder (module name, or file name): path and digest.
        distributions: installed packages that its modules came from, with versions.
        inputs: the inputs as the loaded model has them, with ranges.
        facts: what else the load found (example ranges, warnings), plain data.
    """

    files: dict[str, dict[str, str]]
    distributions: dict[str, str] = field(default_factory=dict)
    inputs: tuple[InputSpec, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def digest(self, source: ModelSource) -> str:
        """Digest of the model's content: files, packages, factory name and inputs; not of where they lie."""
        return fingerprint.of_data(
            {
                "kind": source.kind,
                "factory": source.factory,
                "module": source.module or (source.file.name if source.file else ""),
                "weights": source.weights is not None,
                "files": {name: entry["sha256"] for name, entry in self.files.items()},
                "distributions": self.distributions,
                "inputs": [spec.to_json() for spec in self.inputs],
            }
        )

    def changes(self) -> list[str]:
        """Names of files and packages that are no longer as recorded. Hashes files; imports nothing."""
        changed = [
            name
            for name, entry in sorted(self.files.items())
            if not Path(entry["path"]).is_file() or fingerprint.of_file(Path(entry["path"])) != entry["sha256"]
        ]
        now = fingerprint.versions(self.distributions)
        return changed + [name for name in sorted(now) if now[name] != self.distributions[name]]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "files": self.files,
            "distributions": self.distributions,
            "inputs": [spec.to_json() for spec in self.inputs],
            "facts": self.facts,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Snapshot:
        """The snapshot that `to_json` described."""
        return Snapshot(
            data["files"],
            data["distributions"],
            tuple(InputSpec.from_json(spec) for spec in data["inputs"]),
            data["facts"],
        )


def parse_reference(
    reference: str,
    *,
    base: Path,
    name: str | None = None,
    weights: str | None = None,
    inputs: tuple[InputSpec, ...] = (),
    trust: bool = False,
    labelled: str | None = None,
) -> ModelSource:
    """Read `pkg.mod:factory`, `file.py:factory`, or a path to `.onnx`, `.pt2` or TorchScript.

    Raises:
        UsageError: the reference has none of these forms.
        ModuleMissing, BrokenModelFile: a file that it names does not exist.
    """
    if name is not None and slug(name) != name:
        raise UsageError(
            f"the model name {name!r} cannot be a folder's name",
            hint=f"letters, digits, '.', '_' and '-', as {slug(name)}",
        )
    weights_path = _existing(base / weights, "the checkpoint") if weights else None
    common = ModelSource(
        name="", kind="factory", reference=reference, base=base, weights=weights_path, inputs=inputs, trust=trust,
        labelled=labelled,
    )  # fmt: skip
    kind = _SUFFIXES.get(Path(reference).suffix.lower())
    if kind is None and Path(reference).suffix.lower() in {".pt", ".pth"}:
        kind = "torchscript"
    if kind is not None:
        path = _existing(base / reference, "the model file")
        return replace(common, name=name or slug(path.stem), kind=kind, file=path)
    where, _, factory = reference.rpartition(":")
    if not where or not factory.isidentifier():
        raise UsageError(
            f"cannot read the model reference {reference!r}",
            hint="write pkg.mod:factory, file.py:factory, or a path that ends in .onnx or .pt2",
        )
    if where.endswith(".py"):
        path = base / where
        if not path.is_file():
            raise ModuleMissing(f"there is no file {path}", hint="check the path before the colon of --model")
        return replace(common, name=name or slug(f"{path.stem}-{factory}"), file=path.resolve(), factory=factory)
    if not all(part.isidentifier() for part in where.split(".")):
        raise UsageError(
            f"{where!r} in {reference!r} is neither a module name nor a .py file",
            hint="write pkg.mod:factory or file.py:factory",
        )
    return replace(common, name=name or slug(f"{where.rpartition('.')[2]}-{factory}"), module=where, factory=factory)


def slug(text: str) -> str:
    """A name that can be a folder: letters, digits, `.`, `_`, `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "model"


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise BrokenModelFile(f"{what} {path} does not exist", hint="check the path")
    return path.resolve()
