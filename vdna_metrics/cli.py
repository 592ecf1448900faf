"""The command line: `vdna-metrics`. The only module that prints."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vdna_metrics import __version__

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA
    from vdna_metrics.extractors import FeatureExtractor
    from vdna_metrics.ranges import ActivationRanges
    from vdna_metrics.references import Reading

Command = TypeVar("Command", bound=Callable[..., Any])

METRICS: dict[str, tuple[Kind, str]] = {
    "emd": ("histogram", "VDNA-EMD, mean over neurons"),
    "nfd": ("gaussian", "neuron Fréchet distance, mean over neurons"),
    "lfd": ("layer_gaussian", "layer Fréchet distance, mean over layers"),
}
DEFAULT_EXTRACTOR = "mugs_vit_base"


class _Names(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated names out of some, or any where none are given."""

    name = "names"

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",") if name.strip()))
        unknown = [name for name in names if self.allowed and name not in self.allowed]
        if unknown or not names:
            self.fail(f"{value!r}: choose from {', '.join(self.allowed)}", param, ctx)
        return names


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_network = _options(
    click.option(
        "--extractor",
        metavar="NAME",
        help=f"Network: a name of `vdna-metrics extractors`, or timm:NAME. [default: that of the reference, else {DEFAULT_EXTRACTOR}]",
    ),
    click.option("--weights", metavar="FILE", help="Local file of the network's weights."),
    click.option("--layers", type=_Names(), metavar="A,B", help="Layers to look at; module paths for timm:NAME."),
)
_reading = _options(
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps, or auto."),
    click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images a forward."),
    click.option(
        "--workers",
        type=click.IntRange(0),
        default=min(4, os.cpu_count() or 1),
        show_default=True,
        help="Processes that decode and resize; 0 does it in this one.",
    ),
    click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, and say which."),
)
_histogram = _options(
    click.option("--bins", type=click.IntRange(1), default=1000, show_default=True, help="Bins of each histogram."),
    click.option("--ranges", "ranges_file", metavar="FILE", help="Activation ranges, as `calibrate` writes them."),
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_output = click.option("-o", "--output", required=True, metavar="FILE", help="File to write, .npz.")
_widen = click.option(
    "--widen",
    type=click.Choice(["margin", "vdna", "none"]),
    default="margin",
    show_default=True,
    help="How observed extremes become ranges.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vdna-metrics")
def app() -> None:
    """Compare sets of images by the distributions of neuron activations.

    SOURCES of images are folders (searched recursively), .zip or .tar archives (read in place; archive.zip:folder
    takes a part), .txt lists, .npy or .npz arrays.
    """


@app.command()
@click.option("--images", "n_images", type=click.IntRange(2), default=100, show_default=True, help="Images a world.")
@click.option("-o", "--output", default="vdna_demo.png", show_default=True, metavar="FILE", help="Picture to write.")
@_json
def demo(n_images: int, output: str, as_json: bool) -> None:
    """Score procedural images against real photographs, offline, and draw what the neurons say."""
    from vdna_metrics.demo import EXTRACTOR, draw_demo, run_demo

    with _progress() as bars:

        def start(world: str) -> Callable[[int, int | None], None]:
            task = bars.add_task(world.replace("_", " "), total=n_images)
            return lambda done, _total: bars.update(task, completed=done)

        entries = run_demo(n_images, progress=start)
    draw_demo(entries, Path(output))
    rows = [
        {"images": entry.name, "emd": entry.emd, "nfd": entry.neuron_frechet, "lfd": entry.layer_frechet}
        for entry in entries
    ]
    if as_json:
        _print_json({"reference": "bsds500/trainval", "extractor": EXTRACTOR, "results": rows, "picture": output})
        return
    title = f"Distance from 300 photographs (BSDS500 train and val), seen by {EXTRACTOR}"
    _print_table(title, ["images", *METRICS], [list(row.values()) for row in rows])
    click.echo(f"Picture: {Path(output).resolve()}")


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
@_network
@_histogram
@_reading
@_json
def score(
    sources: tuple[str, ...],
    references: tuple[str, ...],
    metrics: tuple[str, ...],
    by: str | None,
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    bins: int,
    ranges_file: str | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Score sets of generated images against real ones."""
    from vdna_metrics.references import build_dnas

    kinds = [METRICS[name][0] for name in metrics]
    given, images = _reference_dnas(references, kinds, extractor)
    known = next((dna.provenance.extractor for dna in given.values()), None)
    network, chosen = _extractor(extractor or known, weights, layers)
    with _progress() as bars:

        def reading(name: str) -> Reading:
            return _reading_of(device, batch_size, workers, skip_bad, bars, name)

        ranges = _load_ranges(ranges_file)
        missing = [kind for kind in kinds if kind not in given]
        if missing and images is None:
            raise ValueError(
                f"the references hold {', '.join(given) or 'nothing'}; {', '.join(metrics)} also need "
                f"{', '.join(missing)}: add such a DNA or real images with --reference"
            )
        if missing and images is not None:
            if "histogram" in missing and ranges is None:
                ranges = _own_or_calibrated(network, images, reading)
            given |= build_dnas(
                images, network, missing, bins=bins, ranges=ranges, layers=chosen, reading=reading(f"real: {images}")
            )
        real = {kind: given[kind].select(chosen) for kind in kinds}
        for dna in real.values():
            dna.check_fingerprint(network.fingerprint)
        layout = next(iter(real.values())).layout
        results = []
        for source in sources:
            fake = build_dnas(
                source,
                network,
                kinds,
                bins=_bins(real.get("histogram"), bins),
                ranges=_ranges(real.get("histogram")),
                layers=list(layout),
                neurons=layout.neurons,
                reading=reading(source),
            )
            results.append({"images": source, **_scores(real, fake, metrics, by)})
    if as_json:
        _print_json(
            {
                "reference": [repr(dna) for dna in real.values()],
                "extractor": network.name,
                "fingerprint": network.fingerprint.digest,
                "results": results,
            }
        )
        return
    title = (
        f"Distance from {next(iter(real.values())).n_images} images of {', '.join(references)}, seen by {network.name}"
    )
    rows = [[row["images"], row["n_images"], *(row[name] for name in metrics)] for row in results]
    _print_table(title, ["images", "n", *metrics], rows)
    if by is not None:
        for name in metrics:
            columns = [row["images"] for row in results]
            by_layer = [
                [layer, *(row["by_layer"][name][layer] for row in results)] for layer in results[0]["by_layer"][name]
            ]
            _print_table(f"{name} by layer", ["layer", *columns], by_layer)


@app.command()
@click.argument("source", metavar="SOURCE")
@_output
@click.option(
    "--kinds",
    type=_Names("histogram", "gaussian", "layer_gaussian"),
    default="histogram",
    show_default=True,
    help="Kinds of DNA; several make one file each, FILE.KIND.npz.",
)
@_network
@_histogram
@_reading
@_json
def make(
    source: str,
    output: str,
    kinds: tuple[Kind, ...],
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    bins: int,
    ranges_file: str | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Make the DNA of a set of images, one pass for all kinds."""
    from vdna_metrics.references import build_dnas

    paths = _output_paths(output, kinds)
    network, chosen = _extractor(extractor, weights, layers)
    with _progress() as bars:

        def reading(name: str) -> Reading:
            return _reading_of(device, batch_size, workers, skip_bad, bars, name)

        ranges = _load_ranges(ranges_file)
        if "histogram" in kinds and ranges is None:
            ranges = _own_or_calibrated(network, source, reading)
        dnas = build_dnas(
            source,
            network,
            kinds,
            bins=bins,
            ranges=ranges,
            layers=chosen,
            reading=reading(source),
        )
    written = [(str(dna.save(paths[kind])), dna) for kind, dna in dnas.items()]
    for _, dna in written[:1]:
        _report_skipped(dna)
    if as_json:
        _print_json([{"file": file, **_described(dna)} for file, dna in written])
        return
    for file, dna in written:
        click.echo(f"{file}: {dna!r}")


@app.command()
@click.argument("reference", metavar="DNA")
@click.argument("generated", nargs=-1, required=True, metavar="DNA...")
@click.option("--by", type=click.Choice(["layer", "neuron"]), help="Also print each layer's, or neuron's, distance.")
@click.option("--layers", type=_Names(), metavar="A,B", help="Layers to compare.")
@click.option(
    "--unit",
    type=click.Choice(["bins", "range", "activation"]),
    default="bins",
    show_default=True,
    help="Unit of VDNA-EMD.",
)
@_json
def compare(
    reference: str, generated: tuple[str, ...], by: str | None, layers: tuple[str, ...] | None, unit: str, as_json: bool
) -> None:
    """Compare DNA files with the first: histograms by VDNA-EMD, Gaussians by NFD, layer Gaussians by LFD."""
    real = _load_dna(reference)
    metric = next(name for name, (kind, _) in METRICS.items() if kind == real.kind)
    if by == "neuron" and metric == "lfd":
        raise click.UsageError("a layer Fréchet distance has one number a layer: use --by layer")
    results: list[dict[str, Any]] = []
    for file in generated:
        fake = _load_dna(file)
        result: dict[str, Any] = {"dna": file, "n_images": fake.n_images}
        result[metric] = float(_distance(metric, real, fake, "mean", layers, unit))
        if by is not None:
            reduction = "layer" if by == "layer" else "none"
            found = _distance(metric, real, fake, reduction, layers, unit)
            result[f"by_{by}"] = {layer: value.tolist() for layer, value in found.items()}
        results.append(result)
    if as_json:
        _print_json(
            {"reference": reference, "metric": metric, "unit": unit if metric == "emd" else None, "results": results}
        )
        return
    heading = f"{metric} ({unit})" if metric == "emd" else metric
    title = f"Distance from {reference}, {real.n_images} images seen by {real.provenance.extractor}"
    _print_table(title, ["dna", "n", heading], [[row["dna"], row["n_images"], row[metric]] for row in results])
    if by == "layer":
        rows = [[layer, *(row["by_layer"][layer] for row in results)] for layer in results[0]["by_layer"]]
        _print_table(f"{heading} by layer", ["layer", *generated], rows)
    elif by == "neuron":
        rows = [
            [layer, neuron, *(row["by_neuron"][layer][place] for row in results)]
            for layer, values in results[0]["by_neuron"].items()
            for place, neuron in enumerate(real.layout.neurons.get(layer, range(len(values))))
        ]
        _print_table(f"{heading} by neuron", ["layer", "neuron", *generated], rows)


@app.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_output
def merge(files: tuple[str, ...], output: str) -> None:
    """Merge DNA files, or files of activation ranges, into one: as if their images had been one set."""
    from functools import reduce
    from operator import add

    from vdna_metrics.files import read_header
    from vdna_metrics.ranges import load_ranges

    kinds = {file: read_header(file)["kind"] for file in files}
    if len(set(kinds.values())) > 1:
        shown = ", ".join(f"{file} {kind}" for file, kind in kinds.items())
        raise ValueError(f"only files of one kind merge: {shown}")
    if "ranges" in kinds.values():
        ranges = reduce(add, (load_ranges(file) for file in files))
        click.echo(f"{ranges.save(output)}: activation ranges of {ranges.n_images} images")
        return
    dna = reduce(add, (_load_dna(file) for file in files))
    click.echo(f"{dna.save(output)}: {dna!r}")


@app.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@_output
@_widen
@_network
@_reading
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
    as_json: bool,
) -> None:
    """Find the activation ranges of a network over sets of images."""
    from functools import reduce
    from operator import add

    from vdna_metrics.references import calibrate as calibrate_images

    path = _output_paths(output, ("ranges",))["ranges"]
    network, chosen = _extractor(extractor, weights, layers)
    with _progress() as bars:
        ranges: ActivationRanges = reduce(
            add,
            (
                calibrate_images(
                    source,
                    network,
                    widen=widen,
                    layers=chosen,
                    reading=_reading_of(device, batch_size, workers, skip_bad, bars, source),
                )
                for source in sources
            ),
        )
    file = str(ranges.save(path))
    found = {
        "file": file,
        "extractor": network.name,
        "n_images": ranges.n_images,
        "neurons": ranges.layout.total,
        "dead": int(ranges.dead.sum()),
        "widen": widen,
    }
    if as_json:
        _print_json(found)
        return
    click.echo(
        f"{file}: activation ranges of {found['neurons']} neurons of {network.name} over {ranges.n_images} images, "
        f"{found['dead']} neurons dead"
    )


@app.command()
@_json
def extractors(as_json: bool) -> None:
    """List the networks that are known by name."""
    from vdna_metrics.extractors import get_spec, list_extractors

    rows = []
    for name in list_extractors():
        spec = get_spec(name)
        size = "own" if spec.preprocess.size is None else "x".join(map(str, spec.preprocess.size))
        rows.append(
            {"name": name, "layers": len(spec.layers), "input": size, "licence": spec.licence, "note": spec.note}
        )
    if as_json:
        _print_json(rows)
        return
    _print_table(
        "Extractors; besides these, timm:NAME takes any timm network", list(rows[0]), [list(r.values()) for r in rows]
    )


def _reference_dnas(
    references: Sequence[str], kinds: Sequence[Kind], extractor: str | None
) -> tuple[dict[Kind, VDNA], str | None]:
    """DNAs among the references by kind, and the one source of images among them."""
    from vdna_metrics.references import load_reference

    dnas: dict[Kind, VDNA] = {}
    images: str | None = None
    for reference in references:
        found: list[VDNA] = []
        if _is_dna_file(reference):
            found = [_load_dna(reference)]
        elif Path(reference).exists() or ":" in reference or Path(reference).suffix:
            if images is not None:
                raise ValueError(f"only one --reference can be images, got {images} and {reference}")
            images = reference
        else:
            found = [load_reference(reference, extractor=extractor, kind=kind) for kind in kinds]
        for dna in found:
            if dna.kind in dnas:
                raise ValueError(
                    f"two references of kind {dna.kind}: {dnas[dna.kind]!r} and {reference}; merge them first"
                )
            dnas[dna.kind] = dna
    return dnas, images


def _is_dna_file(path: str) -> bool:
    from vdna_metrics.files import is_ours

    return path.endswith(".npz") and Path(path).is_file() and is_ours(path)


def _load_dna(path: str) -> VDNA:
    from vdna_metrics.dna import load_vdna

    return load_vdna(path)


def _load_ranges(path: str | None) -> ActivationRanges | None:
    from vdna_metrics.ranges import load_ranges

    return None if path is None else load_ranges(path)


def _extractor(
    name: str | None, weights: str | None, layers: Sequence[str] | None
) -> tuple[FeatureExtractor, list[str] | None]:
    """The network, and the names of the layers that were asked for."""
    from vdna_metrics.extractors import extractor_and_layout

    network, layout = extractor_and_layout(name or DEFAULT_EXTRACTOR, layers, weights_path=weights)
    return network, None if layers is None else list(layout)


def _own_or_calibrated(network: FeatureExtractor, images: str, reading: Callable[[str], Reading]) -> ActivationRanges:
    """The ranges that ship for a network, else ranges calibrated on these images, which costs a pass of its own."""
    from vdna_metrics.references import calibrate as calibrate_images
    from vdna_metrics.references.store import find_ranges, has_ranges

    if has_ranges(network.name):
        return find_ranges(network.name)
    click.echo(f"No activation ranges ship for {network.name}: they are calibrated on {images} first.", err=True)
    return calibrate_images(images, network, reading=reading(f"ranges: {images}"))


def _bins(reference: VDNA | None, asked: int) -> int:
    from vdna_metrics.distributions import HistogramDistribution

    distribution = reference.distribution if reference is not None else None
    return distribution.bins if isinstance(distribution, HistogramDistribution) else asked


def _ranges(reference: VDNA | None) -> ActivationRanges | None:
    from vdna_metrics.distributions import HistogramDistribution

    distribution = reference.distribution if reference is not None else None
    return distribution.ranges if isinstance(distribution, HistogramDistribution) else None


def _distance(
    metric: str, real: VDNA, fake: VDNA, reduction: Any, layers: Sequence[str] | None = None, unit: Any = "bins"
) -> Any:
    from vdna_metrics.dna import compare as distances

    if metric == "emd":
        return distances.emd(real, fake, layers=layers, unit=unit, reduction=reduction)
    if metric == "nfd":
        return distances.neuron_frechet(real, fake, layers=layers, reduction=reduction)
    return distances.layer_frechet(real, fake, layers=layers, reduction=reduction)


def _scores(real: dict[Kind, VDNA], fake: dict[Kind, VDNA], metrics: Sequence[str], by: str | None) -> dict[str, Any]:
    from vdna_metrics.dna.compare import coverage_warning, rank_warning

    first = next(iter(fake.values()))
    _report_skipped(first)
    result: dict[str, Any] = {"n_images": first.n_images, "skipped": len(first.provenance.skipped)}
    for name in metrics:
        a, b = real[METRICS[name][0]], fake[METRICS[name][0]]
        for sentence in (coverage_warning(b), rank_warning(b)):
            if sentence is not None:
                warnings.warn(f"{', '.join(b.provenance.sources)}: {sentence}", UserWarning, stacklevel=2)
        result[name] = float(_distance(name, a, b, "mean"))
        if by is not None:
            found = _distance(name, a, b, "layer")
            result.setdefault("by_layer", {})[name] = {layer: float(value) for layer, value in found.items()}
    return result


def _report_skipped(dna: VDNA) -> None:
    for name, reason in dna.provenance.skipped:
        click.echo(f"skipped: {name}: {reason}", err=True)


def _described(dna: VDNA) -> dict[str, Any]:
    return {
        "kind": dna.kind,
        "n_images": dna.n_images,
        "neurons": dna.layout.total,
        "fingerprint": dna.fingerprint.digest,
        **dna.provenance.to_json(),
    }


def _output_paths(output: str, kinds: Sequence[str]) -> dict[str, Path]:
    """The files to write, refused before the work when their folder is missing."""
    base = Path(output)
    if not base.parent.is_dir():
        raise ValueError(f"cannot write {output}: folder {base.parent} does not exist")
    if len(kinds) == 1:
        return {kinds[0]: base}
    stem = base.name.removesuffix(".npz")
    return {kind: base.with_name(f"{stem}.{kind}.npz") for kind in kinds}


def _reading_of(device: str, batch_size: int, workers: int, skip_bad: bool, bars: Progress, name: str) -> Reading:
    from vdna_metrics.references import Reading

    task = bars.add_task(name, total=None)
    return Reading(
        batch_size=batch_size,
        workers=workers,
        skip_bad=skip_bad,
        device=_device(device),
        progress=lambda done, total: bars.update(task, completed=done, total=total),
    )


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # A pipe has no width of its own: tables are not squeezed there.
    return Console(stderr=stderr, highlight=False, width=None if sys.stdout.isatty() or stderr else 160)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on the error stream: images done, images a second, time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as ProgressTask
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: ProgressTask) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} images/s" if speed else "", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=_console(stderr=True)) as bars:
        yield bars


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        numeric = bool(rows) and not isinstance(rows[0][place], str)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    _console().print(table)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line: exit code 0 when it worked, 1 for an error with the data, 2 for one in the command."""

    def show(message: Warning | str, *_: Any) -> None:
        click.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        try:
            app(prog_name="vdna-metrics")
        except (ValueError, TypeError, OSError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
