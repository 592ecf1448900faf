"""FDr^k as a metric: a wrapper of layer Fréchet distances in several networks."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from vdna_metrics import (
    VDNA,
    FrechetDistanceRatio,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    build_dnas,
    compare,
    create_extractor,
    functional,
)
from vdna_metrics.metrics import FrechetNormaliser

NETWORKS = {
    "fine": create_extractor(nn.Sequential(nn.AvgPool2d(8), nn.Flatten()), size=16),
    "coarse": create_extractor(nn.AvgPool2d(16), size=16),
    "a.dotted": create_extractor(nn.MaxPool2d(8), size=16),
}


def _images(n: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 3, 16, 16, generator=generator) * 255 * scale).byte()


def _dnas(images: Tensor) -> dict[str, VDNA]:
    return {
        name: build_dnas(images.split(5), network, ["layer_gaussian"])["layer_gaussian"]
        for name, network in NETWORKS.items()
    }


TRAIN, VALIDATION = _dnas(_images(40, 0)), _dnas(_images(20, 1, 0.95))
GENERATED = _images(20, 2, 0.8)


def _make(normalisers: Any = VALIDATION, **options: Any) -> FrechetDistanceRatio:
    metrics = {
        name: LayerFrechetDistance(network, reference=TRAIN[name], **options) for name, network in NETWORKS.items()
    }
    return FrechetDistanceRatio(metrics, normalisers).set_dtype(torch.float64)


def _filled(images: Tensor = GENERATED, **options: Any) -> FrechetDistanceRatio:
    metric = _make(**options)
    for batch in images.split(7):
        metric.update(batch)
    return metric


def _expected(images: Tensor = GENERATED) -> float:
    made = _dnas(images)
    found = [compare.layer_frechet(TRAIN[name], made[name]) for name in NETWORKS]
    over = [compare.layer_frechet(TRAIN[name], VALIDATION[name]) for name in NETWORKS]
    return float(sum(a / b for a, b in zip(found, over, strict=True)) / len(found))


def test_the_ratio_is_the_mean_of_the_networks() -> None:
    """It is the mean over networks of the distance from the training set over that of the validation set."""
    metric = _filled()
    assert float(metric.compute()) == pytest.approx(_expected(), rel=1e-12)
    assert metric.compute().dtype == torch.float64
    assert float(_filled(_images(20, 1, 0.95)).compute()) == pytest.approx(1, rel=1e-12)
    normalisers = metric.normalisers
    assert {name: each.n_images for name, each in normalisers.items()} == dict.fromkeys(NETWORKS, 20)


def test_what_was_recorded_takes_the_place_of_a_validation_set() -> None:
    """Normalisers as numbers or records give the same ratio as the DNAs that they are of."""
    recorded = {name: FrechetNormaliser(**asdict(each)) for name, each in _make().normalisers.items()}
    numbers = {name: each.value for name, each in recorded.items()}
    for given in (recorded, numbers):
        assert float(_filled(normalisers=given).compute()) == pytest.approx(_expected(), rel=1e-12)


def test_a_validation_set_may_be_a_file(tmp_path: Path) -> None:
    """The DNA of a validation set is taken from its file, as a reference is."""
    files = {name: str(dna.save(tmp_path / f"{place}.npz")) for place, (name, dna) in enumerate(VALIDATION.items())}
    assert _make(files).normalisers == _make().normalisers


def test_plain_distances_need_as_many_images() -> None:
    """Another number of generated than of validation images is refused, where that is known; a number has none."""
    few = GENERATED[:12]
    with pytest.raises(ValueError, match=r"Expected 20 generated images, as many as the validation .*'fine', got 12"):
        _filled(few).compute()
    numbers = {name: each.value for name, each in _make().normalisers.items()}
    assert float(_filled(few, normalisers=numbers).compute()) == pytest.approx(_expected(few), rel=1e-12)


def test_a_ratio_of_nothing_is_refused() -> None:
    """Where a normaliser is not above 0, or its interval holds 0, no ratio is defined."""
    known = _make().normalisers
    for wrong in (0.0, -0.1, replace(known["coarse"], low=-0.01, high=1.0)):
        with pytest.raises(ValueError, match=r"for 'coarse'.*no ratio is defined"):
            _filled(normalisers={**known, "coarse": wrong}).compute()
    assert _filled(normalisers={**known, "coarse": replace(known["coarse"], low=1e-9, high=1.0)}).compute() > 0


def test_states_are_those_of_the_metrics(tmp_path: Path) -> None:
    """Copies, pickles, checkpoints, merges, forwards and resets do what they do with the metrics inside."""
    expected, whole = _expected(), _filled()
    for copied in (whole.clone(), copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert float(copied.compute()) == pytest.approx(expected, rel=1e-12)
    whole.persistent(True)
    torch.save(whole.state_dict(), tmp_path / "ratio.pt")
    loaded = _make()
    loaded.persistent(True)
    loaded.load_state_dict(torch.load(tmp_path / "ratio.pt", weights_only=True))
    assert float(loaded.compute()) == pytest.approx(expected, rel=1e-12)
    first, second = _make(), _make()
    assert first(GENERATED[:9]) is None
    second.update(GENERATED[9:])
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(expected, rel=1e-12)
    first.reset()
    with pytest.raises(ValueError, match="no generated images yet"):
        first.compute()
    first.update(GENERATED)
    assert float(first.compute()) == pytest.approx(expected, rel=1e-12)


def test_merging_what_does_not_belong_together_is_refused() -> None:
    """States are merged with those of a ratio of the same normalisers, and with nothing else."""
    other = _make({name: 1.0 for name in NETWORKS})
    with pytest.raises(ValueError, match="Expected the normalisers"):
        _make().merge_state(other)
    with pytest.raises(TypeError, match="FrechetDistanceRatio"):
        _make().merge_state({})


def test_a_ratio_is_one_of_a_collection() -> None:
    """In a MetricCollection it stands beside others and is computed with them."""
    collection = MetricCollection({"ratio": _make(), "other": _make({name: 1.0 for name in NETWORKS})})
    collection.update(GENERATED)
    found = collection.compute()
    assert float(found["ratio"]) == pytest.approx(_expected(), rel=1e-12)
    assert float(found["other"]) != pytest.approx(float(found["ratio"]), rel=1e-2)


def test_images_of_all_processes_count() -> None:
    """Numbers of images and distances are those of all processes, and afterwards each has its own again."""
    options: dict[str, Any] = {
        "distributed_available_fn": lambda: True,
        "dist_sync_fn": lambda state, group=None: [state, state],
    }
    metric = _make(**options)
    metric.update(GENERATED[:10])
    twice = torch.cat([GENERATED[:10]] * 2)
    for _ in range(2):
        assert float(metric.compute()) == pytest.approx(_expected(twice), rel=1e-9)
    assert {each.dna().n_images for each in metric.metrics.values()} == {10}


def test_networks_see_the_same_images() -> None:
    """Networks that have seen other numbers of images are not averaged."""
    metric = _make({name: 1.0 for name in NETWORKS})
    metric.update(GENERATED)
    metric.metrics["fine"].update(GENERATED)
    with pytest.raises(ValueError, match=r"Expected each network to have seen the same images, got \[20, 40\]"):
        metric.compute()


def test_wrong_arguments_are_named() -> None:
    """Metrics without a reference or of another kind, names that differ, and corrected normalisers are refused."""
    lfd = LayerFrechetDistance(NETWORKS["fine"], reference=TRAIN["fine"])
    for metrics, normalisers, error, message in (
        ({}, {}, ValueError, "of at least one network, got metrics of none, normalisers of none"),
        ({"a": lfd}, {"b": 1.0}, ValueError, "got metrics a, normalisers b"),
        ({"a": LayerFrechetDistance(NETWORKS["fine"])}, {"a": 1.0}, ValueError, "'a' to have a reference"),
        ({"a": NeuronFrechetDistance(NETWORKS["fine"])}, {"a": 1.0}, TypeError, "'a' to be of layer Gaussians"),
        ({"a": nn.Identity()}, {"a": 1.0}, TypeError, "expected the metric of 'a' to be DistanceMetric"),
        ({"a": lfd}, {"a": FrechetNormaliser(1.0, corrected=True)}, ValueError, "'a' that is not corrected"),
        ({"a": lfd}, {"a": VALIDATION["coarse"]}, ValueError, "differ"),
        ([lfd], {"a": 1.0}, TypeError, "expected metrics to be Mapping"),
    ):
        with pytest.raises(error, match=message):
            FrechetDistanceRatio(metrics, normalisers)
    with pytest.raises(ValueError, match=r"both ends of an interval or none, got 1\.0 and None"):
        FrechetNormaliser(1.0, low=1.0)
    with pytest.raises(TypeError, match="the value of a normaliser"):
        FrechetNormaliser("1")


def test_it_is_the_functional() -> None:
    """It agrees with `functional.frechet_distance_ratio` of its metrics' values, and shows its normalisers."""
    metric = _filled()
    values = torch.stack([each.compute() for each in metric.metrics.values()])
    over = torch.tensor([each.value for each in metric.normalisers.values()], dtype=torch.float64)
    assert float(metric.compute()) == float(functional.frechet_distance_ratio(values, over))
    assert f"fine: {metric.normalisers['fine'].value:.6g}" in repr(metric)


def test_recorded_normalisers_need_names_alone() -> None:
    """Without normalisers they are those that were recorded with the references, of the layers that are compared."""
    layers = ["blocks.0", "blocks.2", "blocks.4"]
    photographs = {"vdna_tiny": LayerFrechetDistance("vdna_tiny", layers=layers, reference="bsds500/trainval")}
    recorded = FrechetDistanceRatio(photographs).normalisers["vdna_tiny"]
    measured = FrechetDistanceRatio(photographs, {"vdna_tiny": "bsds500/test"}).normalisers["vdna_tiny"]
    assert recorded.value == pytest.approx(measured.value, rel=1e-6)
    assert (recorded.n_images, recorded.validation, recorded.corrected) == (200, "bsds500/test", False)
    first = {"vdna_tiny": LayerFrechetDistance("vdna_tiny", layers=layers[:1], reference="bsds500/trainval")}
    with pytest.raises(
        ValueError, match=r"plain normaliser of blocks\.0 with bsds500/trainval@vdna_tiny.*, got 4\.845"
    ):
        FrechetDistanceRatio(first)
    with pytest.raises(ValueError, match=r"of 'vdna_tiny' of what is compared, blocks\.0, got 4\.845"):
        FrechetDistanceRatio(first, {"vdna_tiny": recorded})
    with pytest.raises(ValueError, match=r"Expected the reference of 'fine' to be a name, .*give normalisers="):
        FrechetDistanceRatio({"fine": LayerFrechetDistance(NETWORKS["fine"], reference=TRAIN["fine"])})
