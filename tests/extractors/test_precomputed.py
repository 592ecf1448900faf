"""Features that were computed elsewhere, as an extractor: what is taken, and what comes out is as of a network."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from vdna_metrics import (
    ActivationRange,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    PrecomputedFeatures,
    Reading,
    VDNAEarthMoversDistance,
    build_dnas,
    calibrate,
    compare,
    create_extractor,
)
from vdna_metrics.analysis import collect_features, compare_images, rank_images
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional import frechet_distance

STREAM = np.random.default_rng(0)
REAL = {"pool": STREAM.normal(size=(60, 4)).astype("f4"), "block9": STREAM.normal(size=(60, 3)).astype("f4")}
FAKE = {"block9": STREAM.normal(1, 2, (40, 3)).astype("f4"), "pool": STREAM.normal(size=(40, 4)).astype("f4")}
TAKER = PrecomputedFeatures({"pool": 4, "block9": 3})


def _tensors(features: dict[str, Any]) -> dict[str, Tensor]:
    return {layer: torch.from_numpy(rows) for layer, rows in features.items()}


def test_each_row_is_an_image_and_each_column_a_neuron() -> None:
    """Activations are ``[neurons, images, 1]`` of each layer, of arrays and tensors of any order alike."""
    extractor = create_extractor(TAKER)
    assert dict(extractor.layout) == {"block9": 3, "pool": 4}
    for features in (FAKE, _tensors(FAKE), {layer: FAKE[layer] for layer in ("pool", "block9")}):
        found = extractor(features)
        assert list(found) == ["block9", "pool"]
        for layer, rows in FAKE.items():
            assert torch.equal(found[layer], torch.from_numpy(rows).T[..., None])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_all_types_of_floats_are_taken(dtype: torch.dtype) -> None:
    """What is counted are the numbers as they come."""
    rows = torch.tensor([[0.5, -2.0], [0.25, 4.0]], dtype=dtype)
    metric = NeuronFrechetDistance(PrecomputedFeatures({"x": 2}))
    metric.update(rows, real=True)
    metric.update(rows + 1)
    assert metric.compute() == 1


def test_a_metric_of_features_is_the_function_of_their_moments() -> None:
    """LFD of one layer is the Fréchet distance of the arrays; batches, and one-layer arrays without a name, add up."""
    metric = LayerFrechetDistance(PrecomputedFeatures({"pool": 4}))
    for part in np.array_split(REAL["pool"], 3):
        metric.update(part, real=True)
    metric.update(torch.from_numpy(FAKE["pool"][:7]))
    metric.update({"pool": FAKE["pool"][7:]})
    real, fake = (torch.from_numpy(each["pool"]).double() for each in (REAL, FAKE))
    moments = [each.mean(0) for each in (real, fake)], [each.T.cov() for each in (real, fake)]
    expected = frechet_distance(moments[0][0], moments[1][0], moments[0][1], moments[1][1])
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("kind", ["histogram", "gaussian", "layer_gaussian"])
def test_metrics_and_builders_give_the_same_dna(kind: Any) -> None:
    """A metric's DNA is that of `build_dnas`, in the ranges that `calibrate` and `ActivationRange` give."""
    ranges = calibrate(REAL, TAKER)
    calibration = ActivationRange(TAKER)
    calibration.update(REAL)
    assert calibration.ranges().equals(ranges)
    options: dict[str, Any] = {"ranges": ranges, "bins": 20} if kind == "histogram" else {}
    built = build_dnas(FAKE, TAKER, [kind], reading=Reading(batch_size=40), **options)[kind]
    classes = {"histogram": VDNAEarthMoversDistance, "gaussian": NeuronFrechetDistance}
    metric = classes.get(kind, LayerFrechetDistance)(TAKER, **options)
    metric.update(FAKE)
    assert torch.equal(metric.dna().distribution.state, built.distribution.state)
    assert metric.dna().fingerprint == built.fingerprint
    assert built.n_images == 40


def test_copies_pickles_and_equal_values_are_one_extractor() -> None:
    """The same layers of the same network are one, in whatever order they are said."""
    extractor = create_extractor(TAKER)
    assert create_extractor(PrecomputedFeatures({"block9": 3, "pool": 4})) is extractor
    assert create_extractor(PrecomputedFeatures({"block9": 3, "pool": 4}, "vit")) is not extractor
    assert copy.deepcopy(extractor) is pickle.loads(pickle.dumps(extractor)) is extractor
    metric = NeuronFrechetDistance(TAKER)
    metric.update(REAL, real=True)
    metric.update(FAKE)
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


def test_features_of_a_collection() -> None:
    """Metrics of a collection, forward, reset and a reference work as with a network."""
    reference = build_dnas(REAL, TAKER, ["gaussian"])["gaussian"]
    metrics = {"nfd": NeuronFrechetDistance(TAKER, reference=reference, layers=["pool"]), "lfd": None}
    metrics["lfd"] = LayerFrechetDistance(TAKER)
    metrics["lfd"].update(REAL, real=True)
    alone = NeuronFrechetDistance(TAKER, reference=reference, layers=["pool"])
    alone.update(FAKE)
    collection = MetricCollection(metrics, compute_groups=False)
    batch = collection(FAKE)
    assert batch["nfd"] == collection.compute()["nfd"] == alone.compute()
    metrics["nfd"].reset()
    assert metrics["nfd"].dna().n_images == 0


def test_an_empty_batch_is_none() -> None:
    """No rows change nothing."""
    metric = NeuronFrechetDistance(TAKER)
    metric.update({"pool": np.zeros((0, 4)), "block9": np.zeros((0, 3))})
    assert metric.dna().n_images == 0


def test_features_of_two_networks_are_not_compared() -> None:
    """The name that the user gives tells networks apart; without one on a side, layers and their numbers do."""
    named, other, unnamed = (
        build_dnas(REAL, PrecomputedFeatures.of(REAL, name), ["gaussian"])["gaussian"] for name in ("vit", "clip", "")
    )
    assert compare.neuron_frechet(named, unnamed) == compare.neuron_frechet(unnamed, other) == 0
    with pytest.raises(ValueError, match="architecture differ: reference features:vit, generated features:clip"):
        compare.neuron_frechet(named, other)
    network = ExtractorFingerprint("resnet18", "", "none", unnamed.fingerprint.paths)
    assert [what for what, _, _ in unnamed.fingerprint.differences(network)] == ["architecture"]
    wider = build_dnas({**REAL, "block9": REAL["pool"]}, PrecomputedFeatures({"pool": 4, "block9": 4}), ["gaussian"])
    with pytest.raises(ValueError, match="neurons of layer 'block9' differ: reference 4, generated 3"):
        compare.neuron_frechet(wider["gaussian"], unnamed)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (np.zeros((2, 4)), ValueError, r"expected {layer: \[n, d\]} of the layers block9, pool, got one array"),
        ({"pool": np.zeros((2, 4))}, ValueError, "expected features of the layers block9, pool, got pool"),
        (
            {"pool": np.zeros((2, 5)), "block9": np.zeros((2, 3))},
            ValueError,
            r"of layer 'pool' to be floats \[n, 4\], got float64 \[2, 5\]",
        ),
        (
            {"pool": np.zeros((3, 4)), "block9": np.zeros((2, 3))},
            ValueError,
            "as many rows in each layer, got {'block9': 2, 'pool': 3}",
        ),
        (
            {"pool": np.zeros((2, 4), np.int64), "block9": np.zeros((2, 3))},
            TypeError,
            r"to be floats \[n, 4\], got int64 \[2, 4\]",
        ),
        (
            {"pool": np.zeros((2, 3, 8, 8), np.uint8), "block9": np.zeros((2, 3))},
            TypeError,
            r"got uint8 \[2, 3, 8, 8\]; images need a network, extractor=NAME",
        ),
        ({"pool": [[1.0] * 4], "block9": np.zeros((1, 3))}, TypeError, "got a list"),
        ({"pool": np.full((1, 4), np.nan), "block9": np.zeros((1, 3))}, ValueError, "not finite .* in layer pool"),
    ],
)
def test_what_is_no_batch_of_features_is_refused(features: Any, error: type[Exception], message: str) -> None:
    """Other layers, widths, numbers of rows and types show both sides, and count nothing."""
    metric = NeuronFrechetDistance(TAKER)
    with pytest.raises(error, match=message):
        metric.update(features)
    assert metric.dna().n_images == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create_extractor(TAKER, precision="bf16"), "precision: of a network that is run"),
        (lambda: create_extractor(TAKER, weights_path="x.pth"), "weights_path is for extractors by name"),
        (lambda: create_extractor(TAKER, layers=["pool"]), "layers can be chosen for"),
        (lambda: PrecomputedFeatures({}), "at least one layer"),
        (lambda: PrecomputedFeatures({"pool": 0}), "needs at least one neuron"),
        (lambda: NeuronFrechetDistance(TAKER, normalize=True).update(REAL), "normalize=True scales images"),
        (lambda: build_dnas(REAL, "vdna_tiny"), r"holds features, .*extractor=PrecomputedFeatures\(\{'block9': 3"),
        (lambda: build_dnas(np.zeros((2, 8, 8, 3), np.uint8), TAKER, ["gaussian"]), "expected features .*, got images"),
        (lambda: build_dnas({"pool": REAL["pool"]}, TAKER, ["gaussian"]), "expected features .*, got features"),
        (lambda: NeuronFrechetDistance("vdna_tiny").update(torch.zeros(2, 4)), r"features \[N, d\] are for extractor="),
        (lambda: NeuronFrechetDistance("features:vit"), "features that were computed elsewhere, which no network"),
    ],
)
def test_features_and_images_are_not_mistaken(call: Callable[[], Any], message: str) -> None:
    """What is for networks or for images is refused with what to do instead."""
    with pytest.raises(ValueError, match=message):
        call()


def test_batches_of_a_loader_are_taken() -> None:
    """Builders take batches of features, alone or with what else a loader gives."""
    whole = build_dnas(REAL, TAKER, ["gaussian"])["gaussian"]
    parts = [{layer: rows[start : start + 25] for layer, rows in _tensors(REAL).items()} for start in (0, 25, 50)]
    for batches in (parts, [(part, "labels") for part in parts]):
        dna = build_dnas(batches, TAKER, ["gaussian"])["gaussian"]
        assert dna.n_images == 60
        assert torch.allclose(dna.distribution.state[0], whole.distribution.state[0])
        assert float(compare.neuron_frechet(dna, whole)) < 1e-12


def test_analysis_of_features_has_no_pictures() -> None:
    """Rows are ranked, compared and collected as images are; pictures and mirror images of them are refused at once."""
    dna = build_dnas(REAL, TAKER, ["gaussian"])["gaussian"]
    assert len(rank_images(FAKE, dna, TAKER)) == len(compare_images(FAKE, FAKE, TAKER, distance="nfd")) == 40
    assert torch.equal(collect_features(FAKE, TAKER, layer="pool").vectors, torch.from_numpy(FAKE["pool"]))
    for call in (
        lambda: rank_images(FAKE, dna, TAKER, pictures=1),
        lambda: collect_features(FAKE, TAKER, mirrored=True),
    ):
        with pytest.raises(ValueError, match="features: expected images, of which there are pictures, got features"):
            call()
    with pytest.raises(ValueError, match=r"expected features .*, got images"):
        compare_images(np.zeros((1, 8, 8, 3), np.uint8), FAKE, TAKER, distance="nfd")
