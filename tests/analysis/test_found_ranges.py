"""What is made of histograms in given ranges is made of those that find their own, too."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.dnas import DEAD, LAYOUT, make_activations, make_dna, tiny_extractor
from helpers.toy_distances import ENTROPY, JENSEN_SHANNON, registered_toys

from vdna_metrics.analysis import (
    dead_neurons,
    distance_matrix,
    explain,
    find_exemplars,
    jackknife_distance,
    noise_floor,
    rank_images,
    select_sensitive,
)
from vdna_metrics.analysis.coverage import coverage, observed_ranges, quantile_ranges
from vdna_metrics.analysis.uncertainty.rules import jackknife
from vdna_metrics.build import attributes, build_dnas
from vdna_metrics.distributions import AutoHistogramDistribution
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.distances import EMD, Distance, register_distance
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.ranges import ActivationRanges

UNITS = ("bins", "range", "activation")
BINS = 4096  # fine enough for what is the same to a bin to be the same to 2 %


def _sides(images: int = 40) -> tuple[GroupedDNA, GroupedDNA]:
    """Two sets in five groups each, of which one neuron always gives the same."""
    per = images // 5
    return tuple(
        GroupedDNA(tuple(make_dna("auto", per, 10 * side + i, shift=0.5 * side, bins=BINS) for i in range(5)))
        for side in range(2)
    )  # type: ignore[return-value]


def _given(dna: VDNA, ranges: ActivationRanges) -> VDNA:
    """The same images counted in ranges that were given."""
    seeds = [int(name.removeprefix("set")) for name in dna.provenance.sources]
    parts = [make_dna("histogram", 8, s, shift=0.5 * (s >= 10), bins=BINS, ranges=ranges) for s in seeds]
    return sum(parts[1:], parts[0])


@pytest.mark.parametrize("toy", [ENTROPY, JENSEN_SHANNON], ids=["one set", "two sets"])
def test_leaving_a_group_out_leaves_the_bins(toy: Distance) -> None:
    """What depends on bins is jackknifed in those of all images, though without the farthest ones they are finer."""
    sides = []
    for side in range(2):
        parts = [make_dna("auto", 8, 10 * side + i, shift=0.5 * side, bins=64) for i in range(4)]
        far = make_dna("auto", 8, 10 * side + 4, shift=20.0 if side else 0.0, bins=64)
        sides.append(GroupedDNA((*parts, far)))
    left, total = sides[1].without(4).distribution, sides[1].total.distribution
    assert isinstance(total, AutoHistogramDistribution)
    assert (left.grid[0] < total.grid[0]).any()
    frame = total.spanning([sides[0].total.distribution]) if toy.arity == 2 else total
    with registered_toys():
        register_distance(replace(toy, name="jackknifed", bias="jackknife"))
        column = Column("jackknifed")
        found = jackknife_distance(*(sides if toy.arity == 2 else (None, sides[1])), distance=column)

    def counted(side: GroupedDNA, without: int | None = None) -> torch.Tensor:
        kept = [group for i, group in enumerate(side.groups) if i != without]
        return sum(group.distribution.counts_in(frame) for group in kept)  # type: ignore[return-value]

    def value(*counts: torch.Tensor) -> torch.Tensor:
        of = [SimpleNamespace(counts=each, layout=total.layout) for each in counts]
        return torch.stack([each.mean() for each in toy.function(*of).values()]).double()

    wholes = [counted(side) for side in sides] if toy.arity == 2 else [counted(sides[1])]
    expected, spread = value(*wholes), torch.zeros(())
    for place, side in enumerate(sides[2 - toy.arity :]):
        others = [
            value(*(counted(side, i) if at == place else whole for at, whole in enumerate(wholes))) for i in range(5)
        ]
        bias, deviations = jackknife(value(*wholes), torch.stack(others), side.sizes)
        expected, spread = expected - bias, spread + deviations.square().sum(0)
    layers = list(found.layers.values())
    assert [each.corrected for each in layers] == pytest.approx(expected.tolist(), rel=1e-9)
    assert [each.standard_error for each in layers] == pytest.approx(spread.sqrt().tolist(), rel=1e-9)


def test_error_bars_are_those_of_given_ranges() -> None:
    """In activations values, corrected values, errors and floors are those of given ranges of the same images."""
    auto = _sides()
    ranges = observed_ranges(auto[0].total + auto[1].total, "none")
    given = [GroupedDNA(tuple(_given(group, ranges) for group in side.groups)) for side in auto]
    live = {layer: [i for i in range(n) if (layer, i) != DEAD] for layer, n in LAYOUT.items()}
    column = Column("emd", unit="activation", neurons=live)
    found, expected = (jackknife_distance(*sides, distance=column).score for sides in (auto, given))
    for name in ("value", "corrected", "standard_error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=0.02)
    floors = [noise_floor(sides[0], 40, distance=column).value for sides in (auto, given)]
    assert floors[0] == pytest.approx(floors[1], rel=0.02)


@pytest.mark.parametrize("unit", UNITS)
def test_parts_of_an_explanation_add_up_to_the_distance(unit: Any) -> None:
    """Score, contributions and layers' shares agree with the distance, which leaves neurons without width out."""
    a, b = (side.total for side in _sides())
    column = Column("emd", unit=unit)
    found = explain(a, b, distance=column)
    assert found.score == pytest.approx(float(column(a, b)), rel=1e-12)
    parts = found.parts.shift + found.parts.spread + found.parts.shape
    torch.testing.assert_close(parts, found.contributions, rtol=1e-9, atol=1e-12)
    by_layer = torch.tensor([float(value) for value in column.by_layer(a, b).values()], dtype=torch.float64)
    assert float(by_layer @ column.layer_shares(a.layout, a.distribution)) == pytest.approx(found.score, rel=1e-12)
    jackknifed = jackknife_distance(*_sides(), distance=column)
    assert jackknifed.score.value == pytest.approx(found.score, rel=1e-12)


def test_a_matrix_has_the_distances() -> None:
    """The distances of every two, in activations; other units are relative to the first DNA."""
    dnas = {str(seed): make_dna("auto", 8, seed, shift=0.3 * seed) for seed in range(3)}
    matrix = distance_matrix(dnas, distance=Column("emd", unit="activation"))
    for a in dnas:
        for b in dnas:
            # Bins of all three are as wide as those of two, or wider.
            width = float(_widths(*dnas.values()).max())
            assert matrix.between(a, b) == pytest.approx(float(EMD(dnas[a], dnas[b], unit="activation")), abs=2 * width)


def _widths(*dnas: VDNA) -> torch.Tensor:
    first, *others = (dna.distribution for dna in dnas)
    assert isinstance(first, AutoHistogramDistribution)
    return first.spanning(others).bin_widths("activation")  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", UNITS)
def test_single_images_are_measured_outside_the_window_too(unit: Any) -> None:
    """What an image is from a reference is the EMD of its own DNA, to a bin, also where it goes far beyond it."""
    extractor = tiny_extractor()
    dark = torch.randint(100, 130, (9, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bright = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    reference = build_dnas(dark, extractor, ["histogram"], bins=BINS, ranges="auto")["histogram"]
    column = Column("emd", unit=unit)
    ranking = rank_images(bright, reference, extractor, distance=column)
    for score, image in zip(ranking.scores.tolist(), bright, strict=True):
        one = build_dnas(image[None], extractor, ["histogram"], bins=BINS, ranges="auto")["histogram"]
        assert score == pytest.approx(float(column(reference, one)), rel=0.02)


def test_exemplars_pull_as_much_as_the_distance() -> None:
    """The mean pull of the generated images on a neuron is its EMD, in bins."""
    extractor = tiny_extractor()
    sets = [
        torch.randint(0, high, (9, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(high))
        for high in (200, 256)
    ]
    dnas = [build_dnas(images, extractor, ["histogram"], bins=64, ranges="auto")["histogram"] for images in sets]
    found = explain(*dnas)
    exemplars = find_exemplars(found, sets[1], extractor)
    for neuron in found.top(4):
        pull = exemplars.mean_pull[neuron.layer, neuron.neuron]
        assert pull == pytest.approx(neuron.distance, rel=1e-6)


def test_ranges_are_read_off() -> None:
    """Observed extremes are those that calibration finds; nothing lies outside; quantiles are known to a bin."""
    dna = make_dna("auto", 9, bins=BINS)
    ranges = observed_ranges(dna, "none")
    for layer, rows in LAYOUT.slices().items():
        x = make_activations(9)[layer].flatten(1)
        assert torch.equal(ranges.observed_low[rows], x.amin(1))
        assert torch.equal(ranges.observed_high[rows], x.amax(1))
    assert coverage(dna).verdict == "fit"
    assert [layer.outside for layer in coverage(dna).layers.values()] == [0.0] * 3
    assert {layer: int(dead.sum()) for layer, dead in dead_neurons(dna).items()} == {"conv1": 0, "conv2": 1, "norm": 0}
    inner, width = quantile_ranges(dna, 0.1, 0.9), _widths(dna)
    for layer, rows in LAYOUT.slices().items():
        x = make_activations(9)[layer].flatten(1).sort(dim=1).values
        n = x.shape[1] - 1
        expected = x[:, int(0.1 * n)]
        assert bool(((inner.low[rows] - expected).abs() <= 1.01 * width[rows]).all())
    with pytest.raises(ValueError, match=r"expected histograms that found their own .*, got some in \[-3 .. 3\]"):
        observed_ranges(make_dna("histogram", 3))


def test_neurons_without_width_are_not_selected() -> None:
    """A neuron that has no value in the unit is left out, also where dead ones are kept."""
    a, b = make_dna("auto", 9), make_dna("auto", 9, 1, shift=0.4)
    chosen = select_sensitive(a, b, k=LAYOUT.total - 1, drop_dead=False)
    assert not chosen.mask[LAYOUT.slices()[DEAD[0]].start + DEAD[1]]


def test_complements_are_filled_and_not_subtracted() -> None:
    """With and without an attribute, DNAs are those of the two sets of images."""
    extractor = tiny_extractor()
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0] = 0  # of the finest grid
    has = [True, True, False, False, True, False]
    partition = attributes({"has": has})
    made = build_dnas(images, extractor, ["histogram"], ranges="auto", partition=partition)["histogram"]
    for part, dna in zip((True, False), made.values(), strict=True):
        chosen = images[torch.tensor([each is part for each in has])]
        alone = build_dnas(chosen, extractor, ["histogram"], ranges="auto")["histogram"]
        assert torch.equal(dna.distribution.state, alone.distribution.state)


def test_groups_of_one_set_leave_out_and_add_up() -> None:
    """The union of groups is the DNA of all their images."""
    side = _sides()[0]
    rest = side.without(1)
    expected = sum((side.groups[i] for i in (2, 3, 4)), side.groups[0])
    assert torch.equal(rest.distribution.state, expected.distribution.state)
