"""Score any number of generators against one reference: one pass a generator and network, all that follows from it."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

from vdna_metrics._version import __version__
from vdna_metrics.analysis.score_tables import ScoreColumn, check_scores
from vdna_metrics.analysis.uncertainty import Agreement, agreement
from vdna_metrics.build.reading import DEFAULT_READING, Reading
from vdna_metrics.dna.caveats import Notes, number_caveat
from vdna_metrics.dna.columns import find_column
from vdna_metrics.dna.grouped import clusters_of
from vdna_metrics.extractors.registry import ExtractorLike
from vdna_metrics.images.clusters import ClusterRule, in_cluster, likely_clusters
from vdna_metrics.images.sources import evenly_spaced
from vdna_metrics.layout import check_names, check_type
from vdna_metrics.leaderboard.departures import SetFacts, find_departures
from vdna_metrics.leaderboard.disputes import find_disputes
from vdna_metrics.leaderboard.network_scores import NetworkScores, score_network
from vdna_metrics.leaderboard.outside import outside_agreements, own_columns
from vdna_metrics.leaderboard.protocols import find_protocol
from vdna_metrics.leaderboard.ratios import frechet_column, frechet_reader, ratio_records
from vdna_metrics.leaderboard.record import Evidence, ImageSetRecord, Leaderboard, ProtocolRecord, Score, compared
from vdna_metrics.leaderboard.sets import SetReader, Start
from vdna_metrics.leaderboard.settings import DEFAULT_SETTINGS, LeaderboardSettings, NetworkColumns, group_by_network
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike
from vdna_metrics.ranges import GivenRanges
from vdna_metrics.references.image_sets import ImageSet
from vdna_metrics.references.resolve import SourceLike, resolve

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow")


def score_leaderboard(
    reference: SourceLike,
    generators: Sequence[SourceLike],
    extractors: Sequence[ExtractorLike],
    *,
    settings: LeaderboardSettings = DEFAULT_SETTINGS,
    networks: Mapping[str, ExtractorLike] | None = None,
    ranges: Mapping[str, GivenRanges] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    cache: Path | None = None,
    title: str = "Leaderboard",
    command: str = "",
    record: Mapping[str, Any] | None = None,
    outside: Sequence[ScoreColumn] = (),
    validation: SourceLike | None = None,
    reading: Reading = DEFAULT_READING,
    start: Start | None = None,
) -> tuple[Leaderboard, Evidence]:
    """Score generators, one network after the other, each image once a network.

    Beside the reference, the DNAs of one generator are in memory at a time.

    Args:
        reference: real images, see `resolve`.
        generators: at least one set of generated images, likewise; ``resolve(source, name=...)`` names one.
        extractors: of all columns but those that have a network of their own, as ``fid`` has.
        settings: columns, groups, and all else that decides the numbers.
        networks: ``{name: network}``, what to take for the networks that columns name, as ``fid`` names
            ``"fid_inception"``.
        ranges: activation ranges, ``{extractor name: ranges}``; by default the reference DNA's, else those that ship,
            else ``"auto"``.
        neurons: of the neurons to compare, as in `compare`; of one network.
        weights: likewise.
        cache: folder where DNAs are kept, see `build_set`.
        title: of the leaderboard.
        command: that makes this leaderboard, for its record.
        record: what else goes into the leaderboard's settings.
        outside: scores of the generators that were measured elsewhere, as `read_scores` reads them.
        validation: real images that are not the reference's, likewise, by whose Fréchet distances those of the
            generators are divided: FDr^k over all networks that have one, see `analysis.frechet_distance_ratio`.
        reading: how images are read; of several ranks by `build.led`.
        start: tells of progress.

    Raises:
        ValueError: for sources that are none, names that are not unique, unreadable images (unless skipped), DNAs that
            are missing or of another network, sets with too few images for the groups, outside scores of what is no
            generator, and a validation set without a column of a Fréchet distance.
        TypeError: for one generator or extractor where several are expected, and other wrong types.
    """
    check_names("generators", generators)
    check_names("extractors", extractors)
    check_type("settings", settings, LeaderboardSettings)
    check_type("reading", reading, Reading)
    of_networks = group_by_network(settings, extractors, networks or {}, neurons, weights)
    real, *fakes = _opened((reference, *generators), of_networks)
    check_scores(outside, [entry.name for entry in fakes])
    held_out = None if validation is None else _held_out(validation, (real, *fakes), of_networks)
    every = (real, *fakes) if held_out is None else (real, *fakes, held_out)
    notes = Notes()
    n_found = {entry.name: len(entry.images) for entry in every if entry.images is not None}
    if settings.equalise:
        least = min((n_found[entry.name] for entry in fakes if entry.name in n_found), default=0)
        fakes = [
            entry if entry.images is None else replace(entry, images=evenly_spaced(entry.images, least))
            for entry in fakes
        ]
        if held_out is not None and held_out.images is not None:
            held_out = replace(held_out, images=evenly_spaced(held_out.images, least))
        every = (real, *fakes) if held_out is None else (real, *fakes, held_out)
    digests: dict[str, list[str]] = {}
    labels = _clusters(settings, every, notes)
    readers = [
        SetReader(
            network,
            settings,
            reading,
            cache,
            (ranges or {}).get(network.extractor.name),
            start,
            n_found,
            digests,
            labels,
        )
        for network in of_networks
    ]
    for reader in readers:  # before the work
        reader.check(real, fakes)
        if held_out is not None and (of_frechet := frechet_reader(reader)) is not None:
            of_frechet.check(real, [held_out])
    evidence = Evidence()
    of_each = [Notes() for _ in readers]
    found = [
        score_network(
            reader,
            real,
            fakes,
            of_each[place],
            evidence,
            pictures=place == 0 and settings.pictures > 0,
            diagnosis=place == 0 and settings.diagnosis > 0,
            validation=held_out,
        )
        for place, reader in enumerate(readers)
    ]
    records = [_set_record(entry.name, found) for entry in (real, *fakes)]
    named = {part.network.name: each.sentences() for part, each in zip(found, of_each, strict=True)}
    for sentence in _of_networks(named):
        notes.add(sentence)
    notes.add(number_caveat({record.name: record.n_images for record in records[1:]}))
    read = [note for entry in every for note in entry.notes]
    parts = (
        "scores",
        "pairs",
        "floors",
        "fidelity",
        "copies",
        "classes",
        "runs",
        "run_pairs",
        "normalisers",
        "diagnoses",
    )
    told: dict[str, Any] = {name: tuple(chain.from_iterable(getattr(p, name) for p in found)) for name in parts}
    known = {(score.generator, score.network, score.metric): score for score in told["scores"]}
    ratios = ratio_records(records[1:], known, told["normalisers"], settings.confidence)
    own = own_columns(told["scores"], ratios) if outside else {}
    agreements = outside_agreements(own, outside, notes, confidence=settings.confidence)
    leaderboard = Leaderboard(
        title=title,
        reference=records[0],
        generators=tuple(records[1:]),
        networks=tuple(part.network for part in found),
        metrics=settings.metrics,
        settings={
            **{name: value for name, value in dataclasses.asdict(settings).items() if name != "protocol" or value},
            "networks": [part.spec for part in found],
            "batch_size": reading.batch_size,
            "skip_bad": reading.skip_bad,
            **({"read": read} if read else {}),
            **(record or {}),
        },
        command=command,
        versions=_versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **told,
        agreement=_agreement(told["scores"], [entry.name for entry in fakes]),
        notes=notes.sentences(),
        outside=tuple(outside),
        outside_agreement=agreements,
        validation=next((part.validation for part in found if part.validation is not None), None),
        ratios=ratios,
        disputes=find_disputes(told["pairs"]),
        protocol=_protocol(settings, (real, *fakes), records, found),
    )
    return leaderboard, evidence


def _of_networks(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Sentences on several networks, which name theirs where it is not that of all.

    Examples:
        >>> _of_networks({"a": ["few images", "x is 2"], "b": ["few images", "x is 3"]})
        ['few images', 'a: x is 2', 'b: x is 3']
    """
    every = dict.fromkeys(sentence for told in notes.values() for sentence in told)
    named: dict[str, list[str]] = {each: [name for name, told in notes.items() if each in told] for each in every}
    return [each if len(of) == len(notes) else f"{', '.join(of)}: {each}" for each, of in named.items()]


def _opened(sources: Sequence[SourceLike], networks: Sequence[NetworkColumns]) -> list[ImageSet]:
    """The sets of images, each with a name of its own; the first is the reference."""
    kinds = dict.fromkeys(column.kind for network in networks for column in network.columns)
    extractors = [network.extractor.name for network in networks]
    sets = [resolve(source, kinds=list(kinds), extractors=extractors) for source in sources]
    if len(sets) < 2:
        raise ValueError("a leaderboard needs at least one generator, got none")
    names = [entry.name for entry in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"each set of images needs a name of its own; given twice: {', '.join(twice)}")
    for entry in sets:
        if entry.batches is not None:
            raise ValueError(f"expected images that can be read by number, got batches of {entry.source}")
    return sets


def _held_out(source: SourceLike, others: Sequence[ImageSet], networks: Sequence[NetworkColumns]) -> ImageSet:
    """The validation set, with a name of its own."""
    of_frechet = [network.extractor.name for network in networks if frechet_column(network.columns) is not None]
    if not of_frechet:
        named = [column.name for network in networks for column in network.columns]
        raise ValueError(
            "expected a column of a Fréchet distance between covariances (lfd, fid, fd_dinov2), which FDr^k divides by "
            f"that of the validation set, got {', '.join(named)}"
        )
    found = resolve(source, kinds=["layer_gaussian"], extractors=of_frechet)
    if found.batches is not None:
        raise ValueError(f"expected images that can be read by number, got batches of {found.source}")
    taken = any(found.name == entry.name for entry in others)
    return replace(found, name=f"{found.name} (validation)") if taken else found


def _clusters(settings: LeaderboardSettings, sets: Sequence[ImageSet], notes: Notes) -> dict[str, tuple[Hashable, ...]]:
    """The clusters of each set's images, of those sets that have some; and notes on what is taken as independent.

    Raises:
        ValueError: when a rule is given and finds no cluster in any set.
    """
    names_of = {entry.name: tuple(entry.digests) if entry.images is None else entry.images.names for entry in sets}
    known = {entry.name for entry in sets if any(clusters_of(dna) for dna in entry.dnas)}
    found = {}
    if settings.cluster_by is not None:
        rule = ClusterRule.of(settings.cluster_by)
        for name, names in names_of.items():
            labels = rule.labels(names)
            alone = len(labels) - sum(map(in_cluster, labels))
            if alone < len(labels):
                found[name] = labels
            if alone and name not in known:
                notes.add(
                    f"{alone} of its {len(labels)} images are in no cluster by '{rule.by}', and taken as independent.",
                    name,
                )
        if not found and not known:
            raise ValueError(rule.finds_none([name for names in names_of.values() for name in names]))
    for name, names in names_of.items():
        if name not in found and name not in known and (likely := likely_clusters(names)) is not None:
            notes.add(str(likely), name)
    return found


def _protocol(
    settings: LeaderboardSettings,
    sets: Sequence[ImageSet],
    records: Sequence[ImageSetRecord],
    found: Sequence[NetworkScores],
) -> ProtocolRecord | None:
    """What departs from the protocol of the settings, by the network of its columns."""
    if settings.protocol is None:
        return None
    protocol = find_protocol(settings.protocol)
    networks = [part.network for part in found if any(score.metric == protocol.columns[0] for score in part.scores)]
    network = next((each for each in networks if each.name == protocol.extractor), networks[0])
    real, *fakes = (
        SetFacts.of(entry, record.n_images, record.account) for entry, record in zip(sets, records, strict=True)
    )
    return find_departures(protocol, real, fakes, network.parts, ranges=network.ranges)


def _set_record(name: str, found: Sequence[NetworkScores]) -> ImageSetRecord:
    """What the first network says of a set, with what any of them knows of its images."""
    records = [part.sets[name] for part in found]
    return replace(
        records[0],
        manifest=next((record.manifest for record in records if record.manifest), ""),
        skipped=next((record.skipped for record in records if record.skipped), ()),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "vdna_metrics": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _agreement(scores: Sequence[Score], generators: Sequence[str]) -> Agreement | None:
    of_columns: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        of_columns.setdefault((score.metric, score.network), []).append(score)
    columns = {
        f"{metric} {network}": {
            score.generator: find_column(metric).sort_key(value)
            for score, value in zip(column, compared(column), strict=True)
        }
        for (metric, network), column in of_columns.items()
    }
    return None if len(columns) < 2 or len(generators) < 3 else agreement(columns)
