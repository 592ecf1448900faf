"""Through what DNAs are made and compared: what options, and the DNAs that there are, say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from vdna_metrics.analysis.uncertainty import NoiseFloor
from vdna_metrics.build import Partition, build_dnas
from vdna_metrics.build.dnas import DNARequest
from vdna_metrics.build.passes import check_seen
from vdna_metrics.build.reading import Reading
from vdna_metrics.cli import inputs
from vdna_metrics.cli.column_networks import group_by_network, sees_column
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    DNAOptions,
    FeatureOptions,
    HistogramOptions,
    NetworkOptions,
    NeuronOptions,
    RunningOptions,
    check_making_options,
)
from vdna_metrics.cli.results import report_skipped
from vdna_metrics.cli.screen import StartBar, watched
from vdna_metrics.distributions import Histogram, Kind
from vdna_metrics.distributions.kinds import SAMPLE
from vdna_metrics.dna import VDNA, Column, GroupedDNA
from vdna_metrics.dna.caveats import Notes, pair_caveats, set_caveats
from vdna_metrics.extractors import (
    FeatureExtractor,
    PrecomputedFeatures,
    Preprocessing,
    create_extractor,
    extractor_and_layout,
)
from vdna_metrics.extractors.directions import directions_of
from vdna_metrics.extractors.registry import is_own, rebuildable_name
from vdna_metrics.fingerprint import FEATURES, ExtractorFingerprint
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import NeuronLayout, NeuronSelectionLike
from vdna_metrics.leaderboard.network_scores import Floors
from vdna_metrics.leaderboard.plan import folder_notes
from vdna_metrics.neurons import chosen_neurons, chosen_weights
from vdna_metrics.ranges import GivenRanges, as_ranges
from vdna_metrics.references import ImageSet, resolve
from vdna_metrics.references.image_sets import AnyDNA, ChosenDNA
from vdna_metrics.references.resolve import held_dnas, is_stored

NO_NETWORK = NetworkOptions(
    None, (), None, RunningOptions(None, None, None, None, None, None, False, None, False, False)
)
NO_HISTOGRAMS = HistogramOptions(None, None, None)
NO_FEATURES = FeatureOptions(None)
ALL_NEURONS = NeuronOptions(None, None)


@dataclass(frozen=True)
class DNASettings:
    """Through what DNAs are made and compared: a network, its neurons, and of histograms bins and ranges.

    Args:
        extractor: name of the network.
        fingerprint: of the network.
        network: the network itself; ``None`` where DNAs are all there is.
        layout: layers and neurons that are looked at.
        layers: names of the layers that were asked for.
        neurons: of the neurons that were asked for.
        bins: of histograms.
        ranges: of histograms, ``None`` for the default of `build_dnas`.
        max_positions: as in `build_dnas`.
        feature_images: as in `build_dnas`.
    """

    extractor: str
    fingerprint: ExtractorFingerprint
    network: FeatureExtractor | None
    layout: NeuronLayout
    layers: list[str] | None
    neurons: NeuronSelectionLike | None
    bins: int
    ranges: GivenRanges | None
    max_positions: int | None
    feature_images: int

    @property
    def built(self) -> FeatureExtractor:
        """The network, of what has images."""
        assert self.network is not None
        return self.network

    @property
    def options(self) -> dict[str, Any]:
        """Of `build_dnas`."""
        return {
            "bins": self.bins,
            "ranges": self.ranges,
            "layers": list(self.layout),
            "neurons": self.layout.neurons,
            "max_positions": self.max_positions,
            "feature_images": self.feature_images,
        }

    def request(self, kind: Kind, partition: Partition[Any]) -> DNARequest:
        """DNAs of parts, for `make_dnas`."""
        return DNARequest(
            kind,
            self.layout,
            partition,
            bins=self.bins,
            ranges=self.ranges,
            max_positions=self.max_positions,
            feature_images=self.feature_images,
        )

    def make(self, images: ImageSource, kinds: Sequence[Kind], reading: Reading) -> dict[Kind, VDNA]:
        """The DNAs of a set of images."""
        return build_dnas(images, self.built, kinds, reading=reading, **self.options)

    def choose(self, images: ImageSet, kind: Kind, like: VDNA | None = None) -> ChosenDNA | None:
        """The DNA of a kind that a set has, of the neurons that are asked for, or of those of another DNA."""
        layers, neurons = self.layers, self.neurons
        if like is not None:
            layers, neurons = list(like.layout), like.layout.neurons or None
        chosen = images.choose_dna(kind, self.fingerprint, layers=layers, neurons=neurons, error_bars=False)
        if chosen is None and images.images is None:  # of another network, or otherwise run
            images.one_dna(kind).total.check_fingerprint(self.fingerprint)
        return chosen


def find_settings(
    options: NetworkOptions,
    histograms: HistogramOptions,
    features: FeatureOptions = NO_FEATURES,
    *,
    columns: Sequence[Column] = (),
    neurons: str | None = None,
    sets: Sequence[ImageSet] = (),
    images: Sequence[ImageSource] = (),
) -> DNASettings:
    """What options, and the DNAs that there are, say of the DNAs to make; refuses what does not go together.

    Args:
        options: of the network; by default it is that of the first DNA.
        histograms: their options; by default those of the first DNA.
        features: their options.
        columns: distances that are to be measured.
        neurons: file of the selection of neurons that are looked at.
        sets: what is compared, the reference first.
        images: that are looked at besides.
    """
    looked_at = [*images, *(each.images for each in sets if each.images is not None)]
    asked = options.layers
    if asked is None and columns and all(column.layers for column in columns):
        asked = tuple(dict.fromkeys(layer for column in columns for layer in column.layers or ()))
    given = _first_dnas(sets, inputs.kinds_of(columns), options.name, asked)
    first = max(given.values(), key=lambda dna: len(dna.layout), default=None)
    network, layers = None, None if options.layers is None else list(options.layers)
    rows = next((each for each in looked_at if each.features), None)
    if rows is not None:
        network = take_features(options, columns, first, rows)
    elif looked_at or first is None or replace(options, layers=None) != NO_NETWORK:
        network, layers = _find_extractor(options, columns, first)
    seen = network or first
    assert seen is not None
    if network is not None:
        for source in looked_at:
            check_seen(source, network)
    for dna in given.values():
        dna.check_fingerprint(seen.fingerprint)
        dna.layout.check_layers(options.running.with_directions([]), what=f"directions of the {dna.kind} DNA")
    layers = layers if layers is not None or asked is None else list(asked)
    layers = None if layers is None else options.running.with_directions(layers)
    picked = chosen_neurons(neurons, seen.fingerprint)
    layout = (first or seen).layout.select(layers, picked)
    for column in columns:  # before the work
        if column.weights is not None:
            per = column.distance.per or "neuron"
            chosen_weights(column.weights, layout.select(column.layers), seen.fingerprint, per)
    bins, max_positions = histograms.bins, histograms.max_positions
    ranges = None if histograms.ranges is None else as_ranges(histograms.ranges)
    if "histogram" in given:
        own = given["histogram"].distribution
        assert isinstance(own, Histogram)
        inputs.check_same_bins(given["histogram"], bins, ranges)
        bins, ranges = own.bins, own.given
        max_positions = max_positions or given["histogram"].provenance.max_positions
    name = seen.name if isinstance(seen, FeatureExtractor) else seen.provenance.extractor
    return DNASettings(
        name,
        seen.fingerprint,
        network,
        layout,
        layers,
        picked,
        bins or DEFAULT_BINS,
        ranges,
        max_positions,
        features.feature_images or SAMPLE,
    )


def _first_dnas(
    sets: Sequence[ImageSet], kinds: Sequence[Kind], extractor: str | None, layers: Sequence[str] | None
) -> dict[Kind, VDNA]:
    """Of each kind the DNA of the first set that has one."""
    given: dict[Kind, VDNA] = {}
    for images in sets:
        for kind in kinds:
            chosen = images.choose_dna(kind, extractor if len(images.networks) > 1 else None, layers=layers)
            if chosen is not None and kind not in given:
                given[kind] = chosen.total
    return given


def _find_extractor(
    options: NetworkOptions, columns: Sequence[Column], reference: VDNA | None
) -> tuple[FeatureExtractor, list[str] | None]:
    """The network, and the names of the layers that were asked for."""
    name, layers, paths = options.extractor, options.layers, None
    own = {column.extractor for column in columns}
    if name is None and reference is None and len(own) == 1:
        (name,) = own
    running = vars(options.running)
    if reference is not None:
        if name is None:
            name = rebuildable_name(reference.provenance.extractor, reference.fingerprint)
        paths, running = paths_of(reference, name, options.name), running_as(reference.fingerprint, running)
    name = name or DEFAULT_EXTRACTOR
    for column in columns:
        if not sees_column(name, column):
            raise click.UsageError(
                f"{column.name} is defined in {column.extractor}, and these images are seen by {name}: score "
                f"{column.name} by itself"
            )
    network, layout = extractor_and_layout(name, layers, paths=paths, weights_path=options.file, **running)
    return network, None if layers is None else list(layout)


def take_features(
    options: NetworkOptions, columns: Sequence[Column], reference: VDNA | None, source: ImageSource
) -> FeatureExtractor:
    """What takes the features of a source, where the option says no more than whose they are."""
    known = "" if reference is None else reference.provenance.extractor
    name = options.name or (known if known.startswith(FEATURES) else FEATURES)
    if not f"{name}:".startswith(FEATURES):
        raise click.UsageError(
            f"--extractor {name}: {source.name} holds features, which no network looks at; --extractor {FEATURES}NAME "
            "says which one made them"
        )
    plain = replace(options, extractor=None, layers=None, running=replace(options.running, directions=None))
    if plain != NO_NETWORK:
        raise click.UsageError(f"--weights, --precision and the like are of networks, {source.name} holds features")
    for column in columns:
        if column.extractor is not None:
            raise click.UsageError(f"{column.name} is defined in {column.extractor}, and {source.name} holds features")
    directions = options.running.directions or (reference and directions_of(reference.fingerprint))
    return create_extractor(PrecomputedFeatures(dict(source.features), name.partition(":")[2], directions or {}))


def paths_of(reference: VDNA, extractor: str, called: str | None = None) -> dict[str, str] | None:
    """``{layer: module path}`` where a DNA looks at a network, ``None`` where it may be another network's.

    Args:
        reference: the DNA.
        extractor: the network as it is asked for.
        called: its name in DNAs, by default the same.
    """
    if (called or extractor) != reference.provenance.extractor and not is_own(extractor):
        return None
    return {layer: reference.fingerprint.paths[layer] for layer in reference.layout}


def running_as(seen: ExtractorFingerprint, running: Mapping[str, Any]) -> dict[str, Any]:
    """How a network is run, as another DNA's was where nothing else is asked for."""
    crop = Preprocessing.crop_of(seen.preprocessing)
    asked = {
        **running,
        "precision": running["precision"] or seen.precision,
        "directions": running["directions"] or directions_of(seen),
    }
    return asked if crop == "none" else {**asked, "crop": asked["crop"] or crop}


# ----------------------------------------------------------------------------------------------------------- comparison
@dataclass(frozen=True)
class Comparison:
    """Sets of images that are measured against one, whatever they are given as.

    Args:
        reference: the real images.
        generated: what is compared with them.
        columns: distances to measure.
        settings: of the DNAs.
        reading: how images are read.
        notes: what a reader of the numbers should know.
        read: what DNAs were read.
        groups: DNAs of the reference that are in groups.
        floors: what perfect images would score, as far as it was needed.
    """

    reference: ImageSet
    generated: list[ImageSet]
    columns: tuple[Column, ...]
    settings: DNASettings
    reading: Reading
    notes: Notes = field(default_factory=Notes)
    read: list[str] = field(default_factory=list)
    groups: dict[Kind, GroupedDNA] = field(default_factory=dict)
    floors: dict[tuple[str, int], NoiseFloor] = field(default_factory=dict)

    @property
    def kinds(self) -> list[Kind]:
        """Kinds of the DNAs that are compared."""
        return inputs.kinds_of(self.columns)

    def real_dnas(self, start: StartBar) -> dict[Kind, VDNA]:
        """The DNAs of the reference."""
        images = self.reference.images
        name = self.reference.source if images is None else images.name
        real = self.dnas_of(self.reference, start, f"reference {name}")
        for dna in real.values():
            self.notes.add_caveats("reference", set_caveats(dna))
        return real

    def note_caveats(self, name: str, fake: Mapping[Kind, VDNA], real: Mapping[Kind, VDNA]) -> None:
        """What is to be known of a set of images, by itself and beside the reference."""
        known: dict[str, AnyDNA] = {each.name: self.groups.get(each.kind, real[each.kind]) for each in self.columns}
        floors = Floors(self.columns, known, draws=2, found=self.floors)
        for kind, dna in fake.items():
            self.notes.add_caveats(name, set_caveats(dna, like=real[kind], floors=floors.of_few(dna)))
            self.notes.add_caveats(name, pair_caveats(real[kind], dna))

    def dnas_of(
        self, images: ImageSet, start: StartBar, name: str, like: Mapping[Kind, VDNA] | None = None
    ) -> dict[Kind, VDNA]:
        """DNAs of a set: those that it has, the others of its images; of the layers and neurons of others, if given."""
        self.read.extend(images.notes)
        dnas: dict[Kind, VDNA] = {}
        for kind in self.kinds:
            chosen = self.settings.choose(images, kind, None if like is None else like[kind])
            if chosen is not None:
                dnas[kind] = chosen.total
                if like is None and isinstance(chosen.dna, GroupedDNA):
                    self.groups[kind] = chosen.dna
                for note in chosen.notes:
                    self.notes.add(note, images.source)
        missing = [kind for kind in self.kinds if kind not in dnas]
        if missing:
            assert images.images is not None
            made = self.settings.make(images.images, missing, watched(self.reading, start, name, images.images))
            report_skipped(images.images.name, made[missing[0]].provenance.skipped)
            for kind, dna in made.items():  # kinds of a reference may differ in their layers
                of = None if like is None else like[kind].layout
                dnas[kind] = dna if of is None else dna.select(list(of), of.neurons)
        return {kind: dnas[kind] for kind in self.kinds}


def find_comparisons(
    references: Sequence[str],
    sources: Sequence[str],
    columns: Sequence[Column],
    options: DNAOptions,
    neurons: NeuronOptions = ALL_NEURONS,
    *,
    by: str | None = None,
    checkpoint: str | None = None,
) -> list[Comparison]:
    """A comparison by each network: that of the options first, then those that columns name.

    Arguments are those of `find_comparison`.
    """
    root, network = options.reading.root, options.network
    opened = [source if is_stored(source) else resolve(source, root=root) for source in references]
    offered = {source: held_dnas(source) for source in opened}
    first, groups = group_by_network(offered, columns, network.extractor)
    if len(groups) > 1:
        for flag, file in (("--neurons", neurons.neurons), ("--neuron-weights", neurons.neuron_weights)):
            if file is not None:
                raise click.UsageError(f"{flag} is of one network, got {', '.join(groups)}")
    check_making_options(inputs.kinds_of(columns), options)
    own = {*groups, *(column.extractor for column in columns)} - {None}
    named = {name: file for name, _, file in (text.partition("=") for text in network.weights) if name in own}
    files = tuple(text for text in network.weights if text.partition("=")[0] not in own)
    held = {dna.network for dnas in offered.values() for dna in dnas}
    tasks = []
    for name, mine in groups.items():
        names = dict.fromkeys([name, *(column.extractor for column in mine)])
        weights = tuple(named[each] for each in names if each in named)[:1]
        derived = name in held or len(groups) == 1 or any(column.extractor is None for column in mine)
        extractor = None if derived else name
        if name == first:
            seen = replace(network, extractor=network.extractor or extractor, weights=files or weights)
        else:
            seen = NetworkOptions(extractor, weights, None, network.running.of_named)
        kinds = inputs.kinds_of(mine)
        making = replace(
            options,
            network=seen,
            histograms=options.histograms if "histogram" in kinds else NO_HISTOGRAMS,
            features=options.features if "features" in kinds else NO_FEATURES,
        )
        among = name if name in held and seen.extractor is None else None
        tasks.append(find_comparison(opened, sources, mine, making, neurons, by=by, among=among, checkpoint=checkpoint))
    return [replace(task, notes=tasks[0].notes, read=tasks[0].read) for task in tasks]


def find_comparison(
    references: Sequence[str | ImageSet],
    sources: Sequence[str],
    columns: Sequence[Column],
    options: DNAOptions,
    neurons: NeuronOptions = ALL_NEURONS,
    *,
    by: str | None = None,
    unit: str | None = None,
    images: Sequence[ImageSource] = (),
    among: str | None = None,
    checkpoint: str | None = None,
) -> Comparison:
    """Open the set of real images, and those that are compared with it, through one network; refused before the work.

    Args:
        references: sources of the real images.
        sources: sets that are compared with them.
        columns: distances to measure.
        options: how DNAs are made.
        neurons: which neurons, and their weights.
        by: parts to measure too, ``"layer"`` or ``"neuron"``.
        unit: of the distance.
        images: that are looked at besides.
        among: network whose DNAs are taken where sets have those of several.
        checkpoint: folder where an interrupt keeps what was done.
    """
    kinds, network, root = inputs.kinds_of(columns), options.network, options.reading.root
    twice = [source for source in sources if sources.count(source) > 1]
    if twice:
        raise click.UsageError(f"{twice[0]} is given twice")
    check_making_options(kinds, options)
    inputs.check_parts(columns, by, neurons)
    columns = tuple(inputs.in_unit(column, unit) for column in columns)
    reading = inputs.reading_of(options.reading, None if checkpoint is None else Path(checkpoint))
    extractor = network.name or among
    extractors = None if extractor is None else [extractor]
    reference = resolve(*references, kinds=kinds, extractors=extractors, root=root)
    extractor = extractor or next(iter(reference.networks), None)
    generated = [inputs.find_set(source, root, kinds, extractor) for source in sources]
    if among is not None:
        reference, *generated = (each.of_network(among) for each in (reference, *generated))
    for each in (reference, *generated):
        has = inputs.kinds_in(each)
        missing = [kind for kind in kinds if kind not in has]
        if missing and each.images is None:
            raise ValueError(
                f"{each.source} lacks {' and '.join(missing)}, it has {', '.join(has)}; add such a DNA, or the images"
            )
    columns = tuple(column.replace(weights=neurons.neuron_weights) for column in columns)
    sets = [reference, *generated]
    notes = Notes()
    for note in folder_notes(sets):
        notes.add(note)
    settings = find_settings(
        network,
        options.histograms,
        options.features,
        columns=columns,
        neurons=neurons.neurons,
        sets=sets,
        images=images,
    )
    return Comparison(reference, generated, columns, settings, reading, notes)
