"""Single images: distances between them, and those that show what sets two sets apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from vdna_metrics.analysis.explain import Explanation
from vdna_metrics.analysis.ranking import ImageRanking, run_ranking, settings_of, work_by
from vdna_metrics.build.dnas import empty_distribution
from vdna_metrics.build.keeping import KeptActivations
from vdna_metrics.build.passes import ActivationBatch, check_pictures, check_seen, identity, read_pictures, run_pass
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading
from vdna_metrics.distributions import Distribution, Histogram
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.distances import EMD, NFD
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.functional.emd import cumulative_shares, image_pair_emd
from vdna_metrics.functional.histogram import bin_index
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.positions import check_max_positions, subsample_positions
from vdna_metrics.images.batches import ImageBatch, iterate_images
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import NeuronLayout, check_count, check_type
from vdna_metrics.neurons import chosen_neurons
from vdna_metrics.ranges import RangesLike
from vdna_metrics.references.resolve import resolve_images


def compare_images(
    a: NumberedImages,
    b: NumberedImages,
    extractor: ExtractorLike,
    *,
    distance: ColumnLike = "emd",
    bins: int = 1000,
    ranges: RangesLike | None = None,
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
        extractor: frozen network, or its name.
        distance: the EMD or the neuron Fréchet distance: its name, or a `Column`, as in `rank_images`.
        bins: bins of the histograms.
        ranges: activation ranges of the histograms, or their file; by default those that ship for the extractor.
        max_positions: of each image's positions at most so many are counted in histograms.
        pictures: how many of the nearest and of the farthest images of ``b`` to keep.
        reading: how images are read.

    Returns:
        A ranking of ``b``.

    Raises:
        ValueError: when there are neither one nor as many images, or they cannot be read; pairs cannot skip bad ones.

    Examples:
        >>> import torch
        >>> from vdna_metrics import create_extractor
        >>> pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
        >>> found = compare_images(pixels[:1], pixels, create_extractor("vdna_tiny"))
        >>> [image.index for image in found.nearest(1)]
        [0]
    """
    column = find_column(distance)
    if column.distance not in (EMD, NFD):
        raise ValueError(f"two images are compared by the EMD or the neuron Fréchet distance, got {column!r}")
    check_max_positions(max_positions)
    check_type("reading", reading, Reading)
    network, left, right = create_extractor(extractor), resolve_images(a), resolve_images(b)
    check_seen(left, network)
    if len(left) not in (1, len(right)):
        raise ValueError(f"expected one image or as many as the other side has, got {len(left)} and {len(right)}")
    if len(left) > 1 and reading.skip_bad:
        raise ValueError("pairs of images cannot be kept together when bad ones are skipped; give skip_bad=False")
    layout = network.layout.select(column.layers, chosen_neurons(column.neurons, network.fingerprint))
    empty = empty_distribution(column.kind, layout, network, bins=bins, ranges=ranges)
    partner, of_pair = _partners(left, network, layout, reading), _of_pairs(empty, column, max_positions)
    work = work_by(
        right,
        network,
        layout,
        lambda batch: of_pair(batch.activations, partner(batch)),
        column=column,
        reference=left.name,
        settings=[identity(left), settings_of(empty), max_positions],
    )
    return run_ranking(work, network, pictures=pictures, reading=reading)


def _partners(
    left: ImageSource, extractor: FeatureExtractor, layout: NeuronLayout, reading: Reading
) -> Callable[[ActivationBatch], dict[str, Tensor]]:
    """Activations of the partners of a batch's images: of the one image, or of the images in the same places."""
    kept: dict[str, Tensor] = {}
    coming: Iterator[ImageBatch] | None = None
    reading = reading.on_this_rank()

    def activations(images: Tensor) -> dict[str, Tensor]:
        return layout.pick(extractor.from_resized(images.to(reading.device, non_blocking=True)))

    def partner(batch: ActivationBatch) -> dict[str, Tensor]:
        nonlocal coming, kept
        if coming is None:  # at the first batch, which after an interrupt is a later one
            coming = iterate_images(
                left,
                transform=ResizeImage(extractor.preprocess),
                batch_size=reading.batch_size,
                workers=reading.workers,
                shard=(0, 1) if len(left) == 1 else reading.shard,
                first_batch=0 if len(left) == 1 else batch.indices[0] // reading.batch_size,
            )
            kept = activations(next(coming).images)
        elif len(left) > 1:
            kept = activations(next(coming).images)
        return kept

    return partner


def _of_pairs(
    empty: Distribution, column: Column, max_positions: int | None
) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]:
    """Of two sides' activations, of which the second may be of one image, ``{layer: [images, neurons]}``."""
    layout = empty.layout
    if not isinstance(empty, Histogram):
        return lambda a, b: {layer: (image_means(a[layer]) - image_means(b[layer])).square_() for layer in layout}
    if empty.given == "auto":
        raise ValueError(
            "images are compared in ranges that all of them share: give ranges=, as calibrate() finds them on images "
            "like these (--ranges, vdna-metrics calibrate)"
        )
    low, high, scale = map(layout.split, (*empty.rule_ends, empty.bin_widths(column.options["unit"])))

    def emd(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for layer in layout:
            x, y = (subsample_positions(side[layer], max_positions) for side in (a, b))
            y = y.expand(-1, x.shape[1], -1)
            found[layer] = image_pair_emd(x, y, low[layer], high[layer], empty.bins)
            found[layer].mul_(scale[layer].to(found[layer].device))
        return found

    return emd


Side = Literal["reference", "generated"]


@dataclass(frozen=True, eq=False)
class Exemplar:
    """An image in which a neuron does what sets the two sets apart.

    Args:
        name: of the image in its source.
        index: its place there.
        pull: how much the image moves the neuron's EMD, in bins, see `find_exemplars`.
        image: uint8 ``[3, H, W]``, at the network's size.
    """

    name: str
    index: int
    pull: float
    image: Tensor


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Exemplar images of some neurons.

    Args:
        side: of which of the two sets the images are.
        source: name of the images.
        n_images: how many were looked at.
        neurons: ``{(layer, neuron): exemplars}``, the most telling first.
        mean_pull: of all images, ``{(layer, neuron): bins}``.
    """

    side: Side
    source: str
    n_images: int
    neurons: Mapping[tuple[str, int], tuple[Exemplar, ...]]
    mean_pull: Mapping[tuple[str, int], float]


def find_exemplars(
    explanation: Explanation,
    images: NumberedImages,
    extractor: ExtractorLike,
    *,
    side: Side = "generated",
    neurons: int = 4,
    number: int = 5,
    reading: Reading = DEFAULT_READING,
) -> Exemplars:
    """The images that tell most what sets two sets apart, for each of the neurons that contribute most.

    An image's **pull** on a neuron is the mean over its positions of ``ψ(bin)``, where ``ψ`` rises by 1 from a bin to
    the next where the reference's cumulative share is above the other's, falls by 1 where it is below, and has mean 0
    over the reference. (It is the potential of the optimal transport: no other function that changes by at most 1 a bin
    tells the two better apart.) Then the mean pull of the images of the reference is 0 and that of the generated ones
    is the neuron's EMD in bins, so the pull of a generated image is its own part of it. Generated exemplars have the
    highest pull, reference exemplars the lowest.

    One pass over the images; the exemplars are read again at its end.

    Args:
        explanation: of two histogram DNAs.
        images: of one of the two sets, or others.
        extractor: that of the DNAs, or its name.
        side: whether these are images of the reference or generated.
        neurons: number of top neurons.
        number: of images for each.
        reading: how images are read.

    Raises:
        ValueError: when the explanation is not of histograms, the extractor is another, or images cannot be read.
    """
    check_type("reading", reading, Reading)
    check_count("number", number)
    network, source = create_extractor(extractor), resolve_images(images)
    check_pictures(source)
    pulls = _Pulls(explanation, neurons, side)
    wanted = list(pulls.layout)
    explanation.reference.select(wanted).check_fingerprint(network.fingerprint.select(wanted))
    state = torch.zeros(len(source), len(pulls.keys), dtype=torch.float64)

    def fill_(batch: ActivationBatch) -> None:
        state[list(batch.indices)] = pulls(batch.activations)

    settings = ["pulls", network.fingerprint.digest, pulls.layout.to_json(), *pulls.settings]
    seen = run_pass(source, network, pulls.layout, reading, {"pulls": state}, settings, fill_)
    return pulls.exemplars(
        source.name,
        seen.indices,
        seen.seen_names,
        seen.rows(state),
        number,
        lambda indices: read_pictures(source, indices, network),
    )


def exemplars_of(
    explanation: Explanation,
    kept: KeptActivations,
    pictures: Mapping[int, Tensor],
    *,
    side: Side = "generated",
    neurons: int = 4,
    number: int = 5,
) -> Exemplars:
    """`find_exemplars` among images whose activations a pass has kept.

    Args:
        explanation: as in `find_exemplars`, and so are the others.
        kept: the images.
        pictures: of them, ``{index: uint8 [3, H, W]}``.
        side: whether these are images of the reference or generated.
        neurons: number of top neurons.
        number: of images for each.
    """
    check_count("number", number)
    pulls = _Pulls(explanation, neurons, side)
    values = torch.cat([pulls(pulls.layout.pick(batch)) for batch in kept.batches])
    return pulls.exemplars(kept.source, kept.indices, kept.names, values, number, lambda _: pictures)


class _Pulls:
    """How much images move the neurons of an explanation that contribute most; see `find_exemplars`."""

    def __init__(self, explanation: Explanation, neurons: int, side: Side) -> None:
        if side not in get_args(Side):
            raise ValueError(f"side must be one of {', '.join(get_args(Side))}, got {side!r}")
        check_type("an explanation", explanation, Explanation)
        check_count("neurons", neurons)
        a, b = explanation.reference.distribution, explanation.generated.distribution
        if not isinstance(a, Histogram) or not isinstance(b, Histogram):
            raise ValueError(
                f"exemplars need the explanation of histogram DNAs, this is of {explanation.reference.kind} ones"
            )
        self.side, self._top = side, explanation.top(neurons)
        wanted: dict[str, list[int]] = {}
        for neuron in self._top:
            wanted.setdefault(neuron.layer, []).append(neuron.neuron)
        self.layout = layout = explanation.layout.select(neurons=wanted)
        self.keys = [(layer, at) for layer in layout for at in layout.neurons.get(layer, range(layout[layer]))]
        a, b = a.select(layout), b.select(layout)
        self._reference, other = a.comparable([b])
        # In bins of the unit of that name, which those that both were counted in need not be.
        scale = self._reference.bin_widths("bins").nan_to_num(nan=0.0)[:, None].cpu()
        self._potentials = scale * _potentials(self._reference.counts.cpu(), other.counts.cpu())
        self._max_positions = explanation.reference.provenance.max_positions

    @cached_property
    def settings(self) -> list[Any]:
        """What decides the pulls beside images, network and neurons."""
        digest = hashlib.sha256(self._potentials.numpy().tobytes()).hexdigest()
        return [self._reference.digest, self._max_positions, digest]

    def __call__(self, activations: Mapping[str, Tensor]) -> Tensor:
        """Of the wanted neurons' activations, ``[images, neurons]`` float64 on the CPU."""
        potential_of = self.layout.split(self._potentials)
        low, high = map(self.layout.split, self._reference.rule_ends)
        found = []
        for layer, x in activations.items():
            some = subsample_positions(x, self._max_positions)
            bins = bin_index(some, low[layer].to(x.device), high[layer].to(x.device), self._reference.bins).long()
            potential = potential_of[layer].to(x.device)
            found.append(potential.gather(1, bins.flatten(1)).view(bins.shape).mean(dim=2).cpu())
        return torch.cat(found).T

    def exemplars(
        self,
        source: str,
        indices: Sequence[int],
        names: Sequence[str],
        pull: Tensor,
        number: int,
        pictures_of: Callable[[list[int]], Mapping[int, Tensor]],
    ) -> Exemplars:
        """Of the pulls of some images, ``[images, neurons]``, those that tell most."""
        sign = 1 if self.side == "generated" else -1
        rows = (sign * pull).argsort(dim=0, descending=True, stable=True)[:number]
        pictures = pictures_of([indices[row] for row in rows.flatten().tolist()])
        means = (pull.sum(dim=0) / max(1, len(pull))).tolist()
        exemplars, mean_pull = {}, {}
        for neuron in self._top:
            column = self.keys.index((neuron.layer, neuron.neuron))
            exemplars[neuron.layer, neuron.neuron] = tuple(
                Exemplar(names[row], indices[row], float(pull[row, column]), pictures[indices[row]])
                for row in rows[:, column].tolist()
            )
            mean_pull[neuron.layer, neuron.neuron] = means[column]
        return Exemplars(self.side, source, len(pull), exemplars, mean_pull)


def _potentials(counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """``ψ`` of each bin, ``[neurons, bins]`` float64."""
    rises = (cumulative_shares(counts_a) - cumulative_shares(counts_b)).sign()
    potential = rises.cumsum(dim=1) - rises
    shares = counts_a / counts_a.sum(dim=1, keepdim=True).double()
    return potential - (shares * potential).sum(dim=1, keepdim=True)
