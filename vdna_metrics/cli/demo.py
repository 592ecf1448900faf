"""`vdna-metrics demo`."""

from __future__ import annotations

from pathlib import Path

import click

from vdna_metrics.cli.options import as_json
from vdna_metrics.cli.reports import check_report, print_result, write_report_to
from vdna_metrics.cli.screen import progress_bars
from vdna_metrics.demo import run_demo


@click.command()
@click.option("--images", "n_images", type=click.IntRange(10), metavar="N", default=100, help="Images a world.")
@click.option("-o", "--output", default="vdna_demo", metavar="FOLDER", help="Where the report goes.")
@as_json
def demo(n_images: int, output: str, as_json: bool) -> None:
    """Score procedural images against photographs, offline.

    Prints a leaderboard with error bars and writes its report, to read in a browser. Needs no download.
    """
    folder = Path(output)
    check_report(folder)
    with progress_bars() as start:
        leaderboard, evidence = run_demo(n_images, start=start)
    write_report_to(leaderboard, evidence, folder)
    print_result(leaderboard, folder, as_json)
