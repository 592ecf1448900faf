"""FDr^k on a leaderboard: its Fréchet distances over those of a validation set, one column of each network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from vdna_metrics.analysis.frechet_ratio import NetworkRatio, mean_ratio, measured_normaliser, network_ratio
from vdna_metrics.analysis.uncertainty.estimates import few_clusters
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.distances import LFD
from vdna_metrics.dna.grouped import GroupedDNA, total_of
from vdna_metrics.leaderboard.record import ImageSetRecord, NormaliserRecord, RatioRecord, Score
from vdna_metrics.leaderboard.sets import SetReader
from vdna_metrics.metrics.ratio import FrechetNormaliser
from vdna_metrics.references.image_sets import AnyDNA

_NO_GROUPS = "its images are not in groups, and others in number than the validation images: give images, or --equalise"


def frechet_column(columns: Sequence[Column]) -> Column | None:
    """The first column of a Fréchet distance between covariances, which a network has in FDr^k."""
    return next((column for column in columns if column.distance.name == LFD.name), None)


def frechet_reader(reader: SetReader) -> SetReader | None:
    """A reader of what FDr^k needs of a set, and of nothing else; ``None`` of a network that is not in it."""
    column = frechet_column(reader.network.columns)
    if column is None:
        return None
    settings = replace(reader.settings, fidelity=False, class_folders=False)
    return replace(reader, network=replace(reader.network, columns=(column,)), settings=settings)


def normaliser_record(
    network: str, column: Column, train: AnyDNA, validation: AnyDNA, numbers: Collection[int], confidence: float
) -> NormaliserRecord:
    """What one network's distances are divided by.

    Args:
        network: its name.
        column: of a Fréchet distance.
        train: the reference.
        validation: the validation set.
        numbers: of images of the generators. Where all are that of the validation set, plain distances are divided,
            whose bias is the same then; else corrected ones.
        confidence: of its interval.
    """
    corrected = any(number != validation.n_images for number in numbers)
    undefined = next(filter(None, map(few_clusters, (train, validation))), None)
    if not isinstance(validation, GroupedDNA):
        undefined = _NO_GROUPS
    if corrected and undefined is not None:
        normaliser = FrechetNormaliser(column(total_of(train), total_of(validation)), validation.n_images)
    else:
        normaliser, undefined = measured_normaliser(
            column, train, validation, corrected=corrected, confidence=confidence
        )
    value, n_images, low, high = normaliser.value, validation.n_images, normaliser.low, normaliser.high
    return NormaliserRecord(network, column.name, value, n_images, low, high, corrected, undefined)


def ratio_records(
    generators: Sequence[ImageSetRecord],
    scores: Mapping[tuple[str, str, str], Score],
    normalisers: Sequence[NormaliserRecord],
    confidence: float,
) -> tuple[RatioRecord, ...]:
    """FDr^k of each generator, none without normalisers.

    Args:
        generators: of a leaderboard.
        scores: ``{(generator, network, metric): score}``.
        normalisers: one for each network.
        confidence: of the normalisers' intervals.
    """
    found = []
    for generator in generators if normalisers else ():
        parts = {}
        for of in normalisers:
            score = scores[generator.name, of.network, of.metric]
            kept = FrechetNormaliser(of.value, of.n_images, of.low, of.high, of.corrected)
            if of.corrected and of.undefined is None and (score.estimate is None or not generator.groups):
                parts[of.network] = NetworkRatio(None, score.value, kept, _NO_GROUPS)
                continue
            distance = score.estimate.corrected if of.corrected and score.estimate is not None else score.value
            parts[of.network] = network_ratio(of.network, distance, kept, of.undefined)
        ratio = mean_ratio(parts, corrected=normalisers[0].corrected, confidence=confidence)
        values = {name: part.value for name, part in ratio.networks.items()}
        found.append(RatioRecord(generator.name, ratio.value, values, ratio.undefined))
    return tuple(found)
