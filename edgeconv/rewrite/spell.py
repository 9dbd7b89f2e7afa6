"""The passes that spell out operators before quantization, so that the products in them are weights like any other."""

from __future__ import annotations

import onnx_ir as ir

from edgeconv.rewrite import tidy
from edgeconv.rewrite.base import NodePass, run
from edgeconv.rewrite.infer_shapes import infer_shapes
from edgeconv.rewrite.spell_einsum import SpellEinsum
from edgeconv.rewrite.spell_loss import SpellLoss
from edgeconv.rewrite.spell_norm import SpellNorm
from edgeconv.rewrite.spell_rnn import SpellRnn
from edgeconv.rewrite.widen_max import WidenMax

PASSES: tuple[NodePass, ...] = (SpellRnn(), SpellEinsum(), SpellLoss(), SpellNorm(), WidenMax())


def spell(model: ir.Model) -> dict[str, int]:
    """Rewrite in place; returns changed places by pass."""
    ops = frozenset().union(*(one.ops for one in PASSES))
    if not any(node.op_type in ops for node in ir.traversal.RecursiveGraphIterator(model.graph)):
        return {}
    tidy.fold(model)  # shapes that are computed in the graph
    infer_shapes(model)
    return run(model, PASSES)
