"""DNAs in parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.dnas import MADE, Made, assert_same_state, make_dna, make_fingerprint, make_ranges

from vdna_metrics.dna import GroupedDNA, Provenance
from vdna_metrics.dna.vdna import VDNA

kinds = pytest.mark.parametrize("kind", MADE)


def _grouped(kind: Made, groups: int = 4, *, centred: bool = False) -> GroupedDNA:
    centres = [torch.full((9,), float(i)) if centred else None for i in range(groups)]
    parts = [make_dna(kind, 5 + i, i, centre=centre) for i, centre in enumerate(centres)]
    return GroupedDNA(tuple(replace(part, provenance=Provenance("tiny", ("set",), (), ("m",))) for part in parts))


@kinds
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_leaving_out_is_the_sum_of_the_others(kind: Made, groups: int) -> None:
    """`without(i)` is the sum of all other groups, exactly for counts, and to 1e-12 for moments about any centres."""
    grouped = _grouped(kind, groups, centred=kind != "histogram")
    for index in range(groups):
        first, *others = [group for place, group in enumerate(grouped.groups) if place != index]
        left = grouped.without(index)
        assert_same_state(left.distribution, sum((part.distribution for part in others), first.distribution))
        assert left.n_images == grouped.n_images - grouped.sizes[index]
    assert_same_state(grouped.union(range(groups)).distribution, grouped.total.distribution)
    with pytest.raises(IndexError, match=f"no group {groups} of {groups}"):
        grouped.without(groups)


def test_leaving_out_of_moments_does_not_cancel() -> None:
    """A group of huge activations leaves no rounding in the DNA without it."""
    parts = [make_dna("gaussian", 5, seed, shift=1e9 if seed == 1 else 0.0) for seed in range(4)]
    left = GroupedDNA(tuple(parts)).without(1)
    expected = parts[0] + parts[2] + parts[3]
    assert_same_state(left.distribution, expected.distribution)


@pytest.mark.parametrize("groups", [4, 32])
def test_leaving_out_adds_few_times(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All DNAs without one group of Gaussians take less than four additions a group."""
    grouped = _grouped("gaussian", groups)
    added = []
    kind = type(grouped.groups[0].distribution)
    add = kind.__add__
    monkeypatch.setattr(kind, "__add__", lambda a, b: added.append(1) or add(a, b))
    for index in range(groups):
        grouped.without(index)
    assert len(added) < 4 * groups


def test_factors_of_covariances_are_kept() -> None:
    """The whole and the layer Gaussians without a group are the same objects when asked again, with their factors."""
    grouped = _grouped("layer_gaussian")
    assert grouped.total is grouped.total
    factor = grouped.without(2).distribution.factor("conv1")  # type: ignore[attr-defined]
    assert grouped.without(2).distribution.factor("conv1") is factor  # type: ignore[attr-defined]


def test_the_whole_reads_as_one_set() -> None:
    """A source of many groups is named once; what was skipped is of all."""
    parts = []
    for place in range(3):
        provenance = Provenance("tiny", ("photos",), ((f"{place}.png", "cut"),), (f"{place % 2}",))
        parts.append(replace(make_dna("gaussian", 5, place), provenance=provenance))
    grouped = GroupedDNA(tuple(parts))
    skipped = tuple((f"{place}.png", "cut") for place in range(3))
    assert grouped.total.provenance == Provenance("tiny", ("photos",), skipped, ("0", "1"))
    assert grouped.without(1).provenance == Provenance("tiny", ("photos",), (skipped[0], skipped[2]), ("0",))
    assert repr(grouped).startswith("GroupedDNA(3 groups of VDNA(gaussian of 15 images of photos: 9 neurons")


def test_one_group_of_unknown_weights_makes_the_whole_unknown() -> None:
    """As of merged DNAs, weights that one part does not record are not known of the whole."""
    unknown = make_dna("gaussian", seed=1, fingerprint=make_fingerprint(weights=""))
    assert not GroupedDNA((make_dna("gaussian"), unknown)).total.fingerprint.weights


@kinds
def test_a_selection_is_of_every_group(kind: Made) -> None:
    """Selecting commutes with adding and leaving out; selecting everything is the same DNA."""
    grouped = _grouped(kind)
    neurons = {"conv1": [3, 1], "norm": [0]}
    chosen = grouped.select(neurons=neurons)
    assert chosen.layout == grouped.layout.select(neurons=neurons)
    assert_same_state(chosen.total.distribution, grouped.total.select(neurons=neurons).distribution)
    assert_same_state(chosen.without(1).distribution, grouped.without(1).select(neurons=neurons).distribution)
    assert grouped.select() is grouped


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (None, "at least 2 groups, got 1"),
        (make_dna("gaussian", 0), "group 1 of 2 has no image"),
        (make_dna("histogram"), "kinds differ: group 0 gaussian, group 1 histogram"),
        (make_dna("gaussian", fingerprint=make_fingerprint(weights="cd" * 32)), "weights differ: group 0 abab"),
        (make_dna("gaussian").select(["norm"]), "layers differ: group 0 conv1, conv2, norm, group 1 norm"),
        (
            replace(make_dna("gaussian"), provenance=Provenance("tiny", max_positions=4)),
            "max_positions differ: group 0 all, group 1 4",
        ),
    ],
)
def test_what_is_not_one_set_is_refused(other: VDNA | None, message: str) -> None:
    """Groups are at least two, comparable, and none is empty; both sides are shown."""
    with pytest.raises(ValueError, match=message):
        GroupedDNA((make_dna("gaussian"), *([other] if other else [])))


def test_other_ranges_are_not_one_set() -> None:
    """Histograms of other ranges are refused."""
    with pytest.raises(ValueError, match="cannot be parts of one: activation ranges differ"):
        GroupedDNA((make_dna("histogram"), make_dna("histogram", ranges=make_ranges(-4))))


@pytest.mark.parametrize("chosen", [[], [0, 0]])
def test_a_union_is_of_some_groups_once(chosen: list[int]) -> None:
    """A union of no groups, or of one twice, is refused; of some it has their images."""
    grouped = _grouped("gaussian")
    with pytest.raises(ValueError, match="once each and at least one"):
        grouped.union(chosen)
    assert grouped.union([2, 0]).n_images == 7 + 5
