"""LSTM, GRU and RNN as plain ops and Scan, before and after in onnxruntime, and through the chain."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import edgeconv
from edgeconv.rewrite.recurrent_cells import GATES
from edgeconv.rewrite.spell_rnn import UNROLLED_STEPS, SpellRnn
from tests.coverage.through import snr_db, through
from tests.rewrite.helpers import check, infer, model, op_types, random_inputs

FLOAT = TensorProto.FLOAT
NETS = Path(__file__).parent / "recurrent_nets.py"
LONG = UNROLLED_STEPS + 4


def recurrent(op, steps=4, batch=2, size=3, hidden=5, direction="forward", computed=False, states=False, lengths=None, bias=True,
              outputs=None, peepholes=False, **attributes):  # fmt: skip
    """A graph of one recurrent node; `computed` makes its weights inputs of the graph."""
    rng = np.random.default_rng(2)
    ways, gates = (2 if direction == "bidirectional" else 1), GATES[op]

    def values(*shape):
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    weights = {"w": values(ways, gates * hidden, size), "r": values(ways, gates * hidden, hidden)}
    if bias:
        weights["b"] = values(ways, 2 * gates * hidden)
    names = ["x", "w", "r", "b" if bias else ""]
    inputs = {"x": (FLOAT, [steps, batch, size])}
    constants = {}
    if computed:
        inputs |= {name: (FLOAT, value.shape) for name, value in weights.items()}
    else:
        constants |= weights
    if lengths is not None or states or peepholes:
        names.append("n" if lengths is not None else "")
    if lengths is not None:
        constants["n"] = np.array(lengths, np.int32)
    if states or peepholes:
        firsts = ["h", "c"] if op == "LSTM" else ["h"]
        names += firsts if states else [""] * len(firsts)
        inputs |= dict.fromkeys(firsts, (FLOAT, [ways, batch, hidden])) if states else {}
    if peepholes:
        names.append("p")
        constants["p"] = values(ways, 3 * hidden)
    outputs = outputs or ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, names, outputs, hidden_size=hidden, direction=direction, **attributes)
    return model([node], inputs, [name for name in outputs if name], constants, opset=13)


@pytest.mark.parametrize(("op", "steps"), itertools.product(GATES, [1, 4, LONG]))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("states", [False, True])
def test_same_as_the_operator(op, steps, direction, states):
    after = check(recurrent(op, steps, direction=direction, states=states), SpellRnn())
    assert ("Scan" in op_types(after)) == (steps > UNROLLED_STEPS)


@pytest.mark.parametrize(("op", "steps"), itertools.product(GATES, [4, LONG]))
@pytest.mark.parametrize(
    "options",
    [{"computed": True}, {"bias": False}, {"computed": True, "bias": False}, {"clip": 0.3}, {"outputs": ["", "last"]}],
)
def test_variants(op, steps, options):
    check(recurrent(op, steps, **options), SpellRnn())


@pytest.mark.parametrize("steps", [4, LONG])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"computed": True}, {"states": True}, {"clip": 0.3}])
def test_gru_linear_before_reset(steps, options):
    check(recurrent("GRU", steps, linear_before_reset=1, **options), SpellRnn())


@pytest.mark.parametrize("steps", [4, LONG])
@pytest.mark.parametrize(
    "options", [{}, {"states": True}, {"direction": "bidirectional", "input_forget": 1}, {"clip": 0.2}]
)
def test_lstm_peepholes(steps, options):
    check(recurrent("LSTM", steps, peepholes=True, **options), SpellRnn())


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("steps", [4, LONG])
def test_sequence_lengths(op, direction, states, steps):
    check(recurrent(op, steps, 3, direction=direction, states=states, lengths=[steps, 2, 3]), SpellRnn())


def test_full_sequence_lengths_cost_nothing():
    assert "Where" not in op_types(check(recurrent("LSTM", lengths=[4, 4]), SpellRnn()))


ACTIVATIONS = [
    ("RNN", ["Relu"], [], []),
    ("RNN", ["LeakyRelu"], [0.3], []),
    ("RNN", ["ThresholdedRelu"], [0.2], []),
    ("RNN", ["Elu"], [0.5], []),
    ("RNN", ["Affine"], [0.5], [0.1]),
    ("RNN", ["ScaledTanh"], [1.5], [0.7]),
    ("RNN", ["Softsign"], [], []),
    ("RNN", ["Softplus"], [], []),
    ("GRU", ["HardSigmoid", "Softsign"], [0.3], [0.4]),
    ("LSTM", ["HardSigmoid", "Relu", "ScaledTanh"], [0.3, 1.2], [0.4, 0.8]),
]


@pytest.mark.parametrize(("op", "names", "alpha", "beta"), ACTIVATIONS)
def test_activations(op, names, alpha, beta):
    check(recurrent(op, activations=names, activation_alpha=alpha or None, activation_beta=beta or None), SpellRnn())


def _cases():
    for op, steps, direction in itertools.product(GATES, (3, LONG), ("forward", "bidirectional")):
        yield recurrent(
            op, steps, 1, 16, 16, direction, states=steps == 3, **({"linear_before_reset": 1} if op == "GRU" else {})
        )


@pytest.mark.slow
@pytest.mark.slice
def test_through_the_chain_in_float():
    for proto in _cases():
        feeds = random_inputs(proto)
        found = through(proto, feeds)
        for wanted, got in zip(infer(proto, feeds), found.outputs.values(), strict=True):
            assert snr_db(wanted, got) > 100


@pytest.mark.slow
@pytest.mark.slice
def test_through_the_chain_quantized():
    """Weights are stored once, also where every step reads them."""
    for proto in _cases():
        feeds = random_inputs(proto)
        found = through(proto, feeds, quantized=True)
        for wanted, got in zip(infer(proto, feeds), found.outputs.values(), strict=True):
            assert snr_db(wanted, got) > 25
        weights = {t.name: t for t in proto.graph.initializer}
        assert found.int8 == sum(int(np.prod(weights[name].dims)) for name in ("w", "r"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["android", "android-float"])
@pytest.mark.parametrize("net", ["reader", "tagger", "stepper"])
def test_torch_networks(net, target, tmp_path):
    """Whole runs: in LiteRT and in TFLite 2.14, exact in float."""
    report = edgeconv.run(f"{NETS}:{net}", target, out=tmp_path / "out", cache_dir=tmp_path / "cache")
    assert report.accepted, [row for row in report.acceptance if not row.ok]
    found = [row for row in report.parity if row.stage == "tflite"]
    assert {row.runtime for row in found} == {"litert", "tflite-runtime"}
    assert min(row.snr_db for row in found) > (100 if target == "android-float" else 25)
