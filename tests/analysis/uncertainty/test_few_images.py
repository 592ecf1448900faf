"""What is withheld where images are few: intervals, ranks and floors of covariances; floors under heavy tails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
import torch

from vdna_metrics.analysis.uncertainty import (
    compare_pair,
    extrapolate_frechet,
    jackknife,
    jackknife_distance,
    noise_floor,
    rank_intervals,
)
from vdna_metrics.distributions import GaussianDistribution, LayerGaussianDistribution
from vdna_metrics.dna import VDNA, GroupedDNA, Provenance
from vdna_metrics.dna.columns import Column
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout

Array = np.ndarray


def _drawn(
    distance: str,
    n_images: int,
    seed: int,
    *,
    neurons: int = 96,
    small: int = 0,
    shift: float = 0.0,
    of: Callable[[Array], Array] = np.asarray,
) -> GroupedDNA:
    """Normal activations, or something of them, in ten groups; with a second layer of so few neurons where asked."""
    layout = NeuronLayout({"pool": neurons, **({"stem": small} if small else {})})
    stream = np.random.default_rng(seed)
    groups = []
    for group in range(10):
        here = len(range(group, n_images, 10))
        kind = LayerGaussianDistribution if distance == "lfd" else GaussianDistribution
        distribution = kind.empty(layout)
        drawn = {layer: of(stream.standard_normal((count, here, 1))) + shift for layer, count in layout.items()}
        distribution.fill_({layer: torch.from_numpy(each.astype(np.float32)) for layer, each in drawn.items()})
        fingerprint = ExtractorFingerprint("drawn", "", "none", {layer: layer for layer in layout})
        groups.append(VDNA(distribution, fingerprint, Provenance("drawn", (f"set{seed}",))))
    return GroupedDNA(tuple(groups))


@pytest.mark.parametrize(("n_images", "given"), [(48, False), (96, False), (120, False), (288, True)])
def test_intervals_of_covariances_of_few_images_are_withheld(n_images: int, given: bool) -> None:
    """Of half as many images as neurons to a quarter more there is none, and it is said why; of thrice as many one."""
    found = jackknife_distance(_drawn("lfd", n_images, 0), _drawn("lfd", n_images, 1, shift=0.2), distance="lfd")
    ends = (found.score.low, found.score.high, found.layers["pool"].low)
    assert [end is not None for end in ends] == [given] * 3
    assert found.score.corrected < found.score.value
    if given:
        assert found.withheld is None
    else:
        assert found.withheld is not None
        assert f"no interval of layer Fréchet distance: {n_images} reference images for the 96 neurons of pool" in (
            found.withheld.replace("generated images", "reference images")
        )
        assert found.withheld.endswith("images, or the neuron Fréchet distance")
    json.dumps(asdict(found.score), allow_nan=False)


def test_as_many_images_as_are_asked_for_do() -> None:
    """With the number of images that the sentence names there is an interval."""
    few = jackknife_distance(_drawn("lfd", 120, 0), _drawn("lfd", 120, 1), distance="lfd")
    assert few.withheld is not None
    enough = int(few.withheld.split("take about ")[1].split()[0])
    assert 192 <= enough <= 300
    assert jackknife_distance(_drawn("lfd", enough, 2), _drawn("lfd", enough, 3), distance="lfd").withheld is None


@pytest.mark.parametrize(("number", "rounded"), [(7.2, 8), (96, 96), (101, 110), (4096.0, 4100), (65000, 65000)])
def test_numbers_of_images_are_round(number: float, rounded: int) -> None:
    """Up, to two digits."""
    assert jackknife.round_up(number) == rounded


def test_each_layer_has_its_own_verdict() -> None:
    """A layer of few neurons keeps its interval; a side that is taken as it is has no bias that could be left."""
    reference, generated = (_drawn("lfd", 120, seed, small=4) for seed in (0, 1))
    found = jackknife_distance(reference, generated, distance="lfd")
    assert (found.layers["pool"].low, found.layers["stem"].low is None) == (None, False)
    alone = jackknife_distance(reference, generated, distance=Column("lfd", layers=["stem"]))
    assert alone.withheld is None
    many = _drawn("lfd", 900, 2, small=4)
    assert jackknife_distance(many, generated.total, distance="lfd").withheld is None
    one_sided = jackknife_distance(many, generated, distance="lfd").withheld
    assert one_sided is not None
    assert "120 generated images for the 96 neurons of pool" in one_sided


def test_neuron_frechet_distances_of_as_few_images_have_intervals() -> None:
    """No covariance is estimated there."""
    found = jackknife_distance(_drawn("nfd", 24, 0), _drawn("nfd", 24, 1), distance="nfd")
    assert found.withheld is None
    assert found.score.low is not None


def test_without_an_interval_there_are_no_ranks() -> None:
    """Differences from a distance without an interval are refused, with its reason and, in a ranking, the pair."""
    reference = _drawn("lfd", 120, 0)
    results = {
        name: jackknife_distance(reference, _drawn("lfd", 120, seed), distance="lfd")
        for name, seed in (("a", 1), ("b", 2))
    }
    with pytest.raises(ValueError, match=r"^no interval of layer Fréchet distance: 120 .*more than chance$"):
        compare_pair(results["a"], results["b"], paired=False)
    with pytest.raises(ValueError, match=r"'[ab]' and '[ab]'.*no interval"):
        rank_intervals(results)


def test_what_is_extrapolated_from_few_images_has_no_interval() -> None:
    """The line over 1/n has the same bias left, so its interval is withheld, too."""
    reference = _drawn("lfd", 900, 0).total
    few, many = (extrapolate_frechet(reference, _drawn("lfd", n_images, 1)) for n_images in (120, 400))
    assert (few.score.low, few.layers["pool"].high) == (None, None)
    assert many.score.low is not None


@pytest.mark.parametrize(
    ("reference", "n_images", "given"),
    [(80, 80, False), (80, 800, False), (400, 20, False), (400, 40, True), (200, 200, True)],
)
def test_floors_of_covariances_are_withheld_where_they_were_scaled_from_few_images(
    reference: int, n_images: int, given: bool
) -> None:
    """From or to fewer images than neurons nothing is scaled; what is measured at that very number is given."""
    floor = noise_floor(_drawn("lfd", reference, 0), n_images, distance="lfd", draws=2)
    if given:
        assert floor.withheld is None
        assert floor.value is not None
    else:
        assert (floor.value, floor.spread, floor.layers) == (None, None, {})
        assert floor.withheld is not None
        assert f"images to {n_images}, and with fewer images than the 96 neurons" in floor.withheld


@pytest.mark.parametrize("tails", [False, True])
def test_floors_hold_under_heavy_tails(tails: bool) -> None:
    """NFD floors of normal activations, and of sinh(1.2 x), once 20 to 28 % low, are what as many new images score."""

    def of(drawn: Array) -> Array:
        return np.sinh(1.2 * drawn) if tails else drawn

    def deviations(activations: Array) -> Array:
        return np.sqrt(activations.var(axis=1, ddof=1))

    drawn = [_drawn("nfd", 60, seed, of=of) for seed in range(30)]
    floors = [noise_floor(reference, 60, distance="nfd").value for reference in drawn]
    stream, found = np.random.default_rng(0), []
    for _ in range(1000):
        a, b = of(stream.standard_normal((2, 96, 60)))
        found.append(np.mean((a.mean(axis=1) - b.mean(axis=1)) ** 2 + (deviations(a) - deviations(b)) ** 2))
    ratio = np.mean([floor for floor in floors if floor is not None]) / np.mean(found)
    assert ratio == pytest.approx(1, abs=0.15)


def test_an_exponent_is_measured_by_distances_of_neurons_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of a layer's covariance, nor where the floor is measured at about the number of images that is asked for."""
    measured: list[float] = []

    def exponent(*args: object) -> float:
        measured.append(1.0)
        return 1.0

    monkeypatch.setattr(jackknife, "_measured_exponent", exponent)
    noise_floor(_drawn("lfd", 400, 0), 400, distance="lfd", draws=2)
    noise_floor(_drawn("nfd", 100, 0), 10, distance="nfd", draws=2)
    assert not measured
    noise_floor(_drawn("nfd", 100, 0), 100, distance="nfd", draws=2)
    assert measured
