"""Distances of groups."""

from __future__ import annotations

import json

import pytest
from helpers.distances import EVENNESS, OURS
from helpers.dnas import make_dna, make_ranges

from vdna_metrics import compare
from vdna_metrics.analysis.groups import compare_groups
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import VDNA
from vdna_metrics.dna.distances import find_distance


def _some(kind: Kind, n: int = 4) -> dict[str, VDNA]:
    return {f"set {i}": make_dna(kind, 12 + i, seed=i, shift=0.3 * i) for i in range(n)}


@pytest.mark.parametrize("distance", OURS)
def test_the_worst_group_is_the_farthest(distance: str) -> None:
    """Groups come with their numbers, layers and distances, the farthest first, and pooled."""
    groups = _some(find_distance(distance).kind)
    reference = groups.pop("set 0")
    report = compare_groups(groups, reference, distance=distance)
    function = find_distance(distance)
    assert [(group.group, group.n_images) for group in report.groups] == [("set 3", 15), ("set 2", 14), ("set 1", 13)]
    assert report.worst.distance == float(function(reference, groups["set 3"]))
    by_layer = function(reference, groups["set 3"], reduction="layer")
    assert report.worst.layers == {layer: float(value) for layer, value in by_layer.items()}
    first, *others = groups.values()
    assert report.pooled == float(function(reference, sum(others, first)))
    assert report.mean == pytest.approx(sum(group.distance for group in report.groups) / 3)
    json.dumps(report.to_json())


def test_each_group_may_have_its_own_reference() -> None:
    """With a reference a group, each is compared with its own, and all with all of them."""
    groups = _some("histogram", 2)
    own = {"set 0": make_dna("histogram", 20, seed=7), "set 1": groups["set 1"], "other": make_dna("histogram")}
    report = compare_groups(groups, own)
    assert {group.group: group.distance == 0 for group in report.groups} == {"set 0": False, "set 1": True}
    pooled = compare.emd(own["set 0"] + own["set 1"], groups["set 0"] + groups["set 1"])
    assert report.pooled == float(pooled)


def test_groups_that_cannot_be_compared_are_named() -> None:
    """No groups, a group without reference, or one with too few images for the distance."""
    with pytest.raises(ValueError, match="no groups"):
        compare_groups({}, make_dna("histogram"))
    with pytest.raises(ValueError, match="group 'set 1' has no reference; did you mean 'set 0'"):
        compare_groups(_some("histogram", 2), {"set 0": make_dna("histogram")})
    with pytest.raises(ValueError, match=r"group 'one': .*at least 2 images"):
        compare_groups({"one": make_dna("gaussian", 1)}, make_dna("gaussian"), distance="nfd")
    with pytest.raises(ValueError, match=r"group 'a': .*activation ranges differ"):
        compare_groups({"a": make_dna("histogram", ranges=make_ranges(-4.0, 4.0))}, make_dna("histogram"))


def test_the_worst_group_of_a_score_has_the_lowest() -> None:
    """Of a score where higher is better the lowest group is the worst; it has no layers where the score has none."""
    groups = _some("histogram", 3)
    report = compare_groups(groups, groups["set 0"], distance=EVENNESS)
    assert report.worst.distance == min(float(EVENNESS(None, dna)) for dna in groups.values())
    assert [group.distance for group in report.groups] == sorted(group.distance for group in report.groups)
    assert (report.worst.layers, report.distance, report.unit) == ({}, "evenness", "nats")
