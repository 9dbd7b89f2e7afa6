"""Spells NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss with a one-hot of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed, static_shape


class SpellLoss(NodePass):
    """Both losses as comparisons, products and sums over scores [batch, classes, …] and targets [batch, …]."""

    ops: ClassVar[frozenset[str]] = frozenset({"NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Loss, and log-probabilities where they are asked for; None where the number of classes is not known."""
        scores, target, weight = needed(node, 0), needed(node, 1), given(node, 2)
        shape = static_shape(scores)
        if shape is None:
            build.refuse("its scores' shape is not known")
            return None
        softmax = node.op_type == "SoftmaxCrossEntropyLoss"
        whole = shape
        if len(shape) > 3:  # one axis for all places: TFLite's ops have at most six
            shape = [*shape[:2], int(np.prod(shape[2:]))]
            scores = build.op("Reshape", scores, build.ints(shape, "flat"))
            target = build.op("Reshape", target, build.ints([shape[0], shape[2]], "flat"))
        logs = build.op("LogSoftmax", scores, axis=1) if softmax else scores
        classes = [1, shape[1], *[1] * (len(shape) - 2)]
        wide = build.op("Cast", build.op("Unsqueeze", target, build.ints([1], "axis")), to=ir.DataType.INT64.value)
        # a target that is ignored matches no class unless it is one: then it is taken out
        hit = build.op("Equal", wide, np.arange(shape[1], dtype=np.int64).reshape(classes))
        ignored = attr(node, "ignore_index")
        if ignored is not None and 0 <= ignored < shape[1]:
            hit = build.op("And", hit, build.op("Not", build.op("Equal", wide, np.array(ignored, np.int64))))
        zero = build.scalar(0.0, scores)
        share: ir.Value = (
            build.op("Reshape", weight, build.ints(classes, "classes"))
            if weight is not None
            else build.scalar(1.0, scores)
        )
        taken = build.op("Where", hit, share, zero)
        axis = build.ints([1], "axis")
        picked = build.op("ReduceSum", build.op("Mul", build.op("Neg", logs), taken), axis, keepdims=0)
        reduction = str(attr(node, "reduction", "mean"))
        if reduction == "none":
            loss = (
                picked if whole is shape else build.op("Reshape", picked, build.ints([whole[0], *whole[2:]], "whole"))
            )
        else:
            loss = build.op("ReduceSum", picked, keepdims=0)
            if reduction == "mean":
                loss = build.op("Div", loss, build.op("ReduceSum", taken, keepdims=0))
        if len(whole) > len(shape):
            logs = build.op("Reshape", logs, build.ints(whole, "whole"))
        return [loss, logs][: len(node.outputs)] if softmax else [loss]
