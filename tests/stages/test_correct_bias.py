"""Corrected biases: closer to the float model on inputs that nothing was measured on, at no cost, and never farther."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from chain_helpers import module_source, run_stages
from onnx import numpy_helper

from edgeconv.harness.metrics import snr_db
from edgeconv.source import InputSpec
from edgeconv.stages import correct_bias
from edgeconv.stages.onnx import Onnx
from edgeconv.stages.quantize import Quantize

NETS = {
    "conv": "nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, stride=2), nn.ReLU(), "
    "nn.Conv2d(24, 8, 1))",
    "no_bias": "nn.Sequential(nn.Conv2d(3, 24, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(24, 8, 3, bias=False))",
    "grouped": "nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 48, 5, groups=4), nn.ReLU(), "
    "nn.Conv2d(48, 48, 3, groups=48))",
    "transposed": "nn.Sequential(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.ConvTranspose2d(24, 8, 2, stride=2))",
    "transposed_groups": "nn.Sequential(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.ConvTranspose2d(24, 48, 2, stride=2, groups=3, "
    "bias=False), nn.ReLU(), nn.Conv2d(48, 8, 1))",
    "linear": "nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 64), nn.ReLU(), nn.Linear(64, 32, bias=False))",
    "vector": "nn.Sequential(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(0), nn.Linear(384, 64), "
    "nn.ReLU(), nn.Linear(64, 32, bias=False))",
    "tokens": "nn.Sequential(nn.Flatten(2), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 32, bias=False))",
}


def quantized(folder, net, correct=True):
    source = module_source(
        folder, f"def make():\n    torch.manual_seed(0)\n    return {net}.eval(), (torch.rand(1, 3, 24, 24),)\n"
    )
    return run_stages(source, [Onnx(), Quantize(correct_bias=correct)], folder / f"chain-{correct}")


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def with_rounded_weights(float_path, quantized_path, folder):
    """The quantized graph without the noise of quantized activations: its weights and biases in float32 ops."""
    import onnx_ir as ir

    from edgeconv.rewrite import given_integers

    graph = ir.from_proto(onnx.load(str(quantized_path)))
    given_integers.take(graph)
    path = folder / "dequantized.onnx"
    onnx.save(ir.to_proto(graph), str(path))
    return path


@pytest.mark.parametrize("name", NETS)
def test_outputs_come_closer_on_inputs_that_nothing_was_measured_on(name, tmp_path):
    plain, _ = quantized(tmp_path, NETS[name], correct=False)
    paths, notes = quantized(tmp_path, NETS[name])
    assert notes["quantize"]["bias_correction"]["corrected"] >= 2
    generator = np.random.default_rng(77)
    gains = []
    for image in [generator.random((1, 3, 24, 24), np.float32) for _ in range(8)]:
        truth = run(paths["onnx"], image)
        before, after = (
            snr_db(truth, run(with_rounded_weights(one["onnx"], one["quantize"], tmp_path), image))
            for one in (plain, paths)
        )
        gains.append(after - before)
    assert np.mean(gains) > 1, f"gained {np.mean(gains):.1f} dB"


def test_the_integers_and_scales_are_the_same_with_and_without(tmp_path):
    found = []
    for correct in (False, True):
        paths, _ = quantized(tmp_path, NETS["conv"], correct)
        tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(paths["quantize"])).graph.initializer}
        found.append({name: array for name, array in tensors.items() if name.endswith(("_quantized", "_scale"))})
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) == 6
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_the_same_model_gives_the_same_bytes(tmp_path):
    found = set()
    for name in "ab":
        (tmp_path / name).mkdir()
        found.add(quantized(tmp_path / name, NETS["grouped"])[0]["quantize"].read_bytes())
    assert len(found) == 1


def graph(weight, bias):
    text = """
        <ir_version: 8, opset_import: ["" : 13]>
        model (float[1,4] x) => (float[1,4] y) { p = MatMul(x, w) y = Add(p, b) }
    """
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend([numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")])
    return model


def test_an_error_without_a_mean_leaves_the_biases_alone(tmp_path):
    """Inputs around zero: what is measured is chance, and on other inputs it mostly does not help."""
    weight, refused = np.eye(4, dtype=np.float32), 0
    for seed in range(20):
        model = graph(weight, np.ones(4, np.float32))
        rounded = weight + np.random.default_rng(seed).uniform(-0.01, 0.01, weight.shape).astype(np.float32)
        correct_bias.declare((InputSpec("x", (1, 4)),), model)
        before = model.SerializeToString()
        notes = correct_bias.correct(model, {"w": rounded}, tmp_path)
        if notes["corrected"]:
            old, new = notes["snr_db"]["noise"]
            assert new >= old
        else:
            assert model.SerializeToString() == before
            assert "no closer" in notes["reason"]
            refused += 1
    assert refused >= 15


def test_the_mean_error_is_taken_out_exactly(tmp_path):
    weight, bias = np.eye(4, dtype=np.float32), np.arange(4, dtype=np.float32)
    model = graph(weight, bias)
    correct_bias.declare((InputSpec("x", (1, 4), "float32", 2.0, 2.0),), model)
    notes = correct_bias.correct(model, {"w": weight + np.float32(0.25)}, tmp_path)
    assert notes["corrected"] == 1
    add = model.graph.node[1]
    new = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert set(new) == {"w", add.input[1]}
    np.testing.assert_allclose(new[add.input[1]], bias - 2.0)  # four inputs of 2, each off by a quarter


def test_a_bias_that_two_ops_share_becomes_two(tmp_path):
    text = """
        <ir_version: 8, opset_import: ["" : 13]>
        model (float[1,4] x) => (float[1,4] y) { p = MatMul(x, w) q = Add(p, b) r = MatMul(q, v) y = Add(b, r) }
    """
    model = onnx.parser.parse_model(text)
    eye = np.eye(4, dtype=np.float32)
    model.graph.initializer.extend(
        [numpy_helper.from_array(a, n) for n, a in {"w": eye, "v": 2 * eye, "b": np.ones(4, np.float32)}.items()]
    )
    correct_bias.declare((InputSpec("x", (1, 4), "float32", 1.0, 1.0),), model)
    assert (
        correct_bias.correct(model, {"w": eye + np.float32(0.1), "v": 2 * eye + np.float32(0.1)}, tmp_path)["corrected"]
        == 2
    )
    first, second = (node for node in model.graph.node if node.op_type == "Add")
    assert first.input[1] != second.input[0]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 5.0), (None, None)])
def test_a_smooth_field_is_smooth_and_within_its_range(low, high):
    spec = InputSpec("image", (2, 3, 40, 56), "float32", low, high)
    field = correct_bias.smooth(spec, np.random.default_rng(5))
    assert field.shape == spec.shape
    assert field.dtype == np.float32
    assert np.isfinite(field).all()
    if low is not None:
        assert low <= field.min() < field.max() <= high
    steps = np.abs(np.diff(field, axis=-1)).mean() / field.std()
    noise = np.random.default_rng(6).random(spec.shape)
    assert steps < 0.5 * np.abs(np.diff(noise, axis=-1)).mean() / noise.std()
    assert not np.array_equal(field[0], field[1])


def test_the_declared_ranges_travel_in_the_graph(tmp_path):
    paths, _ = quantized(tmp_path, NETS["conv"])
    (spec,) = correct_bias.declared(onnx.load(str(paths["onnx"])))
    assert (spec.shape, spec.dtype, spec.low, spec.high) == ((1, 3, 24, 24), "float32", 0.0, 1.0)


def test_inputs_that_give_no_numbers_are_left_out(tmp_path):
    """A softmax over nothing but masked places is NaN in PyTorch too; one such input must not reach a bias."""
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(32, 64), nn.Linear(64, 32)
    def forward(self, x, hidden):
        weights = torch.zeros(1, 2).masked_fill(hidden, float("-inf")).softmax(-1)
        return self.two(torch.relu(weights @ self.one(x)))
def make():
    torch.manual_seed(0)
    return Net().eval(), (torch.rand(1, 2, 32), torch.tensor([[False, True]]))
"""
    paths, notes = run_stages(module_source(tmp_path, text), [Onnx(), Quantize()], tmp_path / "chain")
    assert notes["quantize"]["bias_correction"]["corrected"] == 2
    for tensor in onnx.load(str(paths["quantize"])).graph.initializer:
        assert not np.isnan(numpy_helper.to_array(tensor).astype(np.float64)).any()


def test_a_model_that_gives_no_numbers_is_not_the_better_one():
    assert correct_bias._snr(np.ones(3), np.array([1, np.nan, 1])) == -200
