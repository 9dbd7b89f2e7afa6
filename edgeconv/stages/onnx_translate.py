"""Translations of ATen ops that the exporter has none for, or takes apart: handed to torch.onnx.export as its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translation by ATen overload."""
    import torch

    aten = torch.ops.aten
    return {aten.rnn_tanh.input: _rnn_of("Tanh"), aten.rnn_relu.input: _rnn_of("Relu")}


def _rnn_of(activation: str) -> Callable[..., Any]:
    """Keeps RNN a loop: the exporter writes every time step out, which took 270 ops for 30 steps."""
    from onnxscript import opset18 as op

    def rnn(
        x: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool,
    ) -> tuple[Any, Any]:  # fmt: skip
        del dropout, train  # an evaluated model drops nothing
        ways, each = (2 if bidirectional else 1), (4 if has_biases else 2)
        current = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
        last = []
        for layer in range(num_layers):
            mine = [params[(layer * ways + way) * each : (layer * ways + way + 1) * each] for way in range(ways)]
            w, r = (op.Concat(*[op.Unsqueeze(one[n], [0]) for one in mine], axis=0) for n in (0, 1))
            inputs = [current, w, r]
            if has_biases:
                biases = [op.Unsqueeze(op.Concat(one[2], one[3], axis=0), [0]) for one in mine]
                inputs.append(op.Concat(*biases, axis=0))
            sequence, state = op.RNN(
                *inputs, initial_h=op.Slice(hx, [layer * ways], [(layer + 1) * ways], [0]),
                direction="bidirectional" if bidirectional else "forward", hidden_size=hx.shape[2],
                activations=[activation] * ways,
            )  # fmt: skip
            # [steps, directions, batch, hidden] → [steps, batch, directions · hidden]
            current = op.Reshape(op.Transpose(sequence, perm=[0, 2, 1, 3]), [0, 0, -1])
            last.append(state)
        state = last[0] if num_layers == 1 else op.Concat(*last, axis=0)
        return (op.Transpose(current, perm=[1, 0, 2]) if batch_first else current), state

    return rnn
