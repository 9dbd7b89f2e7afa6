"""Numbers that were computed by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgeconv.harness import metrics

NAN, INF = math.nan, math.inf


def f32(*values):
    return np.array(values, np.float32)


def test_snr_of_a_tenth_is_twenty_decibels():
    # signal 1² + 1², noise 0.1² + 0.1²: 10·log10(2 / 0.02) = 20
    assert metrics.snr_db(np.array([1.0, -1.0]), np.array([1.1, -0.9])) == pytest.approx(20.0)


def test_snr_of_three_four_against_three_five():
    # signal 25, noise 1
    assert metrics.snr_db(f32(3, 4), f32(3, 5)) == pytest.approx(10 * math.log10(25))


def test_equal_to_the_last_bit_is_the_ceiling_and_no_infinity():
    x = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    found = metrics.compare(x, x.copy())
    assert found == {
        "max_abs_error": 0.0, "mean_abs_error": 0.0, "snr_db": 200.0, "cosine": pytest.approx(1.0), "nan": 0, "inf": 0,
    }  # fmt: skip
    json.dumps(found, allow_nan=False)


def test_one_last_bit_is_below_the_ceiling():
    x = f32(1.0)
    found = metrics.compare(x, np.nextafter(x, f32(2)))
    # (1 / 2^-23)² = 2^46: 138.47 dB
    assert found["snr_db"] == pytest.approx(10 * math.log10(2.0**46))


def test_zeros_that_became_something_are_the_floor():
    assert metrics.snr_db(f32(0, 0), f32(0, 1)) == -200.0
    assert metrics.snr_db(f32(0, 0), f32(0, 0)) == 200.0


def test_snr_is_held_between_the_limits():
    assert metrics.snr_db(np.array([1e-200]), np.array([1e150])) >= -200.0
    assert metrics.snr_db(np.array([1.0]), np.array([1.0 + 1e-15])) == 200.0


def test_max_and_mean_error():
    found = metrics.compare(f32(1, 2, 3, 4), f32(1, 2.5, 3, 2))
    assert found["max_abs_error"] == 2.0
    assert found["mean_abs_error"] == pytest.approx(2.5 / 4)


def test_integers_and_booleans_are_compared_as_numbers():
    found = metrics.compare(np.array([0, 255], np.uint8), np.array([255, 0], np.uint8))
    assert found["max_abs_error"] == 255.0  # no wrap-around
    assert metrics.compare(np.array([True, False]), np.array([True, True]))["max_abs_error"] == 1.0


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ([1, 0], [0, 1], 0.0),
        ([1, 0], [1, 1], math.sqrt(0.5)),
        ([1, 2], [2, 4], 1.0),
        ([1, 2], [-1, -2], -1.0),
        ([3, 4], [4, 3], 24 / 25),
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [1, 0], 0.0),
    ],
)
def test_cosine(a, b, wanted):
    assert metrics.cosine(f32(*a), f32(*b)) == pytest.approx(wanted)


def test_nan_and_inf_are_counted_and_left_out_of_the_errors():
    found = metrics.compare(f32(1, 2, 3, 4, 5), f32(NAN, 2, INF, -INF, 6))
    assert (found["nan"], found["inf"]) == (1, 2)
    assert found["max_abs_error"] == 1.0
    # what is left: 2, 5 against 2, 6
    assert found["snr_db"] == pytest.approx(10 * math.log10(29 / 1))
    json.dumps(found, allow_nan=False)


def test_places_where_the_reference_is_not_finite_do_not_count_unless_an_infinity_differs():
    found = metrics.compare(f32(NAN, INF, -INF, 1), f32(0, INF, -INF, 1))
    assert (found["nan"], found["inf"], found["snr_db"]) == (0, 0, 200.0)
    assert metrics.compare(f32(NAN, 1), f32(NAN, 1))["nan"] == 0
    assert metrics.compare(f32(INF, 1), f32(-INF, 1))["inf"] == 1
    assert metrics.compare(f32(INF, 1), f32(3, 1))["inf"] == 1


def test_nothing_finite_in_common_is_the_worst_there_is():
    found = metrics.compare(f32(1, 2), f32(NAN, NAN))
    assert (found["nan"], found["max_abs_error"], found["snr_db"], found["cosine"]) == (2, 2.0, -200.0, 0.0)
    assert metrics.compare(np.zeros(0), np.zeros(0))["snr_db"] == 200.0


def test_top1():
    a = f32(0, 1, 2, 5, 1, 0).reshape(2, 3)
    b = f32(0, 1, 3, 1, 5, 0).reshape(2, 3)
    assert metrics.top1_agreement(a, a) == 1.0
    assert metrics.top1_agreement(a, b) == 0.5


@pytest.mark.parametrize(
    ("shape", "dtype", "wanted"),
    [
        ((1, 10), np.float32, True),
        ((4, 2), np.float32, True),
        ((1, 1), np.float32, False),
        ((10,), np.float32, False),
        ((1, 10, 2), np.float32, False),
        ((1, 10), np.int64, False),
    ],
)
def test_what_looks_like_logits(shape, dtype, wanted):
    assert metrics.looks_like_logits(np.zeros(shape, dtype)) is wanted


def test_summary_takes_each_output_over_all_samples_and_puts_the_worst_on_top():
    samples = [
        ({"a": f32(1, 0).reshape(1, 2), "b": f32(3)}, {"a": f32(1, 0).reshape(1, 2), "b": f32(3.5)}),
        ({"a": f32(0, 1).reshape(1, 2), "b": f32(4)}, {"a": f32(1, 0).reshape(1, 2), "b": f32(NAN)}),
    ]
    found = metrics.summarize(samples)
    # a: signal 2, noise 2; b: signal 9, noise 0.25 (4 against NaN is counted, not compared)
    assert found["outputs"]["a"]["snr_db"] == pytest.approx(0.0)
    assert found["outputs"]["b"]["snr_db"] == pytest.approx(10 * math.log10(36))
    assert found["snr_db"] == pytest.approx(0.0)
    assert found["max_abs_error"] == 1.0
    assert found["cosine"] == pytest.approx(0.5)
    assert (found["nan"], found["inf"], found["samples"]) == (1, 0, 2)
    assert found["top1_agreement"] == 0.5


def test_summary_without_logits_has_no_top1():
    assert "top1_agreement" not in metrics.summarize([({"a": f32(1)}, {"a": f32(1)})])


def test_an_output_that_is_all_nan_is_not_reported_as_perfect():
    """The 200 dB of nothing to compare must not hide the other output's, nor look like a pass."""
    found = metrics.summarize([({"a": f32(1, 2), "b": f32(1, 2)}, {"a": f32(NAN, NAN), "b": f32(1, 3)})])
    assert found["nan"] == 2
    assert found["snr_db"] < 200.0
