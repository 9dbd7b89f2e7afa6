"""Spells Squeeze, Unsqueeze and Flatten as Reshape: onnx-tf has no Squeeze and no Unsqueeze at opset 13."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed, static_shape


class OnnxTfSqueeze(NodePass):
    """Squeeze, Unsqueeze and Flatten become Reshape to the shape that inference found."""

    ops: ClassVar[frozenset[str]] = frozenset({"Squeeze", "Unsqueeze", "Flatten"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """A Reshape; None where more than one dimension of the result is unknown."""
        result = node.outputs[0]
        shape = static_shape(result)
        if shape is None and result.shape is not None:
            unknown = [i for i, dim in enumerate(result.shape) if not isinstance(dim, int)]
            if len(unknown) == 1:
                shape = [dim if isinstance(dim, int) else -1 for dim in result.shape]
        if shape is None:
            build.refuse(f"{node.op_type} of a tensor of unknown shape")
            return None
        return [build.op("Reshape", needed(node, 0), build.ints(shape, "shape"))]
