"""What `scripts/rivals` says of files: whose transposes they are, and how sure a ratio is."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

SCRIPT = Path(__file__).parent.parent / "scripts" / "rivals"
_loader = importlib.machinery.SourceFileLoader("rivals", str(SCRIPT))
_spec = importlib.util.spec_from_loader("rivals", _loader)
assert _spec is not None
rivals = importlib.util.module_from_spec(_spec)
_loader.exec_module(rivals)


class Heads(nn.Module):
    """Attention as it is written by hand: one permute makes three of it, one brings the heads back."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        """x: float32 [N, L, 8]."""
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(n, length, 8)


def test_a_models_own_transposes_are_those_that_no_product_takes_in():
    assert rivals.own_transposes(Heads().eval(), {"x": torch.zeros(1, 5, 8)}) == 2


class Still(nn.Module):
    """A permute of axes of which only one is longer than 1 moves nothing."""

    def forward(self, x):
        """x: float32 [1, 1, 7]."""
        return x.permute(2, 0, 1) + 1


def test_a_permute_that_moves_nothing_is_none():
    assert rivals.own_transposes(Still(), {"x": torch.zeros(1, 1, 7)}) == 0


def test_a_ratio_is_told_with_its_interval():
    generator = np.random.default_rng(0)
    base = generator.uniform(1, 2, 41)  # noise that both share: they ran in the same round
    found = rivals.ratio(base * generator.normal(0.9, 0.01, 41), base)
    assert 0.88 < found["at_least"] < found["first_over_this"] < found["at_most"] < 0.92
    assert rivals.ratio(base[:3], base[:3])["at_least"] is None


def told(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_several_processes_give_medians_between_their_ends(tmp_path):
    import tensorflow as tf

    dense = tf.function(lambda x: tf.matmul(x, tf.ones([64, 64])), input_signature=[tf.TensorSpec([8, 64])])
    path = tmp_path / "net.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([dense.get_concrete_function()]).convert())
    other = tmp_path / "other.tflite"
    other.write_bytes(path.read_bytes())
    rows = json.loads(told(path, other, "--rounds", 7, "--processes", 3, "--json").stdout)
    assert [row["file"] for row in rows] == [str(path), str(other)]
    assert rows[0]["first_over_this"] == 1
    assert rows[1]["at_least"] <= rows[1]["first_over_this"] <= rows[1]["at_most"]
    assert rows[1]["bytes"] == path.stat().st_size


def test_a_file_that_does_not_load_is_named(tmp_path):
    for more in ([], ["--processes", "2"]):
        found = told(tmp_path / "none.tflite", *more)
        assert found.returncode == 1
        assert "none.tflite" in found.stderr.splitlines()[-1]
