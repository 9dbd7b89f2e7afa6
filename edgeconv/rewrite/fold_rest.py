"""Computes the constant nodes that the exporter's folder leaves.

The folder leaves nodes with several outputs alone (nn.MultiheadAttention splits its in_proj_weight where query, key and value
differ), and those at which onnx's reference implementation fails (GatherElements whose indices are shorter than its data:
the token types that BERT makes for itself). What is computed from them would be no constant, and a weight among it
be made integer for nothing: TensorFlow's converter computes it in float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, Pass, all_names, const_value, nodes, static_shape

#: Small as they are and large as a constant, ever different, or kept for what they say of a quantized model.
_KEPT = frozenset(
    "Constant ConstantOfShape QuantizeLinear DequantizeLinear DynamicQuantizeLinear "
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli".split()
)

_GRAPHS = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


class FoldRest(Pass):
    """A node that reads constants alone becomes constants, as onnxruntime computes them.

    Args:
        most: elements that may be made of fewer ones.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def apply(self, model: ir.Model) -> int:
        """Returns how many nodes became constants."""
        taken: set[str] = set()
        changed = 0
        for node in list(nodes(model)):
            if node.domain != "" or node.op_type in _KEPT or not node.inputs:
                continue
            if any(output.is_graph_output() for output in node.outputs):
                continue
            if any(attribute.type in _GRAPHS for attribute in node.attributes.values()):
                continue
            inputs = [const_value(value) for value in node.inputs]
            if any(array is None and value is not None for value, array in zip(node.inputs, inputs, strict=True)):
                continue
            if not self._fits(node, [array for array in inputs if array is not None]):
                continue
            found = _computed(node, inputs, model.opset_imports[""])
            if found is None:
                continue
            taken = taken or all_names(model)
            build = Builder(node, taken)
            build.commit([build.const(array, "folded") for array in found])
            changed += 1
        return changed

    def _fits(self, node: ir.Node, inputs: Sequence[Array]) -> bool:
        shapes = [static_shape(output) for output in node.outputs if output.name]
        if any(shape is None for shape in shapes):
            return False
        made = sum(math.prod(shape) for shape in shapes if shape is not None)
        return made <= max(self._most, sum(array.size for array in inputs))


def _computed(node: ir.Node, inputs: Sequence[Array | None], opset: int) -> list[Array] | None:
    """The node's outputs; None if onnxruntime does not compute it."""
    import onnxruntime

    feeds = {f"in{i}": array for i, array in enumerate(inputs) if array is not None}
    names = [f"out{i}" if output.name else "" for i, output in enumerate(node.outputs)]
    proto = ir.serde.serialize_node(node)
    proto.ClearField("input")
    proto.ClearField("output")
    proto.input.extend(f"in{i}" if array is not None else "" for i, array in enumerate(inputs))
    proto.output.extend(names)
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [onnx.helper.make_tensor_value_info(name, types[name], array.shape) for name, array in feeds.items()],
        [onnx.ValueInfoProto(name=name) for name in names if name],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        made = session.run(None, feeds)
    except Exception:  # noqa: BLE001 - no kernel for these types, or a node that fails: it stays, a later stage says why
        return None
    found = dict(zip([name for name in names if name], made, strict=True))
    return [np.asarray(found[name]) if name else np.zeros(0, np.float32) for name in names]
