"""An Artifact: what a stage consumes or produces, by kind, content digest and size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["torch", "onnx", "onnx-quantized", "saved-model", "tflite", "reference", "measurement"]

#: What the file of a kind is called when a person gets to see it; None: a folder.
SUFFIX: dict[str, str | None] = {
    "torch": ".json",
    "onnx": ".onnx",
    "onnx-quantized": ".onnx",
    "saved-model": None,
    "tflite": ".tflite",
    "reference": ".npz",
    "measurement": ".json",
}


@dataclass(frozen=True)
class Artifact:
    """One file or folder of a known kind.

    Attributes:
        kind: the noun that stages agree on.
        digest: SHA-256 of the file's bytes, or of the folder's manifest (path → digest of every file in it).
        bytes: size of the content, all files of a folder added up.
    """

    kind: Kind
    digest: str
    bytes: int


@dataclass(frozen=True)
class ArtifactFile:
    """An artifact that lies on disk for a stage or a runtime to read."""

    artifact: Artifact
    path: Path
