"""Makes small .tflite files for self-tests and tests, from nothing but edgeconv's own flatbuffer tools: no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def conv_chain(path: Path, layers: int, *, size: int = 16, channels: int = 32, seed: int = 0) -> Path:
    """A float32 file of `layers` equal convolutions 3×3, named layers.<n>, on an input [1, size, size, channels].

    Args:
        path: to write.
        layers: how many; each takes the same time, so 11 against 10 is 10 % more work.
        size: height and width.
        channels: of every tensor.
        seed: of the weights.
    """
    from ai_edge_litert import schema_py_generated as schema

    from edgeconv.rewrite import flatbuffer

    generator = np.random.default_rng(seed)
    model, graph = empty()
    float32 = schema.TensorType.FLOAT32
    last = flatbuffer.add_tensor(graph, [1, size, size, channels], float32, b"image")
    graph.inputs = [last]
    deviation = 1 / np.sqrt(9 * channels)  # keeps the activations' size from layer to layer
    for number in range(layers):
        weights = generator.normal(0, deviation, (channels, 3, 3, channels)).astype(np.float32)
        bias = generator.normal(0, 0.1, channels).astype(np.float32)
        output = flatbuffer.add_tensor(graph, [1, size, size, channels], float32, b"layers.%d" % number)
        op = schema.OperatorT()
        op.opcodeIndex = flatbuffer.op_code(model, schema.BuiltinOperator.CONV_2D, 1)
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.Conv2DOptions, schema.Conv2DOptionsT()
        op.builtinOptions.strideW = op.builtinOptions.strideH = 1
        op.builtinOptions.dilationWFactor = op.builtinOptions.dilationHFactor = 1
        op.inputs = [
            last,
            flatbuffer.add_constant(model, graph, weights, b"layers.%d/weight" % number),
            flatbuffer.add_constant(model, graph, bias, b"layers.%d/bias" % number),
        ]
        op.outputs = [output]
        graph.operators.append(op)
        last = output
    graph.outputs = [last]
    flatbuffer.write(model, path)
    return path


def empty() -> tuple[Any, Any]:
    """A model without ops, and its graph."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, b"edgeconv self-test"
    model.operatorCodes, model.buffers, model.subgraphs = [], [schema.BufferT()], [graph]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    return model, graph


def endless(path: Path) -> Path:
    """A valid file whose invoke never ends: a WHILE whose condition is a constant true."""
    from ai_edge_litert import schema_py_generated as schema

    from edgeconv.rewrite import flatbuffer

    model, graph = empty()
    _loop(model, graph, condition=1, body=2)
    body = schema.SubGraphT()
    body.tensors = []
    body.inputs = [flatbuffer.add_tensor(body, [1, 4], schema.TensorType.FLOAT32, b"x")]
    body.outputs = [flatbuffer.add_tensor(body, [1, 4], schema.TensorType.FLOAT32, b"y")]
    op = schema.OperatorT()
    op.opcodeIndex = flatbuffer.op_code(model, schema.BuiltinOperator.ABS, 1)
    op.inputs, op.outputs = [body.inputs[0]], body.outputs
    body.operators = [op]
    model.subgraphs += [_always(model), body]
    flatbuffer.write(model, path)
    return path


def bottomless(path: Path) -> Path:
    """A file that the format's checks let pass and that kills its runtime: a WHILE whose body is the graph it stands in."""
    from edgeconv.rewrite import flatbuffer

    model, graph = empty()
    _loop(model, graph, condition=1, body=0)
    model.subgraphs.append(_always(model))
    flatbuffer.write(model, path)
    return path


def _always(model: Any) -> Any:
    """A graph that says yes."""
    from ai_edge_litert import schema_py_generated as schema

    from edgeconv.rewrite import flatbuffer

    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    graph.inputs = [flatbuffer.add_tensor(graph, [1, 4], schema.TensorType.FLOAT32, b"x")]
    graph.outputs = [flatbuffer.add_tensor(graph, [1], schema.TensorType.BOOL, b"true")]
    graph.tensors[graph.outputs[0]].buffer = flatbuffer.add_buffer(model, np.ones(1, np.uint8))
    return graph


def _loop(model: Any, graph: Any, condition: int, body: int) -> None:
    """A graph that is one WHILE over subgraphs of these numbers."""
    from ai_edge_litert import schema_py_generated as schema

    from edgeconv.rewrite import flatbuffer

    graph.inputs = [flatbuffer.add_tensor(graph, [1, 4], schema.TensorType.FLOAT32, b"x")]
    graph.outputs = [flatbuffer.add_tensor(graph, [1, 4], schema.TensorType.FLOAT32, b"y")]
    op = schema.OperatorT()
    op.opcodeIndex = flatbuffer.op_code(model, schema.BuiltinOperator.WHILE, 1)
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.WhileOptions, schema.WhileOptionsT()
    op.builtinOptions.condSubgraphIndex, op.builtinOptions.bodySubgraphIndex = condition, body
    op.inputs, op.outputs = graph.inputs, graph.outputs
    graph.operators = [op]
