"""FID with torchmetrics' signature."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.degenerate import allowed_error, exact_layer_distance
from helpers.metric_tester import FEATURES, assert_same, feed, filled, images, make
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance as TorchmetricsFID

from vdna_metrics import FrechetInceptionDistance, functional
from vdna_metrics.extractors.architectures import fid_inception
from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
from vdna_metrics.extractors.preprocess import PreprocessingMode


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file for the FID Inception, of one number a tensor so that it is small."""
    with torch.device("meta"):
        names = fid_inception().state_dict()
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(
        {
            name: torch.tensor(1e-3, dtype=like.dtype).expand(like.shape)
            for name, like in names.items()
            if not name.endswith("num_batches_tracked")
        },
        path,
    )
    return path


def test_the_signature_begins_with_torchmetrics() -> None:
    """Arguments of torchmetrics' FID have the same names, order and defaults, so that one changed import is enough."""
    ours = list(inspect.signature(FrechetInceptionDistance.__init__).parameters.values())
    theirs = list(inspect.signature(TorchmetricsFID.__init__).parameters.values())[:-1]
    assert [(p.name, p.default, p.kind) for p in ours[: len(theirs)]] == [(p.name, p.default, p.kind) for p in theirs]
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in ours[len(theirs) :])
    for method in ("update", "forward"):
        assert list(inspect.signature(getattr(FrechetInceptionDistance, method)).parameters) == ["self", "imgs", "real"]


@pytest.mark.parametrize(("feature", "layer"), [(64, "block_0"), (192, "block_1"), (768, "block_2"), (2048, "block_3")])
def test_features_are_layers_of_the_inception(feature: int, layer: str, weights: Path) -> None:
    """A number of features names the layer of the FID Inception that has as many neurons."""
    metric = FrechetInceptionDistance(feature, feature_extractor_weights_path=weights)
    assert dict(metric.layout) == {layer: feature}
    assert metric.fingerprint.architecture == "fid_inception"


@pytest.mark.filterwarnings("ignore:.* too few to estimate the covariance:UserWarning")
def test_images_that_are_all_alike_have_a_fid(weights: Path) -> None:
    """A collapsed generator, real images that are all alike, and both, are as far as their features."""
    varied, grey = images(5, 1), torch.full_like(images(5, 1), 128)
    for real, generated in ((varied, grey), (grey, varied), (grey, grey)):
        metric = FrechetInceptionDistance(64, feature_extractor_weights_path=weights).set_dtype(torch.float64)
        metric.update(real, real=True)
        metric.update(generated)
        a, b = (metric.extractor(side)["block_0"].mean(dim=2, dtype=torch.float64).T for side in (real, generated))
        expected = exact_layer_distance(a, b)
        assert abs(float(metric.compute()) - expected) <= allowed_error(a, b, expected)


def test_antialias_is_part_of_the_fingerprint(weights: Path) -> None:
    """Statistics made with and without antialiasing are of different preprocessing, and never compared."""
    smooth, rough = (
        FrechetInceptionDistance(64, feature_extractor_weights_path=weights, antialias=antialias)
        for antialias in (True, False)
    )
    assert smooth.fingerprint.preprocessing.startswith("torchmetrics:299x299")
    assert rough.fingerprint.preprocessing.startswith("legacy_tensorflow:299x299")
    for metric in (smooth, rough):
        metric.update(images(2, 1), real=True)
    with pytest.raises(ValueError, match=r"preprocessing differ: .* torchmetrics:.* legacy_tensorflow:"):
        FrechetInceptionDistance(
            64, feature_extractor_weights_path=weights, antialias=False, reference=smooth.dna(real=True)
        )


@pytest.mark.parametrize("mode", ["clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics"])
def test_preprocessing_may_be_anothers(mode: PreprocessingMode, weights: Path) -> None:
    """What preprocessing= names is that of the catalogue's entry for those who publish statistics with it."""
    metric = FrechetInceptionDistance(64, feature_extractor_weights_path=weights, preprocessing=mode)
    spec = FID_INCEPTIONS[mode]
    assert metric.fingerprint.preprocessing == spec.preprocess.id
    assert metric.extractor_name == spec.name
    middle = 0.5 if mode == "legacy_pytorch" else 128 / 255  # as pytorch-fid, which scales to [-1, 1]
    assert spec.preprocess.mean == spec.preprocess.std == (middle,) * 3


@pytest.mark.filterwarnings("ignore:.* too few to estimate the covariance:UserWarning")
@pytest.mark.parametrize("normalize", [False, True])
def test_a_module_of_ones_own_agrees_with_torchmetrics(normalize: bool) -> None:
    """A custom feature module gives torchmetrics' number, images being handed to it as they come."""
    ours = make("fid", normalize=normalize)
    theirs = TorchmetricsFID(FEATURES, input_img_size=(3, 12, 12), normalize=normalize).set_dtype(torch.float64)
    for batch, real in ((images(40, 1), True), (images(30, 2), False)):
        given = batch.float() / 255 if normalize else batch
        for metric in (ours, theirs):
            metric.update(given, real=real)
    assert_same(ours.set_dtype(torch.float64).compute(), theirs.compute().double(), rtol=1e-6, atol=0)


def test_a_module_may_take_other_channels() -> None:
    """A custom feature module may look at images of one channel, as torchmetrics allows."""

    class Gray(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, ::7].double()

    ours, theirs = (
        metric(Gray(), input_img_size=(1, 6, 6)).set_dtype(torch.float64)
        for metric in (FrechetInceptionDistance, TorchmetricsFID)
    )
    for seed, real in ((1, True), (2, False)):
        for metric in (ours, theirs):
            metric.update(images(50, seed, size=6)[:, :1], real=real)
    assert_same(ours.compute(), theirs.compute(), rtol=1e-6, atol=0)


def test_chosen_neurons_are_the_marginal() -> None:
    """neurons= gives the distance of the submatrices of both covariances."""
    chosen = [2, 0]
    metric = make("fid", neurons=torch.tensor(chosen)).set_dtype(torch.float64)
    sides = []
    for batch, real in ((images(30, 1), True), (images(20, 2), False)):
        metric.update(batch, real=real)
        with torch.no_grad():
            features = FEATURES(batch)[:, chosen]
        sides += [features.mean(dim=0), torch.from_numpy(np.cov(features.numpy().T))]
    assert_same(metric.compute(), functional.frechet_distance(*sides), rtol=1e-9, atol=0)
    assert metric.layout.neurons == {"output": (2, 0)}


def test_it_is_the_layer_frechet_distance() -> None:
    """FID is the layer Fréchet distance on one layer, and its DNA compares as such."""
    from vdna_metrics import compare

    metric = filled("fid")
    assert_same(metric.compute(), compare.layer_frechet(metric.dna(real=True), metric.dna()).float())


def test_fewer_images_than_features() -> None:
    """Fewer images than features warn, and are still at no distance from themselves."""
    network = nn.Sequential(nn.Conv2d(3, 64, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(x.float())

    metric = FrechetInceptionDistance(Scaled(), input_img_size=(3, 12, 12))
    for real in (True, False):
        feed(metric, images(10, 1), real=real)
    with pytest.warns(UserWarning, match=r"10 images are too few to estimate the covariance of output \(64 neurons\)"):
        found = metric.compute()
    scale = metric.dna().distribution.mean_and_covariance("output")[1].trace()
    assert 0 <= found <= 1e-9 * scale


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"feature": 100}, ValueError, r"feature must be one of \(64, 192, 768, 2048\), got 100"),
        ({"feature": "2048"}, TypeError, "feature must be an int or a torch.nn.Module, got str"),
        ({"feature": True}, TypeError, "feature must be an int or a torch.nn.Module, got bool"),
        ({"feature": FEATURES, "reset_real_features": 2, "input_img_size": (3, 12, 12)}, ValueError, "must be a bool"),
        ({"feature": FEATURES, "neurons": [3], "input_img_size": (3, 12, 12)}, ValueError, "has no neuron 3"),
        (
            {"preprocessing": "none"},
            ValueError,
            "must be one of clean, legacy_tensorflow, legacy_pytorch, torchmetrics",
        ),
        ({"preprocessing": "clean", "antialias": False}, ValueError, "antialias=False and preprocessing='clean': give"),
        (
            {"feature": FEATURES, "input_img_size": (3, 12, 12), "preprocessing": "clean"},
            ValueError,
            "preprocessing='clean' is for the FID Inception",
        ),
        ({"feature_extractor_weights_path": "no.pth"}, ValueError, "weights of 'fid_inception_torchmetrics': no such"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    """Other features, types and files that are not there are errors of the constructor."""
    with pytest.raises(error, match=message):
        FrechetInceptionDistance(**arguments)
