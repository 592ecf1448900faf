"""`vdna-metrics leaderboard`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli.inputs import check_histogram_options, check_root, check_same_bins, kinds_of, reading_of
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    HistogramOptions,
    Names,
    NeuronOptions,
    ReadingOptions,
    RunningOptions,
    as_json,
    columns_option,
    takes,
)
from vdna_metrics.cli.screen import print_json, print_table, progress_bars, say

if TYPE_CHECKING:
    from vdna_metrics.build.reading import Reading
    from vdna_metrics.dna import Column
    from vdna_metrics.leaderboard import Evidence, Leaderboard, LeaderboardPlan

FID_MODES = ("clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics")
FILE = "leaderboard.json"
_OF_NETWORKS = ("weights", "fid_weights", "fid_mode", "precision", "channels_last", "compile")
_OF_ONE_NETWORK = ("layers", "neurons", "neuron_weights", "ranges")
_NOTES = 5  # on pairs whose order is in dispute, of what may be many


@click.command()
@click.argument("sources", nargs=-1, metavar="[NAME=]SOURCE...")
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="REFERENCE",
    help="Real images or DNAs of them (a SOURCE); DNAs of several kinds or networks: give it once each.",
)
@click.option(
    "--extractors", type=Names(), help=f"Networks.  [default: the reference's, else {DEFAULT_EXTRACTOR}]", metavar="A,B"
)
@columns_option("--metrics", default="emd,nfd,lfd", several=True)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    help="Where the report goes: index.html, figures, leaderboard.json, .csv and .md.",
)
@click.option(
    "--cache", metavar="FOLDER", help="Where DNAs are kept by content.  [default: dnas in the report's folder]"
)
@click.option(
    "--replay",
    metavar="FILE",
    help="Compute a leaderboard.json again, from its sources with its settings, and compare every number.",
)
@click.option("--append", metavar="FILE", help="Add generators to this leaderboard.json, in its settings.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    help="Share by which a number may differ in --replay.  [default: 0.001]",
)
@click.option("--groups", type=click.IntRange(2), metavar="N", default=10, show_default=True, help="For error bars.")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of intervals and ranks.",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="Of random draws.")
@click.option("--equalise", is_flag=True, help="Take as many images of each generator as the smallest has.")
@click.option("--class-folders", is_flag=True, help="Also score each class folder against the reference's.")
@click.option(
    "--fidelity/--no-fidelity",
    default=True,
    show_default=True,
    help="Precision, recall, density, coverage, Vendi score, kernel distance, and a check for copies.",
)
@click.option(
    "--pictures",
    type=click.IntRange(0),
    metavar="N",
    default=100,
    show_default=True,
    help="Images of each set that are read once more, for pictures in the report; 0 for none.",
)
@click.option("--title", metavar="TEXT", help="Of the report.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Local weights of a network.")
@click.option("--layers", type=Names(), help="Layers to compare; of one network.")
@click.option("--fid-weights", metavar="FILE", help="Local weights of the FID Inception.")
@click.option(
    "--fid-mode",
    type=click.Choice(FID_MODES),
    default="clean",
    show_default=True,
    help="How images are resized for fid; papers mostly have legacy_tensorflow.",
)
@takes("running", RunningOptions)
@takes("neurons", NeuronOptions)
@takes("histograms", HistogramOptions, default=f"the reference's, else {DEFAULT_BINS}")
@takes("reading", ReadingOptions)
@as_json
def leaderboard(
    sources: tuple[str, ...],
    references: tuple[str, ...],
    extractors: tuple[str, ...] | None,
    columns: tuple[Column, ...],
    output: str | None,
    cache: str | None,
    replay: str | None,
    append: str | None,
    tolerance: float | None,
    title: str | None,
    weights: tuple[str, ...],
    layers: tuple[str, ...] | None,
    fid_weights: str | None,
    fid_mode: str,
    running: RunningOptions,
    neurons: NeuronOptions,
    histograms: HistogramOptions,
    reading: ReadingOptions,
    as_json: bool,
    **settings: Any,
) -> None:
    """Rank generators by their distance from real images.

    Each generator is a SOURCE (images, a DNA file, a folder of group DNAs, or a name of the store), named by the last
    part of its path or by NAME. Each network sees the images once; DNAs are kept by content, so another generator or
    metric costs only what is new. Writes a report to read in a browser.
    """
    from vdna_metrics.leaderboard import append_to_leaderboard, load_leaderboard, make_leaderboard
    from vdna_metrics.leaderboard.plan import named_source

    _check_usage(sources, references, output, replay, append, tolerance)
    recorded = None if replay is None and append is None else load_leaderboard(replay or append or "")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise click.UsageError("a leaderboard is made by one process; share images out by `make` and give its DNAs")
    folder = Path(output) if output is not None else Path(append).parent if append is not None else None
    kept = Path(cache) if cache is not None else None if folder is None or replay else folder / "dnas"
    if folder is not None:
        check_folder(folder)
    # Passes go on from checkpoints of each set by itself, in the cache.
    pass_ = replace(reading_of(reading, kept), checkpoint=None)
    if recorded is not None:
        _check_given("--append" if replay is None else "--replay", recorded)
    if recorded is not None and replay is not None:
        return _replay(recorded, folder, kept, pass_, reading.root, tolerance, as_json)
    command = shlex.join(["vdna-metrics", *sys.argv[1:]]) if sys.argv else ""
    options: dict[str, Any] = {"title": title or "", "command": command, "cache": kept, "reading": pass_}
    named = tuple(map(named_source, sources))
    if recorded is not None:
        with progress_bars() as start:
            found = append_to_leaderboard(
                recorded, named, references=references, root=reading.root, start=start, **options
            )
    else:
        plan = _plan(columns, running, neurons, histograms, reading.root, settings)
        with progress_bars() as start:
            found = make_leaderboard(plan, start=start, **options)
    assert folder is not None
    write_report_to(*found, folder)
    print_result(found[0], folder, as_json)


def _check_usage(
    sources: Sequence[str],
    references: Sequence[str],
    output: str | None,
    replay: str | None,
    append: str | None,
    tolerance: float | None,
) -> None:
    """Refuse options that do not go together."""
    if replay is not None and (append is not None or sources or references):
        raise click.UsageError(
            "--replay computes a leaderboard again as it is recorded: no sources, --reference or --append"
        )
    if tolerance is not None and replay is None:
        raise click.UsageError("--tolerance is for --replay")
    if replay is None and not sources:
        raise click.UsageError("no generators: give their images, or --replay a leaderboard")
    if replay is None and append is None and not references:
        raise click.UsageError("Missing option '--reference'.")
    if output is None and replay is None and append is None:
        raise click.UsageError("Missing option '-o' / '--output'.")


def _check_given(option: str, recorded: Leaderboard) -> None:
    """Refuse settings that are given and are not the leaderboard's."""
    from vdna_metrics.leaderboard import LeaderboardPlan, LeaderboardSettings

    context = click.get_current_context()
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    for name in _OF_NETWORKS:
        if name in given:
            name = name.replace("_", "-")
            raise click.UsageError(f"{option}: networks are those of the leaderboard, leave --{name} out")
    if "columns" in given:
        given["metrics"] = tuple(column.name for column in given["columns"])
    settings = [*(item.name for item in fields(LeaderboardSettings)), *_OF_ONE_NETWORK, "extractors"]
    same = {name: given[name] for name in settings if name in given}
    LeaderboardPlan.from_leaderboard(recorded).check_same(same)


# ------------------------------------------------------------------------------------------------------------- the plan
def _plan(
    columns: Sequence[Column],
    running: RunningOptions,
    neurons: NeuronOptions,
    histograms: HistogramOptions,
    root: str | None,
    settings: dict[str, Any],
) -> LeaderboardPlan:
    """What options and the reference say of a new leaderboard."""
    from vdna_metrics.leaderboard import LeaderboardPlan, LeaderboardSettings
    from vdna_metrics.leaderboard.plan import named_source
    from vdna_metrics.ranges import load_ranges

    given = click.get_current_context().params
    check_root(root, *(source for _, source in map(named_source, given["sources"])), *given["references"])
    check_histogram_options(kinds_of(columns), histograms)
    plan = LeaderboardPlan(
        references=given["references"],
        generators=tuple(map(named_source, given["sources"])),
        extractors=(),
        settings=LeaderboardSettings(
            metrics=tuple(column.name for column in columns),
            layers=given["layers"],
            bins=histograms.bins or DEFAULT_BINS,
            max_positions=histograms.max_positions,
            **settings,
        ),
        ranges=histograms.ranges,
        **vars(neurons),
        root=root,
    )
    plan = _with_networks(plan, columns, running)
    ranges = None if plan.ranges is None else load_ranges(plan.ranges)
    for dna in plan.reference.dnas if plan.reference is not None else ():
        check_same_bins(getattr(dna, "groups", [dna])[0], histograms.bins, ranges)
    return plan


def _with_networks(plan: LeaderboardPlan, columns: Sequence[Column], running: RunningOptions) -> LeaderboardPlan:
    """With the networks that options name, else those of the reference, which is opened."""
    from vdna_metrics.extractors import create_extractor
    from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
    from vdna_metrics.references import resolve

    given = click.get_current_context().params
    own = {column.extractor for column in columns if column.extractor is not None}
    free = [column for column in columns if column.extractor is None]
    names: tuple[str, ...] = given["extractors"] or ()
    if "fid_inception" not in own and given["fid_weights"] is not None:
        raise click.UsageError("--fid-weights is for fid, which --metrics does not name")
    if names and not free:
        raise click.UsageError(f"{columns[0].name} has its own network: leave --extractors out")
    for option in _OF_ONE_NETWORK:
        if given[option] is not None and len(names) > 1:
            raise click.UsageError(f"--{option.replace('_', '-')} is of one network, got {', '.join(names)}")
    options, reference = vars(running), None
    if free and not names:
        reference = resolve(*plan.references, kinds=kinds_of(free), root=plan.root)
        names = reference.networks or (DEFAULT_EXTRACTOR,)
        precision = next((dna.fingerprint.precision for dna in reference.dnas), None)
        options = {**options, "precision": options["precision"] or precision}
    weights, layers = _weights(given["weights"], names), given["layers"]
    extractors = (
        create_extractor(
            name,
            layers=list(layers) if layers and name.startswith("timm:") else None,
            weights_path=weights.get(name),
            **options,
        )
        for name in names
    )
    fid = FID_INCEPTIONS[given["fid_mode"]]
    networks = {
        name: create_extractor(fid, weights_path=given["fid_weights"], **options)
        if name == "fid_inception"
        else create_extractor(name, **options)
        for name in own
    }
    plan = replace(plan, extractors=tuple(extractors), networks=networks)
    # DNAs of columns' own networks were not asked for.
    opened = reference is not None and (not own or not reference.dnas)
    return replace(plan, reference=reference if opened else plan.open_set("", plan.references))


def _weights(given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    weights = {}
    for text in given:
        name, equals, file = text.partition("=")
        if equals and name in names:
            weights[name] = file
        elif len(names) == 1:
            weights[names[0]] = text
        else:
            raise click.UsageError(f"--weights {text}: say of which network, {names[0]}=FILE for example")
    return weights


# ------------------------------------------------------------------------------------------------------------- replays
def _replay(
    recorded: Leaderboard,
    folder: Path | None,
    cache: Path | None,
    reading: Reading,
    root: str | None,
    tolerance: float | None,
    as_json: bool,
) -> None:
    from vdna_metrics.leaderboard import leaderboard_differences, replay_leaderboard
    from vdna_metrics.leaderboard.replay import TOLERANCE, intervals_are_comparable

    with progress_bars() as start:
        leaderboard, evidence = replay_leaderboard(
            recorded, pictures=folder is not None, cache=cache, root=root, reading=reading, start=start
        )
    if folder is not None:
        write_report_to(leaderboard, evidence, folder)
    tolerance = TOLERANCE if tolerance is None else tolerance
    found = leaderboard_differences(recorded, leaderboard, tolerance=tolerance)
    intervals = intervals_are_comparable(recorded)
    versions = {
        name: (recorded.versions.get(name), leaderboard.versions.get(name))
        for name in dict.fromkeys([*recorded.versions, *leaderboard.versions])
        if recorded.versions.get(name) != leaderboard.versions.get(name)
    }
    if as_json:
        differences = [vars(each) for each in found]
        print_json({"tolerance": tolerance, "intervals": intervals, "differences": differences, "versions": versions})
    elif found:
        rows = [[each.what, _number(each.recorded), _number(each.found)] for each in found]
        print_table(f"{len(found)} numbers differ by more than {tolerance:g}", ["what", "recorded", "now"], rows)
    else:
        click.echo(f"Every number is within {tolerance:g} of the recorded one.")
    if not as_json and not intervals:
        click.echo(
            f"The record is by {recorded.writer}: intervals changed in 0.2, so only values and corrected values were "
            "compared, not intervals, differences of generators and ranks."
        )
    for name, (before, after) in versions.items() if not as_json else ():
        click.echo(f"{name}: {before} then, {after} now")
    if found:
        raise click.exceptions.Exit(1)


def _number(value: float | str | None) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "none" if value is None else value[:20]


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be one, before the work."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"cannot write a report to {folder}: it is a file")
    folder.mkdir(parents=True, exist_ok=True)


def write_report_to(leaderboard: Leaderboard, evidence: Evidence, folder: Path) -> None:
    """The record first: a page can be drawn again, numbers cannot."""
    from vdna_metrics.files import replacing
    from vdna_metrics.reports import leaderboard_csv, leaderboard_markdown, write_report

    leaderboard.save(folder / FILE)
    for name, text in (
        ("leaderboard.csv", leaderboard_csv(leaderboard)),
        ("leaderboard.md", leaderboard_markdown(leaderboard)),
    ):
        with replacing(folder / name) as file:
            file.write(text.encode("utf-8", "surrogateescape"))
    write_report(leaderboard, evidence, folder)


def print_result(leaderboard: Leaderboard, folder: Path, as_json: bool) -> None:
    """Notes, tables, and where the report lies; or the record."""
    for note in leaderboard.notes:
        say(f"note: {note}")
    if as_json:
        print_json(leaderboard.to_json())
    else:
        _print_leaderboard(leaderboard)
        click.echo(f"Report: {(folder / 'index.html').resolve()}")


def _print_leaderboard(leaderboard: Leaderboard) -> None:
    """A table a metric and network."""
    from vdna_metrics.reports import ranking_table

    for network, metric in leaderboard.columns:
        print_table(*ranking_table(leaderboard, network, metric))
        floor = leaderboard.floor(network, metric)
        if floor is not None:
            click.echo(f"Noise floor at {floor.n_images} images: {floor.value:#.4g}\n")
        worst = [records[0] for records in leaderboard.classes_of(network, metric).values()]
        if worst:
            rows = [[record.generator, record.group, record.n_images, record.value] for record in worst]
            print_table("Worst class of each", ["generator", "class", "n", "value"], rows)
    if leaderboard.agreement is not None:
        notes = leaderboard.agreement.notes
        for note in notes[:_NOTES]:
            click.echo(note)
        if len(notes) > _NOTES:
            click.echo(f"{len(notes) - _NOTES} more pairs are in dispute: see the report.")
