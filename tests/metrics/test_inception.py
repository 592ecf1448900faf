"""FID with torchmetrics' signature."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.degenerate import allowed_error, exact_layer_distance
from helpers.metric_tester import FEATURES, NETWORK, Features, Network, assert_same, feed, filled, images, make
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance as TorchmetricsFID
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.wrappers import FeatureShare

from vdna_metrics import FrechetInceptionDistance, functional
from vdna_metrics.extractors.architectures import fid_inception
from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
from vdna_metrics.extractors.modes import PreprocessingMode


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
    # torchmetrics before 1.8 has no `antialias`.
    own = [p for p in ours[len(theirs) :] if p.name != "antialias"]
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in own)
    for method in ("update", "forward"):
        assert list(inspect.signature(getattr(FrechetInceptionDistance, method)).parameters) == ["self", "imgs", "real"]


@pytest.mark.parametrize(("feature", "layer"), [(64, "block_0"), (192, "block_1"), (768, "block_2"), (2048, "block_3")])
def test_features_are_layers_of_the_inception(feature: int, layer: str, weights: Path) -> None:
    """A number of features names the layer of the FID Inception that has as many neurons."""
    metric = FrechetInceptionDistance(feature, feature_extractor_weights_path=weights)
    assert dict(metric.layout) == {layer: feature}
    assert metric.fingerprint.architecture == "fid_inception"


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


def test_images_may_be_cropped(weights: Path) -> None:
    """The FID Inception looks at the middle of images when it is told to; a module gets them as they are."""
    metric = FrechetInceptionDistance(64, feature_extractor_weights_path=weights, crop="center")
    assert ":crop=center:" in metric.fingerprint.preprocessing
    with pytest.raises(ValueError, match="crop='center' is for the FID Inception"):
        FrechetInceptionDistance(torch.nn.Flatten(), crop="center")


@pytest.mark.parametrize("mode", ["clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics"])
def test_preprocessing_may_be_anothers(mode: PreprocessingMode, weights: Path) -> None:
    """What preprocessing= names is that of the catalogue's entry for those who publish statistics with it."""
    metric = FrechetInceptionDistance(64, feature_extractor_weights_path=weights, preprocessing=mode)
    spec = FID_INCEPTIONS[mode]
    assert metric.fingerprint.preprocessing == spec.preprocess.id
    assert metric.extractor_name == spec.name
    middle = 0.5 if mode == "legacy_pytorch" else 128 / 255  # as pytorch-fid, which scales to [-1, 1]
    assert spec.preprocess.mean == spec.preprocess.std == (middle,) * 3


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
    assert_same(metric.compute(), compare.layer_frechet(metric.dna(real=True), metric.dna()))


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


def test_floats_need_normalize(weights: Path) -> None:
    """Floats for the Inception without normalize=True are a ValueError, as with torchmetrics, and a TypeError."""
    metric = FrechetInceptionDistance(64, feature_extractor_weights_path=weights)
    for error in (ValueError, TypeError):
        with pytest.raises(error, match=r"for floats in .* use normalize=True"):
            metric.update(images(2, 1) / 255, real=True)


def test_the_inception_gives_features(weights: Path) -> None:
    """`inception` gives the vectors `[N, d]` that are counted, in the network's own type."""
    metric = FrechetInceptionDistance(64, feature_extractor_weights_path=weights, neurons=[5, 2, 7])
    metric.update(images(3, 1), real=True)
    features = metric.inception(images(3, 1))
    assert features.shape == (3, 3)
    assert (features.dtype, features.is_inference(), features.is_contiguous()) == (torch.float32, False, True)
    assert_same(metric.real_features_sum, features.double().sum(dim=0), rtol=1e-6, atol=1e-9)
    assert not metric.used_custom_model


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all:UserWarning")
@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
def test_feature_share_with_torchmetrics(order: int, forwards: list[int]) -> None:
    """With torchmetrics' KID the network runs once a batch, and a buffer filled again is a new batch for both."""
    kid = KernelInceptionDistance(FEATURES, subset_size=5, subsets=2)
    share = FeatureShare([make("fid"), kid][::order])
    alone, buffer = make("fid"), images(9, 1)
    forwards[0] = 0
    for n, (seed, real) in enumerate([(1, True), (4, True), (2, False), (5, False)], 1):
        buffer.copy_(images(9, seed))
        share.update(buffer, real=real)
        assert forwards == [n]
    for seed, real in ((1, True), (4, True), (2, False), (5, False)):
        alone.update(images(9, seed), real=real)
    assert_same(share.compute()["FrechetInceptionDistance"], alone.compute())
    with torch.no_grad():
        assert_same(torch.cat(kid.fake_features), torch.cat([FEATURES(images(9, seed)) for seed in (2, 5)]))
    assert "forward" not in vars(FEATURES)


def test_the_network_stays() -> None:
    """`inception` may be moved, wrapped and asked for anything; casts have no effect and another network is refused."""
    metric = make("fid")
    metric.inception = nn.Sequential(metric.inception.half().to("cpu"))
    assert next(FEATURES.parameters()).dtype == torch.float64
    assert metric.inception.network.network is NETWORK
    assert list(metric.modules()) == [metric]
    with pytest.raises(AttributeError, match="no attribute 'fc'"):
        _ = metric.inception.fc
    for other in (nn.Identity(), None):
        with pytest.raises(ValueError, match="a metric keeps its network: build"):
            metric.inception = other


def test_checkpoints_with_another_network_are_refused() -> None:
    """The weights of a module in torchmetrics' checkpoint must be those of the module that is given."""
    theirs = TorchmetricsFID(Features(Network(seed=1)), input_img_size=(3, 12, 12))
    with pytest.raises(ValueError, match="the network of the checkpoint has other weights"):
        make("fid").load_state_dict(theirs.state_dict())


def test_moments_beside_a_reference() -> None:
    """With a reference, sums about its means are given out as sums about 0 and taken back; its own are not set."""
    whole = filled("fid")
    metric = make("fid", reference=whole.dna(real=True))
    feed(metric, images(9, 2))
    assert metric._side(False).centre.all()
    names = [f"{side}_features_{moment}" for side in ("real", "fake") for moment in ("sum", "cov_sum", "num_samples")]
    for name in names:
        assert_same(getattr(metric, name), getattr(whole, name), rtol=1e-12, atol=1e-9)
    expected = metric.compute()
    for name in names[3:]:
        value = getattr(whole, name).clone()
        getattr(metric, name).zero_()
        setattr(metric, name, value)
    assert metric.compute() is not expected
    assert_same(metric.compute(), expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="the real side of this metric is its reference"):
        metric.real_features_sum += 1


def test_moments_only_read_change_nothing() -> None:
    """Reading torchmetrics' states leaves the metric's own as they are, bit for bit."""
    metric = make("fid", reference=filled("fid").dna(real=True))
    feed(metric, images(9, 2))
    before = {name: state.clone() for name, state in metric.metric_state.items()}
    for name in ("fake_features_sum", "fake_features_cov_sum", "fake_features_num_samples", "real_features_sum"):
        getattr(metric, name)
    assert all(torch.equal(before[name], state) for name, state in metric.metric_state.items())


def test_moments_of_another_size_are_refused() -> None:
    """Sums of another number of features cannot be set."""
    with pytest.raises(RuntimeError, match="size of tensor"):
        make("fid").real_features_sum = torch.zeros(4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"feature": 100}, ValueError, r"feature must be one of \(64, 192, 768, 2048\), got 100"),
        ({"feature": "2048"}, TypeError, "feature must be an int or a torch.nn.Module, got str"),
        ({"feature": True}, ValueError, r"feature must be one of \(64, 192, 768, 2048\), got True"),
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
