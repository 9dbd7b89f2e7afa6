"""HardSwish-14 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, needed


class LegalizeHardSwish(NodePass):
    """Writes x * HardSigmoid(x, 1/6, 1/2), as the operator is defined."""

    ops = frozenset({"HardSwish"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        data = needed(node, 0)
        return [build.op("Mul", data, build.op("HardSigmoid", data, alpha=1 / 6, beta=0.5))]
