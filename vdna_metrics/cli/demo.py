"""`vdna-metrics demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.inputs import picture_path
from vdna_metrics.cli.options import METRICS, PICTURES, as_json
from vdna_metrics.cli.screen import print_json, print_table, progress_bars

if TYPE_CHECKING:
    from vdna_metrics.cli.screen import Report


@click.command()
@click.option(
    "--images",
    "n_images",
    type=click.IntRange(2),
    metavar="N",
    default=100,
    show_default=True,
    help="Images of each world.",
)
@click.option(
    "-o",
    "--output",
    default="vdna_demo.png",
    show_default=True,
    metavar="FILE",
    help=f"Picture to write: {', '.join(PICTURES)}.",
)
@as_json
def demo(n_images: int, output: str, as_json: bool) -> None:
    """Score procedural images against photographs, offline.

    Prints the distances and draws what the neurons say. Needs no download.
    """
    from vdna_metrics.demo import EXTRACTOR, draw_demo, run_demo
    from vdna_metrics.dna.compare import rank_warning

    picture = picture_path(output)
    with progress_bars() as start:

        def watch(world: str) -> Report:
            report = start(world.replace("_", " "), n_images)
            return lambda done, _total: report(done, n_images)

        entries = run_demo(n_images, progress=watch)
    draw_demo(entries, picture)
    rows = [
        {
            "images": entry.name,
            "n_images": entry.dnas["histogram"].n_images,
            "emd": entry.emd,
            "nfd": entry.neuron_frechet,
            "lfd": entry.layer_frechet,
        }
        for entry in entries
    ]
    note = rank_warning(min((entry.dnas["layer_gaussian"] for entry in entries), key=lambda dna: dna.n_images))
    if as_json:
        print_json(
            {
                "reference": "bsds500/trainval",
                "extractor": EXTRACTOR,
                "results": rows,
                "warnings": [f"lfd: {note}"] * (note is not None),
                "picture": output,
            }
        )
        return
    title = f"Distance from 300 photographs (BSDS500 train and val), seen by {EXTRACTOR}"
    print_table(title, ["images", "n", *METRICS], [list(row.values()) for row in rows])
    if note is not None:
        click.echo(f"lfd: {note}")
    click.echo(f"Picture: {picture.resolve()}")
