"""Bias rules, and the EMD without noise."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distances import JSD, make_grouped
from scipy import stats

from vdna_metrics import ActivationRanges
from vdna_metrics.analysis.uncertainty import (
    BIAS_RULES,
    BiasRule,
    extrapolate_frechet,
    jackknife_distance,
    noise_floor,
    rules,
)
from vdna_metrics.distributions import FeatureSample, GaussianDistribution, HistogramDistribution
from vdna_metrics.dna import VDNA, GroupedDNA, ImageClusters, Provenance
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.feature_distances import MIND
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional import sample_wasserstein
from vdna_metrics.layout import NeuronLayout

PRINT = ExtractorFingerprint("drawn", "", "none", {"l": "l"})

# Of 16 splits, the groups of the first half.
FIRST_HALVES = {
    5: ["12", "14", "13", "01", "02", "24", "04", "23", "34", "03", "03", "13", "23", "34", "12", "01"],
    6: ["124", "045", "013", "345", "015", "135", "025", "235", "034", "023", "135", "235", "012", "013", "234", "045"],
}


def test_noise_is_extrapolated_to_none() -> None:
    """`c₀` of the parabola in √r through the EMD at r = 1, 2, 4, here by numerical integration; no noise, no change."""
    stream = np.random.default_rng(0)
    difference, variance = stream.normal(size=6), stream.uniform(0.1, 2, 6)
    grid = np.linspace(-12, 12, 20001)
    density = stats.norm.pdf(grid) * (grid[1] - grid[0])
    noisy = []
    for noise in (1, 2, 4):
        places = difference[:, None] + np.sqrt((noise - 1) * variance)[:, None] * grid
        noisy.append(float((abs(places) @ density).sum()))
    expected = np.polyfit(np.sqrt([1, 2, 4]), noisy, 2)[-1]
    tensors = torch.from_numpy(difference), torch.from_numpy(variance)
    assert float(rules._without_noise(*tensors)) == pytest.approx(expected, rel=1e-5)
    plain = rules._without_noise(tensors[0], torch.zeros(6, dtype=torch.float64))
    assert float(plain) == pytest.approx(abs(difference).sum())


@pytest.mark.parametrize("groups", [2, 3, 5, 10])
def test_halves_are_unlike(groups: int) -> None:
    """Each split has every group once, in halves that differ by one at most; their degrees are at most groups − 1."""
    halves, freedom = rules._halves(groups)
    for first, second in halves:
        assert sorted(first + second) == list(range(groups))
        assert abs(len(first) - len(second)) <= 1
    assert 0.7 * (groups - 1) <= freedom <= groups - 1 + 1e-9


def test_halves_are_these() -> None:
    """The halves of 5 and 6 groups, to the group: they may not change with a machine or a version of NumPy."""
    firsts = {groups: ["".join(map(str, first)) for first, _ in rules._halves(groups)[0]] for groups in (5, 6)}
    assert firsts == FIRST_HALVES


@pytest.mark.parametrize("groups", [5, 9, 10, 12, 20])
def test_halves_do_not_hang_on_rounding(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No product of floats chooses them: one that rounds otherwise, as another CPU's BLAS does, changes nothing."""
    choose = rules._halves.__wrapped__
    expected, stream = choose(groups), np.random.default_rng(1)

    class Rounded(np.ndarray[Any, Any]):
        def __matmul__(self, other: Any) -> Any:
            return super().__matmul__(other) * (1 + 1e-16 * stream.normal())

    class Stream:
        def __init__(self, seed: int) -> None:
            self._stream = np.random.mtrand.RandomState(seed)

        def permutation(self, values: Any) -> Any:
            return self._stream.permutation(values).view(Rounded)

    with monkeypatch.context() as patched:
        patched.setattr(rules.np.random, "RandomState", Stream)
        assert choose(groups) == expected


@pytest.mark.slow
def test_halves_are_one_on_every_kind_of_cpu() -> None:
    """OpenBLAS's kernels of another CPU give the same halves and degrees of freedom."""
    script = (
        "from vdna_metrics.analysis.uncertainty import rules\n"
        "print([rules._halves(groups) for groups in (5, 6, 9, 10, 12, 20)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "OPENBLAS_CORETYPE": core}, text=True,
            capture_output=True, check=True,
        ).stdout
        for core in ("Haswell", "Prescott")
    }  # fmt: skip
    assert len(found) == 1


@pytest.mark.parametrize("sizes", [(7, 7, 7), (2, 9, 5, 30)], ids=["even", "uneven"])
def test_a_bias_in_one_over_n_is_removed_exactly(sizes: tuple[int, ...]) -> None:
    """Of ``3 + 50/n`` the jackknife leaves 3, and no error, whatever the sizes of the groups."""
    total = sum(sizes)
    without = torch.tensor([[3 + 50 / (total - size)] for size in sizes], dtype=torch.float64)
    bias, deviations = rules.jackknife(torch.tensor([3 + 50 / total], dtype=torch.float64), without, sizes)
    assert float(bias) == pytest.approx(50 / total)
    assert deviations.abs().max() < 5


def test_leaving_out_groups_of_both_sides_takes_no_more_than_the_bias() -> None:
    """Of samples of one heavy-tailed population W₂² keeps a part of its bias; one side at a time takes too much.

    So it does where the sides have groups of other numbers, which cannot be left out together.
    """

    def wasserstein(real: FeatureSample, fake: FeatureSample) -> dict[str, torch.Tensor]:
        return {"l": sample_wasserstein(real.features()["l"].T, fake.features()["l"].T).mean().reshape(1)}

    def in_groups(rows: torch.Tensor, number: int) -> GroupedDNA:
        empty = FeatureSample.empty(NeuronLayout({"l": rows.shape[1]}))
        parts = [empty.with_state(empty.state.clone()) for _ in range(number)]
        for part, own in zip(parts, rows.chunk(number), strict=True):
            part.fill_({"l": own.T[..., None].contiguous()})
        return GroupedDNA(tuple(VDNA(part, PRINT, Provenance("drawn", ("drawn",))) for part in parts))

    rows = [torch.rand(40, 400).log().neg() for _ in range(2)]
    left = {}
    for rule, numbers in (("jackknife", (10, 10)), ("joint_jackknife", (10, 10)), ("joint_jackknife", (10, 5))):
        column = Column(replace(MIND, function=wasserstein, bias=rule))
        found = jackknife_distance(*map(in_groups, rows, numbers), distance=column).score
        left[rule, numbers[1]] = found.corrected / found.value
    assert left["jackknife", 10] < -0.1
    assert 0.1 < left["joint_jackknife", 10] < 0.4
    assert left["joint_jackknife", 5] < 0


@pytest.mark.parametrize("distance", ["emd", "nfd"])
def test_corrected_neurons_add_up_to_the_rules_layers(distance: str) -> None:
    """Their means over a layer are what the distance's rule gives for it, with groups of any sizes."""
    column = Column(distance)
    sides = make_grouped(distance, 0, sizes=(12, 9, 20)), make_grouped(distance, 1, shift=0.4)
    plain = torch.tensor(list(column.by_layer(sides[0].total, sides[1].total).values()), dtype=torch.float64)
    expected = rules.bias_rule(column).correct(column, *sides, plain)[0]
    found = sides[0].layout.split(rules.corrected_neurons(column, *sides))
    torch.testing.assert_close(torch.stack([of_layer.mean() for of_layer in found.values()]), expected)


def _grouped(distance: str, images: np.ndarray[Any, Any]) -> GroupedDNA:
    """Images ``[groups, images, neurons]`` as the DNA that a distance needs."""
    layout = NeuronLayout({"l": images.shape[2]})
    ends = torch.full((layout.total,), 12.0)
    empty = {
        "emd": HistogramDistribution.empty(ActivationRanges(layout, -ends, ends, widen="none"), 200),
        "nfd": GaussianDistribution.empty(layout),
    }[distance]
    parts = [empty.with_state(empty.state.clone()) for _ in images]
    for part, own in zip(parts, images, strict=True):
        part.fill_({"l": torch.from_numpy(own.T[..., None].copy()).float()})
    return GroupedDNA(tuple(VDNA(part, PRINT, Provenance("drawn", ("drawn",))) for part in parts))


@pytest.mark.parametrize(("distance", "true"), [("emd", 0.6 / 0.12), ("nfd", 0.6**2)])
def test_sides_of_the_same_photographs_are_corrected_jointly(distance: str, true: float) -> None:
    """Where both sides change the same photographs, chance moves them alike: only what it moves apart is taken off.

    Looked at one by one, far too much is.
    """
    stream, column = np.random.default_rng(0), Column(distance)
    photographs = 3 * stream.standard_normal((20, 15, 60))
    sides = [photographs + stream.standard_normal(photographs.shape) for _ in range(2)]
    same, moved = (_grouped(distance, sides[0]), _grouped(distance, sides[1])), _grouped(distance, sides[1] + 0.6)
    plain = column(*(side.total for side in same))
    jointly, apart = (float(rules.corrected_neurons(column, *same, jointly=each).mean()) for each in (True, False))
    assert abs(jointly) < 0.15 * plain
    assert apart < -plain
    far = float(rules.corrected_neurons(column, same[0], moved, jointly=True).mean())
    assert far == pytest.approx(true, rel=0.05)


def test_what_has_no_correction_by_neuron_is_refused() -> None:
    """Distances by layer or of another rule, and groups that do not come in pairs."""
    for distance in ("lfd", "kid"):
        with pytest.raises(ValueError, match="is not corrected by neuron: give the EMD, or a distance by neuron"):
            rules.corrected_neurons(Column(distance), *(make_grouped("emd", seed) for seed in range(2)))
    sides = make_grouped("nfd", 0), make_grouped("nfd", 1, sizes=(12, 12))
    with pytest.raises(ValueError, match="groups that depend on each other come in pairs, got 5 and 2"):
        rules.corrected_neurons(Column("nfd"), *sides, jointly=True)


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    """Deviations of a mean of equal groups add up to the variance of the groups' means over their number."""
    means = torch.tensor([1.0, 4.0, 2.0, 7.0], dtype=torch.float64)
    without = (means.sum() - means) / 3
    bias, deviations = rules.jackknife(means.mean()[None], without[:, None], (5,) * 4)
    assert float(bias) == pytest.approx(0)
    assert float(deviations.square().sum()) == pytest.approx(float(means.var() / 4))


def test_distances_name_their_rule() -> None:
    """A rule is found by its name; one without a rule, of an unknown one or of another distance's is refused."""
    assert rules.bias_rule(Column("emd")) is BIAS_RULES["extrapolation"]
    assert rules.bias_rule(Column("lfd")) is BIAS_RULES["jackknife"]
    for distance, message in (
        (JSD, "Jensen-Shannon has no bias rule, so it has neither a corrected value nor a noise floor"),
        (replace(JSD, bias="magic"), "unknown bias rule, 'magic'; known: extrapolation, jackknife"),
        (replace(JSD, bias="extrapolation"), "'extrapolation' is for 'emd' alone, Jensen-Shannon cannot"),
    ):
        reference, generated = make_grouped(distance, 0), make_grouped(distance, 1)
        with pytest.raises(ValueError, match=message):
            jackknife_distance(reference, generated, distance=distance)
        with pytest.raises(ValueError, match=message):
            noise_floor(reference, 10, distance=distance)
        with pytest.raises(ValueError, match=message):
            extrapolate_frechet(reference, generated, distance=distance)


def test_a_rule_of_ones_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of the mapping makes a rule known: its corrected values and its exponent count."""

    def halved(column: Column, reference: Any, generated: Any, plain: torch.Tensor) -> Any:
        corrected, *chances = rules.jackknife_parts(column, reference, generated, plain)
        return corrected / 2, *chances

    own = replace(JSD, bias="halved")
    reference, generated = make_grouped(JSD, 0), make_grouped(JSD, 1, shift=0.4)
    usual = jackknife_distance(reference, generated, distance=replace(JSD, bias="jackknife"))
    monkeypatch.setitem(BIAS_RULES, "halved", BiasRule(halved, 0.5))
    found = jackknife_distance(reference, generated, distance=own)
    assert found.score.corrected == pytest.approx(usual.score.corrected / 2)
    assert (found.distance, found.unit) == ("jsd", "nats")
    floors = {name: noise_floor(reference, 3, distance=replace(JSD, bias=name)) for name in ("halved", "jackknife")}
    factor = (1 / 3 + 1 / 60) / (1 / 12 + 1 / 48)
    assert floors["jackknife"].value / floors["halved"].value == pytest.approx(factor**0.5)


UNLIKE = [[60], [12, 8], [5] * 4, [1] * 20, [30], [9, 9, 2], [16, 1, 1]]
EVEN = [[4] * 5] * 6


@pytest.mark.parametrize("groups", [UNLIKE, EVEN], ids=["unlike", "even"])
def test_a_bias_in_one_over_clusters_is_removed_exactly(groups: list[list[int]]) -> None:
    """Of ``3 + 50/k`` with k effective clusters the jackknife leaves 3, whatever the sizes of the clusters."""
    clusters = [ImageClusters.of(sizes) for sizes in groups]

    def value(chosen: list[ImageClusters]) -> float:
        return 3 + 50 / rules._effective(chosen)

    without = [[value(clusters[:place] + clusters[place + 1 :])] for place in range(len(clusters))]
    plain = torch.tensor([value(clusters)], dtype=torch.float64)
    told = [each.images for each in clusters], [each.squares for each in clusters]
    bias, _ = rules.jackknife(plain, torch.tensor(without, dtype=torch.float64), *told)
    assert float(plain - bias) == pytest.approx(3)


@pytest.mark.parametrize("groups", [UNLIKE, EVEN], ids=["unlike", "even"])
def test_variances_of_means_of_clusters_are_right_on_average(groups: list[list[int]]) -> None:
    """The jackknife's, the one by groups, and that of halves: each expects one over the effective clusters.

    A group's mean has a variance of one over its clusters; each estimate is a quadratic form in these means.
    """
    clusters = [ImageClusters.of(sizes) for sizes in groups]
    images = np.array([each.images for each in clusters], float)
    variances, expected = np.diag([1 / each.effective for each in clusters]), 1 / rules._effective(clusters)
    mean = images / images.sum()

    without = torch.from_numpy(np.array([np.where(np.arange(len(images)) == j, 0, images) for j in range(len(images))]))
    told = [each.images for each in clusters], [each.squares for each in clusters]
    _, deviations = rules.jackknife(torch.from_numpy(mean), without / without.sum(1, keepdim=True), *told)
    assert np.trace(deviations.numpy() @ variances @ deviations.numpy().T) == pytest.approx(expected)

    apart = np.eye(len(images)) - mean
    by_group = (images * np.diag(apart @ variances @ apart.T)).sum()
    assert by_group / ((sum(rules._likeness(clusters)) - 1) * images.sum()) == pytest.approx(expected)

    halves, freedom = rules._halves(len(images))
    scales, total = rules._half_scales(clusters, halves), 0.0
    for (first, second), scale in zip(halves, scales, strict=True):
        weights = np.zeros(len(images))
        weights[list(first)], weights[list(second)] = (
            images[list(half)] / images[list(half)].sum() for half in (first, second)
        )
        weights[list(second)] *= -1
        total += scale**2 * float(weights @ variances @ weights)
    assert total == pytest.approx(expected)
    found = rules._freedom(clusters, halves, scales)
    assert found == pytest.approx(freedom) if groups is EVEN else 1 <= found < 0.7 * freedom
