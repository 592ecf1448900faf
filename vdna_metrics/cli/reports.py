"""Reports of leaderboards, which commands write and print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vdna_metrics.cli.protocols import say_departures
from vdna_metrics.cli.screen import print_json, print_table, say, tell
from vdna_metrics.files import check_folder, check_writable, write_whole
from vdna_metrics.leaderboard import Evidence, Leaderboard, leaderboard_differences
from vdna_metrics.leaderboard.replay import TOLERANCE, intervals_are_comparable
from vdna_metrics.reports import leaderboard_csv, leaderboard_latex, leaderboard_markdown, ranking_table, write_report
from vdna_metrics.reports.figure_formats import FIGURES, FigureFormat
from vdna_metrics.reports.summary import headline, runs_sentences
from vdna_metrics.reports.tables import class_table, extra_tables, floor_text, runs_table

_FILES = ("leaderboard.json", "leaderboard.csv", "leaderboard.md", "leaderboard.tex", "index.html")
_NOTES = 5  # sentences below a title, of what may be many


def check_report(folder: Path) -> None:
    """Refuse a folder in which a report cannot be written, before the work."""
    check_folder(folder)
    check_folder(folder / "figures")
    for name in _FILES if folder.is_dir() else ():
        check_writable(folder / name)


def write_report_to(
    leaderboard: Leaderboard, evidence: Evidence, folder: Path, figures: Sequence[FigureFormat] = FIGURES
) -> None:
    """The record first: a page can be drawn again, numbers cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    record, *tables, _ = (folder / name for name in _FILES)
    leaderboard.save(record)
    for path, table in zip(tables, (leaderboard_csv, leaderboard_markdown, leaderboard_latex), strict=True):
        write_whole(path, table(leaderboard))
    write_report(leaderboard, evidence, folder, figures=figures)


def print_result(leaderboard: Leaderboard, folder: Path, as_json: bool) -> None:
    """Notes, tables, and where the report lies; or the record."""
    for note in leaderboard.notes:
        say(f"note: {note}")
    say_departures(leaderboard.protocol)
    if as_json:
        return print_json(leaderboard.to_json())
    for network, metric in leaderboard.columns:
        print_table(*ranking_table(leaderboard, network, metric))
        if (floor := floor_text(leaderboard, network, metric)) is not None:
            tell(floor, "")
        heads, runs = runs_table(leaderboard, network, metric)
        if runs:
            print_table("Training runs and checkpoints, mean of corrected values", heads, runs)
            tell(*runs_sentences(leaderboard, network, metric), "")
        heads, rows = class_table(leaderboard, network, metric)
        if rows:
            print_table("Class by class", heads, rows)
    for title, heads, extra, sentences in extra_tables(leaderboard):
        if extra:
            print_table(title, heads, extra)
        else:
            tell(title, "", bold=True)
        more = [f"{len(sentences) - _NOTES} more: see the report."] if len(sentences) > _NOTES else []
        tell(*sentences[:_NOTES], *more, *[""] * bool(sentences))
    alike: dict[str, list[str]] = {}
    for record in leaderboard.diagnoses:
        alike.setdefault(record.diagnosis.sentence, []).append(record.generator)
    for sentence, names in alike.items():
        tell(f"{', '.join(names)}: {sentence}")
    tell("", *headline(leaderboard), f"Report: {(folder / 'index.html').resolve()}")


def print_comparison(recorded: Leaderboard, found: Leaderboard, tolerance: float | None, as_json: bool) -> bool:
    """What came out otherwise in a replay; whether nothing did."""
    tolerance = TOLERANCE if tolerance is None else tolerance
    differences = leaderboard_differences(recorded, found, tolerance=tolerance)
    intervals = intervals_are_comparable(recorded)
    versions = {
        name: (recorded.versions.get(name), found.versions.get(name))
        for name in dict.fromkeys([*recorded.versions, *found.versions])
        if recorded.versions.get(name) != found.versions.get(name)
    }
    if as_json:
        plain = [vars(each) for each in differences]
        print_json({"tolerance": tolerance, "intervals": intervals, "differences": plain, "versions": versions})
        return not differences
    if differences:
        rows = [[each.what, _number(each.recorded), _number(each.found)] for each in differences]
        print_table(f"{len(rows)} numbers differ by more than {tolerance:g}", ["what", "recorded", "now"], rows)
    else:
        tell(f"Every number is within {tolerance:g} of the recorded one.")
    if not intervals:
        tell(
            f"The record is by {recorded.writer}: intervals changed in 0.2, so only values and corrected values were "
            "compared, not intervals, differences of generators and ranks."
        )
    for name, (before, after) in versions.items():
        tell(f"{name}: {before} then, {after} now")
    return not differences


def _number(value: float | str | None) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "none" if value is None else value[:20]
