"""What a file that somebody hands to the harness is, by its content, and which runtimes take it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeconv import fingerprint
from edgeconv.errors import BrokenModelFile, UsageError
from edgeconv.harness import external

FileKind = Literal["tflite", "onnx", "ort", "saved-model"]

#: Runtimes that take a kind, the usual one first.
TAKERS: dict[FileKind, tuple[str, ...]] = {
    "tflite": ("litert", "tflite-runtime"),
    "onnx": ("onnxruntime",),
    "ort": ("onnxruntime",),
    "saved-model": ("tensorflow",),
}
_IDENTIFIERS: dict[bytes, FileKind] = {b"TFL3": "tflite", b"ORTM": "ort"}


@dataclass(frozen=True)
class ModelFile:
    """A file or folder that a runtime can load.

    Attributes:
        path: where it lies.
        kind: by content.
        bytes: size; of a folder, all files added up; of an `.onnx`, its external data too.
        sha256: of the content; of several files, of the canonical JSON of their digests.
    """

    path: Path
    kind: FileKind
    bytes: int
    sha256: str


def look(path: Path) -> ModelFile:
    """What lies at `path`.

    Raises:
        UsageError: nothing, or something that is no model.
        BrokenModelFile: its name promises a kind that its content is not, or its external data are not there.
    """
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise UsageError(f"the folder {path} is no SavedModel: it has no saved_model.pb", hint=_HINT)
        files = sorted(each for each in path.rglob("*") if each.is_file())
        digests = {each.relative_to(path).as_posix(): fingerprint.of_file(each) for each in files}
        return ModelFile(path, "saved-model", sum(each.stat().st_size for each in files), fingerprint.of_data(digests))
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint=_HINT)
    kind = kind_of(path)
    if kind is None:
        names = {
            ".tflite": "a TFLite file: its identifier is not TFL3",
            ".ort": "an ORT file: its identifier is not ORTM",
        }
        if path.suffix in names:
            raise BrokenModelFile(f"{path} is not {names[path.suffix]}", hint="check that the file is complete")
        raise UsageError(f"{path} is no model that edgeconv can measure", hint=_HINT)
    parts = {"": path, **(external.files_of(path) if kind == "onnx" else {})}  # what it is called is not its content
    digests = {name: fingerprint.of_file(part) for name, part in parts.items()}
    sha256 = digests[""] if len(digests) == 1 else fingerprint.of_data(digests)
    return ModelFile(path, kind, sum(part.stat().st_size for part in parts.values()), sha256)


def kind_of(path: Path) -> FileKind | None:
    """What a file is, by its content where that tells; None for what is no model. Raises OSError as `open` does."""
    with path.open("rb") as stream:
        identifier = stream.read(8)[4:]
    return _IDENTIFIERS.get(identifier) or ("onnx" if path.suffix == ".onnx" else None)


_HINT = "name a .tflite, .onnx or .ort file, or the folder of a SavedModel"


def runtime_for(file: ModelFile, wanted: str | None) -> str:
    """The runtime asked for, or the usual one. Raises UsageError if it is unknown or does not take the file."""
    takers = TAKERS[file.kind]
    if wanted is None:
        return takers[0]
    if wanted not in takers:
        known = {name for names in TAKERS.values() for name in names}
        what = f"{wanted} does not take {file.kind} files" if wanted in known else f"there is no runtime {wanted!r}"
        raise UsageError(f"{file.path.name}: {what}", hint=f"its runtimes are: {', '.join(takers)}")
    return wanted
