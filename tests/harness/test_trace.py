"""Which layer a conversion hurts: planted faults are found, and each place is paired with its own tensor."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from onnx import TensorProto, helper, save

from edgeconv.harness.trace.match import distinct, match, upstream
from edgeconv.harness.trace.points import Fed, Point, Tensor, laid, layouts, unlaid
from edgeconv.report import trace_schema
from tests.rewrite.helpers import model as onnx_model

RNG = np.random.default_rng(0)


def noisy(value, db):
    """The value with an error that many decibels below it."""
    error = RNG.standard_normal(value.shape)
    error *= np.linalg.norm(value) / np.linalg.norm(error) * 10 ** (-db / 20)
    return (value + error).astype(np.float32)


def some(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 5), (1, 4, 5, 6), (2, 3, 4, 5, 6)])
def test_a_layout_and_back(shape):
    value = some(*shape)
    for perm in layouts(value):
        assert np.array_equal(unlaid(laid(value, perm), value, perm), value)


def test_values_decide_where_a_convolution_holds_what_its_batch_norm_gives():
    """The file's tensor is called after the convolution; its value, moved to channels last, is the batch norm's."""
    conv, norm = some(1, 8, 4, 4), some(1, 8, 4, 4)
    points = [Point("stem.0", "Conv2d", conv), Point("stem.1", "BatchNorm2d", norm), Point("stem", "Sequential", norm)]
    tensor = Tensor(7, "stem.0", "CONV_2D", "INT8", 0)
    found = match(points, [tensor], {7: noisy(norm, 30).transpose(0, 2, 3, 1)})
    assert list(found) == [1]
    assert found[1].perm == (0, 2, 3, 1)
    assert found[1].snr_db == pytest.approx(30, abs=0.5)
    back = found[1].value({7: norm.transpose(0, 2, 3, 1)}, norm)
    assert np.array_equal(back, norm)


def test_a_name_decides_between_places_that_are_nearly_equal():
    """Neighbours on a residual stream differ less than quantization does."""
    first = some(1, 10, 16)
    second = noisy(first, 25)
    points = [Point("blocks.0", "Block", first), Point("blocks.1", "Block", second)]
    values = {0: noisy(first, 22), 1: noisy(second, 22)}
    tensors = [Tensor(0, "blocks.0", "ADD", "", 0), Tensor(1, "blocks.1", "ADD", "", 1)]
    assert {number: found.tensor.index for number, found in match(points, tensors, values).items()} == {0: 0, 1: 1}


def test_a_ruined_layer_keeps_its_tensor_by_name_and_strangers_stay_apart():
    points = [Point("a", "Conv2d", some(1, 8, 4, 4)), Point("b", "Conv2d", some(1, 8, 4, 4))]
    tensors = [Tensor(0, "a", "CONV_2D", "INT8", 0), Tensor(1, "x", "MUL", "", 1)]
    found = match(points, tensors, {0: some(1, 4, 4, 8), 1: some(1, 4, 4, 8)})
    assert list(found) == [0]
    assert found[0].snr_db < 3
    slice_ = Tensor(0, "a", "SLICE", "", 0)  # a part of a merged product is no ruined layer
    assert match(points, [slice_], {0: some(1, 4, 4, 8)}) == {}


def test_channels_that_a_shuffle_has_moved_are_put_back():
    """The conversion puts channel shuffles into the weights around them; dead channels are alike and may go anywhere."""
    value = np.maximum(some(1, 12, 5, 5), 0)
    value[:, [3, 7]] = 0
    shuffle = RNG.permutation(12)
    held = noisy(value[:, shuffle], 30).transpose(0, 2, 3, 1)
    found = match([Point("a", "ReLU", value)], [Tensor(0, "a", "CONV_2D", "INT8", 0)], {0: held})
    assert found[0].snr_db == pytest.approx(30, abs=1)
    alive = [channel for channel in range(12) if shuffle[channel] not in {3, 7}]
    assert [int(found[0].channels[channel]) for channel in alive] == [int(shuffle[channel]) for channel in alive]
    assert np.linalg.norm(found[0].value({0: held}, value) - value) < 0.05 * np.linalg.norm(value)
    place = upstream(value, 5, [Tensor(0, "", "CONV_2D", "INT8", 0)], {0: held}, 20)
    assert np.linalg.norm(place.value({0: held}, value) - value) < 0.05 * np.linalg.norm(value)


def test_wrappers_that_pass_a_value_on_are_left_out():
    value = some(1, 4)
    points = [Point("a.0", "Linear", value), Point("a", "Sequential", value.copy()), Point("b", "Linear", some(1, 4))]
    assert distinct(points) == [0, 2]


def test_what_came_from_between_modules_is_found_if_it_is_near_enough_and_before():
    wanted = some(1, 6, 3, 3)
    tensors = [Tensor(0, "", "ADD", "", 4), Tensor(1, "", "ADD", "", 9)]
    values = {0: noisy(wanted, 30).transpose(0, 2, 3, 1), 1: wanted}
    found = upstream(wanted, 9, tensors, values, 20)
    assert found.index == 0
    assert found.value(values, wanted).shape == wanted.shape
    assert upstream(wanted, 9, tensors, values, 40) is None
    assert upstream(wanted, 4, tensors, values, 20) is None


def test_dropout_passes_its_input_on():
    value = some(1, 4)
    assert Point("d", "Dropout", value, [Fed(0, False, value.copy())]).passes_on() == 0
    assert Point("r", "ReLU", np.maximum(value, 0), [Fed(0, False, value)]).passes_on() is None


INPLACE = """

class Inplace(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.relu = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, image):
        x = self.relu(self.a(image))
        y = self.b(x)
        y += x
        return self.relu(y).flatten(1)


def inplace():
    torch.manual_seed(0)
    return Inplace().eval(), (EXAMPLE,)
"""


def test_modules_are_observed_replayed_and_disturbed_even_where_they_work_in_place(load, tmp_path):
    from edgeconv.harness.trace.torch_reference import TorchReference
    from edgeconv.source import loading, parse_reference

    loaded = load("net.py:inplace", INPLACE)
    source = parse_reference("net.py:inplace", base=tmp_path)
    loading._loaded[str(source.to_json())] = loaded
    reference = TorchReference(source)
    inputs = {"image": some(1, 1, 8, 8)}
    points, outputs = reference.observe(inputs)
    assert [point.name for point in points] == ["a", "relu", "b", "relu#2", "(model)"]
    a, relu, b, last, _ = points
    assert (a.value < 0).any()  # not overwritten by the ReLU that works in place
    assert a.fed[0].is_input
    assert relu.fed[0].producer == 0
    assert b.fed[0].producer == 1
    assert last.fed[0].producer is None  # the sum was made between modules, in b's tensor
    assert np.array_equal(reference.replay(2, [b.fed[0].value]), b.value)
    assert not np.array_equal(reference.replay(2, [b.fed[0].value + 1]), b.value)
    error = np.zeros_like(last.value)
    error[0, 0, 0, 0] = 1
    moved = reference.disturbed(inputs, 3, error)  # the second call of the same module
    name = next(iter(outputs))
    assert np.allclose(moved[name] - outputs[name], error.reshape(1, -1), atol=1e-6)
    again, same = reference.observe(inputs)
    assert [point.name for point in again] == [point.name for point in points]
    assert np.array_equal(same[name], outputs[name])


def outlier(shape, rng):
    """A weight of which one large entry a channel takes the whole int8 range."""
    weight = rng.standard_normal(shape).astype(np.float32)
    weight[:, 0, 0, 0] = 200
    return weight


def chain(path, *, ruined):
    """Three convolutions with activations between; one has a weight that int8 cannot hold."""
    rng = np.random.default_rng(1)
    constants, nodes, last = {}, [], "x"
    for number in range(3):
        shape = (8, 3 if number == 0 else 8, 3, 3)
        constants[f"w{number}"] = (
            outlier(shape, rng) if number == ruined else rng.standard_normal(shape).astype(np.float32) / 5
        )
        nodes += [
            helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], name=f"conv{number}", pads=[1, 1, 1, 1]),
            helper.make_node("Tanh", [f"c{number}"], [f"t{number}"], name=f"tanh{number}"),
        ]
        last = f"t{number}"
    save(onnx_model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 12, 12])}, [last], constants, opset=13), str(path))


@pytest.mark.slow
@pytest.mark.parametrize("ruined", [0, pytest.param(1, marks=pytest.mark.slice)])
def test_a_planted_fault_of_an_onnx_model_is_on_top(cli, tmp_path, ruined):
    chain(tmp_path / "chain.onnx", ruined=ruined)
    found = json.loads(cli("trace", "chain.onnx", "--json", "--samples", "1").out)
    jsonschema.validate(found, trace_schema())
    assert found["schema_version"] == 1
    assert found["reference"] == "onnxruntime"
    top = found["rows"][0]
    assert (top["module"], top["op"], top["weights"]) == (f"conv{ruined}", "CONV_2D", "INT8")
    others = [row["own_snr_db"] for row in found["rows"][1:] if row["op"] == "CONV_2D"]
    assert len(others) == 2
    assert top["own_snr_db"] < min(others)
    assert top["shape"] == [1, 8, 12, 12]
    tanh = [row["own_snr_db"] for row in found["rows"] if row["op"] == "TANH"]
    assert len(tanh) == 3
    assert min(tanh) > 80


RUINED = """

def ruined():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
    more = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish())
    net = nn.Sequential(body, more, nn.Flatten(1), nn.Linear(512, 4)).eval()
    with torch.no_grad():
        net[1][0].weight[:, 0, 0, 0] = 200
    return net, (EXAMPLE,)
"""


@pytest.fixture
def net(tmp_path, cli):
    path = tmp_path / "net.py"
    path.write_text(path.read_text() + RUINED)


@pytest.mark.slow
@pytest.mark.slice
def test_a_planted_fault_of_a_pytorch_model_is_on_top_with_its_module(cli, net):
    told = cli("trace", "net.py:ruined", "--samples", "1")
    assert told.code == 0
    first = told.out.splitlines()[1]
    assert first.startswith("1.1 "), told.out
    assert "Conv2d + BatchNorm2d" in first
    assert "int8" in first


@pytest.mark.slow
def test_without_quantization_every_layer_is_exact_to_rounding(cli, net):
    found = json.loads(cli("trace", "net.py:ruined", "--target", "android-float", "--samples", "1", "--json").out)
    assert min(row["own_snr_db"] for row in found["rows"] if row["own_snr_db"] is not None) > 90
    assert {row["weights"] for row in found["rows"]} <= {"", "FLOAT32"}
    covers = {row["module"]: row["covers"] for row in found["rows"]}
    assert covers["1.1"] == ["1.0"]


LOOP = """

class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.lstm(x)[0])


def reader():
    return Reader().eval(), (torch.rand(2, 40, 8),)
"""


@pytest.mark.slow
def test_a_loops_state_that_nothing_reads_has_no_data_and_no_row(cli, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(path.read_text() + LOOP)
    told = cli("trace", "net.py:reader", "--target", "android-float", "--samples", "1", "--json")
    assert told.code == 0, told.err
    rows = {row["module"]: row for row in json.loads(told.out)["rows"]}
    assert rows["out"]["snr_db"] > 100


def test_a_target_without_a_tflite_cannot_be_traced(cli, tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "half.toml").write_text('stages = ["onnx"]\n')
    told = cli("trace", "net.py:make", "--target", "half")
    assert told.code == 2
    assert "makes no .tflite" in told.err
    assert Path(tmp_path / "artifacts").exists() is False
