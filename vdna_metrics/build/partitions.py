"""Partitions: which images of a source belong to which parts of it, whose DNAs one pass makes."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.build.reading import NumberedImages
from vdna_metrics.distributions.parts import members
from vdna_metrics.dna.vdna import ImageClusters
from vdna_metrics.files import json_hash
from vdna_metrics.layout import check_count, check_type
from vdna_metrics.references.resolve import resolve_images

PartName = TypeVar("PartName", bound=Hashable)


@dataclass(frozen=True, eq=False)
class RegionPlaces:
    """Which positions of images belong to which parts, where parts are regions of images.

    Args:
        positions: ``{layer: [images, positions]}``: of each position its part, as a place in the partition's; -1 where
            there is none.
        shares: ``[images, parts]``: of each image's pixels the share that each part has.
        sizes: height and width of each image's label map; ``None`` where they are of what the network sees.
    """

    positions: Mapping[str, NDArray[np.int16]]
    shares: NDArray[np.float64]
    sizes: Sequence[tuple[int, int]] | None = None

    def check_sizes(self, names: Sequence[str], indices: Sequence[int], sizes: Sequence[tuple[int, int]]) -> None:
        """Raise ``ValueError`` for a label map that cannot be of its image.

        Args:
            names: of all images.
            indices: places of some images in the source.
            sizes: height and width of each.
        """
        if self.sizes is not None:
            for index, size in zip(indices, sizes, strict=True):
                check_aspect(names[index], size, self.sizes[index])

    def chosen(self, activations: Mapping[str, Tensor], indices: Sequence[int], part: int) -> list[dict[str, Tensor]]:
        """Of images what the neurons saw in one part, an image at a time.

        Args:
            activations: ``{layer: [neurons, images, positions]}``.
            indices: places of the images in the source.
            part: place of the part.

        Returns:
            ``{layer: [neurons, 1, positions of the part]}`` of each image.
        """
        found = []
        for row, index in enumerate(indices):
            one = {}
            for layer, x in activations.items():
                places = np.flatnonzero(self.positions[layer][index] == part)
                one[layer] = x[:, row : row + 1].index_select(2, torch.from_numpy(places).to(x.device))
            found.append(one)
        return found


def check_aspect(name: str, image: tuple[int, int], labels: tuple[int, int]) -> None:
    """Raise ``ValueError`` for a label map that is not of an image's aspect, but for the rounding of its sides.

    Args:
        name: of the image.
        image: its height and width.
        labels: those of its label map.

    Examples:
        >>> check_aspect("a.png", (375, 500), (94, 125))
        >>> check_aspect("a.png", (375, 500), (125, 94))
        Traceback (most recent call last):
        ValueError: a.png: expected a label map of the whole image, 500 x 375 pixels or fewer alike, got one of 94 x 125
    """
    # Some scale has to give both sides to less than a pixel.
    least = max((side - 1) / whole for side, whole in zip(labels, image, strict=True))
    most = min((side + 1) / whole for side, whole in zip(labels, image, strict=True))
    if least >= most:
        raise ValueError(
            f"{name}: expected a label map of the whole image, {image[1]} x {image[0]} pixels or fewer alike, got "
            f"one of {labels[1]} x {labels[0]}"
        )


@dataclass(frozen=True, eq=False)
class Partition(Generic[PartName]):
    """Named parts of a set of images; an image may be in several, or in none.

    Made by `disjoint_groups`, `class_folders`, `labelled`, `grouped_labels`, `attributes` and `regions`.

    Args:
        parts: the parts' names.
        of_image: int ``[images, columns]``: the parts that each image of the source belongs to, as places in ``parts``;
            -1 where there is none.
        suffixes: what the name of each part's source has after that of the whole.
        folders: whether parts are folders, of which images are named as in the folder by itself.
        complements: whether each column has two parts, the second of which is all images without the first's; then
            the pass keeps what it saw of all images and of the first parts, about half.
        clusters: int ``[images]``: which images depend on each other, none of them in two parts of a column; ``None``
            where each is independent.
        places: which positions of the images the parts are; ``None`` where they are whole images.
    """

    parts: tuple[PartName, ...]
    of_image: NDArray[np.int64]
    suffixes: tuple[str, ...]
    folders: bool = False
    complements: bool = False
    clusters: NDArray[np.int64] | None = None
    places: RegionPlaces | None = None

    def __post_init__(self) -> None:
        if self.of_image.ndim != 2 or len(self.suffixes) != len(self.parts):
            raise ValueError(
                f"expected of_image [images, columns] and a suffix for each of {len(self.parts)} parts, got "
                f"{list(self.of_image.shape)} and {len(self.suffixes)}"
            )

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def n_images(self) -> int:
        """Number of images of the source."""
        return len(self.of_image)

    @property
    def n_states(self) -> int:
        """How many states of one kind a pass keeps."""
        return len(self) // 2 + 1 if self.complements else len(self)

    @property
    def digest(self) -> str:
        """Tells partitions apart."""
        images = hashlib.sha256(self.of_image.tobytes()).hexdigest()
        clusters = [] if self.clusters is None else [cluster_digest(self.clusters.tolist())]
        dealt = {} if self.places is None else self.places.positions
        places = [[layer, hashlib.sha256(each.tobytes()).hexdigest()] for layer, each in dealt.items()]
        return json_hash([list(map(str, self.parts)), self.complements, images, *clusters, *places])

    def among(self, indices: Sequence[int]) -> Partition[PartName]:
        """The same parts of some images of the source, as of those that could be read.

        Examples:
            >>> labelled("abaab").among([0, 3, 4]).of_image[:, 0].tolist()
            [0, 0, 1]
        """
        rows, places = np.asarray(indices, np.int64), self.places
        if places is not None:
            positions = {layer: each[rows] for layer, each in places.positions.items()}
            sizes = None if places.sizes is None else [places.sizes[row] for row in rows]
            places = RegionPlaces(positions, places.shares[rows], sizes)
        clusters = None if self.clusters is None else self.clusters[rows]
        return replace(self, of_image=self.of_image[rows], clusters=clusters, places=places)

    def members(self, indices: Sequence[int]) -> dict[int, NDArray[np.int64]]:
        """Of some images of the source, those of each part: ``{place in parts: places in indices}``."""
        return members(self.of_image[np.asarray(indices, np.int64)])

    def clusters_of(self, indices: Sequence[int]) -> ImageClusters | None:
        """How some images of the source depend on each other."""
        if self.clusters is None:
            return None
        return ImageClusters.of(np.unique(self.clusters[np.asarray(indices, np.int64)], return_counts=True)[1])

    def image_name(self, name: str) -> str:
        """What an image of a part is called there."""
        folder, _, rest = name.partition("/")
        return rest if self.folders and rest else folder if self.folders else name

    def check_layers(self, layers: Iterable[str], max_positions: int | None) -> None:
        """Raise ``ValueError`` for layers whose positions are not dealt to regions, and for some of the positions."""
        if self.places is None:
            return
        missing = [layer for layer in layers if layer not in self.places.positions]
        if missing:
            known = ", ".join(self.places.positions)
            raise ValueError(f"regions are of layers {known}, got {', '.join(missing)}; make them of these layers too")
        if max_positions is not None:
            raise ValueError(f"regions count all of their positions, got max_positions={max_positions}; leave it out")

    def check_images(self, name: str, n_images: int) -> None:
        """Raise ``ValueError`` for another number of images than the partition is of."""
        if n_images != self.n_images:
            raise ValueError(f"{name}: {n_images} images, the partition is of {self.n_images}")


def one_part(n_images: int) -> Partition[None]:
    """All images, as the only part."""
    return Partition((None,), np.zeros((n_images, 1), np.int64), ("",))


def disjoint_groups(n_images: int, groups: int, clusters: Sequence[Hashable] | None = None) -> Partition[int]:
    """K disjoint groups, of which `GroupedDNA` is made: image i goes to group ``i % groups``.

    Images that depend on each other (frames of a video, samples of a prompt, augmented copies) are clusters, each of
    which is put into one group as a whole: the largest first, each into the group that has the fewest images. There are
    as many groups as clusters where those are fewer, even one.

    Args:
        n_images: number of images, in the order of their source.
        groups: number of groups.
        clusters: which images depend on each other: a label an image, in the source's order, of any hashable kind. By
            default none does.

    Raises:
        ValueError: for fewer than two groups, fewer images than groups, or another number of labels than of images.

    Examples:
        >>> disjoint_groups(7, 3).of_image[:, 0].tolist()
        [0, 1, 2, 0, 1, 2, 0]
        >>> disjoint_groups(7, 3, clusters="aabbbcd").of_image[:, 0].tolist()
        [1, 1, 0, 0, 0, 2, 2]
    """
    check_count("n_images", n_images, 0)
    check_count("groups", groups, 2)
    if clusters is not None:
        return _groups_of_clusters(n_images, groups, clusters)
    if n_images < groups:
        raise ValueError(f"{n_images} images cannot be put into {groups} groups, one would stay empty")
    return Partition(tuple(range(groups)), np.arange(n_images)[:, None] % groups, ("",) * groups)


def _groups_of_clusters(n_images: int, groups: int, labels: Sequence[Hashable]) -> Partition[int]:
    check_type("clusters", labels, Sequence, np.ndarray)
    if wrong := [label for label in labels if not isinstance(label, Hashable) or label != label]:
        raise TypeError(f"expected a label an image that tells clusters apart, got {reprlib.repr(wrong[0])}")
    if len(labels) != n_images or not n_images:
        raise ValueError(f"expected the cluster of each of {n_images} images, got {len(labels)} labels")
    _, clusters = _numbered(labels)
    sizes = np.bincount(clusters)
    filled = np.zeros(min(groups, len(sizes)), np.int64)
    group_of = np.empty(len(sizes), np.int64)
    for cluster in np.argsort(-sizes, kind="stable"):
        group_of[cluster] = emptiest = int(filled.argmin())
        filled[emptiest] += sizes[cluster]
    return Partition(tuple(range(len(filled))), group_of[clusters][:, None], ("",) * len(filled), clusters=clusters)


def cluster_digest(labels: Iterable[Hashable]) -> str:
    """Tells clusterings of images apart, whatever the clusters are called.

    Examples:
        >>> cluster_digest("aab") == cluster_digest([7, 7, 1]) != cluster_digest("abb")
        True
    """
    return hashlib.sha256(_numbered(labels)[1].tobytes()).hexdigest()


def _numbered(labels: Iterable[PartName]) -> tuple[tuple[PartName, ...], NDArray[np.int64]]:
    """Different labels in the order in which they come first, and the place of each label among them."""
    place_of: dict[PartName, int] = {}
    places = [place_of.setdefault(label, len(place_of)) for label in labels]
    return tuple(place_of), np.array(places, np.int64)


def labelled(labels: Sequence[PartName]) -> Partition[PartName]:
    """A part for each label, in the order in which they come first.

    Args:
        labels: one an image, in the source's order.

    Examples:
        >>> labelled(["a", "b", "a"]).parts
        ('a', 'b')
    """
    parts, of_image = _numbered(labels)
    return Partition(parts, of_image[:, None], tuple(f"/{part}" for part in parts))


def grouped_labels(labels: Sequence[Hashable], groups: Mapping[PartName, Collection[Hashable]]) -> Partition[PartName]:
    """A part for each group of labels, as for the levels of `analysis.concept_levels`.

    Args:
        labels: one an image, in the source's order: the ``groups`` of a source are its class folders.
        groups: ``{part: its labels}``; an image whose label is in no group belongs to no part.

    Raises:
        ValueError: for no group, a label in two of them, or a group of which there is no image.

    Examples:
        >>> grouped_labels(["cat", "car", "dog", "cat"], {"pets": ["cat", "dog"]}).of_image[:, 0].tolist()
        [0, -1, 0, 0]
    """
    check_type("groups", groups, Mapping)
    if not groups:
        raise ValueError("there must be groups of labels, got none")
    place_of: dict[Hashable, int] = {}
    for place, members_of in enumerate(groups.values()):
        for label in members_of:
            if place_of.setdefault(label, place) != place:
                both = [tuple(groups)[each] for each in (place_of[label], place)]
                raise ValueError(f"expected each label in one group, got {label!r} in {both[0]!r} and {both[1]!r}")
    of_image = np.array([place_of.get(label, -1) for label in labels], np.int64)
    present = set(of_image.tolist())
    if empty := [part for place, part in enumerate(groups) if place not in present]:
        raise ValueError(f"no image among {len(of_image)} has a label of {empty[0]!r}")
    return Partition(tuple(groups), of_image[:, None], tuple(f"/{part}" for part in groups))


def class_folders(images: NumberedImages) -> Partition[str]:
    """A part for each class folder, the first folder below the root of a source; ``""`` is that of the root's images.

    Its DNA is that of the folder by itself, manifest and all, under the name ``set/folder``.

    Args:
        images: the images.
    """
    made = labelled(resolve_images(images).groups)
    return Partition(made.parts, made.of_image, tuple(f"/{p}" if p else "" for p in made.parts), folders=True)


def attributes(has: Mapping[str, Sequence[bool]]) -> Partition[tuple[str, bool]]:
    """Two parts for each attribute: ``(attribute, True)`` are the images with it, ``(attribute, False)`` the others.

    Args:
        has: ``{attribute: whether each image has it}``, in the source's order.

    Raises:
        ValueError: for no attribute, attributes of different numbers of images, or one that all images have, or none.

    Examples:
        >>> attributes({"red": [True, False, True], "old": [True, True, False]}).parts
        (('red', True), ('red', False), ('old', True), ('old', False))
    """
    check_type("attributes", has, Mapping)
    if not has:
        raise ValueError("there must be attributes, got none")
    columns = {name: np.asarray(values, np.bool_) for name, values in has.items()}
    n_images = len(next(iter(columns.values())))
    for name, values in columns.items():
        if values.shape != (n_images,):
            raise ValueError(f"{next(iter(columns))!r} is given for {n_images} images, {name!r} for {len(values)}")
        if values.all() or not values.any():
            raise ValueError(f"no image {'without' if n_images and values.all() else 'with'} {name!r} among {n_images}")
    of_image = np.stack([2 * column + ~values for column, values in enumerate(columns.values())], axis=1)
    parts = tuple((name, value) for name in columns for value in (True, False))
    suffixes = tuple(f" {'with' if value else 'without'} {name}" for name, value in parts)
    return Partition(parts, of_image, suffixes, complements=True)
