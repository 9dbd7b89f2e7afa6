"""Cuts some nodes out of a graph as a model of their own: their constants come along, everything else becomes an input."""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import helper


def cut(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """The nodes with these names, in order.

    Args:
        model: with types and shapes inferred, as far as they can be.
        names: of nodes.

    Returns:
        A model of the same opset. Inputs are what the nodes read and neither make nor find among the constants; outputs are
        what they make and others read, or the graph gives.
    """
    graph = model.graph
    chosen = [node for node in graph.node if node.name in names]
    made = [name for node in chosen for name in node.output if name]
    read = list(dict.fromkeys(name for node in chosen for name in node.input if name))
    constants = [tensor for tensor in graph.initializer if tensor.name in set(read)]
    known = {value.name: value for value in [*graph.input, *graph.value_info, *graph.output]}
    outside = {name for node in graph.node if node.name not in names for name in node.input}
    outside |= {value.name for value in graph.output}
    inputs = [name for name in read if name not in made and name not in {tensor.name for tensor in constants}]
    outputs = [name for name in made if name in outside] or made
    part = helper.make_graph(
        chosen,
        "part",
        [known.get(name) or helper.make_empty_tensor_value_info(name) for name in inputs],
        [known.get(name) or helper.make_empty_tensor_value_info(name) for name in outputs],
        constants,
        value_info=[known[name] for name in made if name in known and name not in outputs],
    )
    return helper.make_model(part, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def neighbours(model: onnx.ModelProto, names: Collection[str]) -> set[str]:
    """These nodes and all that make what they read or read what they make."""
    chosen = [node for node in model.graph.node if node.name in names]
    near = {name for node in chosen for name in [*node.input, *node.output] if name}
    constants = {tensor.name for tensor in model.graph.initializer}
    near -= constants
    return {node.name for node in model.graph.node if near & {*node.input, *node.output}} | set(names)
