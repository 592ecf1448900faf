"""Beside the scores: classes, and what a report shows of the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from vdna_metrics.analysis.explain import explain
from vdna_metrics.analysis.matrices import compare_groups
from vdna_metrics.analysis.ranking import rank_images
from vdna_metrics.analysis.single_images import Exemplars, find_exemplars
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.images.batches import ImageDataset
from vdna_metrics.images.sources import evenly_spaced
from vdna_metrics.layout import near_names
from vdna_metrics.leaderboard.record import ClassRecord, Evidence
from vdna_metrics.leaderboard.sets import SetDNAs, SetReader
from vdna_metrics.references.image_sets import ImageSet

_EXAMPLES = 6  # images of each set that a report may show
_EXTREMES = 6  # images at either end of a ranking
_NEURONS = 10  # that have exemplar images
_EXEMPLARS = 4  # of each


def shown_dna(column: Column | None, images: SetDNAs) -> VDNA | None:
    """The DNA whose neurons a report shows."""
    return None if column is None or column.name not in images.dnas else total_of(images.dnas[column.name])


def example_images(entry: ImageSet, extractor: FeatureExtractor) -> tuple[Tensor, ...]:
    """Some images of a set, uint8 ``[3, H, W]`` at the network's size."""
    if entry.images is None or entry.images.features:
        return ()
    dataset = ImageDataset(evenly_spaced(entry.images, _EXAMPLES), ResizeImage(extractor.preprocess))
    found = (dataset[index].image for index in range(len(dataset)))
    return tuple(image.clamp(0, 255).round().byte() for image in found if isinstance(image, Tensor))


def shown_column(columns: tuple[Column, ...]) -> Column | None:
    """The column whose neurons and images a report shows: of histograms where there is one, else of Gaussians."""
    by_neuron = [column for column in columns if column.distance.says_how_far and column.distance.per == "neuron"]
    histograms = [column for column in by_neuron if column.kind == "histogram"]
    return next(iter([*histograms, *by_neuron]), None)


def add_pictures_(
    evidence: Evidence, reader: SetReader, reference: ImageSet, generator: ImageSet, column: Column | None
) -> None:
    """Rank some images of a generator, and find exemplars of the neurons that differ most."""
    label, network, most = reader.network.label, reader.network.extractor, reader.settings.pictures
    if column is None or generator.images is None or generator.images.features or label not in evidence.reference:
        return
    real, key = evidence.reference[label], (label, generator.name)
    some = evenly_spaced(generator.images, most)
    reading = reader.watched(f"pictures: {generator.name}", some)
    if reading.progress is not None:
        reading.progress(0, len(some))
    evidence.rankings[generator.name] = rank_images(
        some, real, network, distance=column, pictures=_EXTREMES, reading=reading
    )
    if column.kind != "histogram":
        return
    explanation = explain(real, evidence.generated[key], distance=column)
    options: Any = {"neurons": _NEURONS, "number": _EXEMPLARS, "reading": reader.reading}
    found: tuple[Exemplars, ...] = (find_exemplars(explanation, some, network, side="generated", **options),)
    if reference.images is not None:
        photographs = evenly_spaced(reference.images, most)
        found = (find_exemplars(explanation, photographs, network, side="reference", **options), *found)
    evidence.exemplars[key] = found


def class_records(
    generator: str, network: str, columns: Sequence[Column], real: SetDNAs, fake: SetDNAs
) -> Iterator[ClassRecord]:
    """The value of each class of a generator against the same class of the reference, where both have classes.

    Raises:
        ValueError: for a class that the reference does not have.
    """
    for column in columns:
        classes, own = fake.classes.get(column.kind), real.classes.get(column.kind)
        if classes is None or own is None:
            continue
        unknown = [label for label in classes if label not in own]
        if unknown:
            near = near_names(unknown[0], list(own))
            raise ValueError(f"{generator}: class {unknown[0]!r} is not in the reference; {near}")
        for group in compare_groups(classes, own, distance=column).groups:
            key = generator, network, column.name
            yield ClassRecord(*key, group.group, group.n_images, group.distance, group.n_reference)
