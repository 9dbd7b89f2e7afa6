"""Accuracy through the real chain: a segmentation model, whose output changes its layout on the way."""

from __future__ import annotations

import json

import numpy as np
import pytest

SEGMENT = """

def segment():
    torch.manual_seed(0)
    return nn.Conv2d(1, 3, 3, padding=1).eval(), (EXAMPLE,)
"""

SET = """\
[data]
file = "maps.npz"

[labelled]
input = "input"
array = "images"
labels = "maps"
metric = ["mean_iou", "my_metric:agreement"]
ignore_label = 9
"""

METRIC = """\
def agreement(outputs, labels):
    return (outputs.argmax(1) == labels).mean(axis=(1, 2))
"""


@pytest.mark.slow
def test_mean_iou_and_a_metric_of_the_users_at_every_stage(cli, tmp_path):
    net = tmp_path / "net.py"
    net.write_text(net.read_text() + SEGMENT)
    import torch

    torch.manual_seed(0)
    conv = torch.nn.Conv2d(1, 3, 3, padding=1)
    images = np.random.default_rng(0).random((12, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        predicted = conv(torch.from_numpy(images)).argmax(1).numpy()
    maps = predicted.copy()
    maps[0] = (maps[0] + 1) % 3  # one of twelve is labelled wrong
    maps[1, :4] = 9
    counts = [(maps != 9) & (predicted == each) for each in range(3)], [maps == each for each in range(3)]
    wanted = np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(*counts, strict=True)])
    np.savez(tmp_path / "maps.npz", images=images, maps=maps)
    (tmp_path / "maps.toml").write_text(SET)
    (tmp_path / "my_metric.py").write_text(METRIC)
    said = cli("run", "--target", "android", "--model", "net.py:segment", "--labelled", "maps.toml", "--json")
    assert said.code == 0, said.err
    rows = json.loads(said.out)["accuracy"]
    first = {row["metric"]: row for row in rows if row["stage"] == "reference"}
    assert list(first) == ["mean_iou", "my_metric:agreement"]
    assert first["mean_iou"]["value"] == pytest.approx(wanted, abs=1e-3)
    assert first["my_metric:agreement"]["value"] == pytest.approx((10 + 0.5) / 12)
    assert first["mean_iou"]["ci_low"] < first["mean_iou"]["value"] < first["mean_iou"]["ci_high"]
    stages = [row for row in rows if row["metric"] == "mean_iou" and row["stage"] != "reference"]
    assert [row["stage"] for row in stages] == ["onnx", "quantize", "saved_model", "tflite", "tflite"]
    assert stages[0]["drop"] == pytest.approx(0, abs=1e-9)
    for row in stages:  # a layout mistaken for another would lose most of it
        assert abs(row["drop"]) < 0.1
        assert row["drop_ci_low"] <= row["drop"] <= row["drop_ci_high"]
