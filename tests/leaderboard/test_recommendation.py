"""Which column of a leaderboard is to be reported."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.leaderboards import NAMES, make_leaderboard, without_estimates
from helpers.toy_distances import registered_toys

from vdna_metrics.leaderboard import Leaderboard, recommend


def _without_intervals(leaderboard: Leaderboard, metric: str) -> Leaderboard:
    scores = tuple(replace(score, estimate=None) if score.metric == metric else score for score in leaderboard.scores)
    return replace(leaderboard, scores=scores)


def _seeded(leaderboard: Leaderboard, *names: str) -> Leaderboard:
    """A leaderboard in which some networks have random weights."""
    specs = [{"weights": "seeded:0" if network.name in names else "file"} for network in leaderboard.networks]
    return replace(leaderboard, settings={**leaderboard.settings, "networks": specs})


def test_what_more_speaks_for_comes_first_wherever_it_stands() -> None:
    """The order of the columns does not decide: FD-DINOv2 comes before the EMD, that before the FID."""
    board = make_leaderboard(networks=["tiny"], metrics=["nfd", "fid", "emd", "fd_dinov2"])
    assert recommend(board).metric == "fd_dinov2"
    assert "people's judgement" in recommend(board).reason
    assert recommend(make_leaderboard(networks=["tiny"], metrics=["nfd", "fid", "emd"])).metric == "emd"


def test_a_column_with_an_interval_for_every_set_comes_before_one_without() -> None:
    """However much speaks for a distance, a number without its error is not the one to report."""
    board = _without_intervals(make_leaderboard(networks=["tiny"], metrics=["fid", "emd", "nfd"]), "emd")
    assert (recommend(board).metric, recommend(board).reason.split(";")[0]) == (
        "fid",
        "it has an interval for every set",
    )
    first, *others = board.scores
    assert first.metric == "fid"
    one_lacks = replace(board, scores=(replace(first, estimate=None), *others))
    assert recommend(one_lacks).metric == "nfd"


def test_a_trained_network_comes_before_a_random_one() -> None:
    """Random weights see less of what people do; where the record does not tell, the first network is taken."""
    board = make_leaderboard(networks=["tiny", "other"], metrics=["emd"])
    assert recommend(board).network == "tiny"
    assert recommend(_seeded(board, "tiny")).network == "other"
    assert "the network is trained" in recommend(_seeded(board, "tiny")).reason
    assert recommend(_seeded(board, "tiny", "other")).network == "tiny"


def test_distances_come_before_scores_and_unknown_ones_last() -> None:
    """A score of one aspect is reported alone only where there is nothing else; a registered distance has no reason."""
    with registered_toys():
        board = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["entropy", "overlap", "jsd"])
        assert (recommend(board).metric, recommend(board).reason) == ("jsd", "it comes first")
        alone = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["entropy"])
        assert (recommend(alone).metric, recommend(alone).reason) == ("entropy", "it is the only one")
        beside = without_estimates(make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["jsd", "emd"]))
        assert recommend(beside).metric == "emd"


def test_without_scores_there_is_nothing_to_report() -> None:
    """It is an error that says so."""
    with pytest.raises(ValueError, match="no scores"):
        recommend(replace(make_leaderboard(), scores=(), pairs=()))
