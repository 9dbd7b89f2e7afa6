"""Quantizes weights that no dynamic kernel computes with: they are stored as integers and dequantized before their op.

Tables of embeddings and the weights of transposed convs. onnxruntime's quantizer knows neither in the form that TFLite has, so
the graph gets a DequantizeLinear with one scale an output channel (a row, for a table).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

#: Which input is the weight, and the axis of its output channel.
STORED = {"Gather": (0, 0), "ConvTranspose": (1, 1)}
#: A row of a table must have this many numbers to be worth a scale of its own.
LEAST_ROW = 8


def chosen(model: Any, weights: dict[str, Any], op_types: tuple[str, ...], min_elements: int) -> dict[str, int]:
    """Weights to store as integers, and the axis of their output channel.

    Args:
        model: `onnx.ModelProto`.
        weights: its initializers by name.
        op_types: what the stage quantizes.
        min_elements: smaller ones stay float.
    """
    users: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            users[name].append((node, place))
    found = {}
    for name, readers in users.items():
        weight = weights.get(name)
        kinds = {node.op_type for node, _ in readers}
        if weight is None or weight.dtype != np.float32 or len(kinds) != 1 or weight.size < min_elements:
            continue
        op = kinds.pop()
        if op not in STORED or op not in op_types or not np.isfinite(weight).all():
            continue
        place, axis = STORED[op]
        if all(where == place and _fits(node, weight) for node, where in readers):
            found[name] = axis
    return found


def _fits(node: Any, weight: Any) -> bool:
    numbers = {a.name: a.i for a in node.attribute}
    if node.op_type == "Gather":
        return weight.ndim == 2 and weight.shape[1] >= LEAST_ROW and numbers.get("axis", 0) == 0
    return numbers.get("group", 1) == 1


def dequantized(model: Any, name: str, axis: int, q: Any, scale: Any, zero_point: int) -> None:
    """Let the weight `name` come out of a DequantizeLinear of its integers, in place.

    Args:
        model: `onnx.ModelProto`.
        name: of the initializer.
        axis: of its output channel.
        q: uint8, of the weight's shape.
        scale: float32, one an output channel.
        zero_point: of all channels.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    at = next(place for place, tensor in enumerate(graph.initializer) if tensor.name == name)
    del graph.initializer[at]
    parts = {"quantized": q, "scale": scale, "zero_point": np.full(scale.shape, zero_point, np.uint8)}
    for part, array in parts.items():
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{name}_{part}"))
    node = helper.make_node(
        "DequantizeLinear", [f"{name}_{part}" for part in parts], [name], name=f"{name}_dequantize", axis=axis
    )
    reader = next(other for other in graph.node if name in other.input)
    node.metadata_props.extend(reader.metadata_props)
    graph.node.insert(0, node)
