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
        kind = f"rnn_{activation.lower()}"
        current = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
        out, state = _layers(current, None, [hx], params, kind, has_biases, num_layers, bidirectional)
        return (op.Transpose(out, perm=[1, 0, 2]) if batch_first else out), state

    return rnn


def recurrent(
    x: Any, lengths: Any, states: Sequence[Any], weights: Sequence[Any], kind: str, has_biases: bool, num_layers: int,
    bidirectional: bool,
) -> Sequence[Any]:  # fmt: skip
    """`edgeconv.source.packed.recurrent`."""
    from onnxscript import opset18 as op

    if states[0].shape[-1] != states[-1].shape[-1]:
        raise ValueError("a packed LSTM with projections has no ONNX form")
    live = op.Cast(lengths, to=6)
    return _layers(x, live, states, weights, kind, has_biases, num_layers, bidirectional)


#: ONNX's node, its order of the gates in PyTorch's, and its attributes, by ATen's name.
_NODES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
}


def _layers(
    x: Any, lengths: Any, states: Sequence[Any], weights: Sequence[Any], kind: str, has_biases: bool, num_layers: int,
    bidirectional: bool,
) -> Sequence[Any]:  # fmt: skip
    """One node of ONNX a layer: the last one's hidden states [steps, batch, directions · hidden], and all last states."""
    from onnxscript import opset18 as op

    name, order, attributes = _NODES[kind]
    ways, each, hidden = (2 if bidirectional else 1), (4 if has_biases else 2), int(states[0].shape[2])
    if "activations" in attributes:
        attributes = {**attributes, "activations": attributes["activations"] * ways}

    def ordered(gates: Any) -> Any:
        parts = [op.Slice(gates, [n * hidden], [(n + 1) * hidden], [0]) for n in order]
        return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)

    def both(parts: Sequence[Any]) -> Any:
        parts = [op.Unsqueeze(one, [0]) for one in parts]
        return parts[0] if ways == 1 else op.Concat(*parts, axis=0)

    last: list[list[Any]] = [[] for _ in states]
    for layer in range(num_layers):
        mine = [weights[(layer * ways + way) * each : (layer * ways + way + 1) * each] for way in range(ways)]
        biases = [op.Concat(ordered(one[2]), ordered(one[3]), axis=0) for one in mine] if has_biases else []
        first = [op.Slice(state, [layer * ways], [(layer + 1) * ways], [0]) for state in states]
        sequence, *made = getattr(op, name)(
            x, both([ordered(one[0]) for one in mine]), both([ordered(one[1]) for one in mine]),
            both(biases) if biases else None, lengths, *first,
            direction="bidirectional" if bidirectional else "forward", hidden_size=hidden, **attributes,
        )  # fmt: skip
        # [steps, directions, batch, hidden] → [steps, batch, directions · hidden]
        x = op.Reshape(op.Transpose(sequence, perm=[0, 2, 1, 3]), [0, 0, -1])
        for states_of, state in zip(last, made, strict=True):
            states_of.append(state)
    return [x, *(one[0] if num_layers == 1 else op.Concat(*one, axis=0) for one in last)]


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
