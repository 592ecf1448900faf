"""All that makes a leaderboard, as text and numbers: computed, added to, and computed again from its record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from vdna_metrics.analysis.score_tables import ScoreColumn
from vdna_metrics.build.partitions import cluster_digest
from vdna_metrics.build.passes import calibrate
from vdna_metrics.build.reading import DEFAULT_READING, Reading
from vdna_metrics.build.sets import cached_folder, content_digests
from vdna_metrics.dna.columns import find_column
from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor, create_extractor
from vdna_metrics.extractors.registry import ExtractorLike, is_as_named
from vdna_metrics.files import errors_of
from vdna_metrics.fingerprint import FEATURES, MODULE
from vdna_metrics.images.clusters import ClusterRule, in_cluster
from vdna_metrics.images.dataset_table import DATASET
from vdna_metrics.images.procedural import PROCEDURAL
from vdna_metrics.images.sources import evenly_spaced, manifest_hash
from vdna_metrics.leaderboard.record import Evidence, ImageSetRecord, Leaderboard
from vdna_metrics.leaderboard.runs import number_runs
from vdna_metrics.leaderboard.scoring import score_leaderboard
from vdna_metrics.leaderboard.sets import Start
from vdna_metrics.leaderboard.settings import DEFAULT_SETTINGS, LeaderboardSettings, group_by_network
from vdna_metrics.neurons import load_selection, load_weights
from vdna_metrics.ranges import GivenRanges, as_ranges
from vdna_metrics.references.image_sets import ImageSet
from vdna_metrics.references.resolve import resolve
from vdna_metrics.references.store import IN_STORE, ReferenceStore, default_ranges, known_stores
from vdna_metrics.schema import Check, Positive, typed

_OF_NETWORKS = (TypeError, RuntimeError, LookupError, AttributeError, AssertionError)


@dataclass(frozen=True)
class LeaderboardPlan:
    """What a leaderboard is made of and how, so that its record tells how to make it again.

    Args:
        references: sources of the real images, see `resolve`.
        generators: name and source of each.
        extractors: of all columns but those that have a network of their own.
        settings: columns, groups, and all else that decides the numbers.
        networks: as in `score_leaderboard`.
        ranges: file of activation ranges, or ``"auto"``.
        neurons: file of the selection of neurons to compare.
        neuron_weights: file of their weights.
        root: copy on disk of sources ``dataset:NAME/SPLIT``.
        name: of the reference, by default after the first source.
        reference: the references, where they were opened already.
        validation: source of the images that FDr^k divides by, see `score_leaderboard`.
        outside: scores that were measured elsewhere, likewise.
    """

    references: tuple[str, ...]
    generators: tuple[tuple[str, str], ...]
    extractors: tuple[ExtractorLike, ...]
    settings: LeaderboardSettings = DEFAULT_SETTINGS
    networks: Mapping[str, ExtractorLike] = field(default_factory=dict)
    ranges: str | None = None
    neurons: str | None = None
    neuron_weights: str | None = None
    root: str | None = None
    name: str = ""
    reference: ImageSet | None = field(default=None, repr=False, compare=False)
    validation: str | None = None
    outside: tuple[ScoreColumn, ...] = ()

    @classmethod
    def from_leaderboard(cls, leaderboard: Leaderboard) -> LeaderboardPlan:
        """The plan by which a leaderboard was made.

        Raises:
            ValueError: when its record does not tell all of it.
        """
        settings, making = _recorded(leaderboard)
        specs, names = making.networks, [network.name for network in leaderboard.networks]
        if foreign := [spec.name for spec in specs if spec.architecture.startswith((MODULE, FEATURES))]:
            raise ValueError(f"{foreign[0]} is the user's own, which a leaderboard cannot build again")
        spec_of = dict(zip(names, specs, strict=True))
        named = [(find_column(metric).extractor, network) for network, metric in leaderboard.columns]
        own = {name: spec_of[network] for name, network in named if name is not None}
        free = {network: spec_of[network] for name, network in named if name is None}
        if settings.layers is None and len(free) == 1:
            settings = replace(settings, layers=_incomplete_layers(leaderboard, *free.items()) or None)
        return cls(
            references=making.references,
            generators=tuple((entry.name, entry.source) for entry in leaderboard.generators),
            extractors=tuple(free.values()),
            settings=settings,
            networks=own,
            ranges=making.ranges,
            neurons=making.neurons,
            neuron_weights=making.neuron_weights,
            root=making.root,
            name=leaderboard.reference.name,
            validation=making.validation,
            outside=leaderboard.outside,
        )

    def check_trusted(self) -> None:
        """Raise ``ValueError`` for a plan that reads files or addresses which nobody here has named.

        A record of somebody else's may name weights anywhere, or a store of references anywhere, and a regular
        expression that never ends.
        """
        specs = [each for each in (*self.extractors, *self.networks.values()) if isinstance(each, ExtractorSpec)]
        outside = [f"the weights {spec.weights} for {spec.name}" for spec in specs if not is_as_named(spec)]
        known = {store.location for store in known_stores()}
        given = (*self.references, *(source for _, source in self.generators), self.validation)
        for source in filter(None, given):
            location, inside, _ = source.partition(IN_STORE)
            if ReferenceStore(location).is_remote and location not in known:
                outside.append(f"the store {location}" if inside else f"the address {source}")
        by = self.settings.cluster_by
        if isinstance(by, str) and ClusterRule(by).is_pattern:
            outside.append(f"the regular expression {by!r} for clusters, which may take for ever")
        if outside:
            raise ValueError(
                f"the leaderboard's record names {', '.join(outside)}: expected what comes with the package or is known"
                " here. If you know where the record comes from, allow it by trust=True (--trust)"
            )

    def record(self) -> dict[str, Any]:
        """What `from_leaderboard` needs beside what `score_leaderboard` records."""
        parts = ("ranges", "neurons", "neuron_weights", "root")
        record = {"references": list(self.references), **{part: getattr(self, part) for part in parts}}
        return record if self.validation is None else {**record, "validation": self.validation}

    def with_networks(self, *, trust_code: bool = False) -> LeaderboardPlan:
        """The same with its networks created, each once.

        Raises:
            ValueError: for networks that code of a file makes, unless it is trusted.
        """
        create = partial(create_extractor, trust_code=trust_code)
        own = [column.extractor for column in self.settings.columns if column.extractor is not None]
        networks = {name: create(self.networks.get(name, name)) for name in dict.fromkeys(own)}
        return replace(self, extractors=tuple(map(create, self.extractors)), networks=networks)

    def check_same(self, given: Mapping[str, Any]) -> None:
        """Raise ``ValueError``, showing both sides, for settings that are not these.

        Args:
            given: by name: fields of `LeaderboardSettings`, ``extractors``, and files of this plan.
        """
        own = {
            **{item.name: getattr(self.settings, item.name) for item in fields(LeaderboardSettings)},
            **self.record(),
            "validation": self.validation,
            "extractors": tuple(_name_of(extractor) for extractor in self.extractors),
        }
        for name, value in given.items():
            here, there = own[name], value
            if isinstance(here, tuple) and isinstance(there, tuple):
                here, there = set(here), set(there)
            if here != there:
                raise ValueError(
                    f"{name.replace('_', ' ')} differ: the leaderboard has {_listed(own[name])}, got {_listed(value)}"
                )

    def open_set(self, name: str, sources: Sequence[str]) -> ImageSet:
        """Images and DNAs of one set, of the kinds and networks of the columns.

        Args:
            name: on the leaderboard.
            sources: where they are, see `resolve`.
        """
        kinds = list(dict.fromkeys(column.kind for column in self.settings.columns))
        extractors = [_name_of(network) for network in (*self.extractors, *self.networks.values())]
        return resolve(*sources, name=name, kinds=kinds, extractors=extractors, root=self.root)


_BEFORE: Mapping[str, Any] = {"cluster_by": None, "protocol": None, "diagnosis": 0}
"""What settings were before records had them."""


@dataclass(frozen=True)
class _Making:
    """What the settings of a record say beside those of `LeaderboardSettings`: of what it was made, and how."""

    networks: tuple[ExtractorSpec, ...]
    references: Annotated[tuple[str, ...], Check("at least one", len)]
    ranges: str | None
    neurons: str | None
    neuron_weights: str | None
    batch_size: Positive
    skip_bad: bool
    root: str | None = None
    read: tuple[str, ...] = ()
    validation: str | None = None


def _recorded(leaderboard: Leaderboard) -> tuple[LeaderboardSettings, _Making]:
    """What a record says of how it was made.

    Raises:
        ValueError: when it does not say all of it; the field is named.
    """
    known, given = [item.name for item in fields(LeaderboardSettings)], leaderboard.settings
    settings = {**_BEFORE} | {name: given[name] for name in known if name in given}
    with errors_of("the leaderboard does not record how it was made, so make it again from its images"):
        # Defaults may have changed since then.
        if missing := [name for name in known if name not in settings]:
            raise ValueError(f"settings: expected the fields {', '.join(known)}; it lacks {', '.join(missing)}")
        others = {name: value for name, value in given.items() if name not in settings}
        found, making = typed(LeaderboardSettings, settings, "settings"), typed(_Making, others, "settings")
        if len(making.networks) != len(leaderboard.networks):
            raise ValueError(
                f"settings.networks: expected one for each of {', '.join(each.name for each in leaderboard.networks)}, "
                f"got {', '.join(spec.name for spec in making.networks) or 'none'}"
            )
    return found, making


def _incomplete_layers(leaderboard: Leaderboard, network: tuple[str, ExtractorSpec]) -> dict[str, tuple[str, ...]]:
    """Layers of columns that did not compare all of a network, since the DNAs lacked some: other DNAs may not."""
    name, spec = network
    found = {score.metric: tuple(score.layers) for score in leaderboard.scores if score.network == name}
    return {metric: layers for metric, layers in found.items() if layers and set(layers) != set(spec.paths)}


def _name_of(extractor: ExtractorLike) -> str:
    if isinstance(extractor, FeatureExtractor | ExtractorSpec):
        return extractor.name
    return extractor if isinstance(extractor, str) else create_extractor(extractor).name


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


# ------------------------------------------------------------------------------------------------------------- the work
def make_leaderboard(
    plan: LeaderboardPlan,
    *,
    recorded: Leaderboard | None = None,
    title: str = "",
    command: str = "",
    cache: Path | None = None,
    reading: Reading = DEFAULT_READING,
    start: Start | None = None,
) -> tuple[Leaderboard, Evidence]:
    """Open the sets of images of a plan, and score them.

    Args:
        plan: what of what.
        recorded: the leaderboard that is made again or added to, whose images and networks must be what they were.
        title: of the leaderboard, by default one that tells what is compared.
        command: as in `score_leaderboard`, and so are the others.
        cache: folder where DNAs are kept.
        reading: how images are read.
        start: tells of progress.

    Raises:
        ValueError: as `resolve` and `score_leaderboard`.
    """
    plan = plan.with_networks()
    (reference, *generators), validation, notes = _open_sets(plan, recorded, cache)
    ranges: dict[str, GivenRanges] = {}
    if plan.ranges is not None:
        ranges = dict.fromkeys(map(_name_of, plan.extractors), as_ranges(plan.ranges))
    elif recorded is not None:
        ranges = _recorded_ranges(recorded, plan, reference, reading)
    leaderboard, evidence = score_leaderboard(
        reference,
        generators,
        plan.extractors,
        settings=plan.settings,
        networks=plan.networks,
        ranges=ranges,
        neurons=None if plan.neurons is None else load_selection(plan.neurons),
        weights=None if plan.neuron_weights is None else load_weights(plan.neuron_weights),
        cache=cache,
        title=title or f"{len(generators)} sets of images against {reference.name}",
        command=command,
        record=plan.record(),
        outside=plan.outside,
        validation=validation,
        reading=reading,
        start=start,
    )
    return replace(leaderboard, notes=(*notes, *leaderboard.notes)), evidence


def append_to_leaderboard(
    recorded: Leaderboard,
    generators: Sequence[tuple[str, str]],
    *,
    references: Sequence[str] = (),
    outside: Sequence[ScoreColumn] = (),
    title: str = "",
    command: str = "",
    cache: Path | None = None,
    root: str | None = None,
    trust: bool = False,
    trust_code: bool = False,
    reading: Reading = DEFAULT_READING,
    start: Start | None = None,
) -> tuple[Leaderboard, Evidence]:
    """A leaderboard with more generators, in its settings, as if all had been given at once.

    A generator whose images are gone is scored by the DNAs that the cache kept of it.

    Args:
        recorded: the leaderboard.
        generators: name and source of each that is added.
        references: where the reference lies now, by default where it was.
        outside: scores that were measured elsewhere, added to the leaderboard's, or in place of those of their names.
        title: by default the leaderboard's.
        command: as in `score_leaderboard`, and so are the others.
        cache: folder where DNAs are kept.
        root: copy on disk of sources ``dataset:NAME/SPLIT``, by default where it was.
        trust: whether to read weights and stores that only the record names, see `LeaderboardPlan.check_trusted`.
        trust_code: whether to run code of a file that the record names as a network, ``FILE.py:FACTORY``.
        reading: how images are read.
        start: tells of progress.

    Raises:
        ValueError: when the record does not tell how it was made or is not trusted, or images, networks or settings are
            not what they were; both sides are shown.
    """
    plan = _plan_of(recorded, trust=trust, trust_code=trust_code)
    if again := [source for _, source in generators if source in [known for _, known in plan.generators]]:
        raise ValueError(f"each set of images is given once; given twice: {', '.join(again)}")
    scores = {score.name: score for score in (*plan.outside, *outside)}
    plan = replace(
        plan,
        references=tuple(references) or plan.references,
        generators=(*plan.generators, *generators),
        root=root or plan.root,
        outside=tuple(scores.values()),
    )
    told: dict[str, Any] = {"recorded": recorded, "title": title or recorded.title, "command": command}
    found = make_leaderboard(plan, **told, cache=cache, reading=reading, start=start)
    _check_comparable(recorded, found[0])
    return found


def replay_leaderboard(
    recorded: Leaderboard,
    *,
    pictures: bool = False,
    cache: Path | None = None,
    root: str | None = None,
    trust: bool = False,
    trust_code: bool = False,
    reading: Reading = DEFAULT_READING,
    start: Start | None = None,
) -> tuple[Leaderboard, Evidence]:
    """Compute a leaderboard again from its record; `leaderboard_differences` then compares the two.

    Args:
        recorded: the leaderboard.
        pictures: whether to take pictures too, which are not compared.
        cache: folder where DNAs are kept.
        root: copy on disk of sources ``dataset:NAME/SPLIT``, by default where it was.
        trust: whether to read weights and stores that only the record names, see `LeaderboardPlan.check_trusted`.
        trust_code: whether to run code of a file that the record names as a network, ``FILE.py:FACTORY``.
        reading: how images are read; batches and bad images are treated as they were.
        start: tells of progress.

    Raises:
        ValueError: when the record does not tell how it was made or is not trusted, or images or networks are not what
            they were; both sides are shown.
    """
    plan = _plan_of(recorded, trust=trust, trust_code=trust_code)
    settings = plan.settings if pictures else replace(plan.settings, pictures=0)
    plan = replace(plan, settings=settings, root=root or plan.root)
    _, making = _recorded(recorded)
    reading = replace(reading, batch_size=making.batch_size, skip_bad=making.skip_bad)
    told: dict[str, Any] = {"recorded": recorded, "title": recorded.title, "command": recorded.command}
    return make_leaderboard(plan, **told, cache=cache, reading=reading, start=start)


def _plan_of(recorded: Leaderboard, *, trust: bool, trust_code: bool) -> LeaderboardPlan:
    """The plan of a record, with its networks created."""
    plan = LeaderboardPlan.from_leaderboard(recorded)
    if not trust:
        plan.check_trusted()
    # Arguments of architectures may be any.
    with errors_of("networks of the leaderboard cannot be built", _OF_NETWORKS):
        return plan.with_networks(trust_code=trust_code)


# ------------------------------------------------------------------------------------------------------- sets of images
def _open_sets(
    plan: LeaderboardPlan, recorded: Leaderboard | None, cache: Path | None
) -> tuple[list[ImageSet], ImageSet | None, list[str]]:
    """Reference and generators, and the validation set, which must be what they were where there is a record; notes."""
    reference, first = plan.reference or plan.open_set(plan.name, plan.references), plan.references[0]
    of_store = reference.images is None and not Path(first).exists()
    own_name = plan.name or (first if of_store else named_sources([first])[0][0])
    if not plan.name and own_name in dict(plan.generators):
        own_name = f"{own_name} (reference)"
    records = {} if recorded is None else {record.name: record for record in recorded.generators}
    named = list(plan.generators)
    if plan.validation is not None:
        name = named_sources([plan.validation])[0][0]
        taken = name in (own_name, *dict(named))
        named.append((f"{name} (validation)" if taken else name, plan.validation))
        if recorded is not None and recorded.validation is not None:
            records[named[-1][0]] = recorded.validation
    sets, notes = [replace(reference, name=own_name)], []
    for name, source in named:
        try:
            sets.append(plan.open_set(name, [source]))
        except (ValueError, OSError):
            kept = (
                None
                if recorded is None or cache is None
                else _kept_dnas(records.get(name), recorded, plan.settings.groups, cache)
            )
            if kept is None:
                raise
            sets.append(kept)
            notes.append(f"{source} is not there: {name} is scored by the DNAs that were kept of it")
    changed = [] if recorded is None else [*_changed_images(recorded, plan, sets), *_changed_networks(recorded, plan)]
    if changed:
        raise ValueError("; ".join(changed))
    validation = None if plan.validation is None else sets.pop()
    if not plan.settings.class_folders:
        notes += folder_notes(sets)
    return sets, validation, notes


_CONTAINERS = (".zip", ".tar", ".npz", ".npy", ".txt")


def named_sources(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names and sources of generators.

    A name is that of ``NAME=SOURCE``, what comes after ``procedural:``, or the last part of a path. Endings of archives
    and arrays are left out, unless two would be called the same then. Where a ``NAME=`` is given several times, its
    sources are training runs of one generator, and numbered, see `run_of`.

    Args:
        texts: what a user gave.

    Examples:
        >>> named_sources(["ours=images/a", "images/a.zip", "ffhq-0.5", "b.zip", "b.npz", "procedural:white_noise/20"])
        ... # doctest: +NORMALIZE_WHITESPACE
        (('ours', 'images/a'), ('a', 'images/a.zip'), ('ffhq-0.5', 'ffhq-0.5'), ('b.zip', 'b.zip'), ('b.npz', 'b.npz'),
         ('white_noise-20', 'procedural:white_noise/20'))
    """
    named = [_named(text) for text in texts]
    short = [
        name if source != text else _without_ending(name) for text, (name, source) in zip(texts, named, strict=True)
    ]
    often = Counter(short)
    unlike = [one if often[one] == 1 else name for one, (name, _) in zip(short, named, strict=True)]
    sources = [source for _, source in named]
    given = [source != text for text, source in zip(texts, sources, strict=True)]
    runs = iter(number_runs([name for name, own in zip(unlike, given, strict=True) if own]))
    return tuple(
        (next(runs) if own else name, source) for name, own, source in zip(unlike, given, sources, strict=True)
    )


def _named(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if equals and name and source and not Path(text).exists() and "/" not in name:
        return name, source
    if text.startswith((PROCEDURAL, DATASET)):
        return text.partition(":")[2].replace("/", "-"), text
    return Path(text).resolve().name if Path(text).is_dir() else Path(text).name or text, text


def _without_ending(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in _CONTAINERS else name


def folder_notes(sets: Sequence[ImageSet]) -> list[str]:
    """A sentence for each set that looks like a folder of several sets' folders.

    It has all of its images in folders that no other set has; with others, they are classes or parts of each set.

    Args:
        sets: what is compared, the reference first.
    """
    folders = [set() if entry.images is None else set(entry.images.groups) for entry in sets]
    notes = []
    for place, entry in enumerate(sets[1:], 1):
        others = set().union(*folders[:place], *folders[place + 1 :])
        own = sorted(folders[place])
        if len(own) > 1 and "" not in own and others.isdisjoint(own):
            listed = f"{', '.join(own[:3])}{', ...' if len(own) > 3 else ''}"
            each = f"{entry.source.rstrip('/')}/*" if os.path.isdir(entry.source) else "each folder by itself"
            notes.append(
                f"{entry.name}: its {len(own)} folders ({listed}) are taken for one set of images; if each is a set of "
                f"its own, give {each}"
            )
    return notes


def _kept_dnas(record: ImageSetRecord | None, recorded: Leaderboard, groups: int, cache: Path) -> ImageSet | None:
    """A generator whose images are gone, by the DNAs that were kept of it."""
    if record is None:
        return None
    fingerprints = [network.fingerprint for network in recorded.networks]
    folders = [
        cached_folder(cache, record.manifest, fingerprint, groups, record.clustering) for fingerprint in fingerprints
    ]
    if None in folders:
        return None
    found = resolve(*(folder for folder in folders if folder is not None), name=record.name)
    return replace(found, source=record.source)


def _changed_images(recorded: Leaderboard, plan: LeaderboardPlan, sets: Sequence[ImageSet]) -> list[str]:
    """What of the images is not what it was, with both sides."""
    found = []
    rule = None if plan.settings.cluster_by is None else ClusterRule.of(plan.settings.cluster_by)
    known = filter(None, (recorded.reference, *recorded.generators, recorded.validation))
    records = {record.name: record for record in known}
    for entry in sets:
        record = records.get(entry.name)
        if record is None or entry.images is None or not record.manifest:
            continue
        images = entry.images
        if len(images) != record.n_found:
            found.append(
                f"{entry.name} changed: {record.n_found} images when the leaderboard was made, now {len(images)}"
            )
            continue
        images = evenly_spaced(images, record.n_images + len(record.skipped))
        if rule is not None and not entry.dnas:
            labels = rule.labels(images.names)
            if (cluster_digest(labels) if any(map(in_cluster, labels)) else "") != record.clustering:
                found.append(
                    f"{entry.name} changed: its images were in {record.clusters or 'no'} clusters when the leaderboard "
                    f"was made, now {rule.by} has other ones ({len(set(filter(in_cluster, labels)))})"
                )
        skipped = {name for name, _ in record.skipped}
        kept = [(n, d) for n, d in zip(images.names, content_digests(images), strict=True) if n not in skipped]
        manifest = manifest_hash(*zip(*kept, strict=True))
        if manifest != record.manifest:
            found.append(
                f"{entry.name} changed: its images had the manifest {record.manifest[:12]} when the leaderboard was "
                f"made, now they have {manifest[:12]}"
            )
    return found


def _recorded_ranges(
    recorded: Leaderboard, plan: LeaderboardPlan, reference: ImageSet, reading: Reading
) -> dict[str, GivenRanges]:
    """Auto where it was; before there was auto, ranges of which none ship were calibrated on the reference."""
    found: dict[str, GivenRanges] = {}
    digests = {network.name: network.ranges for network in recorded.networks}
    for network in group_by_network(plan.settings, plan.extractors, plan.networks):
        extractor, digest, layers = network.extractor, digests[network.label], network.layers("histogram")
        if digest == "auto":
            found[extractor.name] = "auto"
            continue
        ship = not digest or default_ranges(extractor) != "auto"
        if ship or reference.images is None or reference.choose_dna("histogram", extractor, layers=layers) is not None:
            continue
        found[extractor.name] = calibrate(reference.images, extractor, layers=layers, reading=reading)
    return found


def _changed_networks(recorded: Leaderboard, plan: LeaderboardPlan) -> list[str]:
    """Likewise of the networks."""
    networks = group_by_network(plan.settings, plan.extractors, plan.networks)
    now = {network.label: network.extractor.fingerprint.digest for network in networks}
    return [
        f"network {network.name} changed: fingerprint {network.fingerprint[:12]} when the leaderboard was made, now "
        f"{now.get(network.name, 'none')[:12]}"
        for network in recorded.networks
        if now.get(network.name) != network.fingerprint
    ]


def _check_comparable(before: Leaderboard, after: Leaderboard) -> None:
    """Refuse another reference, bins or ranges than those of the leaderboard that is added to."""
    for old, new in zip(before.networks, after.networks, strict=True):
        for part in ("bins", "ranges"):
            if getattr(old, part) != getattr(new, part):
                raise ValueError(
                    f"{part} of {old.name} differ: the leaderboard has {str(getattr(old, part))[:12]}, this reference "
                    f"{str(getattr(new, part))[:12]}; it is another leaderboard"
                )
    if before.reference.n_images != after.reference.n_images:
        raise ValueError(
            f"references differ: the leaderboard's has {before.reference.n_images} images, this one "
            f"{after.reference.n_images}; it is another leaderboard"
        )
