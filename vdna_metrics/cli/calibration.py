"""`vdna-metrics calibrate` and `vdna-metrics coverage`."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import click

from vdna_metrics.analysis.coverage import (
    Coverage,
    coverage as find_coverage,
    histogram_dna,
    observed_ranges,
    quantile_ranges,
)
from vdna_metrics.build import calibrate as calibrate_images
from vdna_metrics.build.reading import Reading
from vdna_metrics.cli.commands.calibration import CalibrateOptions, CoverageOptions
from vdna_metrics.cli.inputs import find_set, has_ranges, reading_of
from vdna_metrics.cli.results import forget, output_path, output_paths, report_skipped, write_picture
from vdna_metrics.cli.screen import StartBar, is_main, print_json, print_table, progress_bars, tell, watched
from vdna_metrics.cli.settings import NO_HISTOGRAMS, DNASettings, find_settings
from vdna_metrics.distributions import Histogram
from vdna_metrics.dna import VDNA
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.ranges import ActivationRanges, GivenRanges, as_ranges
from vdna_metrics.reports import plot_coverage

# Of the histograms that quantiles are taken from: an end is then at most 1 % of the range too far out where the
# extremes are no more than 34 times as wide as the range.
FINE_BINS = 4096

_VERDICTS = {
    "fit": "These ranges fit these images",
    "narrow": "These ranges are too narrow for these images: calibrate on images like these too",
    "wide": "These ranges are too wide for these images: calibrate on images like these, or take quantiles",
}
_AUTO = {
    "fit": "These histograms find their own ranges, so nothing lies outside.",
    "wide": "These histograms find their own ranges, so nothing lies outside; but a few activations take most of the "
    "bins: take more of them (--bins), or ranges between quantiles (calibrate --quantiles).",
}


def calibrate(sources: tuple[str, ...], output: str, given: CalibrateOptions, as_json: bool) -> None:
    """Find a network's activation ranges over sets of images."""
    quantiles, network, reading, part = given.quantiles, given.network, given.reading, given.part
    path = output_paths(output, ("ranges",))["ranges"]
    sets = [find_set(source, reading.root, ["histogram"], network.name) for source in sources]
    of_dnas = [each for each in sets if each.images is None]
    if of_dnas:
        others = [each.source for each in sets if each.images is not None]
        if others:
            raise ValueError(
                f"ranges are found over images or over DNAs, not both: {of_dnas[0].source} is a DNA, {others[0]} not"
            )
        if network.extractor is not None or part is not None:
            raise click.UsageError("--extractor and --shard are for images; a DNA has seen its own")
        dna = reduce(add, (each.one_dna("histogram", layers=network.layers).total for each in sets))
        dna = dna.select(network.layers)
        ranges = observed_ranges(dna, given.widen) if quantiles is None else quantile_ranges(dna, *quantiles)
        return _write(ranges, path, dna.provenance.extractor, as_json)
    if quantiles is not None and part is not None:
        raise click.UsageError(
            "--quantiles of a part do not merge: calibrate parts without and merge them, `make` parts of the "
            f"histograms with these --ranges and --bins {FINE_BINS}, then give those to --quantiles"
        )
    pass_ = reading_of(reading, Path(f"{output}.checkpoint"), part)
    images = [(each.source, each.images) for each in sets if each.images is not None]
    settings = find_settings(network, NO_HISTOGRAMS, images=[source for _, source in images])
    with progress_bars() as start:
        ranges = _extremes(images, settings, "margin" if quantiles is not None else given.widen, pass_, start)
        if quantiles is not None:
            settings = replace(settings, bins=FINE_BINS, ranges=ranges)
            made = (
                settings.make(source, ["histogram"], watched(pass_, start, f"histograms: {name}", source))
                for name, source in images
            )
            ranges = quantile_ranges(reduce(add, (dnas["histogram"] for dnas in made)), *quantiles)
    if is_main():
        _write(ranges, path, settings.extractor, as_json)
        forget(pass_.checkpoint)


def _extremes(
    images: list[tuple[str, ImageSource]], settings: DNASettings, widen: Any, reading: Reading, start: StartBar
) -> ActivationRanges:
    if not reading.all_ranks:  # a small set may have nothing for this part, as long as another has
        images = [item for item in images if reading.images_of_part(len(item[1]))] or images
    found = []
    for name, source in images:
        watching = watched(reading, start, f"ranges: {name}", source)
        layers = list(settings.layout)
        found.append(calibrate_images(source, settings.built, widen=widen, layers=layers, reading=watching))
    return reduce(add, found)


def _write(ranges: ActivationRanges, path: Path, extractor: str, as_json: bool) -> None:
    for images in ranges.sets:
        report_skipped(images.name, images.skipped)
    written = {
        "file": str(ranges.save(path)),
        "extractor": extractor,
        "n_images": ranges.n_images,
        "neurons": ranges.layout.total,
        "dead": int(ranges.dead.sum()),
        "widen": ranges.widen,
        "levels": ranges.levels,
        "sets": [images.to_json() for images in ranges.sets],
    }
    if as_json:
        return print_json(written)
    tell(
        "{file}: activation ranges of {neurons} neurons of {extractor} over {n_images} images, "
        "{dead} neurons dead".format(**written)
    )


def coverage(source: str, given: CoverageOptions, as_json: bool) -> None:
    """Tell whether activation ranges fit a set of images."""
    network, reading, ranges_file = given.network, given.reading, given.ranges_file
    picture = output_path(given.output)
    of = find_set(source, reading.root, ["histogram"], network.name)
    if of.images is None:
        dna = of.one_dna(layers=network.layers).total.select(network.layers)
        _check_own(dna, None if ranges_file is None else as_ranges(ranges_file), network.name)
    else:
        pass_ = reading_of(reading)
        settings = find_settings(network, replace(NO_HISTOGRAMS, ranges=ranges_file), images=[of.images])
        with progress_bars() as start:
            dna = settings.make(of.images, ["histogram"], watched(pass_, start, source, of.images))["histogram"]
    if not is_main():
        return
    report_skipped(", ".join(dna.provenance.sources), dna.provenance.skipped)
    found, auto = find_coverage(dna), has_ranges(histogram_dna(dna)[1], "auto")
    if picture is not None:
        write_picture(plot_coverage(found), picture, dpi=150)
    if as_json:
        told = {"extractor": dna.provenance.extractor, **({"ranges": "auto"} if auto else {})}
        return print_json({**told, **found.to_json(), "picture": given.output})
    _print_coverage(found, f"{dna.n_images} images of {source}, seen by {dna.provenance.extractor}", auto=auto)
    if picture is not None:
        tell(f"Picture: {picture.resolve()}")


def _check_own(dna: VDNA, ranges: GivenRanges | None, extractor: str | None) -> None:
    """Refuse to judge a DNA by ranges or a network that are not its own."""
    if extractor is not None and extractor != dna.provenance.extractor:
        raise ValueError(f"--extractor {extractor}: the DNA is of {dna.provenance.extractor}; leave --extractor out")
    own = dna.distribution
    if isinstance(own, Histogram) and not has_ranges(own, ranges):
        raise ValueError(
            f"--ranges are not those that the DNA was counted in ({own.where}), and its bins cannot tell what others "
            "would leave out: give the images instead"
        )


def _print_coverage(found: Coverage, title: str, *, auto: bool) -> None:
    def percent(share: float | None) -> Any:
        return "-" if share is None else round(100 * share, 3)

    rows = [
        [layer, *map(percent, (part.outside, part.below, part.above, part.used)), part.dead, part.moved]
        for layer, part in found.layers.items()
    ]
    columns = ["layer", "outside %", "below %", "above %", "used %", "dead", "moved"]
    print_table(f"Coverage of {title}", columns, rows)
    worst = [
        [neuron.layer, neuron.neuron, percent(neuron.below), percent(neuron.above), "dead" if neuron.dead else "live"]
        for neuron in found.worst()
    ]
    if worst:
        print_table("Neurons with the most outside", ["layer", "neuron", "below %", "above %", "range"], worst)
    if auto:
        return tell(_AUTO[found.verdict])
    outside = max(part.outside for part in found.layers.values())
    tell(f"{_VERDICTS[found.verdict]}: at most {100 * outside:.2g} % of a layer's activations lie outside.")
