"""Sets of images compared region by region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vdna_metrics.analysis.matrices import compare_groups
from vdna_metrics.build.partitions import Partition
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.layout import check_type, near_names
from vdna_metrics.references.resolve import DNALike, compared_dna


@dataclass(frozen=True)
class RegionDistance:
    """One region of two sets.

    Args:
        region: its name.
        distance: between its DNAs; ``None`` where one of the sets does not have it.
        layers: ``{layer: distance}``, likewise empty.
        n_images: how many generated images have it.
        n_reference: how many of the reference's.
        share: of the pixels of the generated images, each of which counts alike.
        share_reference: of the reference's.
    """

    region: str
    distance: float | None
    layers: Mapping[str, float]
    n_images: int
    n_reference: int
    share: float
    share_reference: float


@dataclass(frozen=True)
class RegionReport:
    """Two sets region by region, the farthest first, then those that a set does not have.

    Args:
        regions: the regions.
        distance: name of the distance.
        unit: of the distance.
    """

    regions: tuple[RegionDistance, ...]
    distance: str
    unit: str

    def __getitem__(self, region: str) -> RegionDistance:
        found = {each.region: each for each in self.regions}
        if region not in found:
            raise KeyError(f"no region {region!r}; {near_names(region, list(found))}")
        return found[region]

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {**asdict(self), "regions": [asdict(each) for each in self.regions]}


def compare_regions(
    generated: Mapping[str, DNALike],
    reference: Mapping[str, DNALike],
    labels: Partition[str],
    reference_labels: Partition[str],
    *,
    distance: ColumnLike = "emd",
) -> RegionReport:
    """How far each region of a set is from the same region of a reference, and how much of the pixels it has.

    A distance says how a region looks, its share how much of it there is: a set without a region has no distance there.
    Regions that fewer images have, or that are smaller, are farther by chance alone, so each says its number of images.

    Args:
        generated: ``{region: DNA}``, as `build_dnas` makes them with `regions`.
        reference: likewise.
        labels: the regions of the generated images; where some were skipped, ``labels.among(places)`` of the others.
        reference_labels: those of the reference, by the same names.
        distance: its name, or a `Column`, as in `compare_groups`.

    Raises:
        ValueError: for label maps by other names or of other images, no region that both sets have, or DNAs that cannot
            be compared.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import build_dnas
        >>> from vdna_metrics.build import regions
        >>> real, fake = (np.random.default_rng(seed).integers(0, 256, (4, 96, 96, 3), np.uint8) for seed in (0, 1))
        >>> fake[:, :48] //= 2
        >>> halves = regions([np.array([[0], [1]])] * 4, "vdna_tiny", ["sky", "ground"], layers=["blocks.0"])
        >>> a, b = (build_dnas(images, "vdna_tiny", layers=["blocks.0"], partition=halves) for images in (real, fake))
        >>> found = compare_regions(b["histogram"], a["histogram"], halves, halves)
        >>> [(each.region, each.share, each.distance > 10) for each in found.regions]
        [('sky', 0.5, True), ('ground', 0.5, False)]
    """
    column = find_column(distance)
    for what, each in (("labels", labels), ("reference_labels", reference_labels)):
        check_type(what, each, Partition, advice=": regions() makes them")
    if labels.parts != reference_labels.parts or labels.places is None or reference_labels.places is None:
        sides = (", ".join(map(str, each.parts)) for each in (reference_labels, labels))
        raise ValueError("expected the same regions of both sets, got {}; and {}".format(*sides))
    both = [name for name in labels.parts if name in generated and name in reference]
    if not both:
        told = (
            f"{what} {', '.join(dnas) or 'none'}" for what, dnas in (("reference", reference), ("generated", generated))
        )
        raise ValueError(f"no region is in both sets: {'; '.join(told)}")
    for dnas, each in ((generated, labels), (reference, reference_labels)):
        _check_images(dnas, each, column)
    found = compare_groups({name: generated[name] for name in both}, reference, distance=column)
    measured = {group.group: group for group in found.groups}
    images, shares = zip(*(_sizes(each) for each in (labels, reference_labels)), strict=True)
    order = [*measured, *(name for name in labels.parts if name not in measured)]
    rows = []
    for name in order:
        place, group = labels.parts.index(name), measured.get(name)
        values = (None, {}) if group is None else (group.distance, group.layers)
        rows.append(RegionDistance(name, *values, *(x[place] for x in images), *(x[place] for x in shares)))
    return RegionReport(tuple(rows), found.distance, found.unit)


def _check_images(dnas: Mapping[str, DNALike], labels: Partition[str], column: Column) -> None:
    """Raise ``ValueError`` for DNAs of other images than the labels are of."""
    for place, name in enumerate(labels.parts):
        expected = int((labels.of_image == place).sum())
        found = total_of(compared_dna(dnas[name], column)).n_images if name in dnas else 0
        if found != expected:
            raise ValueError(
                f"region {name!r}: expected a DNA of the {expected} images that the labels give it, got {found}; where "
                "images were skipped, give labels.among(places of those that were read)"
            )


def _sizes(labels: Partition[str]) -> tuple[list[int], list[float]]:
    """Of each region how many images have it, and its share of the pixels."""
    assert labels.places is not None
    return (labels.of_image >= 0).sum(axis=0).tolist(), labels.places.shares.mean(axis=0).tolist()
