"""Confidence intervals of squared distances."""

from __future__ import annotations

import math


def squared_interval(
    value: float, error: float, *, bias: float = 0.0, quantile: float = 1.959964
) -> tuple[float, float]:
    """Confidence interval of a squared distance, from an estimate without bias and its standard error.

    Near 0 such an estimate is `c = |δ + ε|² − b`, with the true difference δ, chance ε, and its bias `b = E|ε|²`. Its
    variance `s²` grows with the distance: samples that come out too near have an error that is too small, and
    `c ± z s` is too low by far more often than it is too high. So, with λ the variance of ε along δ, at least 0 in
    place of c, and z a quantile,

        s² = 4 λ c + 2 λ max(b, λ)
        low  = max(0, c − z s)
        high = c + (1 + z²) λ + z √(s² + 2 λ²)

    Where all chance is along the difference, which is assumed of an unknown bias, `b = λ` and the upper end is exact,
    `(√(c + λ) + z √λ)²`. Where it is spread over many directions, or the distance is large, λ is little beside s, and
    the interval is nearly `c ± z s`.

    Args:
        value: the estimate, as of `kernel_mmd`; it may be below 0.
        error: its standard error.
        bias: what was subtracted from a plain value, as `E|ε|²`; 0 where it is not known.
        quantile: of the standard normal distribution, or of Student's for an error of few degrees of freedom; by
            default for 95 %.

    Returns:
        Both ends, in units of the value; NaN for an error that is NaN.

    Raises:
        ValueError: if the error or the quantile is below 0.

    Examples:
        >>> [round(end, 2) for end in squared_interval(100.0, 1.0)]
        [98.04, 101.97]
        >>> [round(end, 2) for end in squared_interval(0.5, 1.0)]
        [0.0, 4.48]
        >>> [round(end, 2) for end in squared_interval(0.5, 1.0, bias=10.0)]
        [0.0, 2.68]
    """
    if error < 0 or quantile < 0:
        raise ValueError(f"Expected an error and a quantile of at least 0, got {error} and {quantile}")
    far = max(value, 0.0)
    if error == 0:
        return far, far
    along = error**2 / 2 / (far + math.hypot(far, error / math.sqrt(2)))  # of all chance
    if bias > along:
        along = error**2 / (4 * far + 2 * bias)
    high = far + (1 + quantile**2) * along + quantile * math.sqrt(error**2 + 2 * along**2)
    return max(far - quantile * error, 0.0), high  # in this order NaN stays
