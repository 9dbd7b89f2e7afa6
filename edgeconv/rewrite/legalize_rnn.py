"""The recurrent operators of opset 14 can put the batch first; those of 13 can't."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, given, needed

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}  # positions of the initial states among the inputs


class LegalizeRnn(NodePass):
    """Drops layout 0 and writes layout 1 as transposes round the operator."""

    ops = frozenset({"LSTM", "GRU", "RNN"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Always possible."""
        layout = attr(node, "layout")
        if layout is None:
            return None
        if layout == 0:
            return build.again(drop={"layout"})
        inputs = list(node.inputs)
        inputs[0] = build.op("Transpose", needed(node, 0), perm=[1, 0, 2])
        for place in _STATES[node.op_type]:
            state = given(node, place)
            if state is not None:
                inputs[place] = build.op("Transpose", state, perm=[1, 0, 2])
        sequence, *states = build.again(*inputs, drop={"layout"})
        return [  # Y: [sequence, directions, batch, hidden]; states: [directions, batch, hidden]
            build.op("Transpose", sequence, perm=[2, 0, 1, 3]),
            *(build.op("Transpose", state, perm=[1, 0, 2]) for state in states),
        ]
