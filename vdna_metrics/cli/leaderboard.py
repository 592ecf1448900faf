"""`vdna-metrics leaderboard`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_root,
    check_same_bins,
    is_ours,
    load_dna,
    load_neuron_weights,
    load_neurons,
    load_ranges,
    named_reference,
    open_images,
    own_root,
    shared_reading,
)
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    KEPT,
    METRICS,
    RUNNING,
    Names,
    as_json,
    histogram_options,
    max_positions_option,
    neurons_options,
    reading_options,
    running_options,
)
from vdna_metrics.cli.screen import print_json, print_table, progress_bars, say

if TYPE_CHECKING:
    from vdna_metrics.build.reading import Reading
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA, GroupedDNA
    from vdna_metrics.extractors import ExtractorSpec
    from vdna_metrics.images.sources import ImageSource
    from vdna_metrics.leaderboard.record import Evidence, Leaderboard
    from vdna_metrics.leaderboard.scoring import ImageSet, LeaderboardSettings

FID = "FID, the layer Fréchet distance in the FID Inception's pool, a network of its own"
FID_MODES = ("clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics")
FILE = "leaderboard.json"
_NOTES = 5  # on pairs whose order is in dispute, of what may be many


@dataclass(frozen=True)
class _Plan:
    """All that makes a leaderboard, as text and numbers: from options, or from a leaderboard."""

    references: tuple[str, ...]
    generators: tuple[tuple[str, str], ...]
    specs: tuple[ExtractorSpec, ...]
    fid: ExtractorSpec | None
    settings: LeaderboardSettings
    ranges: str | None
    neurons: str | None
    neuron_weights: str | None

    def record(self) -> dict[str, Any]:
        """What `of_leaderboard` needs beside what `score_leaderboard` records."""
        return {
            "references": list(self.references),
            "ranges": self.ranges,
            "neurons": self.neurons,
            "neuron_weights": self.neuron_weights,
            "root": own_root(),
        }

    @classmethod
    def of_leaderboard(cls, leaderboard: Leaderboard) -> _Plan:
        """The plan by which a leaderboard was made."""
        from vdna_metrics.extractors import ExtractorSpec
        from vdna_metrics.extractors.spec import MODULE
        from vdna_metrics.leaderboard.scoring import LeaderboardSettings

        recorded = leaderboard.settings
        try:
            foreign = [spec["name"] for spec in recorded["networks"] if spec["architecture"].startswith(MODULE)]
            if foreign:
                raise ValueError(f"{foreign[0]} is a module of the user's own, which a leaderboard cannot build again")
            specs = [ExtractorSpec(**spec) for spec in recorded["networks"]]
            return cls(
                references=tuple(recorded["references"]),
                generators=tuple((entry.name, entry.source) for entry in leaderboard.generators),
                specs=tuple(specs[:-1] if "fid" in leaderboard.metrics else specs),
                fid=specs[-1] if "fid" in leaderboard.metrics else None,
                settings=LeaderboardSettings(
                    **{item.name: recorded[item.name] for item in fields(LeaderboardSettings)}
                ),
                ranges=recorded["ranges"],
                neurons=recorded["neurons"],
                neuron_weights=recorded["neuron_weights"],
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"the leaderboard does not record how it was made by a command ({error!r} is missing)"
            ) from error


@click.command()
@click.argument("sources", nargs=-1, metavar="[NAME=]SOURCE...")
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="REFERENCE",
    help="Real images (a SOURCE), a DNA file, a folder of group DNAs, or a name of the store; DNAs of several kinds or "
    "networks: give it once each.",
)
@click.option(
    "--extractors", type=Names(), help=f"Networks.  [default: the reference's, else {DEFAULT_EXTRACTOR}]", metavar="A,B"
)
@click.option(
    "--metrics",
    type=Names(*METRICS, "fid"),
    default="emd,nfd,lfd",
    show_default=True,
    help="; ".join(f"{name}: {text}" for name, text in (*((n, t) for n, (_, t) in METRICS.items()), ("fid", FID)))
    + ".",
)
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
    help="Images of each set that are looked at once more, for pictures in the report; 0 for none.",
)
@click.option("--title", metavar="TEXT", help="Of the report.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Local weights of a network.")
@click.option("--layers", type=Names(), help="Layers to look at; of one network.")
@click.option("--fid-weights", metavar="FILE", help="Local weights of the FID Inception.")
@click.option(
    "--fid-mode",
    type=click.Choice(FID_MODES),
    default="clean",
    show_default=True,
    help="How images are resized for fid; papers mostly have legacy_tensorflow.",
)
@running_options
@neurons_options
@histogram_options(f"the reference's, else {DEFAULT_BINS}")
@max_positions_option
@reading_options
@as_json
def leaderboard(
    sources: tuple[str, ...],
    references: tuple[str, ...],
    output: str | None,
    cache: str | None,
    replay: str | None,
    append: str | None,
    tolerance: float | None,
    title: str | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank generators by their distance from real images.

    Each generator is a SOURCE, named by the last part of its path or by NAME. Images are seen once by each network;
    DNAs are kept by content, so another generator or metric costs only what is new. Writes a report to read in a
    browser.
    """
    from vdna_metrics.leaderboard.record import load_leaderboard

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
    standing_file = replay or append
    standing = None if standing_file is None else load_leaderboard(standing_file)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise click.UsageError("a leaderboard is made by one process; share images out by `make` and give its DNAs")
    folder = Path(output) if output is not None else Path(append).parent if append is not None else None
    cached = Path(cache) if cache is not None else None if folder is None or replay else folder / "dnas"
    if folder is not None:
        check_folder(folder)
    reading = shared_reading(device, batch_size, workers, skip_bad, cached)
    reading = replace(reading, checkpoint=None)  # of each set by itself, in the cache
    if standing is not None:
        plan = _Plan.of_leaderboard(standing)
        if replay is not None:
            reading = replace(
                reading, batch_size=int(standing.settings["batch_size"]), skip_bad=bool(standing.settings["skip_bad"])
            )
            _refuse_given("--replay", plan, options)
            return _replay(standing, plan, reading, folder, cached, tolerance, as_json)
        _refuse_given("--append", plan, options)
        plan = replace(
            plan,
            references=references or plan.references,
            generators=(*plan.generators, *map(_named, sources)),
        )
    else:
        plan = _planned(sources, references, options)
    entries = _open(plan, standing, cached)
    command = shlex.join(["vdna-metrics", *sys.argv[1:]]) if sys.argv else ""
    leaderboard, evidence = _scored(
        plan, entries, reading, cached, title or (standing.title if standing else None), command
    )
    if standing is not None:
        _check_standing(standing, leaderboard)
    assert folder is not None
    write_report_to(leaderboard, evidence, folder)
    print_result(leaderboard, folder, as_json)


# --------------------------------------------------------------------------------------------------------------- plans
def _named(text: str) -> tuple[str, str]:
    """Name and source of a generator: ``NAME=SOURCE``, or the last part of its path."""
    name, equals, source = text.partition("=")
    if equals and name and source and not Path(text).exists() and "/" not in name:
        return name, source
    return Path(text).resolve().name if Path(text).is_dir() else Path(text).name or text, text


def _planned(sources: Sequence[str], references: tuple[str, ...], options: dict[str, Any]) -> _Plan:
    from vdna_metrics.extractors import create_extractor
    from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
    from vdna_metrics.leaderboard.scoring import LeaderboardSettings

    check_root(*sources, *references)
    plain = [name for name in options["metrics"] if name != "fid"]
    check_histogram_options([METRICS[name][0] for name in plain], options["bins"], options["ranges_file"])
    if "fid" not in options["metrics"] and options["fid_weights"] is not None:
        raise click.UsageError("--fid-weights is for fid, which --metrics does not name")
    names: tuple[str, ...] = options["extractors"] or ()
    if not plain and names:
        raise click.UsageError("--extractors are for emd, nfd and lfd; fid has its own network")
    precision = None
    if plain and not names:
        names, precision = _extractor_of(references, [METRICS[name][0] for name in plain])
    weights = _weights(options["weights"], names)
    for option in ("layers", "neurons", "neuron_weights", "ranges_file"):
        if options[option] is not None and len(names) > 1:
            word = option.removesuffix("_file").replace("_", "-")
            raise click.UsageError(f"--{word} is of one network, given are {len(names)}")
    asked = {option: click.get_current_context().meta[f"{KEPT}.{option}"] for option in RUNNING}
    asked["precision"] = asked["precision"] or precision
    layers = options["layers"]
    built = [
        create_extractor(
            name,
            layers=list(layers) if layers and name.startswith("timm:") else None,
            weights_path=weights.get(name),
            **asked,
        ).spec
        for name in names
    ]
    fid = None
    if "fid" in options["metrics"]:
        fid_options = {**asked, "weights_path": options["fid_weights"]}
        fid = create_extractor(FID_INCEPTIONS[options["fid_mode"]], **fid_options).spec
    settings = LeaderboardSettings(
        metrics=options["metrics"],
        bins=options["bins"] or DEFAULT_BINS,
        layers=None if layers is None else tuple(layers),
        **{name: options[name] for name in _SETTINGS},
    )
    generators = tuple(map(_named, sources))
    plan = _Plan(
        references, generators, tuple(built), fid, settings,
        options["ranges_file"], options["neurons"], options["neuron_weights"],
    )  # fmt: skip
    _check_bins(plan, options)
    return plan


_SETTINGS = (
    "groups", "max_positions", "confidence", "seed", "equalise", "class_folders", "fidelity", "pictures",
)  # fmt: skip


def _extractor_of(references: Sequence[str], kinds: Sequence[Kind]) -> tuple[tuple[str, ...], Any]:
    """Names of the networks through which the reference was seen, else the default; and their precision."""
    found: dict[str, Any] = {}
    for reference in references:
        dnas = _load_dnas(reference, None, kinds)
        for dna in map(_one, dnas.dnas) if dnas is not None else ():
            found[dna.provenance.extractor] = dna.fingerprint.precision
    if not found:
        return (DEFAULT_EXTRACTOR,), None
    return tuple(found), next(iter(found.values()))


def _one(dna: VDNA | GroupedDNA) -> VDNA:
    """A DNA that has the settings of all groups."""
    from vdna_metrics.dna import GroupedDNA

    return dna.groups[0] if isinstance(dna, GroupedDNA) else dna


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


def _check_bins(plan: _Plan, options: dict[str, Any]) -> None:
    """Refuse bins and ranges that the reference has otherwise."""
    ranges = load_ranges(plan.ranges)
    if options["bins"] is None and ranges is None:
        return
    for reference in plan.references:
        dnas = _load_dnas(reference, [spec.name for spec in plan.specs], ["histogram"])
        for dna in dnas.dnas if dnas is not None else ():
            if dna.kind == "histogram":
                check_same_bins(_one(dna), options["bins"], ranges)


def _refuse_given(option: str, plan: _Plan, options: dict[str, Any]) -> None:
    """Refuse settings that are given and are not the leaderboard's."""
    context = click.get_current_context()
    recorded: dict[str, Any] = {
        **{name: getattr(plan.settings, name) for name in ("metrics", "layers", "bins", *_SETTINGS)},
        "extractors": tuple(spec.name for spec in plan.specs),
        "ranges_file": plan.ranges,
        "neurons": plan.neurons,
        "neuron_weights": plan.neuron_weights,
    }
    for name, value in options.items():
        source = context.get_parameter_source(name)
        if source is not click.core.ParameterSource.COMMANDLINE:
            continue
        given = f"--{name.removesuffix('_file').replace('_', '-')}"
        if name not in recorded:
            raise click.UsageError(f"{option}: networks are those of the leaderboard, leave {given} out")
        there = recorded[name]
        if value != there and sorted(value) != sorted(there) if isinstance(value, tuple) else value != there:
            raise ValueError(
                f"{given.lstrip('-')} differ: the leaderboard has {_shown(there)}, given is {_shown(value)}"
            )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


# ------------------------------------------------------------------------------------------------------------- entries
def _load_dnas(source: str, extractors: Sequence[str] | None, kinds: Sequence[Kind]) -> ImageSet | None:
    """What a source holds that is no images; its name is the source."""
    from vdna_metrics.leaderboard.scoring import ImageSet
    from vdna_metrics.references import holds_dnas

    if is_ours(source):
        return ImageSet(source, source, dnas=(load_dna(source),))
    if holds_dnas(source):
        return ImageSet.open(source, source)
    if named_reference(source):
        return _load_by_name(source, extractors, kinds)
    return None


def _load_by_name(name: str, extractors: Sequence[str] | None, kinds: Sequence[Kind]) -> ImageSet:
    """DNAs of a store: in groups where the package has those, else as they are."""
    from vdna_metrics.leaderboard.scoring import ImageSet
    from vdna_metrics.references import load_reference
    from vdna_metrics.references.store import groups_folder

    words = re.fullmatch(r"([^/@#:]+)/([^/@#:]+)(?:@([^/@#:]+))?", name.lower())
    parts: list[ImageSet] = []
    problem: ValueError | None = None
    for extractor in extractors if extractors is not None else [words[3] if words else None]:
        groups = groups_folder(words[1], words[2], extractor) if words and extractor else None
        if groups is not None and groups.is_dir() and words and words[3] in (None, extractor):
            parts.append(ImageSet.open(name, groups))
            continue
        found: dict[Kind, VDNA] = {}
        for kind in kinds:
            try:
                dna = load_reference(name, extractor=extractor, kind=kind)
            except ValueError as error:
                problem = error
            else:
                found[dna.kind] = dna
        if found:
            parts.append(ImageSet(name, name, dnas=tuple(found.values())))
    if not parts and problem is not None:
        raise problem
    return _together(name, parts)


def _open_entry(name: str, sources: Sequence[str], plan: _Plan) -> ImageSet:
    """Images and DNAs of one set."""
    metrics = plan.settings.metrics
    kinds = dict.fromkeys(METRICS[metric][0] if metric in METRICS else "layer_gaussian" for metric in metrics)
    networks = [spec.name for spec in (*plan.specs, *([plan.fid] if plan.fid else []))]
    images: ImageSource | None = None
    found: list[ImageSet] = []
    for source in sources:
        known = _load_dnas(source, networks, list(kinds))
        if known is not None:
            found.append(known)
        elif images is not None:
            raise ValueError(f"only one --reference can be images, got {images.name} and {source}")
        else:
            images = open_images(source)
    return replace(_together(name, found), source=", ".join(sources), images=images)


def _together(name: str, parts: Sequence[ImageSet]) -> ImageSet:
    """DNAs of one set of images, by kind or network."""
    from vdna_metrics.leaderboard.scoring import ImageSet

    return ImageSet(
        name,
        "",
        dnas=tuple(dna for part in parts for dna in part.dnas),
        features=tuple(pair for part in parts for pair in part.features),
        digests={image: digest for part in parts for image, digest in part.digests.items()},
    )


def _open(plan: _Plan, standing: Leaderboard | None, cache: Path | None) -> list[ImageSet]:
    """The reference and the generators; those of a standing leaderboard must be what they were."""
    first = plan.references[0]
    reference_name = first if named_reference(first) else _named(first)[0]
    if standing is not None:
        reference_name = standing.reference.name
    elif reference_name in [name for name, _ in plan.generators]:
        reference_name = f"{reference_name} (reference)"
    reference = _open_entry(reference_name, plan.references, plan)
    entries = [reference]
    known = {} if standing is None else {entry.name: entry for entry in standing.generators}
    for name, source in plan.generators:
        try:
            entries.append(_open_entry(name, [source], plan))
        except (ValueError, OSError):
            found = None if standing is None or name not in known else _from_cache(name, source, standing, cache)
            if found is None:
                raise
            entries.append(found)
    if standing is not None:
        changed = _changed(standing, entries, plan)
        if changed:
            raise ValueError("; ".join(changed))
    return entries


def _from_cache(name: str, source: str, standing: Leaderboard, cache: Path | None) -> ImageSet | None:
    """A generator whose images are gone, by the DNAs that were kept of it."""
    from vdna_metrics.build.cache import cached_folder
    from vdna_metrics.leaderboard.scoring import ImageSet

    record = next(entry for entry in standing.generators if entry.name == name)
    parts = []
    for network in standing.networks:
        folder = cached_folder(cache, record.manifest, network.fingerprint, record.groups) if cache else None
        if folder is None:
            return None
        parts.append(ImageSet.open(name, folder))
    say(f"{source} is not there: {name} is scored by the DNAs that were kept of it")
    return replace(_together(name, parts), source=source)


def _changed(standing: Leaderboard, entries: Sequence[ImageSet], plan: _Plan) -> list[str]:
    """What of a standing leaderboard's sets and networks is not what it was, with both sides."""
    from vdna_metrics.build.cache import content_digests
    from vdna_metrics.extractors import create_extractor
    from vdna_metrics.images.sources import evenly_spaced, manifest_hash

    found = []
    records = {entry.name: entry for entry in (standing.reference, *standing.generators)}
    for entry in entries:
        record = records.get(entry.name)
        if record is None or entry.images is None or not record.manifest:
            continue
        images = entry.images
        if len(images) != record.n_found:
            found.append(
                f"{entry.name} changed: {record.n_found} images when the leaderboard was made, now {len(images)}"
            )
            continue
        images = evenly_spaced(images, record.n_images + len(record.skipped))
        skipped = {name for name, _ in record.skipped}
        kept = [(n, d) for n, d in zip(images.names, content_digests(images), strict=True) if n not in skipped]
        manifest = manifest_hash(*zip(*kept, strict=True))
        if manifest != record.manifest:
            found.append(
                f"{entry.name} changed: its images had the manifest {record.manifest[:12]} when the leaderboard was "
                f"made, now they have {manifest[:12]}"
            )
    specs = (*plan.specs, *([plan.fid] if plan.fid is not None else []))
    for network, spec in zip(standing.networks, specs, strict=True):
        fingerprint = create_extractor(spec).fingerprint
        if fingerprint.digest != network.fingerprint:
            found.append(
                f"network {network.name} changed: fingerprint {network.fingerprint[:12]} when the leaderboard was "
                f"made, now {fingerprint.digest[:12]}"
            )
    return found


def _check_standing(standing: Leaderboard, leaderboard: Leaderboard) -> None:
    """Refuse a leaderboard whose networks, bins or ranges are not those of the standing one."""
    for before, after in zip(standing.networks, leaderboard.networks, strict=True):
        for part in ("fingerprint", "bins", "ranges"):
            if getattr(before, part) != getattr(after, part):
                raise ValueError(
                    f"{part} of {before.name} differ: the leaderboard has {str(getattr(before, part))[:12]}, this "
                    f"reference {str(getattr(after, part))[:12]}; it is another leaderboard"
                )
    if standing.reference.n_images != leaderboard.reference.n_images:
        raise ValueError(
            f"references differ: the leaderboard's has {standing.reference.n_images} images, this one "
            f"{leaderboard.reference.n_images}; it is another leaderboard"
        )


# ------------------------------------------------------------------------------------------------------------- the work
def _scored(
    plan: _Plan,
    entries: Sequence[ImageSet],
    reading: Reading,
    cache: Path | None,
    title: str | None,
    command: str,
) -> tuple[Leaderboard, Evidence]:
    from vdna_metrics.leaderboard.scoring import score_leaderboard

    reference, *generators = entries
    ranges = load_ranges(plan.ranges)
    with progress_bars() as start:
        return score_leaderboard(
            reference,
            generators,
            plan.specs,
            settings=plan.settings,
            fid_extractor=plan.fid or "fid_inception",
            ranges=None if ranges is None else {spec.name: ranges for spec in plan.specs},
            neurons=load_neurons(plan.neurons),
            weights=load_neuron_weights(plan.neuron_weights),
            cache=cache,
            title=title or f"{len(generators)} sets of images against {reference.name}",
            command=command,
            record=plan.record(),
            reading=reading,
            start=start,
        )


def _replay(
    standing: Leaderboard,
    plan: _Plan,
    reading: Reading,
    folder: Path | None,
    cache: Path | None,
    tolerance: float | None,
    as_json: bool,
) -> None:
    from vdna_metrics.leaderboard.replay import TOLERANCE, leaderboard_differences

    settings = plan.settings
    if folder is None:  # pictures are not compared
        plan = replace(plan, settings=replace(settings, pictures=0))
    entries = _open(plan, standing, cache)
    leaderboard, evidence = _scored(plan, entries, reading, cache, standing.title, standing.command)
    if folder is not None:
        write_report_to(leaderboard, evidence, folder)
    tolerance = TOLERANCE if tolerance is None else tolerance
    found = leaderboard_differences(standing, leaderboard, tolerance=tolerance)
    versions = {
        name: (standing.versions.get(name), leaderboard.versions.get(name))
        for name in dict.fromkeys([*standing.versions, *leaderboard.versions])
        if standing.versions.get(name) != leaderboard.versions.get(name)
    }
    if as_json:
        print_json({"tolerance": tolerance, "differences": [vars(each) for each in found], "versions": versions})
    elif found:
        rows = [[each.what, _number(each.recorded), _number(each.found)] for each in found]
        print_table(f"{len(found)} numbers differ by more than {tolerance:g}", ["what", "recorded", "now"], rows)
    else:
        click.echo(f"Every number is within {tolerance:g} of the recorded one.")
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
    from vdna_metrics.leaderboard.record import METRIC_LABELS
    from vdna_metrics.reports import rank_text

    sizes = {entry.name: entry.n_images for entry in leaderboard.generators}
    for network, metric in leaderboard.columns:
        rows = []
        for score in leaderboard.column(network, metric):
            estimate = score.estimate
            bars = ["", ""]
            if estimate is not None:
                bars = [f"{estimate.corrected:#.4g}", f"{estimate.low:#.4g} to {estimate.high:#.4g}"]
            rows.append([rank_text(score), score.generator, sizes[score.generator], score.value, *bars])
        real = f"{leaderboard.reference.n_images} images of {leaderboard.reference.name}"
        title = f"{METRIC_LABELS[metric]} from {real}, seen by {network}"
        print_table(title, ["rank", "generator", "n", "value", "corrected", "interval"], rows)
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
