"""Metrics on labelled sets against values computed by hand, and intervals that hold what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgeconv.errors import CalibrationError
from edgeconv.harness import accuracy
from edgeconv.harness.accuracy import evaluate, score, wilson


def value(metric, outputs, labels, options=None, base=None):
    return score(metric, np.asarray(outputs, np.float32), np.asarray(labels), options or {}, base).value()


def test_top1_and_top5():
    outputs = np.eye(8)[[0, 1, 2, 3]] + np.linspace(0, 0.07, 8)[::-1]
    assert value("top1", outputs, [0, 1, 2, 4]) == 0.75
    # row 3 ranks class 3, then 0, 1, 2, 4, …: class 4 is the fifth, class 5 the sixth
    assert value("top5", outputs, [0, 1, 2, 4]) == 1.0
    assert value("top5", outputs, [0, 1, 2, 5]) == 0.75


def test_equal_logits_are_decided_as_argmax_does():
    outputs = np.zeros((2, 6))
    assert value("top1", outputs, [0, 1]) == 0.5 == (outputs.argmax(-1) == [0, 1]).mean()
    assert value("top5", outputs, [4, 5]) == 0.5


def test_a_label_beyond_the_classes_is_one_sentence():
    with pytest.raises(CalibrationError, match=r"labels go up to 3, the output has 2 classes"):
        value("top1", np.zeros((2, 2)), [0, 3])


def test_mean_iou_by_hand():
    predicted = np.array([[[0, 0], [1, 1]], [[1, 1], [1, 1]]])
    labels = np.array([[[0, 1], [1, 1]], [[1, 1], [0, 2]]])
    # class 0: 1 hit of a union of 3; class 1: 4 hits of 7; class 2: 0 of 1
    wanted = (1 / 3 + 4 / 7 + 0) / 3
    logits = np.moveaxis(np.eye(3)[predicted], -1, 1)
    assert value("mean_iou", logits, labels) == pytest.approx(wanted)
    assert score("mean_iou", predicted, labels, {}, None).value() == pytest.approx(wanted)
    # without the pixel of class 2: class 0: 1 of 3, class 1: 4 of 6
    assert value("mean_iou", logits, labels, {"ignore_label": 2}) == pytest.approx((1 / 3 + 4 / 6) / 2)


def test_a_class_map_of_another_size_is_one_sentence():
    with pytest.raises(CalibrationError, match=r"a class map of \[2, 2\], the labels are \[4, 4\]"):
        value("mean_iou", np.zeros((1, 3, 2, 2)), np.zeros((1, 4, 4), int))


def test_retrieval_finds_the_nearest_by_angle():
    outputs = [[1, 0], [10, 1], [0, 1], [1, 5], [-1, -1]]
    # nearest: 0 → 1, 1 → 0, 2 → 3, 3 → 2; the last one's label is alone and does not count
    assert value("cosine_retrieval", outputs, [0, 0, 1, 1, 2]) == 1.0
    assert value("cosine_retrieval", outputs, [0, 0, 1, 0, 2]) == pytest.approx(2 / 3)
    with pytest.raises(CalibrationError, match="nothing to retrieve"):
        value("cosine_retrieval", outputs, [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("hits", "samples", "low", "high"),
    # the score interval by its closed formula in Brown, Cai and DasGupta (2001), computed apart
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (539, 540, 0.98957, 0.99967), (10, 10, 0.7225, 1.0)],
)
def test_wilson(hits, samples, low, high):
    found = wilson(hits / samples, samples)
    assert found == pytest.approx((low, high), abs=1e-4)


def test_wilson_covers_what_it_promises():
    rng = np.random.default_rng(0)
    for proportion in (0.5, 0.9, 0.98):
        hits = rng.binomial(100, proportion, 4000)
        inside = [low <= proportion <= high for low, high in (wilson(each / 100, 100) for each in hits)]
        assert np.mean(inside) > 0.92


def logits_for(labels, right, rng):
    """Logits whose largest entry is the label where `right`."""
    outputs = rng.random((len(labels), 4)) / 2
    outputs[np.arange(len(labels)), np.where(right, labels, (labels + 1) % 4)] = 1
    return outputs


def test_the_drop_is_paired_by_sample():
    """Both models fail on the same half; what differs is 2 samples of 200, and the interval is as narrow as that."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    right = rng.random(200) < 0.5
    other = right.copy()
    other[np.flatnonzero(right)[:2]] = False
    outputs = logits_for(labels, right, rng), logits_for(labels, other, rng)
    (row,) = evaluate(["top1"], *outputs, labels, {}, None)
    assert row["drop"]["value"] == pytest.approx(0.01)
    assert 0.0 <= row["drop"]["ci_low"] < 0.01 < row["drop"]["ci_high"] < 0.03
    assert row["reference"]["ci_high"] - row["reference"]["ci_low"] > 0.1
    assert row["method"] == "wilson"
    json.dumps(row, allow_nan=False)


def test_equal_models_drop_nothing_and_a_ruined_one_does():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 100)
    good, bad = logits_for(labels, np.ones(100, bool), rng), logits_for(labels, np.zeros(100, bool), rng)
    (row,) = evaluate(["top1"], good, good, labels, {}, None)
    assert row["drop"] == {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    (row,) = evaluate(["top1"], good, bad, labels, {}, None)
    assert row["drop"] == {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0}


def test_the_drops_interval_covers_what_it_promises():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(200):
        labels = rng.integers(0, 4, 150)
        a = rng.random(150) < 0.9
        b = np.where(rng.random(150) < 0.05, False, a)  # true drop: 0.9 · 0.05
        (row,) = evaluate(["top1"], logits_for(labels, a, rng), logits_for(labels, b, rng), labels, {}, None)
        inside.append(row["drop"]["ci_low"] <= 0.045 <= row["drop"]["ci_high"])
    assert np.mean(inside) > 0.88


METRIC = """
import numpy as np

def error(outputs, labels):
    return np.abs(outputs[:, 0] - labels)

def overall(outputs, labels):
    return np.abs(outputs[:, 0] - labels).max()

def broken(outputs, labels):
    raise ValueError("my own fault")

def wrong(outputs, labels):
    return np.zeros((2, 2))
"""


def test_a_metric_of_the_users_by_sample_or_in_one_number(tmp_path, monkeypatch):
    (tmp_path / "my_metric_.py").write_text(METRIC)
    monkeypatch.syspath_prepend(str(tmp_path))
    outputs, labels = np.arange(8.0).reshape(8, 1), np.zeros(8)
    by_sample, in_all = evaluate(["my_metric_:error", "my_metric_:overall"], outputs, outputs + 1, labels, {}, tmp_path)
    assert by_sample["reference"]["value"] == 3.5
    assert by_sample["drop"]["value"] == pytest.approx(-1)
    assert by_sample["drop"]["ci_low"] == pytest.approx(by_sample["drop"]["ci_high"])
    assert by_sample["method"] == in_all["method"] == "bootstrap"
    assert in_all["reference"]["value"] == 7
    assert in_all["reference"]["ci_low"] < 7
    for name, told in [
        ("broken", "raised ValueError: my own fault"), ("wrong", r"the shape \[2, 2\]"), ("none", "cannot be imported"),
        ("np", "is no function"),
    ]:  # fmt: skip
        with pytest.raises(CalibrationError, match=told) as caught:
            evaluate([f"my_metric_:{name}"], outputs, outputs, labels, {}, tmp_path)
        assert caught.value.hint
    with pytest.raises(CalibrationError, match="cannot be imported"):
        evaluate(["no_such_module_:metric"], outputs, outputs, labels, {}, tmp_path)


def test_large_sets_are_resampled_in_batches(monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 50)
    outputs = logits_for(labels, rng.random(50) < 0.7, rng)
    wanted = evaluate(["top1", "cosine_retrieval"], outputs, outputs[::-1], labels, {}, None)
    monkeypatch.setattr(accuracy, "_BATCH", 8 * 50 * 7)
    assert evaluate(["top1", "cosine_retrieval"], outputs, outputs[::-1], labels, {}, None) == wanted


def test_nan_is_never_right():
    labels = np.arange(10)
    assert value("top1", np.full((10, 10), np.nan), labels) == 0.0
    assert value("top5", np.full((10, 10), np.nan), labels) == 0.0
    assert value("top5", np.where(np.eye(10) == 1, np.nan, 0.0), labels) == 0.0
    logits = np.eye(10)
    logits[3, 7] = np.nan
    assert value("top1", logits, labels) == 0.9
    maps = np.zeros((1, 2, 2, 2))
    maps[0, 0] = 1
    maps[0, :, 0, 0] = np.nan
    assert value("mean_iou", maps, np.zeros((1, 2, 2), int)) == 0.75
    assert value("mean_iou", np.full((1, 2, 2, 2), np.nan), np.zeros((1, 2, 2), int)) == 0.0
    assert value("cosine_retrieval", np.full((4, 2), np.nan), np.zeros(4, int)) == 0.0
    # the nearest of 0 is 1: the sample of NaN, which argmax would take, is near to none
    assert value("cosine_retrieval", [[1, 0], [1, 0], [np.nan, 0], [np.inf, 0]], [0, 0, 1, 1]) == 0.5


def test_a_label_that_is_no_class_is_one_sentence():
    with pytest.raises(CalibrationError, match="labels go down to -2, classes count from 0"):
        value("top1", np.zeros((2, 2)), [0, -2])
    with pytest.raises(CalibrationError, match="labels go up to 255, the output has 2 classes"):
        value("mean_iou", np.zeros((1, 2, 1, 2)), [[[0, 255]]])
    with pytest.raises(CalibrationError, match="labels go down to -1"):
        value("mean_iou", np.zeros((1, 2, 1, 2)), [[[0, -1]]])
    assert value("mean_iou", np.zeros((1, 2, 1, 2)), [[[0, -1]]], {"ignore_label": -1}) == 1.0


def test_rows_with_nan_agree_with_none():
    from edgeconv.harness import metrics

    assert metrics.top1_agreement(np.eye(4), np.full((4, 4), np.nan)) == 0.0
    assert metrics.top1_agreement(np.eye(4), np.eye(4)) == 1.0
