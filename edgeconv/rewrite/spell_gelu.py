"""Spells the exact GELU the way the TFLite converter knows it.

PyTorch's exporter writes x / √2, Erf, + 1, · x, · 0.5, in this or another order; the converter fuses
0.5 · x · (1 + erf(x · (1/√2))) into the builtin GELU only with a product inside. Left alone it becomes tf.Erf, which
is Flex only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, const_value, needed

#: In the name of an Erf whose GELU the converter will recognize: it alone may become tf.Erf, which is no builtin by itself.
IN_GELU = "in_gelu"


class SpellGelu(NodePass):
    """The last product of an erf-GELU, however its factors are ordered."""

    ops: ClassVar[frozenset[str]] = frozenset({"Mul"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """X if the product is 0.5 · x · (1 + erf(x / √2)), spelled anew; else None."""
        arguments = [x for x in map(_erf_argument, _factors(node.outputs[0])) if x is not None]
        for x in arguments:
            factors = list(_factors(node.outputs[0], whole=x))  # x may be a product itself
            numbers = [array for array in map(const_value, factors) if array is not None]
            others = [value for value in factors if const_value(value) is None]
            if len(others) != 2 or len(numbers) != 1 or numbers[0].size != 1 or not np.isclose(numbers[0].item(), 0.5):
                continue
            if any(value is x for value in others) and any(_erf_argument(value) is x for value in others):
                inner = build.op("Erf", build.op("Mul", x, build.scalar(float(np.sqrt(0.5)), x)))
                maker = inner.producer()
                assert maker is not None
                maker.name = f"{maker.name}_{IN_GELU}"
                shifted = build.op("Add", inner, build.scalar(1.0, x))
                return [build.op("Mul", build.op("Mul", x, build.scalar(0.5, x)), shifted)]
        return None


def _factors(value: ir.Value, depth: int = 0, whole: ir.Value | None = None) -> Iterator[ir.Value]:
    """Leaves of a tree of products at most three deep; `whole` is a leaf even if it is a product."""
    node = value.producer()
    if value is not whole and node is not None and node.op_type == "Mul" and depth < 2:
        for factor in (needed(node, 0), needed(node, 1)):
            yield from _factors(factor, depth + 1, whole)
    else:
        yield value


def _erf_argument(gate: ir.Value) -> ir.Value | None:
    """X if `gate` is 1 + erf(x / √2)."""
    add = gate.producer()
    if add is None or add.op_type != "Add":
        return None
    for value, other in ((add.inputs[0], add.inputs[1]), (add.inputs[1], add.inputs[0])):
        one = const_value(other)
        erf = value.producer() if value is not None else None
        if one is None or one.size != 1 or not np.isclose(one.item(), 1.0) or erf is None or erf.op_type != "Erf":
            continue
        scaled = needed(erf, 0).producer()
        if scaled is None or scaled.op_type not in {"Div", "Mul"}:
            return None
        number = const_value(scaled.inputs[1])
        want = np.sqrt(2.0) if scaled.op_type == "Div" else np.sqrt(0.5)
        if number is not None and number.size == 1 and np.isclose(number.item(), want):
            return scaled.inputs[0]
    return None
