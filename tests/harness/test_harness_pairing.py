"""The paired comparison: an exact interval, three verdicts that need the whole of it, and no false alarm from noise."""

from __future__ import annotations

import math
import random

import pytest

from edgeconv.harness import pairing
from edgeconv.harness.pairing import Block, Interval, Paired, judge, sign_interval


def test_the_interval_is_that_of_the_binomial_distribution():
    assert sign_interval(range(8), 0.0125) == Interval(0, 3.5, 7, 2 / 2**8)
    assert sign_interval(range(12), 0.0125) == Interval(1, 5.5, 10, 2 * 13 / 2**12)
    assert sign_interval(range(27), 0.0125).low == 6
    assert sign_interval(range(7), 0.0125) is None  # 2 / 2⁷ = 1.6 %
    assert sign_interval([], 0.05) is None


def test_the_interval_misses_the_median_no_more_often_than_it_says_whatever_the_distribution():
    generator = random.Random(0)
    draws = (
        generator.gauss,
        lambda m, s: m + generator.expovariate(1) - math.log(2),
        lambda m, s: m + generator.uniform(-1, 1),
    )
    for draw in draws:
        missed = 0
        for _ in range(1000):
            found = sign_interval([draw(0, 1) for _ in range(12)], 0.0125)
            missed += not found.low <= 0 <= found.high
        assert missed / 1000 <= found.error + 3 * math.sqrt(found.error / 1000)


def interval(low, high):
    return Interval(low, (low + high) / 2, high, 0.01)


CALM = interval(-0.01, 0.01)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.04, 0.08, "slower"), (-0.08, -0.04, "faster"), (-0.02, 0.02, "same"), (0.001, 0.02, "same"),
        (0.02, 0.05, "inconclusive"), (-0.05, 0.05, "inconclusive"), (-0.05, -0.02, "inconclusive"),
    ],
)  # fmt: skip
def test_a_verdict_needs_the_whole_interval_on_one_side_of_the_margin(low, high, wanted):
    assert judge(interval(low, high), CALM, 0.03)[0] == wanted


def test_an_effect_within_what_the_control_shows_between_equal_files_is_no_verdict():
    """The noise is large: what it does to equal files it may have done to these."""
    assert judge(interval(0.04, 0.3), interval(-0.2, 0.1), 0.03)[0] == "inconclusive"
    assert judge(interval(0.15, 0.3), interval(-0.2, 0.1), 0.03)[0] == "slower"


def test_a_control_that_finds_a_difference_between_equal_files_forbids_a_verdict_but_on_a_far_larger_one():
    assert judge(interval(0.1, 0.2), interval(0.01, 0.05), 0.03)[0] == "inconclusive"
    assert judge(interval(0.2, 0.3), interval(0.01, 0.05), 0.03)[0] == "slower"
    assert judge(interval(-0.3, -0.2), interval(0.01, 0.05), 0.03)[0] == "faster"
    assert judge(interval(-0.3, -0.2), interval(-0.2, -0.01), 0.03)[0] == "inconclusive"
    assert judge(None, None, 0.03)[0] == "inconclusive"


def rounds_of(ratio, noise, seed, *, drift=0.0, outliers=0.0, one_thread=True):
    """A comparison of invented times: B takes `ratio` times what A takes, each process adds noise."""
    generator = random.Random(seed)
    clock = 0

    def run_round(order):
        nonlocal clock
        blocks = []
        for name in order:
            clock += 1
            cpu = math.exp(generator.gauss(0, noise) + drift * clock) * (ratio if name == "B" else 1)
            cpu *= 3 if generator.random() < outliers else 1
            blocks.append(Block(name, cpu * (1 + generator.random()), cpu, cpu, 9))
        return tuple(blocks)

    paired = Paired(one_thread)
    pairing.carry_out(run_round, paired, seed, lambda _: None)
    return paired


def test_noise_alone_never_makes_a_file_faster_or_slower_than_itself():
    """60 comparisons under noise, outliers and drift each; most are conclusive where the noise is small."""
    verdicts = [rounds_of(1.0, 0.02, seed).verdict()[0] for seed in range(60)]
    assert set(verdicts) <= {"same", "inconclusive"}
    assert verdicts.count("same") >= 57
    for options in ({"noise": 0.1}, {"noise": 0.02, "outliers": 0.15}, {"noise": 0.02, "drift": 0.01}):
        assert {rounds_of(1.0, seed=seed, **options).verdict()[0] for seed in range(60)} <= {"same", "inconclusive"}


def test_ten_percent_is_found_and_a_linear_drift_does_not_hide_it():
    for options in ({"noise": 0.02}, {"noise": 0.02, "drift": 0.01}, {"noise": 0.02, "outliers": 0.02}):
        verdicts = [rounds_of(1.1, seed=seed, **options).verdict()[0] for seed in range(40)]
        assert verdicts.count("slower") >= 38
        assert "faster" not in verdicts
    assert rounds_of(0.9, 0.02, 0).verdict()[0] == "faster"


def test_it_stops_at_the_first_look_that_is_enough():
    assert len(rounds_of(1.5, 0.01, 0).rounds) == 8
    assert len(rounds_of(1.03, 0.05, 0).rounds) == 27


def test_each_round_is_abba_or_baab_and_both_occur():
    orders = {
        "".join(block.file for block in blocks) for seed in range(5) for blocks in rounds_of(1.0, 0.02, seed).rounds
    }
    assert orders == {"ABBA", "BAAB"}


def test_cpu_time_decides_for_one_thread_and_wall_time_where_a_file_brings_its_own():
    assert rounds_of(1.0, 0.01, 0).clock == "cpu"
    assert rounds_of(1.0, 0.01, 0, one_thread=False).clock == "wall"
    assert Paired(True, rounds=[(Block("A", 1.0, 1.9, 1.0, 9),) * 4]).clock == "wall"


def test_the_record_holds_every_block_and_the_ratios_of_both_clocks():
    found = pairing.plain(rounds_of(1.1, 0.01, 3))
    assert found["effect"]["median"] == pytest.approx(1.1, rel=0.02)
    assert found["control"]["low"] < 1 < found["control"]["high"]
    assert found["effect_wall"]["low"] < found["effect_wall"]["high"]
    assert [len(blocks) for blocks in found["blocks"]] == [4] * found["rounds"]
