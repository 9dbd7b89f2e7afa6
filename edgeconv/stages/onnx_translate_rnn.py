"""Translations of recurrent nets: RNN as ONNX's RNN, and LSTM with projections, which ONNX has not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def rnn_of(activation: str) -> Callable[..., Any]:
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


def lstm_of(usual: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """The exporter's own; where the hidden state is projected, every time step is written out.

    Args:
        usual: gives the exporter's translation.
    """

    def lstm(
        x: Any, hx: Sequence[Any], params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool,
    ) -> tuple[Any, Any, Any]:  # fmt: skip
        if hx[0].shape[-1] == hx[1].shape[-1]:
            found: tuple[Any, Any, Any] = usual()(
                x, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
            )
            return found
        return _projected(x, hx, params, 5 if has_biases else 3, num_layers, 2 if bidirectional else 1, batch_first)

    return lstm


def _projected(
    x: Any, hx: Sequence[Any], params: Sequence[Any], each: int, layers: int, ways: int, batch_first: bool
) -> tuple[Any, Any, Any]:
    """Weights of a layer and direction: w_ih, w_hh, b_ih and b_hh if there are any, w_hr; gates in the order i, f, g, o."""
    from onnxscript import opset18 as op

    axis = 1 if batch_first else 0
    count = int(x.shape[axis])
    steps = [op.Gather(x, op.Constant(value_int=step), axis=axis) for step in range(count)]
    hidden, cells = [], []
    for layer in range(layers):
        rows: list[list[Any]] = []
        for way in range(ways):
            number = layer * ways + way
            weights = _prepared(params[number * each : (number + 1) * each])
            at = op.Constant(value_int=number)
            h, c = op.Gather(hx[0], at, axis=0), op.Gather(hx[1], at, axis=0)
            made = []
            for row in reversed(steps) if way else steps:
                h, c = _step(row, h, c, weights, int(hx[1].shape[-1]))
                made.append(h)
            rows.append(made[::-1] if way else made)
            hidden.append(op.Unsqueeze(h, [0]))
            cells.append(op.Unsqueeze(c, [0]))
        steps = [one[0] if ways == 1 else op.Concat(*one, axis=-1) for one in zip(*rows, strict=True)]
    out = op.Concat(*(op.Unsqueeze(row, [axis]) for row in steps), axis=axis)
    return out, op.Concat(*hidden, axis=0), op.Concat(*cells, axis=0)


def _prepared(weights: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """What all steps share: the three weights, input features first, and the sum of the biases or None."""
    from onnxscript import opset18 as op

    from_input, from_state, to_state = (op.Transpose(one, perm=[1, 0]) for one in (*weights[:2], weights[-1]))
    return from_input, from_state, to_state, op.Add(weights[2], weights[3]) if len(weights) == 5 else None


def _step(x: Any, h: Any, c: Any, weights: tuple[Any, Any, Any, Any], width: int) -> tuple[Any, Any]:
    from onnxscript import opset18 as op

    from_input, from_state, to_state, bias = weights
    gates = op.Add(op.MatMul(x, from_input), op.MatMul(h, from_state))
    gates = gates if bias is None else op.Add(gates, bias)
    i, f, g, o = (op.Slice(gates, [n * width], [(n + 1) * width], [-1]) for n in range(4))
    c = op.Add(op.Mul(op.Sigmoid(f), c), op.Mul(op.Sigmoid(i), op.Tanh(g)))
    return op.MatMul(op.Mul(op.Sigmoid(o), op.Tanh(c)), to_state), c
