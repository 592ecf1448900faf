"""Images in the order of their distance from a reference, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from vdna_metrics.analysis.activations import (
    ActivationBatch,
    NumberedImages,
    iterate_activations,
    open_numbered,
)
from vdna_metrics.build.dnas import empty_distribution
from vdna_metrics.build.reading import DEFAULT_READING, Reading
from vdna_metrics.distributions import (
    Distribution,
    GaussianDistribution,
    HistogramDistribution,
    Kind,
    LayerGaussianDistribution,
)
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.emd import EMDUnit, cumulative_shares, image_emd, image_pair_emd
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.positions import subsample_positions
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike, chosen_neurons, chosen_weights
from vdna_metrics.ranges import ActivationRanges

Measure = Callable[[ActivationBatch], Mapping[str, Tensor]]  # {layer: [images, neurons] float64}


# -------------------------------------------------------------------------------------------------------------- values
@dataclass(frozen=True)
class LayerScore:
    """What a layer says of an image.

    Args:
        layer: its name.
        distance: mean of its neurons' distances, or their weighted sum; of a layer Gaussian their sum.
        unusual: how far that is above the mean of all ranked images, in their standard deviations.
    """

    layer: str
    distance: float
    unusual: float


@dataclass(frozen=True, eq=False)
class RankedImage:
    """An image with its distance.

    Args:
        index: its place in the source.
        name: its name there.
        score: distance from the reference.
        layers: what each layer says, the one that tells most first: of the farthest images the layer in which the image
            is most unusual, of the nearest the one in which it is nearest, for what is usual in that layer.
        image: uint8 ``[3, H, W]`` at the network's size, where it was kept.
    """

    index: int
    name: str
    score: float
    layers: tuple[LayerScore, ...]
    image: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class ImageRanking:
    """Each image's distance from a reference; see `rank_images`.

    Args:
        source: name of the images.
        reference: what they were compared with.
        kind: of the reference, which decides the distance.
        unit: of the EMD; Fréchet distances are in squared activations.
        layers: names of the layers.
        indices: place of each image in the source, in its order; skipped images leave gaps.
        names: of each image.
        scores: of each image, ``[images]`` float64.
        layer_distances: ``[images, layers]`` float64, as `LayerScore` has them.
        skipped: images that could not be read and were left out, ``(name, reason)`` each.
        pictures: ``{index: uint8 [3, H, W]}`` of the nearest and the farthest that were kept.
    """

    source: str
    reference: str
    kind: Kind
    unit: EMDUnit
    layers: tuple[str, ...]
    indices: tuple[int, ...]
    names: tuple[str, ...]
    scores: Tensor
    layer_distances: Tensor
    skipped: tuple[tuple[str, str], ...] = ()
    pictures: Mapping[int, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def nearest(self, number: int = 20) -> tuple[RankedImage, ...]:
        """The images at the smallest distances, the nearest first."""
        return self._ranked(number, farthest=False)

    def farthest(self, number: int = 20) -> tuple[RankedImage, ...]:
        """The images at the largest distances, the farthest first."""
        return self._ranked(number, farthest=True)

    def _ranked(self, number: int, *, farthest: bool) -> tuple[RankedImage, ...]:
        rows = self.scores.argsort(descending=farthest, stable=True)[:number].tolist()
        deviation, mean = torch.std_mean(self.layer_distances, dim=0, correction=0)
        unusual = (self.layer_distances[rows] - mean) / torch.where(deviation > 0, deviation, torch.inf)
        found = []
        for row, distances, places in zip(rows, self.layer_distances[rows].tolist(), unusual.tolist(), strict=True):
            layers = map(LayerScore, self.layers, distances, places)
            told = tuple(sorted(layers, key=lambda layer: layer.unusual, reverse=farthest))
            index = self.indices[row]
            found.append(RankedImage(index, self.names[row], float(self.scores[row]), told, self.pictures.get(index)))
        return tuple(found)

    def to_json(self, nearest: int = 20, farthest: int = 20) -> dict[str, Any]:
        """Some images at either end as plain containers, without their pictures."""
        ends = {"nearest": self.nearest(nearest), "farthest": self.farthest(farthest)}
        return {
            "images": self.source,
            "reference": self.reference,
            "kind": self.kind,
            "unit": self.unit if self.kind == "histogram" else "squared activations",
            "n_images": len(self),
            "skipped": [list(item) for item in self.skipped],
            "mean": float(self.scores.mean()),
            **{end: [_plain(image) for image in images] for end, images in ends.items()},
        }


def _plain(image: RankedImage) -> dict[str, Any]:
    layers = [vars(layer) for layer in image.layers]
    return {"index": image.index, "name": image.name, "score": image.score, "layers": layers}


# ------------------------------------------------------------------------------------------------------------- ranking
def rank_images(
    images: NumberedImages,
    reference: VDNA,
    extractor: FeatureExtractor,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
    pictures: int = 0,
    reading: Reading = DEFAULT_READING,
) -> ImageRanking:
    """Each image's distance from a reference, by the DNA of that image alone.

    With a histogram reference, a neuron's distance is the EMD between the image's own counts and the reference's: what
    `compare.emd` says of ``build_dnas`` of that one image, over the same positions (``max_positions``).

    With a Gaussian reference, an image is a Gaussian without spread at its mean activation ``x``, and the neuron
    Fréchet distance from it is ``(x − μ)² + σ²``; with a layer Gaussian reference the layer Fréchet distance is their
    sum over the layer, ``|x − μ|² + tr S``. The second term is the same for all images, so these rank by the squared
    distance from the mean, in which neurons with large activations count most.

    One image is far from any set by being one: an image of the reference itself is not at distance 0. Compare scores
    with those of other images.

    One pass; memory is that of a batch, of the scores by layer, and of ``2 x pictures`` images.

    Args:
        images: the images.
        reference: DNA of any kind.
        extractor: that of the reference.
        layers: layers to look at, ``None`` for all.
        neurons: of the neurons to look at, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD.
        pictures: how many of the nearest and of the farthest images to keep.
        reading: how images are read; no checkpoints, and no sum over ranks.

    Raises:
        ValueError: when the reference is of another network or has seen too few images, images cannot be read (unless
            skipped), or activations are not finite.

    Examples:
        >>> from vdna_metrics import create_extractor, load_reference
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> photographs = load_reference("bsds500/test@vdna_tiny", kind="histogram")
        >>> worlds = ("white_noise", "dead_leaves_textured")
        >>> images = torch.stack([torch.from_numpy(i) for w in worlds for i in procedural_images(w, 1, size=96)])
        >>> ranking = rank_images(images.permute(0, 3, 1, 2), photographs, create_extractor("vdna_tiny"))
        >>> [image.index for image in ranking.nearest()]
        [1, 0]
    """
    _check_unit(unit)
    if layers is not None or neurons is not None:
        reference = reference.select(layers, neurons)
    layout = reference.layout
    reference.check_fingerprint(extractor.fingerprint.select(list(layout)))
    needed = 1 if reference.kind == "histogram" else 2
    if reference.n_images < needed:
        raise ValueError(f"a {reference.kind} reference needs at least {needed} images, it has {reference.n_images}")
    reference.distribution.check_finite()
    measure = _from_reference(reference.distribution, unit, reference.provenance.max_positions, reading)
    return _rank(
        open_numbered(images),
        extractor,
        layout,
        measure,
        reading,
        reference=", ".join(reference.provenance.sources) or "unknown source",
        kind=reference.kind,
        unit=unit,
        weights=weights,
        pictures=pictures,
    )


def compare_images(
    a: NumberedImages,
    b: NumberedImages,
    extractor: FeatureExtractor,
    *,
    kind: Literal["histogram", "gaussian"] = "histogram",
    bins: int = 1000,
    ranges: ActivationRanges | None = None,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
    max_positions: int | None = None,
    pictures: int = 0,
    reading: Reading = DEFAULT_READING,
) -> ImageRanking:
    """Distances between images: one against many, or pair by pair.

    By histograms, a neuron's distance is the EMD between the two images' own counts; by Gaussians it is ``(x − y)²``,
    between their mean activations.

    Args:
        a: one image, or as many as ``b``.
        b: the images; their i-th is compared with the one, or with the i-th of ``a``.
        extractor: frozen network.
        kind: which distance.
        bins: bins of the histograms.
        ranges: activation ranges of the histograms, by default those that ship for the extractor.
        layers: layers to look at, ``None`` for all.
        neurons: of the neurons to look at, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD.
        max_positions: of each image's positions at most so many are counted in histograms.
        pictures: how many of the nearest and of the farthest images of ``b`` to keep.
        reading: how images are read.

    Returns:
        A ranking of ``b``.

    Raises:
        ValueError: when there are neither one nor as many images, or they cannot be read; pairs cannot skip bad ones.

    Examples:
        >>> from vdna_metrics import create_extractor
        >>> pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
        >>> found = compare_images(pixels[:1], pixels, create_extractor("vdna_tiny"))
        >>> [image.index for image in found.nearest(1)]
        [0]
    """
    _check_unit(unit)
    if kind not in ("histogram", "gaussian"):
        raise ValueError(f"kind must be histogram or gaussian, got {kind!r}")
    left, right = open_numbered(a), open_numbered(b)
    if len(left) not in (1, len(right)):
        raise ValueError(f"one image or as many as the other side are needed, got {len(left)} and {len(right)}")
    if len(left) > 1 and reading.skip_bad:
        raise ValueError("pairs of images cannot be kept together when bad ones are skipped; give skip_bad=False")
    layout = extractor.layout.select(layers, chosen_neurons(neurons, extractor.fingerprint))
    empty = empty_distribution(kind, layout, extractor, bins=bins, ranges=ranges)
    if len(left) == 1:
        whole = replace(reading, progress=None, shard=(0, 1))
        others: Iterator[ActivationBatch] = repeat(next(iterate_activations(left, extractor, layout, whole)))
    else:
        others = iterate_activations(left, extractor, layout, replace(reading, progress=None))
    measure = _from_partners(others, empty, unit, max_positions)
    return _rank(
        right,
        extractor,
        layout,
        measure,
        reading,
        reference=left.name,
        kind=kind,
        unit=unit,
        weights=weights,
        pictures=pictures,
    )


def _check_unit(unit: str) -> None:
    if unit not in get_args(EMDUnit):
        raise ValueError(f"unit must be one of {', '.join(get_args(EMDUnit))}, got {unit!r}")


def _from_reference(distribution: Distribution, unit: EMDUnit, max_positions: int | None, reading: Reading) -> Measure:
    layout = distribution.layout
    if isinstance(distribution, HistogramDistribution):
        shares = layout.split(cumulative_shares(distribution.counts.to(reading.device)))
        low, high = (
            layout.split(end.to(reading.device)) for end in (distribution.ranges.low, distribution.ranges.high)
        )
        scale = layout.split(_scale(distribution, unit))

        def emd(layer: str, activations: Tensor) -> Tensor:
            some = subsample_positions(activations, max_positions)
            found = image_emd(some, shares[layer], low[layer], high[layer])
            return found.mul_(scale[layer].to(found.device))

        return lambda batch: {layer: emd(layer, x) for layer, x in batch.activations.items()}
    if isinstance(distribution, LayerGaussianDistribution):
        distribution = distribution.gaussian()
    if not isinstance(distribution, GaussianDistribution):
        raise TypeError(f"cannot rank by a {type(distribution).__name__}")
    mean, variance = map(layout.split, distribution.mean_and_variance())

    def frechet(layer: str, activations: Tensor) -> Tensor:
        means = image_means(activations)
        return means.sub_(mean[layer].to(means.device)).square_().add_(variance[layer].to(means.device))

    return lambda batch: {layer: frechet(layer, x) for layer, x in batch.activations.items()}


def _from_partners(
    partners: Iterator[ActivationBatch], empty: Distribution, unit: EMDUnit, max_positions: int | None
) -> Measure:
    """From the images of another source, batch by batch; batches of one image are for all images of their partner."""
    layout = empty.layout
    if not isinstance(empty, HistogramDistribution):

        def frechet(batch: ActivationBatch) -> dict[str, Tensor]:
            other = next(partners).activations
            return {
                layer: (image_means(x) - image_means(other[layer])).square_() for layer, x in batch.activations.items()
            }

        return frechet
    low, high, scale = map(layout.split, (empty.ranges.low, empty.ranges.high, _scale(empty, unit)))

    def emd(batch: ActivationBatch) -> dict[str, Tensor]:
        other, found = next(partners).activations, {}
        for layer, activations in batch.activations.items():
            x, y = (subsample_positions(side, max_positions) for side in (activations, other[layer]))
            y = y.expand(-1, x.shape[1], -1)
            found[layer] = image_pair_emd(x, y, low[layer], high[layer], empty.bins)
            found[layer].mul_(scale[layer].to(found[layer].device))
        return found

    return emd


def _scale(distribution: HistogramDistribution, unit: EMDUnit) -> Tensor:
    """A bin of each neuron in a unit, ``[neurons]`` float64."""
    low, high = distribution.ranges.low.double(), distribution.ranges.high.double()
    one = torch.ones_like(low)
    return {"bins": one, "range": one / distribution.bins, "activation": (high - low) / distribution.bins}[unit]


def _rank(
    source: ImageSource,
    extractor: FeatureExtractor,
    layout: NeuronLayout,
    measure: Measure,
    reading: Reading,
    *,
    reference: str,
    kind: Kind,
    unit: EMDUnit,
    weights: NeuronWeightsLike | None,
    pictures: int,
) -> ImageRanking:
    if pictures < 0:
        raise ValueError(f"pictures must be at least 0, got {pictures}")
    fingerprint = extractor.fingerprint.select(list(layout))
    factors, shares = _reduction(kind, layout, weights, fingerprint)
    kept = _Pictures(pictures)
    indices: list[int] = []
    skipped: list[tuple[str, str]] = []
    scores: list[Tensor] = []
    layer_distances: list[Tensor] = []
    for batch in iterate_activations(source, extractor, layout, reading):
        skipped += [(bad.name, bad.reason) for bad in batch.skipped]
        if not batch.indices:
            continue
        finite = torch.stack([x.isfinite().all() for x in batch.activations.values()]).tolist()
        if not all(finite):
            bad = ", ".join(layer for layer, good in zip(batch.activations, finite, strict=True) if not good)
            raise ValueError(f"activations are not finite (NaN or infinite) in layers {bad}")
        distances = measure(batch)
        columns = [distances[layer] @ factors[layer].to(distances[layer].device) for layer in layout]
        part = torch.stack(columns, dim=1).cpu()
        scores.append(part @ shares)
        layer_distances.append(part)
        kept.add_(scores[-1].tolist(), batch)
        indices += batch.indices
    if not indices:
        raise ValueError(f"{source.name}: no images in this part")
    return ImageRanking(
        source=source.name,
        reference=reference,
        kind=kind,
        unit=unit,
        layers=tuple(layout),
        indices=tuple(indices),
        names=tuple(source.names[index] for index in indices),
        scores=torch.cat(scores),
        layer_distances=torch.cat(layer_distances),
        skipped=tuple(skipped),
        pictures=kept.by_index(),
    )


def _reduction(
    kind: Kind, layout: NeuronLayout, weights: NeuronWeightsLike | None, fingerprint: ExtractorFingerprint
) -> tuple[dict[str, Tensor], Tensor]:
    """Of each neuron in its layer's distance, ``{layer: [neurons]}``, and of each layer in the score, ``[layers]``."""
    counts = torch.tensor(list(layout.values()), dtype=torch.float64)
    one = torch.ones(layout.total, dtype=torch.float64)
    if kind == "layer_gaussian":
        chosen = chosen_weights(weights, layout, fingerprint, "layer")
        in_layer = one if chosen is None else chosen.repeat_interleave(counts.long())
        shares = torch.full_like(counts, 1 / len(counts))
    else:
        chosen = chosen_weights(weights, layout, fingerprint)
        in_layer = (1 / counts).repeat_interleave(counts.long()) if chosen is None else chosen
        shares = counts / layout.total
    return layout.split(in_layer), shares if chosen is None else torch.ones_like(counts)


class _Pictures:
    """The pictures of the nearest and the farthest images so far."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._ends: tuple[list[tuple[float, int, Tensor]], ...] = ([], [])  # (score, index, picture), the best first

    def add_(self, scores: Sequence[float], batch: ActivationBatch) -> None:
        for sign, kept in zip((1, -1), self._ends, strict=True):
            # Equal scores in the source's order, as in the ranking.
            order = sorted(range(len(scores)), key=lambda place: (sign * scores[place], place))
            for place in order[: self._number]:
                if len(kept) < self._number or sign * scores[place] < sign * kept[-1][0]:
                    picture = batch.images[place].clamp(0, 255).round().byte()
                    kept.append((scores[place], batch.indices[place], picture))
                    kept.sort(key=lambda entry: (sign * entry[0], entry[1]))
                    del kept[self._number :]

    def by_index(self) -> dict[int, Tensor]:
        return {index: picture for kept in self._ends for _, index, picture in kept}
