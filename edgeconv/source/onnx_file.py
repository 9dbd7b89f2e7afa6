"""Reads what an ONNX file is made of: itself, its external data, and its inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeconv import fingerprint
from edgeconv.errors import BrokenModelFile, InputMismatch
from edgeconv.source.calling import first_line
from edgeconv.source.inputs import DTYPES, InputSpec
from edgeconv.source.model import ModelSource, Snapshot


def read(source: ModelSource) -> Any:
    """The `onnx.ModelProto` with external data loaded.

    Raises:
        BrokenModelFile: truncated, not ONNX, or external data missing.
    """
    import onnx
    from google.protobuf.message import DecodeError

    assert source.file is not None
    try:
        model = onnx.load(str(source.file))
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise BrokenModelFile(
            f"{source.file} is truncated, no ONNX file, or lacks its external data: {first_line(error)}",
            hint="copy it again, with its external data beside it",
        ) from error
    if not model.graph.output or not model.opset_import:
        what = "graph" if not model.graph.output else "opset"
        raise BrokenModelFile(f"{source.file} holds no {what}", hint="is it an ONNX model, and complete?")
    return model


def snapshot_of(source: ModelSource) -> Snapshot:
    """The file, its external data files, and its inputs with the ranges that the user declared."""
    import onnx

    assert source.file is not None
    model = read(source)
    outline = onnx.load(str(source.file), load_external_data=False)
    tensors = list(outline.graph.initializer)
    external = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    paths = {f"file:{source.file.name}": source.file}
    paths |= {f"file:{name}": source.file.parent / name for name in sorted(external)}
    files = {name: {"path": str(path), "sha256": fingerprint.of_file(path)} for name, path in paths.items()}
    return Snapshot(files, {}, _inputs(model, source))


def _inputs(model: Any, source: ModelSource) -> tuple[InputSpec, ...]:
    from onnx import helper

    weights = {tensor.name for tensor in model.graph.initializer}
    declared = {spec.name: spec for spec in source.inputs}
    values = [value for value in model.graph.input if value.name not in weights]
    for name in declared:
        if name not in {value.name for value in values}:
            raise InputMismatch(
                f"the ONNX graph has no input {name!r}", hint=f"its inputs are: {', '.join(v.name for v in values)}"
            )
    specs = []
    for value in values:
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise InputMismatch(
                f"the ONNX input {value.name!r} is no tensor of known rank, which no target takes",
                hint="export the model again with fixed shapes",
            )
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        spec = declared.get(value.name)
        shape = tuple(d.dim_value for d in kind.shape.dim)
        if source.batch is not None and shape:
            if shape[0] not in (0, source.batch):
                raise InputMismatch(
                    f"the batch of the ONNX input {value.name!r} is fixed at {shape[0]}: it cannot be left open",
                    hint="export the file again with dynamic axes, or name the model's factory",
                )
            shape = (source.batch, *shape[1:])
            spec = spec and replace(spec, shape=(source.batch, *spec.shape[1:]))
        if spec is None and 0 in shape:
            names = "x".join(d.dim_param or str(d.dim_value) for d in kind.shape.dim)
            raise InputMismatch(
                f"the ONNX input {value.name!r} has no fixed shape ({names})",
                hint=f"say --input {value.name}=" + "x".join(str(n or 1) for n in shape),
            )
        if dtype not in DTYPES:
            raise InputMismatch(
                f"the ONNX input {value.name!r} has the dtype {dtype}, which no target takes",
                hint=f"use one of {', '.join(DTYPES)}",
            )
        if spec is not None:
            _check(spec, shape, dtype)
        specs.append(spec or InputSpec(value.name, shape, dtype))
    return tuple(specs)


def _check(spec: InputSpec, shape: tuple[int, ...], dtype: str) -> None:
    fits = len(shape) == len(spec.shape) and all(a in (0, b) for a, b in zip(shape, spec.shape, strict=True))
    if not fits or spec.dtype != dtype:
        raise InputMismatch(
            f"--input {spec.name} is {spec.dtype}{list(spec.shape)}, "
            f"the ONNX graph wants {dtype}{list(shape)} (0: any)",
            hint="correct that --input",
        )
