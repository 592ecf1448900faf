"""Sets of images in K disjoint groups in one pass, and the cache of what came out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import small_images, write_folder
from helpers.dnas import assert_same_state, tiny_extractor
from torch import Tensor, nn

from vdna_metrics import Reading, build_dnas, calibrate, create_extractor, load_vdna, open_images
from vdna_metrics.analysis import collect_features
from vdna_metrics.build.passes import Checkpoint
from vdna_metrics.build.sets import BuiltSet, build_set, cached_folder
from vdna_metrics.dna import VDNA, GroupedDNA, ImageClusters
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.references import load_dna_folder
from vdna_metrics.references.resolve import holds_dnas

KINDS = ("histogram", "gaussian", "layer_gaussian")
IMAGES = small_images(14, 0)
EXTRACTOR = tiny_extractor()
RANGES = calibrate(IMAGES, EXTRACTOR)
READING = Reading(batch_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two class folders of seven images each."""
    write_folder(tmp_path / "set" / "a", IMAGES[:7])
    write_folder(tmp_path / "set" / "b", IMAGES[7:])
    return tmp_path / "set"


def _built(images: Path, kinds: Any = KINDS, **options: Any) -> BuiltSet:
    options = {"groups": 3, "ranges": RANGES, "bins": 20, "reading": READING, **options}
    return build_set(open_images(images), EXTRACTOR, kinds, **options)


def _refuse_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr("vdna_metrics.images.batches.ImageDataset.__getitem__", refuse)


@pytest.mark.parametrize("batch_size", [1, 4, 14])
def test_groups_add_up_to_the_dnas_of_one_pass(folder: Path, batch_size: int) -> None:
    """Whatever the batches, the groups' counts are those of `build_dnas` to the bit, and moments to rounding."""
    reading = Reading(batch_size=batch_size)
    found = _built(folder, reading=reading)
    whole = build_dnas(folder, EXTRACTOR, KINDS, ranges=RANGES, bins=20, reading=reading)
    for kind in KINDS:
        assert found.dnas[kind].sizes == (5, 5, 4)
        assert_same_state(found.dnas[kind].total.distribution, whole[kind].distribution)
        assert found.dnas[kind].total.provenance.sources == ("set",)
        assert found.dnas[kind].total.provenance.account == whole[kind].provenance.account
    assert found.manifest == whole["gaussian"].provenance.manifests[0]
    assert (found.n_images, found.skipped) == (14, ())


def test_a_group_is_every_third_image(folder: Path) -> None:
    """Image i is in group i % 3, whose DNA is that of those images alone, and whose manifest names them."""
    one_by_one = Reading(batch_size=1)
    found = _built(folder, reading=one_by_one)
    for number, places in enumerate(range(g, 14, 3) for g in range(3)):
        alone = build_dnas(IMAGES[list(places)], EXTRACTOR, KINDS, ranges=RANGES, bins=20, reading=one_by_one)
        for kind in KINDS:
            assert_same_state(found.dnas[kind].groups[number].distribution, alone[kind].distribution)
    manifests = {group.provenance.manifests for group in found.dnas["gaussian"].groups}
    assert len(manifests) == 3


def test_features_and_classes_come_of_the_same_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are those of `collect_features`, classes add up to the whole; covariances of classes are not made."""
    expected = collect_features(open_images(folder), EXTRACTOR, layer="second", reading=READING)
    passes = []
    forward = type(EXTRACTOR).from_resized
    monkeypatch.setattr(
        type(EXTRACTOR), "from_resized", lambda self, images: passes.append(len(images)) or forward(self, images)
    )
    found = _built(folder, features="second", classes=True)
    assert passes == [4, 4, 4, 2]
    assert found.features is not None
    assert torch.equal(found.features, expected.vectors)
    assert (found.names, found.digests) == (expected.names, expected.digests)
    assert sorted(found.classes) == ["gaussian", "histogram"]
    for kind, classes in found.classes.items():
        assert [(label, dna.n_images) for label, dna in classes.items()] == [("a", 7), ("b", 7)]
        assert classes["b"].provenance.sources == ("set/b",)
        assert_same_state(classes["a"].distribution + classes["b"].distribution, found.dnas[kind].total.distribution)


def test_layers_may_differ_by_kind(folder: Path) -> None:
    """Each kind looks at the layers that are asked for it, and at the neurons."""
    layers = {"histogram": ["first", "second"], "layer_gaussian": ["second"]}
    found = _built(folder, ("histogram", "layer_gaussian"), layers=layers, neurons={"first": [1, 4]})
    assert dict(found.dnas["histogram"].layout) == {"first": 2, "second": 5}
    assert dict(found.dnas["layer_gaussian"].layout) == {"second": 5}


# ------------------------------------------------------------------------------------------------------------ the cache
def test_what_is_in_the_cache_is_not_computed_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same images under another folder's name give the same DNAs, features and classes without a forward."""
    options: dict[str, Any] = {"features": "second", "classes": True, "cache": tmp_path / "cache"}
    first = _built(folder, **options)
    folder.rename(tmp_path / "renamed")
    _refuse_images(monkeypatch)
    again = _built(tmp_path / "renamed", **options)
    assert (first.reused, again.reused) == ((), KINDS)
    assert again.manifest == first.manifest
    assert again.features is not None
    assert torch.equal(again.features, first.features)
    for kind in KINDS:
        for a, b in zip(first.dnas[kind].groups, again.dnas[kind].groups, strict=True):
            assert torch.equal(a.distribution.state, b.distribution.state)
            assert (a.provenance.sources, b.provenance.sources) == (("set",), ("renamed",))
    for kind, classes in first.classes.items():
        for label, dna in classes.items():
            assert torch.equal(dna.distribution.state, again.classes[kind][label].distribution.state)
            assert again.classes[kind][label].provenance.sources == (f"renamed/{label}",)


def test_another_kind_costs_only_its_own(folder: Path, tmp_path: Path) -> None:
    """A kind, other bins, or features that are added leave the files that are there as they are."""
    cache = tmp_path / "cache"
    _built(folder, ("gaussian",), cache=cache)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    more = _built(folder, ("gaussian", "histogram"), cache=cache)
    finer = _built(folder, ("histogram",), bins=30, cache=cache)
    assert (more.reused, finer.reused) == (("gaussian",), ())
    after = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    assert len(after) == 9
    assert after.items() >= before.items()
    assert _built(folder, ("histogram",), bins=30, groups=2, cache=cache).reused == ()
    assert len(list(cache.iterdir())) == 2


def test_a_changed_image_is_seen_and_a_damaged_file_made_again(folder: Path, tmp_path: Path) -> None:
    """The key is of the images' contents; a file that does not hold what it should is said and computed again."""
    cache = tmp_path / "cache"
    first = _built(folder, cache=cache)
    (damaged,) = cache.rglob("gaussian-*-2-of-3.npz")
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.warns(UserWarning, match="is damaged .* computed again"):
        again = _built(folder, cache=cache)
    assert again.reused == ("histogram", "layer_gaussian")
    assert load_vdna(damaged).n_images == 5
    shutil.copy(folder / "a" / "000.png", folder / "b" / "003.png")
    other = _built(folder, cache=cache)
    assert other.reused == ()
    assert other.manifest != first.manifest


class Edited(nn.Module):
    """A module whose forward can be edited, and whose weights stay as they are."""

    def __init__(self, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, H, W]."""
        return self.bend(x)


def test_what_another_forward_left_is_made_again(folder: Path, tmp_path: Path) -> None:
    """DNAs, features and ranges in the cache of a module whose forward was edited since are not taken for its own."""
    images, options = open_images(folder), {"features": "output", "cache": tmp_path / "cache", "groups": 3}
    first, other = (create_extractor(Edited(bend)) for bend in (torch.square, torch.exp))
    build_set(images, first, ["gaussian"], **options)
    said = r"responses of layer 'output' differ.*computed again"
    with pytest.warns(UserWarning, match=said):
        found = build_set(images, other, ["gaussian"], **options)
    assert found.reused == ()
    expected = build_set(images, other, ["gaussian"], features="output", groups=3)
    assert_same_state(found.dnas["gaussian"].total.distribution, expected.dnas["gaussian"].total.distribution)
    assert torch.equal(found.features, expected.features)
    assert build_set(images, other, ["gaussian"], **options).reused == ("gaussian",)


def test_skipped_images_are_remembered(folder: Path, tmp_path: Path) -> None:
    """What was skipped is told from the cache too, and is an error for who does not ask to skip."""
    (folder / "a" / "002.png").write_bytes(b"no image")
    skipping = replace(READING, skip_bad=True)
    options: dict[str, Any] = {"cache": tmp_path / "cache", "features": "second"}
    first = _built(folder, ("gaussian",), reading=skipping, **options)
    again = _built(folder, ("gaussian",), reading=skipping, **options)
    for found in (first, again):
        assert [name for name, _ in found.skipped] == ["a/002.png"]
        assert found.n_images == 13
        assert found.dnas["gaussian"].sizes == (5, 5, 3)
        assert found.features is not None
        assert len(found.features) == 13
    assert again.reused == ("gaussian",)
    assert again.manifest == first.manifest
    with pytest.raises(ValueError, match=r"a/002\.png"):
        _built(folder, ("gaussian",), **options)


def test_a_killed_pass_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two batches, the next run begins at the last checkpoint and leaves what a whole run leaves."""
    whole = _built(folder, features="second", classes=True)
    options: dict[str, Any] = {"features": "second", "classes": True, "cache": tmp_path / "cache"}

    def killed(done: int, _total: int | None) -> None:
        if done == 8:
            raise MemoryError

    monkeypatch.setattr(Checkpoint, "is_due", lambda self, every=60.0: True)
    with pytest.raises(MemoryError):
        _built(folder, reading=replace(READING, progress=killed), **options)
    counts: list[int] = []
    again = _built(folder, reading=replace(READING, progress=lambda done, _: counts.append(done)), **options)
    assert counts == [0, 8, 12, 14]
    assert again.features is not None
    assert torch.equal(again.features, whole.features)
    for kind in KINDS:
        assert_same_state(again.dnas[kind].total.distribution, whole.dnas[kind].total.distribution)
    assert not list((tmp_path / "cache").rglob("unfinished"))


def test_auto_histograms_are_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without ranges gets histograms that find their own: each group its own, from the cache the same."""
    options: dict[str, Any] = {"groups": 3, "classes": True, "cache": tmp_path / "cache", "reading": READING}
    made = build_set(folder, EXTRACTOR, ["histogram"], **options)
    whole = build_dnas(folder, EXTRACTOR, ranges="auto", reading=READING)["histogram"]
    _refuse_images(monkeypatch)
    for each in (made, build_set(folder, EXTRACTOR, ["histogram"], ranges="auto", **options)):
        assert isinstance(each.dnas["histogram"], GroupedDNA)
        assert_same_state(total_of(each.dnas["histogram"]).distribution, whole.distribution)
        for group, same in zip(each.dnas["histogram"].groups, made.dnas["histogram"].groups, strict=True):
            assert_same_state(group.distribution, same.distribution)
        assert each.classes["histogram"].keys() == made.classes["histogram"].keys()


@pytest.mark.parametrize("reading", [Reading(shard=(0, 2)), Reading(all_ranks=True)])
def test_a_set_is_for_one_process(folder: Path, reading: Reading) -> None:
    """A part of the images, or several ranks, are refused."""
    with pytest.raises(ValueError, match="build_set is for one process"):
        _built(folder, reading=reading)


def test_fewer_images_than_groups_are_refused(folder: Path) -> None:
    """Before any image is read."""
    with pytest.raises(ValueError, match="14 images cannot be put into 15 groups"):
        _built(folder, groups=15)


# ------------------------------------------------------------------------------------------------------ folders of DNAs
def test_the_cache_is_read_as_a_folder_of_groups(folder: Path, tmp_path: Path) -> None:
    """A folder of the cache gives its DNAs in groups, and its features, without images; it is found by its manifest."""
    made = _built(folder, features="second", classes=True, cache=tmp_path / "cache", groups=11)
    kept = cached_folder(tmp_path / "cache", made.manifest, EXTRACTOR.fingerprint.digest, 11)
    assert kept is not None
    found = load_dna_folder(kept)
    by_kind = {dna.kind: dna for dna in found.dnas}
    assert sorted(by_kind) == sorted(KINDS)
    for kind, dna in by_kind.items():
        assert isinstance(dna, GroupedDNA)
        assert dna.sizes == made.dnas[kind].sizes  # in the order of their numbers
    assert made.features is not None
    ((fingerprint, vectors),) = found.features
    assert fingerprint == EXTRACTOR.fingerprint.select(["second"])
    assert torch.equal(vectors, made.features)
    assert found.digests == dict(zip(made.names, made.digests, strict=True))


def test_a_sample_of_features_is_kept_beside_the_features_of_all(folder: Path, tmp_path: Path) -> None:
    """Both have files in the cache, whose folder gives the groups of the one and the rows of the other."""
    options: dict[str, Any] = {"groups": 3, "features": "second", "feature_images": 2, "cache": tmp_path / "cache"}
    made = build_set(open_images(folder), EXTRACTOR, ["features"], reading=READING, **options)
    kept = cached_folder(tmp_path / "cache", made.manifest, EXTRACTOR.fingerprint.digest, 3)
    assert kept is not None
    found = load_dna_folder(kept)
    ((_, vectors),) = found.features
    assert made.features is not None
    assert torch.equal(vectors, made.features)
    (dna,) = found.dnas
    assert isinstance(dna, GroupedDNA)
    assert [group.distribution.n_sampled for group in dna.groups] == [2, 2, 2]  # type: ignore[attr-defined]
    again = build_set(open_images(folder), EXTRACTOR, ["features"], reading=READING, **options)
    assert again.reused == ("features",)


def test_parts_are_groups_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Files of `make --shard` are groups, part10 after part9; one file alone is no group; other files are left."""
    for number in range(1, 11):
        dna = build_dnas(IMAGES[: number + 1], EXTRACTOR, ["gaussian"], name="set")["gaussian"]
        dna.save(tmp_path / f"part{number}.npz")
    build_dnas(IMAGES, EXTRACTOR, ["histogram"], ranges=RANGES)["histogram"].save(tmp_path / "whole.npz")
    np.savez(tmp_path / "other.npz", IMAGES)
    assert holds_dnas(tmp_path)
    grouped, whole = load_dna_folder(tmp_path).dnas
    assert isinstance(grouped, GroupedDNA)
    assert grouped.sizes == tuple(range(2, 12))
    assert (whole.kind, whole.n_images) == ("histogram", 14)


def test_a_folder_of_images_holds_no_dnas(folder: Path, tmp_path: Path) -> None:
    """Such a folder is refused by name."""
    np.savez(folder / "images.npz", IMAGES)
    assert not holds_dnas(folder)
    assert not holds_dnas(tmp_path / "missing")
    with pytest.raises(ValueError, match="set has no DNA file"):
        load_dna_folder(folder)


def test_clusters_are_kept_apart_in_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set with other clusters, or none, is another folder of the cache; with the same it is not computed again."""
    clusterings = {
        name: labels and list(labels)
        for name, labels in {"none": "", "pairs": "aabbccddeeffgg", "halves": "aaaaaaabbbbbbb", "one": "a" * 14}.items()
    }
    cache = tmp_path / "cache"
    made = {name: _built(folder, clusters=labels or None, cache=cache) for name, labels in clusterings.items()}
    sizes = {name: getattr(found.dnas["gaussian"], "sizes", 14) for name, found in made.items()}
    assert sizes == {"none": (5, 5, 4), "pairs": (6, 4, 4), "halves": (7, 7), "one": 14}
    assert len(list(cache.iterdir())) == 4
    _refuse_images(monkeypatch)
    for name, labels in clusterings.items():
        again = _built(folder, clusters=labels or None, cache=cache)
        assert again.reused == KINDS
        for kind in KINDS:
            before, after = (total_of(found.dnas[kind]) for found in (made[name], again))
            assert_same_state(after.distribution, before.distribution)
            assert after.provenance == before.provenance
    renamed = _built(folder, clusters=[(label,) for label in clusterings["pairs"]], cache=cache)
    assert renamed.reused == KINDS


def test_a_set_of_one_cluster_has_whole_dnas(folder: Path) -> None:
    """Its images are one cluster, so there are no groups, and the DNA is that of the whole and says so."""
    found = _built(folder, clusters=["all"] * 14)
    whole = build_dnas(folder, EXTRACTOR, KINDS, ranges=RANGES, bins=20, reading=READING)
    for kind, dna in found.dnas.items():
        assert isinstance(dna, VDNA)
        assert_same_state(dna.distribution, whole[kind].distribution)
        assert dna.provenance == replace(whole[kind].provenance, clusters=ImageClusters.of([14]))
