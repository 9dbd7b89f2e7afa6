"""Reads and writes .tflite files as editable objects (TFLite schema v3, file identifier TFL3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeconv.errors import BadOutput

Array = npt.NDArray[Any]

#: The schema demands 16-byte alignment of buffer data (`force_align: 16`); flatbuffers' Python builder ignores that.
ALIGNMENT = 16
#: Offsets in a flatbuffer are signed 32-bit.
MAX_BYTES = 2**31 - 1


def read(path: Path) -> Any:
    """The file as a `ModelT` object tree. Raises BadOutput if it is not a TFLite flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise BadOutput(f"{path.name} is not a TFLite file: its identifier is not TFL3")
    return schema.ModelT.InitFromPackedBuf(data, 0)


def write(model: Any, path: Path) -> None:
    """Write a `ModelT` with every buffer aligned to 16 bytes. Raises BadOutput past 2 GB."""
    import flatbuffers

    total = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    if total > MAX_BYTES:
        raise BadOutput(f"the model's constants take {total / 1e9:.1f} GB; a .tflite file cannot exceed 2 GB")
    model.buffers = [_aligned(buffer) for buffer in model.buffers]
    builder = flatbuffers.Builder(total + total // 8 + (1 << 16))
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())


def _aligned(buffer: Any) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    class AlignedBuffer(schema.BufferT):
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the generated code's name
            offset = None
            if self.data is not None and len(self.data):
                raw = np.asarray(self.data, np.uint8).tobytes()
                builder.StartVector(1, len(raw), ALIGNMENT)
                builder.head -= len(raw)
                builder.Bytes[builder.head : builder.head + len(raw)] = raw
                offset = builder.EndVector()
            schema.BufferStart(builder)
            if offset is not None:
                schema.BufferAddData(builder, offset)
            return schema.BufferEnd(builder)

    aligned = AlignedBuffer()
    aligned.data = buffer.data
    return aligned


def op_name(model: Any, op: Any) -> str:
    """Name of an operator's builtin, or "CUSTOM:<name>"."""
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[op.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM:{(code.customCode or b'').decode()}"
    return builtin_name(number)


def builtin_name(number: int) -> str:
    """Name of a builtin, such as CONV_2D."""
    from ai_edge_litert import schema_py_generated as schema

    return _names(schema.BuiltinOperator)[number]


def type_name(number: int) -> str:
    """Name of a tensor type, such as FLOAT32 or INT8."""
    from ai_edge_litert import schema_py_generated as schema

    return _names(schema.TensorType)[number]


def constant(model: Any, tensor: Any) -> Array | None:
    """A float32 or int8 constant's array; None for computed tensors and other types."""
    from ai_edge_litert import schema_py_generated as schema

    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        return None
    dtype = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT8: np.int8}.get(tensor.type)
    if dtype is None:
        return None
    return np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype).reshape(tuple(tensor.shape))


def op_code(model: Any, builtin: int, version: int) -> int:
    """Index of an operator code, added if the file does not have it."""
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_tensor(graph: Any, shape: list[int], kind: int, name: bytes | None) -> int:
    """Append a computed tensor; returns its index."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name, tensor.buffer = shape, kind, name or b"", 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_constant(model: Any, graph: Any, array: Array, name: bytes | None) -> int:
    """Append a float32, int32 or int8 constant; returns its index. Equal constants of a file share one buffer."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {
        "float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32, "int8": schema.TensorType.INT8,
    }  # fmt: skip
    index = add_tensor(graph, list(array.shape), kinds[array.dtype.name], name)
    graph.tensors[index].buffer = add_buffer(model, array)
    return index


def add_buffer(model: Any, array: Array) -> int:
    """Index of a buffer with the array's bytes; one that the file already has is used again."""
    from ai_edge_litert import schema_py_generated as schema

    raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    for index, buffer in enumerate(model.buffers):
        if index and buffer.data is not None and len(buffer.data) == len(raw) and np.array_equal(buffer.data, raw):
            return index
    buffer = schema.BufferT()
    buffer.data = raw
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def operator(code: int, inputs: list[int], output: int, options: Any = None) -> Any:
    """An operator with one output, not yet in the graph.

    Args:
        code: index of its operator code, from `op_code` or another operator.
        inputs: indices of tensors.
        output: index of a tensor.
        options: the generated object for its builtin, such as SliceOptionsT; None for ops that have none.
    """
    from ai_edge_litert import schema_py_generated as schema

    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, [output]
    if options is not None:
        kind = type(options).__name__.removesuffix("T")
        made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, kind), options
    return made


def reshape(model: Any, graph: Any, source: int, target: int, shape: list[int]) -> Any:
    """A RESHAPE operator from one tensor to another, not yet in the graph."""
    from ai_edge_litert import schema_py_generated as schema

    options = schema.ReshapeOptionsT()
    options.newShape = shape
    bound = add_constant(model, graph, np.array(shape, np.int32), b"")
    return operator(op_code(model, schema.BuiltinOperator.RESHAPE, 1), [source, bound], target, options)


def _names(enum: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if not name.startswith("_")}
