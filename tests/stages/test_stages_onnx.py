"""Export: names, structures, odd models, and what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgeconv.errors import StageError, TrainingMode, UnsupportedOp
from edgeconv.stages import Onnx
from tests.stages.chain_helpers import module_source, run_stages


def export(tmp_path, text):
    source = module_source(tmp_path, text)
    return run_stages(source, [Onnx()], tmp_path / "out")[0]["onnx"]


def names(path):
    graph = onnx.load(path).graph
    return [value.name for value in graph.input], [value.name for value in graph.output]


def run(path, **inputs):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)


def test_several_inputs_and_a_dict_of_outputs_keep_their_names_and_order(tmp_path):
    path = export(
        tmp_path,
        """
class Net(nn.Module):
    def forward(self, right, left, mask):
        return {"total": right + left * 2, "masked": torch.where(mask, right, left)}

def make():
    return Net().eval(), {"right": torch.rand(2, 3), "left": torch.rand(2, 3), "mask": torch.rand(2, 3) > 0.5}
""",
    )
    assert names(path) == (["right", "left", "mask"], ["total", "masked"])
    right, left = np.ones((2, 3), np.float32), np.full((2, 3), 5, np.float32)
    total, masked = run(path, right=right, left=left, mask=np.zeros((2, 3), bool))
    assert (total == 11).all()
    assert (masked == 5).all()


def test_an_input_returned_unchanged_and_an_output_returned_twice(tmp_path):
    path = export(
        tmp_path,
        """
class Net(nn.Module):
    def forward(self, x):
        y = x * 2
        return x, y, y

def make():
    return Net().eval(), (torch.rand(2, 3),)
""",
    )
    assert names(path) == (["x"], ["output_0", "output_1", "output_2"])
    x = np.random.default_rng(0).random((2, 3), np.float32)
    a, b, c = run(path, x=x)
    assert np.array_equal(a, x)
    assert np.array_equal(b, 2 * x)
    assert np.array_equal(c, 2 * x)


def test_a_batch_norm_is_folded_without_rounding_twice(tmp_path):
    """Also into a conv without a bias, for which the exporter writes an expanded zero."""
    path = export(
        tmp_path,
        """
def make():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)).eval()
    net[1].running_var.uniform_(0.1, 2)
    net[0].weight.data.fill_(0.7)
    return net, (torch.rand(1, 3, 8, 8),)
""",
    )
    graph = onnx.load(path).graph
    assert [node.op_type for node in graph.node] == ["Conv"]
    weight = next(onnx.numpy_helper.to_array(t) for t in graph.initializer if len(t.dims) == 4)
    torch.manual_seed(0)
    torch.nn.Conv2d(3, 8, 3, bias=False)  # what the factory draws first
    variance = torch.empty(8).uniform_(0.1, 2).numpy().astype(np.float64)
    exact = np.float64(np.float32(0.7)) / np.sqrt(variance + 1e-5)
    assert np.array_equal(weight[:, 0, 0, 0], exact.astype(np.float32))


def test_constants_are_folded(tmp_path):
    path = export(
        tmp_path,
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(12.0).reshape(3, 4))
    def forward(self, x):
        return x @ (self.table * 2 + 1).sqrt()

def make():
    return Net().eval(), (torch.rand(2, 3),)
""",
    )
    assert [node.op_type for node in onnx.load(path).graph.node] == ["MatMul"]


def test_a_block_that_is_called_again_has_its_folded_weights_once(tmp_path):
    path = export(
        tmp_path,
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block[1].running_var.uniform_(2, 3)

    def forward(self, x):
        for _ in range(3):
            x = x + self.block(x)
        return x

def make():
    return Net().eval(), (torch.rand(1, 16, 8, 8),)
""",
    )
    graph = onnx.load(path).graph
    assert [node.op_type for node in graph.node].count("Conv") == 3
    assert [list(tensor.dims) for tensor in graph.initializer].count([16, 16, 3, 3]) == 1


def test_tiny_addends_and_factors_near_one_stay(tmp_path):
    path = export(
        tmp_path,
        """
class Net(nn.Module):
    def forward(self, x):
        y = torch.relu(x)
        return torch.log(y + 1e-10), 1 / (y - -1e-12), y * 1.000005, y / 0.999995, y + 0, y * 1.0

def make():
    return Net().eval(), (torch.rand(2, 3),)
""",
    )
    log, inverse, more, still_more, *same = run(path, x=np.array([[0, 0, 0], [1, 1, 1]], np.float32))
    np.testing.assert_allclose(log[0], np.log(1e-10), rtol=1e-6)
    np.testing.assert_allclose(inverse[0], 1e12, rtol=1e-6)
    np.testing.assert_allclose([more[1], still_more[1]], 1.000005, rtol=1e-7)
    assert all((y[1] == 1).all() for y in same)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("Add") + kinds.count("Mul") + kinds.count("Sub") <= 4  # what changes nothing is still dropped


def test_a_model_in_training_mode_is_switched_and_named(tmp_path):
    source = module_source(
        tmp_path,
        """
def make():
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9)), (torch.rand(1, 3),)
""",
    )
    _, notes = run_stages(source, [Onnx()], tmp_path / "out")
    assert "training mode" in notes["onnx"]["warnings"][0]
    assert "Sequential" in notes["onnx"]["warnings"][0]


def test_an_output_that_depends_on_chance_is_refused_with_the_modules_name(tmp_path):
    with pytest.raises(TrainingMode, match="'noise'"):
        export(
            tmp_path,
            """
class Noise(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.noise = nn.Linear(8, 8), Noise()
    def forward(self, x):
        return self.noise(self.first(x))

def make():
    return Net().eval(), (torch.rand(1, 8),)
""",
        )


def test_another_opset_is_refused(tmp_path):
    source = module_source(tmp_path, "def make():\n    return nn.Linear(2, 2).eval(), (torch.rand(1, 2),)\n")
    with pytest.raises(StageError, match="opset 18"):
        run_stages(source, [Onnx(opset=18)], tmp_path / "out")


def test_stacks_need_no_sequences(tmp_path):
    path = export(
        tmp_path,
        """
class Net(nn.Module):
    def forward(self, table, row):
        total = table.sum()
        one, two = torch.atleast_3d(row, table)
        return (
            torch.hstack((table, table * 2)), torch.hstack((row, row)), torch.hstack((total, total)),
            torch.vstack((row, row * 2)), torch.vstack((table, table)), *torch.atleast_2d(row, table), one, two,
        )

def make():
    return Net().eval(), {"table": torch.rand(2, 3), "row": torch.rand(3)}
""",
    )
    table, row = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3, dtype=np.float32)
    total = table.sum()
    wanted = [
        np.hstack((table, table * 2)), np.hstack((row, row)), np.hstack((total, total)),
        np.vstack((row, row * 2)), np.vstack((table, table)), row[None], table, row[None, :, None], table[:, :, None],
    ]  # fmt: skip
    found = run(path, table=table, row=row)
    assert [one.shape for one in found] == [one.shape for one in wanted]
    assert all(np.allclose(a, b) for a, b in zip(found, wanted, strict=True))
    assert not {node.op_type for node in onnx.load(path).graph.node} & {"SequenceMap", "ConcatFromSequence", "Loop"}


def test_writing_where_a_mask_says_is_a_choice(tmp_path):
    path = export(
        tmp_path,
        """
class Net(nn.Module):
    def forward(self, x, row, mask):
        a, b, c, d = (x.clone() for _ in range(4))
        a[x > 0.5] = -1.0
        b[mask] = row
        c[:, row > 0.5] = 7.0
        d.index_put_((mask,), torch.tensor(1.0), accumulate=True)
        return a, b, c, d

def make():
    return Net().eval(), {"x": torch.rand(4, 3), "row": torch.rand(3), "mask": torch.rand(4) > 0.5}
""",
    )
    rng = np.random.default_rng(0)
    x, row = rng.random((4, 3), dtype=np.float32), np.array([0.2, 0.9, 0.7], np.float32)
    mask = np.array([True, False, False, True])
    a, b, c, d = (x.copy() for _ in range(4))
    a[x > 0.5], b[mask], c[:, row > 0.5], d[mask] = -1, row, 7, x[mask] + 1
    for found, wanted in zip(run(path, x=x, row=row, mask=mask), (a, b, c, d), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert not {node.op_type for node in onnx.load(path).graph.node} & {"NonZero", "ScatterND"}


def test_what_a_translation_refuses_is_named_with_its_line(tmp_path):
    text = """
class Net(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x + 1)

def make():
    return Net().eval(), (torch.rand(40, 40),)
"""
    with pytest.raises(
        UnsupportedOp, match=r"aten.linalg_inv.default .*net_\d+.py:6: .*40 equations is larger than 32"
    ):
        export(tmp_path, text)
