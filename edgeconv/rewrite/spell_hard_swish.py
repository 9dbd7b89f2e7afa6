"""Spells hard-swish the way the TFLite converter knows it.

Mul(x, HardSigmoid(x)) with slope 1/6 and offset 1/2 comes out as five ops; x · clip(x + 3, 0, 6) · (1/6) becomes the
builtin HARD_SWISH. A HardSigmoid that stands alone becomes clip(x + 3, 0, 6) · (1/6), which is ADD, MINIMUM, RELU and
MUL at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, Pass, attr, needed, run


class SpellHardSwish(Pass):
    """x · HardSigmoid(x), then every other HardSigmoid."""

    def apply(self, model: ir.Model) -> int:
        """Both rewrites; the product first, since it consumes a HardSigmoid."""
        return sum(run(model, [_Product(), _HardSigmoid()]).values())


class _Product(NodePass):
    ops: ClassVar[frozenset[str]] = frozenset({"Mul"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        left, right = needed(node, 0), needed(node, 1)
        for x, gate in ((left, right), (right, left)):
            sigmoid = gate.producer()
            if (
                sigmoid is not None
                and sigmoid.op_type == "HardSigmoid"
                and sigmoid.inputs[0] is x
                and _is_torch(sigmoid)
            ):
                clipped = _clip(build, build.op("Add", x, build.scalar(3.0, x)), 0.0, 6.0)
                return [build.op("Mul", build.op("Mul", x, clipped), build.scalar(1 / 6, x))]
        return None


class _HardSigmoid(NodePass):
    ops: ClassVar[frozenset[str]] = frozenset({"HardSigmoid"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        x = needed(node, 0)
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            return [x]
        alpha, beta = float(attr(node, "alpha", 0.2)), float(attr(node, "beta", 0.5))
        if _is_torch(node):
            clipped = _clip(build, build.op("Add", x, build.scalar(3.0, x)), 0.0, 6.0)
            return [build.op("Mul", clipped, build.scalar(1 / 6, x))]
        line = build.op("Add", build.op("Mul", x, build.scalar(alpha, x)), build.scalar(beta, x))
        return [_clip(build, line, 0.0, 1.0)]


def _is_torch(node: ir.Node) -> bool:
    return bool(np.isclose(attr(node, "alpha", 0.2), 1 / 6) and np.isclose(attr(node, "beta", 0.5), 0.5))


def _clip(build: Builder, x: ir.Value, low: float, high: float) -> ir.Value:
    return build.op("Clip", x, build.scalar(low, x), build.scalar(high, x))
