"""Ranges that a graph implies for its integer inputs: what indexes a table stays within its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Ops through which an index passes unchanged.
_TFLITE_SAME = {"CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE"}
_ONNX_SAME = {"Cast", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Identity", "Flatten"}


def of_tflite(path: Path) -> dict[str, tuple[int, int]]:
    """Lowest and highest index by input of a `.tflite`, for inputs that a GATHER or EMBEDDING_LOOKUP of a constant takes."""
    from edgeconv.rewrite import flatbuffer

    model = flatbuffer.read(path)
    graph = model.subgraphs[0]
    origin = {int(index): int(index) for index in graph.inputs}
    found: dict[str, tuple[int, int]] = {}
    for op in graph.operators:
        name, inputs = flatbuffer.op_name(model, op), [int(index) for index in op.inputs]
        if name in _TFLITE_SAME and inputs[0] in origin:
            origin[int(op.outputs[0])] = origin[inputs[0]]
        elif name in {"GATHER", "EMBEDDING_LOOKUP"}:
            table, indices = (inputs[1], inputs[0]) if name == "EMBEDDING_LOOKUP" else (inputs[0], inputs[1])
            axis = int(getattr(op.builtinOptions, "axis", 0) or 0)
            if indices in origin and graph.tensors[table].shape is not None:
                rows = int(graph.tensors[table].shape[axis])
                _narrow(found, (graph.tensors[origin[indices]].name or b"").decode(), rows)
    return found


def of_onnx(path: Path) -> dict[str, tuple[int, int]]:
    """The same of an `.onnx`, for inputs that a Gather of an initializer takes."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    origin = {value.name: value.name for value in graph.input if value.name not in shapes}
    found: dict[str, tuple[int, int]] = {}
    for node in graph.node:
        if node.op_type in _ONNX_SAME and node.input and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in origin and node.input[0] in shapes:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            _narrow(found, origin[node.input[1]], shapes[node.input[0]][axis])
    return found


def _narrow(found: dict[str, tuple[int, int]], name: str, rows: int) -> None:
    """An input that indexes two tables stays within the smaller."""
    found[name] = (0, min(rows - 1, found.get(name, (0, rows - 1))[1]))


def known(path: Path, ends: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """What the file at `path` implies; nothing where no input holds integers, or the file is of a kind that is not read."""
    if all(end["dtype"] not in {"int32", "int64"} for end in ends):
        return {}
    readers = {".onnx": of_onnx, ".tflite": of_tflite}
    return readers[path.suffix](path) if path.suffix in readers else {}
