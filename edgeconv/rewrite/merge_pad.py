"""Pads the width of an image as a pad of its rows: RESHAPE to [N, H, W · C], PAD, RESHAPE back.

XNNPACK pads each pixel by itself where the pixels have a dimension of their own, and a row at a time where they have not
(224 × 224 × 3 by one pixel: 0.48 ms and 0.04 ms, one thread). It computes no pad at all where one float conv reads the result:
that one it takes into the conv. A conv in int8 quantizes its input first, so there the pad stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeconv.rewrite import flatbuffer

_CONVS = {"CONV_2D", "DEPTHWISE_CONV_2D"}


def merge(model: Any) -> int:
    """Rewrite every PAD of the width that no float conv takes in, in place; returns how many."""
    done = 0
    for graph in model.subgraphs:
        readers: dict[int, list[Any]] = {}
        for op in graph.operators:
            for index in op.inputs:
                readers.setdefault(int(index), []).append(op)
        outputs = {int(index) for index in graph.outputs}
        for op in list(graph.operators):
            if flatbuffer.op_name(model, op) != "PAD":
                continue
            pads = _width_pads(model, graph, op)
            following = readers.get(int(op.outputs[0]), [])
            taken_in = (
                int(op.outputs[0]) not in outputs and len(following) == 1 and _float_conv(model, graph, following[0])
            )
            if pads is not None and not taken_in:
                _merge(model, graph, op, pads)
                done += 1
    return done


def _width_pads(model: Any, graph: Any, op: Any) -> list[list[int]] | None:
    """Constant pads of a float image's height and width, width among them; None for other PADs."""
    pads = image_pads(model, graph, op)
    return pads if pads is not None and any(pads[2]) else None


def image_pads(model: Any, graph: Any, op: Any) -> list[list[int]] | None:
    """Constant zero pads of a float image's height and width, [4, 2] in N H W C; None for any other op."""
    from ai_edge_litert import schema_py_generated as schema

    if flatbuffer.op_name(model, op) != "PAD":
        return None
    source, amounts = (graph.tensors[int(index)] for index in op.inputs[:2])
    data = model.buffers[amounts.buffer].data
    if data is None or source.shape is None or len(source.shape) != 4 or source.type != schema.TensorType.FLOAT32:
        return None
    if source.shapeSignature is not None and -1 in list(source.shapeSignature):
        return None
    kind = np.int64 if amounts.type == schema.TensorType.INT64 else np.int32
    pads: list[list[int]] = np.frombuffer(np.asarray(data, np.uint8).tobytes(), kind).reshape(4, 2).tolist()
    return pads if not any(pads[0] + pads[3]) else None


def _float_conv(model: Any, graph: Any, op: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    if flatbuffer.op_name(model, op) not in _CONVS or op.builtinOptions.padding != schema.Padding.VALID:
        return False
    return bool(graph.tensors[int(op.inputs[1])].type == schema.TensorType.FLOAT32)


def _merge(model: Any, graph: Any, op: Any, pads: list[list[int]]) -> None:
    source, target = int(op.inputs[0]), int(op.outputs[0])
    batch, height, width, channels = (int(n) for n in graph.tensors[source].shape)
    kind, name = graph.tensors[source].type, graph.tensors[target].name
    rows = [batch, height, width * channels]
    grown = [batch, height + sum(pads[1]), (width + sum(pads[2])) * channels]
    flat = flatbuffer.add_tensor(graph, rows, kind, name)
    padded = flatbuffer.add_tensor(graph, grown, kind, name)
    amounts = np.array([[0, 0], pads[1], [n * channels for n in pads[2]]], np.int32)
    op.inputs = [flat, flatbuffer.add_constant(model, graph, amounts, b"")]
    op.outputs = [padded]
    before = flatbuffer.reshape(model, graph, source, flat, rows)
    after = flatbuffer.reshape(model, graph, padded, target, [int(n) for n in graph.tensors[target].shape])
    at = next(position for position, other in enumerate(graph.operators) if other is op)
    graph.operators[at : at + 1] = [before, op, after]
