"""Every statistic of the tables: from laps to a round, from rounds to an interval and a verdict.

Steps of one process are not independent, processes are: the sample is the round, one number each.
Times are positive and their errors multiply, so intervals are t-intervals on logarithms. (A
percentile bootstrap over 5 rounds covers 85 % where it says 95.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from statistics import fmean, median, stdev

from scipy.special import stdtrit  # scipy.stats has it too, and takes a second to import

from .row import Interval
from .store import Lap

# Two times within 2 % count as the same. Paired rounds of one program against itself scatter by
# 1 to 2 % on an ordinary, otherwise idle machine, and nobody chooses a framework for less.
SAME = 0.02
LEAST_INTERVAL = 3  # rounds; with two the t-quantile is 12.7 and the interval says nothing
LEAST_VERDICT = {"quick": 3, "full": 10}  # paired rounds; smoke gives no verdict


def step_seconds(laps: Sequence[Lap], warmup: int = 0) -> float | None:
    """Seconds per step of one job: the median over its laps.

    The first lap is the cost of starting. After it, laps that begin within the ``warmup`` steps do
    not count either; where one lap holds all the rest, that one counts.

    Returns:
        None if there is nothing but the first lap.
    """
    counted, steps = [], 0
    for lap in laps[1:]:
        if steps >= warmup:
            counted.append(lap)
        steps += lap.steps
    counted = counted or laps[1:][-1:]
    return median(lap.seconds / lap.steps for lap in counted) if counted else None


def interval(rounds: Sequence[float], level: float = 0.95) -> Interval:
    """The median of positive numbers, one a round, and a t-interval on their logarithms.

    Args:
        rounds: At least one; seconds, or ratios.

    Returns:
        Without interval for fewer than ``LEAST_INTERVAL`` rounds.
    """
    middle = median(rounds)
    if len(rounds) < LEAST_INTERVAL:
        return Interval(middle, None, None)
    logs = [log(value) for value in rounds]
    half = stdtrit(len(logs) - 1, (1 + level) / 2) * stdev(logs) / sqrt(len(logs))
    low, high = exp(fmean(logs) - half), exp(fmean(logs) + half)
    # The interval stands around the geometric mean, from which a skewed sample's median can stray.
    return Interval(middle, min(low, middle), max(high, middle))


def paired(mine: Mapping[int, float], base: Mapping[int, float]) -> list[float]:
    """mine / base of the rounds that both have: what ran next to each other is compared."""
    return [mine[k] / base[k] for k in sorted(mine.keys() & base.keys())]


def verdict(ratios: Sequence[float], profile: str) -> str:
    """What paired ratios of step times say.

    Returns:
        "FASTER" or "SLOWER" if the 95 % interval excludes 1 and the median is more than ``SAME``
        away from it; "SAME" if the interval lies within 1 / (1 + SAME) to 1 + SAME; "AMBIGUOUS"
        otherwise; or a sentence that says why there is no verdict.
    """
    least = LEAST_VERDICT.get(profile)
    if least is None:
        return f"no verdict in {profile}"
    if len(ratios) < least:
        return f"no verdict: {len(ratios)} of {least} paired rounds"
    found = interval(ratios)
    slow, fast = 1 + SAME, 1 / (1 + SAME)
    if fast <= found.low and found.high <= slow:
        return "SAME"
    if found.high < 1 and found.median < fast:
        return "FASTER"
    if found.low > 1 and found.median > slow:
        return "SLOWER"
    return "AMBIGUOUS"
