"""What a series of times says: percentiles that the samples support, an interval that covers, drift, modes, trust."""

import numpy as np
import pytest

from edgeconv.harness import stats

CALM = {"settled": True, "waited": 0.0, "stolen": 0.0}


def lognormal(count, seed=0, sigma=0.02):
    return 10 * np.random.default_rng(seed).lognormal(0, sigma, count)


def kinds(times, **conditions):
    return [reason["kind"] for reason in stats.trust(times, {**CALM, **conditions})["reasons"]]


@pytest.mark.parametrize(("percent", "count"), [(90, 36), (95, 72), (99, 368)])
def test_a_percentile_is_given_only_where_the_samples_support_it(percent, count):
    assert stats.needed(percent) == count
    assert stats.summarize(lognormal(count))[f"p{percent}_ms"] is not None
    assert stats.summarize(lognormal(count - 1))[f"p{percent}_ms"] is None


def test_the_numbers_are_those_of_the_samples():
    found = stats.summarize(np.array([5.0, 1, 2, 3, 4] * 8))
    assert (found["min_ms"], found["p50_ms"], found["mean_ms"], found["mad_ms"], found["runs"]) == (1, 3, 3, 1, 40)
    assert found["ci_low_ms"] <= 3 <= found["ci_high_ms"]


def test_the_interval_covers_the_true_median_as_often_as_it_says():
    """Of 200 series, 95 % and no fewer than chance allows; and it narrows with more samples."""
    hits = 0
    for seed in range(200):
        low, high = stats.bootstrap_median(lognormal(120, seed), seed)
        hits += low <= 10 <= high
    assert hits >= 180
    low, high = stats.bootstrap_median(lognormal(4000))
    wide_low, wide_high = stats.bootstrap_median(lognormal(60))
    assert high - low < wide_high - wide_low


def test_a_trend_is_a_drift_and_noise_is_none():
    times = lognormal(600)
    assert stats.drift(times * np.linspace(1, 1.1, 600)) == pytest.approx(0.095, abs=0.02)
    assert stats.drift(times * np.linspace(1.1, 1, 600)) < 0
    assert all(stats.drift(lognormal(600, seed)) == 0 for seed in range(100))
    assert stats.drift(times * np.linspace(1, 1.01, 600)) == 0  # too small to matter


def test_two_groups_are_modes_and_one_with_a_tail_is_not():
    both = np.concatenate([lognormal(300), 1.3 * lognormal(100, 1)])
    low, high, share = stats.two_modes(both)
    assert (low, high, share) == (
        pytest.approx(10, rel=0.02),
        pytest.approx(13, rel=0.02),
        pytest.approx(0.24, abs=0.02),
    )
    for seed in range(50):
        assert stats.two_modes(lognormal(400, seed)) is None
        assert stats.two_modes(10 + np.random.default_rng(seed).exponential(1, 400)) is None
        assert stats.two_modes(np.random.default_rng(seed).uniform(10, 12, 400)) is None


def test_a_calm_series_is_trusted_and_each_doubt_has_its_reason():
    calm = lognormal(400)
    assert stats.trust(calm, CALM) == {"trusted": True, "reasons": []}
    assert kinds(calm, settled=False) == ["not settled"]
    assert kinds(calm, waited=0.2) == ["host busy"]
    assert kinds(calm, stolen=0.05) == ["stolen CPU"]
    assert kinds(calm * np.linspace(1, 1.2, 400)) == ["drift"]
    assert kinds(np.random.default_rng(0).permutation(np.concatenate([calm, 1.5 * calm]))) == ["bimodal"]
    assert kinds(calm[:5]) == ["few samples"]


def test_equal_times_are_one_mode_without_drift():
    assert stats.trust(np.full(200, 3.0), CALM)["trusted"]
