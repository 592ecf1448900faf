"""Regions of images as parts of a set: positions of layers are dealt to regions by label maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.build.partitions import Partition, RegionPlaces
from vdna_metrics.extractors.grids import PositionGrid
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.files import errors_of, read_whole
from vdna_metrics.functional.regions import majority_labels
from vdna_metrics.images.decoding import IMAGE_EXTENSIONS, decode_labels
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import check_names

LabelMap = NDArray[np.integer]
"""Whole numbers ``[H, W]``, a region each; of a whole image, in its aspect at any resolution."""

VOID = 255
"""The label of pixels that belong to no region, as in PASCAL VOC and Cityscapes, whatever the largest label is.

So do negative ones.
"""


def regions(
    labels: Iterable[LabelMap],
    extractor: ExtractorLike,
    names: Sequence[str],
    *,
    layers: Sequence[str] | None = None,
    cropped: bool = False,
) -> Partition[str]:
    """A part for each region that label maps tell of, of which `build_dnas` makes DNAs.

    Each position of a layer's grid is dealt to the region that has most of its cell (`majority_labels`); class and
    register tokens belong to none. An image belongs to a region that has a position in every layer, so that all layers
    have seen the same images; it does not belong to one that is too small for the coarsest of them.

    A histogram counts all activations at a region's positions. Gaussian kinds, and features, take each image's mean
    over the region's positions. So a region that fills all images has the DNA of the set.

    Args:
        labels: of each image, in the source's order, whole numbers ``[H, W]`` in its aspect at any resolution; `VOID`
            and negative ones are of no region.
        extractor: through which the images are seen, or its name. It must have a size.
        names: of the regions 0, 1, ...
        layers: layers that DNAs are made of, by default all.
        cropped: whether labels are of what the network sees, as those of `label_images`; else they are of whole images,
            and are cropped as these are.

    Raises:
        ValueError: for labels without a name, a layer whose positions have no place, or an extractor without a size.

    Examples:
        >>> import torch
        >>> from vdna_metrics import build_dnas
        >>> images, network = np.zeros((2, 8, 8, 3), np.uint8), create_extractor(torch.nn.AvgPool2d(4), size=8)
        >>> halves = regions([np.eye(2, dtype=int), np.zeros((8, 8), int)], network, ["ground", "sky"])
        >>> halves.places.positions["output"].tolist()
        [[1, 0, 0, 1], [0, 0, 0, 0]]
        >>> build_dnas(images, network, ["gaussian"], partition=halves)["gaussian"]["sky"]
        VDNA(gaussian of 1 images of array/sky: 3 neurons in 1 layer of module:AvgPool2d)
    """
    check_names("names", names)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected a name for each region, all different, got {list(names)}")
    network = create_extractor(extractor)
    grids = grids_of(network, layers)
    shapes = {grid.shape for grid in grids.values()}
    dealt: dict[str, list[NDArray[np.int16]]] = {layer: [] for layer in grids}
    shares, sizes = [], []
    for index, each in enumerate(labels):
        with errors_of(f"label map {index}"):
            seen = seen_labels(each, network, len(names), cropped=cropped)
        sizes.append((int(np.shape(each)[0]), int(np.shape(each)[1])))
        shares.append(np.bincount(seen[seen >= 0], minlength=len(names)) / seen.size)
        on_grid = {shape: majority_labels(seen, shape, len(names)) for shape in shapes}
        for layer, grid in grids.items():
            first = np.full(grid.first, -1, np.int16)
            dealt[layer].append(np.concatenate([first, on_grid[grid.shape].flatten().astype(np.int16)]))
    positions = {
        layer: np.array(each, np.int16).reshape(len(each), grids[layer].positions) for layer, each in dealt.items()
    }
    parts = np.arange(len(names))
    there = [np.stack([(each == part).any(axis=1) for part in parts], axis=1) for each in positions.values()]
    of_image = np.where(np.logical_and.reduce(there), parts, -1)
    places = RegionPlaces(positions, np.array(shares).reshape(-1, len(names)), None if cropped else sizes)
    return Partition(tuple(names), of_image, tuple(f"/{name}" for name in names), places=places)


def grids_of(extractor: FeatureExtractor, layers: Sequence[str] | None = None) -> dict[str, PositionGrid]:
    """Where the positions of some layers lie, by default of all.

    Raises:
        ValueError: for a layer whose positions have no place, or an extractor without a size.
    """
    prepare = extractor.preprocess
    if not isinstance(prepare, Preprocessing) or prepare.size is None:
        raise ValueError(
            f"{extractor.name!r} takes images of any size, whose grids differ: create it with size=, as size=224"
        )
    return extractor.grids_at(layers, prepare.size)


def seen_labels(
    labels: LabelMap, extractor: FeatureExtractor, number: int, *, cropped: bool = False
) -> NDArray[np.int64]:
    """What the network sees of a label map, ``[H, W]`` with -1 for no region.

    Raises:
        ValueError: for what is no label map, or a label above those of the regions that is not `VOID`.
    """
    found = known_labels(labels, number)
    if cropped:
        return found
    assert isinstance(extractor.preprocess, Preprocessing)
    return found[extractor.preprocess.seen_part(*found.shape)]


def known_labels(labels: LabelMap, number: int) -> NDArray[np.int64]:
    """A label map with -1 for no region.

    Raises:
        ValueError: for what is no label map, or a label above those of the regions that is not `VOID`.
    """
    found = np.asarray(labels)
    if found.ndim != 2 or found.dtype.kind not in "biu" or not found.size:
        raise ValueError(f"expected whole numbers [H, W], got {found.dtype} {list(found.shape)}")
    found = found.astype(np.int64)
    known: NDArray[np.int64] = np.where((found < 0) | (found == VOID), -1, found)
    if known.max() >= number:
        raise ValueError(f"expected labels 0 to {number - 1}, {VOID} for none, got {known.max()}; name all regions")
    return known


def read_label_maps(
    folder: str | Path, images: ImageSource, *, numbers: Sequence[int] | None = None
) -> Iterator[LabelMap]:
    """Label maps of images, in the source's order, each read when it is asked for.

    Args:
        folder: PNG files of one channel, or with a palette, whose numbers are the labels. They are named as the images,
            but for the ending: ``a/1.png`` of the image ``a/1.jpg``.
        images: the images.
        numbers: labels that there may be, in growing order, which become 0, 1, ...; by default all, as they are.

    Raises:
        ValueError: for a folder that is not there, an image without a label map, a file that is none, or a label that
            is not among ``numbers``; the file is named.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"there is no folder {folder} of label maps")
    known = None if numbers is None else np.array(numbers, np.int64)
    for name in images.names:
        path = label_map_path(folder, name)
        if not path.is_file():
            raise ValueError(f"{images.name}: {name} has no label map, there is no file {path}")
        with errors_of(str(path)):
            labels = decode_labels(read_whole(path, "image_bytes"))
            yield labels if known is None else _places_of(labels, known)


def _places_of(labels: LabelMap, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of labels their places among the numbers of regions, -1 for no region."""
    found = known_labels(labels, np.iinfo(np.int64).max)
    if len(unknown := np.setdiff1d(found[found >= 0], numbers)):
        told = f"0 to {numbers[-1]}" if len(numbers) == numbers[-1] + 1 else ", ".join(map(str, numbers))
        raise ValueError(f"expected labels {told}, {VOID} for none, got {unknown[-1]}; name all regions")
    return np.where(found < 0, -1, np.searchsorted(numbers, found))


def label_map_path(folder: str | Path, name: str) -> Path:
    """Where the label map of an image lies."""
    stem, dot, ending = name.rpartition(".")
    return Path(folder, f"{stem if f'{dot}{ending}'.lower() in IMAGE_EXTENSIONS else name}.png")
