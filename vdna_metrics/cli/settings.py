"""Through what DNAs are made and compared: what options, and the DNAs that there are, say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.inputs import check_same_bins, kinds_of, load_ranges
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    HistogramOptions,
    NetworkOptions,
    NeuronOptions,
    RunningOptions,
)
from vdna_metrics.cli.screen import say, watched

if TYPE_CHECKING:
    from vdna_metrics.build.reading import Reading
    from vdna_metrics.cli.screen import StartBar
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA, Column
    from vdna_metrics.extractors import FeatureExtractor
    from vdna_metrics.fingerprint import ExtractorFingerprint
    from vdna_metrics.images.sources import ImageSource
    from vdna_metrics.layout import NeuronLayout, NeuronSelectionLike
    from vdna_metrics.ranges import ActivationRanges
    from vdna_metrics.references import ImageSet
    from vdna_metrics.references.image_sets import ChosenDNA

NO_NETWORK = NetworkOptions(None, None, None, RunningOptions(None, False, False))
NO_HISTOGRAMS = HistogramOptions(None, None, None)


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
        ranges: of histograms; ``None`` where they are to be found.
        max_positions: as in `build_dnas`.
    """

    extractor: str
    fingerprint: ExtractorFingerprint
    network: FeatureExtractor | None
    layout: NeuronLayout
    layers: list[str] | None
    neurons: NeuronSelectionLike | None
    bins: int
    ranges: ActivationRanges | None
    max_positions: int | None

    @property
    def built(self) -> FeatureExtractor:
        """The network, of what has images."""
        assert self.network is not None
        return self.network

    def with_ranges(self, images: ImageSource, reading: Reading, start: StartBar) -> DNASettings:
        """With the ranges that ship, else ranges calibrated on these images, which costs a pass of its own."""
        from vdna_metrics.build import calibrate
        from vdna_metrics.references.store import own_ranges

        ranges = self.ranges or own_ranges(self.built)
        if ranges is None:
            say(f"no activation ranges ship for {self.extractor}: calibrating on {images.name} first")
            watching = watched(reading, start, f"ranges: {images.name}", images)
            ranges = calibrate(images, self.built, layers=list(self.layout), reading=watching)
        return replace(self, ranges=ranges)

    def make(self, images: ImageSource, kinds: Sequence[Kind], reading: Reading) -> dict[Kind, VDNA]:
        """The DNAs of a set of images."""
        from vdna_metrics.build.dnas import build_dnas

        return build_dnas(
            images,
            self.built,
            kinds,
            bins=self.bins,
            ranges=self.ranges,
            layers=list(self.layout),
            neurons=self.layout.neurons,
            max_positions=self.max_positions,
            reading=reading,
        )

    def choose(self, images: ImageSet, kind: Kind, like: VDNA | None = None) -> ChosenDNA | None:
        """The DNA of a kind that a set has, of the neurons that are asked for, or of those of another DNA."""
        layers, neurons = self.layers, self.neurons
        if like is not None:
            layers, neurons = list(like.layout), like.layout.neurons or None
        chosen = images.choose_dna(kind, self.fingerprint, layers=layers, neurons=neurons)
        if chosen is None and images.images is None:  # of another network, or otherwise run
            images.one_dna(kind).total.check_fingerprint(self.fingerprint)
        return chosen


def find_settings(
    options: NetworkOptions,
    histograms: HistogramOptions,
    *,
    columns: Sequence[Column] = (),
    neurons: NeuronOptions | None = None,
    sets: Sequence[ImageSet] = (),
    builds: bool = False,
) -> DNASettings:
    """What options, and the DNAs that there are, say of the DNAs to make; refuses what does not go together.

    Args:
        options: of the network; by default it is that of the first DNA.
        histograms: their options; by default those of the first DNA.
        columns: distances that are to be measured.
        neurons: which neurons, and the weights that these columns have.
        sets: what is compared, the reference first.
        builds: whether the network is needed whatever the sets are.
    """
    from vdna_metrics.distributions import HistogramDistribution
    from vdna_metrics.neurons import chosen_neurons, chosen_weights

    given = _first_dnas(sets, kinds_of(columns), options.extractor)
    first = max(given.values(), key=lambda dna: len(dna.layout), default=None)
    network, layers = None, None if options.layers is None else list(options.layers)
    if (
        builds
        or first is None
        or replace(options, layers=None) != NO_NETWORK
        or any(each.images is not None for each in sets)
    ):
        network, layers = find_extractor(options, columns, first)
    seen = network or first
    assert seen is not None
    for dna in given.values():
        dna.check_fingerprint(seen.fingerprint)
    if layers is None and columns and all(column.layers for column in columns):
        layers = list(dict.fromkeys(layer for column in columns for layer in column.layers or ()))
    picked = chosen_neurons(None if neurons is None else neurons.neurons, seen.fingerprint)
    layout = (first or seen).layout.select(layers, picked)
    for column in columns:  # before the work
        if column.weights is not None:
            per = column.distance.per or "neuron"
            chosen_weights(column.weights, layout.select(column.layers), seen.fingerprint, per)
    bins, ranges, max_positions = histograms.bins, load_ranges(histograms.ranges), histograms.max_positions
    if "histogram" in given:
        own = given["histogram"].distribution
        assert isinstance(own, HistogramDistribution)
        check_same_bins(given["histogram"], bins, ranges)
        bins, ranges = own.bins, own.ranges
        max_positions = max_positions or given["histogram"].provenance.max_positions
    extractor = network.name if network is not None else seen.provenance.extractor  # type: ignore[union-attr]
    return DNASettings(
        extractor, seen.fingerprint, network, layout, layers, picked, bins or DEFAULT_BINS, ranges, max_positions
    )


def _first_dnas(sets: Sequence[ImageSet], kinds: Sequence[Kind], extractor: str | None) -> dict[Kind, VDNA]:
    """Of each kind the DNA of the first set that has one."""
    given: dict[Kind, VDNA] = {}
    for images in sets:
        for kind in kinds:
            chosen = images.choose_dna(kind, extractor if len(images.networks) > 1 else None)
            if chosen is not None and kind not in given:
                given[kind] = chosen.total
    return given


def find_extractor(
    options: NetworkOptions, columns: Sequence[Column] = (), reference: VDNA | None = None
) -> tuple[FeatureExtractor, list[str] | None]:
    """The network, and the names of the layers that were asked for."""
    from vdna_metrics.extractors import create_extractor, extractor_and_layout

    name, layers, running = options.extractor, options.layers, options.running
    own = {column.name: column.extractor for column in columns}
    if name is None and reference is None and columns and len(set(own.values())) == 1:
        name = next(iter(own.values()))
    precision = running.precision
    if reference is not None:
        if name in (None, reference.provenance.extractor):
            name = reference.provenance.extractor
            if layers is None and name.startswith("timm:"):  # a name that has no layers of its own
                layers = tuple(reference.layout)
        precision = precision or reference.fingerprint.precision
    name = name or DEFAULT_EXTRACTOR
    _check_defined_in(name, own)
    built = create_extractor(
        name,
        layers=layers if name.startswith("timm:") else None,
        weights_path=options.weights,
        precision=precision,
        channels_last=running.channels_last,
        compile=running.compile,
    )
    network, layout = extractor_and_layout(built, layers)
    return network, None if layers is None else list(layout)


def _check_defined_in(name: str, own: Mapping[str, str | None]) -> None:
    """Refuse columns of another network; how that resizes its images is left to the user."""
    from vdna_metrics.extractors import get_spec

    for column, extractor in own.items():
        if extractor is not None and get_spec(extractor).architecture != get_spec(name).architecture:
            raise click.UsageError(
                f"{column} is defined in {extractor}, and these images are seen by {name}: score {column} by itself"
            )
