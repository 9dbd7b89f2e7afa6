"""Stores the float32 weights of a .tflite as float16, each behind a DEQUANTIZE that runtimes unpack once at load."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeconv.rewrite import flatbuffer

#: Smaller constants stay float32: a DEQUANTIZE and its tensor take about this many bytes.
LEAST_ELEMENTS = 64
#: Largest finite float16.
HALF_MAX = 65504.0


def store_half(model: Any) -> int:
    """Replace large float32 constants in place.

    Args:
        model: `ModelT` of a float32 file.

    Returns:
        How many constants. One with a value beyond float16's range stays float32.
    """
    from ai_edge_litert import schema_py_generated as schema

    count = 0
    for graph in model.subgraphs:
        read = {int(index) for op in graph.operators for index in op.inputs}
        for index in sorted(read - {-1}):
            tensor = graph.tensors[index]
            array = flatbuffer.constant(model, tensor)
            if array is None or array.dtype != np.float32 or array.size < LEAST_ELEMENTS:
                continue
            if np.abs(array).max() > HALF_MAX or not np.isfinite(array).all():
                continue
            half = flatbuffer.add_tensor(graph, list(array.shape), schema.TensorType.FLOAT16, tensor.name)
            graph.tensors[half].buffer = flatbuffer.add_buffer(model, array.astype(np.float16))
            tensor.buffer = 0
            code = flatbuffer.op_code(model, schema.BuiltinOperator.DEQUANTIZE, 3)  # float16 since version 3
            graph.operators.insert(0, flatbuffer.operator(code, [half], index))
            count += 1
    return count
