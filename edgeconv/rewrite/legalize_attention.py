"""Attention-23 is not known at 13: two products round a softmax say the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_value, given, needed

_FAR = {ir.DataType.FLOAT16: -3e4}  # as good as minus infinity for a softmax, but finite
_FAR_FLOAT = -1e30


class LegalizeAttention(NodePass):
    """Writes softmax(scale Q Kᵀ + mask) V over [batch, heads, sequence, head size].

    Heads that share keys and values get copies of them. What the mask forbids is pushed down by a finite number, since
    infinities turn into NaN where all keys are forbidden; there the weights are set to zero, as the operator says.
    """

    ops = frozenset({"Attention"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs head counts and head size; sequence lengths may be unknown."""
        reason = _unknown(node)
        if reason:
            return build.refuse(reason)
        flat = attr(node, "q_num_heads") is not None and len(_dims(needed(node, 0))) == 3
        query, key, value = (_heads(build, node, i) for i in range(3))
        past = given(node, 4)
        for i, source in ((4, key), (5, value)):
            cached = given(node, i)
            if cached is not None:
                joined = build.op("Concat", cached, source, axis=2)
                key, value = (joined, value) if i == 4 else (key, joined)
        present = [key, value]
        heads, shared, size = _dims(query)[1], _dims(key)[1], _dims(query)[3]
        if not isinstance(heads, int) or not isinstance(shared, int) or not isinstance(size, int):
            return build.refuse("the number or the size of its heads is not known")
        if heads != shared:
            key, value = (_repeat(build, one, heads, heads // shared) for one in (key, value))
        scale = attr(node, "scale", 1 / math.sqrt(size))
        query = build.op("Mul", query, build.scalar(scale, query, "scale"))
        scores = build.op("MatMul", query, build.op("Transpose", key, perm=[0, 1, 3, 2]))
        cap = attr(node, "softcap", 0.0)
        if cap:
            limit = build.scalar(cap, query, "cap")
            scores = build.op("Mul", build.op("Tanh", build.op("Div", scores, limit)), limit)
        causal = _causal(build, scores, past) if attr(node, "is_causal", 0) else None
        weights = self._weights(build, node, scores, causal)
        result = build.op("MatMul", weights, value)
        if flat:
            width = _dims(value)[3]
            result = build.op("Transpose", result, perm=[0, 2, 1, 3])
            last = heads * width if isinstance(width, int) else -1
            result = build.op("Reshape", result, build.ints([0, 0, last], "joined"))
        return [result, *present, result][: len(node.outputs)]

    def _weights(self, build: Builder, node: ir.Node, scores: ir.Value, causal: ir.Value | None) -> ir.Value:
        mask = given(node, 3)
        dtype = scores.dtype or ir.DataType.FLOAT
        far = np.array(_FAR.get(dtype, _FAR_FLOAT), dtype.numpy())
        boolean = mask is not None and mask.dtype == ir.DataType.BOOL
        if boolean and causal is not None:
            causal = build.op("And", mask, causal)
        elif boolean:
            causal = mask
        elif mask is not None:
            scores = build.op("Add", scores, mask)
        if causal is not None:
            constant = const_value(causal)
            if constant is not None and constant.any(axis=-1).all():
                scores = build.op("Add", scores, np.where(constant, np.zeros_like(far), far))
                causal = None
            else:
                scores = build.op("Where", causal, scores, far)
        weights = self._softmax(build, scores, attr(node, "softmax_precision"))
        if causal is not None and boolean:
            weights = build.op("Where", causal, weights, build.scalar(0.0, weights, "zero"))
        return weights

    def _softmax(self, build: Builder, scores: ir.Value, precision: int | None) -> ir.Value:
        if precision is None or scores.dtype is None or precision == scores.dtype.value:
            return build.op("Softmax", scores, axis=-1)
        wide = build.op("Softmax", build.op("Cast", scores, to=precision), axis=-1)
        return build.op("Cast", wide, to=scores.dtype.value)


def _dims(value: ir.Value) -> list[int | None]:
    """Sizes with None for those not known; nothing if even the rank is not."""
    return [] if value.shape is None else [dim if isinstance(dim, int) else None for dim in value.shape]


def _unknown(node: ir.Node) -> str:
    """Why the node cannot be written out, if so."""
    if len(node.outputs) > 3 and (node.outputs[3].uses() or node.outputs[3].is_graph_output()):
        return "its scores are read as an output"
    if given(node, 6) is not None:
        return "it takes key lengths, which opset 13 has no operator for"
    if attr(node, "left_window_size", -1) != -1 or attr(node, "right_window_size", -1) != -1:
        return "it attends within a window"
    if any(len(_dims(needed(node, i))) not in (3, 4) for i in range(3)):
        return "the rank of its inputs is not known"
    mask, key = given(node, 3), needed(node, 1)
    if mask is not None and given(node, 4) is None:
        have, want = _dims(mask)[-1:], _dims(key)[-2]
        if have and have[0] not in (None, 1) and want is not None and have[0] != want:
            return "its mask is shorter than its keys"
    return ""


def _heads(build: Builder, node: ir.Node, index: int) -> ir.Value:
    """Query, key or value as [batch, heads, sequence, head size]."""
    value = needed(node, index)
    if len(_dims(value)) == 4:
        return value
    heads = attr(node, "q_num_heads" if index == 0 else "kv_num_heads")
    width = _dims(value)[2]
    split = build.ints([0, 0, heads, width // heads if width is not None else -1], "heads")
    return build.op("Transpose", build.op("Reshape", value, split), perm=[0, 2, 1, 3])


def _repeat(build: Builder, value: ir.Value, heads: int, times: int) -> ir.Value:
    """Each head `times` times in a row."""
    batch, _, length, width = _dims(value)
    one = build.op("Unsqueeze", value, build.ints([2], "axis"))
    copies = build.op("Concat", *[one] * times, axis=2)
    sizes = [0 if batch is None else batch, heads, length, width]
    if sum(size is None for size in sizes) > 1:
        tail = build.op("Slice", build.op("Shape", value), build.ints([2], "start"), build.ints([4], "end"))
        return build.op("Reshape", copies, build.op("Concat", build.ints([0, heads], "lead"), tail, axis=0))
    return build.op("Reshape", copies, build.ints([-1 if size is None else size for size in sizes], "sizes"))


def _causal(build: Builder, scores: ir.Value, past: ir.Value | None) -> ir.Value:
    """Boolean [queries, keys]: a query sees the keys up to its own place, counted after the cached ones."""
    queries, keys = _dims(scores)[-2:]
    offset = _dims(past)[2] if past is not None else 0
    if queries is not None and keys is not None and offset is not None:
        return build.const(np.tril(np.ones((queries, keys), np.bool_), offset), "causal")
    shape = build.op("Shape", scores)
    zero, one = build.const(np.array(0, np.int64), "zero"), build.const(np.array(1, np.int64), "one")
    rows, columns = (
        build.op("Range", zero, build.op("Gather", shape, np.array(axis, np.int64), axis=0), one) for axis in (2, 3)
    )
    if past is not None:
        rows = build.op("Add", rows, build.op("Gather", build.op("Shape", past), np.array(2, np.int64), axis=0))
    return build.op("LessOrEqual", columns, build.op("Unsqueeze", rows, build.ints([1], "axis")))
