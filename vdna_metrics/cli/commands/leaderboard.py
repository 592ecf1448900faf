"""`vdna-metrics leaderboard`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.config import config, given_or_in_config
from vdna_metrics.cli.options import nested, option
from vdna_metrics.reports.figure_formats import FIGURES, FigureFormat

if TYPE_CHECKING:
    from vdna_metrics.dna import Column


@dataclass(frozen=True)
class NetworksOptions:
    """Which networks, with which weights, and which of their layers."""

    extractors: tuple[str, ...] | None = option(
        type=options.names(),
        placing=options.names_in,
        metavar="A,B",
        help=f"Networks.  [default: the reference's, else a generator's, else {options.DEFAULT_EXTRACTOR}]",
    )
    weights: tuple[str, ...] = option(
        multiple=True, placing=options.source_in, metavar="[NAME=]FILE", help="Local weights of a network."
    )
    layers: tuple[str, ...] | None = option(
        type=options.names(), metavar="A,B", help="Layers to compare; of one network."
    )
    fid_weights: str | None = option(
        placing=options.file_in, metavar="FILE", help="Local weights of the FID Inception, for fid and sfid."
    )
    fid_mode: Any = option(
        type=click.Choice(["clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics"]),
        default="clean",
        help="How images are resized for fid; papers mostly have legacy_tensorflow.",
    )
    running: options.RunningOptions = nested(options.RunningOptions)


@dataclass(frozen=True)
class SettingsOptions:
    """What decides the numbers, see `LeaderboardSettings`."""

    groups: int = option(type=click.IntRange(2), metavar="N", default=10, help="For error bars.")
    cluster_by: str | None = option(
        placing=options.names_in,
        metavar="folder|REGEX|FILE",
        help="Which images depend on each other (frames of a video, samples of a prompt) and stay in one group: those "
        "of one folder, those whose names match alike, or as a .csv, .tsv or .json of names and clusters says.",
    )
    confidence: float = options.confidence_option("Of intervals and ranks.")
    seed: int = option(type=click.IntRange(0), metavar="N", default=0, help="Of random draws.")
    equalise: bool = option(is_flag=True, help="Take as many images of each generator as the smallest has.")
    class_folders: bool = option(is_flag=True, help="Also score each class folder against the reference's.")
    fidelity: bool = option(
        "--fidelity/--no-fidelity",
        default=True,
        help="Precision, recall, density, coverage, Vendi score, KID, and a check for copies.",
    )
    pictures: int = option(
        type=click.IntRange(0),
        metavar="N",
        default=100,
        help="Images of each set that are looked at one by one, for pictures in the report; 0 for none.",
    )
    diagnosis: int = option(
        type=click.IntRange(0),
        metavar="N",
        default=500,
        help="Images of each set whose pixels are looked at, to say what is wrong with it; 0 for no diagnosis.",
    )


@dataclass(frozen=True)
class LeaderboardOptions:
    """What is compared and how, and where the report goes."""

    references: tuple[str, ...] = options.references_option()
    columns: tuple[Column, ...] = options.columns_option("--metrics", default="emd,nfd,lfd", several=True)
    validation: str | None = option(
        placing=options.source_in,
        metavar="SOURCE",
        help="Real images that are not the reference's: adds FDr^k, the Fréchet distances over theirs, in the mean of "
        "all networks that have one.",
    )
    scores: tuple[str, ...] = option(
        multiple=True,
        placing=options.file_in,
        reads=True,
        metavar="FILE",
        help="Scores of the generators from elsewhere (people, Elo), and whether the columns agree with them: a .csv "
        "or .tsv whose first column names the generators, others are 'NAME↑' or 'NAME (lower is better)', each with "
        "its standard errors in a column '±' after it, or without.",
    )
    protocol: str | None = options.protocol_option()
    output: str | None = option(
        "-o",
        "--output",
        placing=options.file_in,
        metavar="FOLDER",
        help="Where the report goes: index.html, figures, leaderboard.json, .csv, .md, .tex.",
    )
    figures: Any = option(
        type=options.names(*get_args(FigureFormat)),
        metavar="A,B",
        default=",".join(FIGURES),
        help="Formats of the figures beside the report; pdf for papers.",
    )
    cache: str | None = option(
        placing=options.file_in,
        metavar="FOLDER",
        help="Where DNAs are kept by content.  [default: dnas in the report's folder]",
    )
    replay: str | None = option(
        placing=options.file_in,
        reads=True,
        metavar="FILE",
        help="Compute a leaderboard.json again, from its sources with its settings, and compare every number.",
    )
    append: str | None = option(
        placing=options.file_in,
        reads=True,
        metavar="FILE",
        help="Add generators, or --scores, to this leaderboard.json, in its settings.",
    )
    tolerance: float | None = option(
        type=click.FloatRange(0, 1), help="Share by which a number may differ in --replay.  [default: 0.001]"
    )
    trust: bool = option(
        is_flag=True,
        help="Let a record that is replayed or added to name its own files of weights, remote stores, and a regular "
        "expression for clusters.",
    )
    title: str | None = option(metavar="TEXT", help="Of the report.")
    settings: SettingsOptions = nested(SettingsOptions)
    networks: NetworksOptions = nested(NetworksOptions)
    neurons: options.NeuronOptions = nested(options.NeuronOptions)
    histograms: options.HistogramOptions = nested(options.HistogramOptions, "the reference's, else ")
    reading: options.ReadingOptions = nested(options.ReadingOptions)


def _check_leaderboard(generators: tuple[str, ...], given: LeaderboardOptions, **_: Any) -> None:
    replay, append = given.replay, given.append
    fresh = replay is None and append is None
    for wrong, message in (
        (
            replay is not None and (append is not None or generators or given.references or given.scores),
            "--replay computes a leaderboard again as it is recorded: no sources, --reference, --scores or --append",
        ),
        (replay is None and given.tolerance is not None, "--tolerance is for --replay"),
        (fresh and given.trust, "--trust is for --replay and --append"),
        (
            replay is None and not generators and not (append is not None and given.scores),
            "no generators: give their images, or --replay a leaderboard",
        ),
        (fresh and not given.references, "Missing option '--reference'."),
        (fresh and given.output is None, "Missing option '-o' / '--output'."),
    ):
        if wrong:
            raise click.UsageError(message)


@click.command()
@click.argument("generators", nargs=-1, metavar="[NAME=]SOURCE...", callback=given_or_in_config)
@options.takes("given", LeaderboardOptions, _check_leaderboard)
@config
@options.as_json
def leaderboard(generators: tuple[str, ...], given: LeaderboardOptions, as_json: bool) -> None:
    """Rank generators by their distance from real images.

    Each generator is a SOURCE (images, a DNA file, a folder of group DNAs, or a name of the store), named by the last
    part of its path or by NAME. Sources of one NAME are its training runs, NAME@STEP is a checkpoint. Each network
    sees the images once; DNAs are kept by content, so another generator or metric costs only what is new. Writes a
    report to read in a browser.
    """
    from vdna_metrics.cli import leaderboard as work

    work.leaderboard(generators, given, as_json)
