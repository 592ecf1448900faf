"""Metrics of features: their numbers are those of the functions on the same features."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.metric_tester import EXTRACTOR, FEATURES, LAYERS, images
from torch import Tensor
from torchmetrics import MetricCollection

from vdna_metrics import VDNA, build_dnas, create_extractor, functional
from vdna_metrics.dna.distances import find_distance
from vdna_metrics.extractors.directions import Directions
from vdna_metrics.metrics import (
    DensityCoverage,
    DistanceMetric,
    FeatureDistanceMetric,
    ImprovedPrecisionRecall,
    InceptionScore,
    KernelDistance,
    KernelInceptionDistance,
    MongeInceptionDistance,
    SlicedWassersteinDistance,
    VendiScore,
)

REAL, FAKE = images(40, 1), images(30, 3)  # of other noise, as bright
VECTORS = torch.from_numpy(Directions(20, 3).vectors(3))
RBF = functional.RBFKernel(2.0)

Twin = Callable[[Tensor, Tensor], Any]
METRICS: dict[str, tuple[type[DistanceMetric], dict[str, Any], Twin]] = {
    "KID": (
        KernelInceptionDistance,
        {"subsets": 3, "subset_size": 20, "degree": 2, "gamma": 0.1, "coef": 2.0, "seed": 5},
        lambda x, y: functional.kernel_distance(x, y, subsets=3, subset_size=20, degree=2, gamma=0.1, coef=2.0, seed=5),
    ),
    "kernel": (KernelDistance, {}, functional.kernel_mmd),
    "biased": (KernelDistance, {"biased": True}, lambda x, y: functional.kernel_mmd(x, y, biased=True)),
    "RBF": (KernelDistance, {"kernel": RBF}, lambda x, y: functional.kernel_mmd(x, y, kernel=RBF)),
    "CMMD": (KernelDistance, {"kernel": "cmmd"}, functional.cmmd),
    "sliced": (
        SlicedWassersteinDistance,
        {"n_directions": 20, "seed": 3},
        lambda x, y: functional.sliced_wasserstein(x, y, VECTORS),
    ),
    "MIND": (
        MongeInceptionDistance,
        {"n_directions": 20, "seed": 3},
        lambda x, y: functional.monge_inception_distance(x, y, VECTORS),
    ),
    "precision": (ImprovedPrecisionRecall, {"k": 2}, lambda x, y: functional.precision_recall(x, y, k=2)),
    "density": (DensityCoverage, {"k": 4}, lambda x, y: functional.density_coverage(x, y, k=4)),
    "Vendi": (VendiScore, {}, lambda x, y: functional.vendi_score(y)),
}
COLUMNS = {"kernel": "kid", "CMMD": "cmmd", "sliced": "swd", "MIND": "mind", "Vendi": "vendi"}


def _filled(name: str, real: Any = REAL, **options: Any) -> DistanceMetric:
    of, given, _ = METRICS[name]
    given = {"layers": ["last"], **given, **options}
    metric = of(EXTRACTOR, **given).set_dtype(torch.float64)
    for batch in () if real is None else real.split(17):
        metric.update(batch, real=True)
    for batch in FAKE.split(11):
        metric.update(batch)
    return metric


def _features(images: Tensor) -> Tensor:
    return EXTRACTOR(images)["last"].mean(dim=2).T.float()


def _dna(images: Tensor) -> VDNA:
    return build_dnas(images.split(9), EXTRACTOR, ["features"])["features"]


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_its_function(name: str) -> None:
    """It gives what its function gives of the same features, to 1e-6; subsets are drawn in an order of their own."""
    metric = _filled(name)
    if name == "KID":  # the sample's own order is as good as any, and known
        sides = [metric.dna(real=real).distribution.features()["last"] for real in (True, False)]
        assert torch.equal(sides[0].sort(dim=0).values, _features(REAL).sort(dim=0).values)
    else:
        sides = [_features(REAL), _features(FAKE)]
    expected = METRICS[name][2](*sides)
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_metric_is_its_column(name: str) -> None:
    """With the options that tables take it gives the registered distance of both sides' DNAs."""
    options = {"n_directions": 1000, "seed": 0} if name in ("sliced", "MIND") else {}
    found = _filled(name, **options).compute()
    distance = find_distance(COLUMNS[name])
    expected = distance(None if distance.arity == 1 else _dna(REAL), _dna(FAKE))
    torch.testing.assert_close(found[0] if isinstance(found, tuple) else found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "Vendi"])
def test_a_reference_has_the_features(name: str, tmp_path: Path) -> None:
    """A file of features stands for the real images, and gives the very same number."""
    path = _dna(REAL).save(tmp_path / "real.npz")
    torch.testing.assert_close(_filled(name, None, reference=path).compute(), _filled(name).compute(), rtol=0, atol=0)


def test_a_sample_says_so() -> None:
    """Above its size a metric compares a sample of the images, and warns once."""
    metric = _filled("sliced", feature_images=25)
    with pytest.warns(UserWarning, match=r"features of 25 of 40 images are compared.*a random sample"):
        found = metric.compute()
    sides = [metric.dna(real=real).distribution.features()["last"] for real in (True, False)]
    assert [len(side) for side in sides] == [25, 25]
    torch.testing.assert_close(found, METRICS["sliced"][2](*sides), rtol=1e-9, atol=0)


def test_all_images_count_in_a_vendi_score() -> None:
    """Of any number of images the score is that of all, and memory that of one second moment."""
    metric = VendiScore(EXTRACTOR, layers=["last"]).set_dtype(torch.float64)
    for seed in range(6):
        metric.update(images(100, seed))
    every = torch.cat([EXTRACTOR(images(100, seed))["last"].mean(dim=2).T for seed in range(6)])
    torch.testing.assert_close(metric.compute(), functional.vendi_score(every), rtol=1e-12, atol=0)
    assert metric.generated_state.shape == (1 + 1 + 3 * 3,)


def test_a_vendi_score_is_of_each_layer() -> None:
    """Of several layers it is their mean, or each by itself."""
    by_layer = VendiScore(EXTRACTOR, layers=LAYERS, reduction="layer")
    mean = VendiScore(EXTRACTOR, layers=LAYERS)
    for metric in (by_layer, mean):
        metric.update(FAKE)
    layers = by_layer.compute()
    assert isinstance(layers, dict)
    for layer, value in layers.items():
        expected = functional.vendi_score(EXTRACTOR(FAKE)[layer].mean(dim=2).T)
        torch.testing.assert_close(value, expected.float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(mean.compute(), torch.stack([*layers.values()]).mean(), rtol=1e-6, atol=0)


def test_an_image_without_a_direction_is_refused() -> None:
    """Features that are all zeros have no cosine; the batch is refused, and nothing of it counts."""
    metric = VendiScore(torch.nn.AvgPool2d(8))
    metric.update(torch.full((2, 3, 8, 8), 9, dtype=torch.uint8))
    black = torch.cat([torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.full((1, 3, 8, 8), 9, dtype=torch.uint8)])
    with pytest.raises(ValueError, match="1 of 2 images have activations that are all zeros"):
        metric.update(black)
    torch.testing.assert_close(metric.compute(), torch.tensor(1.0))


def test_the_last_layer_alone_is_looked_at() -> None:
    """By default features are those of the last layer; two at once are refused when the metric is built."""
    assert list(SlicedWassersteinDistance(EXTRACTOR).layout) == ["last"]
    assert list(VendiScore(EXTRACTOR).layout) == ["last"]
    with pytest.raises(ValueError, match="KernelDistance is of one layer, got conv, last"):
        KernelDistance(EXTRACTOR, layers=LAYERS)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: KernelDistance(EXTRACTOR, kernel="linear"), ValueError, "'polynomial', 'cmmd' or a Kernel"),
        (lambda: KernelDistance(EXTRACTOR, reduction="layer"), ValueError, "is one number: expected no weights= and"),
        (lambda: DensityCoverage(EXTRACTOR, weights={"last": [1.0]}), ValueError, "got weights="),
        (lambda: DensityCoverage(EXTRACTOR, k=0), ValueError, "k"),
        (lambda: ImprovedPrecisionRecall(EXTRACTOR, k=2.0), TypeError, "k"),
        (lambda: SlicedWassersteinDistance(EXTRACTOR, n_directions=0), ValueError, "directions"),
        (lambda: KernelDistance(EXTRACTOR, feature_images=1), ValueError, "a sample of features"),
        (lambda: KernelInceptionDistance(FEATURES, subset_size=1), ValueError, "subset_size"),
        (lambda: KernelInceptionDistance(FEATURES, subsets=0), ValueError, "subsets"),
        (lambda: KernelInceptionDistance(100), ValueError, "feature must be one of"),
        (lambda: KernelInceptionDistance(EXTRACTOR, antialias=False), ValueError, "extractors say how they resize"),
        (lambda: KernelInceptionDistance(2.5), TypeError, "feature must be an int"),
        (lambda: KernelInceptionDistance(FEATURES, gamma="a"), TypeError, "Expected gamma to be a number, got 'a'"),
        (lambda: KernelInceptionDistance(FEATURES, gamma=math.nan), ValueError, "Expected a finite gamma above 0"),
        (lambda: KernelInceptionDistance(FEATURES, coef=-1.0), ValueError, "Expected a finite coef of at least 0"),
        (lambda: KernelInceptionDistance(FEATURES, seed=-1), ValueError, "seed"),
        (lambda: KernelInceptionDistance(extractor=EXTRACTOR), TypeError, "expected feature=, got extractor="),
        (lambda: KernelDistance(EXTRACTOR, kernel=1.0), ValueError, "'polynomial', 'cmmd' or a Kernel"),
        (lambda: KernelDistance(EXTRACTOR, kernel="cmmd", biased=False), ValueError, "CMMD counts an image as a pair"),
        (lambda: InceptionScore(extractor=EXTRACTOR), TypeError, "InceptionScore: expected feature=, got extractor="),
        (lambda: InceptionScore(2048), TypeError, "feature must be 'logits_unbiased', an extractor or a module"),
        (lambda: VendiScore(EXTRACTOR, reference=_dna(REAL)), ValueError, "scores generated images alone; leave refer"),
        (lambda: VendiScore(EXTRACTOR).dna(), ValueError, "are no DNA; build_dnas"),
        (lambda: InceptionScore(EXTRACTOR), ValueError, "needs the FID Inception, whose fc takes"),
        (lambda: InceptionScore(splits=0), ValueError, "splits"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(make: Callable[[], object], error: type[Exception], message: str) -> None:
    """What no metric can have is an error when it is built, and says what is wrong."""
    with pytest.raises(error, match=message):
        make()


def test_subsets_need_as_many_images() -> None:
    """Fewer images than a subset are told by `compute`, which has seen them."""
    metric = KernelInceptionDistance(FEATURES, 2, 50, input_img_size=(3, 12, 12))
    metric.update(REAL, real=True)
    metric.update(FAKE)
    with pytest.raises(ValueError, match="subset_size=50 is more than there are images: real 40, generated 30"):
        metric.compute()


class Classifier(torch.nn.Module):
    """It has pooled features and a last layer as the FID Inception, in small."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = torch.nn.Conv2d(3, 6, 4, stride=4), torch.nn.Linear(6, 9)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to logits [N, 9]."""
        return self.fc(self.body(x).mean(dim=(2, 3)))


def test_an_inception_score_is_of_the_images_in_the_samples_order() -> None:
    """It is the function's of logits without bias, whatever order and batches the images came in."""
    network = create_extractor(Classifier(), layers=["body"])
    logits = network(FAKE)["body"].mean(dim=2).T.float() @ network.network.fc.weight.detach().T
    found = []
    for order in (FAKE, FAKE.flip(0)):
        metric = InceptionScore(network, splits=3).set_dtype(torch.float64)
        for batch in order.split(8):
            metric.update(batch)
        found.append(metric.compute())
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-9)
    rows = metric.dna().distribution.features()["body"] @ network.network.fc.weight.detach().T
    torch.testing.assert_close(found[0], functional.inception_score(rows, splits=3, correction=1), rtol=1e-6, atol=0)
    whole = InceptionScore(network, splits=1).set_dtype(torch.float64)
    whole.update(FAKE)
    torch.testing.assert_close(whole.compute(), functional.inception_score(logits, splits=1), rtol=1e-5, atol=0)


def test_an_inception_score_takes_a_module_of_logits() -> None:
    """What torchmetrics takes as feature=, a module that returns logits, gives their score."""
    logits = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    metric = InceptionScore(logits, 1, normalize=True)
    metric.update(FAKE / 255)
    expected = functional.inception_score(logits(FAKE / 255), splits=1)
    torch.testing.assert_close(metric.compute(), tuple(each.float() for each in expected), rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*features of 20 of:UserWarning")
def test_one_sample_serves_a_collection() -> None:
    """Metrics of one network share the features in a collection, and give what they give alone."""
    makes = {
        "kid": lambda: KernelInceptionDistance(FEATURES, 5, 20, input_img_size=(3, 12, 12)),
        "mind": lambda: MongeInceptionDistance(EXTRACTOR, n_directions=20),
        "precision": lambda: ImprovedPrecisionRecall(EXTRACTOR),
        "density": lambda: DensityCoverage(EXTRACTOR),
        "fewer": lambda: DensityCoverage(EXTRACTOR, feature_images=20),
    }
    together, alone = (MetricCollection({name: make() for name, make in makes.items()}) for _ in range(2))
    alone._enable_compute_groups = False
    for images_, real in ((REAL[:20], True), (REAL[20:], True), (FAKE[:15], False), (FAKE[15:], False)):
        together.update(images_, real=real)
        alone.update(images_, real=real)
    assert {frozenset(group) for group in together.compute_groups.values()} == {
        frozenset({"mind", "precision", "density"}), frozenset({"kid"}), frozenset({"fewer"})
    }  # fmt: skip
    assert together.compute() == alone.compute()


def test_an_inception_score_needs_an_image_a_split() -> None:
    """Fewer images than splits are told by `compute`."""
    metric = InceptionScore(create_extractor(Classifier(), layers=["body"]))
    metric.update(FAKE[:4])
    with pytest.raises(ValueError, match="splits of 4 images, got 10"):
        metric.compute()


def test_every_class_is_here() -> None:
    """A new metric of features does not go without a twin."""
    from vdna_metrics import metrics

    classes = {getattr(metrics, name) for name in metrics.__all__}
    of_features = {each for each in classes if issubclass(each, FeatureDistanceMetric)} - {FeatureDistanceMetric}
    assert {of for of, _, _ in METRICS.values()} | {InceptionScore} == of_features | {VendiScore}
