"""Distances between every two of some DNAs, of groups from their references, and what ranking by them loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import Histogram
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.distances import EMD
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.files import errors_of
from vdna_metrics.functional.emd import cumulative_shares
from vdna_metrics.layout import check_type, near_names
from vdna_metrics.neurons import chosen_weights
from vdna_metrics.references.resolve import DNALike, compared_dna

_BLOCK = 1 << 22  # cumulative shares held at once, 32 MiB, beside as much for their differences


def histogram_of(dna: VDNA) -> Histogram:
    """The distribution of a DNA that is compared by the EMD."""
    if not isinstance(dna.distribution, Histogram):
        raise TypeError(f"the EMD compares histograms, this DNA is of kind {dna.kind!r}")
    return dna.distribution


def emd_scale(column: Column, dna: VDNA, histogram: Histogram) -> Tensor:
    """What each neuron's EMD counts in a column of the EMD, ``[neurons]`` float64; 0 where it has no value.

    Args:
        column: of the EMD.
        dna: the reference.
        histogram: in whose bins the EMD is.
    """
    widths = histogram.bin_widths(column.options["unit"]).cpu()
    weights = chosen_weights(column.weights, dna.layout, dna.fingerprint)
    if weights is None:
        known = ~widths.isnan()
        weights = known.double() / known.sum()
    return (weights * widths).nan_to_num_(nan=0.0)


@dataclass(frozen=True, eq=False)
class DistanceMatrix:
    """Distances between every two of some DNAs.

    Args:
        names: of the DNAs.
        values: ``[n, n]`` float64, symmetric, 0 on the diagonal.
        distance: name of the distance.
        unit: of the distance.
    """

    names: tuple[str, ...]
    values: Tensor
    distance: str
    unit: str

    def between(self, a: str, b: str) -> float:
        """The distance of two DNAs, by their names."""
        rows = []
        for name in (a, b):
            if name not in self.names:
                raise ValueError(f"no DNA {name!r} in this matrix; {near_names(name, self.names)}")
            rows.append(self.names.index(name))
        return float(self.values[rows[0], rows[1]])

    def linkage(self) -> NDArray[np.float64]:
        """Average linkage, ``[n - 1, 4]`` as SciPy has it, ordered so that neighbours are near."""
        from scipy.cluster import hierarchy
        from scipy.spatial.distance import squareform

        condensed = squareform(self.values.numpy(), checks=False)
        linkage: NDArray[np.float64] = hierarchy.linkage(condensed, "average", optimal_ordering=True)
        return linkage

    def order(self) -> tuple[str, ...]:
        """The names, near ones beside each other: the leaves of the dendrogram."""
        from scipy.cluster import hierarchy

        return tuple(self.names[leaf] for leaf in hierarchy.leaves_list(self.linkage()))

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        rows = zip(self.names, self.values.tolist(), strict=True)
        values = {name: dict(zip(self.names, row, strict=True)) for name, row in rows}
        return {"distance": self.distance, "unit": self.unit, "values": values}


def distance_matrix(dnas: Mapping[str, DNALike], *, distance: ColumnLike = "emd") -> DistanceMatrix:
    """The distances between every two of some DNAs, each computed once.

    For the EMD, each DNA's histograms are cumulated once, some neurons of all DNAs at a time; for the layer Fréchet
    distance each covariance is factored once. The values are those of `compare` to rounding.

    Args:
        dnas: ``{name: DNA}``, at least two of one kind, network, bins and ranges; or their files or names, see
            `resolve_dna`.
        distance: between two sets, 0 between a set and itself: its name, or a `Column` with layers, neurons, weights
            and options, as ``Column("emd", unit="range")``.

    Raises:
        ValueError: for another distance, fewer than two DNAs, or two that cannot be compared; both are named.

    Examples:
        >>> distance_matrix({split: f"bsds500/{split}@vdna_tiny" for split in ("trainval", "test")}).values
        tensor([[0.0000, 4.9...],
                [4.9..., 0.0000]], dtype=torch.float64)
    """
    column = find_column(distance)
    if not column.distance.says_how_far or column.distance.neutral != 0:
        raise ValueError(f"expected a distance that is 0 between a set and itself and grows from there, got {column!r}")
    check_type("DNAs", dnas, Mapping, advice=": give each a name, {name: DNA}")
    if len(dnas) < 2:
        raise ValueError(f"a matrix needs at least two DNAs, got {', '.join(dnas) or 'none'}")
    chosen = {name: total_of(compared_dna(dna, column)) for name, dna in dnas.items()}
    (first_name, first), *others = chosen.items()
    for name, dna in others:
        column.distance.prepared({first_name: first, name: dna})
    each = list(chosen.values())
    if column.distance is EMD:
        values = _emd_matrix(each, column)
    else:
        values = torch.zeros(len(each), len(each), dtype=torch.float64)
        for i, a in enumerate(each):
            for j in range(i):
                values[i, j] = values[j, i] = column(a, each[j])
    return DistanceMatrix(tuple(dnas), values, column.name, column.unit)


def _emd_matrix(dnas: Sequence[VDNA], column: Column) -> Tensor:
    first, *others = map(histogram_of, dnas)
    frame, layout = first.spanning(others), dnas[0].layout
    scale = emd_scale(column, dnas[0], frame)
    values = torch.zeros(len(dnas), len(dnas), dtype=torch.float64)
    step = max(1, _BLOCK // (len(dnas) * frame.bins))
    for start in range(0, layout.total, step):
        rows = slice(start, start + step)
        shares = torch.stack([cumulative_shares(each.counts_in(frame, rows).cpu()) for each in (first, *others)])
        for i in range(1, len(shares)):
            values[i, :i] += (shares[:i] - shares[i]).abs_().sum(dim=2) @ scale[rows]
    return values + values.T


@dataclass(frozen=True)
class Neighbour:
    """A reference and its distance."""

    name: str
    distance: float


def nearest(dna: DNALike, references: Mapping[str, DNALike], *, distance: ColumnLike = "emd") -> tuple[Neighbour, ...]:
    """References in the order of their distance from a DNA, the nearest first.

    Args:
        dna: what is looked for, or its file or name, see `resolve_dna`.
        references: ``{name: DNA}``, comparable with ``dna``, likewise.
        distance: between two sets, see `distance_matrix`; of one where higher is better, the highest comes first.

    Raises:
        ValueError: when there is no reference, or one cannot be compared; it is named.

    Examples:
        >>> nearest("bsds500/trainval@vdna_tiny", {"photographs": "bsds500/trainval@vdna_tiny"})
        (Neighbour(name='photographs', distance=0.0),)
    """
    column = find_column(distance)
    if column.distance.arity != 2:
        raise ValueError(f"expected a distance between two sets, got {column!r}, which looks at one")
    check_type("references", references, Mapping, advice=": give each a name, {name: DNA}")
    if not references:
        raise ValueError("no references to look among")
    chosen = total_of(compared_dna(dna, column))
    found = []
    for name, reference in references.items():
        with errors_of(f"reference {name!r}"):
            found.append(Neighbour(name, column(total_of(compared_dna(reference, column)), chosen)))
    return tuple(sorted(found, key=lambda neighbour: column.sort_key(neighbour.distance)))


@dataclass(frozen=True)
class GroupDistance:
    """One group's distance from its reference.

    Args:
        group: its name.
        n_images: number of its images.
        distance: over all layers.
        layers: ``{layer: distance}``.
        n_reference: number of images of its reference.
    """

    group: str
    n_images: int
    distance: float
    layers: Mapping[str, float]
    n_reference: int


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
        return {**vars(self), "mean": self.mean, "groups": groups}


def compare_groups(
    groups: Mapping[Any, DNALike], reference: DNALike | Mapping[Any, DNALike], *, distance: ColumnLike = "emd"
) -> GroupReport:
    """How far each group is from a reference, or from a reference of its own, the farthest first.

    Fewer images are farther from any reference by chance alone (see `sample_size_curve`), so groups of very different
    size should not be put in one order; each says its number of images.

    Args:
        groups: ``{group: DNA}``, as `build_dnas` makes them with a partition; or their files or names, see
            `resolve_dna`.
        reference: one DNA for all, or ``{group: DNA}`` with those groups and maybe others, likewise.
        distance: its name, or a `Column`, as in `distance_matrix`.

    Raises:
        ValueError: when there is no group, one lacks a reference, or one cannot be compared; it is named.

    Examples:
        >>> trainval, test = "bsds500/trainval@vdna_tiny", "bsds500/test@vdna_tiny"
        >>> report = compare_groups({"train and val": trainval, "test": test}, trainval)
        >>> report.worst.group, report.worst.n_images, round(report.worst.distance, 1), round(report.pooled, 1)
        ('test', 200, 5.0, 2.0)
    """
    column = find_column(distance)
    check_type("groups", groups, Mapping, advice=": give each a name, {group: DNA}")
    if not groups:
        raise ValueError("no groups to compare")
    shared = None if isinstance(reference, Mapping) else total_of(compared_dna(reference, column))
    of_group: Mapping[Any, Any] = reference if isinstance(reference, Mapping) else dict.fromkeys(groups, shared)
    for group in groups:
        if group not in of_group:
            near = near_names(str(group), list(map(str, of_group)))
            raise ValueError(f"group {str(group)!r} has no reference; {near}")
    chosen = {group: total_of(compared_dna(dna, column)) for group, dna in groups.items()}
    found, pooled_reference = [], shared
    for group, dna in chosen.items():
        own = total_of(compared_dna(of_group[group], column))
        if shared is None:
            pooled_reference = own if pooled_reference is None else pooled_reference + own
        with errors_of(f"group {str(group)!r}"):
            values = column(own, dna), column.by_layer(own, dna)
        found.append(GroupDistance(str(group), dna.n_images, *values, own.n_images))
    first, *others = chosen.values()
    pooled = sum(others, first)
    found.sort(key=lambda group: -column.sort_key(group.distance))
    return GroupReport(tuple(found), column(pooled_reference, pooled), column.name, column.unit)


def ranking_discrepancy(
    distances: Mapping[str, Mapping[str, float]], scores: Mapping[str, Mapping[str, float]]
) -> float:
    """What is lost, in the scores' unit, by ranking training sets by a distance instead of by their scores.

    For each validation set the training sets are put in the order of their distance, the nearest first, and of their
    score, the best first; ``(1 / VT) Σ_v Σ_i |score of the i-th nearest − i-th best score|``. It is 0 where the
    distance ranks as the scores do, and only the order of the distances counts. Training sets at one distance keep the
    order in which they are given.

    Args:
        distances: ``{validation set: {training set: distance}}``.
        scores: ``{validation set: {training set: score}}``, the higher the better, as the accuracy there of a network
            trained here.

    Raises:
        ValueError: when there is nothing to rank, the sets of the two differ, or a number is NaN.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Eq. 8.

    Examples:
        >>> scores = {"city": {"city": 80.0, "village": 60.0, "sea": 10.0}}
        >>> ranking_discrepancy({"city": {"city": 0.1, "village": 5.0, "sea": 9.0}}, scores)
        0.0
        >>> ranking_discrepancy({"city": {"city": 0.1, "village": 9.0, "sea": 5.0}}, scores)  # (0 + 50 + 50) / 3
        33.33...
    """
    _check_same("validation sets", distances, scores)
    differences = []
    for validation, row in distances.items():
        of_row = scores[validation]
        _check_same(f"training sets of {validation!r}", row, of_row)
        if any(number != number for number in (*row.values(), *of_row.values())):
            raise ValueError(f"a distance or score of {validation!r} is NaN")
        by_distance = [float(of_row[training]) for training in sorted(row, key=lambda training: row[training])]
        by_score = sorted(map(float, of_row.values()), reverse=True)
        differences += [abs(a - b) for a, b in zip(by_distance, by_score, strict=True)]
    return sum(differences) / len(differences)


def _check_same(what: str, distances: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    for name, values in (("distances", distances), ("scores", scores)):
        check_type(f"{name} of {what}", values, Mapping)
    if not distances or set(distances) != set(scores):
        sides = (", ".join(names) or "none" for names in (distances, scores))
        raise ValueError("{} must be the same and not none: distances {}; scores {}".format(what, *sides))
