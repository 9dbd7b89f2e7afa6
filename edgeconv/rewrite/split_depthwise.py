"""Splits large depthwise convs of a .tflite into sums of small ones.

XNNPACK has fast float kernels for depthwise windows of up to 25 taps; a larger one runs in passes. A 7 × 7 conv as the sum of a
3 × 7 and two 2 × 7 ones takes a fifth of the time (56 × 56 × 96: 6.3 ms to 1.3 ms, one thread), and the whole of convnext_tiny
in float three quarters. int8 parts keep the whole weight's integers and scales: each is a slice of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeconv.rewrite import flatbuffer

#: Taps of XNNPACK's largest depthwise kernel that works in one pass (f32-dwconv, 25p).
MOST_TAPS = 25


@dataclass(frozen=True)
class Window:
    """A part of a kernel: its first row and column, and how many of each."""

    row: int
    column: int
    rows: int
    columns: int


def windows(height: int, width: int) -> list[Window]:
    """The fewest parts of at most 25 taps, as even as they come."""
    columns = _even(width, -(-width // MOST_TAPS))
    rows = _even(height, -(-height // max(MOST_TAPS // max(columns), 1)))
    parts, row = [], 0
    for tall in rows:
        column = 0
        for wide in columns:
            parts.append(Window(row, column, tall, wide))
            column += wide
        row += tall
    return parts


def _even(total: int, count: int) -> list[int]:
    return [total // count + (i < total % count) for i in range(count)]


def split(model: Any) -> int:
    """Split every depthwise conv with more than 25 taps, in place; returns how many."""
    done = 0
    for graph in model.subgraphs:
        makers = {int(op.outputs[0]): op for op in graph.operators if len(op.outputs) == 1}
        for op in list(graph.operators):
            if flatbuffer.op_name(model, op) == "DEPTHWISE_CONV_2D" and _large(graph, op):
                done += _split(model, graph, op, makers)
        _drop_unread(model, graph)
    return done


def _large(graph: Any, op: Any) -> bool:
    _, height, width, _ = (int(n) for n in graph.tensors[op.inputs[1]].shape)
    ends = [graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]]
    fixed = not any(t.shapeSignature is not None and -1 in list(t.shapeSignature) for t in ends)
    return height * width > MOST_TAPS and fixed


def _split(model: Any, graph: Any, op: Any, makers: dict[int, Any]) -> int:
    """One conv; 0 where its weight is neither a constant nor a dequantized constant."""
    source = makers.get(int(op.inputs[1]))
    stored = (
        source.inputs[0] if source is not None and flatbuffer.op_name(model, source) == "DEQUANTIZE" else op.inputs[1]
    )
    weight = flatbuffer.constant(model, graph.tensors[stored])
    if weight is None:
        return 0
    options, out = op.builtinOptions, int(op.outputs[0])
    name = graph.tensors[out].name
    shape = [int(n) for n in graph.tensors[out].shape]
    steps: list[Any] = []
    padded = _pad(model, graph, op, weight.shape[1:3], steps)
    total = -1
    parts = windows(*weight.shape[1:3])
    for number, part in enumerate(parts):
        piece = _slice(model, graph, padded, part, options, shape, steps)
        filters = weight[:, part.row : part.row + part.rows, part.column : part.column + part.columns, :]
        index = _weight(model, graph, stored, filters, source)
        bias = (
            int(op.inputs[2])
            if number == 0
            else flatbuffer.add_constant(model, graph, np.zeros(shape[3], np.float32), b"")
        )
        made = flatbuffer.add_tensor(graph, shape, graph.tensors[out].type, name)
        steps.append(_depthwise(op, [piece, index, bias], made))
        if number:
            last = number == len(parts) - 1
            target = out if last else flatbuffer.add_tensor(graph, shape, graph.tensors[out].type, name)
            activation = options.fusedActivationFunction if last else 0
            steps.append(_add(model, total, made, target, activation))
            made = target
        total = made
    at = next(position for position, other in enumerate(graph.operators) if other is op)
    graph.operators[at : at + 1] = steps
    return 1


def _pad(model: Any, graph: Any, op: Any, kernel: tuple[int, ...], steps: list[Any]) -> int:
    """The input with SAME padding written out; the input itself where none is needed."""
    from ai_edge_litert import schema_py_generated as schema

    options, source = op.builtinOptions, int(op.inputs[0])
    if options.padding == schema.Padding.VALID:
        return source
    size = [int(n) for n in graph.tensors[source].shape]
    pairs = [[0, 0]]
    spans = (options.dilationHFactor, options.dilationWFactor)
    for length, taps, stride, span in zip(size[1:3], kernel, (options.strideH, options.strideW), spans, strict=True):
        need = max((-(-length // stride) - 1) * stride + (taps - 1) * max(span, 1) + 1 - length, 0)
        pairs.append([need // 2, need - need // 2])
    pairs.append([0, 0])
    if not np.any(pairs):
        return source
    grown = [n + before + after for n, (before, after) in zip(size, pairs, strict=True)]
    target = flatbuffer.add_tensor(graph, grown, graph.tensors[source].type, graph.tensors[source].name)
    amounts = flatbuffer.add_constant(model, graph, np.array(pairs, np.int32), b"")
    steps.append(_op(model, "PAD", [source, amounts], target, schema.BuiltinOptions.PadOptions, schema.PadOptionsT()))
    return target


def _slice(model: Any, graph: Any, source: int, part: Window, options: Any, shape: list[int], steps: list[Any]) -> int:
    """What a part of the kernel sees of the padded input."""
    from ai_edge_litert import schema_py_generated as schema

    size = [int(n) for n in graph.tensors[source].shape]
    high, wide = max(options.dilationHFactor, 1), max(options.dilationWFactor, 1)
    begin = [0, part.row * high, part.column * wide, 0]
    extent = [
        size[0],
        (shape[1] - 1) * options.strideH + (part.rows - 1) * high + 1,
        (shape[2] - 1) * options.strideW + (part.columns - 1) * wide + 1,
        size[3],
    ]
    if begin == [0, 0, 0, 0] and extent == size:
        return source
    target = flatbuffer.add_tensor(graph, extent, graph.tensors[source].type, graph.tensors[source].name)
    bounds = [flatbuffer.add_constant(model, graph, np.array(values, np.int32), b"") for values in (begin, extent)]
    steps.append(
        _op(model, "SLICE", [source, *bounds], target, schema.BuiltinOptions.SliceOptions, schema.SliceOptionsT())
    )
    return target


def _weight(model: Any, graph: Any, stored: int, filters: Any, dequantize: Any) -> int:
    """A constant for a part of the weight; int8 with the whole's scales goes through a DEQUANTIZE of its own."""
    from ai_edge_litert import schema_py_generated as schema

    whole = graph.tensors[stored]
    index = flatbuffer.add_constant(model, graph, np.ascontiguousarray(filters), whole.name)
    if filters.dtype != np.int8:
        return index
    graph.tensors[index].quantization = whole.quantization
    target = flatbuffer.add_tensor(graph, list(filters.shape), schema.TensorType.FLOAT32, whole.name)
    step = schema.OperatorT()
    step.opcodeIndex, step.inputs, step.outputs = dequantize.opcodeIndex, [index], [target]
    graph.operators.insert(0, step)
    return target


def _depthwise(op: Any, inputs: list[int], target: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    old = op.builtinOptions
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH, options.strideW = old.strideH, old.strideW
    options.dilationHFactor, options.dilationWFactor = old.dilationHFactor, old.dilationWFactor
    options.depthMultiplier = old.depthMultiplier
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = op.opcodeIndex, inputs, [target]
    made.builtinOptionsType, made.builtinOptions = op.builtinOptionsType, options
    return made


def _add(model: Any, left: int, right: int, target: int, activation: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    options = schema.AddOptionsT()
    options.fusedActivationFunction = activation
    return _op(model, "ADD", [left, right], target, schema.BuiltinOptions.AddOptions, options)


def _op(model: Any, builtin: str, inputs: list[int], target: int, kind: int, options: Any) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.OperatorT()
    made.opcodeIndex = flatbuffer.op_code(model, getattr(schema.BuiltinOperator, builtin), 1)
    made.inputs, made.outputs = inputs, [target]
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def _drop_unread(model: Any, graph: Any) -> None:
    """Remove DEQUANTIZEs that nothing reads any more, and let go of the constants of tensors that nothing reads."""
    outputs = {int(index) for index in graph.outputs}
    read = {int(index) for op in graph.operators for index in op.inputs} | outputs
    graph.operators = [
        op for op in graph.operators if flatbuffer.op_name(model, op) != "DEQUANTIZE" or int(op.outputs[0]) in read
    ]
    read = {int(index) for op in graph.operators for index in op.inputs} | outputs
    read |= {int(index) for op in graph.operators for index in op.outputs} | {int(index) for index in graph.inputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in read:
            tensor.buffer, tensor.name, tensor.quantization = 0, b"", None
