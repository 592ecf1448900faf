"""One network's columns of a leaderboard: scores, differences, floors, and what else its activations tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from vdna_metrics.analysis.diagnosis import DiagnosedSet, diagnose
from vdna_metrics.analysis.features import CopyReport, find_copies, measure_fidelity
from vdna_metrics.analysis.uncertainty import (
    JackknifedDistance,
    NoiseFloor,
    Ranking,
    extrapolate_frechet,
    jackknife_distance,
    noise_floor,
    rank_intervals,
)
from vdna_metrics.analysis.uncertainty.estimates import few_clusters, uneven_clusters
from vdna_metrics.build.passes import ImageWork
from vdna_metrics.distributions import Histogram
from vdna_metrics.dna.caveats import Notes, bins_note, is_few, pair_caveats, set_caveats
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.dna.grouped import GroupedDNA, clusters_of, total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor
from vdna_metrics.fingerprint import FEATURES, MODULE
from vdna_metrics.leaderboard.diagnoses import diagnosed_set, find_pixels
from vdna_metrics.leaderboard.evidence import add_pictures_, class_records, picture_works, shown_column, shown_dna
from vdna_metrics.leaderboard.ratios import frechet_reader, normaliser_record
from vdna_metrics.leaderboard.record import (
    QUANTILES,
    ClassRecord,
    CopyRecord,
    DiagnosisRecord,
    Evidence,
    FidelityRecord,
    FloorRecord,
    ImageSetRecord,
    NetworkRecord,
    NormaliserRecord,
    PairRecord,
    RunsRecord,
    Score,
)
from vdna_metrics.leaderboard.runs import run_records
from vdna_metrics.leaderboard.sets import SetDNAs, SetReader
from vdna_metrics.leaderboard.settings import LeaderboardSettings
from vdna_metrics.references.image_sets import AnyDNA, ImageSet

_NO_GROUPS = "not in groups, so its images are taken as they are: intervals do not cover their chance."


_ABOVE_FLOOR = (
    "its images depend on each other more than those of the reference, for which the noise floor is: its plain values "
    "are above the floor by that alone. Compare corrected ones."
)
_MORE = 1.5  # times as many images a cluster, in effect
_OTHER_GROUPS = "its groups were made before and not of whole clusters: intervals take its images as independent."


@dataclass(frozen=True)
class Floors:
    """What perfect images would score in columns, by their number: the reference against itself, where it has groups.

    Args:
        columns: of one network.
        reference: ``{column: DNA}`` of the real images.
        draws: as in `noise_floor`.
        seed: likewise.
        found: what was computed before, ``{(column, number of images): floor}``.
    """

    columns: Sequence[Column]
    reference: Mapping[str, AnyDNA]
    draws: int = 10
    seed: int = 0
    found: dict[tuple[str, int], NoiseFloor] = field(default_factory=dict, repr=False)

    def floor(self, column: Column, n_images: int) -> NoiseFloor | None:
        """That of a column, ``None`` where it has none, or the reference no groups."""
        dna, distance, key = self.reference.get(column.name), column.distance, (column.name, n_images)
        has_floor = distance.bias is not None and distance.neutral is not None and distance.arity == 2
        if not has_floor or not isinstance(dna, GroupedDNA) or few_clusters(dna) is not None:
            return None
        if min(dna.sizes) < dna.groups[0].distribution.min_images:
            return None
        if key not in self.found:
            self.found[key] = noise_floor(dna, n_images, distance=column, draws=self.draws, seed=self.seed)
        return self.found[key]

    def of_few(self, dna: VDNA) -> dict[str, float]:
        """``{column: value}`` of as many images as a DNA has, if these are few; covariances need more than others."""
        if not is_few(dna):
            return {}
        alike = [each for each in self.columns if (each.kind == "layer_gaussian") == (dna.kind == "layer_gaussian")]
        found = {column: self.floor(column, dna.n_images) for column in alike}
        known = {column: each.value for column, each in found.items() if each is not None}
        return {with_unit(column.name, column.unit): value for column, value in known.items() if value is not None}


@dataclass(eq=False)
class NetworkScores:
    """What one network's activations say of all generators."""

    network: NetworkRecord
    spec: Mapping[str, Any]
    scores: list[Score] = field(default_factory=list)
    pairs: list[PairRecord] = field(default_factory=list)
    floors: list[FloorRecord] = field(default_factory=list)
    fidelity: list[FidelityRecord] = field(default_factory=list)
    copies: list[CopyRecord] = field(default_factory=list)
    classes: list[ClassRecord] = field(default_factory=list)
    runs: list[RunsRecord] = field(default_factory=list)
    run_pairs: list[PairRecord] = field(default_factory=list)
    diagnoses: list[DiagnosisRecord] = field(default_factory=list)
    sets: dict[str, ImageSetRecord] = field(default_factory=dict)
    validation: ImageSetRecord | None = None
    normalisers: list[NormaliserRecord] = field(default_factory=list)


def score_network(
    reader: SetReader,
    reference: ImageSet,
    generators: Sequence[ImageSet],
    notes: Notes,
    evidence: Evidence,
    *,
    pictures: bool,
    validation: ImageSet | None = None,
    diagnosis: bool,
) -> NetworkScores:
    """Score all generators by the columns of one network; the DNAs of one at a time are kept beside the reference's.

    Args:
        reader: makes the DNAs.
        reference: the real images.
        generators: sets of generated images.
        notes: where sentences for a reader of the numbers go.
        evidence: where DNAs and pictures for a report go.
        pictures: whether there are pictures.
        validation: what FDr^k divides by.
        diagnosis: whether some are for a diagnosis.
    """
    network, settings = reader.network, reader.settings
    column_shown = shown_column(network.columns)

    def read(entry: ImageSet, like: SetDNAs | None = None) -> tuple[SetDNAs, DiagnosedSet | None]:
        """All that is made of a set, in one pass over its images."""
        works = picture_works(reader, entry, column_shown, evidence.reference.get(network.label)) if pictures else {}
        pixels = find_pixels(reader, entry) if diagnosis else ""
        if isinstance(pixels, ImageWork):
            works["pixels"] = pixels
        images = reader.read(entry, like, works)
        if "examples" in images.beside:
            evidence.examples[entry.name] = tuple(picture for _, picture in sorted(images.beside["examples"].items()))
        if isinstance(pixels, ImageWork):
            pixels = images.beside["pixels"]
        return images, diagnosed_set(entry, images, pixels) if diagnosis else None

    real, diagnosed = read(reference)
    found = NetworkScores(_network_record(network.label, network.extractor, real), _spec_record(network.extractor.spec))
    found.sets[reference.name] = real.record
    if (shown := shown_dna(column_shown, real)) is not None:
        evidence.reference[network.label] = shown
    _note_caveats(notes, reader, reference, real)
    floors = Floors(network.columns, real.dnas, seed=settings.seed)
    # Groups belong together where images have the same names and are in groups alike. Rows of arrays have numbers, no
    # names that could say that two belong together.
    paired: dict[str, dict[str, Hashable]] = {column.name: {} for column in network.columns}
    jackknifed: dict[str, dict[str, JackknifedDistance]] = {column.name: {} for column in network.columns}
    for generator in generators:
        fake, fake_diagnosed = read(generator, real)
        found.sets[generator.name] = fake.record
        _note_caveats(notes, reader, generator, fake, floors, (reference.name, real))
        if _images_a_cluster(fake.record) > _MORE * _images_a_cluster(real.record):
            notes.add(_ABOVE_FLOOR, generator.name)
        for column in network.columns:
            one, other = real.dnas.get(column.name), fake.dnas[column.name]
            score, estimated = _score(column, network.label, generator.name, one, other, settings)
            found.scores.append(score)
            if estimated is not None:
                jackknifed[column.name][generator.name] = estimated
                notes.add(estimated.withheld, generator.name)
                if not all(map(str.isdecimal, fake.digests)):
                    skipped = [name for name, _ in fake.record.skipped]
                    groups = other.clusters if isinstance(other, GroupedDNA) else ()
                    paired[column.name][generator.name] = (*fake.digests, *skipped), groups
                sides = [(generator.name, other), (reference.name, one)]
                for name, dna in sides[: column.distance.arity]:
                    notes.add(None if isinstance(dna, GroupedDNA) else _NO_GROUPS, name)
        copies = _add_features_(found, network.label, generator.name, real, fake, reader, notes)
        if diagnosed is not None and fake_diagnosed is not None:
            told = diagnose(diagnosed, fake_diagnosed, copies=copies, seed=settings.seed)
            found.diagnoses.append(DiagnosisRecord(generator.name, network.label, told))
        found.classes += class_records(generator.name, network.label, network.columns, real, fake)
        if (shown := shown_dna(column_shown, fake)) is not None:
            evidence.generated[network.label, generator.name] = shown
        if pictures:
            shown_in = reader.network.extractor
            add_pictures_(evidence, network.label, generator.name, column_shown, real, fake, shown_in)
    widths: dict[str, float] = {}
    for column in network.columns:
        moved = [score.bin_width for score in found.scores if score.metric == column.name and score.bin_width]
        if moved:
            widths[with_unit(column.name, column.unit)] = max(moved)
    notes.add(bins_note(widths))
    alike: dict[str, list[str]] = {}
    for record in found.sets.values():
        alike.setdefault(record.manifest, []).append(record.name)
    for manifest, same in alike.items():
        if manifest and len(same) > 1 and reference.name not in same:
            notes.add(f"{', '.join(same)} are the same images.")
    most = max(found.sets[generator.name].n_images for generator in generators)
    for column in network.columns:
        sure = sum(each.score.low is not None for each in jackknifed[column.name].values())
        if jackknifed[column.name] and sure < len(generators):
            notes.add("There are no ranks and no differences between sets where one of them has no interval.")
        elif sure == len(generators):
            ranking = rank_intervals(
                jackknifed[column.name], paired=paired[column.name], confidence=settings.confidence
            )
            _add_ranks_(found, column, ranking)
        if len(jackknifed[column.name]) == len(generators):
            runs, differences = run_records(column, network.label, jackknifed[column.name], settings.confidence)
            found.runs += runs
            found.run_pairs += differences
        if (floor := floors.floor(column, most)) is not None:
            notes.add(floor.withheld, reference.name)
            if floor.withheld is None:
                known = {name: getattr(floor, name) for name in ("value", "spread", "n_images", "measured_at")}
                found.floors.append(FloorRecord(network.label, column.name, layers=dict(floor.layers), **known))
    if validation is not None:
        _add_normaliser_(found, reader, validation, reference, real, notes)
    if settings.fidelity and real.features is None:
        notes.add("Fidelity, diversity and copies need the images of the reference.")
    return found


# --------------------------------------------------------------------------------------------------------------- scores
def _score(
    column: Column, network: str, generator: str, real: AnyDNA | None, fake: AnyDNA, settings: LeaderboardSettings
) -> tuple[Score, JackknifedDistance | None]:
    """The value of one generator; corrected, with error bars, where there are groups and a rule for the bias."""
    sides = [fake] if column.distance.arity == 1 or real is None else [real, fake]
    # A score of the generated images alone does not use the first.
    first, whole = sides[0], [total_of(side) for side in (sides[0], fake)]
    estimated, extrapolated = None, None
    in_groups = any(isinstance(side, GroupedDNA) for side in sides)
    if column.distance.bias is not None and in_groups and not any(map(few_clusters, sides)):
        estimated = jackknife_distance(first, fake, distance=column, confidence=settings.confidence)
        # Of sums over neurons the jackknife has what a line would say; FID∞ is what papers report beside FID.
        if column.kind == "layer_gaussian" and isinstance(fake, GroupedDNA) and len(fake.groups) >= 3:
            infinity = extrapolate_frechet(first, fake, distance=column, draws=2, seed=settings.seed).score
            if infinity.low is not None:
                extrapolated = (infinity.corrected, infinity.standard_error)
        value, layers = estimated.score.value, {layer: each.value for layer, each in estimated.layers.items()}
    else:
        value, layers = column(*whole), column.by_layer(*whole)
    score = Score(
        generator=generator,
        network=network,
        metric=column.name,
        value=value,
        layers=layers,
        quantiles=_quantiles(column, *whole),
        estimate=None if estimated is None else estimated.score,
        layer_estimates={} if estimated is None else dict(estimated.layers),
        extrapolated=extrapolated,
        bin_width=column.bin_width(*whole),
    )
    return score, estimated


def _quantiles(column: Column, real: VDNA, fake: VDNA) -> dict[str, tuple[float, ...]]:
    if column.distance.per != "neuron":
        return {}
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    of_neurons = cast("dict[str, Tensor]", column.replace(weights=None).measure(real, fake, "none"))
    return {layer: tuple(values.quantile(levels).tolist()) for layer, values in of_neurons.items()}


def _add_ranks_(found: NetworkScores, column: Column, ranking: Ranking) -> None:
    found.scores = [
        replace(score, rank=ranking.ranks[score.generator]) if score.metric == column.name else score
        for score in found.scores
    ]
    for pair in ranking.pairs:
        estimate = pair.difference.estimate
        # Who has no interval is not compared, so differences have one.
        ends = cast("tuple[float, float, float]", (estimate.corrected, estimate.low, estimate.high))
        whole = found.network.name, column.name
        record = PairRecord(pair.a, pair.b, *whole, *ends, pair.p_value, pair.difference.paired, pair.tied)
        found.pairs.append(record)


def _add_features_(
    found: NetworkScores, network: str, generator: str, real: SetDNAs, fake: SetDNAs, reader: SetReader, notes: Notes
) -> CopyReport | None:
    if real.features is None or fake.features is None:
        return None
    device, of = reader.reading.device, real.features.fingerprint
    try:
        fidelity = measure_fidelity(real.features, fake.features, seed=reader.settings.seed, device=device).to_json()
        copies = find_copies(fake.features, real.features, device=device)
    except ValueError as error:  # too few images for their neighbours; the distances stand
        notes.add(f"no fidelity, diversity or copies: {error}", generator)
        return None
    found.fidelity.append(FidelityRecord(generator, network, ", ".join(of.paths) if of else "", **fidelity))
    suspects = tuple((match.image, match.reference, match.ratio) for match in copies.suspects)
    checked = len(copies.matches), copies.threshold, copies.false_alarms
    found.copies.append(CopyRecord(generator, network, suspects, *checked))
    return copies


def _add_normaliser_(
    found: NetworkScores, reader: SetReader, validation: ImageSet, reference: ImageSet, real: SetDNAs, notes: Notes
) -> None:
    """Of a network with a Fréchet distance, that of the validation set."""
    if (of_frechet := frechet_reader(reader)) is None:
        return
    (column,) = of_frechet.network.columns
    held_out = of_frechet.read(validation, real)
    found.validation = held_out.record
    numbers = {record.n_images for name, record in found.sets.items() if name != reference.name}
    dnas, confidence = (real.dnas[column.name], held_out.dnas[column.name]), reader.settings.confidence
    found.normalisers.append(normaliser_record(found.network.name, column, *dnas, numbers, confidence))
    _note_caveats(notes, of_frechet, validation, held_out, None, (reference.name, real))


def _images_a_cluster(record: ImageSetRecord) -> float:
    return record.n_images / record.effective_clusters if record.clusters else 1.0


def _note_caveats(
    notes: Notes,
    reader: SetReader,
    entry: ImageSet,
    images: SetDNAs,
    floors: Floors | None = None,
    reference: tuple[str, SetDNAs] | None = None,
) -> None:
    """What is to be known of a set and, of a generator's, beside the reference; alike DNAs say it once."""
    name = entry.name
    for note in images.notes:
        notes.add(note, name)
    files = 0 if reference is None else len(set(images.digests.values()) & set(reference[1].digests.values()))
    for column, dna in {id(each): (column, each) for column, each in images.dnas.items()}.values():
        total = total_of(dna)
        like = total_of(reference[1].dnas[column]) if reference is not None and column in reference[1].dnas else None
        notes.add_caveats(name, set_caveats(total, like=like, floors=None if floors is None else floors.of_few(total)))
        notes.add(few_clusters(dna) or uneven_clusters(dna), name)
        told = reader.settings.cluster_by is not None and isinstance(dna, GroupedDNA) and clusters_of(dna) is None
        if told and (name in reader.clusters or entry.images is None):
            notes.add(_OTHER_GROUPS, name)
        if reference is not None and like is not None:
            notes.add_caveats(name, pair_caveats(like, total, name=reference[0], equal_files=files))


# -------------------------------------------------------------------------------------------------------------- records
def _network_record(label: str, extractor: FeatureExtractor, real: SetDNAs) -> NetworkRecord:
    fingerprint = extractor.fingerprint
    parts = {part: getattr(fingerprint, part) for part in ("architecture", "weights", "preprocessing", "precision")}
    if fingerprint.options:
        parts["options"] = ", ".join(fingerprint.options)
    compared = {layer: count for dna in real.dnas.values() for layer, count in dna.layout.items()}
    layers = {layer: compared[layer] for layer in extractor.layout if layer in compared}
    bins, ranges = 0, ""
    for dna in real.dnas.values():
        distribution = total_of(dna).distribution
        if isinstance(distribution, Histogram):
            bins, ranges = distribution.bins, distribution.digest
    return NetworkRecord(label, fingerprint.digest, parts, layers, bins, ranges)


def _spec_record(spec: ExtractorSpec) -> dict[str, Any]:
    if spec.architecture.startswith((MODULE, FEATURES)):
        return {"name": spec.name, "architecture": spec.architecture}
    return {
        item.name: getattr(spec, item.name)
        for item in dataclasses.fields(ExtractorSpec)
        if item.name not in ("neurons", "licence", "note")
    }
