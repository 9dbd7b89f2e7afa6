"""Ranges that a graph implies for its integer inputs: what indexes a table stays within its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeconv.harness.files import kind_of

Array = npt.NDArray[Any]

#: Ops through which an index passes unchanged, whatever becomes of its place.
_SAME = {
    "CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "TILE", "BROADCAST_TO",
    "Cast", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Identity", "Flatten", "Slice", "Tile", "Expand", "Clip",
}  # fmt: skip
#: Ops of two operands that bound an index by a constant.
_BOUNDS = {"MAXIMUM", "MINIMUM", "Max", "Min"}
_ADDS, _SUBTRACTS, _WRAPS = {"ADD", "Add"}, {"SUB", "Sub"}, {"FLOOR_MOD", "Mod"}
_CHOOSES = {"SELECT", "SELECT_V2", "Where"}


class _Index(NamedTuple):
    """An input, and what has been added to it since: at least and at most."""

    name: str
    least: int = 0
    most: int = 0


class _Walk:
    """Follows inputs through a graph's ops, in order, to the tables that they index.

    Args:
        inputs: name by tensor.
        constant: integers of a constant tensor; None for any other.
    """

    def __init__(self, inputs: Mapping[Any, str], constant: Callable[[Any], Array | None]) -> None:
        self._indices = {tensor: _Index(name) for tensor, name in inputs.items()}
        self._constant = constant
        self.found: dict[str, tuple[int, int]] = {}

    def pass_on(self, op: str, inputs: list[Any], output: Any) -> None:
        """An op: its output may be an index too."""
        index = self._after(op, inputs)
        if index is not None:
            self._indices[output] = index

    def _after(self, op: str, inputs: list[Any]) -> _Index | None:
        if op in _CHOOSES:  # negative indices are made positive so: the branch with less added is the plain one
            taken = [self._indices[tensor] for tensor in inputs[1:] if tensor in self._indices]
            return min(taken, key=lambda index: abs(index.least), default=None)
        if op in _SAME:
            return self._indices.get(inputs[0]) if inputs else None
        if op not in _ADDS | _SUBTRACTS | _WRAPS | _BOUNDS or len(inputs) != 2:
            return None
        if op in _ADDS | _BOUNDS and inputs[0] not in self._indices:
            inputs = inputs[::-1]
        index, other = self._indices.get(inputs[0]), self._constant(inputs[1])
        if index is None or other is None or not other.size:
            return None
        least, most = int(other.min()), int(other.max())
        if op in _ADDS:
            return _Index(index.name, index.least + least, index.most + most)
        if op in _SUBTRACTS:
            return _Index(index.name, index.least - most, index.most - least)
        if op in _WRAPS and least == most > 0 and index.least == index.most:
            return _Index(index.name, index.least % most, index.most % most)
        return index

    def look_up(self, tensor: Any, rows: int) -> None:
        """A table of so many rows is indexed by the tensor. An input that indexes two stays within the smaller."""
        index = self._indices.get(tensor)
        if index is None:
            return
        low, high = self.found.get(index.name, (0, rows - 1 - index.most))
        low, high = max(low, -index.least), min(high, rows - 1 - index.most)
        if low <= high:
            self.found[index.name] = (low, high)


def of_tflite(path: Path) -> dict[str, tuple[int, int]]:
    """Lowest and highest index by input of a `.tflite`, for inputs that a GATHER or EMBEDDING_LOOKUP takes."""
    from edgeconv.rewrite import flatbuffer

    model = flatbuffer.read(path)
    graph = model.subgraphs[0]

    def constant(tensor: int) -> Array | None:
        entry = graph.tensors[tensor]
        dtype = {"INT32": np.int32, "INT64": np.int64}.get(flatbuffer.type_name(entry.type))
        data = model.buffers[entry.buffer].data
        if dtype is None or data is None or not len(data):
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype)

    walk = _Walk({int(index): (graph.tensors[index].name or b"").decode() for index in graph.inputs}, constant)
    for op in graph.operators:
        name, inputs = flatbuffer.op_name(model, op), [int(index) for index in op.inputs]
        if name in {"GATHER", "EMBEDDING_LOOKUP"}:
            table, indices = (inputs[1], inputs[0]) if name == "EMBEDDING_LOOKUP" else (inputs[0], inputs[1])
            axis = int(getattr(op.builtinOptions, "axis", 0) or 0)
            if graph.tensors[table].shape is not None:
                walk.look_up(indices, int(graph.tensors[table].shape[axis]))
        elif len(op.outputs):
            walk.pass_on(name, inputs, int(op.outputs[0]))
    return walk.found


def of_onnx(path: Path) -> dict[str, tuple[int, int]]:
    """The same of an `.onnx`, for inputs that a Gather of an initializer takes."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path), load_external_data=False).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    held |= {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    integers = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}

    def constant(tensor: str) -> Array | None:
        entry = held.get(tensor)
        if entry is None or entry.data_type not in integers or entry.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return np.asarray(numpy_helper.to_array(entry))

    walk = _Walk({value.name: value.name for value in graph.input if value.name not in held}, constant)
    for node in graph.node:
        if node.op_type == "Gather" and node.input[0] in held:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            walk.look_up(node.input[1], held[node.input[0]].dims[axis])
        elif node.output:
            walk.pass_on(node.op_type, list(node.input), node.output[0])
    return walk.found


def known(path: Path, ends: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """What the file at `path` implies; nothing where no input holds integers, or the file is of a kind that is not read."""
    if path.is_dir() or all(end["dtype"] not in {"int32", "int64"} for end in ends):
        return {}
    kind = kind_of(path)
    if kind == "tflite":
        return of_tflite(path)
    return of_onnx(path) if kind == "onnx" else {}
