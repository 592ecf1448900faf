"""`vdna-metrics regions`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from vdna_metrics import analysis
from vdna_metrics.analysis import PixelLabeller, RegionReport
from vdna_metrics.build import VOID, Partition, Reading, build_dnas, read_label_maps
from vdna_metrics.build.passes import check_pictures, read_pictures
from vdna_metrics.build.reading import Progress
from vdna_metrics.build.regions import LabelMap, label_map_path, regions as regions_of, seen_labels
from vdna_metrics.cli.commands.regions import RegionOptions
from vdna_metrics.cli.inputs import in_unit, reading_of
from vdna_metrics.cli.options import check_making_options
from vdna_metrics.cli.results import output_path, report_skipped, write_picture
from vdna_metrics.cli.screen import StartBar, is_main, print_json, print_table, progress_bars, say, tell, watched
from vdna_metrics.cli.settings import DNASettings, find_settings
from vdna_metrics.dna import VDNA, Column
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.images.sources import ImageSource, select_images
from vdna_metrics.references import resolve_images
from vdna_metrics.reports.region_plots import LabelledPicture, plot_regions

_SHOWN = 6  # images of a set in the picture


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
        names = given.names or _numbered(given, labeller, folders, sources)
        sets = [
            _seen(name, images, names, labeller, folder, column, settings, reading, start, show=picture is not None)
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
    if as_json:
        results = [{"images": name, **report.to_json()} for name, report in found.items()]
        return print_json({"reference": reference, "extractor": settings.extractor, "results": results})
    for name, report in found.items():
        _print(report, name, real, settings)
    if picture is not None:
        tell(f"wrote {picture}")


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
        read_label_maps(given.examples, some),
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


def _numbered(
    given: RegionOptions, labeller: PixelLabeller | None, folders: Sequence[str], sources: dict[str, ImageSource]
) -> tuple[str, ...]:
    """Names of regions that have none: their numbers, up to the largest in the label maps."""
    if labeller is not None:
        return tuple(f"cluster {number}" for number in range(labeller.number))
    largest = -1
    for folder, images in zip(folders, sources.values(), strict=True):
        for labels in read_label_maps(folder, images):
            largest = max(largest, int(labels[labels != VOID].astype(np.int64).max(initial=-1)))
    if largest < 0:
        raise ValueError(f"{folders[0]}: the label maps have no region")
    return tuple(map(str, range(largest + 1)))


def _seen(
    name: str,
    images: ImageSource,
    names: Sequence[str],
    labeller: PixelLabeller | None,
    folder: str,
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
        maps: Iterable[LabelMap] = read_label_maps(folder, images)
    else:
        maps = analysis.label_images(
            images, labeller, network, reading=watched(reading, start, f"labels: {name}", images)
        )
    partition = regions_of(maps, network, names, layers=list(settings.layout), cropped=cropped)
    made = build_dnas(
        images,
        network,
        [column.kind],
        partition=partition,
        reading=watched(reading, start, name, images),
        **settings.options,
    )[column.kind]
    skipped = dict(pair for dna in made.values() for pair in dna.provenance.skipped)
    report_skipped(name, skipped.items())
    shown: list[LabelledPicture] = []
    if show and is_main():
        places = [i * len(images) // _SHOWN for i in range(_SHOWN)] if len(images) > _SHOWN else range(len(images))
        places = [place for place in places if images.names[place] not in skipped]
        pictures = read_pictures(images, places, network)
        some = select_images(images, places)
        told = [maps[place] for place in places] if isinstance(maps, np.ndarray) else read_label_maps(folder, some)
        for place, each in zip(places, told, strict=True):
            labels = seen_labels(each, network, len(names), cropped=cropped)
            shown.append((pictures[place].permute(1, 2, 0).numpy(), labels))
    return _Set(name, partition, shown, made)
