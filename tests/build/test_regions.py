"""Regions of images as parts of a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import small_images
from helpers.image_files import encode
from PIL import Image
from torch import nn

from vdna_metrics import build_dnas, calibrate, create_extractor, open_images
from vdna_metrics.build import read_label_maps, regions
from vdna_metrics.dna import compare

IMAGES = small_images(6, 0)
NETWORK = create_extractor(
    nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1)), layers=["0", "2"], size=16
)
RANGES = calibrate(IMAGES, NETWORK)
KINDS = ("histogram", "gaussian", "layer_gaussian")
STREAM = np.random.default_rng(5)
LABELS = [np.kron(STREAM.integers(0, 3, (2, 2)), np.ones((10, 10), int)) for _ in IMAGES]
NAMES = ["a", "b", "c"]


def _made(labels: object, kinds: object = KINDS, **options: object) -> dict:
    partition = regions(labels, NETWORK, NAMES)
    return build_dnas(IMAGES, NETWORK, kinds, bins=50, ranges=RANGES, partition=partition, **options)


def test_one_region_is_the_set() -> None:
    """A region that fills every image has the DNA of the set: counts bit for bit, moments to rounding."""
    found = _made([np.full((3, 4), 1)] * len(IMAGES))
    whole = build_dnas(IMAGES, NETWORK, KINDS, bins=50, ranges=RANGES)
    assert list(found["histogram"]) == ["b"]
    assert torch.equal(found["histogram"]["b"].distribution.state, whole["histogram"].distribution.state)
    assert float(compare.neuron_frechet(found["gaussian"]["b"], whole["gaussian"])) < 1e-10
    assert float(compare.layer_frechet(found["layer_gaussian"]["b"], whole["layer_gaussian"])) < 1e-5


def test_counts_of_regions_add_up_to_the_set() -> None:
    """Where all images have all regions, every activation is counted in one of them."""
    labels = [np.array([[0, 1], [2, 2]])] * len(IMAGES)
    found = _made(labels, ["histogram"])["histogram"]
    whole = build_dnas(IMAGES, NETWORK, ["histogram"], bins=50, ranges=RANGES)["histogram"]
    assert torch.equal(sum(dna.distribution.counts for dna in found.values()), whole.distribution.counts)
    assert [dna.n_images for dna in found.values()] == [len(IMAGES)] * 3


def test_regions_are_of_their_positions() -> None:
    """Counts, and means over an image's positions of a region, are those that NumPy finds in the activations."""
    found, activations = _made(LABELS), NETWORK(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    for part, name in enumerate(NAMES):
        having = [i for i, labels in enumerate(LABELS) if (labels == part).any()]
        for layer, side in (("0", 8), ("2", 4)):
            maps = activations[layer].numpy().reshape(-1, len(IMAGES), side, side)
            masks = [np.kron(LABELS[i][::10, ::10] == part, np.ones((side // 2, side // 2), bool)) for i in having]
            gaussian = found["gaussian"][name].distribution.mean_and_variance()[0]
            means = np.stack([maps[:, i][:, mask].mean(axis=1) for i, mask in zip(having, masks, strict=True)])
            rows = found["gaussian"][name].layout.slices()[layer]
            np.testing.assert_allclose(gaussian[rows], means.mean(axis=0), rtol=1e-5, atol=1e-6)
            counts = found["histogram"][name].distribution.counts[rows].sum(dim=1)
            assert counts.tolist() == [sum(map(np.sum, masks))] * len(counts)
        assert found["histogram"][name].n_images == len(having)


def test_batches_do_not_matter() -> None:
    """Any split into batches gives the same counts."""
    from vdna_metrics import Reading

    one, other = (_made(LABELS, ["histogram"], reading=Reading(batch_size=size))["histogram"] for size in (1, 4))
    assert all(torch.equal(one[name].distribution.state, other[name].distribution.state) for name in NAMES)


def test_a_region_too_small_for_a_layer_is_in_no_image() -> None:
    """All layers see the same images, so a region that one of them cannot see does not count; its pixels do."""
    labels = np.zeros((16, 16), int)
    labels[:2, :2] = 1  # a position of the first layer, a quarter of one of the second
    partition = regions([labels] * 6, NETWORK, NAMES)
    assert partition.of_image.tolist() == [[0, -1, -1]] * 6
    assert partition.places is not None
    assert partition.places.shares[0].tolist() == [252 / 256, 4 / 256, 0]
    assert regions([labels] * 6, NETWORK, NAMES, layers=["0"]).of_image.tolist() == [[0, 1, -1]] * 6


def test_void_and_tokens_belong_to_no_region() -> None:
    """255 and negative numbers are no region; class tokens have no place, so they are in none."""
    labels = np.array([[0, 255], [-1, 2]])
    partition = regions([labels], NETWORK, NAMES, layers=["2"])
    assert partition.places is not None
    assert np.unique(partition.places.positions["2"], return_counts=True)[1].tolist() == [8, 4, 4]
    import timm

    vit = create_extractor(timm.create_model("vit_tiny_patch16_224", img_size=32), layers=["blocks.0"], size=32)
    tokens = regions([np.zeros((2, 2), int)], vit, ["all"]).places
    assert tokens is not None
    assert tokens.positions["blocks.0"].tolist() == [[-1, 0, 0, 0, 0]]


def test_labels_are_cropped_as_images_are() -> None:
    """Of a wide image the network sees the centre, and so it does of its labels, but of those that are cropped."""
    network = create_extractor(nn.AvgPool2d(4), layers=[""], size=8, crop="center")
    labels = np.repeat([[1, 0, 0, 1]], 2, axis=0).repeat(4, axis=0).repeat(4, axis=1)  # 8 x 16
    for cropped, share in ((False, 1.0), (True, 0.5)):
        places = regions([labels], network, NAMES, cropped=cropped).places
        assert places is not None
        assert places.shares[0, 0] == share


def test_what_cannot_be_regions_is_refused() -> None:
    """Labels without a name, layers without places, sizes that differ, and positions that are left out are errors."""
    with pytest.raises(ValueError, match="label map 0: expected labels 0 to 2, 255 for none, got 3; name all"):
        regions([np.array([[3]])], NETWORK, NAMES)
    with pytest.raises(ValueError, match=r"label map 0: expected whole numbers \[H, W\], got float64"):
        regions([np.zeros((2, 2))], NETWORK, NAMES)
    with pytest.raises(ValueError, match="all different"):
        regions([], NETWORK, ["a", "a"])
    with pytest.raises(ValueError, match="create it with size="):
        regions([], create_extractor(nn.AvgPool2d(4), layers=[""]), NAMES)
    pooled = create_extractor(nn.AdaptiveAvgPool2d(1), layers={"pool": ""}, size=8)
    with pytest.raises(ValueError, match=r"layers pool of .* have no positions in the image; no layer of it has"):
        regions([], pooled, NAMES)
    with pytest.raises(ValueError, match="the partition is of 5"):
        _made(LABELS[:5])
    with pytest.raises(ValueError, match="max_positions=3; leave it out"):
        _made(LABELS, ["histogram"], max_positions=3)
    partition = regions(LABELS, NETWORK, NAMES, layers=["0"])
    with pytest.raises(ValueError, match="regions are of layers 0, got 2"):
        build_dnas(IMAGES, NETWORK, ["gaussian"], partition=partition)


def test_label_maps_are_read_as_numbers(tmp_path: Path) -> None:
    """Gray, palette and 16-bit PNGs are read as the numbers that they hold, by the images' names."""
    folder = tmp_path / "set" / "inner"
    folder.mkdir(parents=True)
    maps = tmp_path / "maps" / "inner"
    maps.mkdir(parents=True)
    labels = np.array([[0, 1], [7, 255]], np.uint8)
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel().tolist())
    made = {
        "gray.v1": Image.fromarray(labels),
        "palette": palette,
        "deep": Image.fromarray(labels.astype(np.uint16) * 2),
    }
    for name, image in made.items():
        (folder / f"{name}.png").write_bytes(encode(IMAGES[0]))
        image.save(maps / f"{name}.png")
    found = dict(zip(sorted(made), read_label_maps(tmp_path / "maps", open_images(tmp_path / "set")), strict=True))
    assert found["gray.v1"].tolist() == found["palette"].tolist() == labels.tolist()
    assert found["deep"].tolist() == (2 * labels.astype(int)).tolist()
    Image.fromarray(IMAGES[0]).save(maps / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png: expected a PNG whose one channel is the labels, got a PNG of RGB"):
        list(read_label_maps(tmp_path / "maps", open_images(tmp_path / "set")))
    (maps / "deep.png").unlink()
    with pytest.raises(ValueError, match=r"inner/deep.png has no label map, there is no file .*deep.png"):
        list(read_label_maps(tmp_path / "maps", open_images(tmp_path / "set")))


def test_255_is_no_region_beside_larger_labels() -> None:
    """The label for no region means the same however many regions there are."""
    labels = np.array([[0, 255], [300, 1]])
    network = create_extractor(nn.AvgPool2d(4), layers=[""], size=8)
    places = regions([labels], network, list(map(str, range(301)))).places
    assert places is not None
    assert next(iter(places.positions.values())).tolist() == [[0, -1, 300, 1]]


def test_masks_of_true_and_false_are_label_maps() -> None:
    """A mask of booleans is the regions 0 and 1, as a PNG of one bit is."""
    mask = np.array([[False, True]])
    assert (
        regions([mask], NETWORK, NAMES).of_image.tolist()
        == regions([mask.astype(int)], NETWORK, NAMES).of_image.tolist()
    )


def test_label_maps_of_another_aspect_are_refused() -> None:
    """A label map has the aspect of its image, to the rounding of its sides; one that has not is named by its image."""
    wide = small_images(2, 0).repeat(2, axis=2)
    crop = create_extractor(nn.AvgPool2d(4), layers=[""], size=8, crop="center")
    high, alike, cropped = np.zeros((40, 20), int), np.zeros((7, 13), int), np.zeros((8, 8), int)
    for network in (crop, NETWORK):
        labels = regions([alike, high], network, NAMES)
        with pytest.raises(ValueError, match=r"1: expected a label map of the whole image, 40 x 20 pixels .* 20 x 40"):
            build_dnas(wide, network, ["gaussian"], partition=labels)
    assert (
        build_dnas(wide, crop, ["gaussian"], partition=regions([alike] * 2, crop, NAMES))["gaussian"]["a"].n_images == 2
    )
    seen = regions([cropped] * 2, crop, NAMES, cropped=True)
    assert build_dnas(wide, crop, ["gaussian"], partition=seen)["gaussian"]["a"].n_images == 2
