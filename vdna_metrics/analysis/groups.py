"""Distances of the groups of a set of images, as its classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vdna_metrics.dna.columns import ColumnLike, find_column
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import near_names


@dataclass(frozen=True)
class GroupDistance:
    """One group's distance from its reference.

    Args:
        group: its name.
        n_images: number of its images.
        distance: over all layers.
        layers: ``{layer: distance}``.
    """

    group: str
    n_images: int
    distance: float
    layers: Mapping[str, float]


@dataclass(frozen=True)
class GroupReport:
    """Distances of groups, the farthest first.

    Args:
        groups: the groups.
        pooled: distance of all groups together, from all references together.
        distance: name of the distance.
        unit: of the distance.
    """

    groups: tuple[GroupDistance, ...]
    pooled: float
    distance: str
    unit: str

    @property
    def worst(self) -> GroupDistance:
        """The farthest group."""
        return self.groups[0]

    @property
    def mean(self) -> float:
        """Mean distance of the groups."""
        return sum(group.distance for group in self.groups) / len(self.groups)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        groups = [{**vars(group), "layers": dict(group.layers)} for group in self.groups]
        return {
            "distance": self.distance,
            "unit": self.unit,
            "pooled": self.pooled,
            "mean": self.mean,
            "groups": groups,
        }


def compare_groups(
    groups: Mapping[Any, VDNA],
    reference: VDNA | Mapping[Any, VDNA],
    *,
    distance: ColumnLike = "emd",
) -> GroupReport:
    """How far each group is from a reference, or from a reference of its own, the farthest first.

    Fewer images are farther from any reference by chance alone (see `sample_size_curve`), so groups of very different
    size should not be put in one order; each says its number of images.

    Args:
        groups: ``{group: DNA}``, as of `build_group_dnas`.
        reference: one DNA for all, or ``{group: DNA}`` with those groups and maybe others.
        distance: its name, or a `Column`, as in `distance_matrix`.

    Raises:
        ValueError: when there is no group, one lacks a reference, or one cannot be compared; it is named.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> names = ("bsds500/trainval@vdna_tiny#histogram-1000", "bsds500/test@vdna_tiny#histogram-1000")
        >>> trainval, test = map(load_reference, names)
        >>> report = compare_groups({"train and val": trainval, "test": test}, trainval)
        >>> report.worst.group, report.worst.n_images, round(report.worst.distance, 1), round(report.pooled, 1)
        ('test', 200, 5.0, 2.0)
    """
    column = find_column(distance)
    if not groups:
        raise ValueError("no groups to compare")
    chosen = {group: column.select(dna) for group, dna in groups.items()}
    found, pooled_reference = [], None
    for group, dna in chosen.items():
        if not isinstance(reference, VDNA) and group not in reference:
            raise ValueError(
                f"group {str(group)!r} has no reference; {near_names(str(group), [str(name) for name in reference])}"
            )
        own = column.select(reference if isinstance(reference, VDNA) else reference[group])
        if not isinstance(reference, VDNA):
            pooled_reference = own if pooled_reference is None else pooled_reference + own
        try:
            found.append(GroupDistance(str(group), dna.n_images, column(own, dna), column.by_layer(own, dna)))
        except ValueError as error:
            raise ValueError(f"group {str(group)!r}: {error}") from error
    first, *others = chosen.values()
    pooled = sum(others, first)
    found.sort(key=lambda group: -column.sort_key(group.distance))
    return GroupReport(tuple(found), column(pooled_reference or own, pooled), column.name, column.unit)
