"""What a graph pass is, how it builds nodes, and how a row of passes runs.

A pass holds one idea and stands in a file of its name (`legalize_split.py` holds `LegalizeSplit`). Nearly all rewrite
single nodes: `NodePass` finds them, in subgraphs too, hands each to `rewrite` with a `Builder`, and swaps the returned
values in. What a pass cannot express it refuses with a reason that stays on the node, so that one error can later
name every such node of the model instead of the first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, NameFixPass

OPSET = 13  # what passes emit and onnx-tf reads
SCOPES = "pkg.torch.onnx.name_scopes"  # where torch.onnx.export keeps the names of the enclosing modules
_REASON = "edgeconv.refused"
_SMALL = 1024  # shapes, axes and sizes are shorter: only such constants are handed to shape inference

Array = npt.NDArray[Any]
Input = ir.Value | Array | np.generic | None


class Pass:
    """One idea about a graph.

    `name` is derived from the class name: `LegalizeSplit` is `legalize_split`, which is also its file's name.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def apply(self, model: ir.Model) -> int:
        """Change the model in place, leave it valid, and return the number of places changed."""
        raise NotImplementedError


class NodePass(Pass):
    """A pass that rewrites single nodes of the default domain, wherever they stand.

    Attributes:
        ops: the op types that `rewrite` wants to see.
    """

    ops: ClassVar[frozenset[str]] = frozenset()

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Values to stand for the node's outputs, one each, or None to leave the node as it is.

        What `build` made counts only if values are returned.
        """
        raise NotImplementedError

    def apply(self, model: ir.Model) -> int:
        """Rewrite every node of `ops` and return how many changed."""
        found = [node for node in nodes(model) if node.domain == "" and node.op_type in self.ops]
        if not found:
            return 0
        taken = all_names(model)
        changed = 0
        for node in found:
            if node.graph is None:  # went away with an enclosing node
                continue
            build = Builder(node, taken)
            values = self.rewrite(node, build)
            if values is not None:
                build.commit(values)
                changed += 1
        return changed


class Builder:
    """Makes the nodes and constants that replace one node.

    Nothing enters the graph before `commit`. Names derive from the replaced node's name, new nodes carry its metadata
    (so an error can still name the PyTorch module), and types and shapes are inferred where the inputs' are known.

    Args:
        node: the node to replace.
        taken: all value names of the model; grows.
    """

    def __init__(self, node: ir.Node, taken: set[str]) -> None:
        self.node = node
        self._taken = taken
        self._nodes: list[ir.Node] = []
        self._constants: list[ir.Value] = []
        self._stem = node.name or next((v.name for v in node.outputs if v.name), None) or node.op_type

    def op(self, op_type: str, *inputs: Input, **attributes: Any) -> ir.Value:
        """A node of the default domain with one output; arrays among the inputs become constants."""
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def ops(self, op_type: str, *inputs: Input, outputs: int, **attributes: Any) -> Sequence[ir.Value]:
        """The same with several outputs. An attribute that is None is left out."""
        name = self._fresh(op_type)
        present = {key: value for key, value in attributes.items() if value is not None}
        node = ir.Node(
            "",
            op_type,
            [self.const(value) if isinstance(value, (np.ndarray, np.generic)) else value for value in inputs],
            ir.convenience.convert_attributes(present),
            outputs=[ir.Value(name=name if i == 0 else self._fresh(op_type)) for i in range(outputs)],
            name=name,
            metadata_props=dict(self.node.metadata_props),
        )
        self._nodes.append(node)
        infer(node)
        return node.outputs

    def again(self, *inputs: Input, drop: Collection[str] = (), **attributes: Any) -> Sequence[ir.Value]:
        """The node itself with other inputs (none given: its own) and other attributes: `drop` left out, more set."""
        kept: dict[str, Any] = {key: value for key, value in self.node.attributes.items() if key not in drop}
        kept.update(attributes)
        return self.ops(self.node.op_type, *(inputs or self.node.inputs), outputs=len(self.node.outputs), **kept)

    def const(self, array: Array | np.generic, hint: str = "const") -> ir.Value:
        """An initializer of the node's graph."""
        name = self._fresh(hint)
        tensor = ir.tensor(np.ascontiguousarray(array).reshape(np.shape(array)), name=name)
        value = ir.Value(
            name=name, shape=ir.Shape(np.shape(array)), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._constants.append(value)
        return value

    def ints(self, values: Sequence[int], hint: str = "const") -> ir.Value:
        """A one-dimensional int64 constant: axes, sizes, shapes."""
        return self.const(np.array(values, np.int64).reshape(-1), hint)

    def scalar(self, number: float, like: ir.Value, hint: str = "const") -> ir.Value:
        """A constant without dimensions, of another value's dtype (float32 if that is unknown)."""
        dtype = like.dtype.numpy() if like.dtype is not None else np.dtype(np.float32)
        return self.const(np.array(number, dtype), hint)

    def refuse(self, reason: str) -> Sequence[ir.Value] | None:
        """Note on the node why it must stay (a clause without a full stop); None, for `rewrite` to return."""
        self.node.meta[_REASON] = reason
        return None

    def insert(self, *, after: bool = False) -> None:
        """Put what was built before the node (or after it) and leave the node alone."""
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        if after:
            graph.insert_after(self.node, self._nodes)
        else:
            graph.insert_before(self.node, self._nodes)
        for constant in self._constants:
            if constant.uses() and not constant.is_initializer():
                graph.initializers.add(constant)
        self._nodes = []

    def commit(self, values: Sequence[ir.Value]) -> None:
        """Put what was built before the node, let `values` stand for its outputs, and remove it."""
        node, graph = self.node, self.node.graph
        assert isinstance(graph, ir.Graph)
        if len(values) != len(node.outputs):
            raise ValueError(f"{len(values)} values for the {len(node.outputs)} outputs of {node.op_type}")
        kept = [(old, self._standing(old, new)) for old, new in zip(node.outputs, values, strict=True)]
        graph.insert_before(node, self._nodes)
        for old, new in kept:
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        for constant in self._constants:
            if constant.uses():
                graph.initializers.add(constant)
        inputs = node.inputs
        graph.remove(node, safe=True)
        for value in inputs:
            if value is not None:
                _drop_if_unused(value)

    def _standing(self, old: ir.Value, new: ir.Value) -> ir.Value:
        """The value that takes the place of `old`: `new` under the old name, or a copy where it must keep its own."""
        mine = any(new is out for node in self._nodes for out in node.outputs)
        if not mine or new.meta.get("edgeconv.stands"):
            if not old.is_graph_output():
                return new
            new = self.op("Identity", new)
        new.meta["edgeconv.stands"] = True
        if old.type is not None:
            new.type = old.type
        if old.shape is not None and static_shape(new) is None:
            new.shape = old.shape
        if old.name:
            name, old.name = old.name, self._fresh("replaced")
            new.name = name
        return new

    def _fresh(self, hint: str) -> str:
        name = stem = f"{self._stem}_{hint}"
        number = 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name


def run(model: ir.Model, passes: Sequence[Pass]) -> dict[str, int]:
    """Apply passes in order; afterwards nodes are sorted and names unique.

    The model's functions are inlined first, so that passes see every node and may add initializers.

    Returns:
        Changed places by pass name, without the passes that changed nothing.
    """
    if model.functions:
        InlinePass()(model)
    counts: dict[str, int] = {}
    for one in passes:
        changed = one.apply(model)
        if changed:
            counts[one.name] = counts.get(one.name, 0) + changed
    if counts:
        model.graph.sort()
        NameFixPass()(model)
    return counts


def nodes(model: ir.Model) -> Iterator[ir.Node]:
    """All nodes of a model's graph and of the graphs inside its nodes."""
    yield from ir.traversal.RecursiveGraphIterator(model.graph)


def refused(model: ir.Model) -> list[tuple[ir.Node, str]]:
    """The nodes that passes had to leave, with the reason that each gave."""
    return [(node, node.meta[_REASON]) for node in nodes(model) if _REASON in node.meta]


def const_value(value: ir.Value | None) -> Array | None:
    """The array of an initializer, a builder's constant or a Constant node; None if it is computed or an input."""
    if value is None or value.is_graph_input():
        return None
    node = value.producer()
    if node is None:
        return value.const_value.numpy() if value.const_value is not None else None
    if node.op_type != "Constant":
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return tensor.numpy() if tensor is not None else None


def const_ints(value: ir.Value | None) -> list[int] | None:
    """The same for a short list of integers."""
    array = const_value(value)
    return None if array is None else [int(x) for x in array.reshape(-1)]


def static_shape(value: ir.Value | None) -> list[int] | None:
    """The dimensions of a value if all of them are known numbers."""
    if value is None or value.shape is None:
        return None
    dims = [dim for dim in value.shape if isinstance(dim, int)]
    return dims if len(dims) == len(value.shape) else None


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, if known."""
    return None if value is None or value.shape is None else len(value.shape)


def given(node: ir.Node, index: int) -> ir.Value | None:
    """Input number `index`, or None if it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def needed(node: ir.Node, index: int) -> ir.Value:
    """Input number `index` of a node that cannot do without it."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.op_type} node {node.name!r} has no input {index}")
    return value


def attr(node: ir.Node, key: str, default: Any = None) -> Any:
    """A node's attribute as plain Python data (int, float, str, list), or `default`."""
    found = node.attributes.get(key)
    if found is None:
        return default
    value = found.value
    return list(value) if isinstance(value, tuple) else value


def module_path(node: ir.Node) -> str:
    """Dotted name of the PyTorch module that a node came from ("" for the root), or the node's name if unknown."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, ""))
    except (SyntaxError, ValueError):
        scopes = None
    if not isinstance(scopes, list) or not scopes:
        return node.name or ""
    return str(scopes[-2]) if len(scopes) > 1 else ""  # the last one is the operator itself


def infer(node: ir.Node) -> None:
    """Set the types and shapes of a node's outputs as far as its inputs' allow; never fails."""
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None:
            continue
        if value.type is None or not value.name:
            return
        types[value.name] = _type_proto(value)
        tensor = value.const_value
        if tensor is not None and tensor.size <= _SMALL:
            data[value.name] = ir.serde.serialize_tensor(tensor)
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
        found = onnx.shape_inference.infer_node_outputs(
            schema, ir.serde.serialize_node(node), types, data, opset_imports=[onnx.helper.make_opsetid("", OPSET)]
        )
    except (onnx.shape_inference.InferenceError, onnx.defs.SchemaError, RuntimeError, ValueError):
        return
    except onnx.checker.ValidationError:  # a node as a later opset has it
        return
    for value in node.outputs:
        proto = found.get(value.name or "")
        if proto is not None:
            value.type = ir.serde.deserialize_type_proto_for_type(proto)
            value.shape = ir.serde.deserialize_type_proto_for_shape(proto)


def _type_proto(value: ir.Value) -> onnx.TypeProto:
    proto = onnx.TypeProto()
    assert value.type is not None
    ir.serde.serialize_type_into(proto, value.type)
    if value.shape is not None:
        ir.serde.serialize_shape_into(proto, value.shape)
    return proto


def all_names(model: ir.Model) -> set[str]:
    """Every value name in use, in subgraphs too."""
    names: set[str] = set()
    for graph in model.graphs():
        names.update(value.name for value in graph.inputs if value.name)
        names.update(graph.initializers)
    for node in nodes(model):
        names.update(value.name for value in node.outputs if value.name)
    return names


def _drop_if_unused(value: ir.Value) -> None:
    """Remove a constant that nothing reads any more."""
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    producer = value.producer()
    if producer is None:
        if value.is_initializer() and value.graph is not None and value.name:
            value.graph.initializers.pop(value.name)
    elif producer.op_type == "Constant" and producer.graph is not None:
        producer.graph.remove(producer, safe=True)
