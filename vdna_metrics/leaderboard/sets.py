"""A set of images as DNAs of one network: those that are given, and those that one pass makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from vdna_metrics.analysis.fidelity import Features
from vdna_metrics.build.groups import DealtSet, build_dealt_dnas, known_ranges
from vdna_metrics.build.reading import Progress, Reading
from vdna_metrics.distributions import HistogramDistribution, Kind
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA, check_comparable
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.images.opening import open_images
from vdna_metrics.images.sources import ImageSource, manifest_hash
from vdna_metrics.leaderboard.record import ImageSetRecord
from vdna_metrics.leaderboard.settings import LeaderboardSettings, NetworkColumns
from vdna_metrics.neurons import NeuronSelectionLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges
from vdna_metrics.references.folders import holds_dnas, load_dna_folder
from vdna_metrics.references.store import own_ranges

AnyDNA = VDNA | GroupedDNA
Start = Callable[[str, int], Progress]
"""Called with a name and a number of images when they begin to be read; gives what is called after each batch."""


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


def total_of(dna: AnyDNA) -> VDNA:
    """The DNA of all images."""
    return dna.total if isinstance(dna, GroupedDNA) else dna


@dataclass(frozen=True, eq=False)
class SetDNAs:
    """A set of images as one network sees it.

    Args:
        record: of the set.
        dnas: ``{kind: DNA}`` of the compared layers and neurons.
        classes: ``{kind: {class: DNA}}``, where class folders were asked for.
        features: of the last compared layer, where they were asked for and can be had.
        digests: ``{name: sha256}`` of the images, where they are known.
    """

    record: ImageSetRecord
    dnas: Mapping[Kind, AnyDNA]
    classes: Mapping[Kind, Mapping[str, VDNA]]
    features: Features | None
    digests: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class SetReader:
    """Makes the DNAs of sets of images for one network.

    Args:
        network: with its columns.
        settings: groups, bins and what else decides the DNAs.
        reading: how images are read.
        cache: folder where DNAs are kept.
        ranges: activation ranges, where the reference does not bring them.
        start: tells of progress.
        n_found: ``{set: number of its images before they were equalised}``.
    """

    network: NetworkColumns
    settings: LeaderboardSettings
    reading: Reading
    cache: Path | None
    ranges: ActivationRanges | None
    start: Start | None
    n_found: Mapping[str, int]

    @property
    def kinds(self) -> list[Kind]:
        """Of the DNAs that the columns need."""
        return list(dict.fromkeys(column.kind for column in self.network.columns))

    def check(self, reference: ImageSet, generators: Sequence[ImageSet]) -> None:
        """Raise ``ValueError``, before any image is read, when something of a set cannot be had."""
        layers = self._layers({})
        compared = self._given(reference, layers)
        distances = [column.kind for column in self.network.columns if column.distance.arity == 2]
        self._check_set(reference, distances, layers)
        for generator in generators:
            self._check_set(generator, self.kinds, self._layers(compared))
        # Of a score of one set alone there may be no reference; ranges must not depend on which set is looked at.
        if "histogram" in self.kinds and "histogram" not in compared and reference.images is None:
            to_build = [entry.name for entry in generators if "histogram" not in self._given(entry, layers)]
            if to_build and self.ranges is None and own_ranges(self.network.extractor) is None:
                raise ValueError(
                    f"no activation ranges are known for the histograms of {to_build[0]}: {reference.name} has none, "
                    "give ranges"
                )

    def _check_set(
        self, entry: ImageSet, kinds: Sequence[Kind], layers: Mapping[Kind, Sequence[str] | None]
    ) -> None:
        given = self._given(entry, layers)
        missing = [kind for kind in dict.fromkeys(kinds) if kind not in given]
        if missing and entry.images is None:
            network = self.network.extractor
            of_layers = sorted({", ".join(layers[kind] or ()) for kind in missing} - {""})
            wanted = f" with the layers {'; '.join(of_layers)}" if of_layers else ""
            there = "; ".join(f"{dna.kind} of {dna.fingerprint}" for dna in entry.dnas)
            raise ValueError(
                f"{entry.name} has no {' and '.join(missing)} DNA of {network.name} ({network.fingerprint}){wanted}; "
                f"it has {there or 'none'}; add such DNAs, or give the images"
            )
        if entry.images is not None and missing and len(entry.images) < self.settings.groups:
            raise ValueError(
                f"{entry.name}: {len(entry.images)} images cannot be put into {self.settings.groups} groups; take "
                "fewer groups"
            )
        if self.settings.class_folders and entry.images is not None and len(set(entry.images.groups)) < 2:
            raise ValueError(
                f"{entry.name} has no class folders: its images lie in {entry.images.groups[0] or 'one'!r}"
            )

    def read(self, entry: ImageSet, reference: SetDNAs | None = None) -> SetDNAs:
        """The DNAs of a set: those that are given, and those that are built.

        Args:
            entry: the set.
            reference: whose layers, bins and ranges the DNAs have, for a generator.
        """
        compared = {} if reference is None else reference.dnas
        layers = self._layers(compared)
        given = self._given(entry, layers)
        missing = [kind for kind in self.kinds if kind not in given]
        features = self._given_features(entry) if self.settings.fidelity else None
        features_layer = self.network.last_layer if self.settings.fidelity and features is None else None
        built = None
        if entry.images is not None and (missing or features_layer is not None):
            built = self._build(entry.name, entry.images, missing, layers, compared.get("histogram"), features_layer)
        dnas = {**given, **({} if built is None else built.dnas)}
        for kind, dna in compared.items():
            if kind in dnas:
                names = (reference.record.name if reference is not None else "", entry.name)
                check_comparable(total_of(dna), total_of(dnas[kind]), names=names)
        if built is not None and built.features is not None and features_layer is not None:
            fingerprint = self.network.extractor.fingerprint.select([features_layer])
            features = Features(built.names, built.digests, built.features, fingerprint=fingerprint)
        digests = entry.digests if built is None else dict(zip(built.names, built.digests, strict=True))
        classes = {} if built is None else built.classes
        return SetDNAs(self._record(entry, dnas, digests, built), dnas, classes, features, digests)

    def watched(self, name: str, images: ImageSource) -> Reading:
        """Reading that tells of its progress, but not of what is in the cache."""
        if self.start is None:
            return self.reading
        start, label, reports = self.start, f"{self.network.label}: {name}", list[Progress]()

        def report(done: int, total: int | None) -> None:
            if not reports:
                reports.append(start(label, len(images)))
            if done:
                reports[0](done, total)

        return replace(self.reading, progress=report)

    def _build(
        self,
        name: str,
        images: ImageSource,
        kinds: Sequence[Kind],
        layers: Mapping[Kind, Sequence[str] | None],
        histograms: AnyDNA | None,
        features: str | None,
    ) -> DealtSet:
        network, settings = self.network.extractor, self.settings
        bins, ranges = settings.bins, self.ranges
        distribution = None if histograms is None else total_of(histograms).distribution
        if isinstance(distribution, HistogramDistribution):
            bins, ranges = distribution.bins, distribution.ranges
        elif "histogram" in kinds and ranges is None:
            ranges = known_ranges(
                images,
                network,
                layers=layers["histogram"],
                cache=self.cache,
                reading=self.watched(f"ranges: {name}", images),
            )
        return build_dealt_dnas(
            images,
            network,
            kinds,
            groups=settings.groups,
            bins=bins,
            ranges=ranges,
            layers={kind: list(network.layout.select(layers[kind], self._neurons(layers[kind]))) for kind in kinds},
            neurons=self.network.neurons,
            max_positions=settings.max_positions,
            features=features,
            classes=settings.class_folders,
            cache=self.cache,
            name=name,
            reading=self.watched(name, images),
        )

    def _layers(self, compared: Mapping[Kind, AnyDNA]) -> dict[Kind, list[str] | None]:
        """Layers of the DNAs to have: the reference's, else those of the columns; ``None`` for all there are."""
        return {
            kind: list(compared[kind].layout) if kind in compared else self.network.layers(kind) for kind in self.kinds
        }

    def _neurons(self, layers: Sequence[str] | None) -> NeuronSelectionLike | None:
        # Neurons of a layer that is not compared by this kind are not missed.
        chosen = chosen_neurons(self.network.neurons, self.network.extractor.fingerprint)
        return chosen and {layer: at for layer, at in chosen.items() if layers is None or layer in layers}

    def _given(self, entry: ImageSet, layers: Mapping[Kind, Sequence[str] | None]) -> dict[Kind, AnyDNA]:
        """DNAs that need not be computed, of the layers and neurons that are compared."""
        found: dict[Kind, AnyDNA] = {}
        for kind in self.kinds:
            fitting = [dna for dna in entry.dnas if dna.kind == kind and self._fits(dna, layers[kind])]
            if len(fitting) > 1:
                raise ValueError(
                    f"{entry.name}: {len(fitting)} {kind} DNAs of {self.network.extractor.name}; keep one of them"
                )
            for dna in fitting:
                found[kind] = dna.select(layers[kind], self._neurons(layers[kind] or list(dna.layout)))
        return found

    def _fits(self, dna: AnyDNA, layers: Sequence[str] | None) -> bool:
        network, own = self.network.extractor, list(dna.layout)
        if not set(network.layout).issuperset(own) or not set(own).issuperset(layers or ()):
            return False
        return not dna.fingerprint.differences(network.fingerprint.select(own))

    def _given_features(self, entry: ImageSet) -> Features | None:
        layer = self.network.last_layer
        own = self.network.extractor.fingerprint.select([layer])
        for fingerprint, vectors in entry.features:
            if layer in fingerprint.paths and not fingerprint.differences(own):
                return Features(tuple(entry.digests), tuple(entry.digests.values()), vectors, fingerprint=own)
        return None

    def _record(
        self, entry: ImageSet, dnas: Mapping[Kind, AnyDNA], digests: Mapping[str, str], built: DealtSet | None
    ) -> ImageSetRecord:
        every = list(dnas.values()) or list(entry.dnas)
        n_images = every[0].n_images if every else len(digests)
        manifests = {manifest for dna in entry.dnas for manifest in total_of(dna).provenance.manifests}
        manifest = manifest_hash(digests.keys(), digests.values()) if digests else ""
        return ImageSetRecord(
            name=entry.name,
            source=entry.source,
            n_images=n_images,
            n_found=self.n_found.get(entry.name, n_images),
            manifest=manifest or (manifests.pop() if len(manifests) == 1 else ""),
            groups=next((len(dna.groups) for dna in every if isinstance(dna, GroupedDNA)), 0),
            skipped=() if built is None else built.skipped,
        )
