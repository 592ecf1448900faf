"""Scores of generators, one against the other."""

from __future__ import annotations

import pytest

from vdna_metrics.analysis import ScoreColumn, rank_agreement
from vdna_metrics.reports.score_plots import plot_agreements, plot_rank_agreement

NAMES = tuple("abcdef")


def _column(name: str, values: list[float], *, higher: bool, error: float = 0.0) -> ScoreColumn:
    known = dict(zip(NAMES, values, strict=False))
    return ScoreColumn(name, higher, known, dict.fromkeys(known, error) if error else {})


FD = _column("FD $x$", [100.0, 200, 300, 400, 500, 1600], higher=False, error=10.0)
PEOPLE = _column("error rate", [0.5, 0.4, 0.3, 0.25, 0.2, 0.01], higher=True)


def test_a_picture_can_be_read_alone() -> None:
    """Title, correlation with interval, names of both scores with what is better, and every generator by its name."""
    ax = plot_rank_agreement(FD, PEOPLE, rank_agreement(FD, PEOPLE, confidence=0.9), title="faces $1$")
    first, second = ax.get_title(loc="left").splitlines()
    assert first == "faces $1$"
    assert second.startswith("Spearman −1.000 (90 %: −1.00 to ")
    assert second.endswith("), 6 generators")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("← FD $x$, better", "error rate, better →")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")  # of distances alone
    assert [text.get_text() for text in ax.texts] == list(NAMES)
    drawn = {container.lines[0].get_xydata()[0].tolist()[0] for container in ax.containers}
    assert drawn == set(FD.values.values())
    assert ax.containers[0].has_xerr


def test_names_do_not_lie_on_each_other() -> None:
    """Points that are close have names on other sides of them."""
    x = _column("x", [1.0, 1.001, 1.002, 9.0], higher=True)
    y = _column("y", [1.0, 1.001, 1.002, 9.0], higher=True)
    ax = plot_rank_agreement(x, y, rank_agreement(x, y))
    assert len({text.xyann for text in ax.texts[:3]}) == 3


@pytest.mark.parametrize(("number", "shape"), [(1, (1, 1)), (3, (2, 2))])
def test_panels_share_a_figure(number: int, shape: tuple[int, int]) -> None:
    """Two in a row, the rest empty; what bars are is said once where there are some."""
    figure = plot_agreements([(str(i), FD, PEOPLE, rank_agreement(FD, PEOPLE)) for i in range(number)])
    assert len(figure.axes) == shape[0] * shape[1]
    assert [ax.axison for ax in figure.axes] == [True] * number + [False] * (len(figure.axes) - number)
    assert figure.get_supxlabel() == "bars: 1.96 standard errors"
    assert plot_agreements([("x", PEOPLE, PEOPLE, rank_agreement(PEOPLE, PEOPLE))]).get_supxlabel() == ""
