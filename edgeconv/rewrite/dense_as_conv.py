"""Writes a FULLY_CONNECTED as a 1 × 1 CONV_2D between two RESHAPEs, one row a batch entry.

TFLite's CONV_2D has quantized activations on the fly with one weight scale an output channel since 2.3; FULLY_CONNECTED
only since 2.17, and older runtimes silently use the first channel's scale for all. With every row a batch entry of its
own, a runtime quantizes each row by itself, as FULLY_CONNECTED does. LiteRT 2.3 runs it as fast: vit_tiny, 49 of them,
11.9 ms against 12.2 ms; tflite-runtime 2.14 gives 33 dB instead of 0 dB, and 60 ms instead of 91 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeconv.rewrite import flatbuffer

#: CONV_2D with int8 weights, float activations, and one scale an output channel (tensorflow/lite/tools/versioning).
CONV_VERSION = 5


def fits(graph: Any, op: Any) -> bool:
    """Whether an op's shapes are all fixed, so that the RESHAPEs can be written down."""
    tensors = [graph.tensors[index] for index in (*op.inputs[:2], *op.outputs)]
    return not any(t.shape is None or (t.shapeSignature is not None and -1 in list(t.shapeSignature)) for t in tensors)


def as_conv(model: Any, graph: Any, op: Any) -> None:
    """Replace one FULLY_CONNECTED in place; its weight tensor must already be [O, 1, 1, I].

    Args:
        model: `ModelT`.
        graph: the subgraph that holds `op`.
        op: the FULLY_CONNECTED; becomes the CONV_2D.
    """
    from ai_edge_litert import schema_py_generated as schema

    source, weight = int(op.inputs[0]), int(op.inputs[1])
    out = int(op.outputs[0])
    features, classes = int(graph.tensors[weight].shape[3]), int(graph.tensors[weight].shape[0])
    rows = int(np.prod(graph.tensors[source].shape)) // features
    name = graph.tensors[out].name
    bias = int(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else -1
    if bias < 0:
        bias = flatbuffer.add_constant(model, graph, np.zeros(classes, np.float32), name)
    elif list(graph.tensors[bias].shape) != [classes]:
        # FULLY_CONNECTED takes a bias of [1, 1, 1, O], XNNPACK's conv does not; the buffer stays shared
        old = graph.tensors[bias]
        bias = flatbuffer.add_tensor(graph, [classes], old.type, old.name)
        graph.tensors[bias].buffer = old.buffer
    flat = flatbuffer.add_tensor(graph, [rows, 1, 1, features], schema.TensorType.FLOAT32, name)
    made = flatbuffer.add_tensor(graph, [rows, 1, 1, classes], schema.TensorType.FLOAT32, name)
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = op.builtinOptions.fusedActivationFunction
    op.opcodeIndex = flatbuffer.op_code(model, schema.BuiltinOperator.CONV_2D, CONV_VERSION)
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    op.inputs, op.outputs = [flat, weight, bias], [made]
    at = next(position for position, other in enumerate(graph.operators) if other is op)
    shape = [int(n) for n in graph.tensors[out].shape]
    after = flatbuffer.reshape(model, graph, made, out, shape)
    before = flatbuffer.reshape(model, graph, source, flat, [rows, 1, 1, features])
    graph.operators[at : at + 1] = [before, op, after]
