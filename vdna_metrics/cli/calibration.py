"""`vdna-metrics calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli.inputs import find_extractor, forget, open_images, output_paths, shared_reading
from vdna_metrics.cli.options import (
    DEFAULT_EXTRACTOR,
    as_json,
    network_options,
    output_file,
    part_of_images,
    reading_options,
    widening,
)
from vdna_metrics.cli.screen import is_main, print_json, progress_bars, say, watched

if TYPE_CHECKING:
    from vdna_metrics.ranges import ActivationRanges


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@output_file
@widening
@network_options(DEFAULT_EXTRACTOR)
@reading_options
@part_of_images
@as_json
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

    path = output_paths(output, ("ranges",))["ranges"]
    reading = shared_reading(device, batch_size, workers, skip_bad, Path(f"{output}.checkpoint"), part)
    images = [(source, open_images(source)) for source in sources]
    network, chosen = find_extractor(extractor, weights, layers)
    found: list[ActivationRanges] = []
    with progress_bars() as start:
        for name, source in images:
            found.append(
                calibrate_images(
                    source, network, widen=widen, layers=chosen, reading=watched(reading, start, name, source)
                )
            )
    if not is_main():
        return
    skipped = {name: len(source) - part.n_images for (name, source), part in zip(images, found, strict=True)}
    for name, count in skipped.items():
        if count:
            say(f"skipped: {name}: {count} images that cannot be read")
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
    forget(reading.checkpoint)
    if as_json:
        print_json(written)
        return
    click.echo(
        "{file}: activation ranges of {neurons} neurons of {extractor} over {n_images} images, "
        "{dead} neurons dead".format(**written)
    )
