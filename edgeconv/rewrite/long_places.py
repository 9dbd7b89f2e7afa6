"""GatherND and ScatterND take int64 places only; PyTorch's exporter leaves them the int32 ones that the model has."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Pass, needed, nodes


class LongPlaces(Pass):
    """Casts int32 places; before opset 13, whose ScatterND has no reduction that a new node could keep."""

    ops: ClassVar[frozenset[str]] = frozenset({"GatherND", "ScatterND"})

    def apply(self, model: ir.Model) -> int:
        """Number of nodes with other places."""
        found = [node for node in nodes(model) if node.op_type in self.ops and not node.domain]
        found = [node for node in found if needed(node, 1).dtype == ir.DataType.INT32]
        for node in found:
            cast = ir.node("Cast", [needed(node, 1)], {"to": ir.DataType.INT64.value})
            cast.outputs[0].shape, cast.outputs[0].dtype = needed(node, 1).shape, ir.DataType.INT64
            cast.metadata_props.update(node.metadata_props)
            assert node.graph is not None
            node.graph.insert_before(node, cast)
            node.replace_input_with(1, cast.outputs[0])
        return len(found)
