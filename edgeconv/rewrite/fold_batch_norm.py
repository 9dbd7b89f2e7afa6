"""Folds a batch norm into the conv or matrix product before it, in float64.

The exporter's optimizer does it in float32: each channel's factor is then off by one rounding or two, and all of its
weights alike, so that sums do not average the error away (lcnet_050: 98.8 dB against PyTorch, 104.7 with this).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, const_value, given, needed


class FoldBatchNorm(NodePass):
    """W x + b, then x · f + c a channel, f = γ / √(σ² + ε) and c = β − μ f: is (f W) x + (f b + c)."""

    ops: ClassVar[frozenset[str]] = frozenset({"BatchNormalization"})

    def apply(self, model: ir.Model) -> int:
        """Rewrite, and remove what was folded away."""
        changed = super().apply(model)
        if changed:
            RemoveUnusedNodesPass()(model)
        return changed

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """The conv or product with other constants; None where something else reads it, or a parameter is computed."""
        value = needed(node, 0)
        before = value.producer()
        if before is None or before.domain or before.op_type not in _FOLDS or len(node.outputs) > 1:
            return None
        if len(value.uses()) != 1 or value.is_graph_output() or attr(node, "training_mode", 0):
            return None
        weight = const_value(needed(before, 1))
        bias = _bias(given(before, 2))
        gamma, beta, mean, variance = (_double(const_value(given(node, index))) for index in range(1, 5))
        if weight is None or gamma is None or beta is None or mean is None or variance is None:
            return None
        if bias is None and given(before, 2) is not None:
            return None
        factor = gamma / np.sqrt(variance + float(attr(node, "epsilon", 1e-5)))
        scaled = _FOLDS[before.op_type](before, weight.astype(np.float64), factor)
        old = np.zeros(1) if bias is None else float(attr(before, "beta", 1.0)) * bias.astype(np.float64)
        if scaled is None or old.size not in (1, len(factor)):
            return None
        offset = (old.reshape(-1) - mean) * factor + beta
        kept = {name: value for name, value in before.attributes.items() if name != "beta"}
        constants = build.const(scaled.astype(weight.dtype), "weight"), build.const(offset.astype(weight.dtype), "bias")
        return [build.op(before.op_type, needed(before, 0), *constants, **kept)]


def _bias(value: ir.Value | None) -> Array | None:
    """A constant bias; of a conv without one, the exporter's zero that is cast and expanded."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Expand":
        inner = needed(node, 0)
        cast = inner.producer()
        array = const_value(needed(cast, 0) if cast is not None and cast.op_type == "CastLike" else inner)
        return array if array is not None and array.size == 1 else None
    return const_value(value)


def _double(array: Array | None) -> Array | None:
    return None if array is None else array.astype(np.float64)


def _conv(_: ir.Node, weight: Array, factor: Array) -> Array | None:
    """[O, I, …]."""
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)) if len(weight) == len(factor) else None


def _transposed(conv: ir.Node, weight: Array, factor: Array) -> Array | None:
    """[I, O of a group, …], the groups one after the other along I."""
    groups = int(attr(conv, "group", 1))
    if groups * weight.shape[1] != len(factor):
        return None
    parts = weight.reshape(groups, -1, *weight.shape[1:])
    return (parts * factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)


def _product(gemm: ir.Node, weight: Array, factor: Array) -> Array | None:
    """[I, O], or [O, I] with transB."""
    rows = bool(attr(gemm, "transB", 0))
    if weight.shape[0 if rows else 1] != len(factor):
        return None
    return weight * (factor[:, None] if rows else factor)


_FOLDS = {"Conv": _conv, "ConvTranspose": _transposed, "Gemm": _product}
