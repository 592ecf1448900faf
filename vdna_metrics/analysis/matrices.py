"""Distances between every two of some DNAs, and the references that are nearest to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.analysis.emd import emd_scale
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.distances import EMD
from vdna_metrics.dna.vdna import VDNA, check_comparable
from vdna_metrics.fingerprint import describe_differences
from vdna_metrics.functional.emd import cumulative_shares
from vdna_metrics.layout import near_names

_BLOCK = 1 << 22  # cumulative shares held at once, 32 MiB, beside as much for their differences


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


def distance_matrix(
    dnas: Mapping[str, VDNA],
    *,
    distance: ColumnLike = "emd",
) -> DistanceMatrix:
    """The distances between every two of some DNAs, each computed once.

    For the EMD, each DNA's histograms are cumulated once, some neurons of all DNAs at a time; for the layer Fréchet
    distance each covariance is factored once. The values are those of `compare` to rounding.

    Args:
        dnas: ``{name: DNA}``, at least two of one kind, network, bins and ranges.
        distance: between two sets, 0 between a set and itself: its name, or a `Column` with layers, neurons, weights
            and options, as ``Column("emd", unit="range")``.

    Raises:
        ValueError: for another distance, fewer than two DNAs, or two that cannot be compared; both are named.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> names = ("bsds500/trainval@vdna_tiny#histogram-1000", "bsds500/test@vdna_tiny#histogram-1000")
        >>> distance_matrix({name: load_reference(name) for name in names}).values
        tensor([[0.0000, 4.9...],
                [4.9..., 0.0000]], dtype=torch.float64)
    """
    column = find_column(distance)
    if column.distance.arity != 2 or column.distance.higher_is_better or column.distance.neutral != 0:
        raise ValueError(f"expected a distance that is 0 between a set and itself and grows from there, got {column!r}")
    if len(dnas) < 2:
        raise ValueError(f"a matrix needs at least two DNAs, got {', '.join(dnas) or 'none'}")
    chosen = {name: column.select(dna) for name, dna in dnas.items()}
    _check_all_comparable(chosen)
    if column.distance is EMD:
        values = _emd_matrix(chosen, column)
    else:
        each = list(chosen.values())
        values = torch.zeros(len(each), len(each), dtype=torch.float64)
        for i, a in enumerate(each):
            for j in range(i):
                values[i, j] = values[j, i] = column(a, each[j])
    return DistanceMatrix(tuple(dnas), values, column.name, column.unit)


def _check_all_comparable(dnas: Mapping[str, VDNA]) -> None:
    (first_name, first), *others = dnas.items()
    for name, dna in others:
        check_comparable(first, dna, names=(first_name, name))
        found = first.provenance.differences(dna.provenance)
        if found:
            raise ValueError(f"these DNAs cannot be compared: {describe_differences(found, (first_name, name))}")


def _emd_matrix(dnas: Mapping[str, VDNA], column: Column) -> Tensor:
    histograms = []
    for name, dna in dnas.items():
        distribution = dna.distribution.to("cpu")
        if not isinstance(distribution, HistogramDistribution):
            raise ValueError(f"the emd needs DNAs of kind 'histogram', {name!r} is of kind {dna.kind!r}")
        if not dna.n_images:
            raise ValueError(f"the DNA {name!r} has seen no image")
        distribution.check_finite()
        histograms.append(distribution)
    first = next(iter(dnas.values()))
    layout, bins, scale = first.layout, histograms[0].bins, emd_scale(column, first)
    values = torch.zeros(len(histograms), len(histograms), dtype=torch.float64)
    step = max(1, _BLOCK // (len(histograms) * bins))
    for start in range(0, layout.total, step):
        rows = slice(start, start + step)
        shares = torch.stack([cumulative_shares(histogram.counts[rows]) for histogram in histograms])
        for i in range(1, len(shares)):
            values[i, :i] += (shares[:i] - shares[i]).abs_().sum(dim=2) @ scale[rows]
    return values + values.T


@dataclass(frozen=True)
class Neighbour:
    """A reference and its distance."""

    name: str
    distance: float


def nearest(
    dna: VDNA,
    references: Mapping[str, VDNA],
    *,
    distance: ColumnLike = "emd",
) -> tuple[Neighbour, ...]:
    """References in the order of their distance from a DNA, the nearest first.

    Args:
        dna: what is looked for.
        references: ``{name: DNA}``, comparable with ``dna``.
        distance: between two sets, see `distance_matrix`; of one where higher is better, the highest comes first.

    Raises:
        ValueError: when there is no reference, or one cannot be compared; it is named.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> photographs = load_reference("bsds500/trainval@vdna_tiny#histogram-1000")
        >>> nearest(photographs, {"photographs": photographs})
        (Neighbour(name='photographs', distance=0.0),)
    """
    column = find_column(distance)
    if column.distance.arity != 2:
        raise ValueError(f"expected a distance between two sets, got {column!r}, which looks at one")
    if not references:
        raise ValueError("no references to look among")
    chosen = column.select(dna)
    found = []
    for name, reference in references.items():
        try:
            found.append(Neighbour(name, column(column.select(reference), chosen)))
        except ValueError as error:
            raise ValueError(f"reference {name!r}: {error}") from error
    return tuple(sorted(found, key=lambda neighbour: column.sort_key(neighbour.distance)))
