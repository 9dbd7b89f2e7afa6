"""The data that an ONNX file keeps beside itself: which files, and which bytes of them belong to which tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgeconv.errors import BrokenModelFile, MissingExtra

_HINT = "copy the model again, with its external data beside it"


@dataclass(frozen=True)
class Span:
    """Where a tensor's data lie.

    Attributes:
        location: the file, as the model names it.
        path: the same file.
        offset: of the first byte.
        length: in bytes.
    """

    location: str
    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """The data."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.length)


def files_of(path: Path) -> dict[str, Path]:
    """The external data files of an `.onnx` by location; none for a file that is no ONNX, which its runtime will say.

    Raises:
        BrokenModelFile: one is missing, too short, or lies outside the model's folder.
        MissingExtra: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise MissingExtra(
            "measuring an .onnx needs the package onnx, which is not installed", hint="pip install 'edgeconv[convert]'"
        ) from None
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError):
        return {}
    spans = [span for tensor in _tensors(model.graph) if (span := span_of(tensor, path)) is not None]
    return {span.location: span.path for span in sorted(spans, key=lambda span: span.location)}


def span_of(tensor: Any, path: Path) -> Span | None:
    """Where a TensorProto of the model at `path` has its data; None where the model itself holds them.

    Raises:
        BrokenModelFile: the file is missing, too short, or lies outside the model's folder.
    """
    if tensor.data_location != type(tensor).EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    parts = PurePosixPath(location).parts
    if not parts or location.startswith("/") or ".." in parts:
        raise BrokenModelFile(
            f"{path.name} names external data that are not in its folder: {location!r}",
            hint="save the model again, with its external data beside it",
        )
    found = path.parent / location
    if not found.is_file():
        raise BrokenModelFile(f"{path.name} lacks its external data: there is no file {found}", hint=_HINT)
    size = found.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > size:
        raise BrokenModelFile(
            f"{found} has {size} bytes, and {path.name} has the tensor {tensor.name!r} beyond its end", hint=_HINT
        )
    return Span(location, found, offset, length)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph and of the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)
