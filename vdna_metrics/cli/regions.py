"""`vdna-metrics regions`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from vdna_metrics import analysis
from vdna_metrics.analysis import PixelLabeller, RegionReport
from vdna_metrics.build import VOID, Partition, Reading, read_label_maps
from vdna_metrics.build.dnas import make_dnas
from vdna_metrics.build.passes import check_pictures, read_pictures
from vdna_metrics.build.reading import Progress
from vdna_metrics.build.regions import LabelMap, label_map_path, regions as regions_of, seen_labels
from vdna_metrics.cli.commands.regions import RegionOptions
from vdna_metrics.cli.inputs import in_unit, reading_of
from vdna_metrics.cli.options import check_making_options
from vdna_metrics.cli.results import output_path, report_skipped, say_notes, write_picture
from vdna_metrics.cli.screen import StartBar, is_main, print_json, print_table, progress_bars, say, tell, watched
from vdna_metrics.cli.settings import DNASettings, find_settings
from vdna_metrics.dna import VDNA, Column
from vdna_metrics.dna.caveats import Caveat, Notes, set_caveats
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.images.sources import ImageSource, select_images
from vdna_metrics.references import resolve_images
from vdna_metrics.reports.region_plots import LabelledPicture, plot_regions

_SHOWN = 6  # images of a set in the picture
_WORTH_SAYING = 0.01  # of the pixels
_MOST = VOID  # regions without names, none of which takes the place of no region


@dataclass(frozen=True, eq=False)
class _Set:
    """Images and their regions."""

    name: str
    labels: Partition[str]
    shown: list[LabelledPicture]
    dnas: dict[str, VDNA]


def regions(reference: str, generated: tuple[str, ...], given: RegionOptions, as_json: bool) -> None:
    """Compare sets of images region by region."""
    making, column = given.making, in_unit(given.column, given.unit)
    check_making_options([column.kind], making)
    picture = output_path(given.output)
    root = making.reading.root
    sources = {source: resolve_images(source, root=root) for source in (reference, *generated)}
    if len(sources) < 1 + len(generated):
        raise click.UsageError("expected different sets, one is given twice")
    for images in sources.values():
        check_pictures(images)
    settings = find_settings(
        making.network,
        making.histograms,
        making.features,
        columns=[column],
        neurons=given.neurons,
        images=list(sources.values()),
    )
    reading = reading_of(making.reading)
    with progress_bars() as start:
        labeller = _labeller(sources[reference], given, settings, reading, start)
        folders = given.masks * (len(sources) if len(given.masks) == 1 else 1) or ("",) * len(sources)
        names, numbers = _names(given, labeller, folders, sources)
        sets = [
            _seen(
                name,
                images,
                names,
                labeller,
                folder,
                numbers,
                column,
                settings,
                reading,
                start,
                show=picture is not None,
            )
            for (name, images), folder in zip(sources.items(), folders, strict=True)
        ]
    if not is_main():
        return
    real, *others = sets
    found = {
        each.name: analysis.compare_regions(each.dnas, real.dnas, each.labels, real.labels, distance=column)
        for each in others
    }
    if picture is not None:
        write_picture(plot_regions({each.name: each.shown for each in sets}, names), picture)
    warnings = say_notes(_notes(sets, folders=bool(given.masks)))
    if as_json:
        results = [{"images": name, **report.to_json()} for name, report in found.items()]
        told = {"reference": reference, "extractor": settings.extractor, "results": results, "warnings": warnings}
        return print_json(told)
    for name, report in found.items():
        _print(report, name, real, settings)
    if picture is not None:
        tell(f"wrote {picture}")


def _notes(sets: Sequence[_Set], *, folders: bool) -> Notes:
    """What a reader of the distances should know: how few images a region has, and how many pixels are in none."""
    notes, real = Notes(), sets[0]
    for each in sets:
        if each.dnas:
            region, dna = min(each.dnas.items(), key=lambda pair: pair[1].n_images)
            few = set_caveats(dna, like=real.dnas.get(region)).get("few")
            notes.add_caveats(f"{region} of {each.name}", {} if few is None else {"few": few})
        assert each.labels.places is not None
        void = 1 - each.labels.places.shares.sum(axis=1)
        if folders and len(void) and void.mean() >= _WORTH_SAYING:
            caveat = Caveat(f"{100 * void.mean():.0f} % of the pixels are {VOID}", end=", which is no region")
            notes.add_caveats(each.name, {"void": caveat})
    return notes


def _print(report: RegionReport, name: str, real: _Set, settings: DNASettings) -> None:
    distance = with_unit(report.distance, report.unit)
    rows: list[list[Any]] = [
        [
            each.region,
            f"{100 * each.share_reference:.1f}",
            f"{100 * each.share:.1f}",
            each.n_reference,
            each.n_images,
            "" if each.distance is None else each.distance,
        ]
        for each in report.regions
    ]
    print_table(
        f"{name} from {real.name}, region by region, seen by {settings.extractor}",
        ["region", "% of reference", "% of these", "n reference", "n", distance],
        rows,
    )


def _labeller(
    reference: ImageSource, given: RegionOptions, settings: DNASettings, reading: Reading, start: StartBar
) -> PixelLabeller | None:
    """What labels all images in one way, learned of the reference; none where there are label maps."""
    if given.masks:
        return None
    layers = given.labelling or tuple(settings.layout)
    network = settings.built
    if given.clusters is not None:
        seen = watched(reading, start, f"clusters: {reference.name}", reference)
        return analysis.cluster_pixels(reference, network, given.clusters, layers=layers, seed=given.seed, reading=seen)
    assert given.examples is not None
    assert given.names is not None
    labelled = [i for i, name in enumerate(reference.names) if label_map_path(given.examples, name).is_file()]
    if not labelled:
        first = label_map_path(given.examples, reference.names[0])
        raise ValueError(f"{given.examples} has no label map of an image of {reference.name}, as {first}")
    some = select_images(reference, labelled)
    return analysis.train_segmenter(
        some,
        read_label_maps(given.examples, some, numbers=range(len(given.names))),
        network,
        len(given.names),
        layers=layers,
        seed=given.seed,
        progress=_said(),
        reading=watched(reading, start, f"examples: {reference.name}", some),
    )


def _said() -> Progress:
    """A line each tenth of what is learned, whose steps are no images for a bar."""
    told = 0

    def report(done: int, total: int | None) -> None:
        nonlocal told
        if total and (tenth := 10 * done // total) > told:
            told = tenth
            say(f"segmenter: {10 * tenth} % learned")

    return report


def _names(
    given: RegionOptions, labeller: PixelLabeller | None, folders: Sequence[str], sources: dict[str, ImageSource]
) -> tuple[tuple[str, ...], Sequence[int]]:
    """Names of regions, and what numbers they have: where they have no names, those that are in a label map."""
    if given.names is not None:
        return given.names, range(len(given.names))
    if labeller is not None:
        return tuple(f"cluster {number}" for number in range(labeller.number)), range(labeller.number)
    file_of: dict[int, Path] = {}
    for folder, images in zip(folders, sources.values(), strict=True):
        for name, labels in zip(images.names, read_label_maps(folder, images), strict=True):
            for label in np.unique(labels[labels != VOID]).tolist():
                file_of.setdefault(label, label_map_path(folder, name))
    if not file_of:
        raise ValueError(f"{folders[0]}: the label maps have no region")
    numbers = sorted(file_of)
    if len(numbers) > _MOST:
        raise ValueError(
            f"expected at most {_MOST} different labels without --names, got {len(numbers)}, {numbers[-1]} of "
            f"{file_of[numbers[-1]]} among them: label maps number kinds of regions, not single objects or distances"
        )
    return tuple(map(str, numbers)), numbers


def _seen(
    name: str,
    images: ImageSource,
    names: Sequence[str],
    labeller: PixelLabeller | None,
    folder: str,
    numbers: Sequence[int],
    column: Column,
    settings: DNASettings,
    reading: Reading,
    start: StartBar,
    *,
    show: bool,
) -> _Set:
    """Label a set, and make the DNAs of its regions."""
    network, cropped = settings.built, labeller is not None
    if labeller is None:
        maps: Iterable[LabelMap] = read_label_maps(folder, images, numbers=numbers)
    else:
        maps = analysis.label_images(
            images, labeller, network, reading=watched(reading, start, f"labels: {name}", images)
        )
    partition = regions_of(maps, network, names, layers=list(settings.layout), cropped=cropped)
    request = settings.request(column.kind, partition)
    made = make_dnas(images, network, {"": request}, reading=watched(reading, start, name, images))
    report_skipped(name, made.skipped)
    seen = [images.names.index(each) for each in made.names] if made.skipped else list(range(len(images)))
    shown: list[LabelledPicture] = []
    if show and is_main():
        places = [seen[i * len(seen) // _SHOWN] for i in range(_SHOWN)] if len(seen) > _SHOWN else seen
        pictures = read_pictures(images, places, network)
        some = select_images(images, places)
        told = (
            [maps[place] for place in places]
            if isinstance(maps, np.ndarray)
            else read_label_maps(folder, some, numbers=numbers)
        )
        for place, each in zip(places, told, strict=True):
            labels = seen_labels(each, network, len(names), cropped=cropped)
            shown.append((pictures[place].permute(1, 2, 0).numpy(), labels))
    return _Set(name, partition.among(seen), shown, made.dnas[""])
