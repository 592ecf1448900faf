"""`vdna-metrics leaderboard`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from vdna_metrics.analysis import read_scores
from vdna_metrics.build.leading import led
from vdna_metrics.build.reading import Reading
from vdna_metrics.cli import options
from vdna_metrics.cli.config import config, given_or_in_config
from vdna_metrics.cli.inputs import check_histogram_options, check_root, check_same_bins, kinds_of, reading_of
from vdna_metrics.cli.options import NetworkOptions, nested, option
from vdna_metrics.cli.reports import check_report, print_comparison, print_result, write_report_to
from vdna_metrics.cli.screen import progress_bars, say
from vdna_metrics.cli.settings import paths_of, running_as, take_features
from vdna_metrics.distributions.ranks import RankError
from vdna_metrics.dna import Column
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.extractors import FeatureExtractor, create_extractor, extractor_and_layout
from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
from vdna_metrics.extractors.registry import rebuildable_name, spec_and_module
from vdna_metrics.files import errors_of
from vdna_metrics.fingerprint import FEATURES
from vdna_metrics.leaderboard import Leaderboard, LeaderboardPlan, LeaderboardSettings, load_leaderboard
from vdna_metrics.leaderboard.plan import append_to_leaderboard, make_leaderboard, named_sources, replay_leaderboard
from vdna_metrics.ranges import as_ranges
from vdna_metrics.references import resolve
from vdna_metrics.references.image_sets import extractor_of
from vdna_metrics.reports.embedding import FigureFormat
from vdna_metrics.reports.html import FIGURES

_OF_NETWORKS = (
    *("weights", "fid_weights", "fid_mode"),
    *(item.name for item in fields(options.RunningOptions) if item.name != "trust_code"),
)
_OF_ONE_NETWORK = ("layers", "directions", "neurons", "neuron_weights", "ranges")
_OF_THE_FID_INCEPTION = ("fid_inception", "sfid_inception")


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
        metavar="FILE",
        help="Compute a leaderboard.json again, from its sources with its settings, and compare every number.",
    )
    append: str | None = option(
        placing=options.file_in,
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


@click.command()
@click.argument("generators", nargs=-1, metavar="[NAME=]SOURCE...", callback=given_or_in_config)
@options.takes("given", LeaderboardOptions)
@config
@options.as_json
def leaderboard(generators: tuple[str, ...], given: LeaderboardOptions, as_json: bool) -> None:
    """Rank generators by their distance from real images.

    Each generator is a SOURCE (images, a DNA file, a folder of group DNAs, or a name of the store), named by the last
    part of its path or by NAME. Sources of one NAME are its training runs, NAME@STEP is a checkpoint. Each network
    sees the images once; DNAs are kept by content, so another generator or metric costs only what is new. Writes a
    report to read in a browser.
    """
    output, append = given.output, given.append
    folder = Path(output) if output is not None else Path(append).parent if append is not None else None
    kept = Path(given.cache) if given.cache is not None else None if folder is None or given.replay else folder / "dnas"
    # Passes go on from checkpoints of each set by itself, in the cache.
    reading = replace(reading_of(given.reading, kept), checkpoint=None)
    try:
        led(partial(_make, generators, given, as_json, folder, kept), reading)
    except RankError as error:  # rank 0 alone says so, the one that failed says why
        say(str(error))
        raise click.exceptions.Exit(1) from error


def _make(
    generators: tuple[str, ...],
    given: LeaderboardOptions,
    as_json: bool,
    folder: Path | None,
    kept: Path | None,
    reading: Reading,
) -> None:
    """What one process does, or the first of several."""
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
        (fresh and folder is None, "Missing option '-o' / '--output'."),
    ):
        if wrong:
            raise click.UsageError(message)
    options.check_protocol(given.protocol)
    recorded = None if replay is None and append is None else load_leaderboard(replay or append or "")
    if folder is not None:
        check_report(folder)
    if recorded is not None:
        with errors_of(str(replay or append)):
            _check_given("--append" if replay is None else "--replay", recorded)
    command = shlex.join(["vdna-metrics", *sys.argv[1:]])
    outside = tuple(score for file in given.scores for score in read_scores(file))
    with progress_bars() as start:
        work: dict[str, Any] = {"cache": kept, "reading": reading, "start": start}
        trusted = {"trust": given.trust, "trust_code": given.networks.running.trust_code}
        recording: dict[str, Any] = {"root": given.reading.root, **trusted}
        told: dict[str, Any] = {"title": given.title or "", "command": command}
        if recorded is None:
            plan = replace(_plan(generators, given), outside=outside)
            found = make_leaderboard(plan, **told, **work)
        elif replay is not None:
            found = replay_leaderboard(recorded, pictures=folder is not None, **recording, **work)
        else:
            work |= {"references": given.references, "outside": outside, **recording}
            found = append_to_leaderboard(recorded, named_sources(generators), **told, **work)
    if folder is not None:
        write_report_to(*found, folder, given.figures)
    if recorded is None or replay is None:
        assert folder is not None
        print_result(found[0], folder, as_json)
    elif not print_comparison(recorded, found[0], given.tolerance, as_json):
        raise click.exceptions.Exit(1)


def _check_given(option: str, recorded: Leaderboard) -> None:
    """Refuse settings that are given and are not the leaderboard's."""
    context = click.get_current_context()
    source = click.core.ParameterSource
    of_protocol, sources = context.meta.get(options.PROTOCOL, ()), map(context.get_parameter_source, context.params)
    given = {
        name: value
        for (name, value), by in zip(context.params.items(), sources, strict=True)
        if by is source.COMMANDLINE or (by is source.DEFAULT_MAP and name not in of_protocol)
    }
    for name in _OF_NETWORKS:
        if name in given:
            name = name.replace("_", "-")
            raise click.UsageError(f"{option}: networks are those of the leaderboard, leave --{name} out")
    if "columns" in given:
        given["metrics"] = tuple(column.name for column in given["columns"])
    settings = [*(item.name for item in fields(LeaderboardSettings)), *_OF_ONE_NETWORK, "extractors", "validation"]
    same = {name: given[name] for name in settings if name in given}
    LeaderboardPlan.from_leaderboard(recorded).check_same(same)


# ------------------------------------------------------------------------------------------------------------- the plan
def _plan(sources: Sequence[str], given: LeaderboardOptions) -> LeaderboardPlan:
    """What options say, with networks created; refuses bins and ranges that no column needs, or that differ."""
    named, columns, histograms = named_sources(sources), given.columns, given.histograms
    layers = given.networks.layers
    check_root(
        given.reading.root, *(source for _, source in named), *given.references, *filter(None, [given.validation])
    )
    plan = LeaderboardPlan(
        references=given.references,
        generators=named,
        extractors=(),
        settings=LeaderboardSettings(
            metrics=tuple(column.name for column in columns),
            layers=layers and tuple(given.networks.running.with_directions(layers)),
            bins=histograms.bins or options.DEFAULT_BINS,
            max_positions=histograms.max_positions,
            protocol=given.protocol,
            **vars(given.settings),
        ),
        ranges=histograms.ranges,
        **vars(given.neurons),
        root=given.reading.root,
        validation=given.validation,
    )
    plan = _with_networks(plan, columns, given.networks)
    check_histogram_options(kinds_of(columns), histograms)
    ranges = None if histograms.ranges is None else as_ranges(histograms.ranges)
    for dna in plan.reference.dnas if plan.reference is not None else ():
        check_same_bins(getattr(dna, "groups", [dna])[0], histograms.bins, ranges)
    return plan


def _with_networks(plan: LeaderboardPlan, columns: Sequence[Column], given: NetworksOptions) -> LeaderboardPlan:
    """With the networks that options name, else those of the reference, which is opened."""
    own = {column.extractor for column in columns if column.extractor is not None}
    free = [column for column in columns if column.extractor is None]
    names: tuple[str, ...] = given.extractors or ()
    if not own.intersection(_OF_THE_FID_INCEPTION) and given.fid_weights is not None:
        raise click.UsageError("--fid-weights is for fid and sfid, which --metrics does not name")
    if names and not free:
        raise click.UsageError(f"{columns[0].name} has its own network: leave --extractors out")
    for name in _OF_ONE_NETWORK:
        value = click.get_current_context().params[name]
        if value is not None and (name, value) != ("ranges", "auto") and len(names) > 1:
            raise click.UsageError(f"--{name.replace('_', '-')} is of one network, got {', '.join(names)}")
    running, reference, first, made = vars(given.running), None, None, list[FeatureExtractor]()
    named = [text.partition("=") for text in given.weights]
    own_files = {name: file for name, _, file in named if name in own} | dict.fromkeys(
        _OF_THE_FID_INCEPTION, given.fid_weights
    )
    given_files = [text for text in given.weights if text.partition("=")[0] not in own]
    if free and all(f"{name}:".startswith(FEATURES) for name in names):
        kinds = kinds_of(free)
        reference = resolve(*plan.references, kinds=kinds, root=plan.root)
        others = [resolve(source, kinds=kinds, root=plan.root) for _, source in plan.generators]
        first = next((each for each in (reference, *others) if each.dnas), reference)
        features = next((each.images for each in (reference, *others) if each.images and each.images.features), None)
        if features is not None:
            said = NetworkOptions(next(iter(names), None), tuple(given_files), None, given.running)
            made = [take_features(said, free, next(map(total_of, first.dnas), None), features)]
        elif not names:
            found = (rebuildable_name(extractor_of(dna), dna.fingerprint) for dna in first.dnas)
            names = tuple(dict.fromkeys(found)) or (options.DEFAULT_EXTRACTOR,)
            if first.dnas:
                running = running_as(first.dnas[0].fingerprint, running)
    if not made:
        files, layers = _weights(given_files, names, sorted(own)), list(given.layers or ()) or None
        specs = {name: spec_and_module(name, files.get(name), trust_code=given.running.trust_code) for name in names}
        if names and first is None:
            called = [spec.name for spec, _ in specs.values()]
            reference = first = resolve(*plan.references, kinds=kinds_of(free), extractors=called, root=plan.root)
        for name, (spec, _) in specs.items():  # read and run as the reference was
            paths, like = None, running
            for dna in map(total_of, first.dnas if first is not None else ()):
                places = paths_of(dna, name, spec.name)
                if places is not None and len(places) > len(paths or ()):
                    paths, like = places, running_as(dna.fingerprint, running)
            made.append(extractor_and_layout(name, layers, paths=paths, weights_path=files.get(name), **like)[0])
    fid, running = FID_INCEPTIONS[given.fid_mode], vars(options.RunningOptions(**running).of_named)
    networks = {
        name: create_extractor(fid if name == "fid_inception" else name, weights_path=own_files.get(name), **running)
        for name in own
    }
    plan = replace(plan, extractors=tuple(made), networks=networks)
    # Without the DNAs of columns' own networks.
    opened = reference is not None and (not own or not reference.dnas)
    return replace(plan, reference=reference if opened else plan.open_set("", plan.references))


def _weights(given: Sequence[str], names: Sequence[str], own: Sequence[str]) -> dict[str, str]:
    """``{network: file}`` of networks that are asked for by name, beside those that columns name."""
    weights = {}
    for text in given:
        name, equals, file = text.partition("=")
        if equals and name in names:
            weights[name] = file
        elif len(names) == 1:
            weights[names[0]] = options.file_of(text, names[0])
        else:
            raise click.UsageError(f"--weights {text}: say of which network, {[*names, *own][0]}=FILE for example")
    return weights
