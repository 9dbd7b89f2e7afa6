"""Puts the quantizer's integers into a float .tflite file, bit for bit.

The float weights that the converter wrote lie on the quantizer's grid: scale · q with q in [−127, 127] and 127 reached
in each output channel, so q = round(w / (absmax / 127)) recovers the integers, also where the converter folded a factor per
channel into the weight. Ops with a dynamic kernel then compute in int8 (the runtime quantizes the activations) where that is
faster (`precision`); every other op gets its weight through a DEQUANTIZE, which runtimes unpack once at load.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeconv import fingerprint
from edgeconv.rewrite import dense_as_conv, flatbuffer, precision
from edgeconv.rewrite.flatbuffer import Array

#: Largest distance of w / scale from an integer that float32 rounding of scale · q explains (127 · 2^-23 and some folds).
GRID_TOLERANCE = 1e-3

#: Ops that read a weight, and the axis of its output channel.
OUTPUT_AXIS = {
    "CONV_2D": 0,
    "FULLY_CONNECTED": 0,
    "DEPTHWISE_CONV_2D": 3,
    "TRANSPOSE_CONV": 0,
    "CONV_3D": 4,
    "CONV_3D_TRANSPOSE": 3,
    "BATCH_MATMUL": -1,
    "GATHER": 0,
}
#: Which input is the weight, where it is not the second.
WEIGHT = {"GATHER": 0}
#: DEQUANTIZE of int8 with one scale a channel (tensorflow/lite/tools/versioning).
DEQUANTIZE_VERSION = 5


@dataclass(frozen=True)
class Carried:
    """A weight that was put in as int8.

    Attributes:
        tensor: its name in the file.
        op: the builtin that reads it.
        digest: of the integers, output channel first; equals the quantizer's where it was carried bit for bit.
        elements: how many integers.
        kept_float: why the op computes in float all the same; None where it computes in int8.
    """

    tensor: str
    op: str
    digest: str
    elements: int
    kept_float: str | None


def digest_of(integers: Array, axis: int) -> str:
    """Digest of int8 weights that does not depend on where the output channel stands.

    Args:
        integers: any integer dtype, values in [−128, 127].
        axis: the output channel's axis; the others keep their order.
    """
    first = np.moveaxis(integers.astype(np.int8), axis, 0)
    return fingerprint.of_bytes(np.ascontiguousarray(first.reshape(first.shape[0], -1)).tobytes())


def recover(weight: Array, axis: int) -> tuple[Array, Array] | None:
    """Integers (int8) and scales (float32, one an output channel) of a float32 weight; None if off the grid."""
    first = np.moveaxis(weight, axis, 0)
    rows = first.reshape(first.shape[0], -1)
    peaks = np.abs(rows).max(axis=1)
    if not np.isfinite(peaks).all():
        return None
    scale = np.where(peaks > 0, peaks / np.float32(127), np.float32(1)).astype(np.float32)
    exact = rows / scale[:, None]
    rounded = np.round(exact)
    if np.abs(exact - rounded).max(initial=0) > GRID_TOLERANCE:
        return None
    integers = np.moveaxis(rounded.astype(np.int8).reshape(first.shape), 0, axis)
    return np.ascontiguousarray(integers), scale


def match(weight: Array, axis: int, integers: Array) -> tuple[Array, Array] | None:
    """The same where the integers are known: those, and the scales that give the weight; None if none do.

    Args:
        weight: float32, as it stands in the file.
        axis: its output channel's.
        integers: int8, [out, everything else]; a scale of another than absmax/127 hides them.
    """
    first = np.moveaxis(weight, axis, 0)
    rows = first.reshape(first.shape[0], -1)
    if rows.shape != integers.shape:
        return None
    wide = integers.astype(np.float64)
    square = np.square(wide).sum(axis=1)
    scale = np.divide((rows * wide).sum(axis=1), square, out=np.ones(len(rows)), where=square > 0)
    off = np.abs(rows - scale[:, None] * wide).max(axis=1, initial=0)
    if (off > GRID_TOLERANCE * np.abs(scale)).any() or (scale == 0).any():
        return None
    signed = np.where(scale[:, None] < 0, -integers, integers).astype(np.int8)  # a negative factor was folded in
    return np.ascontiguousarray(np.moveaxis(signed.reshape(first.shape), 0, axis)), np.abs(scale).astype(np.float32)


def carry(model: Any, wanted: dict[str, Array | None], dynamic: set[str], *, fastest: bool = True) -> list[Carried]:
    """Replace float weights by int8 in place.

    Args:
        model: `ModelT` of a float file.
        wanted: by digest (`digest_of`), what the quantizer quantized; with its integers ([out, everything else]) where they
            lie on another grid than absmax/127. A weight whose integers match none of them but lie on that grid and number
            at least 64 is taken too: the converter may have split or merged weights.
        dynamic: builtins that compute with int8 weights and float activations in every runtime of the target.
        fastest: leave those of them in float that are faster so; else all compute in int8.

    Returns:
        What was replaced.
    """
    done: list[Carried] = []
    if not wanted:
        return done
    for graph in model.subgraphs:
        users: dict[int, list[tuple[Any, int]]] = defaultdict(list)
        for op in graph.operators:
            for position, index in enumerate(op.inputs):
                users[int(index)].append((op, position))
        _part_by_op(model, graph, users)
        for index in sorted(users):
            carried = _carry_one(model, graph, index, users[index], wanted, dynamic, fastest=fastest)
            if carried is not None:
                done.append(carried)
    return done


def _part_by_op(model: Any, graph: Any, users: dict[int, list[tuple[Any, int]]]) -> None:
    """A weight that ops of several kinds read, such as an embedding that is the last layer too, gets a tensor for each kind.

    They share their buffer, and the integers that come in its place share one again.
    """
    for index in sorted(users):
        if index < 0 or flatbuffer.constant(model, graph.tensors[index]) is None:
            continue
        kinds: dict[str, list[tuple[Any, int]]] = defaultdict(list)
        for op, position in users[index]:
            kinds[flatbuffer.op_name(model, op)].append((op, position))
        for readers in list(kinds.values())[1:]:
            old = graph.tensors[index]
            twin = flatbuffer.add_tensor(graph, list(old.shape), old.type, old.name)
            graph.tensors[twin].buffer = old.buffer
            for op, position in readers:
                op.inputs = [twin if place == position else int(other) for place, other in enumerate(op.inputs)]
            users[twin] = readers
            users[index] = [user for user in users[index] if user not in readers]


def _carry_one(
    model: Any,
    graph: Any,
    index: int,
    users: list[tuple[Any, int]],
    wanted: dict[str, Array | None],
    dynamic: set[str],
    *,
    fastest: bool,
) -> Carried | None:
    if index < 0:
        return None
    tensor = graph.tensors[index]
    weight = flatbuffer.constant(model, tensor)
    names = {flatbuffer.op_name(model, op) for op, _ in users}
    if weight is None or weight.dtype != np.float32 or weight.ndim < 2 or len(names) != 1:
        return None
    op = names.pop()
    axis = OUTPUT_AXIS.get(op)
    if axis is None or any(position != WEIGHT.get(op, 1) for _, position in users):
        return None
    axis %= weight.ndim
    digest, found = _known(weight, axis, wanted)
    if found is None:
        return None
    integers, scale = found
    if digest not in wanted and weight.size < 64:
        return None
    name = (tensor.name or b"").decode()
    dense = op == "FULLY_CONNECTED" and op not in dynamic and "CONV_2D" in dynamic
    possible = op in dynamic or (dense and all(dense_as_conv.fits(graph, user) for user, _ in users))
    slow = _slow_in_int8(graph, op, weight.shape, [user for user, _ in users]) if possible and fastest else None
    kept_float = slow if possible else f"no int8 kernel for {op} with float activations"
    if kept_float is not None:
        _insert_dequantize(model, graph, index, integers, scale, axis)
    elif op in dynamic:
        make_int8(model, tensor, integers, scale, axis)
        if op == "CONV_2D":
            for user, _ in users:
                user.opcodeIndex = flatbuffer.op_code(model, _builtin("CONV_2D"), dense_as_conv.CONV_VERSION)
    else:
        shape = [weight.shape[0], 1, 1, weight.shape[1]]
        tensor.shape = shape
        make_int8(model, tensor, integers.reshape(shape), scale, 0)
        for user, _ in users:
            dense_as_conv.as_conv(model, graph, user)
    return Carried(name, op, digest, int(weight.size), kept_float)


def _known(weight: Array, axis: int, wanted: dict[str, Array | None]) -> tuple[str, tuple[Array, Array] | None]:
    """Digest, integers and scales of a weight; without them where it is no quantized one."""
    found = recover(weight, axis)
    digest = digest_of(found[0], axis) if found is not None else ""
    if digest not in wanted:
        for other, integers in wanted.items():
            given = match(weight, axis, integers) if integers is not None else None
            if given is not None:
                return other, given
    return digest, found


def _slow_in_int8(graph: Any, op: str, weight: tuple[int, ...], users: list[Any]) -> str | None:
    """Why all readers of a weight are faster in float; None if one is not, or sizes are unknown. An open batch counts as 1."""
    reasons = []
    for user in users:
        source, out = (graph.tensors[int(i)] for i in (user.inputs[0], user.outputs[0]))
        if source.shape is None or out.shape is None:
            return None
        inputs, results = (int(np.prod(t.shape, dtype=np.int64)) for t in (source, out))
        groups = int(source.shape[-1]) // weight[-1] if op == "CONV_2D" else 1
        work = precision.Work(
            inputs=inputs,
            pixels=results // weight[0],
            channels=weight[0] // groups,
            groups=groups,
            depth=int(np.prod(weight[1:])),
        )
        reasons.append(precision.reason_for_float(work))
    return reasons[0] if all(reasons) else None


def _builtin(name: str) -> int:
    from ai_edge_litert import schema_py_generated as schema

    return int(getattr(schema.BuiltinOperator, name))


def make_int8(model: Any, tensor: Any, integers: Array, scale: Array, axis: int) -> None:
    """Let a tensor be an int8 constant with one scale for each index of `axis`."""
    from ai_edge_litert import schema_py_generated as schema

    tensor.buffer = flatbuffer.add_buffer(model, integers)
    tensor.type = schema.TensorType.INT8
    quantization = schema.QuantizationParametersT()
    quantization.scale = scale
    quantization.zeroPoint = np.zeros(scale.size, np.int64)
    quantization.quantizedDimension = axis
    tensor.quantization = quantization


def _insert_dequantize(model: Any, graph: Any, index: int, integers: Array, scale: Array, axis: int) -> None:
    """A new int8 constant, and a DEQUANTIZE before all else whose output is the old tensor, now computed."""
    from ai_edge_litert import schema_py_generated as schema

    old = graph.tensors[index]
    stored = schema.TensorT()
    stored.shape = old.shape
    stored.name = (old.name or b"") + b"/int8"
    make_int8(model, stored, integers, scale, axis)
    graph.tensors.append(stored)
    old.buffer = 0
    code = flatbuffer.op_code(model, schema.BuiltinOperator.DEQUANTIZE, DEQUANTIZE_VERSION)
    graph.operators.insert(0, flatbuffer.operator(code, [len(graph.tensors) - 1], index))


def drop_unused_buffers(model: Any) -> None:
    """Empty the buffers that no tensor and no metadata reads, keeping every index."""
    used = {int(tensor.buffer) for graph in model.subgraphs for tensor in graph.tensors}
    used |= {int(entry.buffer) for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
