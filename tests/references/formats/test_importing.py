"""Statistics that others published, in stand-in files of each layout."""

from __future__ import annotations

import argparse
import collections
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.dnas import make_dna
from helpers.file_server import FileServer, file_server
from helpers.tampering import tampered
from numpy.typing import NDArray

from vdna_metrics import VDNA, NeuronLayout, compare, downloads
from vdna_metrics.distributions import FeatureSample, LayerGaussianDistribution
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.references.formats import importing, published
from vdna_metrics.references.formats.exporting import export_statistics
from vdna_metrics.references.formats.importing import import_statistics
from vdna_metrics.references.formats.published import FORMATS, published_statistics
from vdna_metrics.references.formats.vdna import write_vdna_package

Array = NDArray[np.float64]


def _features(n: int, width: int, seed: int = 0) -> Array:
    """Features with a covariance of low rank and a little of every direction."""
    stream = np.random.default_rng(seed)
    return stream.standard_normal((n, 5)) @ stream.standard_normal((5, width)) + 0.1 * stream.random((n, width)) + 1


@cache
def _moments(width: int, seed: int = 0) -> tuple[Array, Array]:
    """Mean and covariance of 40 images, as np.cov makes it."""
    features = _features(40, width, seed)
    return features.mean(axis=0), np.cov(features, rowvar=False)


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def _pool(path: Path, seed: int = 0, **more: Any) -> Path:
    mu, sigma = _moments(2048, seed)
    return _npz(path, mu=mu, sigma=sigma, **more)


def _assert_holds(dna: VDNA, mean: Array, covariance: Array, n: int) -> None:
    """A layer Gaussian of one layer, with these moments to rounding."""
    assert dna.kind == "layer_gaussian"
    assert dna.n_images == n
    (layer,) = dna.layout
    found = dna.distribution.mean_and_covariance(layer)
    scale = np.abs(covariance).max()
    np.testing.assert_allclose(found[0], mean, rtol=1e-12)
    np.testing.assert_allclose(found[1], covariance, rtol=1e-12, atol=1e-12 * scale)


def _is_of(dna: VDNA, extractor: str, layer: str) -> bool:
    """Whether a DNA compares with those of an entry of the catalogue, whatever its weights."""
    spec = CATALOGUE[extractor]
    fingerprint = dna.fingerprint
    return (
        dna.provenance.extractor == extractor
        and (fingerprint.architecture, fingerprint.weights) == (spec.architecture_id, "")
        and fingerprint.preprocessing == spec.preprocess.id
        and fingerprint.paths == {layer: spec.paths[layer]}
    )


@pytest.mark.parametrize(
    ("mode", "extractor"),
    [
        ("clean", "fid_inception"),
        ("legacy_tensorflow", "fid_inception_legacy_tensorflow"),
        ("legacy_pytorch", "fid_inception_legacy_pytorch"),
    ],
)
def test_bare_moments_need_their_mode(mode: Any, extractor: str, tmp_path: Path) -> None:
    """Mean and covariance alone are refused until it is said how images were resized, and of how many they are."""
    path = _pool(tmp_path / "stats.npz")
    with pytest.raises(ValueError, match=r"as clean-fid, pytorch-fid, EDM write them, and does not say how"):
        import_statistics(path, n_images=40)
    with pytest.raises(ValueError, match=r"stats\.npz does not record of how many images it is: give n_images="):
        import_statistics(path, mode=mode)
    (dna,) = import_statistics(path, mode=mode, n_images=40)
    _assert_holds(dna, *_moments(2048), n=40)
    assert _is_of(dna, extractor, "block_3")
    assert dna.provenance.sources == ("stats",)
    assert dna.provenance.origin.startswith("clean-fid (ddof 1): stats.npz, sha256 ")
    assert len(dna.provenance.origin.rpartition(" ")[2]) == 64


def test_formats_imply_modes(tmp_path: Path) -> None:
    """EDM's and pytorch-fid's files are told from clean-fid's by format=, which then says how images were resized."""
    path = _pool(tmp_path / "stats.npz")
    (edm,) = import_statistics(path, format="EDM", n_images=40, name="faces")
    assert _is_of(edm, "fid_inception_legacy_tensorflow", "block_3")
    assert edm.provenance.sources == ("faces",)
    (pytorch,) = import_statistics(path, format="pytorch-fid", n_images=40)
    assert _is_of(pytorch, "fid_inception_legacy_pytorch", "block_3")
    with pytest.raises(ValueError, match="is of mode legacy_tensorflow, got 'clean'"):
        import_statistics(path, format="EDM", mode="clean", n_images=40)
    with pytest.raises(ValueError, match="give mode=, clean or legacy_tensorflow or legacy_pytorch"):
        import_statistics(path, format="clean-fid", n_images=40)


def test_other_modes_are_never_compared(tmp_path: Path) -> None:
    """Statistics of one preprocessing are not compared with those of another; both sides are shown."""
    path = _pool(tmp_path / "stats.npz")
    clean, legacy = (import_statistics(path, mode=mode, n_images=40)[0] for mode in ("clean", "legacy_tensorflow"))
    with pytest.raises(ValueError, match=r"preprocessing differ: reference clean:\S+, generated legacy_tensorflow:\S+"):
        compare.layer_frechet(clean, legacy)
    with pytest.raises(ValueError, match="preprocessing differ"):
        clean + legacy


def test_neurons_compare_by_the_diagonal(tmp_path: Path) -> None:
    """Statistics of a layer serve the neuron Fréchet distance, and never a histogram's."""
    path = tmp_path / "stats.npz"
    dnas, moments = [], []
    for seed in (0, 1):
        mu, sigma = _moments(64, seed)
        (dna,) = import_statistics(_npz(path, mu=mu, sigma=sigma), format="pytorch-fid", n_images=40)
        dnas.append(dna)
        moments.append((mu, np.sqrt(sigma.diagonal())))
    (m1, s1), (m2, s2) = moments
    expected = ((m1 - m2) ** 2 + (s1 - s2) ** 2).mean()
    assert float(compare.neuron_frechet(*dnas)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="needs DNAs of kind 'histogram': reference 'layer_gaussian'"):
        compare.emd(*dnas)


@pytest.mark.parametrize(("width", "layer"), [(64, "block_0"), (192, "block_1"), (768, "block_2"), (2048, "block_3")])
def test_the_number_of_neurons_names_the_layer(width: int, layer: str, tmp_path: Path) -> None:
    """pytorch-fid's files may be of any layer, which their width tells."""
    mu, sigma = _moments(width)
    (dna,) = import_statistics(_npz(tmp_path / "s.npz", mu=mu, sigma=sigma), format="pytorch-fid", n_images=40)
    assert _is_of(dna, "fid_inception_legacy_pytorch", layer)


def test_other_widths_are_refused(tmp_path: Path) -> None:
    """A file of another width is not of the FID Inception; both are said."""
    mu, sigma = _moments(64)
    path = _npz(tmp_path / "s.npz", mu=mu, sigma=sigma)
    with pytest.raises(ValueError, match="has 64 neurons, statistics of clean-fid have 2048 of the FID Inception"):
        import_statistics(path, mode="clean", n_images=40)


def test_adm_has_two(tmp_path: Path) -> None:
    """ADM's file gives FID's DNA and sFID's, of another layer and never compared with it; its images are left alone."""
    mu_s, sigma_s = _moments(2023, 1)
    images = np.zeros((3, 8, 8, 3), np.uint8)
    path = _pool(tmp_path / "VIRTUAL.npz", mu_s=mu_s, sigma_s=sigma_s, arr_0=images)
    fid, sfid = import_statistics(path, n_images=40)
    assert _is_of(fid, "fid_inception_legacy_tensorflow", "block_3")
    _assert_holds(fid, *_moments(2048), n=40)
    assert _is_of(sfid, "sfid_inception", "mixed_6_conv")
    _assert_holds(sfid, mu_s, sigma_s, n=40)
    assert fid.provenance.origin == sfid.provenance.origin
    with pytest.raises(ValueError, match="these DNAs cannot be compared: layers differ"):
        compare.layer_frechet(fid, sfid)
    with pytest.raises(ValueError, match=r"mu_s is \[7\], expected \[2023\]"):
        import_statistics(_pool(tmp_path / "V.npz", mu_s=mu_s[:7], sigma_s=sigma_s), n_images=40)


def _edm2(**more: Any) -> dict[str, Any]:
    parts = {"fid": _moments(2048), "fd_dinov2": _moments(1024, 1)}
    return {"num_images": 40, **{name: {"mu": mu, "sigma": sigma} for name, (mu, sigma) in parts.items()}, **more}


def _pickled(path: Path, contents: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(contents, protocol))
    return path


def test_edm2_has_fid_and_fd_dinov2(tmp_path: Path) -> None:
    """EDM2's pickle gives FID's DNA and FD-DINOv2's, each of its own extractor, and knows their number of images."""
    path = _pickled(tmp_path / "img512.pkl", _edm2())
    fid, dinov2 = import_statistics(path)
    assert _is_of(fid, "fid_inception_legacy_tensorflow", "block_3")
    assert _is_of(dinov2, "fd_dinov2", "class_token")
    _assert_holds(fid, *_moments(2048), n=40)
    _assert_holds(dinov2, *_moments(1024, 1), n=40)
    only = {key: value for key, value in _edm2().items() if key != "fid"}
    (alone,) = import_statistics(_pickled(tmp_path / "img.pkl", only))
    assert list(alone.layout) == ["class_token"]
    with pytest.raises(ValueError, match="n_images is 40, got 50000"):
        import_statistics(path, n_images=50_000)
    with pytest.raises(ValueError, match="neither fid nor fd_dinov2; it holds num_images"):
        import_statistics(_pickled(tmp_path / "no.pkl", {"num_images": 40}))


def _stylegan(features: Array, **changes: Any) -> dict[str, Any]:
    """What StyleGAN3's FeatureStats saves: sums, not moments."""
    x = features.astype(np.float32).astype(np.float64)
    state = {
        "capture_all": False,
        "capture_mean_cov": True,
        "max_items": len(x),
        "num_items": len(x),
        "num_features": x.shape[1],
        "all_features": [],
        "raw_mean": x.sum(axis=0),
        "raw_cov": x.T @ x,
    }
    return {**state, **changes}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_stylegans_sums_are_taken_as_they_are(protocol: int, tmp_path: Path) -> None:
    """StyleGAN3's sums become our state to the bit, so that the covariance has ddof 1, where StyleGAN3 takes ddof 0."""
    features = _features(40, 2048)
    state = _stylegan(features)
    (dna,) = import_statistics(_pickled(tmp_path / "cache.pkl", state, protocol))
    assert _is_of(dna, "fid_inception_legacy_tensorflow", "block_3")
    np.testing.assert_array_equal(dna.distribution.first, state["raw_mean"])
    np.testing.assert_array_equal(dna.distribution.scatters()["block_3"], state["raw_cov"])
    x = features.astype(np.float32)
    _assert_holds(dna, x.mean(axis=0, dtype=np.float64), np.cov(x, rowvar=False, ddof=1), n=40)
    assert dna.provenance.origin.startswith("StyleGAN3 (ddof 0): cache.pkl")


def test_stylegans_features_are_summed(tmp_path: Path) -> None:
    """Where StyleGAN3 kept features and no sums, which are then zeros, the features are taken."""
    x = _features(40, 2048).astype(np.float32)
    zeros = {"raw_mean": np.zeros(2048), "raw_cov": np.zeros((2048, 2048))}
    state = _stylegan(x, capture_all=True, capture_mean_cov=False, all_features=[x[:15], x[15:]], **zeros)
    (dna,) = import_statistics(_pickled(tmp_path / "kid.pkl", state))
    _assert_holds(dna, x.mean(axis=0, dtype=np.float64), np.cov(x.astype(np.float64), rowvar=False), n=40)


def _assert_features(dna: VDNA, rows: Array) -> None:
    """Features of one layer, these rows as float32, in any order."""
    assert dna.kind == "features"
    assert dna.n_images == len(rows)
    assert isinstance(dna.distribution, FeatureSample)
    (found,) = dna.distribution.features().values()
    assert sorted(found.tolist()) == sorted(rows.astype(np.float32).tolist())


def test_dgm_evals_features_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dgm-eval's representations become a Gaussian of DINOv2's class token; what is pickled beside them is not read."""
    monkeypatch.setattr(importing, "_ROWS", 16)
    reps = _features(40, 1024)
    path = _npz(tmp_path / "reps.npz", model="dinov2", reps=reps, hparams={"nsample": 40})
    dna, sample = import_statistics(path)
    assert _is_of(dna, "fd_dinov2", "class_token")
    assert _is_of(sample, "fd_dinov2", "class_token")
    _assert_holds(dna, reps.mean(axis=0), np.cov(reps, rowvar=False), n=40)
    _assert_features(sample, reps)
    assert sample.provenance.origin.startswith("dgm-eval: reps.npz, sha256 ")
    with pytest.raises(ValueError, match=r"features are \[40, 768\], expected \[images, 1024\]"):
        import_statistics(_npz(path, model="dinov2", reps=reps[:, :768]))
    with pytest.raises(ValueError, match="is of dgm-eval's model 'mae'; known here are dinov2 and inception"):
        import_statistics(_npz(path, model="mae", reps=reps))


def test_dgm_evals_inception_needs_its_mode(tmp_path: Path) -> None:
    """dgm-eval does not record whether its Inception saw clean-resized images, so this is asked for."""
    path = _npz(tmp_path / "reps.npz", model="inception", reps=_features(10, 2048))
    with pytest.raises(ValueError, match=r"give mode=, clean or legacy_pytorch \(with --clean_resize, or dgm-eval's"):
        import_statistics(path)
    for mode, extractor in (("legacy_pytorch", "fid_inception_legacy_pytorch"), ("clean", "inception")):
        made = import_statistics(path, mode=mode)  # type: ignore[arg-type]
        assert [dna.kind for dna in made] == ["layer_gaussian", "features"]
        assert all(_is_of(dna, extractor, "block_3") for dna in made)


def test_clean_fids_kid_files_are_features(tmp_path: Path) -> None:
    """What clean-fid keeps for its KID, the features of a set, are features of the FID Inception, copies among them."""
    feats = _features(20, 2048).astype(np.float32)
    feats[5] = feats[4]
    path = _npz(tmp_path / "cats_clean_train_64_kid.npz", feats=feats)
    with pytest.raises(ValueError, match=r"_kid\.npz does not record how images were resized: give mode=, clean or"):
        import_statistics(path)
    (dna,) = import_statistics(path, mode="clean")
    assert _is_of(dna, "fid_inception", "block_3")
    assert dna.provenance.sources == ("cats_clean_train_64_kid",)
    assert dna.provenance.origin.startswith("clean-fid: cats_clean_train_64_kid.npz, sha256 ")
    _assert_features(dna, feats)
    (fewer,) = import_statistics(path, mode="clean", feature_images=7)
    assert (fewer.n_images, fewer.distribution.n_sampled) == (20, 7)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "layer"), [(64, "block_0"), (2048, "block_3")])
def test_torch_fidelitys_features_are_imported(width: int, layer: str, tmp_path: Path) -> None:
    """A tensor under the name that torch-fidelity gives its features is taken for these."""
    features = _features(12, width)
    path = tmp_path / f"cats-inception-v3-compat-features-{width}.pt"
    torch.save(torch.from_numpy(features).float(), path)
    (dna,) = import_statistics(path)
    assert _is_of(dna, "fid_inception_legacy_tensorflow", layer)
    _assert_features(dna, features)
    other = path.rename(tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match=r"tensor\.pt holds one tensor and does not say of what: expected torch-fidel"):
        import_statistics(other)
    assert _is_of(import_statistics(other, format="torch-fidelity")[0], "fid_inception_legacy_tensorflow", layer)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("a-clip-vit-b-32-features-clip.pt", torch.ones(3, 512), "extractor 'clip-vit-b-32'; known here is inception"),
        ("a-inception-v3-compat-features-logits.pt", torch.ones(3, 64), "the layer 'logits', expected 64 or 192 or"),
        ("a-inception-v3-compat-features-64.pt", torch.ones(3, 192), "expected 64 neurons, as its name says, got 192"),
        ("a-inception-v3-compat-features-64.pt", torch.ones(64), r"a tensor is \[64\], expected \[images, neurons\]"),
        ("a-inception-v3-compat-features-64.pt", torch.ones(1, 64), "needs 2 images or more"),
        ("a-inception-v3-compat-features-64.pt", torch.full((3, 64), torch.nan), "a tensor: .*not finite|NaN"),
    ],
)
def test_other_tensors_are_refused(name: str, tensor: torch.Tensor, message: str, tmp_path: Path) -> None:
    """Features of another network or layer, of a wrong shape or with NaN are errors that name file and field."""
    torch.save(tensor, tmp_path / name)
    with pytest.raises(ValueError, match=message) as error:
        import_statistics(tmp_path / name)
    assert name in str(error.value)


def test_features_have_as_many_images_as_are_stated(tmp_path: Path) -> None:
    """A number of images that is given has to be the number of rows."""
    path = _npz(tmp_path / "a_clean_b_1_kid.npz", feats=_features(5, 2048))
    with pytest.raises(ValueError, match=r"kid\.npz: n_images is 5, got 6"):
        import_statistics(path, mode="clean", n_images=6)
    with pytest.raises(ValueError, match=r"kid\.npz has 64 neurons, statistics of clean-fid have 2048"):
        import_statistics(_npz(path, feats=_features(5, 64)), mode="clean")


def _torchmetrics(prefix: str = "", width: int = 64) -> dict[str, torch.Tensor]:
    x = torch.from_numpy(_features(40, width))
    state = {"sum": x.sum(0), "cov_sum": x.T @ x, "num_samples": torch.tensor(40)}
    return {f"{prefix}real_features_{name}": value for name, value in state.items()}


@pytest.mark.parametrize("where", ["top", "prefix", "checkpoint"])
def test_torchmetrics_states(where: str, tmp_path: Path) -> None:
    """The real side of a FID's saved states, alone or among a module's, becomes a DNA when antialias is told."""
    path = tmp_path / "fid.pt"
    states = _torchmetrics("metrics.fid." if where != "top" else "")
    states["other.weight"] = torch.zeros(2)
    torch.save({"state_dict": states} if where == "checkpoint" else states, path)
    with pytest.raises(
        ValueError, match=r"give mode=, torchmetrics or legacy_tensorflow \(antialias=True, its default"
    ):
        import_statistics(path)
    x = _features(40, 64)
    for mode, extractor in (
        ("torchmetrics", "fid_inception_torchmetrics"),
        ("legacy_tensorflow", "fid_inception_legacy_tensorflow"),
    ):
        (dna,) = import_statistics(path, mode=mode)
        assert _is_of(dna, extractor, "block_0")
        _assert_holds(dna, x.mean(axis=0), np.cov(x, rowvar=False), n=40)


def test_torchmetrics_states_must_be_one_metrics(tmp_path: Path) -> None:
    """States of two metrics, or half of one's, are refused with their names."""
    path = tmp_path / "fid.pt"
    torch.save({**_torchmetrics("a."), **_torchmetrics("b.")}, path)
    with pytest.raises(ValueError, match=r"several metrics: a\.real_features_sum, b\.real_features_sum"):
        import_statistics(path, mode="torchmetrics")
    torch.save({"a.real_features_sum": torch.zeros(64)}, path)
    with pytest.raises(ValueError, match=r"and not a\.real_features_cov_sum, a\.real_features_num_samples"):
        import_statistics(path, mode="torchmetrics")


def test_torch_fidelitys_caches(tmp_path: Path) -> None:
    """torch-fidelity's cache files hold arrays of NumPy; the name of one that it makes itself tells their number."""
    mu, sigma = _moments(64)
    path = tmp_path / "cifar10-val-inception-v3-compat-stat-fid-64.pt"
    torch.save({"mu": mu.astype(np.float32), "sigma": sigma}, path)
    (dna,) = import_statistics(path)
    assert _is_of(dna, "fid_inception_legacy_tensorflow", "block_0")
    _assert_holds(dna, mu.astype(np.float32), sigma, n=10_000)
    mine = path.rename(tmp_path / "mine-inception-v3-compat-stat-fid-64.pt")
    with pytest.raises(ValueError, match="give n_images="):
        import_statistics(mine)
    assert import_statistics(mine, n_images=40)[0].n_images == 40


class _Hostile:
    def __reduce__(self) -> Any:
        return eval, ("open('mark', 'w')",)


@pytest.mark.parametrize("container", ["pickle", "torch"])
def test_hostile_files_are_refused(container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle, or a torch file, that wants more than arrays is refused by what it names, and has run nothing."""
    monkeypatch.chdir(tmp_path)
    contents = {"num_images": 40, "fid": _Hostile()}
    path = tmp_path / "stats.pkl"
    if container == "torch":
        torch.save(contents, path)
    else:
        _pickled(path, contents)
    with pytest.raises(ValueError, match=r"stats\.pkl.* is refused: it names (builtins|__builtin__)\.eval"):
        import_statistics(path)
    assert not (tmp_path / "mark").exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Files cut short, of another sort, or with parts that are no moments are errors with their names."""
    whole = _pool(tmp_path / "stats.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[:-1000])
    flipped = bytearray(whole.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.npz").write_bytes(flipped)
    text = tmp_path / "text.npz"
    text.write_text("mu")
    other = _npz(tmp_path / "other.npz", weights=np.zeros(3))
    options: Mapping[str, Any] = {"mode": "clean", "n_images": 40}
    for path, message in (
        (cut, "cut.npz is damaged"),
        (tmp_path / "flipped.npz", "flipped.npz: member '"),
        (text, "text.npz is not a file of statistics"),
        (other, "other.npz is of no known format: it holds weights"),
    ):
        with pytest.raises(ValueError, match=message):
            import_statistics(path, **options)
    with pytest.raises(FileNotFoundError, match=r"no such file: nowhere\.npz"):
        import_statistics("nowhere.npz", **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mu, sigma: (mu, sigma[:-1]), r"sigma is \[63, 64\], expected \[64, 64\]"),
        (lambda mu, sigma: (mu * np.nan, sigma), "mu holds NaN or infinity"),
        (lambda mu, sigma: (mu.astype(str), sigma), "mu: expected an array of numbers, got <U32"),
        (lambda mu, sigma: (mu, np.triu(sigma)), "sigma is not a covariance: it is not symmetric"),
        (lambda mu, sigma: (mu, -sigma), "or has negative variances"),
        (lambda mu, sigma: (mu[None], sigma), r"mu is \[1, 64\], expected \['neurons'\]"),
    ],
)
def test_what_is_no_covariance_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    """Moments of other shapes, not finite, not symmetric or with negative variances are errors that say so."""
    mu, sigma = change(*_moments(64))
    with pytest.raises(ValueError, match=message):
        import_statistics(_npz(tmp_path / "s.npz", mu=mu, sigma=sigma), format="pytorch-fid", n_images=40)


@pytest.mark.parametrize("number", [1, 0, -3, True, 2.0])
def test_a_covariance_needs_two_images(number: Any, tmp_path: Path) -> None:
    """A number of images that cannot have made a covariance is refused."""
    mu, sigma = _moments(64)
    with pytest.raises(ValueError, match=f"needs 2 images or more, up to .*; n_images is {number}"):
        import_statistics(_npz(tmp_path / "s.npz", mu=mu, sigma=sigma), format="pytorch-fid", n_images=number)


def test_formats_are_checked_by_content(tmp_path: Path) -> None:
    """format= cannot make a file something else than it is."""
    path = _pool(tmp_path / "stats.npz")
    with pytest.raises(ValueError, match="is of format clean-fid or pytorch-fid or EDM, got 'ADM'"):
        import_statistics(path, format="ADM", n_images=40)
    with pytest.raises(ValueError, match="unknown format 'fid'; known: clean-fid, pytorch-fid, ADM"):
        import_statistics(path, format="fid", n_images=40)
    with pytest.raises(ValueError, match="is not a vdna package; ranges= is for its histograms"):
        import_statistics(path, mode="clean", n_images=40, ranges="ranges.npz")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that stands for the publishers, and an empty cache."""
    monkeypatch.setattr(downloads, "_PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    with file_server() as running:
        for publisher in published.ADDRESSES:
            monkeypatch.setitem(published.ADDRESSES, publisher, f"{running.address}/{publisher}")
        yield running


def test_published_names(server: FileServer, tmp_path: Path) -> None:
    """A published name, in any case, brings its file once, and knows mode and number of images."""
    content = _pool(tmp_path / "s.npz").read_bytes()
    server.serve("clean-fid/cifar10_legacy_tensorflow_train_32.npz", content)
    for name in ("clean-fid:cifar10/train/32/legacy_tensorflow", "Clean-FID:CIFAR10/train/32/legacy_tensorflow"):
        (dna,) = import_statistics(name)
        assert _is_of(dna, "fid_inception_legacy_tensorflow", "block_3")
        assert dna.n_images == 50_000
        assert dna.provenance.sources == ("cifar10/train/32/legacy_tensorflow",)
        assert f"{server.address}/clean-fid/cifar10_legacy_tensorflow_train_32.npz, sha256 " in dna.provenance.origin
    assert len(server.requests) == 1
    name = "clean-fid:cifar10/train/32/legacy_tensorflow"
    for options, message in (
        ({"mode": "clean"}, "mode is 'legacy_tensorflow', got 'clean'"),
        ({"n_images": 7}, "n_images is 50000, got 7"),
        ({"format": "EDM"}, "format is 'clean-fid', got 'EDM'"),
    ):
        with pytest.raises(ValueError, match=message):
            import_statistics(name, **options)


def test_other_publishers_names(server: FileServer, tmp_path: Path) -> None:
    """ADM's, EDM's and EDM2's names bring their files; a number that nobody states is asked for."""
    server.serve("EDM/cifar10-32x32.npz", _pool(tmp_path / "s.npz").read_bytes())
    server.serve("EDM/afhqv2-64x64.npz", _pool(tmp_path / "s.npz").read_bytes())
    server.serve("EDM2/img512.pkl", pickle.dumps(_edm2()))
    mu_s, sigma_s = _moments(2023)
    path = _pool(tmp_path / "a.npz", mu_s=mu_s, sigma_s=sigma_s)
    server.serve("ADM/imagenet/256/VIRTUAL_imagenet256_labeled.npz", path.read_bytes())
    assert [dna.n_images for dna in import_statistics("EDM:cifar10-32x32")] == [50_000]
    assert [dna.n_images for dna in import_statistics("EDM2:img512")] == [40, 40]
    assert [dna.n_images for dna in import_statistics("ADM:imagenet/256")] == [1_281_167] * 2
    with pytest.raises(ValueError, match="EDM:afhqv2-64x64 does not record of how many images it is"):
        import_statistics("EDM:afhqv2-64x64")
    assert import_statistics("EDM:afhqv2-64x64", n_images=15_000)[0].n_images == 15_000


def test_addresses_are_downloaded_once(server: FileServer, tmp_path: Path) -> None:
    """An address is read as a file is, and kept; a vdna package, which is two, cannot be had so."""
    address = server.serve("mine/stats.npz", _pool(tmp_path / "s.npz").read_bytes())
    for _ in range(2):
        (dna,) = import_statistics(address, mode="clean", n_images=40)
        assert dna.provenance.sources == ("stats",)
        assert dna.provenance.origin.startswith(f"clean-fid (ddof 1): {address}, sha256 ")
    assert len(server.requests) == 1
    with pytest.raises(downloads.DownloadError, match="HTTP 404"):
        import_statistics(f"{server.address}/none.npz", mode="clean", n_images=40)
    with pytest.raises(ValueError, match="expected https://"):
        import_statistics("http://example.org/stats.npz")
    with pytest.raises(ValueError, match="a vdna package is two files"):
        import_statistics(address, format="vdna")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("clean-fid:cifar10/train", "did you mean 'clean-fid:cifar10/train/32'"),
        ("clean-fid:ffhq/trainval/512", "did you mean .*'clean-fid:ffhq/trainval/256'"),
        ("clean-fid:cifar10/val/32", "did you mean .*'clean-fid:cifar10/"),
        ("EDM:cifar10", "did you mean 'EDM:cifar10-32x32'"),
        ("ADM:imagenet/1024", "did you mean .*'ADM:imagenet/"),
        ("EDM2:img64", "did you mean 'EDM2:img512'"),
    ],
)
def test_nothing_is_guessed_of_a_name(name: str, near: str) -> None:
    """A name without its split or resolution, or with one that does not exist, is answered with near ones."""
    with pytest.raises(ValueError, match=f"no published statistics '{name}'; {near}"):
        import_statistics(name)


def test_the_table_is_that_of_the_publishers(shared: Path) -> None:
    """Published names are those of the facts collected from the publishers: sets, resolutions, splits and sizes."""
    oracle = json.loads((shared / "oracles/published_statistics.json").read_text())
    entries = {entry.name: entry for entry in published_statistics()}
    assert len(entries) == len(published_statistics())
    expected = set()
    for data in oracle["clean-fid"]["sets"]:
        for resolution in data["res"] if isinstance(data["res"], list) else [data["res"]]:
            for split, size in data["splits"].items():
                for mode in oracle["clean-fid"]["modes"]:
                    name = f"clean-fid:{data['name']}/{split}/{resolution}" + f"/{mode}" * (mode != "clean")
                    expected.add(name)
                    assert (entries[name].mode, entries[name].n_images) == (mode, size)
                    url = oracle["clean-fid"]["url"].partition(" ")[0].replace("[_clip_vit_b_32]", "")
                    assert entries[name].address == url.format(
                        name=data["name"], mode=mode, split=split, res=resolution
                    )
    assert {name for name in entries if name.startswith("clean-fid:")} == expected
    base = oracle["EDM"]["url"].partition("{")[0]
    listed = oracle["EDM"]["url"].partition("{")[2].partition("}")[0].split(", ")
    assert {entry.address for entry in entries.values() if entry.format == "EDM"} == {f"{base}{n}.npz" for n in listed}
    assert entries["EDM2:img512"].address == oracle["EDM2"]["url"]
    adm = [entry.address for entry in entries.values() if entry.format == "ADM"]
    assert len(adm) == 7
    assert all(address.startswith(oracle["ADM"]["url"].partition("{")[0]) for address in adm)


def test_every_format_is_described() -> None:
    """The page has a row for each format, with the modes that its extractors are known by and its ddof."""
    assert tuple(FORMATS) == get_args(published.Format)
    page = (Path(__file__).parents[3] / "docs" / "references.md").read_text()
    rows = {cells[1]: cells for cells in (re.split(r" *\| *", line) for line in page.splitlines()) if len(cells) > 6}
    for name, entry in FORMATS.items():
        modes = " or ".join(f"`{mode}`" for mode in entry.modes) or "as the file says"
        assert rows[name][4:6] == [modes, f"ddof {entry.ddof}"]
    assert {name for name, entry in FORMATS.items() if entry.ddof == 0} == {"StyleGAN3"}


def _exportable(folder: Path) -> VDNA:
    mu, sigma = _moments(64)
    path = _npz(folder / "made.npz", mu=mu, sigma=sigma)
    return import_statistics(path, format="pytorch-fid", n_images=40)[0]


def test_what_is_exported_is_imported(tmp_path: Path) -> None:
    """An exported file gives its DNA back, without being told anything: means to the bit, covariances to rounding."""
    dna = _exportable(tmp_path)
    (path,) = export_statistics(dna, tmp_path / "out-0.5")
    assert path.name == "out-0.5.npz"
    (back,) = import_statistics(path)
    assert (back.fingerprint, back.provenance) == (dna.fingerprint, dna.provenance)
    mean, covariance = dna.distribution.mean_and_covariance("block_0")
    np.testing.assert_array_equal(back.distribution.mean(), mean)
    _assert_holds(back, mean.numpy(), covariance.numpy(), n=40)
    with np.load(path) as file:
        assert file["mu"].dtype == file["sigma"].dtype == np.float64
        np.testing.assert_array_equal(file["sigma"], covariance)
    assert import_statistics(path, name="renamed")[0].provenance.sources == ("renamed",)
    for options, message in (
        ({"n_images": 7}, "n_images is 40, got 7"),
        ({"mode": "clean"}, "mode is 'legacy_pytorch', got 'clean'"),
    ):
        with pytest.raises(ValueError, match=message):
            import_statistics(path, **options)


def test_changed_exports_are_refused(tmp_path: Path) -> None:
    """An exported file that was changed afterwards is refused, as every file of ours."""
    (path,) = export_statistics(_exportable(tmp_path), tmp_path / "out")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["mu"][0] += 1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="was changed after it was written"):
        import_statistics(path)


def test_only_what_clean_fid_can_compare_is_exported(tmp_path: Path) -> None:
    """Other kinds, networks, preprocessing and selections of neurons are refused with both sides."""
    dna = _exportable(tmp_path)
    with pytest.raises(ValueError, match="export a layer_gaussian, not a gaussian"):
        export_statistics(make_dna("gaussian"), tmp_path / "out")
    with pytest.raises(ValueError, match="this DNA is of tiny with images clean:32, for which clean-fid has no mode"):
        export_statistics(make_dna("layer_gaussian"), tmp_path / "out")
    with pytest.raises(ValueError, match="of 'block_0' there are 2 neurons"):
        export_statistics(dna.select(neurons={"block_0": [3, 1]}), tmp_path / "out")
    with pytest.raises(ValueError, match="unknown layer 'block_9'"):
        export_statistics(dna, tmp_path / "out", layer="block_9")
    with pytest.raises(ValueError, match="unknown format 'EDM' to export to; known: clean-fid, vdna"):
        export_statistics(dna, tmp_path / "out", format="EDM")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.npz"]


def test_one_layer_is_exported(tmp_path: Path) -> None:
    """Of a DNA with several layers one has to be named."""
    one = _exportable(tmp_path)
    paths = {name: CATALOGUE["fid_inception_legacy_pytorch"].paths[name] for name in ("block_0", "block_1")}
    distribution = LayerGaussianDistribution.empty(NeuronLayout({"block_0": 4, "block_1": 3}))
    distribution.fill_({"block_0": torch.rand(4, 9, 2), "block_1": torch.rand(3, 9, 1)})
    dna = VDNA(distribution, replace(one.fingerprint, paths=paths), one.provenance)
    with pytest.raises(ValueError, match="the file holds one layer, the DNA block_0, block_1: give layer="):
        export_statistics(dna, tmp_path / "out")
    (path,) = export_statistics(dna, tmp_path / "out", layer="block_1")
    mean, covariance = distribution.mean_and_covariance("block_1")
    with np.load(path) as file:
        np.testing.assert_array_equal(file["mu"], mean)
        np.testing.assert_array_equal(file["sigma"], covariance)


def test_vdna_packages_are_imported_and_exported(tmp_path: Path) -> None:
    """The format "vdna" is the package of vdna_files, found by its .json."""
    dna = make_dna("gaussian")
    paths = export_statistics(dna, tmp_path / "set", format="vdna")
    assert [path.name for path in paths] == ["set.json", "set.npz"]
    for source in (tmp_path / "set", paths[0]):
        (back,) = import_statistics(source)
        assert (back.kind, back.fingerprint) == ("gaussian", dna.fingerprint)
    assert import_statistics(paths[1], format="vdna", name="x")[0].provenance.sources == ("x",)
    with pytest.raises(ValueError, match="n_images is 12, got 7"):
        import_statistics(paths[0], n_images=7)
    histogram = make_dna("histogram")
    write_vdna_package(histogram, tmp_path / "h")
    (found,) = import_statistics(tmp_path / "h", ranges=histogram.distribution.ranges)
    assert torch.equal(found.distribution.counts, histogram.distribution.counts)
    with pytest.raises(ValueError, match="layer= is for the format 'clean-fid'"):
        export_statistics(dna, tmp_path / "set", format="vdna", layer="conv1")


def test_an_npz_is_not_taken_for_a_torch_file(tmp_path: Path) -> None:
    """Both are zip archives, told apart by what is in them."""
    path = tmp_path / "odd.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with pytest.raises(ValueError, match=r"odd\.npz is of no known format|odd\.npz is damaged"):
        import_statistics(path, mode="clean", n_images=40)


def _torch_states(**changes: Any) -> dict[str, Any]:
    states: dict[str, Any] = {**_torchmetrics(), "real_features_num_samples": torch.tensor(40)}
    return {**states, **{f"real_features_{name}": value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sum": torch.zeros(64, requires_grad=True)}, "sum: expected a tensor of numbers, got one that requires grad"),
        ({"sum": torch.nn.Parameter(torch.zeros(64))}, "sum: expected a tensor of numbers, got one that requires grad"),
        ({"sum": torch.zeros(64).to_sparse()}, "is refused: it names torch._utils._rebuild_sparse_tensor"),
        ({"sum": torch.zeros(64, dtype=torch.complex64)}, "sum: expected an array of numbers, got complex64"),
        (
            {"sum": torch.zeros(1).expand(1 << 40)},
            "sum: expected at most the 1 numbers of its storage, got 1099511627776",
        ),
        ({"sum": torch.zeros(1 << 17)}, "sum is of 131072 neurons, expected at most 65536"),
        ({"sum": torch.zeros(64) * float("nan")}, "sum holds NaN or infinity"),
        ({"cov_sum": torch.zeros(1).expand(64, 64)}, "outer: expected at most the 1 numbers of its storage, got 4096"),
        ({"cov_sum": torch.zeros(64, 63)}, r"outer is \[64, 63\], expected \[64, 64\]"),
        ({"cov_sum": [0.0]}, "outer: expected an array of numbers, got list"),
        ({"num_samples": torch.tensor(float("inf"))}, "num_samples is inf, expected a whole number up to"),
        ({"num_samples": torch.tensor(float("nan"))}, "num_samples is nan, expected a whole number up to"),
        ({"num_samples": torch.tensor([40, 40])}, "num_samples is ndarray, expected a whole number up to"),
        ({"num_samples": 10**30}, "num_samples is int, expected a whole number up to"),
        ({"num_samples": "40"}, "num_samples is str, expected a whole number up to"),
        ({"num_samples": 1}, "a reference needs 2 images or more"),
    ],
)
def test_torch_states_that_are_none_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    """Only whole tensors of finite numbers, as large as what is stored of them, are read from a file of torch."""
    path = tmp_path / "fid.pt"
    torch.save(_torch_states(**changes), path)
    with pytest.raises(ValueError, match=rf"fid\.pt.*{message}"):
        import_statistics(path, mode="torchmetrics")


def test_tensors_of_any_strides_are_read(tmp_path: Path) -> None:
    """A transposed tensor, one of half precision, and one that begins inside of a storage are what they were."""
    x = torch.from_numpy(_features(40, 64))
    total = torch.cat([torch.zeros(3, dtype=torch.float64), x.sum(0)])[3:]
    torch.save(_torch_states(sum=total, cov_sum=(x.T @ x).T), tmp_path / "fid.pt")
    (dna,) = import_statistics(tmp_path / "fid.pt", mode="torchmetrics")
    _assert_holds(dna, x.numpy().mean(axis=0), np.cov(x.numpy(), rowvar=False), n=40)
    torch.save(_torch_states(sum=torch.ones(64, dtype=torch.float16)), tmp_path / "fid.pt")
    (dna,) = import_statistics(tmp_path / "fid.pt", mode="torchmetrics")
    assert dna.distribution.first.tolist() == [1.0] * 64  # type: ignore[attr-defined]


def _stylegan3(**changes: Any) -> dict[str, Any]:
    x = _features(40, 2048)
    whole = {"capture_all": False, "capture_mean_cov": True, "num_items": 40, "raw_mean": x.sum(0), "raw_cov": x.T @ x}
    return {**whole, "all_features": None, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_items": float("inf")}, "num_items is inf, expected a whole number"),
        ({"num_items": 10**30}, "num_items is int, expected a whole number"),
        ({"num_items": [40]}, "num_items is list, expected a whole number"),
        ({"raw_mean": 3}, "sum: expected an array of numbers, got int"),
        ({"raw_mean": np.float64(3)}, "sum: expected an array of numbers, got float"),
        ({"raw_mean": np.ones(2048, complex)}, "sum: expected an array of numbers, got complex128"),
        ({"capture_mean_cov": False}, "expected all_features to be a list of arrays, got NoneType"),
        ({"capture_mean_cov": False, "all_features": [1]}, "all_features: expected an array of numbers, got int"),
        ({"capture_mean_cov": False, "all_features": [np.ones(3)]}, r"all_features is \[3\], expected \[images, neur"),
        (
            {"num_items": 6, "capture_mean_cov": False, "all_features": [np.ones((3, 2048)), np.ones((3, 5))]},
            r"features are \[3, 5\], expected \[images, 2048\]",
        ),
        (
            {"capture_mean_cov": False, "all_features": [np.ones((2048, 2048), np.float32)] * 200},
            "expected all_features to be arrays that differ, got one of them twice",
        ),
        (
            {"capture_mean_cov": False, "all_features": [np.ones((3, 2048))]},
            "num_items is 40, all_features are of 3 images",
        ),
    ],
)
def test_pickles_that_hold_no_statistics_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    """Numbers that are none, and arrays that are shared to fill all memory, are errors that name file and part."""
    path = tmp_path / "stats.pkl"
    path.write_bytes(pickle.dumps(_stylegan3(**changes)))
    with pytest.raises(ValueError, match=rf"stats\.pkl: {message}"):
        import_statistics(path)


def test_torch_files_are_stored(tmp_path: Path) -> None:
    """A storage that is cut, missing or of another size is refused with its member."""
    path, other = tmp_path / "fid.pt", tmp_path / "other.pt"
    torch.save(_torch_states(), path)
    for change, message in (
        (lambda name, data: data[:-8] if "/data/" in name else data, r"member '.*/data/\d': expected \d+ bytes, got"),
        (lambda name, data: None if "/data/" in name else data, "has no member '.*/data/"),
    ):
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as changed:
            for name in archive.namelist():
                if (data := change(name, archive.read(name))) is not None:
                    changed.writestr(name, data)
        with pytest.raises(ValueError, match=rf"other\.pt.*({message})"):
            import_statistics(other, mode="torchmetrics")


def _whole_states(width: int = 64) -> dict[str, torch.Tensor]:
    """Sums of whole numbers from 0 to 3, which every type of numbers holds exactly."""
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (4, width)).astype(np.float64))
    return {"sum": x.sum(0), "cov_sum": x.T @ x, "num_samples": torch.tensor(4)}


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8]
)
def test_tensors_of_any_type_are_read(dtype: torch.dtype, archive: bool, tmp_path: Path) -> None:
    """States of every type of numbers, in both kinds of torch files, give the sums that they hold."""
    states = _whole_states()
    saved = {f"real_features_{name}": value.to(dtype) for name, value in states.items()}
    torch.save(saved, tmp_path / "fid.pt", _use_new_zipfile_serialization=archive)
    (dna,) = import_statistics(tmp_path / "fid.pt", mode="torchmetrics")
    assert isinstance(dna.distribution, LayerGaussianDistribution)
    assert dna.n_images == 4
    assert torch.equal(dna.distribution.first, states["sum"])
    assert torch.equal(dna.distribution.scatters()["block_0"], states["cov_sum"])


def _checkpoint() -> dict[str, Any]:
    """A checkpoint of a training: a metric's states among what else people save."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).half()
    optimizer = torch.optim.Adam(torch.nn.Linear(2, 1).parameters())
    states = collections.OrderedDict(network.state_dict(prefix="network."))
    states |= {f"fid.{name}": value for name, value in _torch_states().items()}
    return {
        "state_dict": states,
        "optimizer": optimizer.state_dict(),
        "options": argparse.Namespace(lr=0.1, layers=[1, 2], more=argparse.Namespace()),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "flags": torch.tensor([True]),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "size": torch.zeros(2, 3).shape,
        "dtype": torch.bfloat16,
        "types": {"a": [torch.float32, torch.bool, torch.int64]},
        "devices": [torch.device("cpu"), torch.device("cuda", 0)],
        "numbers": [np.float64(0.5), np.int64(7), np.bool_(True), np.float32(1)],
        "array": np.arange(3),
        "type": np.dtype("f8"),
        "epoch": 3,
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("archive", [True, False])
def test_what_lies_beside_is_no_hindrance(archive: bool, protocol: int, tmp_path: Path) -> None:
    """A checkpoint's options, types, devices, sizes, parameters and numbers are passed over."""
    path = tmp_path / "last.ckpt"
    torch.save(_checkpoint(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    (dna,) = import_statistics(path, mode="torchmetrics")
    x = _features(40, 64)
    _assert_holds(dna, x.mean(axis=0), np.cov(x, rowvar=False), n=40)


@pytest.mark.parametrize("archive", [True, False])
def test_other_classes_are_named(archive: bool, tmp_path: Path) -> None:
    """A class that is not known is refused by its name, with what to save instead."""
    path = tmp_path / "last.ckpt"
    torch.save({**_torch_states(), "network": torch.nn.Linear(2, 1)}, path, _use_new_zipfile_serialization=archive)
    message = r"it names torch\.nn\.modules\.linear\.Linear, and only arrays, .* read from a pickle: save those alone"
    with pytest.raises(ValueError, match=rf"last\.ckpt.* is refused: {message}"):
        import_statistics(path, mode="torchmetrics")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_stylegans_state_may_be_of_any_dict(kind: Any, protocol: int, tmp_path: Path) -> None:
    """StyleGAN3's statistics are read from a dict and from an OrderedDict, with NumPy's numbers among them."""
    state = kind(_stylegan(_features(40, 2048), num_items=np.int64(40), max_items=np.float64(40)))
    (dna,) = import_statistics(_pickled(tmp_path / "cache.pkl", state, protocol))
    np.testing.assert_array_equal(dna.distribution.scatters()["block_3"], state["raw_cov"])  # type: ignore[attr-defined]


_HUGE = 1.8e154  # whose square is above all numbers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu": np.full(64, 1.79e308)}, "expected a mean within 1e.70, got 1.79e.308 for neuron 0 of layer 'block_0'"),
        ({"mu": np.full(64, -_HUGE)}, "expected a mean within"),
        ({"sigma": np.eye(64) * 1.79e308}, "(expected of 40 images a variance from 0, below 1e.140|holds NaN or inf)"),
        (
            {"sigma": np.ones((64, 64)) * 1e9 - np.eye(64) * (1e9 - 1)},
            "second moments: expected products of at most 39",
        ),
    ],
)
def test_moments_that_cannot_be_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    """Means and covariances that no distance could be made of are refused when they are read, not when compared."""
    mu, sigma = _moments(64)
    path = _npz(tmp_path / "stats.npz", **{"mu": mu, "sigma": sigma, **changes})
    with pytest.raises(ValueError, match=rf"stats\.npz: .*{message}"):
        import_statistics(path, format="pytorch-fid", n_images=40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw_mean": np.full(2048, 1e200)}, "expected a mean within 1e.70"),
        ({"raw_mean": np.full(2048, 1e9)}, "expected of 40 images a variance from 0"),
        ({"raw_cov": np.zeros((2048, 2048))}, "expected of 40 images a variance from 0"),
        ({"raw_cov": np.eye(2048) * 1e308}, "expected of 40 images a variance from 0, below"),
    ],
)
def test_sums_that_cannot_be_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    """Sums of products have to go with the sums: no variance is negative, and none without end."""
    with pytest.raises(ValueError, match=rf"cache\.pkl: .*{message}"):
        import_statistics(_pickled(tmp_path / "cache.pkl", _stylegan(_features(40, 2048), **changes)))


def test_an_export_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A file that we exported is held to the same, whatever its checksum."""
    (path,) = export_statistics(_exportable(tmp_path), tmp_path / "out")

    def change(_: dict[str, Any], arrays: Any) -> None:
        arrays["mu"][3] = 1.79e308

    with pytest.raises(ValueError, match=r"out\.npz.*expected a mean within .* for neuron 3 of layer 'block_0'"):
        import_statistics(tampered(path, change))
