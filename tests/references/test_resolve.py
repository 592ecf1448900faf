"""The one input language: every kind of source, and the one DNA that is compared."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run, run_json, small_images, write_folder
from helpers.dnas import LAYOUT, make_dna, make_fingerprint, tiny_extractor
from helpers.image_files import encode
from torch.utils.data import DataLoader

from vdna_metrics import build_dnas, calibrate, compare, create_extractor
from vdna_metrics.dna import VDNA, GroupedDNA
from vdna_metrics.images import open_images
from vdna_metrics.leaderboard import load_leaderboard
from vdna_metrics.references import ImageSet, add_reference, load_reference, resolve, resolve_dna, resolve_images, store

PIXELS = small_images(6, 0)
LAYERS = list(LAYOUT)


def _groups(layers: list[str] | None = None) -> GroupedDNA:
    return GroupedDNA(tuple(make_dna("layer_gaussian", n, n).select(layers) for n in (4, 5)))


# ---- every kind of source


def _zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for place, image in enumerate(PIXELS):
            archive.writestr(f"inner/{place}.png", encode(image))
    return folder / "set.zip"


def _folder(folder: Path) -> Path:
    write_folder(folder / "images", PIXELS)
    return folder / "images"


def _list(folder: Path) -> list[Path]:
    return sorted(_folder(folder).iterdir())


def _array_file(folder: Path) -> Path:
    np.savez(folder / "set.npz", PIXELS)
    return folder / "set.npz"


IMAGES: dict[str, Callable[[Path], Any]] = {
    "folder": _folder,
    "zip": _zipped,
    "folder in a zip": lambda folder: f"{_zipped(folder)}:inner",
    "list": _list,
    "npz": _array_file,
    "array": lambda _: PIXELS,
    "tensor": lambda _: torch.from_numpy(PIXELS).permute(0, 3, 1, 2),
    "source": lambda _: open_images(PIXELS),
    "set": lambda _: resolve(PIXELS),
}


def _built(images: Any) -> VDNA:
    return build_dnas(images, tiny_extractor(), ["gaussian"])["gaussian"]


@pytest.mark.parametrize("kind", IMAGES)
def test_every_source_of_images_is_the_same_images(kind: str, tmp_path: Path) -> None:
    """The same pixels give the same DNA, to the bit, whatever they lie in."""
    found = resolve(IMAGES[kind](tmp_path))
    assert found.images is not None
    dna = _built(found.images)
    assert torch.equal(dna.distribution.state, _built(open_images(PIXELS)).distribution.state)
    assert float(compare.neuron_frechet(dna, _built(PIXELS[:4]))) > 0


def _dna_folder(dna: VDNA, folder: Path) -> Path:
    (folder / "dnas").mkdir()
    return dna.save(folder / "dnas" / "a.npz").parent


def _group_folder(dna: VDNA, folder: Path) -> Path:
    (folder / "groups").mkdir()
    for number, rows in enumerate((slice(0, 3), slice(3, 6))):
        _built(PIXELS[rows]).save(folder / "groups" / f"{number}.npz")
    return folder / "groups"


def _stored(dna: VDNA, folder: Path) -> str:
    add_reference(dna, folder / "store", dataset="cats", split="all")
    return f"{folder / 'store'}::cats"


DNAS: dict[str, Callable[[VDNA, Path], Any]] = {
    "value": lambda dna, _: dna,
    "file": lambda dna, folder: dna.save(folder / "a.npz"),
    "folder": _dna_folder,
    "groups": _group_folder,
    "name": _stored,
    "set": lambda dna, _: resolve(dna),
}


@pytest.mark.parametrize("kind", DNAS)
def test_every_source_of_a_dna_gives_the_same_distance(kind: str, tmp_path: Path) -> None:
    """A DNA gives one value, whether it is a value, a file, a folder of groups or in a store."""
    whole, other = _built(PIXELS), _built(small_images(5, 9))
    found = resolve(DNAS[kind](whole, tmp_path)).one_dna("gaussian").total
    expected, value = (float(compare.neuron_frechet(dna, other)) for dna in (whole, found))
    assert value == (pytest.approx(expected, rel=1e-6) if kind == "groups" else expected)
    assert found.n_images == 6


def test_batches_are_kept_for_python() -> None:
    """A DataLoader is batches: no images by number, and said so where these are needed."""
    loader = DataLoader(torch.from_numpy(PIXELS), batch_size=2)  # type: ignore[arg-type]
    assert resolve(loader).batches is loader
    with pytest.raises(TypeError, match=r"read by number .* got batches of DataLoader"):
        resolve_images(loader)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: resolve(3), TypeError, "expected images, a DNA, or the name of some, got 3"),  # type: ignore[arg-type]
        (lambda: resolve([1, 2]), TypeError, r"expected images, a DNA, or the name of some, got \[1, 2\]"),
        (lambda: resolve({"a": 1}), TypeError, "expected images, a DNA, or the name of some, got {'a': 1}"),
        (lambda: resolve(""), ValueError, "no image source at ''"),
        (lambda: resolve("bsds500/test", kinds="histogram"), TypeError, r"got 'histogram': write \['histogram'\]"),
        (lambda: resolve("bsds500/test", extractors="a"), TypeError, "expected extractors to be a sequence of names"),
        (lambda: resolve_dna(3), TypeError, "expected a DNA to be VDNA or .* got the int 3"),  # type: ignore[arg-type]
        (lambda: resolve_dna("procedural:white_noise/2"), ValueError, "has images and no DNA; `vdna-metrics make`"),
        (lambda: resolve_dna("bsds500/test@vdna_tiny"), ValueError, "kinds features, .*: say which, for example #"),
    ],
)
def test_wrong_types_are_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    """What is no source, and a string where names are expected, end in one sentence with both sides."""
    with pytest.raises(error, match=message):
        call()


def test_dnas_are_no_images(tmp_path: Path) -> None:
    """Where images are read, a DNA is refused by its name."""
    path = make_dna("gaussian").save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"expected images, .*a\.npz is a DNA: VDNA\(gaussian of 12 images"):
        resolve_images(path)


def test_sources_of_one_set_go_together(tmp_path: Path) -> None:
    """DNAs of several kinds and one source of images are one set; a second one of either is refused."""
    paths = {}
    for kind in ("histogram", "gaussian"):
        dna = make_dna(kind)  # type: ignore[arg-type]
        unknown = replace(dna, provenance=replace(dna.provenance, manifests=()))
        paths[kind] = unknown.save(tmp_path / f"{kind}.npz")
    both = resolve(*paths.values(), small_images(12, 0), name="real")
    assert (both.name, [dna.kind for dna in both.dnas]) == ("real", ["histogram", "gaussian"])
    assert both.images is not None
    with pytest.raises(ValueError, match=r"gaussian\.npz and .*gaussian\.npz are two gaussian DNAs of tiny: merge"):
        resolve(paths["gaussian"], paths["gaussian"])
    with pytest.raises(ValueError, match="only one source can be images, got array and array"):
        resolve(PIXELS, PIXELS)
    with pytest.raises(ValueError, match=r"of the same images, got .* 12 images .* and 6 images of array"):
        resolve(paths["gaussian"], PIXELS)


def test_a_set_of_other_images_is_refused(tmp_path: Path) -> None:
    """DNAs and images that are given as one set are of the same images, which manifests tell where numbers do not."""
    extractor, dark = tiny_extractor(), PIXELS // 2
    write_folder(tmp_path / "real", PIXELS)
    write_folder(tmp_path / "dark", dark)
    ranges = calibrate(PIXELS, extractor)
    real = build_dnas(tmp_path / "real", extractor, ranges=ranges)["histogram"]
    other = build_dnas(tmp_path / "dark", extractor, ["gaussian"])["gaussian"]
    assert len(resolve(real, tmp_path / "real").dnas) == 1
    for wrong in (other, tmp_path / "dark"):
        with pytest.raises(ValueError, match=r"one set has to be of the same images, got .* images of real"):
            resolve(real, wrong)
    (tmp_path / "twice").mkdir()
    for name in ("a", "b"):
        real.save(tmp_path / "twice" / name)
    with pytest.raises(ValueError, match=r"groups have to be disjoint, b\.npz is of the same images"):
        resolve(tmp_path / "twice")


# ---- names


def test_stores_are_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on disk has its name before any store is looked into."""
    monkeypatch.chdir(tmp_path)
    write_folder(Path("bsds500/test"), PIXELS)
    monkeypatch.setattr(store, "known_stores", lambda: pytest.fail("a store was asked"))
    assert len(resolve_images("bsds500/test")) == 6


def test_unknown_names_are_told_near_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the folder and names of the store that are near, and no others."""
    monkeypatch.chdir(tmp_path)
    write_folder(Path("faces"), PIXELS)
    with pytest.raises(ValueError, match=r"^no file, folder or reference 'facse'; did you mean 'faces'\?$"):
        resolve("facse")
    with pytest.raises(ValueError, match=r"no reference 'bsds500/tset'; of that image set there are: bsds500/test@"):
        resolve("bsds500/tset")
    with pytest.raises(
        ValueError, match=r"could be: bsds500/test@.*; say which, by bsds500/test@vdna_tiny for"
    ) as caught:
        resolve("bsds500/test")
    assert "mnist" not in str(caught.value)
    with pytest.raises(ValueError, match=r"no published statistics 'EDM:cifar10'; did you mean"):
        resolve("EDM:cifar10")


# ---- statistics of other tools


@pytest.mark.parametrize("more", [{}, {"arr_0": np.zeros((2, 8, 8, 3), np.uint8)}])
def test_statistics_are_never_read_as_images(more: dict[str, Any], tmp_path: Path) -> None:
    """A file with `mu` and `sigma` is not taken for its images; what it does not tell is said, with the command."""
    np.savez(tmp_path / "s.npz", mu=np.zeros(64), sigma=np.eye(64), **more)
    with pytest.raises(ValueError, match=r"s\.npz holds statistics of another tool.*`vdna-metrics references import`"):
        resolve(tmp_path / "s.npz")


def test_statistics_that_tell_all_are_used(tmp_path: Path) -> None:
    """A cached file of torch-fidelity whose name says its data set is a DNA like any other."""
    path = tmp_path / "cifar10-train-inception-v3-compat-stat-fid-2048.pth"
    torch.save({"mu": torch.zeros(64), "sigma": torch.eye(64)}, path)
    chosen = resolve(path).one_dna("gaussian")
    assert (chosen.total.n_images, list(chosen.total.layout)) == (50_000, ["block_0"])


# ---- the one DNA


def test_groups_are_compared_where_they_hold_the_layers() -> None:
    """Groups with all compared layers come first; else the whole DNA, with a note that says which layers they lack."""
    whole, groups = make_dna("layer_gaussian", 9), _groups(LAYERS[:2])
    both = ImageSet("real", "real", dnas=(groups, whole))
    chosen = both.choose_dna("layer_gaussian")
    assert chosen is not None
    assert chosen.dna is whole
    assert chosen.notes == ("its groups lack norm: the whole layer_gaussian DNA is compared, which has no error bars",)
    few = both.choose_dna("layer_gaussian", layers=LAYERS[:1])
    assert few is not None
    assert isinstance(few.dna, GroupedDNA)
    assert (list(few.dna.layout), few.notes) == (LAYERS[:1], ())
    complete = ImageSet("real", "real", dnas=(_groups(), whole)).choose_dna("layer_gaussian")
    assert complete is not None
    assert isinstance(complete.dna, GroupedDNA)


def test_missing_layers_are_noted_or_refused() -> None:
    """Layers that a DNA lacks are noted when all are compared, and an error when they are asked for."""
    one = ImageSet("real", "real", dnas=(make_dna("gaussian").select(LAYERS[:2]),))
    chosen = one.choose_dna("gaussian", make_fingerprint())
    assert chosen is not None
    assert chosen.notes == ("its gaussian DNA lacks norm, which is not compared",)
    with pytest.raises(ValueError, match="real: no gaussian DNA has norm; it has conv1, conv2"):
        one.choose_dna("gaussian", layers=["norm"])
    assert replace(one, images=open_images(PIXELS)).choose_dna("gaussian", layers=["norm"]) is None
    assert one.choose_dna("gaussian", make_fingerprint(weights="cd" * 32)) is None


def test_a_layer_gaussian_serves_for_a_gaussian() -> None:
    """Whole or in groups, its diagonal is the Gaussian."""
    groups = _groups()
    for dna in (groups, groups.total):
        chosen = ImageSet("real", "real", dnas=(dna,)).one_dna("gaussian")
        assert torch.equal(chosen.total.distribution.state, groups.total.as_kind("gaussian").distribution.state)


def test_several_that_fit_are_refused() -> None:
    """Two DNAs of one kind and layers, two kinds or two networks without saying which."""
    dna = make_dna("gaussian")
    other = replace(dna, provenance=replace(dna.provenance, extractor="other"))
    for dnas, error in (
        ((dna, dna), "2 gaussian DNAs of tiny .*keep one of them"),
        ((dna, make_dna("histogram")), "kinds gaussian, histogram: say which"),
        ((dna, other), "networks tiny, other: say which"),
    ):
        with pytest.raises(ValueError, match=error):
            ImageSet("real", "real", dnas=dnas).choose_dna()


def test_score_and_leaderboard_compare_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One name is one reference: both print one value; where there are error bars, what the groups lack is a note."""
    monkeypatch.chdir(tmp_path)
    source, options = "procedural:white_noise/4", ("--reference", "bsds500/trainval", "--metrics", "lfd")
    for layers in ((), ("--layers", "blocks.0")):
        scored = run_json("score", source, *options, "--extractor", "vdna_tiny", *layers)
        arguments = (
            *options,
            "--extractors",
            "vdna_tiny",
            "--groups",
            "2",
            "--pictures",
            "0",
            "--no-fidelity",
            *layers,
        )
        run("leaderboard", source, *arguments, "-o", "report")
        record = load_leaderboard("report/leaderboard.json")
        (score,) = record.scores
        assert score.value == pytest.approx(scored["results"][0]["lfd"], rel=1e-6)  # batches of the groups differ
        assert any("groups lack conv_head" in note for note in record.notes) == (not layers)
        assert not any("error bars" in note for note in scored["warnings"])
    reference = load_reference("bsds500/trainval@vdna_tiny#layer_gaussian").select(["blocks.0"])
    made = build_dnas(
        "procedural:white_noise/4", create_extractor("vdna_tiny"), ["layer_gaussian"], layers=["blocks.0"]
    )
    assert float(compare.layer_frechet(reference, made["layer_gaussian"])) == pytest.approx(score.value, rel=1e-6)
