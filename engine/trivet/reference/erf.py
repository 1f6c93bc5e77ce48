"""The error function and its complement, to the rounding of float64.

Source: W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23
(1969) 631-637; the coefficients are those of CALERF in his package SPECFUN.
"""

from __future__ import annotations

import numpy as np

# Numerator and denominator, highest power first, of three rational functions:
SMALL = (  # erf(x) / x in x^2, for |x| <= 0.46875
    [1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3],
    [1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3],
)  # fmt: skip
MIDDLE = (  # erfc(x) exp(x^2) in x, up to 4
    [2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3],
    [1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3],
)  # fmt: skip
LARGE = (  # (1/sqrt(pi) - x erfc(x) exp(x^2)) x^2 in 1/x^2, from 4 on
    [1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4],
    [1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3],
)  # fmt: skip
FROM, TO = 0.46875, 4.0  # where MIDDLE holds
ZERO = 28.0  # erfc of this is below the smallest float64


def _rational(coefficients, x):
    above, below = coefficients
    return np.polyval(above, x) / np.polyval(below, x)


def _near(x):
    """erf(x) around 0."""
    return x * _rational(SMALL, x * x)


def _middle(x):
    return _bell(x) * _rational(MIDDLE, x)


def _far(x):
    z = 1 / (x * x)
    return _bell(x) * (1 / np.sqrt(np.pi) - z * _rational(LARGE, z)) / x


def _bell(x):
    """exp(-x^2), with x split so that the square of its leading part is exact."""
    lead = np.trunc(x * 16) / 16
    return np.exp(-lead * lead) * np.exp(-(x - lead) * (x + lead))


def _tail(x):
    """erfc(x) for x > FROM; nan stays."""
    return np.piecewise(np.minimum(x, ZERO), [x <= TO], [_middle, _far])


def erf(x: np.ndarray) -> np.ndarray:
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to x, in the dtype of x."""
    size = np.abs(x, dtype=np.float64)
    y = np.piecewise(size, [size <= FROM], [_near, lambda r: 1 - _tail(r)])
    return np.copysign(y, x).astype(x.dtype)


def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x), to full relative precision where x is large too; in the dtype of x."""
    wide = np.asarray(x, np.float64)
    regions = [wide > FROM, wide < -FROM]
    pieces = [_tail, lambda r: 2 - _tail(-r), lambda r: 1 - _near(r)]
    return np.piecewise(wide, regions, pieces).astype(x.dtype)
