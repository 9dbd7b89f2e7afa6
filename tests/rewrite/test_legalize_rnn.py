"""LSTM, GRU and RNN of opset 14 in both layouts."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_rnn import LegalizeRnn
from tests.rewrite.helpers import check, model

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(2)


def _values(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def _recurrent(op, layout, directions=1, states=True):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    batch, steps, size, hidden = 2, 4, 3, 5
    constants = {
        "w": _values(directions, gates * hidden, size),
        "r": _values(directions, gates * hidden, hidden),
        "b": _values(directions, 2 * gates * hidden),
    }
    inputs = {"x": (FLOAT, [batch, steps, size] if layout else [steps, batch, size])}
    names = ["x", "w", "r", "b"]
    if states:
        first = [batch, directions, hidden] if layout else [directions, batch, hidden]
        inputs |= dict.fromkeys(("h", "c") if op == "LSTM" else ("h",), (FLOAT, first))
        names += ["", *list(inputs)[1:]]
    outputs = ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    direction = "bidirectional" if directions == 2 else "forward"
    node = helper.make_node(op, names, outputs, hidden_size=hidden, layout=layout, direction=direction)
    return model([node], inputs, outputs, constants, opset=14)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("states", [True, False])
def test_recurrent_layout_0(op, states):
    check(_recurrent(op, 0, 2, states), LegalizeRnn())


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("states", [True, False])
def test_recurrent_layout_1(op, states):
    """Against the same operator with the batch second and the transposes done here."""
    proto = _recurrent(op, 1, 2, states)
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    for attribute in plain.graph.node[0].attribute:
        if attribute.name == "layout":
            attribute.i = 0
    for value in (*plain.graph.input, *plain.graph.output):
        value.type.tensor_type.ClearField("shape")
    del plain.graph.value_info[:]

    def reference(**feeds):
        from tests.rewrite.helpers import infer

        turned = {name: np.ascontiguousarray(value.transpose(1, 0, 2)) for name, value in feeds.items()}
        y, *last = infer(plain, turned)
        return [y.transpose(2, 0, 1, 3), *(value.transpose(1, 0, 2) for value in last)]

    check(proto, LegalizeRnn(), reference=reference)
