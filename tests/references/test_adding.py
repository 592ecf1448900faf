"""Several DNAs, groups and layers in one store: added whole or not at all, verified, loaded, copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.dnas import assert_same_state, make_dna, make_ranges

from vdna_metrics.dna import GroupedDNA, ImageClusters
from vdna_metrics.references import (
    ReferenceStore,
    add_normalisers,
    add_reference,
    find_normaliser,
    import_statistics,
    load_reference,
    publish,
    resolve,
    verify_store,
)
from vdna_metrics.references.records import FrechetNormaliser, Manifest

WHERE = {"dataset": "cats", "split": "all"}


def _groups(sizes: tuple[int, ...] = (4, 5, 6), seed: int = 0) -> GroupedDNA:
    return GroupedDNA(tuple(make_dna("gaussian", n, seed + place) for place, n in enumerate(sizes)))


def _load_groups(store: Path) -> GroupedDNA:
    dna = resolve(f"{store}::cats").one_dna().dna
    assert isinstance(dna, GroupedDNA)
    return dna


def _problems(store: Path) -> list[str]:
    return [f"{name}: {problem}" for name, problem in verify_store(store) if problem]


def test_a_grouped_dna_is_added_and_loaded(tmp_path: Path) -> None:
    """Each group is a record, a path serves as a store, and names without groups do not find them."""
    groups = _groups()
    records = add_reference(groups, tmp_path, **WHERE)
    assert [record.group for record in records] == ["1-of-3", "2-of-3", "3-of-3"]
    loaded = _load_groups(tmp_path)
    assert loaded.sizes == groups.sizes
    assert torch.equal(loaded.total.distribution.state, groups.total.distribution.state)
    with pytest.raises(ValueError, match="in groups alone: resolve loads"):
        load_reference(f"{tmp_path}::cats")
    add_reference(groups.total, tmp_path, **WHERE)
    assert load_reference(f"{tmp_path}::cats").n_images == 15
    assert _problems(tmp_path) == []


def test_groups_of_features_are_added_and_loaded(tmp_path: Path) -> None:
    """Groups of a sample of features are records, and together what the sample of all images is."""
    groups = GroupedDNA(tuple(make_dna("features", n, place) for place, n in enumerate((4, 5, 6))))
    records = add_reference([groups, groups.total], tmp_path, **WHERE)
    assert {record.kind for record in records} == {"features-10000"}
    assert [record.group for record in records] == ["1-of-3", "2-of-3", "3-of-3", ""]
    assert_same_state(_load_groups(tmp_path).total.distribution, groups.total.distribution)
    assert load_reference(f"{tmp_path}::cats#features").n_images == 15
    assert _problems(tmp_path) == []


def test_several_are_added_or_none(tmp_path: Path) -> None:
    """One that is refused keeps the others out, too."""
    add_reference(make_dna("gaussian", 5), tmp_path, **WHERE)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match=r"with other contents: there 5 images, .* new 6 images"):
        add_reference([make_dna("histogram", 6), make_dna("gaussian", 6)], tmp_path, **WHERE)
    with pytest.raises(ValueError, match="two of the DNAs would be called"):
        add_reference([make_dna("histogram", 6), make_dna("histogram", 7)], tmp_path, **WHERE)
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert len(list((tmp_path / "dnas").iterdir())) == 1
    with pytest.raises(TypeError, match="expected a VDNA or a GroupedDNA, got str; load_vdna"):
        add_reference("cats.npz", tmp_path, **WHERE)  # type: ignore[arg-type]


def test_other_groups_take_the_place_of_all(tmp_path: Path) -> None:
    """Fewer groups replace more of them as a whole, and only where that is said."""
    add_reference(_groups(), tmp_path, **WHERE)
    with pytest.raises(ValueError, match="with other contents"):
        add_reference(_groups((7, 8)), tmp_path, **WHERE)
    add_reference(_groups((7, 8)), tmp_path, **WHERE, overwrite=True)
    assert _load_groups(tmp_path).sizes == (7, 8)
    assert len(list((tmp_path / "dnas").iterdir())) == 2
    assert _problems(tmp_path) == []


def test_groups_of_other_images_are_found(tmp_path: Path) -> None:
    """Groups swapped for another split's are found by verify and refused on load, by their sha256 or their number."""
    a, b = tmp_path / "a", tmp_path / "b"
    ours = add_reference(_groups((4, 5), 0), a, **WHERE)
    theirs = add_reference(_groups((2, 3), 7), b, **WHERE)
    add_reference(_groups((4, 5), 0).total, a, **WHERE)
    for mine, other in zip(ours, theirs, strict=True):
        shutil.copy(b / other.file, a / mine.file)
    assert len(_problems(a)) == 2
    with pytest.raises(ValueError, match="was changed: its sha256 is"):
        _load_groups(a)
    manifest = ReferenceStore(str(a)).manifest()
    known = [replace(other, file=mine.file) for mine, other in zip(ours, theirs, strict=True)]
    kept = [record for record in manifest.references if not record.group]
    (a / "manifest.json").write_text(Manifest.of([*kept, *known]).dump())
    with pytest.raises(ValueError, match=r"its groups have 5 images, .* has 9"):
        _load_groups(a)
    assert len(_problems(a)) == 1
    (a / "manifest.json").write_text(Manifest.of([*kept, ours[0]]).dump())
    with pytest.raises(ValueError, match="1 of 2 groups are there, missing: 2"):
        _load_groups(a)


def test_ranges_tell_two_histograms_apart(tmp_path: Path) -> None:
    """Histograms over other ranges stand beside each other, and the error for both names what tells them apart."""
    for ranges in (make_ranges(), make_ranges(-5, 5)):
        add_reference(make_dna("histogram", 5, ranges=ranges), tmp_path, **WHERE)
    with pytest.raises(ValueError, match=r"could be: ") as caught:
        load_reference(f"{tmp_path}::cats")
    names = str(caught.value).partition("could be: ")[2].split(", ")
    found = [load_reference(f"{tmp_path}::{name}").distribution.ranges.digest for name in names]  # type: ignore[attr-defined]
    assert len(set(found)) == 2


def test_layers_tell_two_of_an_unknown_network_apart(tmp_path: Path) -> None:
    """DNAs of one network of one's own with other layers stand beside each other, whole and in groups."""
    groups = _groups()
    for layers in (["conv1"], ["conv2", "norm"]):
        add_reference([groups.select(layers), groups.total.select(layers)], tmp_path, **WHERE)
    assert len(ReferenceStore(str(tmp_path)).manifest().references) == 8
    assert _problems(tmp_path) == []
    with pytest.raises(ValueError, match=r"could be: cats/all@tiny#gaussian\[conv1\], .*\[conv2\+norm\]"):
        load_reference(f"{tmp_path}::cats")
    assert list(load_reference(f"{tmp_path}::cats", layers=["norm"]).layout) == ["conv2", "norm"]
    assert list(load_reference(f"{tmp_path}::cats/all@tiny#gaussian[conv1]").layout) == ["conv1"]
    chosen = resolve(f"{tmp_path}::cats").one_dna(layers=["conv2"])
    assert isinstance(chosen.dna, GroupedDNA)


def _adm(path: Path) -> Path:
    stream = np.random.default_rng(0)
    parts = {}
    for suffix, width in (("", 2048), ("_s", 2023)):
        features = stream.standard_normal((40, width))
        parts[f"mu{suffix}"], parts[f"sigma{suffix}"] = features.mean(0), np.cov(features, rowvar=False)
    np.savez(path, arr_0=np.zeros((2, 8, 8, 3), np.uint8), **parts)
    return path


def test_an_adm_file_is_two_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FID's and sFID's stand beside each other, whatever is replaced, and the layers asked for find theirs."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    path = _adm(tmp_path / "adm.npz")
    options = ("--images", "40", "--name", "imagenet/64", "--store", str(tmp_path / "store"))
    for more in ((), ("--overwrite",)):
        run("references", "import", str(path), *options, *more)
        names = [record.name for record in ReferenceStore(str(tmp_path / "store")).manifest().references]
        assert names == [
            "imagenet/64@fid_inception_legacy_tensorflow#layer_gaussian[block_3]",
            "imagenet/64@sfid_inception#layer_gaussian",
        ]
    name = f"{tmp_path / 'store'}::imagenet/64"
    assert list(load_reference(name, kind="gaussian", layers=["block_3"]).layout) == ["block_3"]
    with pytest.raises(ValueError, match=r"could be: .*\[block_3\], .*@sfid_inception"):
        load_reference(name)
    assert list(load_reference(f"{name}@sfid_inception").layout) == ["mixed_6_conv"]
    assert {dna.n_images for dna in import_statistics(path, n_images=40)} == {40}
    with pytest.raises(ValueError, match=r"adm\.npz holds statistics of another tool.*n_images=.*references import"):
        resolve(path)


def test_groups_are_published_with_their_whole(tmp_path: Path) -> None:
    """A copy of a reference has its groups, and verifies."""
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    groups = _groups()
    add_reference([groups, groups.total], mine, **WHERE)
    copied = publish([f"{mine}::cats"], str(shared))
    assert [getattr(record, "group", None) for record in copied] == ["", "1-of-3", "2-of-3", "3-of-3"]
    assert _load_groups(shared).sizes == groups.sizes
    assert _problems(shared) == []


def test_an_older_store_learns_its_layers(tmp_path: Path) -> None:
    """A manifest of schema 1 gets the layers of its files when something is added."""
    (record,) = add_reference(make_dna("gaussian", 5), tmp_path, **WHERE)
    old = Manifest.of([replace(record, layers=())]).dump().replace('"schema": 2', '"schema": 1')
    (tmp_path / "manifest.json").write_text(old)
    assert _problems(tmp_path) == []
    add_reference(make_dna("histogram", 5), tmp_path, **WHERE)
    assert [r.layers for r in ReferenceStore(str(tmp_path)).manifest().references] == [record.layers] * 2


def test_groups_of_a_store_know_their_clusters(tmp_path: Path) -> None:
    """Groups of whole clusters come out of a store as they went in, with the number of their clusters."""
    clusters = ImageClusters.of([3, 1]), ImageClusters.of([5]), ImageClusters.of([2] * 3)
    told = [
        replace(group, provenance=replace(group.provenance, clusters=each))
        for group, each in zip(_groups().groups, clusters, strict=True)
    ]
    add_reference(GroupedDNA(tuple(told)), tmp_path, **WHERE)
    found = _load_groups(tmp_path)
    assert found.clusters == clusters
    assert (found.n_clusters, found.effective_clusters) == (6, 15**2 / (10 + 25 + 12))


def test_histograms_that_find_their_own_ranges_have_names(tmp_path: Path) -> None:
    """Beside one of given ranges `%auto` tells which; its groups go with it, and all are read as they were."""
    groups = GroupedDNA(tuple(make_dna("auto", n, n) for n in (4, 5, 6)))
    made = add_reference([groups, groups.total], tmp_path, **WHERE)
    assert {record.ranges for record in made} == {"auto"}
    assert made[0].exact_name == "cats/all@tiny#histogram-8[conv1+conv2+norm]%auto"
    assert load_reference(f"{tmp_path}::cats").distribution.given == "auto"
    add_reference(make_dna("histogram", 15), tmp_path, **WHERE)
    with pytest.raises(ValueError, match=r"could be: .*%auto"):
        load_reference(f"{tmp_path}::cats")
    assert_same_state(load_reference(f"{tmp_path}::cats%AUTO").distribution, groups.total.distribution)
    found = resolve(f"{tmp_path}::cats/all%auto").one_dna().dna
    assert isinstance(found, GroupedDNA)
    assert found.sizes == groups.sizes
    assert _problems(tmp_path) == []
    publish([f"{tmp_path}::cats%auto"], str(tmp_path / "other"))
    assert load_reference(f"{tmp_path / 'other'}::cats").distribution.given == "auto"
    assert _problems(tmp_path / "other") == []


# --------------------------------------------------------------------------------------------------------- normalisers
def _normaliser(value: float, **more: Any) -> FrechetNormaliser:
    return FrechetNormaliser(**{"value": value, "n_images": 7, "layers": ["conv1"], "validation": "cats/test", **more})


def test_normalisers_are_recorded_with_a_reference(tmp_path: Path) -> None:
    """They are found by layers and correction, one of a key replaces another, and they go with copies of the file."""
    dna, name = make_dna("layer_gaussian", 9, 0), f"{tmp_path}::cats"
    add_reference([dna, make_dna("gaussian", 9, 0)], tmp_path, **WHERE)
    before = (tmp_path / "manifest.json").read_bytes()
    assert b"normalisers" not in before  # as by earlier versions, which did not know them
    whole = _normaliser(0.0, layers=list(dna.layout), low=-0.5, high=0.5, images="ab")
    add_normalisers(name, [_normaliser(2.0), _normaliser(1.5, corrected=True), whole])
    record = add_normalisers(name, [_normaliser(3.0)])
    assert [each.value for each in record.normalisers] == [3.0, 1.5, 0.0]
    assert find_normaliser(name, layers=["conv1"]) == _normaliser(3.0)
    assert find_normaliser(name, layers=list(dna.layout)) == whole
    assert find_normaliser(name, corrected=True).value == 1.5
    add_reference(dna, tmp_path, **WHERE)
    publish([name], str(tmp_path / "copy"))
    for store in (tmp_path, tmp_path / "copy"):
        (kept,) = (each.normalisers for each in ReferenceStore(str(store)).manifest().references if each.normalisers)
        assert kept == record.normalisers
    assert _problems(tmp_path) == []
    add_reference(make_dna("layer_gaussian", 9, 5), tmp_path, overwrite=True, **WHERE)
    assert b"normalisers" not in (tmp_path / "manifest.json").read_bytes()  # they were of other images


def test_normalisers_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    """Of unknown layers or no validation set, of a name without a layer Gaussian, of what ships; several are listed."""
    name = f"{tmp_path}::cats"
    add_reference(make_dna("layer_gaussian", 9, 0), tmp_path, **WHERE)
    add_normalisers(name, [_normaliser(2.0), _normaliser(3.0, validation="dogs/test")])
    add_reference(make_dna("gaussian", 9, 0), tmp_path, dataset="dogs", split="all")
    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: add_normalisers(name, [_normaliser(1.0, layers=["conv9"])]), ValueError, "lacks conv9; it has conv1"),
        (lambda: add_normalisers(name, [_normaliser(1.0, validation="")]), ValueError, "name of a validation set"),
        (lambda: add_normalisers(name, [FrechetNormaliser(1.0)]), ValueError, "Expected normalisers with layers"),
        (lambda: add_normalisers(name, []), ValueError, "Expected normalisers with layers"),
        (lambda: add_normalisers(name, [1.0]), TypeError, "expected a normaliser to be FrechetNormaliser"),  # type: ignore[list-item]
        (lambda: add_normalisers(f"{tmp_path}::dogs", [_normaliser(1.0)]), ValueError, "no reference 'dogs#layer_g"),
        (lambda: add_normalisers("bsds500/test@vdna_tiny", [_normaliser(1.0)]), ValueError, "ships with the package"),
        (
            lambda: find_normaliser(name),
            ValueError,
            r"Expected one plain normaliser with cats.*, got 2, .*; 3, .*give one",
        ),
        (lambda: find_normaliser(name, layers=["conv2"]), ValueError, "normaliser of conv2 .*normalise` records one"),
        (
            lambda: find_normaliser("bsds500/test@vdna_tiny"),
            ValueError,
            "got none; `vdna-metrics references normalise`",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
