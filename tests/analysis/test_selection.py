"""Neurons that tell two sets of images apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.distances import EVENNESS, JSD
from helpers.dnas import DEAD, LAYOUT, make_activations, make_distribution, make_dna, make_fingerprint, make_ranges

from vdna_metrics.analysis import select_sensitive
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import VDNA, Provenance, compare
from vdna_metrics.dna.distances import find_distance

MOVED = {"conv1": (1, 3), "norm": (0,)}
WIDE = make_ranges(-9.0, 9.0)


def _planted(kind: Kind = "histogram", seed: int = 1, images: int = 80, ranges: Any = WIDE) -> VDNA:
    """Images with an attribute that moves some neurons by 2."""
    activations = make_activations(images, seed)
    for layer, neurons in MOVED.items():
        activations[layer][list(neurons)] += 2
    distribution = make_distribution(kind, activations, bins=32, ranges=ranges)
    return VDNA(distribution, make_fingerprint(), Provenance("tiny", (f"with{seed}",)))


def _plain(kind: Kind = "histogram", seed: int = 0, images: int = 80, ranges: Any = WIDE) -> VDNA:
    return make_dna(kind, images, seed, bins=32, ranges=ranges)


@pytest.mark.parametrize(
    ("kind", "distance"), [("histogram", "emd"), ("histogram", JSD), ("gaussian", "nfd"), ("layer_gaussian", "nfd")]
)
def test_planted_neurons_are_found(kind: Kind, distance: Any) -> None:
    """The neurons that an attribute moves are the ones selected, by any distance of neurons."""
    found = select_sensitive(_planted(kind), _plain(kind), k=3, distance=distance)
    assert found.neurons == MOVED
    assert found.made["distance"] == find_distance(distance).name


def test_ways_of_saying_how_many_agree() -> None:
    """`threshold` takes what lies above it, `k` the same number, and `per_layer` the first of each layer."""
    a, b = _planted(), _plain()
    by_number = select_sensitive(a, b, k=3)
    assert select_sensitive(a, b, threshold=by_number.made["smallest"] - 1e-9) == by_number
    assert len(select_sensitive(a, b, threshold=by_number.made["smallest"])) == 2
    one_a_layer = select_sensitive(a, b, per_layer=1)
    assert one_a_layer.per_layer == {"conv1": 1, "conv2": 1, "norm": 1}
    assert set(one_a_layer.neurons["conv1"]) < set(MOVED["conv1"])
    assert select_sensitive(a, b, per_layer=99).per_layer == {"conv1": 4, "conv2": 2, "norm": 2}  # one is dead


def test_selected_neurons_are_farther_apart_than_the_others() -> None:
    """The distance over selected neurons is larger than over all, and over the rest smaller."""
    a, b = _planted(), _plain()
    selection = select_sensitive(a, b, k=3)
    near, whole, far = (float(compare.emd(a, b, neurons=n)) for n in (~selection, None, selection))  # type: ignore[arg-type]
    assert near < 0.5 * whole < whole < 2 * whole < far


def test_several_dnas_a_side_are_added() -> None:
    """Several DNAs on a side count as one of all their images."""
    with_it, without = [_planted(seed=seed) for seed in (1, 2)], [_plain(seed=seed) for seed in (3, 4)]
    together = select_sensitive(with_it, without, k=2)
    assert together == select_sensitive(with_it[0] + with_it[1], without[0] + without[1], k=2)
    assert together.made["with"] == {"sources": ["with1", "with2"], "n_images": 160}


def test_dead_neurons_are_dropped_unless_wanted() -> None:
    """A neuron whose range has no width is not selected, however far apart its edge bins lie."""
    activations = make_activations(80, 1)
    activations[DEAD[0]][DEAD[1]] = 3.0  # counted in the last bin
    a = VDNA(make_distribution("histogram", activations, bins=32, ranges=WIDE), make_fingerprint())
    found = select_sensitive(a, _plain(), k=1, min_coverage=0)
    assert found.neurons != {DEAD[0]: (DEAD[1],)}
    assert found.made["dropped"] == {"dead": 1, "coverage": 0}
    kept = select_sensitive(a, _plain(), k=1, min_coverage=0, drop_dead=False)
    assert kept.neurons == {DEAD[0]: (DEAD[1],)}
    assert kept.made["dropped"]["dead"] == 0


def test_neurons_that_never_change_are_dead_in_gaussians() -> None:
    """Of Gaussian DNAs, a neuron without variance on both sides is dropped."""
    found = select_sensitive(_planted("gaussian"), _plain("gaussian"), per_layer=9, distance="nfd")
    assert DEAD[1] not in found.neurons[DEAD[0]]
    assert found.made["dropped"] == {"dead": 1, "coverage": 0}


def test_neurons_outside_their_ranges_are_dropped() -> None:
    """A neuron of which more lies outside its range than allowed is not selected, and it is counted."""
    ranges = make_ranges(-2.0, 2.0)  # of normal activations with deviations from 0.5 to 2
    a, b = _planted(ranges=ranges), _plain(ranges=ranges)
    outside = torch.stack([(x.below + x.above) / x.counts.sum(1) for x in (a.distribution, b.distribution)]).amax(0)  # type: ignore[attr-defined]
    dead = LAYOUT.slices()[DEAD[0]].start + DEAD[1]
    for least in (0.99, 0.6):
        found = select_sensitive(a, b, per_layer=9, min_coverage=least)
        assert not (found.mask & (outside > 1 - least)).any()
        assert found.made["dropped"]["coverage"] == int((outside > 1 - least).sum()) > 0
        assert len(found) == LAYOUT.total - 1 - found.made["dropped"]["coverage"]
        assert not found.mask[dead]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of k, threshold and per_layer, got none"),
        ({"k": 1, "per_layer": 1}, "give one of k, threshold and per_layer, got k, per_layer"),
        ({"k": 0}, "expected k of at least 1, got 0"),
        ({"k": 9}, "k=9 neurons were asked for; of 9 there are 8 that are not dropped"),
        ({"threshold": 99.0}, r"no neuron is above threshold=99, the largest distance is \d"),
        ({"k": 1, "distance": "lfd"}, r"a distance of each neuron .*, got Column\(lfd"),
        ({"k": 1, "distance": EVENNESS}, r"a distance of each neuron .*, got Column\(evenness"),
        ({"k": 1, "distance": "emb"}, "unknown distance 'emb'; did you mean 'emd'"),
        ({"k": 1, "distance": "nfd"}, "needs DNAs of kind 'gaussian'"),
        ({"k": 1, "min_coverage": 99}, "min_coverage is a share"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    """What cannot be done is said before a selection is made."""
    with pytest.raises(ValueError, match=message):
        select_sensitive(_planted(), _plain(), **options)


def test_ranges_that_fit_nothing_are_named() -> None:
    """Where nothing is left to select from, the error says what to do."""
    ranges = make_ranges(50.0, 60.0)
    with pytest.raises(ValueError, match="all 9 neurons are dead or covered too little: calibrate ranges"):
        select_sensitive(_planted(ranges=ranges), _plain(ranges=ranges), k=1)
