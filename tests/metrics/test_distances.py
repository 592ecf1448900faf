"""The three distances as metrics: their values, options and warnings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import assert_same_state
from helpers.metric_tester import EXTRACTOR, LAYERS, NETWORK, RANGES, assert_same, feed, filled, images, make, states
from numpy.typing import NDArray
from scipy import linalg
from torch import nn
from torchmetrics import MetricCollection

from vdna_metrics import (
    ActivationRange,
    ActivationRanges,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    VDNAEarthMoversDistance,
    build_dnas,
    compare,
    create_extractor,
)
from vdna_metrics.functional import subsample_positions


def _activations(batch: torch.Tensor) -> dict[str, NDArray[np.float64]]:
    """{layer: [images, neurons, positions]} by hand."""
    with torch.no_grad():
        first = NETWORK.conv((batch.float() / 255).double())
        last = NETWORK.last(first.relu())
    return {"conv": first.flatten(2).numpy(), "last": last.flatten(2).numpy()}


REAL, GENERATED = images(12, 1), images(9, 2)


def _by_hand(kind: str) -> dict[str, NDArray[np.float64]]:
    """{layer: one distance a neuron, or a layer}, in NumPy and SciPy alone."""
    real, generated = _activations(REAL), _activations(GENERATED)
    result = {}
    for layer in LAYERS:
        a, b = real[layer], generated[layer]
        if kind == "emd":
            end = {"conv": 12, "last": 60}[layer]
            shares = [
                np.stack([np.histogram(x[:, i], bins=40, range=(-end, end))[0] for i in range(x.shape[1])])
                for x in (a, b)
            ]
            cumulative = [np.cumsum(counts / counts.sum(axis=1, keepdims=True), axis=1) for counts in shares]
            result[layer] = np.abs(cumulative[0] - cumulative[1]).sum(axis=1)
            continue
        a, b = a.mean(axis=2), b.mean(axis=2)
        difference = a.mean(axis=0) - b.mean(axis=0)
        if kind == "nfd":
            result[layer] = difference**2 + (a.std(axis=0, ddof=1) - b.std(axis=0, ddof=1)) ** 2
        else:
            one, other = np.cov(a.T), np.cov(b.T)
            root = linalg.sqrtm(one @ other).real
            result[layer] = np.array([difference @ difference + np.trace(one + other - 2 * root)])
    return result


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd"])
def test_distances_are_those_of_the_paper(kind: str) -> None:
    """Each distance is its formula, worked out in NumPy from the activations."""
    found = filled(kind).set_dtype(torch.float64).compute()
    every = np.concatenate(list(_by_hand(kind).values()))
    assert_same(float(found), every.mean(), rtol=1e-9, atol=0)


def test_units_of_the_earth_movers_distance() -> None:
    """In units of the range the distance is divided by the bins, in units of the activation times the bins' width."""
    by_bins, by_range, by_activation = (
        filled("emd", unit=unit, reduction="none").compute() for unit in ("bins", "range", "activation")
    )
    for layer, width in (("conv", 24.0), ("last", 120.0)):
        assert_same(by_range[layer], by_bins[layer] / 40)
        assert_same(by_activation[layer], by_bins[layer] / 40 * width)


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd"])
def test_reductions(kind: str) -> None:
    """`mean` is over all neurons, `layer` within each layer, `none` gives them all; `lfd` has one number a layer."""
    by_hand = _by_hand(kind)
    mean = filled(kind).compute()
    layer = filled(kind, reduction="layer").compute()
    assert list(layer) == list(LAYERS)
    for name, expected in by_hand.items():
        assert_same(float(layer[name]), expected.mean(), rtol=1e-6, atol=0)
    assert mean.shape == layer["conv"].shape == ()
    if kind == "lfd":
        with pytest.raises(ValueError, match="has one number per layer and none per neuron: use reduction='layer'"):
            make(kind, reduction="none")
        return
    neurons = filled(kind, reduction="none").compute()
    for name, expected in by_hand.items():
        assert_same(neurons[name].double().numpy(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["emd", "nfd"])
def test_weighted_neurons(kind: str) -> None:
    """With weights the distance is their sum of products, over all neurons or within each layer."""
    weights = {"conv": [1.0, 0.0, 0.5, 2.0], "last": np.array([0.0, -1.0, 3.0])}
    by_hand = _by_hand(kind)
    sums = {layer: float(by_hand[layer] @ np.asarray(weights[layer])) for layer in LAYERS}
    assert_same(float(filled(kind, weights=weights).compute()), sum(sums.values()), rtol=1e-6, atol=0)
    found = filled(kind, weights=weights, reduction="layer").compute()
    for layer, expected in sums.items():
        assert_same(float(found[layer]), expected, rtol=1e-6, atol=0)


def test_weighted_layers() -> None:
    """The layer Fréchet distance has one weight a layer."""
    by_hand = _by_hand("lfd")
    found = filled("lfd", weights={"conv": 0.25, "last": 2.0}).compute()
    assert_same(float(found), 0.25 * by_hand["conv"][0] + 2 * by_hand["last"][0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd"])
@pytest.mark.parametrize(
    "selection",
    [
        {"layers": ["last"]},
        {"layers": "last"},
        {"neurons": {"conv": [3, 1], "last": [0, 2]}},
        {"layers": ["conv", "last"], "neurons": {"conv": torch.tensor([2, 0])}},
    ],
    ids=["a layer", "a text", "neurons", "both"],
)
def test_selections_are_parts_of_the_whole(kind: str, selection: dict[str, Any]) -> None:
    """Chosen layers and neurons give the distance of that part of the whole DNAs."""
    whole = filled(kind)
    layers = selection.get("layers")
    distance = {"emd": compare.emd, "nfd": compare.neuron_frechet, "lfd": compare.layer_frechet}[kind]
    expected = distance(whole.dna(real=True), whole.dna(), layers=layers, neurons=selection.get("neurons"))
    metric = filled(kind, **selection)
    assert_same(metric.compute(), expected.float())
    dna = whole.dna().select(layers, selection.get("neurons"))
    assert metric.dna().layout == dna.layout
    assert_same_state(metric.dna().distribution, dna.distribution)


def test_only_chosen_layers_are_run() -> None:
    """A metric of an early layer does not run what lies behind it."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1))
    runs = []
    metric = make("nfd").__class__(network, layers=["1"])
    network[2].register_forward_hook(lambda *_: runs.append(1))
    metric.update(images(3))
    assert not runs


def test_a_metrics_dna_is_that_of_the_images() -> None:
    """What a metric has counted is what build_dnas counts on the same images."""
    built = build_dnas([REAL], EXTRACTOR, ["histogram", "gaussian", "layer_gaussian"], bins=40, ranges=RANGES)
    for kind in ("emd", "nfd", "lfd"):
        dna = filled(kind).dna(real=True)
        expected = built[dna.kind]
        assert_same_state(dna.distribution, expected.distribution)
        assert dna.fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("nfd", {"reduction": "max"}, "unknown reduction 'max'; known: mean, layer, none"),
        ("lfd", {"reduction": "max"}, "unknown reduction 'max'"),
        ("emd", {"unit": "pixels"}, "unit must be one of bins, range, activation, got 'pixels'"),
        ("emd", {"bins": 0}, "bins must be between 1 and 16777216, got 0"),
        ("nfd", {"layers": ["conf"]}, "no module 'conf'; did you mean 'conv'"),
        ("nfd", {"neurons": {"cnv": [0]}}, "neurons: unknown layer 'cnv'; did you mean 'conv'"),
        ("nfd", {"neurons": {"conv": [4]}}, "layer 'conv' has no neuron 4; it has 4 neurons, 0 to 3"),
        ("nfd", {"neurons": {"conv": [1, 1]}}, r"neurons of layer 'conv' must be distinct and not empty, got \[1, 1\]"),
        ("nfd", {"neurons": {"conv": []}}, "must be distinct and not empty"),
        ("lfd", {"layers": ["last"], "neurons": {"conv": [0]}}, "neurons: unknown layer 'conv'; known: last"),
        ("nfd", {"weights": {"cnv": [1.0]}}, "weights: unknown layer 'cnv'; did you mean 'conv'"),
        ("nfd", {"weights": {"conv": [1.0] * 4}}, "weights miss layer 'last'; they have: conv"),
        ("emd", {"weights": {"conv": [1.0], "last": [1.0] * 3}}, "layer 'conv': 1 given, the layer has 4 neurons"),
        ("lfd", {"weights": {"conv": [1.0] * 4, "last": 1.0}}, "layer 'conv': 4 given, the layer has 1"),
    ],
)
def test_wrong_options_are_refused_when_the_metric_is_built(kind: str, options: dict[str, Any], message: str) -> None:
    """Unknown names, wrong numbers and weights that do not fit are errors of the constructor."""
    with pytest.raises(ValueError, match=message):
        make(kind, **options)


# ----------------------------------------------------------------------------------------------------------- positions
def _of_some(batch: torch.Tensor, n: int) -> dict[str, NDArray[np.float64]]:
    return {
        layer: subsample_positions(torch.from_numpy(x).transpose(0, 1), n).numpy()
        for layer, x in _activations(batch).items()
    }


def test_some_positions_are_counted() -> None:
    """With max_positions each image counts that often a layer, and the histogram is that of these positions."""
    metric = filled("emd", max_positions=7)
    dna = metric.dna()
    assert dna.provenance.max_positions == 7
    some = _of_some(GENERATED, 7)
    for layer, counts in dna.layout.split(dna.distribution.counts).items():
        end = {"conv": 12, "last": 60}[layer]
        for neuron, found in enumerate(counts):
            expected = np.histogram(some[layer][neuron], bins=40, range=(-end, end))[0]
            assert found.tolist() == expected.tolist()
            assert int(found.sum()) == 7 * len(GENERATED)
    assert filled("emd", max_positions=10_000).compute() == filled("emd").compute()


def test_some_positions_estimate_the_distance() -> None:
    """Half of the positions give the distance to within a few percent."""
    whole, half = (filled("emd", real=200, generated=200, max_positions=number) for number in (None, 12))
    assert_same(half.compute(), whole.compute(), rtol=0.1, atol=0)
    assert half.compute() != whole.compute()


def test_other_positions_are_refused() -> None:
    """A reference of other positions is refused when the metric is built, with both numbers, unless asked for."""
    whole, some = filled("emd"), filled("emd", max_positions=7)
    for reference, number, sides in (
        (whole, 7, "reference all, metric 7"),
        (some, None, "reference 7, metric all"),
        (some, 8, "reference 7, metric 8"),
    ):
        dna = reference.dna(real=True)
        with pytest.raises(ValueError, match=rf"max_positions differ: {sides}\. .* or allow_subsampled=True"):
            make("emd", reference=dna, max_positions=number)
        metric = make("emd", reference=dna, max_positions=number, allow_subsampled=True)
        feed(metric, GENERATED)
        assert_same(metric.compute(), compare.emd(dna, metric.dna(), allow_subsampled=True).float())
    alike = make("emd", reference=some.dna(real=True), max_positions=7)
    feed(alike, GENERATED)
    assert_same(alike.compute(), some.compute())


def test_counts_of_other_positions_are_not_mixed() -> None:
    """Neither a collection, nor merging, nor a checkpoint puts counts of other positions together."""
    whole, some = make("emd"), make("emd", max_positions=7)
    collection = MetricCollection({"whole": whole, "some": some})
    collection.update(images(0), real=False)
    assert len(collection.compute_groups) == 2
    with pytest.raises(ValueError, match="max_positions"):
        filled("emd").merge_state(filled("emd", max_positions=7))


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(0, ValueError, "max_positions must be at least 1, got 0"), ("7", TypeError, "max_positions must be an int")],
)
def test_impossible_numbers_of_positions_are_refused(number: Any, error: type[Exception], message: str) -> None:
    """Anything but a number of positions is an error of the constructor."""
    with pytest.raises(error, match=message):
        make("emd", max_positions=number)


# -------------------------------------------------------------------------------------------------------------- ranges
def test_ranges_may_be_a_file(tmp_path: Path) -> None:
    """Ranges are taken from a file as they are from memory."""
    path = RANGES.save(tmp_path / "ranges.npz")
    for given in (path, str(path)):
        assert_same(filled("emd", ranges=given).compute(), filled("emd").compute())


def test_ranges_may_come_in_any_order() -> None:
    """Ranges whose layers are in another order than the network's serve as well."""
    turned = ActivationRanges.from_extremes(
        {"last": [-60.0] * 3, "conv": [-12.0] * 4}, {"last": [60.0] * 3, "conv": [12.0] * 4}, widen="none"
    )
    metric = filled("emd", ranges=turned)
    assert list(metric.dna().layout) == ["conv", "last"]
    assert_same(metric.compute(), filled("emd").compute())


def test_ranges_of_more_serve_a_part() -> None:
    """Ranges of all layers and neurons serve a metric of some."""
    metric = filled("emd", layers=["last"], neurons={"last": [2]})
    assert torch.equal(metric.dna().distribution.ranges.high, torch.tensor([60.0]))


def test_ranges_that_do_not_fit_are_refused() -> None:
    """Ranges of another network, of other layers or of another number of neurons are errors of the constructor."""
    low, high = {"conv": [-1.0] * 4, "last": [-1.0] * 3}, {"conv": [1.0] * 4, "last": [1.0] * 3}
    wide = ActivationRanges.from_extremes(low | {"conv": [-1.0] * 5}, high | {"conv": [1.0] * 5})
    with pytest.raises(ValueError, match="do not fit: expected 4 neurons in layer 'conv', got 5"):
        make("emd", ranges=wide)
    with pytest.raises(ValueError, match="layers: unknown layer 'last'"):
        make("emd", ranges=ActivationRanges.from_extremes({"conv": [-1.0] * 4}, {"conv": [1.0] * 4}))
    calibration = ActivationRange(nn.Sequential(nn.Conv2d(3, 4, 1)), layers={"conv": "0"})
    calibration.update(images(3))
    with pytest.raises(ValueError, match=r"not made with this extractor: architecture differ: ranges .*Sequential"):
        make("emd", layers=["conv"], ranges=calibration.ranges())


def test_without_ranges_histograms_find_their_own() -> None:
    """Where no ranges ship and the reference brings none, a metric works on its first batch, as by ranges="auto"."""
    default, auto = (VDNAEarthMoversDistance(NETWORK, layers=LAYERS, **given) for given in ({}, {"ranges": "auto"}))
    for metric in (default, auto):
        metric.update(images(4, 1), real=True)
        metric.update(images(4, 2))
    assert default.compute() == auto.compute() > 0
    assert VDNAEarthMoversDistance("vdna_tiny")._empty.given.sources  # those that ship stay the default


def test_given_and_found_ranges_are_not_compared() -> None:
    """A metric refuses a reference whose ranges were given where it finds its own, and takes auto from one that did."""
    with pytest.raises(ValueError, match=r"activation ranges differ: reference \[-60 .. 60\] .*, metric auto"):
        make("emd", reference=filled("emd").dna(real=True), ranges="auto")
    metric = make("auto", reference=filled("auto").dna(real=True))
    feed(metric, images(9, 2))
    assert_same(metric.compute(), filled("auto").compute())


def test_a_references_ranges_are_the_metrics() -> None:
    """A metric takes the ranges of its reference; other bins or ranges than the reference's are refused."""
    dna = filled("emd").dna(real=True)
    assert make("emd", reference=dna)._empty.ranges.equals(RANGES)
    with pytest.raises(ValueError, match="does not fit the metric: bins differ: reference 40, metric 1000"):
        VDNAEarthMoversDistance(NETWORK, layers=LAYERS, reference=dna)
    with pytest.raises(ValueError, match=r"activation ranges differ: reference \[-60 .. 60\] .*, metric \[-72 .. 72\]"):
        make("emd", reference=dna, ranges=replace(RANGES, widen="margin"))


def test_dead_neurons_are_at_no_distance() -> None:
    """A neuron whose range has no width gives zero, not NaN, while it stays at its value."""
    dead = ActivationRanges.from_extremes({"output": [0.0, 0.0, 0.5]}, {"output": [1.0, 1.0, 0.5]}, widen="none")
    metric = VDNAEarthMoversDistance(nn.AvgPool2d(4), ranges=dead, bins=8, reduction="none")
    batch = images(3, 1, size=8)
    batch[:, 2] = 127
    for real in (True, False):
        metric.update(batch // (2 - real) if real else batch, real=real)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = metric.compute()["output"]
    assert found.isfinite().all()
    assert found[2] == 0


# ------------------------------------------------------------------------------------------------------------ warnings
def _warnings_of(metric: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metric.compute()
    return [str(warning.message) for warning in caught]


def test_activations_outside_the_ranges_warn_once() -> None:
    """More than 1 % outside the ranges warns once, naming the sides, the layers and what to do."""
    narrow = ActivationRanges.from_extremes(
        {"conv": [-0.1] * 4, "last": [-60.0] * 3}, {"conv": [0.1] * 4, "last": [60.0] * 3}, widen="none"
    )
    metric = filled("emd", ranges=narrow)
    (sentence,) = [sentence for sentence in _warnings_of(metric) if "few" not in sentence]
    outside = r"more than 1 % .* outside the activation ranges in 1 of 2 layers \(conv \S+\)"
    assert re.match(rf"real images: {outside}; generated images: {outside}; they are counted in", sentence)
    assert sentence.count("vdna-metrics calibrate") == 1
    feed(metric, images(20, 5))
    assert _warnings_of(metric) == []
    metric.reset()
    feed(metric, REAL, real=True)
    feed(metric, GENERATED)
    assert _warnings_of(metric) == []
    assert not any("outside" in sentence for sentence in _warnings_of(filled("emd")))


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd"])
def test_few_images_warn_once(kind: str) -> None:
    """Fewer than 100 warn once, with what chance adds, not once a batch or side; as many do not."""
    metric = make(kind)
    feed(metric, images(100, 1), real=True)
    for n, expected in ((3, 1), (1, 0), (96, 0)):
        feed(metric, images(n, 2))
        found = _warnings_of(metric)
        assert len(found) == expected
        assert all(sentence.startswith("generated images: 3 images are ") for sentence in found)
        assert all("; chance alone adds " in sentence for sentence in found)
    early = make(kind)
    feed(early, images(2, 1), real=True)
    feed(early, images(100, 2))
    (sentence,) = _warnings_of(early)
    covariance = "too few to estimate the covariance of conv (4 neurons), last" if kind == "lfd" else "few; "
    assert sentence.startswith(f"real images: 2 images are {covariance}")
    both = make(kind)
    feed(both, images(3, 1), real=True)
    feed(both, images(2, 2))
    (sentence,) = _warnings_of(both)
    assert re.match("real images: 3 images are .*; generated images: 2 images are ", sentence)


@pytest.mark.parametrize(
    "call",
    [
        lambda metric: metric.compute(),
        lambda metric: metric(images(3, 2)),
        lambda metric: metric.forward(images(3, 2)),
        lambda metric: MetricCollection({"lfd": metric}).compute(),
        lambda metric: MetricCollection({"lfd": metric})(images(3, 2)),
    ],
    ids=["compute", "call", "forward", "collection", "call of a collection"],
)
def test_warnings_name_the_line_of_the_caller(call: Callable[[Any], object]) -> None:
    """A warning of a result points at the user's own line, however the result was asked for."""
    metric = filled("lfd", real=2, generated=3)
    with pytest.warns(UserWarning, match="too few to estimate") as seen:
        call(metric)
    assert {(warning.filename, warning.lineno) for warning in seen} == {(__file__, call.__code__.co_firstlineno)}


@pytest.mark.parametrize("kind", ["nfd", "lfd"])
def test_one_image_is_no_gaussian(kind: str) -> None:
    """Gaussian kinds refuse a side of one image, saying which; a histogram takes it."""
    for real, generated, side in ((12, 1, "generated"), (1, 9, "real")):
        with pytest.raises(ValueError, match=f"expected at least 2 {side} images, got 1"):
            filled(kind, real=real, generated=generated).compute()
    assert filled("emd", real=1, generated=1).compute() > 0


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd"])
def test_activations_that_are_not_finite_are_refused(kind: str) -> None:
    """NaN in a network is an error that names its layers and leaves the states as they were."""

    class Share(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.abs().sum(dim=1, keepdim=True)  # not a number where all are 0

    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), Share())
    ranges = ActivationRanges.from_extremes({"0": [0.0] * 2, "1": [0.0] * 2}, {"0": [1.0] * 2, "1": [1.0] * 2})
    options = {"ranges": ranges, "bins": 4} if kind == "emd" else {}
    metric = type(make(kind))(network, layers=["0", "1"], **options)
    metric.update(images(4, 1).clamp(min=1), real=True)
    before = states(metric)
    with pytest.raises(ValueError, match=r"activations are not finite .* in layer 1: "):
        metric.update(torch.zeros_like(images(4, 2)))
    assert all(torch.equal(before[name], state) for name, state in states(metric).items())


def test_the_covariance_of_many_neurons_from_few_images() -> None:
    """Fewer images than neurons give a distance that is finite, and zero from themselves."""
    metric = LayerFrechetDistance(nn.Sequential(nn.Conv2d(3, 64, 3)), layers=["0"])
    feed(metric, images(10, 1), real=True)
    feed(metric, images(10, 1))
    assert 0 <= metric.compute() < 1e-9
    feed(metric, images(5, 2))
    assert metric.compute() > 1e-6


def test_neurons_without_a_width_are_told_once() -> None:
    """How many the units bins and range leave out is a warning; in activations they count, and nothing is said."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with torch.no_grad():
        network[0].weight[:2] = 0
    for unit, times in (("bins", 1), ("range", 1), ("activation", 0)):
        metric = VDNAEarthMoversDistance(network, layers=["0"], unit=unit)
        metric.update(images(4, 1), real=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for seed in (2, 3):
                metric.update(images(4, seed))
                metric.compute()
        told = [str(each.message) for each in caught]
        assert sum("real images: 2 of 4 neurons gave one value to all images" in each for each in told) == times, told


def test_a_metric_shows_its_settings() -> None:
    """Network, layers, neurons, reference and histograms, on a line, in collections too; many layers are counted."""
    network = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 1) for _ in range(6)))
    extractor = create_extractor(network, layers=[str(i) for i in range(6)])
    seen = "extractor=module:Sequential, layers=[2, 3], neurons=6"
    metric = VDNAEarthMoversDistance(extractor, layers=["2", "3"], bins=20)
    assert repr(metric) == f"VDNAEarthMoversDistance({seen}, reference=None, unit=bins, bins=20, ranges=auto)"
    nfd = NeuronFrechetDistance(extractor)
    assert repr(nfd) == (
        "NeuronFrechetDistance(extractor=module:Sequential, layers=6 layers, neurons=18, reference=None)"
    )
    assert repr(MetricCollection([metric, nfd])).splitlines()[1:-1] == [
        f"  (VDNAEarthMoversDistance): {metric!r}", f"  (NeuronFrechetDistance): {nfd!r}",
    ]  # fmt: skip
    calibration = ActivationRange(extractor, layers=["2", "3"])
    assert repr(calibration) == f"ActivationRange({seen})"
    calibration.update(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    metric = VDNAEarthMoversDistance(extractor, ranges=calibration.ranges(), layers=["2", "3"], unit="activation")
    assert repr(metric).endswith(", unit=activation, bins=1000, ranges=margin over 2 images)")
    metric.update(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    compared = VDNAEarthMoversDistance(extractor, reference=metric.dna(), layers=["2", "3"])
    assert "reference=2 images of unknown source, " in repr(compared)
