"""Beside the scores: classes, and what a report shows of the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vdna_metrics.analysis.explain import explain
from vdna_metrics.analysis.maps import DifferenceMapper, no_maps
from vdna_metrics.analysis.matrices import compare_groups
from vdna_metrics.analysis.ranking import ranking_work
from vdna_metrics.analysis.single_images import Side, exemplars_of
from vdna_metrics.build.keeping import keep_activations, keep_pictures
from vdna_metrics.build.passes import ImageWork
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.network import FeatureExtractor
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


def shown_column(columns: tuple[Column, ...]) -> Column | None:
    """The column whose neurons and images a report shows: of histograms where there is one, else of Gaussians."""
    by_neuron = [column for column in columns if column.distance.says_how_far and column.distance.per == "neuron"]
    histograms = [column for column in by_neuron if column.kind == "histogram"]
    return next(iter([*histograms, *by_neuron]), None)


def picture_works(
    reader: SetReader, entry: ImageSet, column: Column | None, reference: VDNA | None = None
) -> dict[str, ImageWork[Any]]:
    """What the pass over a set does for the pictures of a report.

    Args:
        reader: makes the DNAs of the set.
        entry: the set.
        column: whose neurons and images are shown.
        reference: DNA of the real images, of a generator.
    """
    if entry.images is None or entry.images.features:
        return {}
    works: dict[str, ImageWork[Any]] = {"examples": keep_pictures(evenly_spaced(entry.images, _EXAMPLES))}
    if column is not None:
        some, network = evenly_spaced(entry.images, reader.settings.pictures), reader.network.extractor
        works["pictures"] = keep_pictures(some)
        if column.kind == "histogram":
            layers = column.layers if reference is None else list(reference.layout)
            works["activations"] = keep_activations(some, network.layout.select(layers))
        if reference is not None:
            device = reader.reading.device
            works["ranking"] = ranking_work(some, reference, network, distance=column, device=device)
    return works


def add_pictures_(
    evidence: Evidence,
    network: str,
    generator: str,
    column: Column | None,
    real: SetDNAs,
    fake: SetDNAs,
    extractor: FeatureExtractor,
) -> None:
    """Images of a generator at either end of their ranking, where they differ, and exemplars of what differs most."""
    beside = fake.beside
    if column is None or "ranking" not in beside:
        return
    ranking, pictures, key = beside["ranking"], beside["pictures"], (network, generator)
    ends = {index: pictures[index] for index in sorted(ranking.ends(_EXTREMES))}
    evidence.rankings[generator] = replace(ranking, pictures=ends)
    if "activations" not in beside:
        return
    if no_maps(column, evidence.reference[network]) is None:
        mapper = DifferenceMapper(evidence.reference[network], extractor, column)
        maps = mapper.of_kept(beside["activations"], ends)
        evidence.rankings[generator] = replace(evidence.rankings[generator], maps=maps)
    explanation = explain(evidence.reference[network], evidence.generated[key], distance=column)
    sides: tuple[tuple[Side, SetDNAs], ...] = (("reference", real), ("generated", fake))
    evidence.exemplars[key] = tuple(
        exemplars_of(
            explanation,
            images.beside["activations"],
            images.beside["pictures"],
            side=side,
            neurons=_NEURONS,
            number=_EXEMPLARS,
        )
        for side, images in sides
        if "activations" in images.beside
    )


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
