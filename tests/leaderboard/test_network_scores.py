"""What perfect images would score, as sentences about few images take it."""

from __future__ import annotations

from helpers.dnas import make_dna

from vdna_metrics.analysis.uncertainty import noise_floor
from vdna_metrics.dna import GroupedDNA, find_column
from vdna_metrics.leaderboard.network_scores import Floors


def _grouped(n: int) -> GroupedDNA:
    return GroupedDNA(tuple(make_dna("gaussian", n, seed) for seed in range(4)))


def test_floors_are_those_of_as_many_images() -> None:
    """Of few images each column has its floor at their number; of many, or without groups, there is none to tell."""
    columns, grouped = [find_column("nfd")], _grouped(5)
    floors = Floors(columns, {"nfd": grouped}, seed=3)
    assert floors.of_few(make_dna("gaussian", 7)) == {"nfd": noise_floor(grouped, 7, distance="nfd", seed=3).value}
    assert floors.of_few(make_dna("gaussian", 100)) == {}
    assert Floors(columns, {"nfd": grouped.total}).of_few(make_dna("gaussian", 7)) == {}


def test_groups_of_a_single_image_have_no_gaussian() -> None:
    """Where a group has fewer images than its kind needs, the floor is not known; it is no error."""
    assert Floors([find_column("nfd")], {"nfd": _grouped(1)}).of_few(make_dna("gaussian", 2)) == {}
