"""`vdna-metrics demo`: what is typed."""

from __future__ import annotations

import click

from vdna_metrics.cli.options import as_json


@click.command()
@click.option("--images", "n_images", type=click.IntRange(10), metavar="N", default=100, help="Images a world.")
@click.option("-o", "--output", default="vdna_demo", metavar="FOLDER", help="Where the report goes.")
@as_json
def demo(n_images: int, output: str, as_json: bool) -> None:
    """Score procedural images against photographs, offline.

    Prints a leaderboard with error bars and writes its report, to read in a browser. Needs no download.
    """
    from vdna_metrics.cli import demo as work

    work.demo(n_images, output, as_json)
