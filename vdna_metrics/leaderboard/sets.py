"""A set of images as DNAs of one network: those that are given, and those that one pass makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vdna_metrics.analysis.features import Features
from vdna_metrics.build.leading import shared
from vdna_metrics.build.partitions import cluster_digest
from vdna_metrics.build.passes import ImageWork, run_beside
from vdna_metrics.build.reading import Progress, Reading
from vdna_metrics.build.sets import BuiltSet, build_set, content_digests
from vdna_metrics.distributions import Histogram, Kind
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.grouped import GroupedDNA, clusters_of, total_of
from vdna_metrics.dna.vdna import VDNA, ImageClusters, Provenance, check_comparable
from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
from vdna_metrics.images.sources import ImageSource, manifest_hash
from vdna_metrics.leaderboard.record import ImageSetRecord
from vdna_metrics.leaderboard.settings import LeaderboardSettings, NetworkColumns
from vdna_metrics.neurons import chosen_neurons
from vdna_metrics.ranges import GivenRanges
from vdna_metrics.references.image_sets import AnyDNA, ChosenDNA, ImageSet, extractor_of

Start = Callable[[str, int], Progress]
"""Called with a name and a number of images when they begin to be read; gives what is called after each batch."""


@dataclass(frozen=True, eq=False)
class SetDNAs:
    """A set of images as one network sees it.

    Args:
        record: of the set.
        dnas: ``{column: DNA}`` of the layers and neurons that it compares; one for columns that compare the same.
        classes: ``{kind: {class: DNA}}``, with ``class_folders``.
        features: of the last compared layer, with ``fidelity`` and where they can be had.
        digests: ``{name: sha256}`` of the images, where they are known.
        notes: what is not compared of it, and why.
        beside: what each work made that was done in the same pass.
    """

    record: ImageSetRecord
    dnas: Mapping[str, AnyDNA]
    classes: Mapping[Kind, Mapping[str, VDNA]]
    features: Features | None
    digests: Mapping[str, str]
    notes: tuple[str, ...]
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SetReader:
    """Makes the DNAs of sets of images for one network.

    Args:
        network: with its columns.
        settings: groups, bins and what else decides the DNAs.
        reading: how images are read.
        cache: folder where DNAs are kept.
        ranges: of histograms, where the reference does not bring them; ``None`` for the default of `build_dnas`.
        start: tells of progress.
        n_found: ``{set: number of its images before they were equalised}``.
        digests: ``{set: sha256 of each image}``, filled for the cache: bytes are read once for all networks.
        clusters: ``{set: cluster of each image}`` of sets whose images depend on each other.
    """

    network: NetworkColumns
    settings: LeaderboardSettings
    reading: Reading
    cache: Path | None
    ranges: GivenRanges | None
    start: Start | None
    n_found: Mapping[str, int]
    digests: dict[str, list[str]]
    clusters: Mapping[str, Sequence[Hashable]] = field(default_factory=dict)

    def check(self, reference: ImageSet, generators: Sequence[ImageSet]) -> None:
        """Raise ``ValueError``, before any image is read, when something of a set cannot be had."""
        columns = self.network.columns
        given = self._given(reference, {})
        self._check_set(reference, [column for column in columns if column.distance.arity == 2], {})
        compared = {name: list(chosen.dna.layout) for name, chosen in given.items()}
        for generator in generators:
            self._check_set(generator, columns, compared)

    def _check_set(self, entry: ImageSet, columns: Sequence[Column], compared: Mapping[str, Sequence[str]]) -> None:
        given = self._given(entry, compared)
        missing = list(dict.fromkeys(column.kind for column in columns if column.name not in given))
        if missing and entry.images is None:
            network = self.network.extractor
            there = "; ".join(f"{dna.kind} of {extractor_of(dna)} ({dna.fingerprint})" for dna in entry.dnas)
            runs = {spec.name: f", or --fid-mode {mode}" for mode, spec in FID_INCEPTIONS.items()}
            others = [run for name, run in runs.items() if name in entry.networks and name != network.name]
            advice = next(iter(others), "") if network.name in runs else ""
            raise ValueError(
                f"{entry.name} has no {' and '.join(missing)} DNA of {network.name} ({network.fingerprint}); it has "
                f"{there or 'none'}; add such DNAs, or give the images{advice}"
            )
        few = entry.images is not None and len(entry.images) < self.settings.groups
        if entry.images is not None and missing and few and entry.name not in self.clusters:
            raise ValueError(
                f"{entry.name}: {len(entry.images)} images cannot be put into {self.settings.groups} groups; take "
                "fewer groups"
            )
        if self.settings.class_folders and entry.images is not None and len(set(entry.images.groups)) < 2:
            raise ValueError(
                f"{entry.name} has no class folders: its images lie in {entry.images.groups[0] or 'one'!r}"
            )

    def read(
        self, entry: ImageSet, reference: SetDNAs | None = None, beside: Mapping[str, ImageWork[Any]] | None = None
    ) -> SetDNAs:
        """The DNAs of a set: those that are given, and those that are built.

        Args:
            entry: the set.
            reference: whose layers, bins and ranges the DNAs have, for a generator.
            beside: what else is done with its images, in the same pass where there is one over all.
        """
        real = {} if reference is None else reference.dnas
        compared = {name: list(dna.layout) for name, dna in real.items()}
        given = self._given(entry, compared)
        features = self._given_features(entry) if self.settings.fidelity else None
        features_layer = self.network.last_layer if self.settings.fidelity and features is None else None
        missing = [column for column in self.network.columns if column.name not in given]
        dnas, built = {name: chosen.dna for name, chosen in given.items()}, None
        if entry.images is not None and (missing or features_layer is not None):
            layers = {column.name: compared.get(column.name, column.layers) for column in missing}
            built = self._build(entry.name, entry.images, missing, layers, real, features_layer, beside or {})
            selected: dict[tuple[Kind, tuple[str, ...] | None], AnyDNA] = {}
            for column in missing:
                of = layers[column.name]
                key = column.kind, None if of is None else tuple(of)
                if key not in selected:
                    selected[key] = built.dnas[column.kind].select(of)
                dnas[column.name] = selected[key]
        for name, dna in real.items():
            if name in dnas and reference is not None:
                names = (reference.record.name, entry.name)
                check_comparable(total_of(dna), total_of(dnas[name]), names=names)
        if built is not None and built.features is not None and features_layer is not None:
            fingerprint = self.network.extractor.fingerprint.select([features_layer])
            features = Features(built.names, built.digests, built.features, fingerprint=fingerprint)
        digests = entry.digests if built is None else dict(zip(built.names, built.digests, strict=True))
        classes = {} if built is None else built.classes
        notes = tuple(note for chosen in given.values() for note in chosen.notes)
        done = {} if built is None else built.beside
        if built is None and beside and entry.images is not None:
            done = run_beside(
                entry.images, self.network.extractor, beside, self.watched(f"pictures: {entry.name}", entry.images)
            )
        return SetDNAs(self._record(entry, dnas, digests, built), dnas, classes, features, digests, notes, done)

    def digests_of(self, name: str, images: ImageSource) -> list[str]:
        """sha256 of each image of a set, read once for all networks."""
        if name not in self.digests:
            self.digests[name] = content_digests(images)
        return self.digests[name]

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
        columns: Sequence[Column],
        layers: Mapping[str, Sequence[str] | None],
        real: Mapping[str, AnyDNA],
        features: str | None,
        beside: Mapping[str, ImageWork[Any]],
    ) -> BuiltSet:
        network, settings = self.network.extractor, self.settings
        picked = chosen_neurons(self.network.neurons, network.fingerprint)
        of_kind: dict[Kind, list[str]] = {}
        for column in columns:
            of = layers[column.name]
            # Neurons of a layer that is not compared are not missed.
            inside = picked and {layer: at for layer, at in picked.items() if of is None or layer in of}
            of_kind.setdefault(column.kind, []).extend(network.layout.select(of, inside))
        bins, ranges = settings.bins, self.ranges
        histograms = [total_of(dna).distribution for dna in real.values()]
        known = next((each for each in histograms if isinstance(each, Histogram)), None)
        if known is not None:
            bins, ranges = known.bins, known.given
        return build_set(
            images,
            network,
            list(of_kind),
            groups=settings.groups,
            clusters=self.clusters.get(name),
            bins=bins,
            ranges=ranges,
            layers={kind: [layer for layer in network.layout if layer in of] for kind, of in of_kind.items()},
            neurons=self.network.neurons,
            max_positions=settings.max_positions,
            features=features,
            classes=settings.class_folders,
            cache=self.cache,
            digests=None if self.cache is None else self.digests_of(name, images),
            name=name,
            beside=beside,
            reading=shared(self.watched(name, images)),
        )

    def _given(self, entry: ImageSet, compared: Mapping[str, Sequence[str]]) -> dict[str, ChosenDNA]:
        """DNAs that need not be computed, of the layers and neurons that each column compares."""
        chosen: dict[tuple[Kind, tuple[str, ...] | None], ChosenDNA | None] = {}
        found = {}
        for column in self.network.columns:
            layers = compared.get(column.name, column.layers)
            key = column.kind, None if layers is None else tuple(layers)
            if key not in chosen:
                chosen[key] = entry.choose_dna(
                    column.kind, self.network.extractor, layers=layers, neurons=self.network.neurons
                )
            one = chosen[key]
            if one is not None:
                found[column.name] = one
        return found

    def _given_features(self, entry: ImageSet) -> Features | None:
        layer = self.network.last_layer
        own = self.network.extractor.fingerprint.select([layer])
        for fingerprint, vectors in entry.features:
            if layer in fingerprint.paths and not fingerprint.differences(own):
                return Features(tuple(entry.digests), tuple(entry.digests.values()), vectors, fingerprint=own)
        return None

    def _record(
        self, entry: ImageSet, dnas: Mapping[str, AnyDNA], digests: Mapping[str, str], built: BuiltSet | None
    ) -> ImageSetRecord:
        every = list(dnas.values()) or list(entry.dnas)
        n_images = every[0].n_images if every else len(digests)
        manifests = {manifest for dna in entry.dnas for manifest in total_of(dna).provenance.manifests}
        manifest = manifest_hash(digests.keys(), digests.values()) if digests else ""
        known = total_of(every[0]).provenance if every else Provenance("")
        clusters = next((known for known in map(clusters_of, every) if known is not None), None)
        labels = self.clusters.get(entry.name)
        # Of DNAs that were given, groups may be of other clusters.
        same = labels is not None and (built is not None or clusters == ImageClusters.of(Counter(labels).values()))
        return ImageSetRecord(
            name=entry.name,
            source=entry.source,
            n_images=n_images,
            n_found=self.n_found.get(entry.name, n_images),
            manifest=manifest or (manifests.pop() if len(manifests) == 1 else ""),
            groups=next((len(dna.groups) for dna in every if isinstance(dna, GroupedDNA)), 0),
            skipped=() if built is None else built.skipped,
            account=known.account.fields,
            unread=known.unread,
            clusters=0 if clusters is None else clusters.number,
            effective_clusters=0.0 if clusters is None else clusters.effective,
            clustering=cluster_digest(labels) if labels is not None and same and clusters is not None else "",
        )
