"""What commands are given: images, references, networks, files to write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.options import (
    DATASET,
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    HistogramOptions,
    NetworkOptions,
    NeuronOptions,
    ReadingOptions,
)
from vdna_metrics.cli.results import report_skipped
from vdna_metrics.cli.screen import say, watched

if TYPE_CHECKING:
    from vdna_metrics.build.reading import Reading
    from vdna_metrics.cli.screen import StartBar
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA, Column
    from vdna_metrics.extractors import FeatureExtractor
    from vdna_metrics.images.sources import ImageSource
    from vdna_metrics.layout import NeuronLayout
    from vdna_metrics.neurons import NeuronSelection, NeuronWeights
    from vdna_metrics.ranges import ActivationRanges

PROCEDURAL = "procedural:"  # prefix of a source that is drawn


# ------------------------------------------------------------------------------------------------------------ distances
def in_unit(column: Column, unit: str | None) -> Column:
    """A column in the unit of `--unit`."""
    if unit is None:
        return column
    distance = column.distance
    if "unit" not in distance.options:
        raise click.UsageError(f"--unit is for distances with several units; {distance.label} has one, {column.unit}")
    try:
        return column.replace(unit=unit)
    except ValueError as error:
        raise click.UsageError(f"--unit of {distance.label}: {error}") from error


def check_parts(columns: Sequence[Column], by: str | None, neurons: NeuronOptions) -> None:
    """Refuse parts, and weights of parts, that a distance does not have."""
    for distance in (column.distance for column in columns):
        if distance.per is None and (by is not None or neurons.neuron_weights is not None):
            option = f"--by {by}" if by is not None else "--neuron-weights"
            raise click.UsageError(f"{option}: {distance.label} is one number, without parts by layer or neuron")
        if by == "neuron" and distance.per == "layer":
            raise click.UsageError(f"--by neuron: {distance.label} has one number a layer: use --by layer")


def weighted(columns: Sequence[Column], neurons: NeuronOptions) -> tuple[Column, ...]:
    """Columns with the weights of `--neuron-weights`, whose file is read."""
    return tuple(column.replace(weights=neurons.neuron_weights) for column in columns)


def kinds_of(columns: Sequence[Column]) -> list[Kind]:
    """Kinds of the DNAs that columns need."""
    return list(dict.fromkeys(column.kind for column in columns))


# ------------------------------------------------------------------------------------------------------------- networks
@dataclass(frozen=True)
class DNASettings:
    """Through what DNAs are made: a network, its neurons, and of histograms bins and ranges.

    Args:
        network: the frozen network.
        layout: layers and neurons that are looked at.
        bins: of histograms.
        ranges: of histograms; ``None`` where they are to be found.
        max_positions: as in `build_dnas`.
    """

    network: FeatureExtractor
    layout: NeuronLayout
    bins: int
    ranges: ActivationRanges | None
    max_positions: int | None

    def with_ranges(self, images: ImageSource, reading: Reading, start: StartBar) -> DNASettings:
        """With the ranges that ship, else ranges calibrated on these images, which costs a pass of its own."""
        from vdna_metrics.build import calibrate
        from vdna_metrics.references.store import own_ranges

        ranges = self.ranges or own_ranges(self.network)
        if ranges is None:
            say(f"no activation ranges ship for {self.network.name}: calibrating on {images.name} first")
            watching = watched(reading, start, f"ranges: {images.name}", images)
            ranges = calibrate(images, self.network, layers=list(self.layout), reading=watching)
        return replace(self, ranges=ranges)

    def of_reference(self, dnas: Mapping[Kind, VDNA]) -> DNASettings:
        """With the bins and ranges of a reference's histograms, where it has some."""
        from vdna_metrics.distributions import HistogramDistribution

        histogram = dnas.get("histogram")
        if histogram is None or not isinstance(histogram.distribution, HistogramDistribution):
            return self
        return replace(self, bins=histogram.distribution.bins, ranges=histogram.distribution.ranges)

    def make(self, images: ImageSource, kinds: Sequence[Kind], reading: Reading) -> dict[Kind, VDNA]:
        """The DNAs of a set of images."""
        from vdna_metrics.build.dnas import build_dnas

        return build_dnas(
            images,
            self.network,
            kinds,
            bins=self.bins,
            ranges=self.ranges,
            layers=list(self.layout),
            neurons=self.layout.neurons,
            max_positions=self.max_positions,
            reading=reading,
        )


def find_settings(
    options: NetworkOptions,
    histograms: HistogramOptions | None = None,
    *,
    columns: Sequence[Column] = (),
    neurons: NeuronOptions | None = None,
    real: Mapping[Kind, VDNA] | None = None,
) -> DNASettings:
    """What options, and the DNAs of a reference, say of the DNAs to make; refuses what does not go together.

    Args:
        options: of the network; by default it is the reference's.
        histograms: their options.
        columns: distances that are to be measured.
        neurons: which neurons, and the weights that these columns have.
        real: DNAs of the reference.
    """
    from vdna_metrics.neurons import chosen_neurons, chosen_weights

    real = real or {}
    reference = next(iter(real.values()), None)
    network, layers = find_extractor(options, columns, reference)
    fingerprint = network.fingerprint
    for dna in real.values():
        dna.check_fingerprint(fingerprint)
    if layers is None and columns and all(column.layers for column in columns):
        layers = list(dict.fromkeys(layer for column in columns for layer in column.layers or ()))
    picked = chosen_neurons(None if neurons is None else neurons.neurons, fingerprint)
    layout = (network if reference is None else reference).layout.select(layers, picked)
    for column in columns:  # before the work
        if column.weights is not None:
            chosen_weights(column.weights, layout.select(column.layers), fingerprint, column.distance.per or "neuron")
    bins, ranges, max_positions = None, None, None
    if histograms is not None:
        bins, ranges, max_positions = histograms.bins, load_ranges(histograms.ranges), histograms.max_positions
        if "histogram" in real:
            check_same_bins(real["histogram"], bins, ranges)
    return DNASettings(network, layout, bins or DEFAULT_BINS, ranges, max_positions)


def reference_dnas(
    given: Mapping[Kind, VDNA],
    images: ImageSource | None,
    kinds: Sequence[Kind],
    settings: DNASettings,
    reading: Reading,
    start: StartBar,
) -> tuple[dict[Kind, VDNA], DNASettings]:
    """A reference's DNAs of all kinds, those that are not given from its images; and the settings for what is compared.

    Args:
        given: DNAs that there are.
        images: of the reference, where there are some.
        kinds: of the DNAs that are needed.
        settings: as `find_settings` gives them.
        reading: how images are read.
        start: begins a bar.
    """
    real = dict(given)
    missing = [kind for kind in kinds if kind not in real]
    if missing and images is not None:
        if "histogram" in missing:
            settings = settings.with_ranges(images, reading, start)
        real |= settings.make(images, missing, watched(reading, start, f"real: {images.name}", images))
        report_skipped(real[missing[0]])
    real = {kind: real[kind].select(list(settings.layout), settings.layout.neurons) for kind in kinds}
    return real, settings.of_reference(real)


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


# ---------------------------------------------------------------------------------------------------- what options name
def load_ranges(path: str | None) -> ActivationRanges | None:
    """A file of activation ranges, where one is given."""
    from vdna_metrics.ranges import load_ranges

    return None if path is None else load_ranges(path)


def load_neurons(path: str | None) -> NeuronSelection | None:
    """A file of selected neurons, where one is given."""
    from vdna_metrics.neurons import load_selection

    return None if path is None else load_selection(path)


def load_neuron_weights(path: str | None) -> NeuronWeights | None:
    """A file of weights of neurons, where one is given."""
    from vdna_metrics.neurons import load_weights

    return None if path is None else load_weights(path)


def check_histogram_options(kinds: Sequence[str], histograms: HistogramOptions) -> None:
    """Refuse what is for histograms where none are made."""
    if "histogram" in kinds:
        return
    for option, value in (("--bins", histograms.bins), ("--ranges", histograms.ranges)):
        if value is not None:
            raise click.UsageError(f"{option} is for histograms (emd), asked for is {', '.join(kinds)}")


def check_same_bins(reference: VDNA, bins: int | None, ranges: ActivationRanges | None) -> None:
    """Refuse what was asked for in so many words and the reference has otherwise."""
    from vdna_metrics.distributions import HistogramDistribution

    own = reference.distribution
    if not isinstance(own, HistogramDistribution):
        return
    if bins not in (None, own.bins):
        raise ValueError(f"bins differ: the reference has {own.bins}, --bins says {bins}; leave --bins out")
    if ranges is not None and not ranges.for_layout(own.ranges.layout).equals(own.ranges):
        raise ValueError("--ranges are not those of the reference, which come with it; leave --ranges out")


# -------------------------------------------------------------------------------------------------------------- sources
def find_references(
    references: Sequence[str], kinds: Sequence[Kind], extractor: str | None, root: str | None
) -> tuple[dict[Kind, VDNA], ImageSource | None]:
    """DNAs among the references by kind, and the one source of images among them."""
    from vdna_metrics.references import load_reference

    dnas: dict[Kind, VDNA] = {}
    images: ImageSource | None = None
    for reference in references:
        found: list[VDNA] = []
        if is_ours(reference):
            found = [load_dna(reference)]
        elif named_reference(reference):
            found = [load_reference(reference, extractor=extractor, kind=kind) for kind in kinds]
            found = list({dna.kind: dna for dna in found}.values())  # a name with its kind gives that for each
        elif images is not None:
            raise ValueError(f"only one --reference can be images, got {images.name} and {reference}")
        else:
            try:
                images = open_images(reference, root)
            except ValueError as error:
                if Path(reference).exists():
                    raise
                raise ValueError(f"{error} (the store has {', '.join(_stored())})") from error
        for dna in found:
            if dna.kind in dnas:
                raise ValueError(
                    f"two references of kind {dna.kind}: {dnas[dna.kind]!r} and {reference}; merge them first"
                )
            dnas[dna.kind] = dna
    missing = [kind for kind in kinds if kind not in dnas]
    if missing and images is None:
        raise ValueError(
            f"--reference lacks {' and '.join(missing)}, it has {', '.join(dnas)}; add such a DNA, or the real images"
        )
    return dnas, images


def named_reference(reference: str) -> bool:
    """Whether a reference is a name of the store, and no file."""
    if Path(reference).exists():  # before the stores are listed, of which some may be far away
        return False
    dataset = reference.lower().partition("#")[0].partition("@")[0].partition("/")[0]
    return "::" in reference or dataset in {name.partition("/")[0] for name in _stored()}


def _stored() -> list[str]:
    from vdna_metrics.references import list_references

    return sorted({f"{record.dataset}/{record.split}".lower() for record in list_references()})


def open_images(source: str, root: str | None = None) -> ImageSource:
    """A source, listed before any work is done so that a wrong name is refused at once."""
    from vdna_metrics.images import open_images

    if is_ours(source):
        raise ValueError(f"{source} holds a DNA or activation ranges, no images; `vdna-metrics compare` compares DNAs")
    if source.startswith(DATASET):
        from vdna_metrics.images.datasets import open_dataset

        return open_dataset(source.removeprefix(DATASET), root=root)
    if source.startswith(PROCEDURAL):
        from vdna_metrics.images.procedural import open_procedural

        return open_procedural(source.removeprefix(PROCEDURAL))
    return open_images(source)


def check_root(root: str | None, *sources: str) -> None:
    """Refuse a `--root` that no source wants."""
    if root is not None and not any(source.startswith(DATASET) for source in sources):
        raise click.UsageError(f"--root is for a {DATASET}NAME/SPLIT, given is {', '.join(sources)}")


def is_ours(path: str | Path) -> bool:
    """Whether a source is a file of ours, a DNA or ranges, and no images."""
    from vdna_metrics.files import is_ours

    return Path(path).suffix == ".npz" and is_ours(path)


def load_dna(name: str) -> VDNA:
    """A DNA file, or a reference by its name; a folder is told how to become one."""
    from vdna_metrics.dna import load_vdna
    from vdna_metrics.references import load_reference

    if Path(name).is_dir():
        raise ValueError(f"{name} is a folder, not a DNA file; `vdna-metrics make` makes one of its images")
    is_file = Path(name).exists() or Path(name).suffix == ".npz"
    return load_vdna(name) if is_file else load_reference(name)


# -------------------------------------------------------------------------------------------------------------- reading
def _device(name: str) -> str:
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch raises the latter where it was built without CUDA
        raise click.BadParameter(f"{name}: {error}", param_hint="--device") from error
    return name


def reading_of(options: ReadingOptions, checkpoint: Path | None = None, part: tuple[int, int] | None = None) -> Reading:
    """How this process reads its share of the images: all, a part, or under torchrun a rank's.

    What that takes, a process group and a handler of signals, ends with the command.
    """
    from vdna_metrics.build.reading import Reading

    context = click.get_current_context()
    rank, ranks = (int(os.environ.get(name, alone)) for name, alone in (("RANK", 0), ("WORLD_SIZE", 1)))
    if ranks > 1 and part is not None:
        raise click.UsageError(f"--shard is for processes that know nothing of each other, these are {ranks} ranks")
    device = _device(options.device)
    if ranks > 1:
        import torch.distributed

        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        torch.distributed.init_process_group()
        context.call_on_close(torch.distributed.destroy_process_group)
    stop = None if checkpoint is None else context.with_resource(_stopping(checkpoint))
    return Reading(
        batch_size=options.batch_size,
        workers=options.workers,
        skip_bad=options.skip_bad,
        device=device,
        shard=part or (rank, ranks),
        all_ranks=ranks > 1,
        checkpoint=checkpoint,
        stop=stop,
    )


@contextmanager
def _stopping(checkpoint: Path) -> Iterator[Callable[[], bool]]:
    """Whether a signal asked to stop; a second one does not wait for the batch."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say(f"\nstopping after this batch: what was done is kept in {checkpoint}, the same command goes on from there")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
