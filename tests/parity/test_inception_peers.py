"""The FID Inception and FID against torchmetrics, torch-fidelity, pytorch-fid and clean-fid, all with the same weights.

The weights are drawn, since the published ones are a download; what is compared is architecture, preprocessing and
formula. Known differences: torchmetrics takes the eigenvalues of the product of the covariances, which loses digits
where one is rank deficient, so with 2048 features of few photographs its moments are compared and not its `compute`;
and it truncates floats instead of rounding them, so it is given uint8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vdna_metrics import (
    FrechetInceptionDistance,
    InceptionScore,
    KernelInceptionDistance,
    build_dnas,
    compare,
    create_extractor,
    functional,
)
from vdna_metrics.extractors.architectures import fid_inception, seeded_state_dict
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import get_spec
from vdna_metrics.images import open_images
from vdna_metrics.images.decoding import decode_image

pytestmark = [
    pytest.mark.parity,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning"),
    pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*`disp` argument is deprecated:DeprecationWarning"),
]

LAYERS = {64: "block_0", 192: "block_1", 768: "block_2", 2048: "block_3"}


@pytest.fixture(scope="module")
def state_dict() -> dict[str, Tensor]:
    """Weights drawn for the FID Inception, which keep the scale of activations from layer to layer."""
    return seeded_state_dict(fid_inception(), 0)


@pytest.fixture(scope="module")
def weights(state_dict: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights as the file that ours and the peers are given."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(state_dict, path)
    return path


@pytest.fixture(scope="module")
def photographs(shared: Path) -> dict[str, Tensor]:
    """Two sets of 36 photographs of BSDS500, [36, 3, 320, 320] uint8."""
    source = open_images(shared / "data" / "bsds500.zip")
    sets = {}
    for name in ("train", "test"):
        indices = [i for i, file in enumerate(source.names) if file.startswith(f"{name}/")][:36]
        arrays = [decode_image(source.read(i))[:320, :320] for i in indices]
        sets[name] = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return sets


@pytest.fixture(scope="module")
def ours(weights: Path) -> FeatureExtractor:
    """Our extractor of the FID Inception with `clean` preprocessing."""
    return create_extractor("inception", weights_path=weights)


def _features(extractor: FeatureExtractor, images: Tensor) -> dict[int, Tensor]:
    activations = extractor(images)
    return {count: activations[layer].mean(dim=2).t().clone() for count, layer in LAYERS.items()}


def _assert_agree(found: dict[int, Tensor], expected: dict[int, Tensor]) -> None:
    """To 1e-4 of the layer's scale, which must be one that shows differences."""
    for count, features in expected.items():
        assert features.shape == found[count].shape == (len(features), count)
        scale = features.abs().max()
        assert 1e-3 < scale < 1e3
        assert features.std(dim=0).max() > 0.01 * scale
        difference = (found[count] - features).abs().max() / scale
        assert difference <= 1e-4, f"{count}: {difference:.2e}"


@pytest.fixture
def downloads(state_dict: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """pytorch-fid's and clean-fid's download gives the drawn weights."""
    for module in ("pytorch_fid.inception", "cleanfid.inception_pytorch"):
        if module.startswith("cleanfid") or pytest.importorskip(module):
            monkeypatch.setattr(f"{module}.load_state_dict_from_url", lambda *_, **__: state_dict)
    return


@pytest.mark.parametrize("module", ["pytorch_fid.inception", "cleanfid.inception_pytorch"])
def test_the_network_is_pytorch_fids(
    module: str, downloads: None, ours: FeatureExtractor, photographs: dict[str, Tensor]
) -> None:
    """On the same input our features are those of pytorch-fid's network, and of clean-fid's copy of it."""
    peer = pytest.importorskip(module).InceptionV3(
        output_blocks=[0, 1, 2, 3], resize_input=False, normalize_input=False
    )
    images = photographs["test"][:2]
    with torch.inference_mode():
        outputs = peer.eval()(ours.preprocess(images))
    _assert_agree(_features(ours, images), {x.shape[1]: x.mean(dim=(2, 3)) for x in outputs})


def test_features_are_torch_fidelitys(weights: Path, photographs: dict[str, Tensor]) -> None:
    """With TensorFlow's resizing, features from uint8 photographs are those of torch-fidelity's extractor."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    names = [str(count) for count in LAYERS]
    peer = module.FeatureExtractorInceptionV3("inception-v3-compat", names, feature_extractor_weights_path=str(weights))
    images = photographs["test"][:2]
    with torch.inference_mode():
        expected = dict(zip(LAYERS, peer(images), strict=True))
    fid = FrechetInceptionDistance(feature_extractor_weights_path=weights, antialias=False)
    spec = replace(fid.extractor.spec, name="all layers")
    _assert_agree(_features(create_extractor(spec), images), expected)


def test_features_of_sfid_are_torch_fidelitys(weights: Path, photographs: dict[str, Tensor]) -> None:
    """Of its extractor's branch, flattened as ADM does [N, H, W, C], they are those of sfid_inception."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    peer = module.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )
    maps: list[Tensor] = []
    peer.Mixed_6d.branch1x1.register_forward_hook(lambda module, inputs, output: maps.append(output))
    images = photographs["test"][:2]
    with torch.inference_mode():
        peer(images)
        found = create_extractor("sfid_inception", weights_path=weights)(images)["mixed_6_conv"]
    expected = maps[0].numpy().transpose(0, 2, 3, 1)[..., :7].reshape(2, -1)
    assert maps[0].shape == (2, 192, 17, 17)
    assert found.shape == (2023, 2, 1)
    assert expected.min() == 0  # after the ReLU
    assert expected.std() > 0.1 * expected.max() / 7
    np.testing.assert_allclose(found[..., 0].T, expected, rtol=0, atol=1e-4 * expected.max())


def _torchmetrics(feature: int, weights: Path, *, antialias: bool) -> Any:
    pytest.importorskip("torch_fidelity")
    from torchmetrics.image.fid import FrechetInceptionDistance as Peer

    peer = Peer(feature, feature_extractor_weights_path=str(weights), antialias=antialias)
    peer.inception.eval()
    return peer


@pytest.mark.parametrize("antialias", [True, False])
def test_fid_is_torchmetrics(antialias: bool, weights: Path, photographs: dict[str, Tensor]) -> None:
    """FID of two sets of photographs is torchmetrics' own number to 1e-3, with and without antialiasing."""
    theirs = _torchmetrics(64, weights, antialias=antialias)
    ours = FrechetInceptionDistance(64, feature_extractor_weights_path=weights, antialias=antialias)
    for name, real in (("train", True), ("test", False)):
        for batch in photographs[name].split(12):
            for metric in (ours, theirs):
                metric.update(batch, real=real)
    torch.testing.assert_close(ours.compute(), theirs.compute(), rtol=1e-3, atol=0)


def test_fid_of_2048_features_is_torchmetrics(weights: Path, photographs: dict[str, Tensor]) -> None:
    """Of 2048 features of few photographs, FID is that of the moments that torchmetrics has collected; here of some."""
    some = list(range(0, 2048, 8))  # as many more take half a minute
    theirs = _torchmetrics(2048, weights, antialias=True)
    ours = FrechetInceptionDistance(feature_extractor_weights_path=weights, neurons=some)
    for name, real in (("train", True), ("test", False)):
        for metric in (ours, theirs):
            metric.update(photographs[name][:8], real=real)
    moments = []
    for side in ("real", "fake"):
        total, outer, n = (getattr(theirs, f"{side}_features_{what}") for what in ("sum", "cov_sum", "num_samples"))
        mean = total / n
        covariance = (outer - n * torch.outer(mean, mean)) / (n - 1)
        covariance = (covariance + covariance.T) / 2
        moments += [mean[some], covariance[some][:, some]]
    expected = functional.frechet_distance(*moments)
    torch.testing.assert_close(ours.set_dtype(torch.float64).compute(), expected, rtol=1e-3, atol=0)


def test_kid_is_torchmetrics(weights: Path, photographs: dict[str, Tensor]) -> None:
    """KID with all images in each subset, whose order then says nothing, is torchmetrics' to 1e-3."""
    pytest.importorskip("torch_fidelity")
    from torchmetrics.image.kid import KernelInceptionDistance as Peer

    with pytest.warns(UserWarning, match="memory"):
        theirs = Peer(_torchmetrics(64, weights, antialias=True).inception, subsets=2, subset_size=6)
    ours = KernelInceptionDistance(64, 2, 6, feature_extractor_weights_path=weights)
    for name, real in (("train", True), ("test", False)):
        for metric in (ours, theirs):
            metric.update(photographs[name][:6] // (1 if real else 2), real=real)
    torch.testing.assert_close(ours.compute()[0], theirs.compute()[0], rtol=1e-3, atol=0)


def test_the_inception_score_is_torchmetrics(
    weights: Path, photographs: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of torch-fidelity's logits without bias, in the sample's order, torchmetrics' score is ours to 1e-4."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from torchmetrics.image import inception

    peer = module.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    images = photographs["test"][:6]
    with torch.inference_mode():
        (logits,) = peer(images)
    ours = InceptionScore(splits=2, weights_path=weights)
    ours.update(images)
    (rows,) = ours.dna().distribution.features().values()
    own = rows @ ours.extractor.network.fc.weight.detach().T
    order = torch.cdist(own, logits).argmin(dim=1)
    assert sorted(order.tolist()) == [*range(6)]
    with pytest.warns(UserWarning, match="memory"):
        theirs = inception.InceptionScore(feature=torch.nn.Identity(), splits=2)
    theirs.update(logits)
    monkeypatch.setattr(inception.torch, "randperm", lambda _: order)
    found, expected = (torch.stack([each.float() for each in metric.compute()]) for metric in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_clean_fid_is_clean_fids(downloads: None, ours: FeatureExtractor, photographs: dict[str, Tensor]) -> None:
    """With `clean` preprocessing, FID of two sets is clean-fid's: its resizer, network, moments and formula."""
    from cleanfid.fid import frechet_distance
    from cleanfid.inception_pytorch import InceptionV3
    from cleanfid.resize import make_resizer

    network, resize = (
        InceptionV3(output_blocks=[0], resize_input=False).eval(),
        make_resizer("PIL", False, "bicubic", (299, 299)),
    )
    moments, dnas = [], []
    for images in photographs.values():
        features = []
        for batch in images.permute(0, 2, 3, 1).numpy().reshape(-1, 12, 320, 320, 3):
            resized = torch.from_numpy(np.stack([resize(image) for image in batch])).permute(0, 3, 1, 2)
            with torch.inference_mode():
                features.append(network(resized / 255)[0].mean(dim=(2, 3)).double())
        every = torch.cat(features).numpy()
        moments += [every.mean(axis=0), np.cov(every, rowvar=False)]
        dnas.append(build_dnas(images.split(12), ours, ["layer_gaussian"], layers=["block_0"])["layer_gaussian"])
    found = compare.layer_frechet(*dnas)
    torch.testing.assert_close(float(found), float(frechet_distance(*moments)), rtol=1e-3, atol=0)


def test_the_catalogue_states_pytorch_fids_file() -> None:
    """The catalogue's weights are the file that pytorch-fid publishes, by address and hash."""
    module = pytest.importorskip("pytorch_fid.inception")
    spec = get_spec("inception")
    assert spec.weights == module.FID_WEIGHTS_URL
    assert f"-{spec.sha256}." in module.FID_WEIGHTS_URL
