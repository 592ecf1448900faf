"""Distances between DNAs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from helpers.dnas import DEAD, KINDS, LAYOUT, make_activations, make_dna, make_fingerprint, make_ranges

from vdna_metrics.distributions import HistogramDistribution, LayerGaussianDistribution
from vdna_metrics.dna import compare
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.functional.emd import earth_movers_distance
from vdna_metrics.functional.frechet import covariance_factor, frechet_distance, neuron_frechet_distance
from vdna_metrics.layout import NeuronLayout

DISTANCES: dict[str, Callable[..., Any]] = {
    "histogram": compare.emd,
    "gaussian": compare.neuron_frechet,
    "layer_gaussian": compare.layer_frechet,
}
kinds = pytest.mark.parametrize("kind", KINDS)
PAIRS = {kind: (make_dna(kind, 30, 0), make_dna(kind, 20, 1, shift=0.3)) for kind in KINDS}
CENTRE = torch.linspace(-1, 1, LAYOUT.total, dtype=torch.float64)


def _finest(kind: str) -> str:
    return "layer" if kind == "layer_gaussian" else "none"


@kinds
def test_a_dna_is_at_no_distance_from_itself(kind: str) -> None:
    """`d(a, a)` is 0, to rounding where there are roots."""
    a = PAIRS[kind][0]
    for value in DISTANCES[kind](a, a, reduction=_finest(kind)).values():
        assert float(value.max()) <= (0 if kind == "histogram" else 1e-12)


@kinds
def test_distances_are_symmetric_and_not_negative(kind: str) -> None:
    """`d(a, b) == d(b, a) > 0` for different sets, also where sums are taken about different centres."""
    distance = DISTANCES[kind]
    a, b = PAIRS[kind]
    there, back = distance(a, b, reduction=_finest(kind)), distance(b, a, reduction=_finest(kind))
    for layer in LAYOUT:
        torch.testing.assert_close(there[layer], back[layer], rtol=1e-12, atol=1e-14)
        assert bool((there[layer] >= 0).all())
    assert float(distance(a, b)) > 0
    moved = make_dna(kind, 20, 1, shift=0.3, centre=CENTRE)  # type: ignore[arg-type]
    torch.testing.assert_close(distance(a, moved), distance(a, b), rtol=1e-10, atol=0)


@kinds
def test_results_are_float64_of_the_stated_shape(kind: str) -> None:
    """`mean` is a scalar, `layer` a scalar a layer, `none` a number a neuron, all float64, in the layout's order."""
    a, b = PAIRS[kind]
    mean, layers = DISTANCES[kind](a, b), DISTANCES[kind](a, b, reduction="layer")
    assert (mean.shape, mean.dtype) == ((), torch.float64)
    assert list(layers) == list(LAYOUT)
    assert {(value.shape, value.dtype) for value in layers.values()} == {((), torch.float64)}
    if kind != "layer_gaussian":
        neurons = DISTANCES[kind](a, b, reduction="none")
        assert {layer: value.shape for layer, value in neurons.items()} == {layer: (n,) for layer, n in LAYOUT.items()}


@pytest.mark.parametrize("kind", ["histogram", "gaussian"])
def test_neurons_average_to_layers_and_to_the_whole(kind: str) -> None:
    """A layer is the mean of its neurons, and the whole the mean of all neurons, not of the layers."""
    a, b = PAIRS[kind]
    neurons = DISTANCES[kind](a, b, reduction="none")
    layers = DISTANCES[kind](a, b, reduction="layer")
    for layer in LAYOUT:
        torch.testing.assert_close(layers[layer], neurons[layer].mean(), rtol=1e-14, atol=0)
    torch.testing.assert_close(DISTANCES[kind](a, b), torch.cat(list(neurons.values())).mean(), rtol=1e-14, atol=0)


def test_layers_average_to_the_whole() -> None:
    """The layer Fréchet distance is the mean over layers."""
    a, b = PAIRS["layer_gaussian"]
    layers = torch.stack(list(compare.layer_frechet(a, b, reduction="layer").values()))  # type: ignore[union-attr]
    torch.testing.assert_close(compare.layer_frechet(a, b), layers.mean(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("kind", ["histogram", "gaussian"])
def test_weights_sum(kind: str) -> None:
    """With weights, neurons are multiplied by them, layers are sums and the whole is `sum w_i d_i`."""
    a, b = PAIRS[kind]
    weights = {layer: torch.linspace(-1, 2, count).tolist() for layer, count in LAYOUT.items()}
    plain = DISTANCES[kind](a, b, reduction="none")
    weighed = {layer: plain[layer] * torch.tensor(weights[layer], dtype=torch.float64) for layer in LAYOUT}
    for layer in LAYOUT:
        neurons = DISTANCES[kind](a, b, weights=weights, reduction="none")[layer]
        torch.testing.assert_close(neurons, weighed[layer], rtol=1e-6, atol=0)
        layers = DISTANCES[kind](a, b, weights=weights, reduction="layer")[layer]
        torch.testing.assert_close(layers, weighed[layer].sum(), rtol=1e-6, atol=1e-9)
    whole = torch.cat(list(weighed.values())).sum()
    torch.testing.assert_close(DISTANCES[kind](a, b, weights=weights), whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["histogram", "gaussian"])
def test_even_weights_are_the_mean(kind: str) -> None:
    """Weights of one over the number of neurons give the plain distance."""
    a, b = PAIRS[kind]
    even = {layer: np.full(count, 1 / LAYOUT.total) for layer, count in LAYOUT.items()}
    torch.testing.assert_close(DISTANCES[kind](a, b, weights=even), DISTANCES[kind](a, b), rtol=1e-12, atol=0)


def test_layer_weights_sum() -> None:
    """The layer Fréchet distance takes one weight a layer."""
    a, b = PAIRS["layer_gaussian"]
    layers: Any = compare.layer_frechet(a, b, reduction="layer")
    weights = {"conv1": 0.5, "conv2": 0.0, "norm": 2.0}
    expected = sum(weights[layer] * float(layers[layer]) for layer in LAYOUT)
    assert float(compare.layer_frechet(a, b, weights=weights)) == pytest.approx(expected, rel=1e-12)  # type: ignore[arg-type]


@kinds
def test_choosing_is_selecting_first(kind: str) -> None:
    """`layers=` and `neurons=` compare as selected DNAs do, and weights are those of what is compared."""
    a, b = PAIRS[kind]
    neurons = {"conv1": [3, 1], "norm": [0]}
    options = {"weights": {"conv1": 2.0} if kind == "layer_gaussian" else {"conv1": [2.0, 3.0]}, "reduction": "layer"}
    distance = DISTANCES[kind]
    expected = distance(a.select(neurons=neurons), b.select(neurons=neurons))
    torch.testing.assert_close(distance(a, b, neurons=neurons), expected, rtol=1e-12, atol=0)
    assert list(distance(a, b, layers=["norm", "conv1"], reduction="layer")) == ["conv1", "norm"]
    weighed = distance(a, b, neurons={"conv1": [3, 1]}, **options)
    assert float(weighed["conv1"]) > float(distance(a, b, neurons={"conv1": [3, 1]}))


@kinds
def test_a_selection_compares_with_the_whole(kind: str) -> None:
    """DNAs of which different parts are known compare on a choice that both have."""
    a, b = PAIRS[kind]
    some = b.select(neurons={"conv1": [3, 1], "conv2": [0]})
    whole = DISTANCES[kind](a, b, neurons={"conv1": [3]})
    torch.testing.assert_close(DISTANCES[kind](a, some, neurons={"conv1": [3]}), whole, rtol=1e-12, atol=0)


def _counts(dna: VDNA) -> dict[str, torch.Tensor]:
    assert isinstance(dna.distribution, HistogramDistribution)
    return dna.layout.split(dna.distribution.counts)


@pytest.mark.parametrize("unit", ["bins", "range", "activation"])
def test_emd_is_the_functional_one(unit: Any) -> None:
    """`emd` is `earth_movers_distance` of the counts, with the neurons' ranges."""
    a, b = PAIRS["histogram"]
    result: Any = compare.emd(a, b, unit=unit, reduction="none")
    ranges = make_ranges()
    low, high = LAYOUT.split(ranges.low), LAYOUT.split(ranges.high)
    for layer, counts in _counts(a).items():
        direct = earth_movers_distance(counts, _counts(b)[layer], unit=unit, low=low[layer], high=high[layer])
        assert torch.equal(result[layer], direct)


def test_emd_is_scipys_wasserstein_distance() -> None:
    """In bins, `emd` is SciPy's Wasserstein distance between bin numbers; the other units are scales of it."""
    a, b = PAIRS["histogram"]
    neurons: dict[str, Any] = {
        unit: compare.emd(a, b, unit=unit, reduction="none")
        for unit in ("bins", "range", "activation")  # type: ignore[arg-type]
    }
    places = np.arange(8)
    for layer, counts in _counts(a).items():
        for i in range(LAYOUT[layer]):
            expected = scipy.stats.wasserstein_distance(places, places, counts[i], _counts(b)[layer][i])
            assert float(neurons["bins"][layer][i]) == pytest.approx(expected, rel=1e-12, abs=1e-15)
            assert float(neurons["range"][layer][i]) == pytest.approx(expected / 8, rel=1e-12, abs=1e-15)
            width = 0 if (layer, i) == DEAD else 6
            assert float(neurons["activation"][layer][i]) == pytest.approx(expected / 8 * width, rel=1e-12, abs=1e-15)


def test_neuron_frechet_is_the_functional_one() -> None:
    """`neuron_frechet` is `neuron_frechet_distance` of the moments of the image means."""
    a, b = PAIRS["gaussian"]
    result: Any = compare.neuron_frechet(a, b, reduction="none")
    for layer in LAYOUT:
        sides = []
        for images, seed, shift in ((30, 0, 0.0), (20, 1, 0.3)):
            means = make_activations(images, seed, shift=shift)[layer].double().mean(dim=2)
            sides += [means.mean(dim=1), means.var(dim=1)]
        torch.testing.assert_close(result[layer], neuron_frechet_distance(*sides), rtol=1e-10, atol=1e-14)


def test_layer_frechet_is_the_functional_one_and_that_of_the_textbook() -> None:
    """`layer_frechet` is `frechet_distance` of the layers' moments, and agrees with SciPy's matrix square root."""
    a, b = PAIRS["layer_gaussian"]
    layers: Any = compare.layer_frechet(a, b, reduction="layer")
    for layer in ("conv1", "norm"):  # conv2's covariance is singular, for which sqrtm is no oracle
        sides: list[torch.Tensor] = []
        for images, seed, shift in ((30, 0, 0.0), (20, 1, 0.3)):
            means = make_activations(images, seed, shift=shift)[layer].double().mean(dim=2)
            sides += [means.mean(dim=1), torch.cov(means)]
        torch.testing.assert_close(layers[layer], frechet_distance(*sides), rtol=1e-10, atol=0)
        mean_a, covariance_a, mean_b, covariance_b = (side.numpy() for side in sides)
        root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
        expected = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a + covariance_b - 2 * root)
        assert float(layers[layer]) == pytest.approx(expected, rel=1e-9)


def test_a_layer_of_one_neuron_has_its_neurons_distance() -> None:
    """On one neuron, layer and neuron Fréchet distance agree; `neurons=` takes a submatrix of the covariance."""
    a, b = PAIRS["layer_gaussian"]
    for i in range(4):
        one = {"conv1": [i]}
        torch.testing.assert_close(
            compare.layer_frechet(a, b, neurons=one), compare.neuron_frechet(a, b, neurons=one), rtol=1e-9, atol=1e-12
        )


def test_neuron_frechet_takes_the_diagonal_of_layer_gaussians() -> None:
    """Of a layer Gaussian on either side, `neuron_frechet` takes the neurons' own moments."""
    (a, b), (wide_a, wide_b) = PAIRS["gaussian"], PAIRS["layer_gaussian"]
    expected = compare.neuron_frechet(a, b)
    for x, y in ((wide_a, wide_b), (a, wide_b), (wide_a, b)):
        torch.testing.assert_close(compare.neuron_frechet(x, y), expected, rtol=1e-10, atol=0)


def test_the_references_factor_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factors of a reference's covariances are kept from one comparison to the next."""
    a, b = make_dna("layer_gaussian", 30), make_dna("layer_gaussian", 20, 1)
    first = compare.layer_frechet(a, b)
    factored: list[int] = []

    def factor(covariance: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        factored.append(len(covariance))
        return covariance_factor(covariance, scale=scale)

    monkeypatch.setattr("vdna_metrics.distributions.gaussian.covariance_factor", factor)
    assert compare.layer_frechet(a, b) == first
    assert not factored
    compare.layer_frechet(a, make_dna("layer_gaussian", 20, 2))
    assert factored == [4, 3, 2]  # of the new side only


def test_a_filled_reference_is_compared_anew() -> None:
    """After a batch, a distance is that of a DNA built at once, not of the kept factors."""
    a, b = make_dna("layer_gaussian", 30), make_dna("layer_gaussian", 20, 1)
    compare.layer_frechet(a, b)
    assert isinstance(a.distribution, LayerGaussianDistribution)
    a.distribution.fill_(make_activations(10, 2, shift=1))
    anew = make_dna("layer_gaussian", 30) + make_dna("layer_gaussian", 10, 2, shift=1)
    torch.testing.assert_close(compare.layer_frechet(a, b), compare.layer_frechet(anew, b), rtol=1e-10, atol=0)


REFUSALS = [
    (make_dna("gaussian", fingerprint=make_fingerprint("r50")), "architecture differ: reference tiny, generated r50"),
    (make_dna("gaussian", fingerprint=make_fingerprint(weights="cd" * 32)), "weights differ: reference abababababab, "),
    (
        make_dna("gaussian", fingerprint=make_fingerprint(preprocessing="legacy")),
        "preprocessing differ: reference clean:32, generated legacy",
    ),
    (make_dna("gaussian").select(["norm"]), "layers differ: reference conv1, conv2, norm, generated norm"),
    (
        make_dna("gaussian").select(list(LAYOUT), {"norm": [1]}),
        "neurons of layer 'norm' differ: reference 2, generated 1",
    ),
    (
        make_dna("gaussian").select(list(LAYOUT), {"norm": [1, 0]}),
        "selected neurons of layer 'norm' differ: reference all, generated [1, 0]",
    ),
]


@pytest.mark.parametrize(("other", "message"), REFUSALS, ids=[message.split(" differ")[0] for _, message in REFUSALS])
def test_unlike_dnas_are_not_compared(other: VDNA, message: str) -> None:
    """Other networks, preprocessings, layers and neurons are refused, with both sides."""
    with pytest.raises(ValueError, match="these DNAs cannot be compared") as caught:
        compare.neuron_frechet(make_dna("gaussian"), other)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_dna("histogram", bins=500), "these DNAs cannot be compared: bins differ: reference 8, generated 500"),
        (
            make_dna("histogram", ranges=make_ranges(-4, 5, widen="vdna", n_images=0, sources=())),
            "these DNAs cannot be compared: activation ranges differ: reference [-3 .. 3] (7 images of made, "
            "widen=none), generated [-4.8 .. 6] (0 images of unknown source, widen=vdna)",
        ),
    ],
    ids=["bins", "ranges"],
)
def test_unlike_histograms_are_not_compared(other: VDNA, message: str) -> None:
    """Other bins and ranges are refused, with both sides."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        compare.emd(make_dna("histogram"), other)
    assert str(caught.value) == message


@kinds
def test_dnas_of_other_positions_are_not_compared(kind: str) -> None:
    """DNAs of other positions are refused with both numbers, unless `emd` is asked for the estimate all the same."""
    a, b = PAIRS[kind]
    some, fewer = (replace(b, provenance=replace(b.provenance, max_positions=number)) for number in (49, 16))
    for pair, sides in (((a, some), "reference all, generated 49"), ((some, fewer), "reference 49, generated 16")):
        with pytest.raises(ValueError, match=rf"max_positions differ: {sides}: .* or give allow_subsampled=True"):
            DISTANCES[kind](*pair)
    assert float(DISTANCES[kind](some, some)) == pytest.approx(0, abs=1e-12)
    if kind == "histogram":
        assert compare.emd(a, some, allow_subsampled=True) == compare.emd(a, b)


@kinds
def test_kinds_are_not_mixed(kind: str) -> None:
    """A distance refuses DNAs of another kind on either side, and names what it needs."""
    own = PAIRS[kind][0]
    for other in KINDS:
        stranger = PAIRS[other][0]
        if other == kind or (kind, other) == ("gaussian", "layer_gaussian"):
            continue
        for pair in ((own, stranger), (stranger, own)):
            shown = rf"reference '{pair[0].kind}', generated '{pair[1].kind}'"
            with pytest.raises(ValueError, match=rf"needs DNAs of kind '{kind}': {shown}"):
                DISTANCES[kind](*pair)


@kinds
def test_empty_dnas_are_named(kind: str) -> None:
    """A DNA without images is an error that says which side it is."""
    a, empty = make_dna(kind, 3), make_dna(kind, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the generated DNA has seen no image"):
        DISTANCES[kind](a, empty)
    with pytest.raises(ValueError, match="the reference DNA has seen no image"):
        DISTANCES[kind](empty, a)


@pytest.mark.parametrize("kind", ["gaussian", "layer_gaussian"])
def test_one_image_has_no_variance(kind: str) -> None:
    """Gaussian distances of a single image are an error with both numbers, never NaN."""
    a, one = make_dna(kind, 3), make_dna(kind, 1)  # type: ignore[arg-type]
    name = kind.replace("_", " ")
    with pytest.raises(ValueError, match=rf"a {name} DNA needs at least 2 images: reference 3, generated 1"):
        DISTANCES[kind](a, one)


def test_one_image_has_a_histogram() -> None:
    """The earth mover's distance is defined from the first image on."""
    assert math.isfinite(float(compare.emd(make_dna("histogram", 1), make_dna("histogram", 1, 1))))  # type: ignore[arg-type]


@kinds
def test_activations_that_were_not_finite_are_told(kind: str) -> None:
    """A DNA that an accelerator filled with NaN is not compared."""
    a, b = make_dna(kind, 3), make_dna(kind, 3, 1)  # type: ignore[arg-type]
    b.distribution.state[2] += 1
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in layer conv2"):
        DISTANCES[kind](a, b)


@pytest.mark.parametrize("kind", ["histogram", "gaussian"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "sum"}, "unknown reduction 'sum'; known: mean, layer, none"),
        ({"weights": {"conv1": [1.0] * 4}}, "weights miss layer 'conv2'; they have: conv1"),
        ({"weights": {"conv1": [1.0], "conv2": [1.0] * 3, "norm": [1.0] * 2}}, "weights of layer 'conv1': 1 given"),
        ({"weights": {"conv9": [1.0]}}, "weights: unknown layer 'conv9'; did you mean"),
        ({"layers": ["norm"], "weights": {"norm": [1.0, math.nan]}}, "weights must be finite"),
        ({"layers": ["nrom"]}, r"layers: unknown layer 'nrom'; did you mean 'norm'\?"),
        ({"neurons": {"norm": [2]}}, "layer 'norm' has no neuron 2; it has 2 neurons, 0 to 1"),
    ],
)
def test_impossible_options_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    """Unknown reductions, layers and neurons, and weights that do not fit, are named."""
    with pytest.raises(ValueError, match=message):
        DISTANCES[kind](*PAIRS[kind], **options)


def test_an_unknown_unit_is_refused() -> None:
    """The unit is one of three."""
    with pytest.raises(ValueError, match="unit must be one of bins, range, activation, got 'pixels'"):
        compare.emd(*PAIRS["histogram"], unit="pixels")  # type: ignore[arg-type]


def test_a_layer_distance_has_no_neurons() -> None:
    """Per-neuron values of a layer Fréchet distance, and other reductions, are refused."""
    with pytest.raises(
        ValueError, match="layer Fréchet distance has one number per layer and none per neuron: use reduction='layer'"
    ):
        compare.layer_frechet(*PAIRS["layer_gaussian"], reduction="none")
    with pytest.raises(ValueError, match="unknown reduction 'sum'; known: mean, layer, none"):
        compare.layer_frechet(*PAIRS["layer_gaussian"], reduction="sum")  # type: ignore[arg-type]


def test_a_rank_deficient_layer_is_at_no_distance_from_itself() -> None:
    """With fewer images than neurons, the distance to itself stays below 1e-9 of the trace."""
    activations = {"conv1": torch.randn(60, 20, 1)}
    layout = NeuronLayout({"conv1": 60})
    distribution = LayerGaussianDistribution.empty(layout)
    distribution.fill_(activations)
    dna = VDNA(distribution, make_fingerprint().select(["conv1"]))
    trace = float(distribution.mean_and_covariance("conv1")[1].trace())
    assert 0 <= float(compare.layer_frechet(dna, dna)) < 1e-9 * trace  # type: ignore[arg-type]
