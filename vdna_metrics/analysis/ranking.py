"""Images in the order of their distance from a reference, one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vdna_metrics.analysis.maps import DifferenceMapper, DifferenceMaps
from vdna_metrics.build.passes import (
    ActivationBatch,
    ImageWork,
    Seen,
    as_pictures,
    check_pictures,
    read_resized,
    run_work,
)
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading
from vdna_metrics.distributions import Distribution, Histogram, Kind
from vdna_metrics.distributions.parts import check_finite_activations
from vdna_metrics.dna.columns import Column, ColumnLike
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.functional.positions import subsample_positions
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import NeuronLayout, check_count, check_type
from vdna_metrics.neurons import chosen_weights
from vdna_metrics.references.resolve import DNALike, compared_reference, resolve_images


# -------------------------------------------------------------------------------------------------------------- values
@dataclass(frozen=True)
class LayerScore:
    """What a layer says of an image.

    Args:
        layer: its name.
        distance: mean of its neurons' distances, or their weighted sum; of a distance by layer its own.
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
            is most unusual, of the nearest the one in which it is nearest, for what is usual in that layer. Empty with
            a distance that has no layers.
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
        distance: name of the distance, or column.
        label: what people call it.
        kind: of the DNAs that it needs.
        unit: of the scores.
        layers: names of the layers; none where the distance has no parts by layer.
        indices: place of each image in the source, in its order; skipped images leave gaps.
        names: of each image.
        scores: of each image, ``[images]`` float64.
        layer_distances: ``[images, layers]`` float64, as `LayerScore` has them.
        skipped: images that could not be read and were left out, ``(name, reason)`` each.
        pictures: ``{index: uint8 [3, H, W]}`` of the nearest and the farthest that were kept.
        higher_is_better: whether the nearest, which are the best, have the highest scores.
        maps: where in the nearest and the farthest images their distances lie, where that was asked for.
    """

    source: str
    reference: str
    distance: str
    label: str
    kind: Kind
    unit: str
    layers: tuple[str, ...]
    indices: tuple[int, ...]
    names: tuple[str, ...]
    scores: Tensor
    layer_distances: Tensor
    skipped: tuple[tuple[str, str], ...] = ()
    pictures: Mapping[int, Tensor] = field(default_factory=dict, repr=False)
    higher_is_better: bool = False
    maps: DifferenceMaps | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def nearest(self, number: int = 20) -> tuple[RankedImage, ...]:
        """The images at the smallest distances (of a score, with the best), the nearest first."""
        return self._ranked(number, farthest=False)

    def farthest(self, number: int = 20) -> tuple[RankedImage, ...]:
        """The images at the largest distances (of a score, with the worst), the farthest first."""
        return self._ranked(number, farthest=True)

    def ends(self, number: int) -> list[int]:
        """Places of the nearest and of the farthest images, so many of each."""
        return [image.index for image in (*self.nearest(number), *self.farthest(number))]

    def _ranked(self, number: int, *, farthest: bool) -> tuple[RankedImage, ...]:
        highest_first = farthest != self.higher_is_better
        rows = self.scores.argsort(descending=highest_first, stable=True)[:number].tolist()
        unusual = self.layer_distances[rows]
        if self.layers:
            deviation, mean = torch.std_mean(self.layer_distances, dim=0, correction=0)
            unusual = (unusual - mean) / torch.where(deviation > 0, deviation, torch.inf)
        found = []
        for row, distances, places in zip(rows, self.layer_distances[rows].tolist(), unusual.tolist(), strict=True):
            layers = map(LayerScore, self.layers, distances, places)
            told = tuple(sorted(layers, key=lambda layer: layer.unusual, reverse=highest_first))
            index = self.indices[row]
            found.append(RankedImage(index, self.names[row], float(self.scores[row]), told, self.pictures.get(index)))
        return tuple(found)

    def to_json(self, nearest: int = 20, farthest: int = 20) -> dict[str, Any]:
        """Some images at either end as plain containers, without their pictures."""
        ends = {"nearest": self.nearest(nearest), "farthest": self.farthest(farthest)}
        return {
            "images": self.source,
            "reference": self.reference,
            "distance": self.distance,
            "kind": self.kind,
            "unit": self.unit,
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
    reference: DNALike,
    extractor: ExtractorLike,
    *,
    distance: ColumnLike | None = None,
    pictures: int = 0,
    maps: int = 0,
    reading: Reading = DEFAULT_READING,
) -> ImageRanking:
    """Each image's distance from a reference, by the DNA of that image alone.

    A distance is what it says of ``build_dnas`` of that one image, over the same positions (``max_positions``): for
    the EMD, that between the image's own counts and the reference's.

    A Gaussian needs two images; there, an image is a Gaussian without spread at its mean activation ``x``, and the
    neuron Fréchet distance from it is ``(x − μ)² + σ²``; the layer Fréchet distance is their sum over the layer,
    ``|x − μ|² + tr S``. The second term is the same for all images, so these rank by the squared distance from the
    mean, in which neurons with large activations count most.

    One image is far from any set by being one: an image of the reference itself is not at distance 0. Compare scores
    with those of other images.

    One pass; memory is that of a batch and of the scores by layer. The pictures are read again at its end.

    Args:
        images: the images.
        reference: DNA of the kind that the distance needs, or its file or name, see `resolve_dna`.
        extractor: that of the reference, or its name.
        distance: its name, or a `Column` with layers, neurons, weights and options, as ``Column("emd", unit="range")``;
            by default the first of the reference's kind: ``"emd"``, ``"nfd"`` or ``"lfd"``. A score of images alone
            takes layout, bins and ranges from the reference.
        pictures: how many of the nearest and of the farthest images to keep.
        maps: of how many of them to tell where their distances lie, see `difference_maps`.
        reading: how images are read.

    Raises:
        ValueError: when the reference is of another network, has seen too few images or has no width in a layer, the
            distance needs a DNA of several images, images cannot be read (unless skipped), or activations are not
            finite.

    Examples:
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> worlds = ("white_noise", "dead_leaves_textured")
        >>> images = torch.stack([torch.from_numpy(i) for w in worlds for i in procedural_images(w, 1, size=96)])
        >>> ranking = rank_images(images.permute(0, 3, 1, 2), "bsds500/test", "vdna_tiny")
        >>> [image.index for image in ranking.nearest()]
        [1, 0]
    """
    check_type("reading", reading, Reading)
    network, source = create_extractor(extractor), resolve_images(images)
    work = ranking_work(source, reference, network, distance=distance, device=reading.device)
    check_count("maps", maps, 0)
    mapper = DifferenceMapper(reference, network, distance) if maps else None
    return run_ranking(work, network, pictures=pictures, maps=maps, mapper=mapper, reading=reading)


def ranking_work(
    source: ImageSource,
    reference: DNALike,
    network: FeatureExtractor,
    *,
    distance: ColumnLike | None = None,
    device: torch.device | str = "cpu",
) -> ImageWork[ImageRanking]:
    """What `rank_images` does in a pass, which may do other things too; without pictures.

    Args:
        source: the images.
        reference: as in `rank_images`.
        network: that of the reference.
        distance: as in `rank_images`.
        device: where the network runs.
    """
    column, real = compared_reference(reference, distance, network.name)
    (real,) = column.distance.prepared({"reference": real})
    layout = real.layout
    real.check_fingerprint(network.fingerprint.select(list(layout)))
    max_positions = real.provenance.max_positions if column.kind == "histogram" else None
    on_device = real.distribution.to(_double_device(device))
    of_images = _of_images(column, on_device)

    def measure(batch: ActivationBatch) -> Mapping[str, Tensor]:
        return of_images({layer: subsample_positions(x, max_positions) for layer, x in batch.activations.items()})

    state_digest = hashlib.sha256(real.distribution.state.cpu().numpy().tobytes()).hexdigest()
    return work_by(
        source,
        network,
        layout,
        measure,
        column=column,
        reference=", ".join(real.provenance.sources) or "unknown source",
        settings=[state_digest, max_positions, settings_of(real.distribution)],
        of_reference=real.distribution,
    )


def _double_device(device: torch.device | str) -> torch.device:
    """The device, or the CPU for MPS, which has no float64."""
    return torch.device("cpu") if torch.device(device).type == "mps" else torch.device(device)


def settings_of(distribution: Distribution) -> Any:
    """What decides a distribution beside its images and neurons, as plain containers."""
    if isinstance(distribution, Histogram):
        return [distribution.bins, distribution.digest]
    return distribution.kind


def _of_images(column: Column, reference: Distribution) -> Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]:
    """The distance's own way to measure single images, else by a DNA of each."""
    distance = column.distance
    if distance.of_images is not None:
        with distance.naming_errors():
            of_images = distance.of_images(reference, **column.options)

        def faster(activations: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            with distance.naming_errors():
                found = of_images(activations)
            distance.check_finite(found)
            return found

        return faster
    if reference.min_images > 1:
        raise ValueError(
            f"{column.title} cannot rank single images: a {reference.kind} DNA needs at least {reference.min_images} "
            "images, and the distance has no of_images= for less; take a distance of histograms"
        )
    empty = reference.with_state(torch.zeros_like(reference.state))

    def measure(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rows = []
        for image in range(next(iter(activations.values())).shape[1]):
            one = empty.with_state(torch.zeros_like(empty.state))
            one.fill_({layer: x[:, image : image + 1] for layer, x in activations.items()})
            found = distance.parts(*((reference, one)[2 - distance.arity :]), **column.options)
            rows.append({"": found.reshape(1)} if isinstance(found, Tensor) else dict(found))
        return {layer: torch.stack([row[layer] for row in rows]) for layer in rows[0]}

    return measure


def run_ranking(
    work: ImageWork[ImageRanking],
    extractor: FeatureExtractor,
    *,
    pictures: int,
    maps: int = 0,
    mapper: DifferenceMapper | None = None,
    reading: Reading,
) -> ImageRanking:
    """Rank images in a pass of their own, and read those at either end again, once.

    Args:
        work: as `ranking_work` and `work_by` give it.
        extractor: frozen network.
        pictures: how many of the nearest and of the farthest images to keep.
        maps: of how many of them to make maps.
        mapper: makes them.
        reading: how images are read.
    """
    check_count("pictures", pictures, 0)
    if pictures or maps:
        check_pictures(work.images)
    ranking = run_work(work, extractor, reading)
    resized = read_resized(work.images, ranking.ends(max(pictures, maps)), extractor)
    shown = as_pictures({index: resized[index] for index in ranking.ends(pictures)})
    found = None
    if mapper is not None:
        at_ends = {index: resized[index] for index in ranking.ends(maps)}
        found = mapper.of_images(work.images.name, work.images.names, at_ends, reading.device)
    return replace(ranking, pictures=shown, maps=found)


def work_by(
    source: ImageSource,
    extractor: FeatureExtractor,
    layout: NeuronLayout,
    measure: Callable[[ActivationBatch], Mapping[str, Tensor]],
    *,
    column: Column,
    reference: str,
    settings: Sequence[Any],
    of_reference: Distribution | None = None,
) -> ImageWork[ImageRanking]:
    """What measures each image of a source.

    Args:
        source: the images.
        extractor: frozen network.
        layout: the neurons.
        measure: gives ``{layer: [images, parts]}`` float64 of a batch, the parts that the column's distance has.
        column: distance, weights and options.
        reference: what the images are compared with, for people.
        settings: what decides the values, beside the images, the network, the layout and the column.
        of_reference: the reference's distribution, where there is one.
    """
    per, layers = column.distance.per, tuple(layout) if column.distance.per is not None else ()
    fingerprint = extractor.fingerprint.select(list(layout))
    if per is None and column.weights is not None:
        raise ValueError(f"{column.label} has no parts that could be weighted; leave weights= out")
    weights = None if per is None else chosen_weights(column.weights, layout, fingerprint, per)
    in_layer = (
        None if weights is None else weights.split(list(layout.values()) if per == "neuron" else [1] * len(layout))
    )
    # What each layer says, or with a distance that has no parts its one value.
    state = torch.zeros(len(source), max(1, len(layers)), dtype=torch.float64)

    def fill_(batch: ActivationBatch) -> None:
        check_finite_activations(batch.activations)
        parts = measure(batch)
        column.distance.check_known({layer: part.sum(dim=0) for layer, part in parts.items()})
        for place, part in enumerate(parts[layer] for layer in layers or parts):
            known = ~part.isnan().any(dim=0)
            factors = known.double() / known.sum() if in_layer is None else in_layer[place].to(part.device)
            state[list(batch.indices), place] = (part.nan_to_num(nan=0.0) @ factors).cpu()

    decisive = [
        column.name,
        {name: str(value) for name, value in column.options.items()},
        fingerprint.digest,
        layout.to_json(),
        None if weights is None else weights.tolist(),
        *settings,
    ]

    def ranked(seen: Seen) -> ImageRanking:
        if not seen.count:
            raise ValueError(f"{source.name}: no images in this part")
        rows = seen.rows(state)
        return ImageRanking(
            source=source.name,
            reference=reference,
            distance=column.name,
            label=column.label,
            kind=column.kind,
            unit=column.unit,
            layers=layers,
            indices=tuple(seen.indices),
            names=seen.seen_names,
            scores=(rows * column.layer_shares(layout, of_reference)).sum(dim=1) if layers else rows[:, 0],
            layer_distances=rows[:, : len(layers)],
            skipped=tuple(seen.skipped),
            higher_is_better=column.distance.higher_is_better,
        )

    return ImageWork(source, layout, {"distances": state}, decisive, fill_, ranked)
