"""How a number is written. Every table and plot asks here, so that none rounds its own way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from statistics import median

from ..row import Interval

MISSING = "-"


@dataclass(frozen=True)
class Unit:
    """A unit: ``value / scale`` is what is written."""

    name: str
    scale: float


# Of figures of a machine, by the name of the plain unit.
RATES = {"flop/s": Unit("GFLOP/s", 1e9), "byte/s": Unit("GB/s", 1e9)}
SECONDS, MILLI, MICRO = Unit("s", 1.0), Unit("ms", 1e-3), Unit("µs", 1e-6)


def unit(seconds: Iterable[float | None]) -> Unit:
    """The unit in which the middle one of these times has one to three digits before the point."""
    known = [abs(s) for s in seconds if s is not None and isfinite(s)]
    middle = median(known) if known else 1.0
    return next((u for u in (SECONDS, MILLI) if middle >= u.scale), MICRO if middle else MILLI)


def _exponent(value: float) -> int:
    return int(f"{value:.2e}".partition("e")[2])  # after rounding: 9.996 is 10.0


def _places(value: float) -> int:
    """Decimals that three significant digits need."""
    return max(0, 2 - _exponent(value)) if value and isfinite(value) else 0


def digits(value: float | None) -> str:
    """Three significant digits in plain notation.

    >>> digits(0.012345), digits(9.996), digits(12345.0), digits(None)
    ('0.0123', '10.0', '12,300', '-')
    """
    if value is None:
        return MISSING
    if not isfinite(value) or not value:
        return f"{value:g}"
    return f"{round(value, 2 - _exponent(value)):,.{_places(value)}f}"


def time(seconds: float | None, unit: Unit) -> str:
    """A time in ``unit``, without its name."""
    return MISSING if seconds is None else digits(seconds / unit.scale)


def duration(seconds: float | None) -> str:
    """A time with the name of its unit, for running text.

    >>> duration(0.0415)
    '41.5 ms'
    """
    if seconds is None:
        return MISSING
    chosen = unit([seconds])
    return f"{time(seconds, chosen)} {chosen.name}"


def difference(seconds: float | None) -> str:
    """A duration with its sign.

    >>> difference(0.31), difference(-0.002)
    ('+310 ms', '-2.00 ms')
    """
    return f"{'+' * (seconds is not None and seconds >= 0)}{duration(seconds)}"


def interval(value: Interval | None, scale: float = 1.0) -> str:
    """The median, and its interval with as many decimals; without one where rounds were too few.

    >>> interval(Interval(0.0412, 0.0408, 0.041749), MILLI.scale)
    '41.2 (40.8 to 41.7)'
    """
    if value is None:
        return MISSING
    middle = value.median / scale
    if value.low is None or value.high is None:
        return digits(middle)
    places = _places(middle)
    low, high = (f"{bound / scale:,.{places}f}" for bound in (value.low, value.high))
    return f"{digits(middle)} ({low} to {high})"


def error(value: float | None) -> str:
    """A relative error: two digits, as a power of ten.

    >>> error(3.21e-7)
    '3.2e-07'
    """
    return MISSING if value is None else f"{value:.1e}"


def percent(share: float | None) -> str:
    """A share of one as per cent with one decimal; 10,000 test samples resolve no more."""
    return MISSING if share is None else f"{100 * share:.1f} %"


def share(of_one: float | None) -> str:
    """A share as a number of per cent, for a column that names the unit.

    >>> share(0.0831), share(None)
    ('8.31', '-')
    """
    return MISSING if of_one is None else digits(100 * of_one)


def size(bytes_: int | None) -> str:
    """Bytes in MiB or GiB.

    >>> size(1_288_490_189)
    '1.20 GiB'
    """
    if bytes_ is None:
        return MISSING
    small = bytes_ < 2**30
    return f"{digits(bytes_ / (2**20 if small else 2**30))} {'MiB' if small else 'GiB'}"


def count(number: int | None) -> str:
    """A whole number with separators."""
    return MISSING if number is None else f"{number:,}"
