"""Finds what is no network yet: Fourier, mel and Gabor filters before a logarithm, frequencies before a sine, coordinates.

A dynamic kernel puts what it reads on 255 levels. A power spectrum spans six powers of ten: its quiet bins become 0 there, and
their logarithm, of which a network hears as much as of the loud ones, the smallest number there is. The phase of a sine
is off by a part of the whole range, not of a turn, and a place that is rounded to a whole number becomes another one. What such
matrices weigh is little beside a network; they stay float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: What such front ends are made of. A network's activations are not among it, a Clip with two bounds neither (ReLU6), so that
#: log(softmax(…)) keeps none of its layers.
_WAY = frozenset(
    "Abs Add Cast Clip Concat Conv Div Expand Gather Gemm Identity MatMul Max Min Mul Neg Pad Pow ReduceL2 ReduceMax "
    "ReduceMean ReduceSum ReduceSumSquare Reshape Slice Split Sqrt Squeeze Sub Transpose Unsqueeze".split()
)
_COARSE = frozenset({"Log", "Sin", "Cos", "Floor", "Ceil", "Round"})
_INTEGERS = (6, 7)  # TensorProto.INT32 and INT64
#: More matrices than that are a network, whatever stands between them: a Fourier transform has two, bands and a filter more.
_MOST_MATRICES = 5
#: Powers below that one bring out what is quiet, as a logarithm does: PCEN and compressed spectra have 0.1 to 0.5.
_MOST_POWER = 0.5


def before_it(model: Any, weights: dict[str, Any]) -> dict[str, str]:
    """Names of the nodes with weights on the way from the model's inputs to what magnifies small values, and to what.

    Args:
        model: onnx.ModelProto.
        weights: arrays by initializer name.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, str] = {}
    for node in model.graph.node:
        if _magnifies(node, weights):
            before = [one for one in _all_before(node, makers) or () if one.op_type in {"Conv", "MatMul", "Gemm"}]
            for one in before if len(before) <= _MOST_MATRICES else ():
                found.setdefault(one.name, f"signal processing before {node.op_type}")
    return found


def _magnifies(node: Any, weights: dict[str, Any]) -> bool:
    if node.op_type == "Pow":
        power = weights.get(node.input[1])
        return power is not None and bool(np.all((power > 0) & (power < _MOST_POWER)))
    if node.op_type == "Cast":
        return next(attribute.i for attribute in node.attribute if attribute.name == "to") in _INTEGERS
    return node.op_type in _COARSE


def _all_before(node: Any, makers: dict[str, Any]) -> Sequence[Any] | None:
    """All nodes that a node's first input is computed from; None if something among them is no signal processing."""
    seen: dict[int, Any] = {}
    open_ = [makers.get(node.input[0])]
    while open_:
        one = open_.pop()
        if one is None or id(one) in seen:
            continue
        if one.op_type not in _WAY or (one.op_type == "Clip" and len([name for name in one.input if name]) == 3):
            return None
        seen[id(one)] = one
        open_ += [makers.get(name) for name in one.input if name]
    return list(seen.values())
