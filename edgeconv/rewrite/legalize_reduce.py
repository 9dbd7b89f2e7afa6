"""Reductions of opset 18 take their axes as an input; at 13 all but ReduceSum have them as an attribute."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, given, needed

_ALONE = {"ReduceL1": "Abs", "ReduceL2": "Abs", "ReduceLogSum": "Log"}  # what is left of these for a single element


class LegalizeReduce(NodePass):
    """Moves constant axes to the attribute, and reduces booleans (ReduceMax and ReduceMin of opset 20) as integers."""

    ops = frozenset(
        {
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSumSquare",
        }
    )

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Axes of length zero mean all axes, unless noop_with_empty_axes says none."""
        data, source = needed(node, 0), given(node, 1)
        boolean = data.dtype == ir.DataType.BOOL
        if source is None and not boolean and "noop_with_empty_axes" not in node.attributes:
            return None
        axes: list[int] | None = attr(node, "axes")
        if source is not None:
            axes = const_ints(source)
            if axes is None:
                return build.refuse("its axes are computed while the model runs")
        if not axes and attr(node, "noop_with_empty_axes", 0):
            if node.op_type == "ReduceSumSquare":
                return [build.op("Mul", data, data)]
            return [build.op(_ALONE.get(node.op_type, "Identity"), data)]
        if boolean:
            data = build.op("Cast", data, to=ir.DataType.INT32.value)
        (value,) = build.again(data, drop={"noop_with_empty_axes", "axes"}, axes=axes or None)
        return [build.op("Cast", value, to=ir.DataType.BOOL.value) if boolean else value]
