"""Whether intervals of rank correlations hold the truth, of so few generators as a leaderboard has.

    python benchmarks/experiments/rank_agreement.py

Two scores of each generator are normal numbers with a known correlation, or have heavy tails (both divided by one
root of a chi square with 3 degrees of freedom over 3); each is seen with a normal error of which the standard deviation
is known. 2000 trials a cell, 500 where there are errors.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from _common import begin, markdown_table
from numpy.typing import NDArray
from scipy.stats import rankdata

from vdna_metrics.analysis import RankAgreement, ScoreColumn, rank_agreement
from vdna_metrics.analysis.uncertainty.correlations import rank_correlations

Rows = tuple[NDArray[np.float64], NDArray[np.float64]]

TRIALS, WITH_ERRORS = 2000, 500
NUMBERS = (5, 8, 13, 20)
CORRELATIONS = (0.0, 0.5, 0.9, 0.97)
LARGE = 200_000  # pairs that tell the true correlation
RESAMPLED = 400  # times, of the bootstrap


def draw(stream: np.random.Generator, n: int, correlation: float, tails: bool) -> Rows:
    """Two scores of n generators."""
    x, y = stream.standard_normal((2, n))
    y = correlation * x + math.sqrt(1 - correlation**2) * y
    scale = np.sqrt(3 / stream.chisquare(3, n)) if tails else 1.0
    return scale * x, scale * y


@cache
def truth(correlation: float, tails: bool) -> tuple[float, float]:
    """Spearman's and Kendall's correlation of all generators there might be."""
    kendall = 2 / math.pi * math.asin(correlation)  # of any elliptical distribution
    if not tails:
        return 6 / math.pi * math.asin(correlation / 2), kendall
    x, y = draw(np.random.default_rng(1), LARGE, correlation, tails)
    return rank_correlations(x, y)[0], kendall


def measure(stream: np.random.Generator, rows: Rows, error: float) -> RankAgreement:
    """The agreement of two scores that are seen with errors."""
    columns = []
    for name, row in zip("ab", rows, strict=True):
        seen = row + error * stream.standard_normal(len(row))
        errors = {str(i): error for i in range(len(row))} if error else {}
        columns.append(ScoreColumn(name, True, {str(i): float(x) for i, x in enumerate(seen)}, errors))
    return rank_agreement(*columns)


def resampled(stream: np.random.Generator, rows: Rows) -> tuple[float, float]:
    """The percentile interval of a bootstrap over generators, which is not what the library does."""
    places = stream.integers(0, len(rows[0]), (RESAMPLED, len(rows[0])))
    x, y = (rankdata(each[places], axis=1) for each in rows)
    x, y = (each - each.mean(axis=1, keepdims=True) for each in (x, y))
    spread = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    some = spread > 0
    low, high = np.quantile((x * y).sum(axis=1)[some] / spread[some], [0.025, 0.975])
    return float(low), float(high)


def row(n: int, error: float, tails: bool, trials: int) -> list[str]:
    """Coverage at each true correlation, and how often an order is seen."""
    cells = ["heavy tails" if tails else "normal", f"{error:g}" if error else "none", str(n)]
    kendalls, called, bootstrap = [], [], 0
    for correlation in CORRELATIONS:
        stream, true = np.random.default_rng(0), truth(correlation, tails)
        found = [measure(stream, draw(stream, n, correlation, tails), error) for _ in range(trials)]
        held = [each.spearman.low <= true[0] <= each.spearman.high for each in found]
        kendalls.append(np.mean([each.kendall.low <= true[1] <= each.kendall.high for each in found]))
        called.append(np.mean([each.verdict != "inconclusive" for each in found]))
        cells.append(f"{100 * np.mean(held):.1f} %")
    cells += [f"{100 * min(kendalls):.1f} %", f"{100 * called[0]:.1f} %", f"{100 * called[2]:.0f} %"]
    if error or tails:
        return [*cells, ""]
    stream, (true, _) = np.random.default_rng(0), truth(0.97, tails)
    for _ in range(trials):
        low, high = resampled(stream, draw(stream, n, 0.97, tails))
        bootstrap += low <= true <= high
    return [*cells, f"{100 * bootstrap / trials:.0f} %"]


def main() -> None:
    experiment = begin(__file__, __doc__)
    trials = (20, 10) if experiment.quick else (TRIALS, WITH_ERRORS)
    numbers = NUMBERS[:2] if experiment.quick else NUMBERS
    rows = [row(n, 0.0, tails, trials[0]) for tails in (False, True) for n in numbers]
    rows += [row(n, error, False, trials[1]) for error in (0.1, 0.3) for n in numbers]
    header = ["scores", "errors", "generators", *(f"Spearman, {each:g}" for each in CORRELATIONS), "Kendall, the least",
              "order seen at 0", "at 0.9", "bootstrap, 0.97"]  # fmt: skip
    experiment.write_section(markdown_table(header, rows, words=2), page="people.md")


if __name__ == "__main__":
    main()
