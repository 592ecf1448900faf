"""The command line: `vdna-metrics`. The only module that prints."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vdna_metrics import __version__

if TYPE_CHECKING:
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA
    from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor
    from vdna_metrics.ranges import ActivationRanges
    from vdna_metrics.references import ImageSource, Reading

    Report = Callable[[int, int | None], None]  # images done, images in all
    StartBar = Callable[[str, int], Report]  # what to call it, images in all

Command = TypeVar("Command", bound=Callable[..., Any])

METRICS: dict[str, tuple[Kind, str]] = {
    "emd": ("histogram", "VDNA-EMD, mean over neurons"),
    "nfd": ("gaussian", "neuron Fréchet distance, mean over neurons"),
    "lfd": ("layer_gaussian", "layer Fréchet distance, mean over layers"),
}
DEFAULT_EXTRACTOR = "mugs_vit_base"
DEFAULT_BINS = 1000
PICTURES = (".png", ".pdf", ".svg")
_RUNNING = ("precision", "channels_last", "compile")


class _Group(click.Group):
    """Errors with the data end in one line and exit code 1, an interrupt in 130 as in a shell."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own business
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            raise click.ClickException(str(error) or type(error).__name__) from error
        except KeyboardInterrupt:
            _say("\ninterrupted")
            raise click.exceptions.Exit(130) from None


class _Names(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated names out of some, or any where none are given."""

    name = "A,B"

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",") if name.strip()))
        unknown = [name for name in names if self.allowed and name not in self.allowed]
        if unknown or not names:
            known = f"choose from {', '.join(self.allowed)}" if self.allowed else "expected names with commas between"
            self.fail(f"{', '.join(map(repr, unknown)) or repr(value)}: {known}", param, ctx)
        return names


class _Part(click.ParamType):  # type: ignore[type-arg]
    """``I/N`` as a place counted from 0 and a number of parts."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        i, _, n = str(value).partition("/")
        if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
            self.fail(f"{value!r}: expected I/N with 1 <= I <= N, for example 3/8", param, ctx)
        return int(i) - 1, int(n)


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _network(default: str) -> Callable[[Command], Command]:
    return _options(
        click.option(
            "--extractor",
            metavar="NAME",
            help=f"Network: a name of `vdna-metrics extractors`, or timm:NAME.  [default: {default}]",
        ),
        click.option("--weights", metavar="FILE", help="Local file of the network's weights."),
        click.option("--layers", type=_Names(), help="Layers to look at; module paths for timm:NAME."),
        # How the network is run, for `_extractor`: of no interest to the commands themselves.
        click.option(
            "--precision",
            type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
            help="Of the network's arithmetic; one for both sides.  [default: the reference's, else fp32]",
            expose_value=False,
            callback=_keep,
        ),
        click.option(
            "--channels-last",
            is_flag=True,
            help="Keep images and weights in channels_last memory format.",
            expose_value=False,
            callback=_keep,
        ),
        click.option("--compile", is_flag=True, help="Run through torch.compile.", expose_value=False, callback=_keep),
    )


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    context.meta[f"{__name__}.{option.name}"] = value


def _histogram(default: str) -> Callable[[Command], Command]:
    return _options(
        click.option(
            "--bins", type=click.IntRange(1), metavar="N", help=f"Bins of each histogram; {default} by default."
        ),
        click.option("--ranges", "ranges_file", metavar="FILE", help="Activation ranges, as `calibrate` writes them."),
    )


_reading = _options(
    click.option("--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto."),
    click.option(
        "--batch-size", type=click.IntRange(1), metavar="N", default=32, show_default=True, help="Images a forward."
    ),
    click.option(
        "--workers",
        type=click.IntRange(0),
        metavar="N",
        default=min(4, os.cpu_count() or 1),
        show_default=True,
        help="Processes that decode and resize; 0 does it in this one.",
    ),
    click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, and say which."),
)
_part = click.option("--shard", "part", type=_Part(), help="Of N equal parts of the images only the I-th; see `merge`.")
_positions = click.option(
    "--max-positions",
    type=click.IntRange(1),
    metavar="N",
    help="Count at most N positions of an image and layer; to be compared with such DNAs only.",
)
_allow_subsampled = click.option(
    "--allow-subsampled", is_flag=True, help="Compare also what was counted at other positions, for an estimate."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_output = click.option("-o", "--output", required=True, metavar="FILE", help="File to write, .npz.")
_widen = click.option(
    "--widen",
    type=click.Choice(["margin", "vdna", "none"]),
    default="margin",
    show_default=True,
    help="How observed extremes become ranges: 10 % of the width on each side, both ends times 1.2, or as they are.",
)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vdna-metrics")
def app() -> None:
    """Compare sets of images by the distributions of neuron activations.

    A SOURCE of images is a folder (searched recursively), a .zip or .tar archive (read in place; archive.zip:folder
    takes a part), a .txt list, or a .npy or .npz array.
    """
    from vdna_metrics import downloads

    click.get_current_context().with_resource(downloads.progress(_report_download()))


@app.command()
@click.option(
    "--images",
    "n_images",
    type=click.IntRange(2),
    metavar="N",
    default=100,
    show_default=True,
    help="Images of each world.",
)
@click.option(
    "-o",
    "--output",
    default="vdna_demo.png",
    show_default=True,
    metavar="FILE",
    help=f"Picture to write: {', '.join(PICTURES)}.",
)
@_json
def demo(n_images: int, output: str, as_json: bool) -> None:
    """Score procedural images against photographs, offline.

    Prints the distances and draws what the neurons say. Needs no download.
    """
    from vdna_metrics.demo import EXTRACTOR, draw_demo, run_demo
    from vdna_metrics.dna.compare import rank_warning

    picture = Path(output)
    if picture.suffix.lower() not in PICTURES:
        raise click.BadParameter(f"{output}: a picture ends in {', '.join(PICTURES)}", param_hint="--output")
    _check_writable(picture)
    with _progress() as start:

        def watch(world: str) -> Report:
            report = start(world.replace("_", " "), n_images)
            return lambda done, _total: report(done, n_images)

        entries = run_demo(n_images, progress=watch)
    draw_demo(entries, picture)
    rows = [
        {
            "images": entry.name,
            "n_images": entry.dnas["histogram"].n_images,
            "emd": entry.emd,
            "nfd": entry.neuron_frechet,
            "lfd": entry.layer_frechet,
        }
        for entry in entries
    ]
    note = rank_warning(min((entry.dnas["layer_gaussian"] for entry in entries), key=lambda dna: dna.n_images))
    if as_json:
        _print_json(
            {
                "reference": "bsds500/trainval",
                "extractor": EXTRACTOR,
                "results": rows,
                "warnings": [f"lfd: {note}"] * (note is not None),
                "picture": output,
            }
        )
        return
    title = f"Distance from 300 photographs (BSDS500 train and val), seen by {EXTRACTOR}"
    _print_table(title, ["images", "n", *METRICS], [list(row.values()) for row in rows])
    if note is not None:
        click.echo(f"lfd: {note}")
    click.echo(f"Picture: {picture.resolve()}")


@app.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--reference",
    "references",
    multiple=True,
    required=True,
    metavar="REFERENCE",
    help="Real images (a SOURCE), a DNA file, or a name of the store. DNAs of several kinds: give it once each.",
)
@click.option(
    "--metrics",
    type=_Names(*METRICS),
    default="emd",
    show_default=True,
    help="; ".join(f"{name}: {text}" for name, (_, text) in METRICS.items()) + ".",
)
@click.option("--by", type=click.Choice(["layer"]), help="Also print the distance of each layer.")
@_network(f"the reference's, else {DEFAULT_EXTRACTOR}")
@_histogram(f"the reference's, else {DEFAULT_BINS}")
@_positions
@_allow_subsampled
@_reading
@click.option(
    "--checkpoint",
    metavar="FOLDER",
    help="Where an interrupt keeps what was done; the same command goes on from there.",
)
@_json
def score(
    sources: tuple[str, ...],
    references: tuple[str, ...],
    metrics: tuple[str, ...],
    by: str | None,
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    bins: int | None,
    ranges_file: str | None,
    max_positions: int | None,
    allow_subsampled: bool,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    checkpoint: str | None,
    as_json: bool,
) -> None:
    """Score sets of generated images against real ones."""
    from vdna_metrics.references import build_dnas

    kinds = [METRICS[name][0] for name in metrics]
    _check_histogram_options(kinds, bins, ranges_file)
    reading = _shared_reading(device, batch_size, workers, skip_bad, None if checkpoint is None else Path(checkpoint))
    generated = [(source, _open_images(source)) for source in sources]
    real, real_images = _references(references, kinds, extractor)
    missing = [kind for kind in kinds if kind not in real]
    if missing and real_images is None:
        raise ValueError(
            f"{', '.join(metrics)}: --reference lacks {' and '.join(missing)}, it has {', '.join(real)}; "
            "add such a DNA, or the real images"
        )
    given = next(iter(real.values()), None)
    network, chosen = _extractor(extractor, weights, layers, given)
    for dna in real.values():
        dna.check_fingerprint(network.fingerprint)
    layout = (network if given is None else given).layout.select(chosen)
    ranges = _load_ranges(ranges_file)
    if "histogram" in real:
        _check_same_bins(real["histogram"], bins, ranges)
    notes: dict[str, list[str]] = {}
    results = []
    with _progress() as start:
        if missing and real_images is not None:
            if "histogram" in missing and ranges is None:
                ranges = _own_or_calibrated(network, real_images, chosen, reading, start)
            real |= build_dnas(
                real_images,
                network,
                missing,
                bins=bins or DEFAULT_BINS,
                ranges=ranges,
                layers=list(layout),
                neurons=layout.neurons,
                max_positions=max_positions,
                reading=_watched(reading, start, f"real: {real_images.name}", real_images),
            )
            _report_skipped(real[missing[0]])
        real = {kind: real[kind].select(chosen) for kind in kinds}
        for kind in kinds:
            _note(notes, "reference", real[kind])
        bins, ranges = _bins_and_ranges(real.get("histogram"))
        for name, source in generated:
            fake = build_dnas(
                source,
                network,
                kinds,
                bins=bins,
                ranges=ranges,
                layers=list(layout),
                neurons=layout.neurons,
                max_positions=max_positions,
                reading=_watched(reading, start, name, source),
            )
            first = fake[kinds[0]]
            _report_skipped(first)
            result = {"images": name, "n_images": first.n_images, "skipped": first.provenance.skipped}
            for metric, kind in zip(metrics, kinds, strict=True):
                _note(notes, name, fake[kind])
                result |= _distances(metric, real[kind], fake[kind], by, allow_subsampled=allow_subsampled)
            results.append(result)
    if not _is_main():
        return
    _forget(reading.checkpoint)
    sentences = _warn(notes)
    if as_json:
        _print_json(
            {
                "reference": [_described(dna) for dna in real.values()],
                "extractor": network.name,
                "results": results,
                "warnings": sentences,
            }
        )
        return
    images = f"{real[kinds[0]].n_images} images of {', '.join(references)}"
    _print_table(
        f"Distance from {images}, seen by {network.name}",
        ["images", "n", *metrics],
        [[result["images"], result["n_images"], *(result[metric] for metric in metrics)] for result in results],
    )
    for metric in metrics if by else ():
        _print_by_layer(metric, metric, list(sources), results)


@app.command()
@click.argument("source", metavar="SOURCE")
@_output
@click.option(
    "--kinds",
    type=_Names("histogram", "gaussian", "layer_gaussian"),
    default="histogram",
    show_default=True,
    help="histogram, gaussian, layer_gaussian; several make one file each, FILE.KIND.npz.",
)
@_network(DEFAULT_EXTRACTOR)
@_histogram(str(DEFAULT_BINS))
@_positions
@_reading
@_part
@_json
def make(
    source: str,
    output: str,
    kinds: tuple[Kind, ...],
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    bins: int | None,
    ranges_file: str | None,
    max_positions: int | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    part: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Make the DNA of a set of images, in one pass for all kinds.

    An interrupt keeps what was done in OUTPUT.checkpoint; the same command goes on from there.
    """
    from vdna_metrics.references import build_dnas

    _check_histogram_options(kinds, bins, ranges_file)
    paths = _output_paths(output, kinds)
    reading = _shared_reading(device, batch_size, workers, skip_bad, Path(f"{output}.checkpoint"), part)
    images = _open_images(source)
    ranges = _load_ranges(ranges_file)
    network, chosen = _extractor(extractor, weights, layers)
    with _progress() as start:
        if "histogram" in kinds and ranges is None:
            ranges = _own_or_calibrated(network, images, chosen, reading, start)
        dnas = build_dnas(
            images,
            network,
            kinds,
            bins=bins or DEFAULT_BINS,
            ranges=ranges,
            layers=chosen,
            max_positions=max_positions,
            reading=_watched(reading, start, source, images),
        )
    if not _is_main():
        return
    _report_skipped(dnas[kinds[0]])
    notes: dict[str, list[str]] = {}
    if "histogram" in dnas:
        _note(notes, source, dnas["histogram"])
    _warn(notes)
    written = [(str(dna.save(paths[kind])), dna) for kind, dna in dnas.items()]
    _forget(reading.checkpoint)
    if as_json:
        _print_json([{"file": file, **_described(dna)} for file, dna in written])
        return
    for file, dna in written:
        click.echo(f"{file}: {dna!r}")


@app.command()
@click.argument("reference", metavar="DNA")
@click.argument("generated", nargs=-1, required=True, metavar="DNA...")
@click.option("--by", type=click.Choice(["layer", "neuron"]), help="Also print each layer's, or neuron's, distance.")
@click.option("--layers", type=_Names(), help="Layers to compare.")
@click.option("--unit", type=click.Choice(["bins", "range", "activation"]), help="Unit of VDNA-EMD.  [default: bins]")
@_allow_subsampled
@_json
def compare(
    reference: str,
    generated: tuple[str, ...],
    by: str | None,
    layers: tuple[str, ...] | None,
    unit: str | None,
    allow_subsampled: bool,
    as_json: bool,
) -> None:
    """Compare DNA files with the first.

    Histograms are compared by VDNA-EMD, Gaussians by the neuron and layer Gaussians by the layer Fréchet distance.
    """
    real = _load_dna(reference)
    metric = next(name for name, (kind, _) in METRICS.items() if kind == real.kind)
    if by == "neuron" and metric == "lfd":
        raise click.UsageError("a layer Fréchet distance has one number a layer: use --by layer")
    if unit is not None and metric != "emd":
        raise click.UsageError(f"--unit is for VDNA-EMD; {reference} is a {real.kind}, compared by {metric}")
    unit = unit or "bins"
    notes: dict[str, list[str]] = {}
    _note(notes, reference, real.select(layers))
    results = []
    for file in generated:
        fake = _load_dna(file)
        try:
            distances = _distances(metric, real, fake, by, layers, unit, allow_subsampled)
        except ValueError as error:
            raise ValueError(f"{reference} and {file}: {error}") from error
        _note(notes, file, fake.select(layers))
        results.append({"dna": file, "n_images": fake.n_images, **distances})
    sentences = _warn(notes)
    if as_json:
        _print_json(
            {
                "reference": reference,
                "metric": metric,
                "unit": unit if metric == "emd" else None,
                "results": results,
                "warnings": sentences,
            }
        )
        return
    heading = f"{metric} ({unit})" if metric == "emd" else metric
    title = f"Distance from {reference}, {real.n_images} images seen by {real.provenance.extractor}"
    _print_table(title, ["dna", "n", heading], [[row["dna"], row["n_images"], row[metric]] for row in results])
    if by == "layer":
        _print_by_layer(heading, metric, list(generated), results)
    elif by == "neuron":
        rows = [
            [layer, neuron, *(row[f"{metric}_by_neuron"][layer][place] for row in results)]
            for layer, values in results[0][f"{metric}_by_neuron"].items()
            for place, neuron in enumerate(real.layout.neurons.get(layer, range(len(values))))
        ]
        _print_table(f"{heading} by neuron", ["layer", "neuron", *generated], rows)


@app.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_output
@_json
def merge(files: tuple[str, ...], output: str, as_json: bool) -> None:
    """Merge DNA files, or files of activation ranges, into one.

    The result is what all their images in one set would have given.
    """
    from vdna_metrics.files import read_header
    from vdna_metrics.ranges import load_ranges

    path = _output_paths(output, ("merged",))["merged"]
    kinds = {file: read_header(file)["kind"] for file in files}
    if len(set(kinds.values())) > 1:
        shown = ", ".join(f"{file} {kind}" for file, kind in kinds.items())
        raise ValueError(f"only files of one kind merge: {shown}")
    load: Callable[[str], Any] = load_ranges if "ranges" in kinds.values() else _load_dna
    merged: VDNA | ActivationRanges = load(files[0])
    for file in files[1:]:
        try:
            merged = merged + load(file)
        except ValueError as error:
            raise ValueError(f"{files[0]} and {file}: {error}") from error
    written = {"file": str(merged.save(path)), "kind": kinds[files[0]], "n_images": merged.n_images}
    if as_json:
        _print_json(written)
        return
    click.echo("{file}: {kind} of {n_images} images".format(**written))


@app.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@_output
@_widen
@_network(DEFAULT_EXTRACTOR)
@_reading
@_part
@_json
def calibrate(
    sources: tuple[str, ...],
    output: str,
    widen: Any,
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    part: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Find a network's activation ranges over sets of images.

    An interrupt keeps what was done in OUTPUT.checkpoint; the same command goes on from there.
    """
    from functools import reduce
    from operator import add

    from vdna_metrics.references import calibrate as calibrate_images

    path = _output_paths(output, ("ranges",))["ranges"]
    reading = _shared_reading(device, batch_size, workers, skip_bad, Path(f"{output}.checkpoint"), part)
    images = [(source, _open_images(source)) for source in sources]
    network, chosen = _extractor(extractor, weights, layers)
    found: list[ActivationRanges] = []
    with _progress() as start:
        for name, source in images:
            found.append(
                calibrate_images(
                    source, network, widen=widen, layers=chosen, reading=_watched(reading, start, name, source)
                )
            )
    if not _is_main():
        return
    skipped = {name: len(source) - part.n_images for (name, source), part in zip(images, found, strict=True)}
    for name, count in skipped.items():
        if count:
            _say(f"skipped: {name}: {count} images that cannot be read")
    ranges = reduce(add, found)
    written = {
        "file": str(ranges.save(path)),
        "extractor": network.name,
        "n_images": ranges.n_images,
        "skipped": sum(skipped.values()),
        "neurons": ranges.layout.total,
        "dead": int(ranges.dead.sum()),
        "widen": widen,
    }
    _forget(reading.checkpoint)
    if as_json:
        _print_json(written)
        return
    click.echo(
        "{file}: activation ranges of {neurons} neurons of {extractor} over {n_images} images, "
        "{dead} neurons dead".format(**written)
    )


@app.group(invoke_without_command=True)
@_json
@click.pass_context
def extractors(context: click.Context, as_json: bool) -> None:
    """List the networks that are known by name, or show one."""
    if context.invoked_subcommand is not None:
        return
    from vdna_metrics.extractors import get_spec, list_extractors

    cards = [_card(get_spec(name)) for name in list_extractors()]
    if as_json:
        _print_json(cards)
        return
    columns = ["name", "layers", "neurons", "input", "weights", "ranges", "licence"]
    rows = [
        [
            card["name"],
            len(card["layers"]),
            "" if card["neurons"] is None else card["neurons"],
            card["input"].partition(" ")[0],
            "here" if card["at_hand"] else "download",
            card["ranges"],
            card["licence"],
        ]
        for card in cards
    ]
    _print_table("Extractors; besides these, timm:NAME takes any timm network", columns, rows)


@extractors.command("show")
@click.argument("name", metavar="NAME")
@_json
def show_extractor(name: str, as_json: bool) -> None:
    """Show all there is to know of one network.

    NAME is one of the list, or timm:NAME.
    """
    from vdna_metrics.extractors import create_extractor, get_spec

    spec = get_spec(name)
    if not spec.layers:  # found by building it
        spec = create_extractor(spec).spec
    card = _card(spec)
    if as_json:
        _print_json(card)
        return
    click.secho(card["name"], bold=True)
    click.echo(textwrap.fill(card["note"], 100))
    click.echo()
    places = [path if layer == path else f"{layer} ({path})" for layer, path in card["layers"].items()]
    lines = {
        "architecture": card["architecture"],
        "layers": f"{len(places)}: {', '.join(places)}",
        "neurons": "unknown until it is built" if card["neurons"] is None else str(card["neurons"]),
        "input": card["input"],
        "weights": card["address"]
        + (f", in {card['at_hand']}" if card["at_hand"] not in (None, card["address"]) else ""),
        "ranges": card["ranges"]
        if card["ranges"] != "calibrate"
        else f"none: vdna-metrics calibrate IMAGES --extractor {name} -o ranges.npz",
        "licence": card["licence"],
    }
    for title, text in lines.items():
        whole = " " not in text  # an address is to be copied
        line = f"{title:14}{text}"
        click.echo(line if whole else textwrap.fill(line, 100, subsequent_indent=" " * 14, break_on_hyphens=False))


def _card(spec: ExtractorSpec) -> dict[str, Any]:
    """What there is to know of an extractor without building it."""
    from vdna_metrics.extractors.weights import cached_weights, weights_address
    from vdna_metrics.references.store import ranges_origin

    needs_file = spec.weights is not None and not spec.weights.startswith(("seeded:", "package:"))
    address = "in the package" if str(spec.weights).startswith("package:") else weights_address(spec)
    cached = cached_weights(spec) if needs_file else None
    preprocess = spec.preprocess
    size = "own size" if preprocess.size is None else "x".join(map(str, preprocess.size))
    return {
        "name": spec.name,
        "note": spec.note,
        "architecture": spec.architecture,
        "layers": spec.paths,
        "neurons": spec.neurons,
        "input": f"{size} ({preprocess.id})",
        "address": address,
        "at_hand": (str(cached) if cached else None) if needs_file else address,
        "ranges": ranges_origin(spec),
        "licence": spec.licence,
    }


# -------------------------------------------------------------------------------------------------- what is asked for
def _references(
    references: Sequence[str], kinds: Sequence[Kind], extractor: str | None
) -> tuple[dict[Kind, VDNA], ImageSource | None]:
    """DNAs among the references by kind, and the one source of images among them."""
    from vdna_metrics.references import list_references, load_reference

    stored = {f"{record.dataset}/{record.split}" for record in list_references()}
    dnas: dict[Kind, VDNA] = {}
    images: ImageSource | None = None
    for reference in references:
        found: list[VDNA] = []
        dataset = reference.lower().partition("#")[0].partition("@")[0].partition("/")[0]
        if _is_ours(reference):
            found = [_load_dna(reference)]
        elif not Path(reference).exists() and dataset in {name.lower().partition("/")[0] for name in stored}:
            found = [load_reference(reference, extractor=extractor, kind=kind) for kind in kinds]
            found = list({dna.kind: dna for dna in found}.values())  # a name with its kind gives that for each
        elif images is not None:
            raise ValueError(f"only one --reference can be images, got {images.name} and {reference}")
        else:
            try:
                images = _open_images(reference)
            except ValueError as error:
                if Path(reference).exists():
                    raise
                raise ValueError(f"{error} (the store has {', '.join(sorted(stored))})") from error
        for dna in found:
            if dna.kind in dnas:
                raise ValueError(
                    f"two references of kind {dna.kind}: {dnas[dna.kind]!r} and {reference}; merge them first"
                )
            dnas[dna.kind] = dna
    return dnas, images


def _open_images(source: str) -> ImageSource:
    """A source, listed before any work is done so that a wrong name is refused at once."""
    from vdna_metrics.references import open_images

    if _is_ours(source):
        raise ValueError(f"{source} holds a DNA or activation ranges, no images; `vdna-metrics compare` compares DNAs")
    return open_images(source)


def _is_ours(path: str | Path) -> bool:
    from vdna_metrics.files import is_ours

    return Path(path).suffix == ".npz" and is_ours(path)


def _load_dna(path: str) -> VDNA:
    from vdna_metrics.dna import load_vdna

    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, not a DNA file; `vdna-metrics make` makes one of its images")
    return load_vdna(path)


def _load_ranges(path: str | None) -> ActivationRanges | None:
    from vdna_metrics.ranges import load_ranges

    return None if path is None else load_ranges(path)


def _extractor(
    name: str | None, weights: str | None, layers: Sequence[str] | None, reference: VDNA | None = None
) -> tuple[FeatureExtractor, list[str] | None]:
    """The network, and the names of the layers that were asked for."""
    from vdna_metrics.extractors import create_extractor, extractor_and_layout

    if reference is not None and name in (None, reference.provenance.extractor):
        name = reference.provenance.extractor
        if layers is None and name.startswith("timm:"):  # a name that has no layers of its own
            layers = list(reference.layout)
    name = name or DEFAULT_EXTRACTOR
    asked = {option: click.get_current_context().meta[f"{__name__}.{option}"] for option in _RUNNING}
    if asked["precision"] is None and reference is not None:
        asked["precision"] = reference.fingerprint.precision
    built = create_extractor(name, layers=layers if name.startswith("timm:") else None, weights_path=weights, **asked)
    network, layout = extractor_and_layout(built, layers)
    return network, None if layers is None else list(layout)


def _own_or_calibrated(
    network: FeatureExtractor, images: ImageSource, layers: list[str] | None, reading: Reading, start: StartBar
) -> ActivationRanges:
    """The ranges that ship for a network, else ranges calibrated on these images, which costs a pass of its own."""
    from vdna_metrics.references import calibrate as calibrate_images
    from vdna_metrics.references.store import find_ranges, has_ranges

    if has_ranges(network):
        ranges = find_ranges(network)
        if ranges.fingerprint is None or not ranges.fingerprint.differences(network.fingerprint, precision=False):
            return ranges
    _say(f"no activation ranges ship for {network.name}: calibrating on {images.name} first")
    watched = _watched(reading, start, f"ranges: {images.name}", images)
    return calibrate_images(images, network, layers=layers, reading=watched)


def _check_histogram_options(kinds: Sequence[str], bins: int | None, ranges_file: str | None) -> None:
    if "histogram" in kinds:
        return
    for option, value in (("--bins", bins), ("--ranges", ranges_file)):
        if value is not None:
            raise click.UsageError(f"{option} is for histograms (emd), asked for is {', '.join(kinds)}")


def _check_same_bins(reference: VDNA, bins: int | None, ranges: ActivationRanges | None) -> None:
    """Refuse what was asked for in so many words and the reference has otherwise."""
    own_bins, own_ranges = _bins_and_ranges(reference)
    if bins not in (None, own_bins):
        raise ValueError(f"bins differ: the reference has {own_bins}, --bins says {bins}; leave --bins out")
    if ranges is not None and own_ranges is not None and not ranges.for_layout(own_ranges.layout).equals(own_ranges):
        raise ValueError("--ranges are not those of the reference, which come with it; leave --ranges out")


def _bins_and_ranges(reference: VDNA | None) -> tuple[int, ActivationRanges | None]:
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


def _shared_reading(
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
    from vdna_metrics.references import Reading

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
    )


@contextmanager
def _stopping(checkpoint: Path) -> Iterator[Callable[[], bool]]:
    """Whether a signal asked to stop; a second one does not wait for the batch."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        _say(f"\nstopping after this batch: what was done is kept in {checkpoint}, the same command goes on from there")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _forget(checkpoint: Path | None) -> None:
    """Remove what an earlier interrupt left, when the result is there."""
    if checkpoint is None or not checkpoint.is_dir():
        return
    for file in checkpoint.glob("*-of-*.npz"):
        file.unlink()
    with suppress(OSError):  # a folder of the user's that holds other files too
        checkpoint.rmdir()


def _is_main() -> bool:
    """Whether this process prints and writes: rank 0 under torchrun, any other one."""
    return os.environ.get("RANK", "0") == "0"


def _output_paths(output: str, kinds: Sequence[str]) -> dict[str, Path]:
    """The files to write, refused before the work where they cannot be."""
    stem = Path(output).name.removesuffix(".npz")
    if not stem:
        raise click.BadParameter(f"{output!r} names no file", param_hint="--output")
    names = {kind: f"{stem}.npz" if len(kinds) == 1 else f"{stem}.{kind}.npz" for kind in kinds}
    paths = {kind: Path(output).with_name(name) for kind, name in names.items()}
    for path in paths.values():
        _check_writable(path)
        if path.exists() and not _is_ours(path):
            raise ValueError(f"{path} exists and was not written by vdna_metrics: move it, or choose another --output")
    return paths


def _check_writable(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: folder {path.parent} does not exist")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: {'it is a folder' if path.is_dir() else 'no permission'}")


# --------------------------------------------------------------------------------------------------- what comes of it
def _distances(
    metric: str,
    real: VDNA,
    fake: VDNA,
    by: str | None,
    layers: Sequence[str] | None = None,
    unit: Any = "bins",
    allow_subsampled: bool = False,
) -> dict[str, Any]:
    """``{metric: mean}`` and, where asked for, ``{metric_by_layer: {layer: distance}}``."""
    from vdna_metrics.dna import compare as distances

    def measure(reduction: Any) -> Any:
        if metric == "emd":
            return distances.emd(
                real, fake, layers=layers, unit=unit, reduction=reduction, allow_subsampled=allow_subsampled
            )
        if metric == "nfd":
            return distances.neuron_frechet(real, fake, layers=layers, reduction=reduction)
        return distances.layer_frechet(real, fake, layers=layers, reduction=reduction)

    found: dict[str, Any] = {metric: float(measure("mean"))}
    if by is not None:
        parts = measure("layer" if by == "layer" else "none")
        found[f"{metric}_by_{by}"] = {layer: value.tolist() for layer, value in parts.items()}
    return found


def _note(notes: dict[str, list[str]], name: str, dna: VDNA) -> None:
    """Collect what a reader of the numbers should know, each sentence once with all it is true of."""
    from vdna_metrics.dna.compare import coverage_warning, rank_warning

    for sentence in (coverage_warning(dna), rank_warning(dna)):
        if sentence is not None and name not in notes.setdefault(sentence, []):
            notes[sentence].append(name)


def _warn(notes: dict[str, list[str]]) -> list[str]:
    sentences = [f"{', '.join(names)}: {sentence}" for sentence, names in notes.items()]
    for sentence in sentences:
        _say(f"warning: {sentence}")
    return sentences


def _report_skipped(dna: VDNA) -> None:
    for name, reason in dna.provenance.skipped:
        _say(f"skipped: {', '.join(dna.provenance.sources)}: {name}: {reason}")


def _described(dna: VDNA) -> dict[str, Any]:
    return {
        "kind": dna.kind,
        "n_images": dna.n_images,
        "neurons": dna.layout.total,
        "fingerprint": dna.fingerprint.digest,
        **dna.provenance.to_json(),
    }


# --------------------------------------------------------------------------------------------------------- on screen
def _watched(reading: Reading, start: StartBar, name: str, images: ImageSource) -> Reading:
    return replace(reading, progress=start(name, len(images)))


@contextmanager
def _progress() -> Iterator[StartBar]:
    """Bars on the error stream: images done, images a second, time left. Where that is no terminal, a line each."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as ProgressTask
    from rich.text import Text

    def log(name: str, _total: int) -> Report:
        begin = time.monotonic()

        def report(done: int, total: int | None) -> None:
            if done == total:
                speed = done / (time.monotonic() - begin)
                _say(f"{name}: {done} images, {speed:.1f} images/s")

        return report

    class Speed(ProgressColumn):
        def render(self, task: ProgressTask) -> Text:
            seconds = task.finished_time or task.elapsed
            return Text(f"{task.completed / seconds:.1f} images/s" if task.completed and seconds else "")

    console = Console(stderr=True)
    if not console.is_terminal or not _is_main():
        yield log
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bars:

        def draw(name: str, total: int) -> Report:
            # The end of a path tells more than its beginning.
            task = bars.add_task(name if len(name) <= 28 else f"…{name[-27:]}", total=total)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield draw


def _report_download() -> Callable[[str, int, int | None], None]:
    """A line each tenth of a file, which goes together with bars and with logs."""
    said: dict[str, int] = {}

    def report(name: str, done: int, total: int | None) -> None:
        tenth = 10 * done // total if total else done // 100_000_000
        if said.get(name) != tenth:
            said[name] = tenth
            size = f"{done / 1e6:.0f} of {total / 1e6:.0f}" if total else f"{done / 1e6:.0f}"
            _say(f"downloading {name}: {size} MB")

    return report


def _say(text: str) -> None:
    """To the error stream, where rich keeps it apart from its bars (click's `echo` would write into them)."""
    if _is_main():
        print(text, file=sys.stderr, flush=True)


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    cells = [[_shown(cell) for cell in row] for row in rows]
    widest = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    numeric = [not isinstance(cell, str) for cell in rows[0]]
    # Numbers and short names are never folded, however narrow the terminal. The room that they leave is dealt out to
    # those first that want least.
    widths = [wide if number else min(wide, 16) for wide, number in zip(widest, numeric, strict=True)]
    wanted = [max(len(column), wide) - width for column, wide, width in zip(columns, widest, widths, strict=True)]
    # A pipe has no width of its own: nothing is folded there, unless it is given one.
    terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    room = shutil.get_terminal_size().columns if terminal else sys.maxsize
    room = max(0, room - 3 * (len(columns) - 1) - sum(widths))
    for left, place in enumerate(sorted(range(len(columns)), key=wanted.__getitem__)):
        given = min(wanted[place], room // (len(columns) - left))
        widths[place] += given
        room -= given
    click.secho(title, bold=True)
    click.echo()
    for row in (columns, *cells):
        folded = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        height = max(map(len, folded))
        # Names of columns stand on the rule, those of rows begin beside their numbers.
        filled = [[""] * (height - len(cell)) + cell if row is columns else cell for cell in folded]
        for line in zip_longest(*filled, fillvalue=""):
            aligned = [
                f"{part:{'>' if n else '<'}{width}}" for part, width, n in zip(line, widths, numeric, strict=True)
            ]
            click.echo("   ".join(aligned).rstrip())
        if row is columns:
            rule = "─" if (sys.stdout.encoding or "").lower().startswith("utf") else "-"
            click.echo(rule * (sum(widths) + 3 * (len(columns) - 1)))
    click.echo()


def _shown(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:#.4g}"


def _print_by_layer(heading: str, metric: str, columns: list[str], results: Sequence[dict[str, Any]]) -> None:
    parts = [result[f"{metric}_by_layer"] for result in results]
    rows = [[layer, *(part[layer] for part in parts)] for layer in parts[0]]
    _print_table(f"{heading} by layer", ["layer", *columns], rows)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line: exit code 0 when it worked, 1 for an error with the data, 2 for one in the command."""

    def show(message: Warning | str, *_: Any) -> None:
        _say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        app(prog_name="vdna-metrics")
