"""What a report shows beside the numbers: some images of each set, its best and worst, and exemplars of neurons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from vdna_metrics.analysis.explain import explain
from vdna_metrics.analysis.ranking import ImageRanking, default_distance, rank_images
from vdna_metrics.analysis.single_images import Exemplars, find_exemplars
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.images.batches import ImageDataset
from vdna_metrics.images.sources import ImageSource, evenly_spaced
from vdna_metrics.leaderboard.sets import SetDNAs, SetReader, total_of
from vdna_metrics.references.resolve import ImageSet

_EXAMPLES = 6  # images of each set that a report may show
_EXTREMES = 6  # images at either end of a ranking
_NEURONS = 10  # that have exemplar images
_EXEMPLARS = 4  # of each


@dataclass(eq=False)
class ShownEvidence:
    """What one network gives to `Evidence`."""

    reference: VDNA | None = None
    generated: dict[str, VDNA] = field(default_factory=dict)
    exemplars: dict[str, tuple[Exemplars, ...]] = field(default_factory=dict)
    rankings: dict[str, ImageRanking] = field(default_factory=dict)
    examples: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)


def shown_dna(column: Column | None, images: SetDNAs) -> VDNA | None:
    """The DNA whose neurons a report shows."""
    return None if column is None or column.name not in images.dnas else total_of(images.dnas[column.name])


def example_images(entry: ImageSet, extractor: FeatureExtractor) -> tuple[Tensor, ...]:
    """Some images of a set, uint8 ``[3, H, W]`` at the network's size."""
    if entry.images is None:
        return ()
    dataset = ImageDataset(evenly_spaced(entry.images, _EXAMPLES), ResizeImage(extractor.preprocess))
    found = (dataset[index].image for index in range(len(dataset)))
    return tuple(image.clamp(0, 255).round().byte() for image in found if isinstance(image, Tensor))


def shown_column(columns: tuple[Column, ...]) -> Column | None:
    """The column whose neurons and images a report shows: of histograms where there is one, else of Gaussians."""
    by_neuron = [column for column in columns if column.distance.per == "neuron" and column.distance.arity == 2]
    histograms = [column for column in by_neuron if column.kind == "histogram"]
    return next(iter([*histograms, *by_neuron]), None)


def add_pictures_(
    shown: ShownEvidence, reader: SetReader, reference: ImageSet, generator: ImageSet, column: Column | None
) -> None:
    """Rank some images of a generator, and find exemplars of the neurons that differ most."""
    network, most = reader.network.extractor, reader.settings.pictures
    if column is None or generator.images is None or shown.reference is None:
        return
    some = evenly_spaced(generator.images, most)
    reading = reader.watched(f"pictures: {generator.name}", some)
    if reading.progress is not None:
        reading.progress(0, len(some))
    distance = Column(default_distance(shown.reference.kind), weights=column.weights)
    shown.rankings[generator.name] = rank_images(
        some, shown.reference, network, distance=distance, pictures=_EXTREMES, reading=reading
    )
    if column.kind != "histogram":
        return
    explanation = explain(shown.reference, shown.generated[generator.name], distance=column)
    sides: list[tuple[Literal["reference", "generated"], ImageSource]] = [("generated", some)]
    if reference.images is not None:
        sides.insert(0, ("reference", evenly_spaced(reference.images, most)))
    shown.exemplars[generator.name] = tuple(
        find_exemplars(
            explanation, images, network, side=side, neurons=_NEURONS, number=_EXEMPLARS, reading=reader.reading
        )
        for side, images in sides
    )
