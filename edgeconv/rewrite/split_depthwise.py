"""Splits large depthwise convs of a .tflite into sums of small ones.

XNNPACK has fast float kernels for depthwise windows of up to 25 taps; a larger one runs in passes. A 7 × 7 conv as the sum of
3 × 7, 4 × 1 and 4 × 6 ones takes a sixth of the time (56 × 56 × 96: 6.2 ms to 1.0 ms, one thread). Each part pads for itself,
which XNNPACK takes into the conv, and reads a slice only where it never sees all of the image; slices of one padded image take
a quarter longer. int8 parts keep the whole weight's integers and scales: each is a slice of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeconv.rewrite import flatbuffer, merge_pad

#: Taps of XNNPACK's largest depthwise kernel that works in one pass (f32-dwconv, 25p).
MOST_TAPS = 25
#: Taps that XNNPACK's one-pass kernels compute (f32-dwconv 3p, 4p, 9p, 25p): a smaller window takes as long as the next of these.
_KERNEL_TAPS = (3, 4, 9, MOST_TAPS)
#: What a further part costs besides its taps, in taps: a slice and an ADD (56 × 56 × 96: 0.09 ms, 25 taps 0.28 ms).
_PART_TAPS = 8


@dataclass(frozen=True)
class Window:
    """A part of a kernel: its first row and column, and how many of each."""

    row: int
    column: int
    rows: int
    columns: int


def windows(height: int, width: int) -> list[Window]:
    """Parts of at most 25 taps that take the least time together."""
    splits = [_grid(height, width, tall) for tall in range(min(height, MOST_TAPS), 0, -1)]
    return min(splits, key=lambda parts: sum(_cost(part) for part in parts))


def _grid(height: int, width: int, tall: int) -> list[Window]:
    """Strips of some rows, in each as many columns at a time as 25 taps allow."""
    parts, row = [], 0
    for rows in _pieces(height, tall):
        column = 0
        for columns in _pieces(width, MOST_TAPS // rows):
            parts.append(Window(row, column, rows, columns))
            column += columns
        row += rows
    return parts


def _cost(part: Window) -> int:
    return next(taps for taps in _KERNEL_TAPS if taps >= part.rows * part.columns) + _PART_TAPS


def _pieces(total: int, most: int) -> list[int]:
    """As many pieces of the most as fit, and what is left over."""
    whole, rest = divmod(total, most)
    pieces = [most] * whole
    if rest:
        pieces.insert(whole // 2, rest)
    return pieces


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
    """One conv; 0 where its weight is no constant, dequantized or not, or where parts of its kernel see pads only."""
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
    image, pads = _padding(model, graph, op, weight.shape[1:3], makers)
    size = [int(n) for n in graph.tensors[image].shape]
    parts = [(part, _reach(size, shape, pads, part, options)) for part in windows(*weight.shape[1:3])]
    if any(min(reach.extent) <= 0 for _, reach in parts):
        return 0
    total = -1
    for part, reach in parts:
        piece = _seen(model, graph, image, reach, steps)
        filters = weight[:, part.row : part.row + part.rows, part.column : part.column + part.columns, :]
        index = _weight(model, graph, stored, filters, source)
        first = total < 0
        bias = (
            int(op.inputs[2]) if first else flatbuffer.add_constant(model, graph, np.zeros(shape[3], np.float32), b"")
        )
        made = flatbuffer.add_tensor(graph, shape, graph.tensors[out].type, name)
        steps.append(_depthwise(op, [piece, index, bias], made))
        if first:
            total = made
            continue
        target = flatbuffer.add_tensor(graph, shape, graph.tensors[out].type, name)
        steps.append(_add(model, total, made, target))
        total = target
    steps[-1].outputs = [out]
    steps[-1].builtinOptions.fusedActivationFunction = options.fusedActivationFunction
    at = next(position for position, other in enumerate(graph.operators) if other is op)
    graph.operators[at : at + 1] = steps
    return 1


def _padding(model: Any, graph: Any, op: Any, kernel: tuple[int, ...], makers: dict[int, Any]) -> tuple[int, list[int]]:
    """The image that a conv sees, before any PAD, and the zeros above it and left of it."""
    from ai_edge_litert import schema_py_generated as schema

    options, source = op.builtinOptions, int(op.inputs[0])
    if options.padding == schema.Padding.VALID:
        maker = makers.get(source)
        pads = merge_pad.image_pads(model, graph, maker) if maker is not None else None
        if maker is None or pads is None:
            return source, [0, 0]
        return int(maker.inputs[0]), [pads[1][0], pads[2][0]]
    size = [int(n) for n in graph.tensors[source].shape]
    before = []
    spans = (options.dilationHFactor, options.dilationWFactor)
    for length, taps, stride, span in zip(size[1:3], kernel, (options.strideH, options.strideW), spans, strict=True):
        need = max((-(-length // stride) - 1) * stride + (taps - 1) * max(span, 1) + 1 - length, 0)
        before.append(need // 2)
    return source, before


@dataclass(frozen=True)
class _Reach:
    """What a part of the kernel sees of an image [N, H, W, C]: a slice of it, and zeros around that."""

    begin: list[int]
    extent: list[int]
    zeros: list[list[int]]


def _reach(size: list[int], shape: list[int], pads: list[int], part: Window, options: Any) -> _Reach:
    high, wide = max(options.dilationHFactor, 1), max(options.dilationWFactor, 1)
    begin, extent, zeros = [0] * 4, list(size), [[0, 0] for _ in range(4)]
    axes = (
        (1, part.row * high - pads[0], options.strideH, (part.rows - 1) * high + 1),
        (2, part.column * wide - pads[1], options.strideW, (part.columns - 1) * wide + 1),
    )
    for axis, first, stride, span in axes:
        last = first + (shape[axis] - 1) * stride + span
        begin[axis] = max(first, 0)
        extent[axis] = min(last, size[axis]) - begin[axis]
        zeros[axis] = [max(-first, 0), max(last - size[axis], 0)]
    return _Reach(begin, extent, zeros)


def _seen(model: Any, graph: Any, image: int, reach: _Reach, steps: list[Any]) -> int:
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[image]
    if reach.extent != [int(n) for n in tensor.shape]:
        target = flatbuffer.add_tensor(graph, reach.extent, tensor.type, tensor.name)
        bounds = [
            flatbuffer.add_constant(model, graph, np.array(values, np.int32), b"")
            for values in (reach.begin, reach.extent)
        ]
        code = flatbuffer.op_code(model, schema.BuiltinOperator.SLICE, 1)
        steps.append(flatbuffer.operator(code, [image, *bounds], target, schema.SliceOptionsT()))
        image = target
    if np.any(reach.zeros):
        grown = [n + sum(pair) for n, pair in zip(reach.extent, reach.zeros, strict=True)]
        target = flatbuffer.add_tensor(graph, grown, tensor.type, tensor.name)
        amounts = flatbuffer.add_constant(model, graph, np.array(reach.zeros, np.int32), b"")
        code = flatbuffer.op_code(model, schema.BuiltinOperator.PAD, 1)
        steps.append(flatbuffer.operator(code, [image, amounts], target, schema.PadOptionsT()))
        image = target
    return image


def _weight(model: Any, graph: Any, stored: int, filters: Any, dequantize: Any) -> int:
    """A constant for a part of the weight; int8 with the whole's scales goes through a DEQUANTIZE of its own."""
    from ai_edge_litert import schema_py_generated as schema

    whole = graph.tensors[stored]
    index = flatbuffer.add_constant(model, graph, np.ascontiguousarray(filters), whole.name)
    if filters.dtype != np.int8:
        return index
    graph.tensors[index].quantization = whole.quantization
    target = flatbuffer.add_tensor(graph, list(filters.shape), schema.TensorType.FLOAT32, whole.name)
    graph.operators.insert(0, flatbuffer.operator(dequantize.opcodeIndex, [index], target))
    return target


def _depthwise(op: Any, inputs: list[int], target: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    old = op.builtinOptions
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH, options.strideW = old.strideH, old.strideW
    options.dilationHFactor, options.dilationWFactor = old.dilationHFactor, old.dilationWFactor
    options.depthMultiplier = old.depthMultiplier
    return flatbuffer.operator(op.opcodeIndex, inputs, target, options)


def _add(model: Any, left: int, right: int, target: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    code = flatbuffer.op_code(model, schema.BuiltinOperator.ADD, 1)
    return flatbuffer.operator(code, [left, right], target, schema.AddOptionsT())


def _drop_unread(model: Any, graph: Any) -> None:
    """Remove DEQUANTIZEs and PADs that nothing reads any more, and the constants of tensors that nothing reads."""
    outputs = {int(index) for index in graph.outputs}
    read = {int(index) for op in graph.operators for index in op.inputs} | outputs
    graph.operators = [
        op
        for op in graph.operators
        if flatbuffer.op_name(model, op) not in ("DEQUANTIZE", "PAD") or int(op.outputs[0]) in read
    ]
    read = {int(index) for op in graph.operators for index in op.inputs} | outputs
    read |= {int(index) for op in graph.operators for index in op.outputs} | {int(index) for index in graph.inputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in read:
            tensor.buffer, tensor.name, tensor.quantization = 0, b"", None
