"""Intervals that hold what they promise, and verdicts that follow from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosetta import stats
from rosetta.store import Lap
from scipy import stats as scipy_stats


def laps(*seconds_and_steps):
    return [Lap("train", seconds, steps) for seconds, steps in seconds_and_steps]


def test_a_step_is_the_median_lap_without_the_first_and_without_warm_up():
    record = laps((9.0, 1), (5.0, 1), (8.0, 4), (2.0, 10), (4.0, 10), (3.0, 10))
    assert stats.step_seconds(record) == pytest.approx(0.4)
    assert stats.step_seconds(record, warmup=5) == pytest.approx(0.3)


def test_where_one_lap_holds_warm_up_and_all_the_rest_that_lap_counts():
    assert stats.step_seconds(laps((9.0, 1), (20.0, 100)), warmup=10) == pytest.approx(0.2)
    assert stats.step_seconds(laps((9.0, 1))) is None


def test_the_interval_is_scipys_on_logarithms():
    rounds = [1.0, 1.3, 0.9, 1.1, 1.05]
    low, high = scipy_stats.t.interval(
        0.95, 4, loc=np.log(rounds).mean(), scale=scipy_stats.sem(np.log(rounds))
    )
    found = stats.interval(rounds)
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))
    assert found.median == 1.05


@pytest.mark.parametrize("rounds", [3, 5, 10])
def test_intervals_cover_the_truth_as_often_as_they_say(rounds):
    drawn = np.random.default_rng(3).lognormal(np.log(0.01), 0.1, (2000, rounds))
    found = [stats.interval(list(row)) for row in drawn]
    covered = np.mean([i.low <= 0.01 <= i.high for i in found])
    assert 0.93 <= covered <= 0.97


@given(st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=12))
def test_the_median_lies_in_its_interval(rounds):
    found = stats.interval(rounds)
    assert found.low <= found.median <= found.high


def test_fewer_than_three_rounds_have_no_interval():
    assert stats.interval([1.0, 2.0]) == stats.Interval(1.5, None, None)


def test_rounds_that_both_have_are_compared_and_drift_cancels():
    drift = {1: 1.0, 2: 1.5, 3: 2.0}
    mine, base = {k: 2 * d for k, d in drift.items()}, {**drift, 4: 9.0}
    assert stats.paired(mine, base) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([0.80, 0.81, 0.82], "FASTER"),
        ([1.24, 1.25, 1.26], "SLOWER"),
        ([0.999, 1.0, 1.001], "SAME"),
        ([1.009, 1.010, 1.011], "SAME"),  # a real difference, too small to matter
        ([0.9, 1.0, 1.2], "AMBIGUOUS"),
        ([1.010, 1.018, 1.024], "AMBIGUOUS"),  # excludes 1, but by less than 2 %
    ],
)
def test_verdicts(ratios, verdict):
    assert stats.verdict(ratios, "quick") == verdict


def test_exchanging_the_two_exchanges_the_verdict():
    ratios = [1.1, 1.12, 1.11]
    assert stats.verdict(ratios, "quick") == "SLOWER"
    assert stats.verdict([1 / r for r in ratios], "quick") == "FASTER"


def test_too_few_rounds_say_so():
    assert stats.verdict([0.5, 0.5], "quick") == "no verdict: 2 of 3 paired rounds"
    assert stats.verdict([0.5] * 9, "full") == "no verdict: 9 of 10 paired rounds"
    assert stats.verdict([0.5] * 3, "smoke") == "no verdict in smoke"


def test_a_program_against_itself_is_hardly_ever_faster_or_slower():
    rounds = np.random.default_rng(5).lognormal(0, 0.01, (1000, 2, 3))
    said = [stats.verdict(list(a / b), "quick") for a, b in rounds]
    assert np.mean([v in ("FASTER", "SLOWER") for v in said]) < 0.05
