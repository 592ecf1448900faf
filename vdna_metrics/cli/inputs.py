"""What commands are given: images, references, networks, files to write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.options import DATASET, DEFAULT_BINS, DEFAULT_EXTRACTOR, KEPT, PICTURES, PROCEDURAL, RUNNING
from vdna_metrics.cli.screen import say, watched

if TYPE_CHECKING:
    from vdna_metrics.build.reading import Reading
    from vdna_metrics.cli.screen import StartBar
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA
    from vdna_metrics.extractors import FeatureExtractor
    from vdna_metrics.images.sources import ImageSource
    from vdna_metrics.neurons import NeuronSelection, NeuronWeights
    from vdna_metrics.ranges import ActivationRanges


def find_references(
    references: Sequence[str], kinds: Sequence[Kind], extractor: str | None
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
                images = open_images(reference)
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


def open_images(source: str) -> ImageSource:
    """A source, listed before any work is done so that a wrong name is refused at once."""
    from vdna_metrics.images import open_images

    if is_ours(source):
        raise ValueError(f"{source} holds a DNA or activation ranges, no images; `vdna-metrics compare` compares DNAs")
    if source.startswith(DATASET):
        from vdna_metrics.images.datasets import open_dataset

        return open_dataset(source.removeprefix(DATASET), root=own_root())
    if source.startswith(PROCEDURAL):
        from vdna_metrics.images.procedural import open_procedural

        return open_procedural(source.removeprefix(PROCEDURAL))
    return open_images(source)


def check_root(*sources: str) -> None:
    """Refuse a `--root` that no source wants."""
    if own_root() is not None and not any(source.startswith(DATASET) for source in sources):
        raise click.UsageError(f"--root is for a {DATASET}NAME/SPLIT, given is {', '.join(sources)}")


def own_root() -> str | None:
    """What `--root` says."""
    root: str | None = click.get_current_context().meta[f"{KEPT}.root"]
    return root


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


def find_extractor(
    name: str | None, weights: str | None, layers: Sequence[str] | None, reference: VDNA | None = None
) -> tuple[FeatureExtractor, list[str] | None]:
    """The network, and the names of the layers that were asked for."""
    from vdna_metrics.extractors import create_extractor, extractor_and_layout

    if reference is not None and name in (None, reference.provenance.extractor):
        name = reference.provenance.extractor
        if layers is None and name.startswith("timm:"):  # a name that has no layers of its own
            layers = list(reference.layout)
    name = name or DEFAULT_EXTRACTOR
    asked = {option: click.get_current_context().meta[f"{KEPT}.{option}"] for option in RUNNING}
    if asked["precision"] is None and reference is not None:
        asked["precision"] = reference.fingerprint.precision
    built = create_extractor(name, layers=layers if name.startswith("timm:") else None, weights_path=weights, **asked)
    network, layout = extractor_and_layout(built, layers)
    return network, None if layers is None else list(layout)


def own_or_calibrated(
    network: FeatureExtractor, images: ImageSource, layers: list[str] | None, reading: Reading, start: StartBar
) -> ActivationRanges:
    """The ranges that ship for a network, else ranges calibrated on these images, which costs a pass of its own."""
    from vdna_metrics.build import calibrate as calibrate_images
    from vdna_metrics.references.store import own_ranges

    ranges = own_ranges(network)
    if ranges is not None:
        return ranges
    say(f"no activation ranges ship for {network.name}: calibrating on {images.name} first")
    return calibrate_images(
        images, network, layers=layers, reading=watched(reading, start, f"ranges: {images.name}", images)
    )


def check_histogram_options(kinds: Sequence[str], bins: int | None, ranges_file: str | None) -> None:
    """Refuse what is for histograms where none are made."""
    if "histogram" in kinds:
        return
    for option, value in (("--bins", bins), ("--ranges", ranges_file)):
        if value is not None:
            raise click.UsageError(f"{option} is for histograms (emd), asked for is {', '.join(kinds)}")


def check_same_bins(reference: VDNA, bins: int | None, ranges: ActivationRanges | None) -> None:
    """Refuse what was asked for in so many words and the reference has otherwise."""
    own_bins, own_ranges = bins_and_ranges(reference)
    if bins not in (None, own_bins):
        raise ValueError(f"bins differ: the reference has {own_bins}, --bins says {bins}; leave --bins out")
    if ranges is not None and own_ranges is not None and not ranges.for_layout(own_ranges.layout).equals(own_ranges):
        raise ValueError("--ranges are not those of the reference, which come with it; leave --ranges out")


def bins_and_ranges(reference: VDNA | None) -> tuple[int, ActivationRanges | None]:
    """Of a reference of histograms, else the default."""
    from vdna_metrics.distributions import HistogramDistribution

    distribution = reference.distribution if reference is not None else None
    if isinstance(distribution, HistogramDistribution):
        return distribution.bins, distribution.ranges
    return DEFAULT_BINS, None


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


def shared_reading(
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    checkpoint: Path | None,
    part: tuple[int, int] | None = None,
) -> Reading:
    """How this process reads its share of the images: all, a part, or under torchrun a rank's.

    What that takes, a process group and a handler of signals, ends with the command.
    """
    from vdna_metrics.build.reading import Reading

    context = click.get_current_context()
    rank, ranks = (int(os.environ.get(name, alone)) for name, alone in (("RANK", 0), ("WORLD_SIZE", 1)))
    if ranks > 1 and part is not None:
        raise click.UsageError(f"--shard is for processes that know nothing of each other, these are {ranks} ranks")
    device = _device(device)
    if ranks > 1:
        import torch.distributed

        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        torch.distributed.init_process_group()
        context.call_on_close(torch.distributed.destroy_process_group)
    stop = None if checkpoint is None else context.with_resource(_stopping(checkpoint))
    return Reading(
        batch_size=batch_size,
        workers=workers,
        skip_bad=skip_bad,
        device=device,
        shard=part or (rank, ranks),
        all_ranks=ranks > 1,
        checkpoint=checkpoint,
        stop=stop,
        notice=say,
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


def forget(checkpoint: Path | None) -> None:
    """Remove what an earlier interrupt left, when the result is there."""
    if checkpoint is None or not checkpoint.is_dir():
        return
    for file in checkpoint.glob("*-of-*.npz"):
        file.unlink()
    with suppress(OSError):  # a folder of the user's that holds other files too
        checkpoint.rmdir()


def output_paths(output: str, kinds: Sequence[str]) -> dict[str, Path]:
    """The files to write, refused before the work where they cannot be."""
    stem = Path(output).name.removesuffix(".npz")
    if not stem:
        raise click.BadParameter(f"{output!r} names no file", param_hint="--output")
    names = {kind: f"{stem}.npz" if len(kinds) == 1 else f"{stem}.{kind}.npz" for kind in kinds}
    paths = {kind: Path(output).with_name(name) for kind, name in names.items()}
    for path in paths.values():
        check_writable(path)
        if path.exists() and not is_ours(path):
            raise ValueError(f"{path} exists and was not written by vdna_metrics: move it, or choose another --output")
    return paths


def picture_path(output: str, option: str = "--output") -> Path:
    """The picture to write, refused before the work where it cannot be."""
    picture = Path(output)
    if picture.suffix.lower() not in PICTURES:
        raise click.BadParameter(f"{output}: a picture ends in {', '.join(PICTURES)}", param_hint=option)
    check_writable(picture)
    return picture


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before the work."""
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: folder {path.parent} does not exist")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: {'it is a folder' if path.is_dir() else 'no permission'}")
