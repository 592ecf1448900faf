"""Explanations: contributions add up, parts are what they say, exemplars pull as the distance does."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.distances import EVENNESS, JSD
from helpers.dnas import make_dna
from hypothesis import given, strategies as st
from scipy.stats import wasserstein_distance

from vdna_metrics import compare
from vdna_metrics.analysis.explain import DistanceParts, Explanation, emd_parts, explain as explain_dnas
from vdna_metrics.dna.columns import Column
from vdna_metrics.functional.emd import EMDUnit, earth_movers_distance

counts = st.lists(st.integers(0, 9), min_size=12, max_size=12).filter(any)


def _parts(a: Any, b: Any) -> tuple[list[float], float]:
    """Shift, spread and shape of one neuron, and its EMD."""
    a, b = (torch.as_tensor(side, dtype=torch.int64).view(1, -1) for side in (a, b))
    parts = emd_parts(a, b)
    return [float(part) for part in (parts.shift, parts.spread, parts.shape)], float(earth_movers_distance(a, b))


# ----------------------------------------------------------------------------------------------------------- one neuron
@given(counts, counts)
def test_parts_are_never_negative_and_add_up(a: list[int], b: list[int]) -> None:
    """Shift, spread and shape are at least 0, sum to the EMD, and are the same the other way round."""
    parts, emd = _parts(a, b)
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(emd, abs=1e-9)
    assert _parts(b, a)[0] == pytest.approx(parts, abs=1e-9)


@given(counts, counts)
def test_parts_are_in_proportion_to_the_legs(a: list[int], b: list[int]) -> None:
    """The legs by SciPy and NumPy, from their definition, share the EMD out."""
    values = np.arange(12.0)
    (mean_a, dev_a), (mean_b, dev_b) = (
        (m := np.average(values, weights=w), np.sqrt(np.average((values - m) ** 2, weights=w))) for w in (a, b)
    )
    parts, emd = _parts(a, b)
    if not dev_a or not dev_b:
        assert parts[2] == 0
        return
    places_a, places_b = (values - mean_a) / dev_a, (values - mean_b) / dev_b
    absolute = [np.average(np.abs(p), weights=w) for p, w in ((places_a, a), (places_b, b))]
    legs = [
        abs(mean_a - mean_b),
        abs(dev_a - dev_b) * sum(absolute) / 2,
        wasserstein_distance(places_a, places_b, a, b) * (dev_a + dev_b) / 2,
    ]
    assert emd <= sum(legs) + 1e-9
    expected = [leg * emd / sum(legs) if emd else 0 for leg in legs]
    assert parts == pytest.approx(expected, abs=1e-7)


@given(counts, st.integers(0, 20))
def test_a_moved_histogram_is_all_shift(a: list[int], by: int) -> None:
    """The same shape elsewhere has the shift alone, and it is how far it was moved."""
    parts, _ = _parts([*a, *[0] * 20], [*[0] * by, *a, *[0] * (20 - by)])
    assert parts == pytest.approx([by, 0, 0], abs=1e-9)


@given(counts, st.integers(0, 9), st.integers(2, 4))
def test_a_stretched_histogram_is_all_spread(half: list[int], middle: int, factor: int) -> None:
    """A histogram that is stretched about its mean has the spread alone."""
    centre = 12 * factor
    narrow, stretched = np.zeros((2, 2 * centre + 1), int)
    for offset, count in zip(range(-12, 13), [*half, middle, *half[::-1]], strict=True):
        narrow[centre + offset] += count
        stretched[centre + factor * offset] += count
    parts, emd = _parts(narrow, stretched)
    assert parts == pytest.approx([0, emd, 0], abs=1e-9)
    assert emd > 0


def test_equal_mean_and_deviation_are_all_shape() -> None:
    """Histograms of one mean and one deviation differ in shape alone."""
    parts, emd = _parts([0, 1, 0, 6, 0, 1, 0], [0, 0, 4, 0, 4, 0, 0])  # mean 3, variance 1
    assert parts == pytest.approx([0, 0, emd], abs=1e-9)
    assert emd > 0


def test_a_mirror_image_is_shift_and_shape() -> None:
    """A mirrored histogram has another mean and another shape, and the same deviation."""
    shift, spread, shape = _parts([0, 4, 1, 0, 0, 2], [2, 0, 0, 1, 4, 0])[0]
    assert spread == pytest.approx(0, abs=1e-9)
    assert shift > 0.1
    assert shape > 0.1


def test_a_single_bin_has_no_shape() -> None:
    """From one bin to a histogram about it is all spread; to another bin all shift; to itself nothing."""
    one, wide = [0, 0, 5, 0, 0], [1, 1, 1, 1, 1]
    assert _parts(one, wide) == (pytest.approx([0, 1.2, 0]), pytest.approx(1.2))
    assert _parts(one, [0, 0, 0, 0, 3])[0] == pytest.approx([2, 0, 0])
    assert _parts(one, [0, 0, 1, 0, 0])[0] == [0, 0, 0]


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neurons are taken some at a time."""
    a, b = torch.randint(0, 9, (2, 7, 20), generator=torch.Generator().manual_seed(0)) + torch.eye(20)[0].long()
    whole = emd_parts(a, b)
    # By the function's globals: the package's name `explain` is the function, not its module.
    monkeypatch.setitem(emd_parts.__globals__, "_BLOCK", 80)
    parts = emd_parts(a, b)
    for name in ("shift", "spread", "shape"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=0)


# ---------------------------------------------------------------------------------------------------------- all neurons
@pytest.mark.parametrize("unit", get_args(EMDUnit))
@pytest.mark.parametrize("weighted", [False, True])
def test_contributions_sum_to_the_score(unit: EMDUnit, weighted: bool) -> None:
    """Neurons, layers and parts all add up to the distance of `compare`, with any unit, selection and weights."""
    a, b = make_dna("histogram", 30, bins=50), make_dna("histogram", 20, seed=1, shift=0.4, bins=50)
    neurons = {"conv1": [2, 0], "conv2": [0, 1, 2]}
    weights = {"conv1": [0.5, -1.0], "conv2": [0.0, 2.0, 0.25]} if weighted else None
    found = explain_dnas(a, b, distance=Column("emd", neurons=neurons, weights=weights, unit=unit))
    score = float(compare.emd(a, b, neurons=neurons, weights=weights, unit=unit))
    assert found.score == pytest.approx(score, rel=1e-12)
    assert sum(layer.contribution for layer in found.layers) == pytest.approx(score, rel=1e-12)
    assert sum(layer.shift + layer.spread + layer.shape for layer in found.layers) == pytest.approx(score, rel=1e-9)
    assert sum(neuron.contribution for neuron in found.top(99)) == pytest.approx(score, rel=1e-12)
    _check_parts(found)
    by_layer = compare.emd(a, b, neurons=neurons, unit=unit, reduction="layer")
    assert [layer.distance for layer in found.layers] == pytest.approx([float(d) for d in by_layer.values()])


def _check_parts(found: Explanation) -> None:
    parts = found.parts
    torch.testing.assert_close(parts.shift + parts.spread + parts.shape, found.contributions)


def test_a_gaussian_is_shift_and_spread() -> None:
    """The neuron Fréchet distance is split into the means' and the deviations' square."""
    a, b = make_dna("gaussian", 30), make_dna("gaussian", 20, seed=1, shift=0.4)
    found = explain_dnas(a, b)
    assert found.score == pytest.approx(float(compare.neuron_frechet(a, b)))
    _check_parts(found)
    assert not found.parts.shape.any()
    (mean_a, variance_a), (mean_b, _) = (dna.distribution.mean_and_variance() for dna in (a, b))  # type: ignore
    torch.testing.assert_close(found.parts.shift, (mean_a - mean_b).square() / 9)
    torch.testing.assert_close(found.means, torch.stack([mean_a, mean_b]))
    torch.testing.assert_close(found.deviations[0], variance_a.sqrt())
    assert found.to_json()["unit"] == "squared activations"


def test_any_distance_of_neurons_is_explained() -> None:
    """Contributions add up to the score of a distance that has no split into parts; its parts are then 0."""
    a, b = make_dna("histogram", 30, bins=50), make_dna("histogram", 20, seed=1, shift=0.4, bins=50)
    found = explain_dnas(a, b, distance=JSD)
    assert found.score == pytest.approx(float(JSD(a, b)))
    assert (found.distance, found.unit) == ("jsd", "nats")
    assert all(layer.shift == layer.spread == layer.shape == 0 < layer.contribution for layer in found.layers)
    assert torch.equal(found.means, explain_dnas(a, b).means)
    gaussians = make_dna("layer_gaussian", 30), make_dna("layer_gaussian", 20, seed=1)
    assert explain_dnas(*gaussians, distance="nfd").score == pytest.approx(float(compare.neuron_frechet(*gaussians)))


def test_top_neurons_are_the_ones_that_add_most() -> None:
    """They come in order, under their indices in the full layer, with their means in activations."""
    a, b = make_dna("histogram", 300, bins=400), make_dna("histogram", 300, seed=1, shift=0.4, bins=400)
    found = explain_dnas(a, b, distance=Column("emd", neurons={"conv1": [3, 0], "norm": [1]}))
    top = found.top(2)
    every = {(n.layer, n.neuron): n for n in found.top(3)}
    assert set(every) == {("conv1", 3), ("conv1", 0), ("norm", 1)}
    assert list(top) == sorted(every.values(), key=lambda neuron: -neuron.contribution)[:2]
    first = every["conv1", 0]  # of deviation 0.5, so well inside the range from -3 to 3
    assert first.means == (pytest.approx(0, abs=0.05), pytest.approx(0.4, abs=0.05))
    assert first.deviations == (pytest.approx(0.5, abs=0.03), pytest.approx(0.5, abs=0.03))
    assert first.shift > 5 * (first.spread + first.shape)
    assert first.distance == pytest.approx(0.4 / 6 * 400, abs=2)
    json.dumps(found.to_json(2))
    assert len(found.to_json(2)["neurons"]) == 2


def test_a_dna_explains_nothing_of_itself() -> None:
    """Two equal DNAs have a score and parts of 0, none of them NaN."""
    dna = make_dna("histogram")
    found = explain_dnas(dna, dna)
    assert found.score == 0
    assert isinstance(found.parts, DistanceParts)
    assert not any(part.any() for part in (found.parts.shift, found.parts.spread, found.parts.shape))


@pytest.mark.parametrize(
    ("a", "b", "distance", "message"),
    [
        (make_dna("layer_gaussian"), make_dna("gaussian"), None, "a sum over neurons .*got Column.lfd"),
        (make_dna("histogram"), make_dna("histogram"), EVENNESS, "a sum over neurons .*got Column.evenness"),
        (make_dna("histogram"), make_dna("gaussian"), None, "reference 'histogram', generated 'gaussian'"),
        (make_dna("histogram"), make_dna("histogram", bins=9), None, "bins differ"),
        (make_dna("histogram"), make_dna("histogram"), Column("emd", neurons={"nrom": [0]}), "did you mean 'norm'"),
    ],
)
def test_what_cannot_be_explained_is_refused(a: Any, b: Any, distance: Any, message: str) -> None:
    """Layer Gaussians, DNAs that cannot be compared, and unknown options are errors."""
    with pytest.raises(ValueError, match=message):
        explain_dnas(a, b, distance=distance)
