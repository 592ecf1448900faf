"""Score any number of generators against one reference: one pass a generator and network, all that follows from it."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from vdna_metrics._version import __version__
from vdna_metrics.analysis.comparison import DistanceName, Measure, compare_groups
from vdna_metrics.analysis.copies import find_copies
from vdna_metrics.analysis.exemplars import Exemplars, find_exemplars
from vdna_metrics.analysis.explain import explain
from vdna_metrics.analysis.fidelity import Features, measure_fidelity
from vdna_metrics.analysis.ranking import ImageRanking, rank_images
from vdna_metrics.analysis.uncertainty import (
    JackknifedDistance,
    agreement,
    extrapolate_frechet,
    jackknife_distance,
    noise_floor,
    rank_intervals,
)
from vdna_metrics.build.reading import DEFAULT_READING, Progress, Reading
from vdna_metrics.build.sets import CLASS_KINDS, BuiltSet, build_set, known_ranges
from vdna_metrics.distributions import HistogramDistribution, Kind
from vdna_metrics.dna import compare
from vdna_metrics.dna.compare import coverage_warning, rank_warning
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA, check_comparable
from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor, create_extractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.extractors.registry import ExtractorLike
from vdna_metrics.extractors.spec import MODULE
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.emd import EMDUnit
from vdna_metrics.images.batches import ImageDataset
from vdna_metrics.images.opening import open_images
from vdna_metrics.images.sources import ImageSource, evenly_spaced, manifest_hash
from vdna_metrics.layout import NeuronLayout, near_names
from vdna_metrics.leaderboard.record import (
    QUANTILES,
    AgreementRecord,
    ClassRecord,
    CopyRecord,
    Evidence,
    FidelityRecord,
    FloorRecord,
    ImageSetRecord,
    Leaderboard,
    MetricName,
    NetworkRecord,
    PairRecord,
    Score,
)
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges
from vdna_metrics.references.folders import holds_dnas, load_dna_folder

AnyDNA = VDNA | GroupedDNA
Start = Callable[[str, int], Progress]
"""Called with a name and a number of images when they begin to be read; gives what is called after each batch."""

KINDS: dict[MetricName, Kind] = {
    "emd": "histogram",
    "nfd": "gaussian",
    "lfd": "layer_gaussian",
    "fid": "layer_gaussian",
}
DISTANCES: dict[MetricName, DistanceName] = {
    "emd": "emd",
    "nfd": "neuron_frechet",
    "lfd": "layer_frechet",
    "fid": "layer_frechet",
}
FID_LAYER = "block_3"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow")

_EXAMPLES = 6  # images of each set that a report may show
_EXTREMES = 6  # images at either end of a ranking
_TELLING = 10  # neurons with exemplar images
_EXEMPLARS = 4  # of each
_UNIT: EMDUnit = "bins"
_TAKEN_AS_IS = "not dealt into groups, so its images are taken as they are: intervals do not cover their chance."


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The reference or a generator: images, DNAs, or both.

    Args:
        name: unique on the leaderboard.
        source: what the user gave, a path or a name of the store.
        images: where there are some.
        dnas: for networks and kinds that need not be computed.
        features: fingerprint with one layer, and ``[images, neurons]``, as `load_dna_folder` gives them.
        digests: ``{name: sha256}`` of the images that the DNAs are of, where they are known.
    """

    name: str
    source: str
    images: ImageSource | None = None
    dnas: tuple[AnyDNA, ...] = ()
    features: tuple[tuple[ExtractorFingerprint, Tensor], ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, name: str, source: str | Path) -> ImageSet:
        """Images, or a folder of group DNAs.

        Args:
            name: on the leaderboard.
            source: what `open_images` opens, or a folder as `load_dna_folder` reads it.

        Raises:
            ValueError: when it is neither.
        """
        if not holds_dnas(source):
            return cls(name, str(source), open_images(source))
        found = load_dna_folder(source)
        return cls(name, str(source), None, found.dnas, found.features, found.digests)


@dataclass(frozen=True)
class LeaderboardSettings:
    """What decides the numbers of a leaderboard beside its images and networks.

    Args:
        metrics: which.
        groups: into how many each set of images is dealt.
        bins: of histograms, where the reference does not bring them.
        max_positions: as in `build_dnas`.
        layers: of the networks, where not all are looked at.
        confidence: of intervals and ranks.
        seed: of the floor's draws, extrapolations and subsets.
        equalise: take evenly spaced images of each generator, as many as the smallest has.
        class_folders: also a distance of each class folder.
        fidelity: also precision, recall, density, coverage, Vendi score, kernel distance, and the check for copies.
        pictures: images of each set that are looked at once more, for exemplars and the best and worst images.
    """

    metrics: tuple[MetricName, ...] = ("emd", "nfd", "lfd")
    groups: int = 10
    bins: int = 1000
    max_positions: int | None = None
    layers: tuple[str, ...] | None = None
    confidence: float = 0.95
    seed: int = 0
    equalise: bool = False
    class_folders: bool = False
    fidelity: bool = True
    pictures: int = 100

    def __post_init__(self) -> None:
        for name in ("metrics", "layers"):
            if isinstance(getattr(self, name), list):  # as JSON has them
                object.__setattr__(self, name, tuple(getattr(self, name)))
        unknown = [metric for metric in self.metrics if metric not in get_args(MetricName)]
        if unknown or not self.metrics:
            raise ValueError(f"metrics are of {', '.join(get_args(MetricName))}, got {', '.join(unknown) or 'none'}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"a confidence lies between 0 and 1, got {self.confidence}")
        if self.pictures < 0:
            raise ValueError(f"pictures must not be negative, got {self.pictures}")


def score_leaderboard(
    reference: ImageSet,
    generators: Sequence[ImageSet],
    extractors: Sequence[ExtractorLike],
    *,
    settings: LeaderboardSettings = LeaderboardSettings(),
    fid_extractor: ExtractorLike = "fid_inception",
    ranges: Mapping[str, ActivationRanges] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    cache: Path | None = None,
    title: str = "Leaderboard",
    command: str = "",
    record: Mapping[str, Any] | None = None,
    reading: Reading = DEFAULT_READING,
    start: Start | None = None,
) -> tuple[Leaderboard, Evidence]:
    """Score generators, one network after the other, each image once a network.

    Beside the reference, the DNAs of one generator are in memory at a time.

    Args:
        reference: real images.
        generators: at least one.
        extractors: for emd, nfd and lfd; none where only fid is asked for.
        settings: metrics, groups, and all else that decides the numbers.
        fid_extractor: the FID Inception, for fid.
        ranges: activation ranges, ``{extractor name: ranges}``; by default the reference DNA's, else those that ship,
            else those of the reference's images.
        neurons: of the neurons to compare, as in `compare`; for one extractor.
        weights: likewise.
        cache: folder where DNAs are kept, see `build_set`.
        title: of the leaderboard.
        command: that makes this leaderboard, for its record.
        record: what else goes into the leaderboard's settings.
        reading: how images are read.
        start: tells of progress.

    Raises:
        ValueError: for names that are not unique, unreadable images (unless skipped), DNAs that are missing or of
            another network, and sets too small to be dealt into groups.
    """
    names = [entry.name for entry in (reference, *generators)]
    if not generators or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            f"a leaderboard needs generators, each with a name of its own; given twice: {', '.join(twice)}"
        )
    plain = tuple(metric for metric in settings.metrics if metric != "fid")
    if bool(plain) != bool(extractors):
        raise ValueError(f"{len(extractors)} extractors for the metrics {', '.join(settings.metrics)}")
    if (neurons is not None or weights is not None) and len(extractors) > 1:
        raise ValueError(f"neurons and weights belong to one extractor, given are {len(extractors)}")
    notes = _Notes()
    numbers = {entry.name: len(entry.images) for entry in (reference, *generators) if entry.images is not None}
    if settings.equalise:
        least = min((numbers[entry.name] for entry in generators if entry.name in numbers), default=0)
        generators = [
            entry if entry.images is None else replace(entry, images=evenly_spaced(entry.images, least))
            for entry in generators
        ]
    looks: list[tuple[ExtractorLike, tuple[MetricName, ...]]] = [(extractor, plain) for extractor in extractors]
    if "fid" in settings.metrics:
        looks.append((fid_extractor, ("fid",)))
    jobs = [_Job(extractor, metrics, reference, settings, neurons, weights) for extractor, metrics in looks]
    names = []
    for job in jobs:  # before the work
        network = create_extractor(job.extractor)
        names.append(network.name)
        for entry in (reference, *generators):
            job.check(entry, network)
    parts = [
        _Look(label, create_extractor(job.extractor), job, generators, reading, cache, ranges or {}, notes, start).run(
            first=place == 0
        )
        for place, (label, job) in enumerate(zip(_unique(names), jobs, strict=True))
    ]
    records = {entry.name: _set_record(entry, parts, numbers) for entry in (reference, *generators)}
    sizes = {entry.name: records[entry.name].n_images for entry in generators}
    if len(set(sizes.values())) > 1:
        few, many = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
        notes.add(
            f"Generators differ in their number of images ({few} {sizes[few]}, {many} {sizes[many]}): plain values of "
            "fewer images are larger by chance alone. Compare the corrected ones, or equalise the numbers."
        )
    scores = tuple(score for part in parts for score in part.scores)
    leaderboard = Leaderboard(
        title=title,
        reference=records[reference.name],
        generators=tuple(records[entry.name] for entry in generators),
        networks=tuple(part.network for part in parts),
        metrics=settings.metrics,
        scores=scores,
        settings={
            **dataclasses.asdict(settings),
            "networks": [part.spec for part in parts],
            "batch_size": reading.batch_size,
            "skip_bad": reading.skip_bad,
            **(record or {}),
        },
        command=command,
        versions=_versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        pairs=tuple(pair for part in parts for pair in part.pairs),
        floors=tuple(floor for part in parts for floor in part.floors),
        fidelity=tuple(each for part in parts for each in part.fidelity),
        copies=tuple(each for part in parts for each in part.copies),
        classes=tuple(each for part in parts for each in part.classes),
        agreement=_agreement(scores, [entry.name for entry in generators]),
        notes=notes.sentences(),
    )
    evidence = Evidence(
        reference={part.network.name: part.reference for part in parts if part.reference is not None},
        generated={(part.network.name, name): dna for part in parts for name, dna in part.generated.items()},
        exemplars={(part.network.name, name): found for part in parts for name, found in part.exemplars.items()},
        rankings={name: ranking for part in parts for name, ranking in part.rankings.items()},
        examples={name: pictures for part in parts for name, pictures in part.examples.items()},
    )
    return leaderboard, evidence


# ------------------------------------------------------------------------------------------------------------- one side
@dataclass(frozen=True, eq=False)
class _Side:
    """What is known of a set of images through one network."""

    dnas: Mapping[MetricName, AnyDNA]
    built: BuiltSet | None = None
    features: Features | None = None
    n_images: int = 0
    groups: int = 0

    names: tuple[str, ...] = ()
    digests: frozenset[str] = frozenset()
    manifest: str = ""

    def without_states(self) -> _Side:
        """Only what records tell."""
        built = None if self.built is None else replace(self.built, dnas={}, classes={}, features=None)
        return replace(self, dnas={}, built=built, features=None)


@dataclass(frozen=True, eq=False)
class _Job:
    """A network and what is asked of it."""

    extractor: ExtractorLike
    metrics: tuple[MetricName, ...]
    reference: ImageSet
    settings: LeaderboardSettings
    neurons: NeuronsLike | None
    weights: NeuronWeightsLike | None

    @property
    def layers(self) -> list[str] | None:
        """Layers that are asked for; ``None`` for all."""
        if self.metrics == ("fid",):
            return [FID_LAYER]
        return None if self.settings.layers is None else list(self.settings.layers)

    def given(self, entry: ImageSet, network: FeatureExtractor) -> dict[MetricName, AnyDNA]:
        """The DNAs that need not be computed, of the layers and neurons that are compared."""
        found: dict[MetricName, AnyDNA] = {}
        for metric in self.metrics:
            fitting = [dna for dna in entry.dnas if dna.kind == KINDS[metric] and self._fits(dna, network)]
            if len(fitting) > 1:
                raise ValueError(
                    f"{entry.name}: {len(fitting)} {KINDS[metric]} DNAs of {network.name}; keep one of them"
                )
            if fitting:
                layers = None if self.layers is None else [layer for layer in self.layers if layer in fitting[0].layout]
                chosen = chosen_neurons(self.neurons, network.fingerprint)
                # A neuron of a layer that this kind of DNA does not have is not missed.
                inside = chosen and {layer: at for layer, at in chosen.items() if layer in fitting[0].layout}
                found[metric] = fitting[0].select(layers, inside)
        return found

    def _fits(self, dna: AnyDNA, network: FeatureExtractor) -> bool:
        layers = list(dna.layout)
        if any(layer not in network.layout for layer in layers) or set(self.layers or layers).isdisjoint(layers):
            return False
        return not dna.fingerprint.differences(network.fingerprint.select(layers))

    def check(self, entry: ImageSet, network: FeatureExtractor) -> None:
        """Raise ``ValueError`` when a metric cannot be had of a set."""
        given = self.given(entry, network)
        missing = [metric for metric in self.metrics if metric not in given]
        if missing and entry.images is None:
            kinds = " and ".join(dict.fromkeys(KINDS[metric] for metric in missing))
            there = "; ".join(f"{dna.kind} of {dna.fingerprint}" for dna in entry.dnas)
            raise ValueError(
                f"{entry.name} has no {kinds} DNA of {network.name} ({network.fingerprint}); it has {there or 'none'}; "
                "add such DNAs, or give the images"
            )
        if entry.images is not None and missing and len(entry.images) < self.settings.groups:
            raise ValueError(
                f"{entry.name}: {len(entry.images)} images cannot be dealt into {self.settings.groups} groups; "
                "take fewer groups"
            )
        if self.settings.class_folders and entry.images is not None and len(set(entry.images.groups)) < 2:
            raise ValueError(
                f"{entry.name} has no class folders: its images lie in {entry.images.groups[0] or 'one'!r}"
            )


class _Notes:
    """Sentences, each once with all that it is true of."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, sentence: str | None, name: str = "") -> None:
        if sentence is not None and name not in self._names.setdefault(sentence, []):
            self._names[sentence].append(name)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            f"{', '.join(names)}: {sentence}" if any(names) else sentence for sentence, names in self._names.items()
        )


@dataclass(eq=False)
class _Said:
    """What one network says of all generators."""

    network: NetworkRecord
    spec: Mapping[str, Any]
    reference: VDNA | None
    scores: list[Score] = field(default_factory=list)
    pairs: list[PairRecord] = field(default_factory=list)
    floors: list[FloorRecord] = field(default_factory=list)
    fidelity: list[FidelityRecord] = field(default_factory=list)
    copies: list[CopyRecord] = field(default_factory=list)
    classes: list[ClassRecord] = field(default_factory=list)
    generated: dict[str, VDNA] = field(default_factory=dict)
    exemplars: dict[str, tuple[Exemplars, ...]] = field(default_factory=dict)
    rankings: dict[str, ImageRanking] = field(default_factory=dict)
    examples: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    sides: dict[str, _Side] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Look:
    """One network looking."""

    label: str
    extractor: FeatureExtractor
    job: _Job
    entries: Sequence[ImageSet]
    reading: Reading
    cache: Path | None
    ranges: Mapping[str, ActivationRanges]
    notes: _Notes
    start: Start | None

    def run(self, *, first: bool) -> _Said:
        """Score all generators; pictures are taken by the first network."""
        entry = self.job.reference
        real = self._side(entry, None)
        said = _Said(self._record(real), _spec_record(self.extractor.spec), _shown(real))
        said.sides[entry.name] = real.without_states()
        for metric in self.job.metrics:
            self._collect_notes(entry.name, _total(real.dnas[metric]))
        if first:
            self._take_examples(said, entry)
        jackknifed: dict[MetricName, dict[str, JackknifedDistance]] = {metric: {} for metric in self.job.metrics}
        for generator in self.entries:
            fake = self._side(generator, real)
            common = len(fake.digests & real.digests)
            if common:
                self.notes.add(
                    f"{common} of its images are images of {entry.name}, too: its values are too low, the corrected "
                    "ones far too low. Give images that the reference does not have.",
                    generator.name,
                )
            for metric in self.job.metrics:
                found = self._score(said, generator.name, metric, real.dnas[metric], fake.dnas[metric])
                if found is not None:
                    jackknifed[metric][generator.name] = found
            self._measure_features(said, generator.name, real, fake)
            self._measure_classes(said, generator.name, real, fake)
            shown = _shown(fake)
            if shown is not None:
                said.generated[generator.name] = shown
            if first:
                self._take_pictures(said, generator)
            said.sides[generator.name] = fake.without_states()
        # Rows of arrays have numbers, no names that could say that two belong together.
        paired = {name: side.names for name, side in said.sides.items() if not all(map(str.isdecimal, side.names))}
        for metric, results in jackknifed.items():
            if len(results) == len(self.entries):
                _rank(said, metric, results, paired, self.job.settings.confidence)
            dealt = real.dnas[metric]
            if isinstance(dealt, GroupedDNA):
                self._find_floor(said, metric, dealt)
        if self.job.settings.fidelity and real.features is None:
            self.notes.add("Fidelity, diversity and copies need the images of the reference.")
        return said

    # ------------------------------------------------------------------------------------------------------- the passes
    def _side(self, entry: ImageSet, real: _Side | None) -> _Side:
        """DNAs of a set: those that are given, and those that are built, in the settings of the reference's."""
        settings, job = self.job.settings, self.job
        given = job.given(entry, self.extractor)
        missing = [metric for metric in job.metrics if metric not in given]
        features_layer = self._features_layer if settings.fidelity else None
        features = None if features_layer is None else self._given_features(entry, features_layer)
        built = None
        if entry.images is not None and (missing or (features_layer and features is None)):
            kinds = list(dict.fromkeys(KINDS[metric] for metric in missing))
            bins, ranges = settings.bins, None
            known = real.dnas.get("emd") if real is not None else None
            if known is not None:
                distribution = _total(known).distribution
                if isinstance(distribution, HistogramDistribution):
                    bins, ranges = distribution.bins, distribution.ranges
            elif "histogram" in kinds:
                ranges = self.ranges.get(self.extractor.name)
                if ranges is None:
                    ranges = known_ranges(
                        entry.images,
                        self.extractor,
                        layers=job.layers,
                        cache=self.cache,
                        reading=self._watched(f"ranges: {entry.name}", entry.images),
                    )
            built = build_set(
                entry.images,
                self.extractor,
                kinds,
                groups=settings.groups,
                bins=bins,
                ranges=ranges,
                layers={KINDS[metric]: list(self._layout(metric, real)) for metric in missing},
                neurons=job.neurons,
                max_positions=settings.max_positions,
                features=features_layer,
                classes=settings.class_folders,
                cache=self.cache,
                name=entry.name,
                reading=self._watched(entry.name, entry.images),
            )
            if features_layer is not None and built.features is not None:
                fingerprint = self.extractor.fingerprint.select([features_layer])
                features = Features(built.names, built.digests, built.features, fingerprint=fingerprint)
        dnas: dict[MetricName, AnyDNA] = {
            **given,
            **{metric: built.dnas[KINDS[metric]] for metric in missing if built is not None},
        }
        if real is not None:
            for metric, dna in list(dnas.items()):
                # DNAs of files may have more layers than the reference.
                wanted = real.dnas[metric].layout
                dnas[metric] = dna if dna.layout == wanted else dna.select(list(wanted))
                names = (job.reference.name, entry.name)
                check_comparable(_total(real.dnas[metric]), _total(dnas[metric]), names=names)
        one = next(iter(dnas.values()))
        digests = entry.digests if built is None else dict(zip(built.names, built.digests, strict=True))
        return _Side(
            dnas,
            built,
            features,
            one.n_images,
            len(one.groups) if isinstance(one, GroupedDNA) else 0,
            tuple(digests),
            frozenset(digests.values()),
            manifest_hash(digests.keys(), digests.values()) if digests else "",
        )

    def _given_features(self, entry: ImageSet, layer: str) -> Features | None:
        own = self.extractor.fingerprint.select([layer])
        for fingerprint, vectors in entry.features:
            if layer in fingerprint.paths and not fingerprint.differences(own):
                return Features(tuple(entry.digests), tuple(entry.digests.values()), vectors, fingerprint=own)
        return None

    def _layout(self, metric: MetricName, real: _Side | None) -> NeuronLayout:
        if real is not None:
            return real.dnas[metric].layout
        layout = self.extractor.layout
        return layout.select(self.job.layers, chosen_neurons(self.job.neurons, self.extractor.fingerprint))

    @property
    def _features_layer(self) -> str:
        return (self.job.layers or list(self.extractor.layout))[-1]

    def _watched(self, name: str, images: ImageSource) -> Reading:
        if self.start is None:
            return self.reading
        start, label, reports = self.start, f"{self.label}: {name}", list[Progress]()

        def report(done: int, total: int | None) -> None:
            if not reports:  # not for what is in the cache
                reports.append(start(label, len(images)))
            if done:
                reports[0](done, total)

        return replace(self.reading, progress=report)

    # ------------------------------------------------------------------------------------------------------ the numbers
    def _score(
        self, said: _Said, name: str, metric: MetricName, real: AnyDNA, fake: AnyDNA
    ) -> JackknifedDistance | None:
        settings = self.job.settings
        self._collect_notes(name, _total(fake))
        options: Any = {"distance": DISTANCES[metric], "weights": self.job.weights}
        found, extrapolated = None, None
        if isinstance(real, GroupedDNA) or isinstance(fake, GroupedDNA):
            found = jackknife_distance(real, fake, confidence=settings.confidence, **options)
            value, by_layer = found.score.value, {layer: each.value for layer, each in found.layers.items()}
            for side, dna in ((self.job.reference.name, real), (name, fake)):
                if not isinstance(dna, GroupedDNA):
                    self.notes.add(_TAKEN_AS_IS, side)
            if metric != "emd" and isinstance(fake, GroupedDNA) and len(fake.groups) >= 3:
                infinity = extrapolate_frechet(real, fake, draws=2, seed=settings.seed, **options).score
                extrapolated = (infinity.corrected, infinity.standard_error)
        else:
            measure = Measure(DISTANCES[metric], None, None, self.job.weights, _UNIT)
            value, by_layer = measure(real, fake), measure.by_layer(real, fake)
        said.scores.append(
            Score(
                generator=name,
                network=self.label,
                metric=metric,
                value=value,
                layers=by_layer,
                quantiles=_quantiles(metric, _total(real), _total(fake)),
                estimate=None if found is None else found.score,
                layer_estimates={} if found is None else dict(found.layers),
                extrapolated=extrapolated,
            )
        )
        return found

    def _find_floor(self, said: _Said, metric: MetricName, real: GroupedDNA) -> None:
        floor = noise_floor(
            real,
            max(said.sides[entry.name].n_images for entry in self.entries),
            distance=DISTANCES[metric],
            weights=self.job.weights,
            seed=self.job.settings.seed,
        )
        said.floors.append(
            FloorRecord(
                network=self.label,
                metric=metric,
                value=floor.value,
                spread=floor.spread,
                n_images=floor.n_images,
                measured_at=floor.measured_at,
                layers=dict(floor.layers),
            )
        )

    def _measure_features(self, said: _Said, name: str, real: _Side, fake: _Side) -> None:
        if real.features is None or fake.features is None:
            return
        layer, device, seed = self._features_layer, self.reading.device, self.job.settings.seed
        try:
            found = measure_fidelity(real.features, fake.features, seed=seed, device=device).to_json()
            said.fidelity.append(FidelityRecord(name, self.label, layer, found["values"], found["settings"]))
            copies = find_copies(fake.features, real.features, device=device)
        except ValueError as error:  # too few images for their neighbours; the distances stand
            self.notes.add(f"no fidelity, diversity or copies: {error}", name)
            return
        suspects = tuple((match.image, match.reference, match.ratio) for match in copies.suspects)
        said.copies.append(
            CopyRecord(name, self.label, suspects, len(copies.matches), copies.threshold, copies.false_alarms)
        )

    def _measure_classes(self, said: _Said, name: str, real: _Side, fake: _Side) -> None:
        if real.built is None or fake.built is None or not fake.built.classes:
            return
        for metric in self.job.metrics:
            kind = KINDS[metric]
            if kind not in CLASS_KINDS:
                continue
            classes, own = fake.built.classes[kind], real.built.classes[kind]
            for label in classes:
                if label not in own:
                    raise ValueError(f"{name}: class {label!r} is not in the reference; {near_names(label, list(own))}")
            report = compare_groups(classes, own, distance=DISTANCES[metric], weights=self.job.weights)
            said.classes += [
                ClassRecord(name, self.label, metric, group.group, group.n_images, group.distance)
                for group in report.groups
            ]

    def _collect_notes(self, name: str, dna: VDNA) -> None:
        for sentence in (coverage_warning(dna), rank_warning(dna)):
            self.notes.add(sentence, name)

    # ---------------------------------------------------------------------------------------------------- what is shown
    def _record(self, real: _Side) -> NetworkRecord:
        fingerprint = self.extractor.fingerprint
        parts = {
            "architecture": fingerprint.architecture,
            "weights": fingerprint.weights,
            "preprocessing": fingerprint.preprocessing,
            "precision": fingerprint.precision,
        }
        if fingerprint.options:
            parts["options"] = ", ".join(fingerprint.options)
        looked_at = {layer: count for dna in real.dnas.values() for layer, count in dna.layout.items()}
        layers = {layer: looked_at[layer] for layer in self.extractor.layout if layer in looked_at}
        distribution = _total(real.dnas["emd"]).distribution if "emd" in real.dnas else None
        bins, ranges = 0, ""
        if isinstance(distribution, HistogramDistribution):
            bins, ranges = distribution.bins, distribution.ranges.digest
        return NetworkRecord(self.label, fingerprint.digest, parts, layers, bins, ranges)

    def _take_examples(self, said: _Said, entry: ImageSet) -> None:
        if entry.images is None or not self.job.settings.pictures:
            return
        dataset = ImageDataset(evenly_spaced(entry.images, _EXAMPLES), ResizeImage(self.extractor.preprocess))
        found = (dataset[index].image for index in range(len(dataset)))
        said.examples[entry.name] = tuple(
            image.clamp(0, 255).round().byte() for image in found if isinstance(image, Tensor)
        )

    def _take_pictures(self, said: _Said, entry: ImageSet) -> None:
        self._take_examples(said, entry)
        most = self.job.settings.pictures
        if not most or entry.images is None or said.reference is None:
            return
        some = evenly_spaced(entry.images, most)
        reading = self._watched(f"pictures: {entry.name}", some)
        if reading.progress is not None:
            reading.progress(0, len(some))
        said.rankings[entry.name] = rank_images(
            some, said.reference, self.extractor, weights=self.job.weights, pictures=_EXTREMES, reading=reading
        )
        if said.reference.kind != "histogram":
            return
        explanation = explain(said.reference, said.generated[entry.name], weights=self.job.weights)
        sides: list[tuple[Literal["reference", "generated"], ImageSource]] = [("generated", some)]
        if self.job.reference.images is not None:
            sides.insert(0, ("reference", evenly_spaced(self.job.reference.images, most)))
        said.exemplars[entry.name] = tuple(
            find_exemplars(
                explanation,
                images,
                self.extractor,
                side=side,
                neurons=_TELLING,
                number=_EXEMPLARS,
                reading=self.reading,
            )
            for side, images in sides
        )


# -------------------------------------------------------------------------------------------------------------- records
def _total(dna: AnyDNA) -> VDNA:
    return dna.total if isinstance(dna, GroupedDNA) else dna


def _rank(
    said: _Said,
    metric: MetricName,
    results: Mapping[str, JackknifedDistance],
    paired: Mapping[str, tuple[str, ...]],
    confidence: float,
) -> None:
    ranking = rank_intervals(results, paired=paired, confidence=confidence)
    said.scores = [
        replace(score, rank=ranking.ranks[score.generator]) if score.metric == metric else score
        for score in said.scores
    ]
    for pair in ranking.pairs:
        estimate = pair.difference.estimate
        said.pairs.append(
            PairRecord(
                a=pair.a,
                b=pair.b,
                network=said.network.name,
                metric=metric,
                difference=estimate.corrected,
                low=estimate.low,
                high=estimate.high,
                p_value=pair.p_value,
                paired=pair.difference.paired,
                tied=pair.tied,
            )
        )


def _shown(side: _Side) -> VDNA | None:
    dna = side.dnas.get("emd", side.dnas.get("nfd"))
    return None if dna is None else _total(dna)


def _quantiles(metric: MetricName, real: VDNA, fake: VDNA) -> dict[str, tuple[float, ...]]:
    if DISTANCES[metric] == "layer_frechet":
        return {}
    function: Any = compare.emd if metric == "emd" else compare.neuron_frechet
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    of_neurons = cast("dict[str, Tensor]", function(real, fake, reduction="none"))
    return {layer: tuple(distances.quantile(levels).tolist()) for layer, distances in of_neurons.items()}


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        same = sum(other == name for other in found)
        found.append(name if not same else f"{name} ({same + 1})")
    return found


def _set_record(entry: ImageSet, parts: Sequence[_Said], numbers: Mapping[str, int]) -> ImageSetRecord:
    sides = [part.sides[entry.name] for part in parts]
    built = next((side.built for side in sides if side.built is not None), None)
    manifest = next((side.manifest for side in sides if side.manifest), "")
    manifests = {manifest for dna in entry.dnas for manifest in _total(dna).provenance.manifests}
    if not manifest and len(manifests) == 1:
        manifest = manifests.pop()
    return ImageSetRecord(
        name=entry.name,
        source=entry.source,
        n_images=sides[0].n_images,
        n_found=numbers.get(entry.name, sides[0].n_images),
        manifest=manifest,
        groups=sides[0].groups,
        skipped=() if built is None else built.skipped,
    )


def _spec_record(spec: ExtractorSpec) -> dict[str, Any]:
    if spec.architecture.startswith(MODULE):
        return {"name": spec.name, "architecture": spec.architecture}
    return {
        item.name: getattr(spec, item.name)
        for item in dataclasses.fields(ExtractorSpec)
        if item.name not in ("neurons", "licence", "note")
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "vdna_metrics": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _agreement(scores: Sequence[Score], generators: Sequence[str]) -> AgreementRecord | None:
    columns: dict[str, dict[str, float]] = {}
    for score in scores:
        value = score.value if score.estimate is None else score.estimate.corrected
        columns.setdefault(f"{score.metric} {score.network}", {})[score.generator] = value
    if len(columns) < 2 or len(generators) < 3:
        return None
    found = agreement(columns)
    return AgreementRecord(found.columns, found.spearman, found.kendall, found.notes)
