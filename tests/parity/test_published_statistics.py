"""Statistics of others against those others: clean-fid, pytorch-fid, torch-fidelity, torchmetrics and vdna.

The weights of the FID Inception are drawn, and 64 features of its first layer are compared, since the published weights
are a download and the square root of a product of 2048 x 2048 matrices takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.vdna_package import dna_of_vdna
from PIL import Image
from scipy import linalg
from torch import Tensor
from torchmetrics import MetricCollection

from vdna_metrics import (
    VDNA,
    ActivationRange,
    ActivationRanges,
    ExtractorSpec,
    FrechetInceptionDistance,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    build_dnas,
    compare,
    create_extractor,
)
from vdna_metrics.distributions import FeatureSample
from vdna_metrics.extractors.architectures import fid_inception, seeded_state_dict
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.references.formats.exporting import export_statistics
from vdna_metrics.references.formats.importing import import_statistics
from vdna_metrics.references.formats.vdna import read_vdna_package, write_vdna_package

pytestmark = [
    pytest.mark.parity,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*`disp` argument is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # of vdna's loader
    pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning"),
]


def _images(n: int, seed: int, size: int = 40) -> Tensor:
    """Coloured blobs, [n, 3, size, size] uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4 + 3 * seed, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().byte()


def _features(n: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator) @ torch.randn(width, width, generator=generator) / 8 + seed


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn weights of the FID Inception, which keep the scale of activations from layer to layer."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(seeded_state_dict(fid_inception(), 0), path)
    return path


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    """Two sets of images, each more than there are features."""
    return _images(72, 1), _images(70, 2)


@pytest.fixture(scope="module")
def clean(weights: Path) -> FeatureExtractor:
    """The FID Inception as clean-fid runs it."""
    return create_extractor("fid_inception", weights_path=weights)


@pytest.fixture(scope="module")
def real(clean: FeatureExtractor, sets: tuple[Tensor, Tensor]) -> VDNA:
    """Layer Gaussian of the first set."""
    return build_dnas(sets[0].split(12), clean, ["layer_gaussian"], layers=["block_0"])["layer_gaussian"]


def test_clean_fid_computes_our_fid_from_our_file(
    real: VDNA,
    clean: FeatureExtractor,
    sets: tuple[Tensor, Tensor],
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """clean-fid's compute_fid of a folder against an exported file is our FID against that file imported again."""
    import cleanfid
    from cleanfid import fid

    folder = tmp_path / "generated"
    folder.mkdir()
    for i, image in enumerate(sets[1]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:03}.png")
    (tmp_path / "stats").mkdir()
    (exported,) = export_statistics(real, tmp_path / "stats" / "blobs_clean_custom_na")
    monkeypatch.setattr(cleanfid, "__file__", str(tmp_path / "__init__.py"))
    assert fid.test_stats_exists("blobs", "clean")

    def features(resized: Tensor) -> Tensor:
        return clean.from_resized(resized)["block_0"].mean(dim=2).T

    theirs = fid.compute_fid(
        str(folder), dataset_name="blobs", dataset_split="custom", mode="clean", custom_feat_extractor=features,
        num_workers=0, batch_size=12, device=torch.device("cpu"), verbose=False,
    )  # fmt: skip
    (reference,) = import_statistics(exported)
    options: dict[str, Any] = {"layers": ["block_0"], "weights_path": weights, "reference": reference}
    metrics = MetricCollection(
        {
            "fid": FrechetInceptionDistance(
                64, feature_extractor_weights_path=weights, preprocessing="clean", reference=reference
            ),
            "lfd": LayerFrechetDistance("fid_inception", **options),
            "nfd": NeuronFrechetDistance("fid_inception", **options),
        }
    ).set_dtype(torch.float64)
    for batch in sets[1].split(12):
        metrics.update(batch)
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert theirs > 0.01
    assert [found["fid"], found["lfd"]] == pytest.approx([theirs, theirs], rel=1e-3)
    assert found["nfd"] == pytest.approx(float(compare.neuron_frechet(real, metrics["fid"].dna())), rel=1e-6)


def test_features_that_clean_fid_keeps_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that clean-fid's make_custom_stats writes for its KID holds the features that are imported from it."""
    import cleanfid
    from cleanfid import fid

    features = _features(9, 2048, 1).numpy()
    monkeypatch.setattr(cleanfid, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(fid, "build_feature_extractor", lambda *_, **__: None)
    monkeypatch.setattr(fid, "get_folder_features", lambda *_, **__: features)
    fid.make_custom_stats("blobs", str(tmp_path), mode="clean", device=torch.device("cpu"), verbose=False)
    (dna,) = import_statistics(tmp_path / "stats" / "blobs_clean_custom_na_kid.npz", mode="clean")
    assert isinstance(dna.distribution, FeatureSample)
    assert sorted(dna.distribution.features()["block_3"].tolist()) == sorted(features.tolist())


def test_features_that_torch_fidelity_keeps_are_imported(tmp_path: Path) -> None:
    """The file that torch-fidelity's cache writes for each layer holds the features that are imported from it."""
    utils = pytest.importorskip("torch_fidelity.utils")
    features = {str(width): _features(9, width, 1) for width in (64, 192)}
    prefix = "blobs-inception-v3-compat-features-"
    utils.cache_lookup_group_recompute_all_on_any_miss(
        prefix, list(features), lambda: features, cache=True, cache_root=str(tmp_path), verbose=False
    )
    for width, rows in features.items():
        (dna,) = import_statistics(tmp_path / f"{prefix}{width}.pt")
        assert isinstance(dna.distribution, FeatureSample)
        (found,) = dna.distribution.features().values()
        assert sorted(found.tolist()) == sorted(rows.tolist())


def test_other_preprocessing_is_refused_as_a_reference(real: VDNA, weights: Path) -> None:
    """A metric that resizes otherwise than its reference was made is refused with both sides."""
    for options in ({}, {"preprocessing": "legacy_pytorch"}):
        with pytest.raises(ValueError, match=r"preprocessing differ: DNA clean:bicubic:\S+, extractor \w+:299x299"):
            FrechetInceptionDistance(64, feature_extractor_weights_path=weights, reference=real, **options)


def test_clean_fids_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that clean-fid's make_custom_stats writes is read, its covariance being of ddof 1."""
    import cleanfid
    from cleanfid import fid

    features = _features(50, 2048, 1).numpy()
    monkeypatch.setattr(cleanfid, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(fid, "get_folder_features", lambda *_, **__: features)
    monkeypatch.setattr(fid, "build_feature_extractor", lambda *_, **__: None)
    fid.make_custom_stats("mine", str(tmp_path))
    (dna,) = import_statistics(tmp_path / "stats" / "mine_clean_custom_na.npz", mode="clean", n_images=50)
    mean, covariance = dna.distribution.mean_and_covariance("block_3")
    np.testing.assert_allclose(mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(features, rowvar=False), rtol=1e-12, atol=1e-9)


def test_sfid_against_adms_file(weights: Path, sets: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """The layer Fréchet distance from an imported file of ADM is sFID of the features that ADM's evaluator takes."""
    network = fid_inception().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    maps: list[Tensor] = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda module, inputs, output: maps.append(output))
    resize = create_extractor("fid_inception_legacy_tensorflow", weights_path=weights).preprocess
    features = []
    for images in (sets[0][:12], sets[1][:9]):
        with torch.inference_mode():
            network(resize(images))
        features.append(maps.pop().permute(0, 2, 3, 1)[..., :7].flatten(1).double().numpy())
    real, generated = features
    sums = {"mu_s": real.mean(axis=0), "sigma_s": np.cov(real, rowvar=False)}
    pooled = _features(12, 2048, 3).numpy()
    path = tmp_path / "VIRTUAL.npz"
    np.savez(path, arr_0=np.zeros((1, 8, 8, 3), np.uint8), mu=pooled.mean(axis=0), sigma=np.cov(pooled.T), **sums)
    _, reference = import_statistics(path, n_images=12)
    metric = LayerFrechetDistance("sfid_inception", weights_path=weights, reference=reference)
    metric.set_dtype(torch.float64).update(sets[1][:9])
    # The trace of the root of a product of covariances, of few images: a nuclear norm of their centred features.
    a, b = (x - x.mean(axis=0) for x in features)
    traces = (a**2).sum() / 11 + (b**2).sum() / 8
    between = ((real.mean(axis=0) - generated.mean(axis=0)) ** 2).sum()
    expected = between + traces - 2 * np.linalg.norm(a @ b.T, "nuc") / (11 * 8) ** 0.5
    assert expected > 1e-3 * traces
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="layers differ"):
        compare.layer_frechet(metric.dna(), import_statistics(path, n_images=12)[0])


def test_pytorch_fid_reads_and_writes(real: VDNA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytorch-fid reads an exported file as it is, and the moments that it computes are imported."""
    module = pytest.importorskip("pytorch_fid.fid_score")
    (exported,) = export_statistics(real, tmp_path / "stats")
    mu, sigma = module.compute_statistics_of_path(str(exported), None, 1, 64, "cpu")
    expected = real.distribution.mean_and_covariance("block_0")
    np.testing.assert_array_equal(mu, expected[0])
    np.testing.assert_array_equal(sigma, expected[1])
    features = [_features(80, 64, seed).numpy() for seed in (1, 2)]
    moments, dnas = [], []
    for x in features:
        monkeypatch.setattr(module, "get_activations", lambda *_, x=x: x)
        mu, sigma = module.calculate_activation_statistics([], None)
        np.savez_compressed(tmp_path / "theirs.npz", mu=mu, sigma=sigma)
        moments += [mu, sigma]
        dnas += import_statistics(tmp_path / "theirs.npz", format="pytorch-fid", n_images=80)
    theirs = module.calculate_frechet_distance(*moments)
    assert float(compare.layer_frechet(*dnas)) == pytest.approx(theirs, rel=1e-6)


def test_torch_fidelitys_caches(tmp_path: Path) -> None:
    """Statistics that torch-fidelity computes and caches are imported, and give its FID."""
    metric = pytest.importorskip("torch_fidelity.metric_fid")
    features = {name: _features(80, 64, seed) for name, seed in (("cifar10-train", 1), ("mine", 2))}
    theirs, dnas = [], []
    for name, x in features.items():
        extractor = type("Extractor", (), {"get_name": staticmethod(lambda: "inception-v3-compat")})
        options = {"cache": True, "cache_root": str(tmp_path), "verbose": False}
        stat = metric.fid_featuresdict_to_statistics_cached({"64": x}, name, extractor, "64", **options)
        theirs.append(stat)
        path = tmp_path / f"{name}-inception-v3-compat-stat-fid-64.pt"
        dnas += import_statistics(path, n_images=80 if name == "mine" else None)
    assert [dna.n_images for dna in dnas] == [50_000, 80]
    for dna, stat in zip(dnas, theirs, strict=True):
        mean, covariance = dna.distribution.mean_and_covariance("block_0")
        np.testing.assert_array_equal(mean, stat["mu"])
        np.testing.assert_allclose(covariance, stat["sigma"], rtol=1e-14)
    fid = metric.fid_statistics_to_metric(*theirs, False)[metric.KEY_METRIC_FID]
    assert float(compare.layer_frechet(*dnas)) == pytest.approx(fid, rel=1e-6)


def test_torchmetrics_states(tmp_path: Path) -> None:
    """The saved states of torchmetrics' FID give its own number; its covariance is of ddof 1, as ours."""
    from torchmetrics.image.fid import FrechetInceptionDistance as TorchmetricsFID

    class Features(torch.nn.Module):
        num_features = 64

        def forward(self, x: Tensor) -> Tensor:
            return x

    theirs = TorchmetricsFID(Features()).set_dtype(torch.float64)
    theirs.persistent(True)
    sides = _features(80, 64, 1).double(), _features(90, 64, 2).double()
    for x, real in zip(sides, (True, False), strict=True):
        theirs.update(x, real=real)
    states = theirs.state_dict()
    torch.save(states, tmp_path / "fid.pt")
    torch.save({k.replace("fake", "real"): v for k, v in states.items() if "fake" in k}, tmp_path / "fake.pt")
    dnas = [import_statistics(tmp_path / f"{name}.pt", mode="torchmetrics")[0] for name in ("fid", "fake")]
    assert [dna.n_images for dna in dnas] == [80, 90]
    assert torch.equal(dnas[0].distribution.scatters()["block_0"], states["real_features_cov_sum"])
    assert float(compare.layer_frechet(*dnas)) == pytest.approx(float(theirs.compute()), rel=1e-6)


SPEC = ExtractorSpec("r", "test_resnet", ["layer1", "layer2"], size=64, mean=0.5, std=0.25, weights="seeded:0")


@pytest.fixture(scope="module")
def network() -> FeatureExtractor:
    """The network that vdna and ours look through."""
    return create_extractor(SPEC)


@pytest.fixture(scope="module")
def ranges(network: FeatureExtractor, sets: tuple[Tensor, Tensor]) -> ActivationRanges:
    """Ranges calibrated on the first set, widened as vdna does."""
    calibration = ActivationRange(network)
    calibration.update(sets[0])
    return calibration.ranges("vdna")


def _vdnas_own(name: str, images: Tensor, network: FeatureExtractor, ranges: ActivationRanges, root: Path) -> Any:
    """The vdna package's DNA of images, through the same network, as it saves it."""
    dna = dna_of_vdna(name, list(images.permute(0, 2, 3, 1).numpy()), network, ranges)
    dna.save(root)
    return dna


@pytest.mark.parametrize("name", ["histogram-100", "gaussian", "layer-gaussian", "activation-ranges"])
def test_what_vdna_saves_is_read(
    name: str, network: FeatureExtractor, ranges: ActivationRanges, sets: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Files that vdna saves are read, and are our own DNA of the same images through the same network."""
    pytest.importorskip("vdna")
    _vdnas_own(name, sets[1], network, ranges, tmp_path / "theirs")
    found = read_vdna_package(tmp_path / "theirs", ranges=ranges, extractor=SPEC)
    if isinstance(found, ActivationRanges):
        calibration = ActivationRange(network)
        calibration.update(sets[1])
        torch.testing.assert_close(found.low, calibration.ranges("vdna").low, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.high, calibration.ranges("vdna").high, rtol=1e-4, atol=1e-5)
        assert found.n_images == 70
        return
    kind = name.partition("-")[0] if name != "layer-gaussian" else "layer_gaussian"
    ours = build_dnas(sets[1].split(25), network, [kind], bins=100, ranges=ranges)[kind]
    assert (found.n_images, found.layout) == (70, ours.layout)
    distance: Callable[..., Any] = {
        "histogram": compare.emd, "gaussian": compare.neuron_frechet, "layer_gaussian": compare.layer_frechet
    }[kind]  # fmt: skip
    other = build_dnas(sets[0].split(25), network, [kind], bins=100, ranges=ranges)[kind]
    # Resized by Pillow there and by torch here: a few activations lie in the next bin.
    assert float(distance(found, ours)) < 2e-3 * float(distance(found, other))


@pytest.mark.parametrize("kind", ["histogram", "gaussian", "layer_gaussian"])
def test_vdna_loads_what_we_write(
    kind: str,
    network: FeatureExtractor,
    ranges: ActivationRanges,
    sets: tuple[Tensor, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The vdna package loads our files, its distances of them are ours, and what it saves again is read back."""
    vdna = pytest.importorskip("vdna")
    # SciPy 1.18 has no `disp` any more.
    monkeypatch.setattr("vdna.utils.stats.sqrtm", lambda matrix, disp: (linalg.sqrtm(matrix), 0.0))
    ours = [build_dnas(s.split(25), network, [kind], bins=100, ranges=ranges)[kind] for s in sets]
    theirs = []
    for i, dna in enumerate(ours):
        write_vdna_package(dna, tmp_path / f"set{i}")
        theirs.append(vdna.load_vdna_from_files(tmp_path / f"set{i}"))
    distance, peer = {
        "histogram": (compare.emd, vdna.EMD),
        "gaussian": (compare.neuron_frechet, vdna.NFD),
        "layer_gaussian": (compare.layer_frechet, vdna.FD),
    }[kind]
    expected = float(distance(*ours))
    assert expected > 0
    assert float(peer(*theirs)) == pytest.approx(expected, rel=1e-4 if kind == "gaussian" else 1e-6)
    for layer, value in distance(*ours, reduction="layer").items():
        assert float(peer(*theirs, use_neurons_from_layer=layer)) == pytest.approx(float(value), rel=1e-4)
    # vdna writes no settings that it does not know: the network is then to be named.
    theirs[0].save(tmp_path / "again")
    back = read_vdna_package(tmp_path / "again", ranges=ranges, extractor=SPEC)
    if kind == "histogram":
        assert torch.equal(back.distribution.counts, ours[0].distribution.counts)
    assert float(distance(back, ours[0])) < 1e-6 * expected
