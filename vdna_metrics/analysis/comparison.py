"""Comparisons of many sets of images: matrices, nearest references, rankings, sample sizes, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna import compare
from vdna_metrics.dna.distances import DistanceResult, Reduction
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA, check_comparable
from vdna_metrics.fingerprint import describe_differences
from vdna_metrics.functional.emd import EMDUnit, cumulative_shares
from vdna_metrics.layout import NeuronLayout, near_names
from vdna_metrics.neurons import (
    NeuronsLike,
    NeuronWeightsLike,
    chosen_weights,
    load_selection,
    load_weights,
)

DistanceName = Literal["emd", "neuron_frechet", "layer_frechet"]
AnyDNA = TypeVar("AnyDNA", bound=VDNA | GroupedDNA)

_BLOCK = 1 << 22  # cumulative shares held at once, 32 MiB, beside as much for their differences


@dataclass(frozen=True)
class Measure:
    """One of the distances of `compare` with all that it is asked for."""

    distance: DistanceName
    layers: Sequence[str] | None
    neurons: NeuronsLike | None
    weights: NeuronWeightsLike | None
    unit: EMDUnit

    def __post_init__(self) -> None:
        if self.distance not in get_args(DistanceName):
            raise ValueError(f"distance must be one of {', '.join(get_args(DistanceName))}, got {self.distance!r}")
        if self.unit not in get_args(EMDUnit):
            raise ValueError(f"unit must be one of {', '.join(get_args(EMDUnit))}, got {self.unit!r}")
        if self.distance != "emd" and self.unit != "bins":
            raise ValueError(f"unit={self.unit!r} is for the emd; Fréchet distances are in squared activations")
        # Files are read once, not once a distance.
        if isinstance(self.neurons, str | Path):
            object.__setattr__(self, "neurons", load_selection(self.neurons))
        if isinstance(self.weights, str | Path):
            object.__setattr__(self, "weights", load_weights(self.weights))

    def select(self, dna: AnyDNA) -> AnyDNA:
        """What is compared of a DNA."""
        if self.layers is None and self.neurons is None:
            return dna
        return cast(AnyDNA, dna.select(self.layers, self.neurons))

    def __call__(self, a: VDNA, b: VDNA) -> float:
        """The distance of two DNAs of which what is compared was selected."""
        return float(cast(Tensor, self._compare(a, b, "mean")))

    def by_layer(self, a: VDNA, b: VDNA) -> dict[str, float]:
        """The same, for each layer."""
        distances = cast("dict[str, Tensor]", self._compare(a, b, "layer"))
        return {layer: float(distance) for layer, distance in distances.items()}

    def layer_shares(self, layout: NeuronLayout) -> Tensor:
        """What each layer's distance, as of `by_layer`, counts in the distance: ``[layers]`` float64."""
        if self.weights is not None:
            return torch.ones(len(layout), dtype=torch.float64)
        if self.distance == "layer_frechet":
            return torch.full((len(layout),), 1 / len(layout), dtype=torch.float64)
        return torch.tensor(list(layout.values()), dtype=torch.float64) / layout.total

    def emd_scale(self, dna: VDNA) -> Tensor:
        """What each neuron's EMD in bins counts in the distance: ``[neurons]`` float64."""
        scale = chosen_weights(self.weights, dna.layout, dna.fingerprint)
        if scale is None:
            scale = torch.full((dna.layout.total,), 1 / dna.layout.total, dtype=torch.float64)
        histogram = histogram_of(dna)
        if self.unit != "bins":
            scale = scale / histogram.bins
        if self.unit == "activation":
            scale = scale * (histogram.ranges.high.double() - histogram.ranges.low.double())
        return scale

    def _compare(self, a: VDNA, b: VDNA, reduction: Reduction) -> DistanceResult:
        if self.distance == "emd":
            return compare.emd(a, b, weights=self.weights, unit=self.unit, reduction=reduction)
        function = compare.neuron_frechet if self.distance == "neuron_frechet" else compare.layer_frechet
        return function(a, b, weights=self.weights, reduction=reduction)


# ------------------------------------------------------------------------------------------------------------- matrices
@dataclass(frozen=True, eq=False)
class DistanceMatrix:
    """Distances between every two of some DNAs.

    Args:
        names: of the DNAs.
        values: ``[n, n]`` float64, symmetric, 0 on the diagonal.
        distance: which distance.
        unit: of the EMD; Fréchet distances are in squared activations.
    """

    names: tuple[str, ...]
    values: Tensor
    distance: DistanceName
    unit: EMDUnit

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
    distance: DistanceName = "emd",
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
) -> DistanceMatrix:
    """The distances between every two of some DNAs, each computed once.

    For the EMD, each DNA's histograms are cumulated once, some neurons of all DNAs at a time; for the layer Fréchet
    distance each covariance is factored once. The values are those of `compare` to rounding.

    Args:
        dnas: ``{name: DNA}``, at least two of one kind, network, bins and ranges.
        distance: ``"emd"``, ``"neuron_frechet"`` or ``"layer_frechet"``.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, as in `compare`.
        weights: as in `compare`, of neurons, for the layer Fréchet distance of layers.
        unit: of the EMD.

    Raises:
        ValueError: when there are fewer than two DNAs, or two cannot be compared; both are named.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> names = ("bsds500/trainval@vdna_tiny#histogram-1000", "bsds500/test@vdna_tiny#histogram-1000")
        >>> distance_matrix({name: load_reference(name) for name in names}).values
        tensor([[0.0000, 4.9...],
                [4.9..., 0.0000]], dtype=torch.float64)
    """
    measure = Measure(distance, layers, neurons, weights, unit)
    if len(dnas) < 2:
        raise ValueError(f"a matrix needs at least two DNAs, got {', '.join(dnas) or 'none'}")
    chosen = {name: measure.select(dna) for name, dna in dnas.items()}
    _check_all_comparable(chosen)
    if distance == "emd":
        values = _emd_matrix(chosen, measure)
    else:
        each = list(chosen.values())
        values = torch.zeros(len(each), len(each), dtype=torch.float64)
        for i, a in enumerate(each):
            for j in range(i):
                values[i, j] = values[j, i] = measure(a, each[j])
    return DistanceMatrix(tuple(dnas), values, distance, unit)


def _check_all_comparable(dnas: Mapping[str, VDNA]) -> None:
    (first_name, first), *others = dnas.items()
    for name, dna in others:
        check_comparable(first, dna, names=(first_name, name))
        found = first.provenance.differences(dna.provenance)
        if found:
            raise ValueError(f"these DNAs cannot be compared: {describe_differences(found, (first_name, name))}")


def _emd_matrix(dnas: Mapping[str, VDNA], measure: Measure) -> Tensor:
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
    layout, bins, scale = first.layout, histograms[0].bins, measure.emd_scale(first)
    values = torch.zeros(len(histograms), len(histograms), dtype=torch.float64)
    step = max(1, _BLOCK // (len(histograms) * bins))
    for start in range(0, layout.total, step):
        rows = slice(start, start + step)
        shares = torch.stack([cumulative_shares(histogram.counts[rows]) for histogram in histograms])
        for i in range(1, len(shares)):
            values[i, :i] += (shares[:i] - shares[i]).abs_().sum(dim=2) @ scale[rows]
    return values + values.T


def histogram_of(dna: VDNA) -> HistogramDistribution:
    """The distribution of a DNA that is compared by the EMD."""
    if not isinstance(dna.distribution, HistogramDistribution):
        raise TypeError(f"the emd compares histograms, this DNA is of kind {dna.kind!r}")
    return dna.distribution


# -------------------------------------------------------------------------------------------------- nearest and ranking
@dataclass(frozen=True)
class Neighbour:
    """A reference and its distance."""

    name: str
    distance: float


def nearest(
    dna: VDNA,
    references: Mapping[str, VDNA],
    *,
    distance: DistanceName = "emd",
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
) -> tuple[Neighbour, ...]:
    """References in the order of their distance from a DNA, the nearest first.

    Args:
        dna: what is looked for.
        references: ``{name: DNA}``, comparable with ``dna``.
        distance: as in `distance_matrix`, and so are the others.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD.

    Raises:
        ValueError: when there is no reference, or one cannot be compared; it is named.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> photographs = load_reference("bsds500/trainval@vdna_tiny#histogram-1000")
        >>> nearest(photographs, {"photographs": photographs})
        (Neighbour(name='photographs', distance=0.0),)
    """
    measure = Measure(distance, layers, neurons, weights, unit)
    if not references:
        raise ValueError("no references to look among")
    chosen = measure.select(dna)
    found = []
    for name, reference in references.items():
        try:
            found.append(Neighbour(name, measure(measure.select(reference), chosen)))
        except ValueError as error:
            raise ValueError(f"reference {name!r}: {error}") from error
    return tuple(sorted(found, key=lambda neighbour: neighbour.distance))


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
    if not distances or set(distances) != set(scores):
        sides = (", ".join(names) or "none" for names in (distances, scores))
        raise ValueError("{} must be the same and not none: distances {}; scores {}".format(what, *sides))


# --------------------------------------------------------------------------------------------------------- sample sizes
@dataclass(frozen=True, eq=False)
class SampleSizeCurve:
    """Distance of growing random subsets of a set from a fixed DNA.

    Args:
        sizes: numbers of images, growing; the last is the whole set.
        values: distances, ``[draws, sizes]`` float64.
        distance: which distance.
        unit: of the EMD.
    """

    sizes: tuple[int, ...]
    values: Tensor
    distance: DistanceName
    unit: EMDUnit

    @property
    def mean(self) -> Tensor:
        """Mean over the draws, ``[sizes]``."""
        return self.values.mean(dim=0)

    @property
    def spread(self) -> Tensor:
        """Standard deviation (ddof=1) over the draws, ``[sizes]``; 0 where there is one draw."""
        return self.values.std(dim=0) if len(self.values) > 1 else torch.zeros_like(self.values[0])

    @property
    def final(self) -> float:
        """The distance of the whole set."""
        return float(self.values[0, -1])

    def stays_within(self, share: float = 0.05) -> int:
        """The smallest size from which on the mean is never farther than this share from the final value."""
        outside = ((self.mean - self.final).abs() > share * self.final).tolist()
        outside[-1] = False  # the draws of the whole set differ by rounding
        return self.sizes[len(outside) - outside[::-1].index(True)] if any(outside) else self.sizes[0]


def sample_size_curve(
    reference: VDNA,
    parts: Sequence[VDNA],
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 10,
    seed: int = 0,
    distance: DistanceName = "emd",
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
) -> SampleSizeCurve:
    """How the distance from a fixed DNA settles as more images are taken.

    Each draw puts the parts in a random order and adds them up; at each size the sum is compared. So images are read
    once, when the parts are made, and memory is that of the parts and of one more DNA. Parts of one image each give
    subsets of any size; parts of several, drawn at random (see the example), need less memory and time, and one that
    holds neighbours, a class or a video, would make subsets more alike than random ones are.

    Args:
        reference: the fixed DNA.
        parts: DNAs of disjoint sets of equally many images, as of `build_dnas` with a partition.
        sizes: numbers of images, multiples of a part's; by default some that grow by about 1.4. The whole set is
            always taken too.
        draws: how many orders of the parts.
        seed: of the orders.
        distance: as in `distance_matrix`, and so are the others.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD.

    Raises:
        ValueError: when there are no parts or draws, parts differ in their number of images, a size is not made of
            whole parts, or DNAs cannot be compared.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Fig. 5.

    Examples:
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> from vdna_metrics.build import labelled
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> labels = np.random.default_rng(0).permutation(12) // 3  # random parts of three images
        >>> groups = build_dnas(images, extractor, ["gaussian"], partition=labelled(labels.tolist()))["gaussian"]
        >>> first, *others = parts = list(groups.values())
        >>> curve = sample_size_curve(sum(others, first), parts, distance="neuron_frechet")
        >>> curve.sizes, tuple(curve.values.shape), round(curve.final, 6)
        ((3, 6, 9, 12), (10, 4), 0.0)
    """
    measure = Measure(distance, layers, neurons, weights, unit)
    if not parts or draws < 1:
        raise ValueError(f"a curve needs parts and draws, got {len(parts)} and {draws}")
    numbers = {part.n_images for part in parts}
    if len(numbers) > 1:
        raise ValueError(f"parts must be of equally many images, these have {min(numbers)} to {max(numbers)}")
    per_part, total = parts[0].n_images, parts[0].n_images * len(parts)
    counts = _growing(len(parts)) if sizes is None else [*sorted({*sizes} - {total}), total]
    if sizes is not None:
        wrong = [size for size in counts if size % per_part or not 0 < size <= total]
        if wrong:
            raise ValueError(f"sizes must be multiples of {per_part}, of {per_part} to {total} images, got {wrong[0]}")
        counts = [size // per_part for size in counts]
    fixed, chosen = measure.select(reference), [measure.select(part) for part in parts]
    stream = np.random.default_rng(seed)
    values = torch.empty(draws, len(counts), dtype=torch.float64)
    for draw in range(draws):
        order = stream.permutation(len(chosen)).tolist()
        grown, seen = chosen[order[0]], 1
        for place, count in enumerate(counts):
            # Distributions, since the provenance of a sum names every part.
            distribution = grown.distribution
            for index in order[seen:count]:
                distribution = distribution + chosen[index].distribution
            grown, seen = VDNA(distribution, grown.fingerprint, grown.provenance), count
            values[draw, place] = measure(fixed, grown)
    return SampleSizeCurve(tuple(count * per_part for count in counts), values, distance, unit)


def _growing(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 11, 16, ... and the most, without those just below it."""
    steps = {round(2 ** (i / 2)) for i in range(2 * most.bit_length())}
    return sorted({count for count in steps if count < most / 1.2} | {most})


# --------------------------------------------------------------------------------------------------------------- groups
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
        distance: which distance.
        unit: of the EMD.
    """

    groups: tuple[GroupDistance, ...]
    pooled: float
    distance: DistanceName
    unit: EMDUnit

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
    distance: DistanceName = "emd",
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
) -> GroupReport:
    """How far each group is from a reference, or from a reference of its own, the farthest first.

    Fewer images are farther from any reference by chance alone (see `sample_size_curve`), so groups of very different
    size should not be put in one order; each says its number of images.

    Args:
        groups: ``{group: DNA}``, as of `build_dnas` with a partition.
        reference: one DNA for all, or ``{group: DNA}`` with those groups and maybe others.
        distance: as in `distance_matrix`, and so are the others.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD.

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
    measure = Measure(distance, layers, neurons, weights, unit)
    if not groups:
        raise ValueError("no groups to compare")
    chosen = {group: measure.select(dna) for group, dna in groups.items()}
    found, pooled_reference = [], None
    for group, dna in chosen.items():
        if not isinstance(reference, VDNA) and group not in reference:
            raise ValueError(
                f"group {str(group)!r} has no reference; {near_names(str(group), [str(name) for name in reference])}"
            )
        own = measure.select(reference if isinstance(reference, VDNA) else reference[group])
        if not isinstance(reference, VDNA):
            pooled_reference = own if pooled_reference is None else pooled_reference + own
        try:
            found.append(GroupDistance(str(group), dna.n_images, measure(own, dna), measure.by_layer(own, dna)))
        except ValueError as error:
            raise ValueError(f"group {str(group)!r}: {error}") from error
    first, *others = chosen.values()
    pooled = sum(others, first)
    found.sort(key=lambda group: -group.distance)
    return GroupReport(tuple(found), measure(pooled_reference or own, pooled), distance, unit)
