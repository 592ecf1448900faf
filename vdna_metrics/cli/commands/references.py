"""`vdna-metrics references`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.options import nested, option
from vdna_metrics.distributions.kinds import SAMPLE, Kind
from vdna_metrics.images.dataset_table import DATASET

_store = click.option(
    "--store",
    "location",
    metavar="STORE",
    help="A folder, hub:OWNER/NAME, or an https address.  [default: all that are known]",
)


@click.group()
def references() -> None:
    """Reference DNAs and activation ranges, by name.

    A NAME is DATASET/SPLIT@EXTRACTOR#KIND, of which parts may be left out where one remains, or STORE::NAME.
    Names are looked up in the store that comes with the package, in yours (folder reference_stats in
    VDNA_METRICS_HOME), and in those that VDNA_METRICS_STORES names.
    """


@references.command("list")
@click.argument("dataset", required=False, metavar="[DATASET]")
@_store
@options.as_json
def list_command(dataset: str | None, location: str | None, as_json: bool) -> None:
    """List what there is, all or of one image set."""
    from vdna_metrics.cli import references as work

    work.list_command(dataset, location, as_json)


@references.command()
@click.argument("name", metavar="NAME")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show all that is known of a reference.

    A NAME without a kind stands for all that there are, of one network.
    """
    from vdna_metrics.cli import references as work

    work.show(name, as_json)


@references.command()
@_store
@options.as_json
def verify(location: str | None, as_json: bool) -> None:
    """Read every file again, and compare it with the manifest."""
    from vdna_metrics.cli import references as work

    work.verify(location, as_json)


@dataclass(frozen=True)
class BuildOptions:
    """Which references are made, and where they go."""

    name: str | None = option(
        metavar="DATASET/SPLIT",
        help="What to call it, in lower case, as in bsds500/trainval.  [default: a standard dataset's own]",
    )
    kinds: tuple[Kind, ...] = options.kinds_option(
        "histogram,gaussian,layer_gaussian", "Which DNAs to make, in one pass over the images."
    )
    making: options.DNAOptions = nested(options.DNAOptions)
    storing: options.StoringOptions = nested(options.StoringOptions)


def _check_build(sources: tuple[str, ...], given: BuildOptions, **_: Any) -> None:
    options.check_root(given.making.reading.root, *sources)
    options.check_making_options(given.kinds, given.making)
    if given.name is None and not (len(sources) == 1 and sources[0].startswith(DATASET)):
        raise click.UsageError("--name is needed: DATASET/SPLIT, as in bsds500/trainval")


@references.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@options.takes("given", BuildOptions, _check_build)
@options.as_json
def build(sources: tuple[str, ...], given: BuildOptions, as_json: bool) -> None:
    """Make reference DNAs of images, and put them into a store.

    An interrupt keeps what was done; the same command goes on from there. Several SOURCEs are one image set.
    """
    from vdna_metrics.cli import references as work

    work.build(sources, given, as_json)


@dataclass(frozen=True)
class StatedOptions:
    """What a file of another tool may not tell of itself."""

    format: Any = option(metavar="NAME", help="Of the file, where its contents do not tell.")
    mode: Any = option(metavar="NAME", help="How the images were resized, where the file does not tell.")
    n_images: int | None = option("--images", type=click.IntRange(2), metavar="N", help="How many images, likewise.")
    ranges: str | None = option(metavar="FILE", help="Activation ranges of a vdna package of histograms.")
    feature_images: int = option(
        type=click.IntRange(2),
        metavar="N",
        default=SAMPLE,
        help="Images whose features are kept, of a file with more features a sample.",
    )


@dataclass(frozen=True)
class ImportOptions:
    """What an imported file is to be called, and what of it is stated."""

    name: str = option(
        required=True, metavar="NAME", help="DATASET/SPLIT, or of activation ranges the extractor's name."
    )
    stated: StatedOptions = nested(StatedOptions)
    resolution: str = option(
        default="", show_default=False, metavar="WxH", help="Of the images before they were resized, as in 32x32."
    )
    storing: options.StoringOptions = nested(options.StoringOptions)


@references.command()
@click.argument("name", metavar="NAME")
@click.option("--validation", required=True, metavar="DNA", help="Of the validation set: a file, folder or name.")
@click.option("--layers", type=options.names(), metavar="A,B", help="Of the distance.  [default: those that both have]")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    help="Of the interval, where both are in groups.",
)
@options.as_json
def normalise(name: str, validation: str, layers: tuple[str, ...] | None, confidence: float, as_json: bool) -> None:
    """Record with a layer Gaussian what FDr^k divides by.

    That is the Fréchet distance of a validation set from it, the training set: plain, and where both are in groups
    corrected for the number of images too. FrechetDistanceRatio and frechet_distance_ratio then need NAME alone.
    """
    from vdna_metrics.cli import references as work

    work.normalise(name, validation, layers, confidence, as_json)


@references.command("import")
@click.argument("source", metavar="SOURCE")
@options.takes("given", ImportOptions)
@options.as_json
def import_command(source: str, given: ImportOptions, as_json: bool) -> None:
    """Put a DNA, or others' statistics, into a store.

    SOURCE is a DNA, activation ranges, a file of another tool, its https address, or the name under which it is
    published (clean-fid:cifar10/train/32; see docs/references.md).
    """
    from vdna_metrics.cli import references as work

    work.import_command(source, given, as_json)


@references.command()
@click.argument("name", metavar="NAME")
@click.option("-o", "--output", required=True, metavar="FILE", help="File to write.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["clean-fid", "vdna"]),
    default="clean-fid",
    help="clean-fid: mean and covariance, for clean-fid and pytorch-fid too; vdna: the package's .json and .npz.",
)
@click.option("--layer", metavar="NAME", help="Layer whose mean and covariance to write, where there are several.")
@options.as_json
def export(name: str, output: str, file_format: Any, layer: str | None, as_json: bool) -> None:
    """Write a reference, or a DNA file, for another tool."""
    from vdna_metrics.cli import references as work

    work.export(name, output, file_format, layer, as_json)


@references.command("publish")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--to", required=True, metavar="STORE", help="hub:OWNER/NAME, made where there is none, or a folder.")
@click.option("--private", is_flag=True, help="Make a repository that only its members see.")
@click.option("--overwrite", is_flag=True, help="Replace what the store has under these names.")
@options.as_json
def publish_command(names: tuple[str, ...], to: str, private: bool, overwrite: bool, as_json: bool) -> None:
    """Copy references into another store, with their ranges and cards.

    A NAME without a kind stands for all that there are, of one network.
    """
    from vdna_metrics.cli import references as work

    work.publish_command(names, to, private, overwrite, as_json)
