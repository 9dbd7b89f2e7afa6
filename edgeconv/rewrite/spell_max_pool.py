"""Pads a max pool's input with zeros where nothing in it is negative.

A padded max pool needs -inf around its input, a PADV2, which XNNPACK does not take: the graph falls in two. Behind a ReLU,
zeros give the same maximum, and PAD stays in the delegate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, given, needed, rank

_SAME = {
    "MaxPool",
    "AveragePool",
    "ReduceMax",
    "ReduceMean",
    "Reshape",
    "Transpose",
    "Slice",
    "Identity",
    "Dropout",
    "Gather",
}


class SpellMaxPool(NodePass):
    """MaxPool with explicit pads over values that cannot be negative becomes Pad and MaxPool."""

    ops: ClassVar[frozenset[str]] = frozenset({"MaxPool"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The two nodes; None without pads, in ceil mode, or where values may be negative."""
        x, size = needed(node, 0), rank(needed(node, 0))
        pads = [int(n) for n in attr(node, "pads", [])]
        if size is None or not any(pads) or attr(node, "ceil_mode", 0) or len(node.outputs) > 1 or not _nonnegative(x):
            return None
        half = len(pads) // 2
        full = [0, 0, *pads[:half], 0, 0, *pads[half:]]
        padded = build.op("Pad", x, build.ints(full, "pads"), mode="constant")
        return list(build.again(padded, drop=("pads", "auto_pad")))


def _nonnegative(value: ir.Value, depth: int = 0) -> bool:
    """Whether a value is known never to be below zero."""
    node = value.producer()
    if node is None or depth > 6:
        return False
    if node.op_type in {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Abs"}:
        return True
    if node.op_type == "Clip":
        low = const_value(given(node, 1))
        return low is not None and bool(np.all(low >= 0))
    if node.op_type in _SAME:
        return _nonnegative(needed(node, 0), depth + 1)
    if node.op_type in {"Concat", "Add", "Mul", "Max"}:
        return all(v is not None and _nonnegative(v, depth + 1) for v in node.inputs)
    return False
