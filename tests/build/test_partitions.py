"""Parts of a set of images: groups, classes, labels and attributes that overlap, made in one pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import small_images
from helpers.dnas import KINDS, assert_same_state, settled, tiny_extractor
from helpers.image_files import encode, pixels
from hypothesis import given, strategies as st

from vdna_metrics import Reading, build_dnas, calibrate, load_vdna
from vdna_metrics.build import (
    Partition,
    attributes,
    build_set,
    class_folders,
    disjoint_groups,
    grouped_labels,
    labelled,
)
from vdna_metrics.dna import GroupedDNA, ImageClusters

EXTRACTOR = tiny_extractor()
IMAGES = small_images(9, 0)
RANGES = calibrate(IMAGES, EXTRACTOR)


def _parts(images: Any, partition: Partition[Any], kinds: Any = KINDS, **options: Any) -> Any:
    return build_dnas(images, EXTRACTOR, kinds, bins=50, ranges=RANGES, partition=partition, **options)


def _whole(images: Any, kinds: Any = KINDS, **options: Any) -> Any:
    return build_dnas(images, EXTRACTOR, kinds, bins=50, ranges=RANGES, **options)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three class folders of 5, 3 and 2 images."""
    for place, (name, count) in enumerate({"bird": 5, "cat": 3, "dog": 2}.items()):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(count):
            file = tmp_path / "set" / name / f"{i}.png"
            file.write_bytes(encode(pixels(20, 24, 3, seed=10 * place + i)))
    return tmp_path / "set"


# -------------------------------------------------------------------------------------------------------------- groups
@given(st.integers(2, 20), st.integers(0, 100))
def test_every_image_is_in_one_group_and_groups_are_even(groups: int, more: int) -> None:
    """Image i goes to group `i % groups`; sizes differ by one at most."""
    partition = disjoint_groups(groups + more, groups)
    assert partition.of_image.tolist() == [[image % groups] for image in range(groups + more)]
    members = partition.members(range(groups + more))
    assert sorted(members) == list(range(groups))
    assert {len(group) for group in members.values()} <= {1 + more // groups, 2 + more // groups}


@pytest.mark.parametrize(
    ("images", "groups", "message"),
    [(9, 1, "expected groups of at least 2, got 1"), (3, 4, "3 images cannot be put into 4")],
)
def test_no_groups_or_too_few_images_are_refused(images: int, groups: int, message: str) -> None:
    """There are at least two groups, and none is empty."""
    with pytest.raises(ValueError, match=message):
        disjoint_groups(images, groups)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(2, 12))
def test_clusters_stay_whole(labels: list[int], groups: int) -> None:
    """A cluster is in one group; there are as many groups as clusters at most, and they are as even as that allows."""
    partition, sizes = disjoint_groups(len(labels), groups, labels), Counter(labels)
    group_of = {
        label: {int(partition.of_image[i, 0]) for i, own in enumerate(labels) if own == label} for label in sizes
    }
    assert all(len(found) == 1 for found in group_of.values())
    members = partition.members(range(len(labels)))
    assert sorted(members) == list(range(min(groups, len(sizes))))
    counts = [len(group) for group in members.values()]
    assert max(counts) - min(counts) <= max(sizes.values())
    assert partition.clusters_of(range(len(labels))) == ImageClusters.of(sizes.values())


def test_the_largest_cluster_comes_first() -> None:
    """Clusters are put largest first into the group with the fewest images, of equal ones the first that appears."""
    labels = [*"abbcccddddeeeee", *"ff"]
    found = disjoint_groups(len(labels), 3, labels).of_image[:, 0].tolist()
    assert dict(zip(labels, found, strict=True)) == {"e": 0, "d": 1, "c": 2, "b": 2, "f": 1, "a": 0}


@given(st.integers(2, 20), st.integers(0, 100))
def test_clusters_of_one_image_are_no_clusters(groups: int, more: int) -> None:
    """Where each image is a cluster of its own, groups are those without clusters."""
    images = groups + more
    alone = disjoint_groups(images, groups, [f"image {i}" for i in range(images)])
    assert alone.of_image.tolist() == disjoint_groups(images, groups).of_image.tolist()


def test_clusters_are_told_apart_by_which_images_they_have() -> None:
    """Labels' names do not matter; other clusters are another partition though groups may be the same."""
    one, same, other = (disjoint_groups(4, 2, labels) for labels in ("aabb", [(3,), (3,), (1,), (1,)], "abcd"))
    assert one.digest == same.digest != other.digest
    assert len({disjoint_groups(4, 2, labels).digest for labels in (None, "abab", "abcd")}) == 3


def test_a_label_an_image_is_needed() -> None:
    """Too few labels are refused with both numbers; fewer images than groups are no error, groups are fewer then."""
    with pytest.raises(ValueError, match="expected the cluster of each of 3 images, got 2 labels"):
        disjoint_groups(3, 2, "ab")
    assert len(disjoint_groups(3, 10, "abb")) == 2
    assert len(disjoint_groups(3, 10, "bbb")) == 1


def test_a_dna_says_how_its_images_depend(classes: Path, tmp_path: Path) -> None:
    """Groups of whole clusters say how many they have, of the images that could be read, in their files too."""
    labels = [index // 3 for index in range(10)]  # of sizes 3, 3, 3, 1
    (classes / "bird" / "0.png").write_bytes(b"no image")
    found = _parts(classes, disjoint_groups(10, 3, labels), ["gaussian"], reading=Reading(skip_bad=True))["gaussian"]
    assert [dna.provenance.clusters for dna in found.values()] == [
        ImageClusters.of(sizes) for sizes in ([2, 1], [3], [3])
    ]
    for number, dna in found.items():
        assert load_vdna(dna.save(tmp_path / f"{number}.npz")).provenance == dna.provenance
    grouped = GroupedDNA(tuple(found.values()))
    assert (grouped.n_clusters, grouped.effective_clusters) == (4, 81 / 23)
    assert grouped.total.provenance.clusters == ImageClusters(9, 4, 23)
    assert grouped.without(0).provenance.clusters == ImageClusters.of([3, 3])
    assert str(grouped.total.provenance.clusters) == "4 clusters (3.52 effective) of 9 images"
    apart = GroupedDNA(tuple(_parts(IMAGES, disjoint_groups(9, 4), ["gaussian"])["gaussian"].values()))
    assert (apart.n_clusters, apart.effective_clusters, apart.total.provenance.clusters) == (9, 9, None)


def test_a_shard_has_no_whole_clusters() -> None:
    """Groups of clusters are not made of a shard, whose clusters would be counted once a shard."""
    with pytest.raises(ValueError, match="array: a shard does not have whole clusters"):
        _parts(IMAGES, disjoint_groups(9, 3, "aaabbbccc"), ["gaussian"], reading=Reading(shard=(0, 2)))


@pytest.mark.parametrize("batch_size", [2, 4, 32])
def test_groups_add_up_to_the_whole(batch_size: int) -> None:
    """Whatever the batches, groups' counts sum to the whole's to the bit, moments to rounding; all name one set."""
    reading = Reading(batch_size=batch_size)
    whole, groups = _whole(IMAGES, reading=reading), _parts(IMAGES, disjoint_groups(9, 4), reading=reading)
    for kind in KINDS:
        first, *others = groups[kind].values()
        assert [dna.n_images for dna in groups[kind].values()] == [3, 2, 2, 2]
        assert_same_state(sum(others, first).distribution, whole[kind].distribution)
        assert {dna.provenance.sources for dna in groups[kind].values()} == {("array",)}


# ------------------------------------------------------------------------------------------------- classes and labels
@pytest.mark.parametrize("batch_size", [3, 32])
def test_classes_add_up_to_all(classes: Path, batch_size: int) -> None:
    """The sum of the classes' DNAs is what `build_dnas` makes of all: counts to the bit, moments to rounding."""
    reading = Reading(batch_size=batch_size)
    whole, parts = _whole(classes, reading=reading), _parts(classes, class_folders(classes), reading=reading)
    for kind in KINDS:
        assert {name: dna.n_images for name, dna in parts[kind].items()} == {"bird": 5, "cat": 3, "dog": 2}
        first, *others = parts[kind].values()
        assert_same_state(sum(others, first).distribution, whole[kind].distribution)


def test_a_classs_dna_is_that_of_its_folder_everywhere(classes: Path) -> None:
    """A class has counts, manifest, sizes and skipped images of its folder read alone, from each builder, and its name.

    The builders once gave one class folder two manifest hashes.
    """
    (classes / "cat" / "1.png").write_bytes(b"no image")
    reading = Reading(batch_size=1, skip_bad=True)
    alone = _whole(classes / "cat", ["histogram"], reading=reading)["histogram"]
    part = _parts(classes, class_folders(classes), ["histogram"], reading=reading)["histogram"]["cat"]
    built = build_set(classes, EXTRACTOR, groups=2, classes=True, bins=50, ranges=RANGES, reading=reading).classes[
        "histogram"
    ]["cat"]
    for dna in (part, built):
        assert_same_state(dna.distribution, alone.distribution)
        assert dna.provenance == replace(alone.provenance, sources=("set/cat",))
    assert [name for name, _ in part.provenance.skipped] == ["1.png"]


def test_a_part_without_a_readable_image_is_left_out(classes: Path) -> None:
    """A skipped image is in the provenance of its class alone, and a class of such images has no DNA."""
    (classes / "cat" / "1.png").write_bytes(b"no image")
    (classes / "empty").mkdir()
    (classes / "empty" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cat/1\.png"):
        _parts(classes, class_folders(classes), ["gaussian"])
    found = _parts(classes, class_folders(classes), ["gaussian"], reading=Reading(batch_size=2, skip_bad=True))
    skipped = {name: [bad for bad, _ in dna.provenance.skipped] for name, dna in found["gaussian"].items()}
    assert skipped == {"bird": [], "cat": ["1.png"], "dog": []}


def test_labels_of_ones_own(classes: Path) -> None:
    """Labels may be anything hashable, one an image, and shards of each part add up."""
    labels = [index % 2 for index in range(10)]
    found = _parts(classes, labelled(labels), ["gaussian"], neurons={"first": [1, 4]}, name="mine")["gaussian"]
    assert found[1].provenance.sources == ("mine/1",)
    assert found[1].layout.neurons == {"first": (1, 4)}
    shards = [
        _parts(classes, class_folders(classes), ["gaussian"], reading=Reading(batch_size=2, shard=(i, 2)))["gaussian"]
        for i in range(2)
    ]
    counts = {name: sum(s[name].n_images for s in shards if name in s) for name in ("bird", "cat", "dog")}
    assert counts == {"bird": 5, "cat": 3, "dog": 2}


def test_groups_of_labels_are_parts() -> None:
    """An image is in the part of its label, or in none; a label in two groups, or a group without image, is named."""
    labels = ["cat", "car", "dog", "cat"]
    partition = grouped_labels(labels, {"wheels": ["car", "cart"], "pets": ["dog", "cat"]})
    assert partition.parts == ("wheels", "pets")
    assert partition.of_image[:, 0].tolist() == [1, 0, 1, 1]
    made = _parts(IMAGES[:4], partition, ["histogram"])["histogram"]
    assert_same_state(made["pets"].distribution, _whole(IMAGES[[0, 2, 3]], ["histogram"])["histogram"].distribution)
    with pytest.raises(ValueError, match="'cat' in 'a' and 'b'"):
        grouped_labels(labels, {"a": ["cat"], "b": ["dog", "cat"]})
    with pytest.raises(ValueError, match="no image among 4 has a label of 'b'"):
        grouped_labels(labels, {"a": ["cat"], "b": ["cow"]})
    with pytest.raises(ValueError, match="groups of labels, got none"):
        grouped_labels(labels, {})


def test_max_positions_is_for_histograms_alone(classes: Path) -> None:
    """Histograms count so many positions an image and say so; moments are of all positions; 0 positions are refused."""
    found = _parts(classes, class_folders(classes), ["histogram", "gaussian"], max_positions=3)
    histogram, gaussian = found["histogram"]["dog"], found["gaussian"]["dog"]
    assert (histogram.provenance.max_positions, gaussian.provenance.max_positions) == (3, None)
    assert set(histogram.distribution.counts.sum(1).tolist()) == {2 * 3}
    with pytest.raises(ValueError, match="max_positions must be at least 1, got 0"):
        _parts(classes, class_folders(classes), ["gaussian"], max_positions=0)


def test_partitions_of_other_images_are_refused() -> None:
    """A partition is of as many images as the source, whose images can be read by number."""
    with pytest.raises(ValueError, match="array: 9 images, the partition is of 3"):
        _parts(IMAGES, labelled("abc"), ["gaussian"])
    with pytest.raises(TypeError, match="parts and features need images that can be read by number"):
        _parts([torch.zeros(2, 3, 8, 8, dtype=torch.uint8)], labelled("ab"), ["gaussian"])


# ---------------------------------------------------------------------------------------------------------- attributes
HAS = {"even": [i % 2 == 0 for i in range(9)], "first": [i < 3 for i in range(9)]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [4, 32])
def test_attributes_overlap(kind: Any, batch_size: int) -> None:
    """With and without each of attributes that overlap is what `build_dnas` makes of those images alone."""
    reading = Reading(batch_size=batch_size)
    dnas = _parts(IMAGES, attributes(HAS), [kind], reading=reading)[kind]
    assert list(dnas) == [("even", True), ("even", False), ("first", True), ("first", False)]
    for (attribute, value), dna in dnas.items():
        chosen = IMAGES[[has == value for has in HAS[attribute]]]
        alone = _whole(chosen, [kind], reading=Reading(batch_size=1))[kind]
        assert dna.n_images == len(chosen)
        found, expected = (settled(each.distribution).double() for each in (dna, alone))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2)
    assert dnas["first", False].provenance.sources == ("array without first",)
    assert dnas["first", True].provenance.sources == ("array with first",)


def test_a_skipped_image_is_on_the_side_where_it_would_be(tmp_path: Path) -> None:
    """An image that cannot be read is listed with the images that share its attribute, and sizes are kept."""
    for i, image in enumerate(IMAGES):
        (tmp_path / f"{i}.png").write_bytes(encode(image))
    (tmp_path / "2.png").write_bytes(b"no image")
    dnas = _parts(tmp_path, attributes(HAS), ["gaussian"], reading=Reading(skip_bad=True))["gaussian"]
    skipped = {part: [name for name, _ in dna.provenance.skipped] for part, dna in dnas.items()}
    assert skipped == {("even", True): ["2.png"], ("even", False): [], ("first", True): ["2.png"], ("first", False): []}
    height, width = IMAGES.shape[1:3]
    assert {str(dna.provenance.account.sizes) for dna in dnas.values()} == {f"{width}x{height}"}


@pytest.mark.parametrize(
    ("has", "message"),
    [
        ({"all": [True] * 3}, "no image without 'all' among 3"),
        ({"none": [False] * 3}, "no image with 'none' among 3"),
        ({"a": [True, False], "few": [True]}, "'a' is given for 2 images, 'few' for 1"),
        ({}, "there must be attributes"),
    ],
)
def test_attributes_without_a_side_are_refused(has: Any, message: str) -> None:
    """An attribute that all images have, or none, or that is not told of every image, is named."""
    with pytest.raises(ValueError, match=message):
        attributes(has)


def test_attributes_keep_half_of_the_states() -> None:
    """What is without an attribute is not kept but is all images less those with it."""
    told: list[str] = []
    reading = Reading(notice=told.append, memory_limit=1)
    with pytest.raises(ValueError, match="gaussian DNAs: 3 x"):
        _parts(IMAGES, attributes(HAS), ["gaussian"], reading=reading)


def test_an_image_may_be_in_no_part() -> None:
    """A partition made by hand may leave images out."""
    partition = Partition(("odd",), np.where(np.arange(9) % 2, 0, -1)[:, None], (" (odd)",))
    dna = _parts(IMAGES, partition, ["gaussian"])["gaussian"]["odd"]
    assert (dna.n_images, dna.provenance.sources) == (4, ("array (odd)",))
