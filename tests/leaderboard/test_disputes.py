"""Pairs of generators on which networks disagree."""

from __future__ import annotations

from helpers.toy_distances import registered_toys

from vdna_metrics.leaderboard.disputes import find_disputes
from vdna_metrics.leaderboard.record import DisputeRecord, PairRecord


def _pair(a: str, b: str, network: str, metric: str = "emd", *, tied: bool = False, sign: int = -1) -> PairRecord:
    return PairRecord(a, b, network, metric, sign * 1.0, sign - 1.0, sign + 1.0, 0.8 if tied else 0.01, False, tied)


def test_networks_that_are_sure_of_two_orders_disagree() -> None:
    """The side with more columns is first, and disputes that are beyond chance on both sides come before others."""
    pairs = [
        _pair("c", "d", "one"), _pair("d", "c", "two", tied=True),
        _pair("a", "b", "one"), _pair("b", "a", "two"), _pair("b", "a", "four"), _pair("b", "a", "three", tied=True),
        _pair("b", "a", "two", "nfd"),
    ]  # fmt: skip
    assert find_disputes(pairs) == (
        DisputeRecord("b", "a", (("two", "emd"), ("four", "emd")), (("one", "emd"),)),
        DisputeRecord("c", "d", (("one", "emd"),), (), (("two", "emd"),)),
    )


def test_chance_and_distances_that_disagree_are_no_dispute() -> None:
    """Two orders that both may be chance, agreement, and two distances that disagree in each network are left out."""
    assert find_disputes([_pair("a", "b", "one", tied=True), _pair("b", "a", "two", tied=True)]) == ()
    assert find_disputes([_pair("a", "b", "one"), _pair("a", "b", "two", tied=True)]) == ()
    assert find_disputes([_pair("a", "b", "one"), _pair("b", "a", "two", sign=0)]) == ()
    of_distances = [_pair("a", "b", network) for network in ("one", "two")]
    of_distances += [_pair("b", "a", network, "nfd") for network in ("one", "two")]
    assert find_disputes(of_distances) == ()


def test_columns_of_one_distance_contradict_each_other() -> None:
    """FID and FD-DINOv2 are one distance in two networks, by names of their own."""
    (found,) = find_disputes([_pair("a", "b", "fid_inception", "fid"), _pair("b", "a", "fd_dinov2", "fd_dinov2")])
    assert found.worse == (("fd_dinov2", "fd_dinov2"),)


def test_a_sure_column_is_contradicted_though_more_are_sure_on_the_other_side() -> None:
    """Two distances of one network against its third, which another network doubts: the third is in dispute."""
    pairs = [
        _pair("a", "b", "one"), _pair("a", "b", "one", "nfd"), _pair("b", "a", "one", "lfd"),
        _pair("a", "b", "two", "lfd", tied=True),
    ]  # fmt: skip
    assert find_disputes(pairs) == (DisputeRecord("b", "a", (("one", "lfd"),), (), (("two", "lfd"),)),)


def test_higher_may_be_better() -> None:
    """Of a score that is better when higher the larger one wins."""
    with registered_toys():
        pairs = [_pair("a", "b", "one", "overlap", sign=1), _pair("b", "a", "two", "overlap", sign=1)]
        (found,) = find_disputes([*pairs, _pair("a", "b", "three", "overlap", sign=-1, tied=True)])
    assert (found.better, found.worse) == ((("one", "overlap"),), (("two", "overlap"),))
    assert (found.a, found.doubtful) == ("a", (("three", "overlap"),))
