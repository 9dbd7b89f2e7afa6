"""Computes in float32 what a graph computes in float64 or float16: TFLite's kernels know no other float."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Pass, all_names, nodes

_OTHER = frozenset({ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_FLOAT = ir.TensorType(ir.DataType.FLOAT)


class NarrowFloats(Pass):
    """Every float64 and float16 value becomes float32; inputs and outputs of the model keep their dtype behind a Cast."""

    def apply(self, model: ir.Model) -> int:
        """Returns how many values changed their dtype."""
        graph = model.graph
        self._taken, self._main = all_names(model), graph
        changed = 0
        for one in model.graphs():
            for value in one.initializers.values():
                if value.dtype in _OTHER and value.const_value is not None:
                    array = value.const_value.numpy().astype(np.float32)
                    value.const_value = ir.tensor(array, name=value.name)
                    value.type = _FLOAT
                    changed += 1
        ends = list(graph.inputs)
        for node in list(nodes(model)):  # a list: Casts are put in on the way
            _retype(node)
            for value in node.outputs:
                changed += self._narrow(value)
        for value in [value for node in nodes(model) for inner in _bodies(node) for value in inner.inputs]:
            changed += self._narrow(value)
        for value in ends:
            if value.dtype in _OTHER:
                self._cast_input(graph, value)
                changed += 1
        return changed

    def _narrow(self, value: ir.Value) -> int:
        if value.dtype not in _OTHER:
            return 0
        wanted = value.type
        value.type = _FLOAT
        if value.is_graph_output() and value.graph is self._main:
            self._cast_output(value, wanted)
        return 1

    def _cast_output(self, value: ir.Value, wanted: ir.TypeProtocol | None) -> None:
        graph, node = value.graph, value.producer()
        assert isinstance(graph, ir.Graph)
        assert node is not None
        assert wanted is not None
        name = value.name
        value.name = self._fresh(f"{name}_float")
        cast = ir.node("Cast", [value], {"to": wanted.dtype.value}, name=self._fresh(f"{name}_cast"))
        cast.outputs[0].name, cast.outputs[0].type, cast.outputs[0].shape = name, wanted, value.shape
        cast.metadata_props.update(node.metadata_props)
        graph.insert_after(node, cast)
        for position, output in enumerate(list(graph.outputs)):
            if output is value:
                graph.outputs[position] = cast.outputs[0]

    def _cast_input(self, graph: ir.Graph, value: ir.Value) -> None:
        users = [(usage.node, usage.idx) for usage in value.uses()]
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value}, name=self._fresh(f"{value.name}_cast"))
        made = cast.outputs[0]
        made.name, made.type, made.shape = self._fresh(f"{value.name}_float"), _FLOAT, value.shape
        for user, position in users:
            user.replace_input_with(position, made)
        first = next(iter(graph), None)
        if first is None:
            graph.append(cast)
        else:
            graph.insert_before(first, cast)

    def _fresh(self, stem: str) -> str:
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name


def _bodies(node: ir.Node) -> list[ir.Graph]:
    return [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]


def _retype(node: ir.Node) -> None:
    """Attributes that name a float dtype, or hold a tensor of one."""
    for key in ("to", "dtype"):
        found = node.attributes.get(key)
        if found is not None and node.domain == "" and found.value in {kind.value for kind in _OTHER}:
            node.attributes[key] = ir.AttrInt64(key, ir.DataType.FLOAT.value)
    found = node.attributes.get("value")
    if found is not None and found.type == ir.AttributeType.TENSOR and found.value.dtype in _OTHER:
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(found.value.numpy().astype(np.float32)))
