"""What makes a distance: which layers, which neurons, and what they do differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from vdna_metrics.distributions import GaussianDistribution, Histogram
from vdna_metrics.dna.columns import Column, ColumnLike
from vdna_metrics.dna.distances import EMD, NFD
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import NeuronLayout, check_type
from vdna_metrics.neurons import chosen_weights
from vdna_metrics.references.resolve import DNALike, compared_dna, compared_reference

_BLOCK = 1 << 21  # quantiles sorted at once, 16 MiB a tensor


# ----------------------------------------------------------------------------------------------------------- one neuron
@dataclass(frozen=True, eq=False)
class DistanceParts:
    """What each neuron's distance is made of, ``[neurons]`` float64 each.

    Args:
        shift: part of the means.
        spread: part of the deviations.
        shape: part of all else.
    """

    shift: Tensor
    spread: Tensor
    shape: Tensor

    def times(self, factors: Tensor) -> DistanceParts:
        """Each neuron's parts times a number."""
        return DistanceParts(self.shift * factors, self.spread * factors, self.shape * factors)


def emd_parts(counts_a: Tensor, counts_b: Tensor) -> DistanceParts:
    """Split each neuron's earth mover's distance into shift, spread and shape.

    Histogram a is turned into b in three legs: its mean is moved to b's, then its deviation is scaled to b's about the
    mean, then what is left is moved. With means ``μ``, deviations ``σ``, mean absolute deviations in units of the
    deviation ``m`` and the standardised histograms ``ã = (a − μ_a)/σ_a`` and ``b̃``, the legs' lengths are

    - shift ``|μ_a − μ_b|``,
    - spread ``|σ_a − σ_b| · (m_a + m_b)/2``,
    - shape ``W₁(ã, b̃) · (σ_a + σ_b)/2``,

    the last two being means of the way from a to b and of the way back. Together they are at least the EMD (the
    triangle inequality), and more where legs undo each other; the EMD is shared out in proportion to them. So the parts
    are never negative, add up to the EMD, are the same from b to a, and a histogram that is only shifted, only
    stretched, or of equal mean and deviation has one part. One that lies in a single bin has no shape of its own.

    Args:
        counts_a: ``[neurons, bins]`` whole numbers, at least one count a neuron.
        counts_b: ``[neurons, bins]``, over the same bins.

    Returns:
        Parts in bins.

    Raises:
        ValueError: for counts of another shape.
        TypeError: for what is no tensor.

    Examples:
        >>> parts = emd_parts(torch.tensor([[2, 1, 0, 0, 0]]), torch.tensor([[0, 0, 2, 1, 0]]))
        >>> [round(float(part), 6) for part in (parts.shift, parts.spread, parts.shape)]
        [2.0, 0.0, 0.0]
    """
    for name, counts in (("counts_a", counts_a), ("counts_b", counts_b)):
        check_type(name, counts, Tensor)
    if counts_a.ndim != 2 or counts_a.shape != counts_b.shape:
        raise ValueError(f"expected two [neurons, bins], got {list(counts_a.shape)} and {list(counts_b.shape)}")
    step = max(1, _BLOCK // (2 * counts_a.shape[1]))
    pairs = zip(counts_a.split(step), counts_b.split(step), strict=True)
    parts = [_emd_parts(a, b) for a, b in pairs]
    return DistanceParts(*(torch.cat([part[i] for part in parts]) for i in range(3)))


def _emd_parts(counts_a: Tensor, counts_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = _Standardised.of(counts_a), _Standardised.of(counts_b)
    single = (a.deviation == 0) | (b.deviation == 0)
    levels = torch.cat([a.cumulative, b.cumulative], dim=1).sort(dim=1).values
    widths = levels.diff(dim=1, prepend=torch.zeros_like(levels[:, :1]))
    # Both quantile functions are constant between two levels.
    between = (a.quantiles(levels) - b.quantiles(levels)).abs_().mul_(widths).sum(dim=1)
    m_a, m_b = (torch.where(side.deviation > 0, side.absolute, other.absolute) for side, other in ((a, b), (b, a)))
    legs = torch.stack(
        [
            (a.mean - b.mean).abs(),
            (a.deviation - b.deviation).abs() * (m_a + m_b) / 2,
            torch.where(single, 0.0, between) * (a.deviation + b.deviation) / 2,
        ]
    )
    emd = (a.cumulative - b.cumulative).abs_().sum(dim=1)
    shift, spread, shape = legs * (emd / legs.sum(dim=0).clamp(min=torch.finfo(torch.float64).tiny))
    return shift, spread, shape


@dataclass(frozen=True, eq=False)
class _Standardised:
    cumulative: Tensor  # [neurons, bins] shares
    mean: Tensor  # [neurons], in bins
    deviation: Tensor
    places: Tensor  # [neurons, bins], of each bin in deviations from the mean
    absolute: Tensor  # mean absolute deviation in deviations

    @classmethod
    def of(cls, counts: Tensor) -> _Standardised:
        counts = counts.to(torch.int64)
        cumulative, total = counts.cumsum(dim=1), counts.sum(dim=1, keepdim=True).double()
        shares = counts / total
        bins = torch.arange(counts.shape[1], dtype=torch.float64, device=counts.device)
        mean = shares @ bins
        from_mean = bins - mean[:, None]
        deviation = (shares * from_mean.square()).sum(dim=1).sqrt()
        deviation = torch.where((counts == total).any(dim=1), 0.0, deviation)  # else rounding
        places = from_mean / torch.where(deviation > 0, deviation, 1.0)[:, None]
        return cls(cumulative / total, mean, deviation, places, (shares * places.abs()).sum(dim=1))

    def quantiles(self, levels: Tensor) -> Tensor:
        return self.places.gather(1, torch.searchsorted(self.cumulative, levels))


# ---------------------------------------------------------------------------------------------------------- all neurons
@dataclass(frozen=True)
class LayerContribution:
    """What a layer adds to a score.

    Args:
        layer: its name.
        neurons: number of neurons.
        distance: their mean distance.
        contribution: the layer's part of the score; all layers' add up to it.
        shift: of the contribution, what the means make.
        spread: what the deviations make.
        shape: what is left.
    """

    layer: str
    neurons: int
    distance: float
    contribution: float
    shift: float
    spread: float
    shape: float


@dataclass(frozen=True)
class NeuronContribution:
    """What a neuron adds to a score.

    Args:
        layer: its layer.
        neuron: its index there.
        distance: its distance.
        contribution: its part of the score.
        shift: of the contribution, what the means make.
        spread: what the deviations make.
        shape: what is left.
        means: of the reference and the generated images, in activations.
        deviations: likewise.
    """

    layer: str
    neuron: int
    distance: float
    contribution: float
    shift: float
    spread: float
    shape: float
    means: tuple[float, float]
    deviations: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Explanation:
    """A distance and what it is made of; see `explain`.

    Args:
        reference: the reference, with the neurons that were compared.
        generated: the other DNA, likewise.
        distance: name of the distance.
        unit: of the distance.
        distances: of each neuron, ``[neurons]`` float64.
        contributions: of each neuron to the score, ``[neurons]``.
        parts: of each contribution.
        means: each neuron's mean in activations, ``[2, neurons]``, reference and generated.
        deviations: likewise, standard deviations: over activations in a histogram, over images in a Gaussian.
    """

    reference: VDNA
    generated: VDNA
    distance: str
    unit: str
    distances: Tensor
    contributions: Tensor
    parts: DistanceParts
    means: Tensor
    deviations: Tensor

    @property
    def score(self) -> float:
        """The distance: the sum of all contributions."""
        return float(self.contributions.sum())

    @property
    def layout(self) -> NeuronLayout:
        """The neurons that were compared."""
        return self.reference.layout

    @property
    def layers(self) -> tuple[LayerContribution, ...]:
        """Each layer's contribution, in the network's order."""
        return tuple(
            LayerContribution(layer, self.layout[layer], float(self.distances[rows].mean()), *self._summed(rows))
            for layer, rows in self.layout.slices().items()
        )

    def top(self, number: int = 10) -> tuple[NeuronContribution, ...]:
        """The neurons that contribute most, the first most of all."""
        found = []
        for row in self.contributions.argsort(descending=True, stable=True)[:number].tolist():
            (mean_a, mean_b), (deviation_a, deviation_b) = self.means[:, row].tolist(), self.deviations[:, row].tolist()
            sums, distance = self._summed(slice(row, row + 1)), float(self.distances[row])
            moments = (mean_a, mean_b), (deviation_a, deviation_b)
            found.append(NeuronContribution(*self.layout.neuron_at(row), distance, *sums, *moments))
        return tuple(found)

    def _summed(self, rows: slice) -> tuple[float, float, float, float]:
        """Contribution, shift, spread and shape of some neurons."""
        parts = (self.contributions, self.parts.shift, self.parts.spread, self.parts.shape)
        contribution, shift, spread, shape = (float(part[rows].sum()) for part in parts)
        return contribution, shift, spread, shape

    def to_json(self, number: int = 10) -> dict[str, Any]:
        """Score, layers and top neurons as plain containers."""
        return {
            "score": self.score,
            "unit": self.unit,
            "layers": [vars(layer) for layer in self.layers],
            "neurons": [vars(neuron) for neuron in self.top(number)],
        }


def explain(reference: DNALike, generated: DNALike, *, distance: ColumnLike | None = None) -> Explanation:
    """Which neurons make the distance between two DNAs, and by what.

    A neuron contributes its distance over the number of neurons, or times its weight; so contributions add up to the
    score. Each is split into shift, spread and shape: the EMD by `emd_parts`, the neuron Fréchet distance into
    ``(μ_a − μ_b)²`` and ``(σ_a − σ_b)²``, which has no shape. Of another distance no split is known: these parts are 0.

    Args:
        reference: DNA of the real images, or its file or name, see `resolve_dna`.
        generated: DNA that can be compared with it, likewise.
        distance: between two sets, with a value for each neuron: its name, or a `Column` with layers, neurons, weights
            and options. By default the EMD of histograms, the neuron Fréchet distance of Gaussians.

    Raises:
        ValueError: for a distance that is not a sum over neurons, as the layer Fréchet distance, or DNAs that cannot be
            compared.

    Examples:
        >>> found = explain("bsds500/trainval@vdna_tiny", "bsds500/test@vdna_tiny")
        >>> round(found.score, 1), round(sum(layer.contribution for layer in found.layers), 1)
        (5.0, 5.0)
    """
    column, real = compared_reference(reference, distance)
    if column.distance.per != "neuron" or not column.distance.says_how_far:
        raise ValueError(
            f"expected a distance that is a sum over neurons and grows as they differ, got {column!r}: take the EMD of "
            "histogram DNAs or the neuron Fréchet distance of Gaussian ones, or look at by_layer of a Column"
        )
    fake, layout = total_of(compared_dna(generated, column, real.provenance.extractor)), real.layout
    plain = column.replace(layers=None, neurons=None, weights=None)
    distances = layout.flatten(cast("dict[str, Tensor]", plain.measure(real, fake, "none")))
    factors = chosen_weights(column.weights, layout, real.fingerprint)
    known = ~distances.isnan()  # others have no value, so they contribute nothing
    distances = distances.nan_to_num(nan=0.0)
    if factors is None:
        factors = known.double() / known.sum()
    parts, means, deviations = _parts_and_moments(real, fake, column)
    return Explanation(
        reference=real,
        generated=fake,
        distance=column.name,
        unit=column.unit,
        distances=distances,
        contributions=factors * distances,
        parts=parts.times(factors),
        means=means,
        deviations=deviations,
    )


def _parts_and_moments(reference: VDNA, generated: VDNA, column: Column) -> tuple[DistanceParts, Tensor, Tensor]:
    a, b = reference.distribution.to("cpu"), generated.distribution.to("cpu")
    parts = DistanceParts(*torch.zeros(3, reference.layout.total, dtype=torch.float64))
    if isinstance(a, Histogram) and isinstance(b, Histogram):
        a, b = a.comparable([b])
        low, width = a.ends[0], a.bin_widths("activation")
        moments = []
        for side in (a, b):
            each = [_Standardised.of(counts) for counts in side.counts.split(max(1, _BLOCK // a.bins))]
            moments.append([torch.cat([part.mean for part in each]), torch.cat([part.deviation for part in each])])
        means = torch.stack([low + (mean + 0.5) * width for mean, _ in moments])  # a bin stands for its middle
        deviations = torch.stack([deviation * width for _, deviation in moments])
        if column.distance is EMD:
            parts = emd_parts(a.counts, b.counts).times(a.bin_widths(column.options["unit"]).nan_to_num(nan=0.0))
        return parts, means, deviations
    if isinstance(a, GaussianDistribution) and isinstance(b, GaussianDistribution):
        (mean_a, variance_a), (mean_b, variance_b) = a.mean_and_variance(), b.mean_and_variance()
        means, deviations = torch.stack([mean_a, mean_b]), torch.stack([variance_a, variance_b]).sqrt()
        if column.distance is NFD:
            shift, spread = ((pair[0] - pair[1]).square() for pair in (means, deviations))
            parts = DistanceParts(shift, spread, torch.zeros_like(shift))
        return parts, means, deviations
    raise TypeError(f"cannot explain {reference!r} and {generated!r}")
