"""Files of the vdna package, written and read; with vdna itself in tests/parity/test_published_statistics.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import KINDS, LAYOUT, make_dna, make_ranges
from helpers.file_server import FileServer, file_server

from vdna_metrics import VDNA, ActivationRanges, ExtractorSpec, compare
from vdna_metrics.distributions import Kind
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.references.formats.vdna import read_vdna_package, write_vdna_package

VGG = CATALOGUE["vgg16"]
NEURONS = dict(zip(VGG.paths, (64, 64, 128, 128, *(256,) * 3, *(512,) * 6), strict=True))


def _as_vdna_writes(settings_path: Path) -> dict[str, Any]:
    """Leave in the settings only what vdna itself would write; returns them."""
    settings: dict[str, Any] = json.loads(settings_path.read_text())
    del settings["vdna_metrics"]
    settings_path.write_text(json.dumps(settings))
    return settings


def _change(settings_path: Path, **changes: Any) -> None:
    settings = json.loads(settings_path.read_text())
    for name, value in changes.items():
        parts = (settings, settings["data_settings"], settings["extraction_settings"])
        next(part for part in parts if name in part)[name] = value
    settings_path.write_text(json.dumps(settings))


def _same(kind: Kind, a: VDNA, b: VDNA) -> None:
    assert (a.kind, a.layout, a.n_images, a.fingerprint) == (b.kind, b.layout, b.n_images, b.fingerprint)
    compared = {"histogram": compare.emd, "gaussian": compare.neuron_frechet, "layer_gaussian": compare.layer_frechet}
    assert float(compared[kind](a, b)) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["", ".json", ".npz"])
def test_dnas_come_back(kind: Kind, source: str, tmp_path: Path) -> None:
    """A DNA comes back from its root or either file, with fingerprint and provenance, whatever dots the root has."""
    dna = make_dna(kind)
    paths = write_vdna_package(dna, tmp_path / "ffhq-0.5")
    assert paths == (tmp_path / "ffhq-0.5.json", tmp_path / "ffhq-0.5.npz")
    ranges = make_ranges() if kind == "histogram" else None
    back = read_vdna_package(str(tmp_path / "ffhq-0.5") + source, ranges=ranges)
    assert isinstance(back, VDNA)
    assert back.provenance == dna.provenance
    if kind == "histogram":
        assert torch.equal(back.distribution.counts, dna.distribution.counts)
        _same(kind, back, dna)
    else:  # Gaussians are float32 in these files
        again = write_vdna_package(back, tmp_path / "again")
        with np.load(paths[1]) as first, np.load(again[1]) as second:
            assert set(first.files) == set(second.files)
            for name in first.files:
                rounding = 1e-15 * np.abs(first[name]).max() if name.startswith("sigma") else 0
                np.testing.assert_allclose(second[name], first[name], rtol=0, atol=rounding)


def test_layout_of_the_files(tmp_path: Path) -> None:
    """Arrays have vdna's names and types, and the settings the keys that it reads."""
    expected = {
        "histogram": {layer: (np.int32, (count, 8)) for layer, count in LAYOUT.items()},
        "gaussian": {f"{p}-{layer}": (np.float32, (n,)) for layer, n in LAYOUT.items() for p in ("mu", "var")},
        "layer_gaussian": {
            **{f"mu-{layer}": (np.float64, (n,)) for layer, n in LAYOUT.items()},
            **{f"sigma-{layer}": (np.float64, (n, n)) for layer, n in LAYOUT.items()},
        },
    }
    for kind in KINDS:
        settings, arrays = write_vdna_package(make_dna(kind), tmp_path / kind)
        with np.load(arrays) as file:
            assert {name: (file[name].dtype, file[name].shape) for name in file.files} == expected[kind]
        written = json.loads(settings.read_text())
        assert written["neurons_list"] == dict(LAYOUT)
        assert (written["num_images"], written["feature_extractor_name"]) == (12, "tiny")
        assert (written["type"], written["name"]) == {
            "histogram": ("histogram", "histogram-8"),
            "gaussian": ("gaussian", "gaussian"),
            "layer_gaussian": ("layer-gaussian", "layer-gaussian"),
        }[kind]
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".npz"] * 3


def _vgg(folder: Path, kind: str = "gaussian", **changes: Any) -> Path:
    """A package as vdna writes it of VGG16, which is in the catalogue."""
    arrays: dict[str, Any]
    if kind == "gaussian":
        arrays = {f"{p}-{layer}": np.full(n, 0.5, np.float32) for layer, n in NEURONS.items() for p in ("mu", "var")}
        arrays |= {layer: {} for layer in NEURONS}  # a pickle that vdna leaves there
    elif kind == "activation-ranges":
        arrays = {f"min-{layer}": np.full(n, -1, np.float32) for layer, n in NEURONS.items()}
        arrays |= {f"max-{layer}": np.full(n, 2, np.float32) for layer, n in NEURONS.items()}
    else:
        arrays = {layer: np.full((n, 4), 10, np.int32) for layer, n in NEURONS.items()}
    np.savez_compressed(folder / "set.npz", **arrays)
    path = folder / "set.json"
    settings = {
        "time_of_compute": "10:00AM on June 01, 2023",
        "vdna_version": "0.1.1",
        "distribution": {"hist_nb_bins": 4} if kind == "histogram" else {},
        "type": kind,
        "name": kind,
        "data_settings": {
            "source": "/data/cats",
            "crop_to_square_pre_resize": "none",
            "resize_mode": "clean",
            "custom_fn_resize": None,
            "shuffle_files": True,
            "num_images": -1,
        },
        "extraction_settings": {"range_scale_for_norm_params": 1.2, "hist_range": [-1.0, 1.0], "hist_nb_bins": 4},
        "num_images": 7,
        "feature_extractor_name": "vgg16",
        "neurons_list": NEURONS,
    }
    path.write_text(json.dumps(settings))
    _change(path, **changes)
    return path


@pytest.mark.parametrize(
    ("changes", "preprocessing"),
    [
        ({}, VGG.preprocess.id),
        ({"resize_mode": "legacy_pytorch"}, replace(VGG, preprocessing="legacy_pytorch").preprocess.id),
        ({"crop_to_square_pre_resize": "center"}, replace(VGG, crop="center").preprocess.id),
    ],
)
def test_extractors_of_vdna_are_those_of_the_catalogue(changes: Any, preprocessing: str, tmp_path: Path) -> None:
    """A DNA of vdna's is of the catalogue's extractor of that name, with its resizing and crop, weights unknown."""
    dna = read_vdna_package(_vgg(tmp_path, **changes))
    assert isinstance(dna, VDNA)
    assert dna.fingerprint.architecture == VGG.architecture_id
    assert (dna.fingerprint.weights, dna.fingerprint.precision) == ("", "fp32")
    assert dna.fingerprint.preprocessing == preprocessing
    assert dna.fingerprint.paths == VGG.paths
    assert (dna.provenance.extractor, dna.provenance.sources, dna.n_images) == ("vgg16", ("cats",), 7)
    assert dna.provenance.origin.startswith("vdna package: set.npz, sha256 ")
    mean, variance = dna.distribution.mean_and_variance()  # type: ignore[attr-defined]
    assert torch.equal(mean, torch.full((4_224,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(variance, mean, rtol=1e-15, atol=0)


def test_half_precision_is_recorded(tmp_path: Path) -> None:
    """What vdna computes in half precision is not compared with full precision."""
    layers = {"block_0": 768, "last_norm": 768}
    path = _vgg(tmp_path, feature_extractor_name="clip_im_vit_b16", neurons_list=layers)
    arrays = {f"{p}-{layer}": np.ones(n, np.float32) for layer, n in layers.items() for p in ("mu", "var")}
    np.savez(path.with_suffix(".npz"), **arrays)
    dna = read_vdna_package(path)
    assert isinstance(dna, VDNA)
    assert dna.fingerprint.precision == "fp16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize_mode": "legacy_tensorflow"}, "resize_mode 'legacy_tensorflow' and crop_to_square_pre_resize 'none'"),
        ({"crop_to_square_pre_resize": "random"}, "crop_to_square_pre_resize 'random', known here are"),
        ({"custom_fn_resize": "mine"}, "was made with custom_fn_resize, which it does not hold"),
        ({"feature_extractor_name": "vgg61"}, "'vgg61', which is not in the catalogue; did you mean 'vgg16'"),
        ({"feature_extractor_name": "inception"}, "has layer 'relu_1_1', extractor 'inception' not; known: block_0"),
        ({"neurons_list": {**NEURONS, "relu_1_1": 63}}, "has 4223 neurons, extractor 'vgg16' has 4224"),
        ({"neurons_list": {"relu_1_1": 63}}, r"'mu-relu_1_1' is \[64\], expected \[63\] finite numbers"),
        ({"type": "cloud"}, "is of type 'cloud', known are histogram, gaussian, layer-gaussian"),
        ({"type": "layer-gaussian"}, r"has no array 'sigma-relu_1_1'; did you mean"),
        ({"type": "histogram"}, r"set\.npz: member 'relu_1_1\.npy': expected an array of numbers or text, got"),
        ({"neurons_list": {}}, "a layout needs at least one layer"),
        ({"num_images": None}, r"set\.json: expected settings .*: num_images: expected a whole number, got None"),
        ({"num_images": -7}, "num_images: expected a whole number from 0"),
        ({"hist_range": 3}, r"extraction_settings\.hist_range: expected a list, got 3"),
    ],
)
def test_settings_without_a_counterpart_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    """Settings that mean images treated otherwise, unknown extractors, layers or kinds are errors that say which."""
    with pytest.raises(ValueError, match=message):
        read_vdna_package(_vgg(tmp_path, **changes))


def test_networks_of_ones_own_need_their_spec(tmp_path: Path) -> None:
    """A package of a network that the catalogue lacks is read with its spec."""
    settings, _ = write_vdna_package(make_dna("gaussian"), tmp_path / "set")
    _as_vdna_writes(settings)
    with pytest.raises(ValueError, match=r"'tiny', which is not in the catalogue; .* Give extractor=, its spec"):
        read_vdna_package(settings)
    spec = ExtractorSpec("tiny", "tiny", {layer: f"network.{layer}" for layer in LAYOUT}, size=32)
    dna = read_vdna_package(settings, extractor=spec)
    assert isinstance(dna, VDNA)
    assert (dna.fingerprint.architecture, dna.fingerprint.preprocessing) == ("tiny", spec.preprocess.id)
    assert dna.provenance.extractor == "tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that stands for the hub, and an empty cache."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with file_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


def _extremes(low: float, high: float) -> bytes:
    parts = {"mins_per_neuron": low, "maxs_per_neuron": high}
    return json.dumps(
        {part: {layer: {str(i): end for i in range(n)} for layer, n in NEURONS.items()} for part, end in parts.items()}
    ).encode()


def test_histograms_have_the_ranges_that_vdna_took(hub: FileServer, tmp_path: Path) -> None:
    """The vdna package takes the extremes that it publishes times 1.2; without ranges= these are downloaded."""
    hub.serve("bramtoula/visual-dna-models/resolve/main/VGG/vgg16/activation_ranges.json", _extremes(-1, 2))
    (tmp_path / "made").mkdir()
    dna = read_vdna_package(_vgg(tmp_path / "made", "histogram"))
    assert isinstance(dna, VDNA)
    ranges = dna.distribution.ranges  # type: ignore[attr-defined]
    assert (float(ranges.low[0]), float(ranges.high[0])) == pytest.approx((-1.2, 2.4))
    assert ranges.sources == (VGG.ranges,)
    assert torch.equal(dna.distribution.counts, torch.full((4_224, 4), 10))  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["json", "package", "ranges", "file"])
def test_ranges_may_be_given(how: str, tmp_path: Path) -> None:
    """Ranges are taken as vdna's file, as its package, as ranges or as a file of them."""
    (tmp_path / "made").mkdir()
    package = read_vdna_package(_vgg(tmp_path / "made", "activation-ranges"))
    assert isinstance(package, ActivationRanges)
    assert package.widen == "vdna"
    (tmp_path / "ranges.json").write_bytes(_extremes(-1, 2))
    given: Any = {
        "json": tmp_path / "ranges.json",
        "package": tmp_path / "made" / "set",
        "ranges": package,
        "file": package.save(tmp_path / "saved.npz"),
    }[how]
    dna = read_vdna_package(_vgg(tmp_path, "histogram"), ranges=given)
    assert isinstance(dna, VDNA)
    assert dna.distribution.ranges.equals(package)  # type: ignore[attr-defined]


def test_other_ranges_are_refused(tmp_path: Path) -> None:
    """Ranges of another rule, network or layout, or none where vdna publishes none, are errors."""
    (tmp_path / "made").mkdir()
    package = read_vdna_package(_vgg(tmp_path / "made", "activation-ranges"))
    assert isinstance(package, ActivationRanges)
    path = _vgg(tmp_path, "histogram")
    with pytest.raises(ValueError, match=r"extremes times 1\.2 in bins .* the ranges have the rule 'margin'"):
        read_vdna_package(path, ranges=replace(package, widen="margin"))
    other = replace(package.fingerprint, preprocessing="clean:96")  # type: ignore[type-var]
    with pytest.raises(ValueError, match="preprocessing differ: ranges clean:96, extractor clean:bicubic"):
        read_vdna_package(path, ranges=replace(package, fingerprint=other))
    with pytest.raises(ValueError, match="unknown layer 'relu_1_1'"):
        read_vdna_package(path, ranges=make_ranges())
    _vgg(tmp_path / "made")
    with pytest.raises(ValueError, match="holds a gaussian DNA, expected activation ranges"):
        read_vdna_package(path, ranges=tmp_path / "made" / "set")
    _change(path, range_scale_for_norm_params=2.0)
    with pytest.raises(ValueError, match=r"extremes times 2\.0 in bins"):
        read_vdna_package(path, ranges=package)


def test_ones_own_histogram_needs_its_own_ranges(tmp_path: Path) -> None:
    """A histogram that we wrote is read with the ranges that it was made with, of any rule, and no others."""
    dna = make_dna("histogram", ranges=make_ranges(widen="margin"))
    settings, _ = write_vdna_package(dna, tmp_path / "set")
    assert json.loads(settings.read_text())["extraction_settings"]["range_scale_for_norm_params"] is None
    back = read_vdna_package(settings, ranges=make_ranges(widen="margin"))
    assert isinstance(back, VDNA)
    assert torch.equal(back.distribution.counts, dna.distribution.counts)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="was made with other activation ranges"):
        read_vdna_package(settings, ranges=make_ranges(widen="none"))
    with pytest.raises(ValueError, match="does not hold the ranges of its histogram: give ranges="):
        read_vdna_package(settings)


def test_counts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A count over vdna's int32 is refused with its layer, and nothing is written."""
    dna = make_dna("histogram")
    dna.distribution.counts[5, 2] = 2**31  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="up to 2147483647; here are conv2 2147483648"):
        write_vdna_package(dna, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
    dna.distribution.counts[5, 2] = 2**31 - 1  # type: ignore[attr-defined]
    back = read_vdna_package(write_vdna_package(dna, tmp_path / "set")[0], ranges=make_ranges())
    assert isinstance(back, VDNA)
    assert torch.equal(back.distribution.counts, dna.distribution.counts)  # type: ignore[attr-defined]


def test_selections_of_neurons_are_refused(tmp_path: Path) -> None:
    """Files of vdna have no place for which neurons of a layer there are."""
    with pytest.raises(ValueError, match="files of vdna hold whole layers, of conv1 there are some neurons"):
        write_vdna_package(make_dna("gaussian").select(neurons={"conv1": [1]}), tmp_path / "set")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: _cut(root.with_suffix(".npz")), r"set\.npz is damaged or not an \.npz file"),
        (lambda root: _cut(root.with_suffix(".json")), r"set\.json: expected settings .*: expected JSON"),
        (lambda root: root.with_suffix(".json").write_text("{}"), r"set\.json: expected settings .* it lacks"),
        (lambda root: np.savez(root.with_suffix(".npz"), conv1=np.ones((4, 8))), "layer 'conv1' are float64"),
        (lambda root: np.savez(root.with_suffix(".npz"), conv1=np.ones((4, 7), int)), r"are int64 \[4, 7\], expected"),
        (lambda root: np.savez(root.with_suffix(".npz"), conv1=-np.ones((4, 8), int)), r"expected \[4, 8\] from 0"),
        (lambda root: np.savez(root.with_suffix(".npz"), other=np.ones(1)), "counts of layer 'conv1' are missing"),
        (lambda root: np.savez(root.with_suffix(".npz"), conv1=np.array([None])), r"set\.npz: member 'conv1\.npy'"),
    ],
)
def test_damaged_files_are_named(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    """A file that was cut short, holds pickles, or lacks arrays is an error with its name."""
    root = tmp_path / "set"
    write_vdna_package(make_dna("histogram"), root)
    damage(root)
    with pytest.raises(ValueError, match=message):
        read_vdna_package(root, ranges=make_ranges())


def test_missing_files_are_named(tmp_path: Path) -> None:
    """A root without files is no package."""
    with pytest.raises(FileNotFoundError, match="none"):
        read_vdna_package(tmp_path / "none")


@pytest.mark.parametrize(
    ("kind", "array", "value", "n_images", "message"),
    [
        ("gaussian", "mu-conv1", 3.4e38, 12, None),
        ("gaussian", "mu-conv1", 1.0, 0, "num_images: expected the moments of 1 image or more, got 0"),
        ("gaussian", "var-conv1", -1.0, 12, "expected of 12 images a variance from 0, .* neuron 0 of layer 'conv1'"),
        ("layer_gaussian", "mu-conv1", -1.79e308, 12, "expected a mean within .* neuron 0 of layer 'conv1'"),
        ("layer_gaussian", "sigma-conv1", 1.79e308, 12, "is not a covariance|expected of 12 images a variance from 0"),
        ("histogram", "conv1", 5, 0, "expected no activations of 0 images, got .* for neuron 0 of layer 'conv1'"),
    ],
)
def test_contents_that_cannot_be_are_refused(
    kind: Kind, array: str, value: float, n_images: int, message: str | None, tmp_path: Path
) -> None:
    """Moments and counts that no images can have given are refused when a package is read, with its file."""
    settings, path = write_vdna_package(make_dna(kind), tmp_path / "set")
    ranges = make_ranges() if kind == "histogram" else None
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[array].reshape(-1)[0] = value
    np.savez(path, **arrays)
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "num_images": n_images}))
    if message is None:
        assert isinstance(read_vdna_package(settings, ranges=ranges), VDNA)
    else:
        with pytest.raises(ValueError, match=rf"set\.(npz|json): .*({message})"):
            read_vdna_package(settings, ranges=ranges)


def test_histograms_that_find_their_own_ranges_are_refused(tmp_path: Path) -> None:
    """The bins of its files are those of given ranges; it is said where these come from, and nothing is written."""
    with pytest.raises(ValueError, match=r"the bins of this DNA are its own .*calibrate DNA"):
        write_vdna_package(make_dna("auto"), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
