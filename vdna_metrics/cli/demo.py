"""`vdna-metrics demo`."""

from __future__ import annotations

from pathlib import Path

from vdna_metrics.cli.reports import check_report, print_result, write_report_to
from vdna_metrics.cli.screen import progress_bars
from vdna_metrics.demo import run_demo


def demo(n_images: int, output: str, as_json: bool) -> None:
    """Score procedural images against photographs, offline."""
    folder = Path(output)
    check_report(folder)
    with progress_bars() as start:
        leaderboard, evidence = run_demo(n_images, start=start)
    write_report_to(leaderboard, evidence, folder)
    print_result(leaderboard, folder, as_json)
