"""What a file consists of, as parts whose bytes add up to its size: constants with their layer, ops by type, the rest by name."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeconv.errors import BrokenModelFile
from edgeconv.harness import external

Array = npt.NDArray[Any]

#: Input number → what a constant there is called.
_ROLES = {
    "CONV_2D": ("input", "weights", "bias"), "DEPTHWISE_CONV_2D": ("input", "weights", "bias"),
    "FULLY_CONNECTED": ("input", "weights", "bias"), "TRANSPOSE_CONV": ("shape", "weights", "input", "bias"),
    "BATCH_MATMUL": ("weights", "weights"), "GATHER": ("table", "indices"), "EMBEDDING_LOOKUP": ("indices", "table"),
    "Conv": ("input", "weights", "bias"), "ConvInteger": ("input", "weights"), "ConvTranspose": ("input", "weights", "bias"),
    "Gemm": ("input", "weights", "bias"), "MatMul": ("weights", "weights"), "MatMulInteger": ("input", "weights"),
    "Gather": ("table", "indices"),
}  # fmt: skip
#: Ops that only unpack a constant: what it is for is said by who takes what comes out.
_UNPACKERS = {"DEQUANTIZE", "DequantizeLinear", "CAST", "Cast", "TRANSPOSE", "Transpose"}
#: Suffixes of a tensor's name that are not part of its layer's.
_SUFFIXES = ("/int8", "/float16", "/weight", "/bias", ".weight", ".bias", "_quantized", "_scale", "_zero_point")


@dataclass
class Constant:
    """A tensor that the file holds.

    Attributes:
        name, layer: of the tensor; of the module that it belongs to, as far as names tell.
        role: weights, bias, table, or constant.
        dtype, shape: as stored.
        bytes: its data and its entries in the file.
        digest: of its data.
        values: makes its numbers, dequantized, as a flat float array; empty where it holds none.
    """

    name: str
    layer: str
    role: str
    dtype: str
    shape: list[int]
    bytes: int
    digest: str
    values: Callable[[], Array]


@dataclass
class Parts:
    """A whole file.

    Attributes:
        constants: in the file's order.
        ops: bytes by op type, the entries of the tensors that they make included.
        op_counts: how many of each.
        rest: bytes by name.
    """

    constants: list[Constant] = field(default_factory=list)
    ops: Counter[str] = field(default_factory=Counter)
    op_counts: Counter[str] = field(default_factory=Counter)
    rest: Counter[str] = field(default_factory=Counter)

    @property
    def bytes(self) -> int:
        """Of everything."""
        return sum(each.bytes for each in self.constants) + self.ops.total() + self.rest.total()


def take_apart(path: Path, kind: str) -> Parts:
    """The parts of a file of that kind. Raises BrokenModelFile."""
    if kind == "tflite":
        return _tflite(path)
    if kind == "onnx":
        return _onnx(path)
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    names = [each.name if path.is_file() else each.relative_to(path).as_posix() for each in files]
    return Parts(rest=Counter({name: each.stat().st_size for name, each in zip(names, files, strict=True)}))


def layer_of(name: str) -> str:
    """The module's path in a tensor's name."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tflite(path: Path) -> Parts:
    from edgeconv.rewrite import anatomy, flatbuffer

    data = path.read_bytes()
    owned = Counter(anatomy.bytes_by_owner(data, path.name))
    model = flatbuffer.read(path)
    found = Parts()
    for number, graph in enumerate(model.subgraphs):
        uses = _uses(
            [
                (flatbuffer.op_name(model, op), [int(i) for i in op.inputs], [int(i) for i in op.outputs])
                for op in graph.operators
            ]
        )
        names = [(tensor.name or b"").decode(errors="replace") for tensor in graph.tensors]
        for op_number, op in enumerate(graph.operators):
            name = flatbuffer.op_name(model, op)
            made = sum(owned.pop(("tensor", number, int(index)), 0) for index in op.outputs)
            found.ops[name] += owned.pop(("op", number, op_number), 0) + made
            found.op_counts[name] += 1
        for index, tensor in enumerate(graph.tensors):
            raw = _raw(model, tensor, data)
            if raw is None:
                continue
            role, taker = uses.get(index, ("constant", None))
            layer = layer_of(names[index]) or (layer_of(names[taker]) if taker is not None else "")
            count = owned.pop(("tensor", number, index), 0) + owned.pop(("buffer", int(tensor.buffer)), 0)
            kind = flatbuffer.type_name(tensor.type).lower()
            shape = [] if tensor.shape is None else [int(n) for n in tensor.shape]
            found.constants.append(
                Constant(
                    names[index],
                    layer,
                    role,
                    kind,
                    shape,
                    count,
                    _digest(raw),
                    _tflite_values(tensor, kind, shape, raw),
                )
            )
    titles = {
        "tensor": "inputs", "buffer": "empty buffers", "code": "op codes", "subgraph": "lists of tensors and ops",
        "model": "lists of tensors and ops", "metadata": "metadata", "signature": "signatures",
        "format": "padding, shared tables",
    }  # fmt: skip
    for owner, count in owned.items():
        found.rest[titles.get(str(owner[0]), str(owner[0]))] += count
    if found.bytes != len(data):
        raise BrokenModelFile(f"{path.name} cannot be taken apart to the byte", hint="report it with the file")
    return found


def _raw(model: Any, tensor: Any, data: bytes) -> bytes | None:
    """A constant's bytes, wherever the file has them; None for a computed tensor."""
    buffer = model.buffers[tensor.buffer]
    if buffer.data is not None and len(buffer.data):
        return np.asarray(buffer.data, np.uint8).tobytes()
    offset, size = int(getattr(buffer, "offset", 0) or 0), int(getattr(buffer, "size", 0) or 0)
    return data[offset : offset + size] if offset > 1 and size else None


def _uses(ops: list[tuple[str, list[int], list[int]]]) -> dict[int, tuple[str, int]]:
    """For each tensor that an op takes: in which role, and the op's output. Through unpackers as what they unpack it for."""
    found: dict[int, tuple[str, int]] = {}
    for name, inputs, outputs in reversed(ops):
        if not outputs:
            continue
        if name in _UNPACKERS and outputs[0] in found and inputs:
            found[inputs[0]] = found[outputs[0]]
            continue
        roles = _ROLES.get(name, ())
        for at, index in enumerate(inputs):
            found[index] = (roles[at] if at < len(roles) and roles[at] != "input" else "constant", outputs[0])
    return found


def _tflite_values(tensor: Any, kind: str, shape: list[int], raw: bytes) -> Callable[[], Array]:
    def values() -> Array:
        if kind not in {"float32", "float16", "int8", "uint8", "int16", "int32"}:
            return np.zeros(0)
        stored = np.frombuffer(raw, kind).astype(np.float64).reshape(shape or -1)
        quantization = tensor.quantization
        if quantization is None or quantization.scale is None or not len(quantization.scale):
            return stored.ravel()
        scale = np.asarray(quantization.scale, np.float64)
        zero = np.asarray(quantization.zeroPoint if quantization.zeroPoint is not None else [0], np.float64)
        if len(scale) > 1:
            axis = [1] * len(shape)
            axis[int(quantization.quantizedDimension)] = -1
            scale, zero = scale.reshape(axis), zero.reshape(axis) if len(zero) > 1 else zero
        return ((stored - zero) * scale).ravel()

    return values


def _onnx(path: Path) -> Parts:
    import onnx
    from google.protobuf.message import DecodeError

    from edgeconv.rewrite.describe import module_of

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (DecodeError, ValueError) as error:
        raise BrokenModelFile(f"{path.name} is not an ONNX file", hint="check that the file is complete") from error
    found = Parts()
    numbers: dict[str, int] = {}
    by_output = {output: node for node in graph.node for output in node.output}
    names: list[str] = []

    def number(name: str) -> int:
        if name not in numbers:
            numbers[name] = len(names)
            names.append(name)
        return numbers[name]

    uses = _uses([(n.op_type, [number(i) for i in n.input], [number(o) for o in n.output]) for n in graph.node])
    for node in graph.node:
        found.ops[node.op_type] += _field_bytes(node.ByteSize())
        found.op_counts[node.op_type] += 1
    own = found.ops.total()
    spans: set[external.Span] = set()
    for tensor in graph.initializer:
        role, taker = uses.get(number(tensor.name), ("constant", None))
        node = by_output.get(names[taker]) if taker is not None else None
        layer = (module_of(node) if node is not None else "") or layer_of(tensor.name)
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
        span = external.span_of(tensor, path)
        inside = _field_bytes(tensor.ByteSize())
        own += inside
        beside = 0 if span is None or span in spans else span.length
        spans |= {span} if span is not None else set()
        digest = _digest(_onnx_raw(tensor) if span is None else span.read())
        values = _onnx_values(tensor, span)
        found.constants.append(
            Constant(tensor.name, layer, role, dtype, list(tensor.dims), inside + beside, digest, values)
        )
    found.rest["names, shapes and metadata"] = path.stat().st_size - own
    data = sum(part.stat().st_size for part in external.files_of(path).values())
    if data:
        found.rest["other external data"] = data - sum(span.length for span in spans)
    return found


def _field_bytes(size: int) -> int:
    """Of a message as a field of another: one byte of key, the length as a varint, the message."""
    return 1 + max(1, (size.bit_length() + 6) // 7) + size


def _onnx_raw(tensor: Any) -> bytes:
    return bytes(tensor.raw_data) if tensor.raw_data else bytes(tensor.SerializeToString())


def _onnx_values(tensor: Any, span: external.Span | None) -> Callable[[], Array]:
    """As stored: scales of a quantized initializer stand in another one."""

    def values() -> Array:
        from onnx import numpy_helper

        whole = tensor
        if span is not None:
            whole = type(tensor)(dims=tensor.dims, data_type=tensor.data_type, raw_data=span.read())
        array = numpy_helper.to_array(whole)
        return array.astype(np.float64).ravel() if array.dtype.kind in "fiu" else np.zeros(0)

    return values
