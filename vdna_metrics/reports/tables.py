"""A leaderboard as text: rows for a spreadsheet, and Markdown."""

from __future__ import annotations

import csv
import io
from typing import Any

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import Leaderboard, Score
from vdna_metrics.reports.formatting import are_distances, headed, titled
from vdna_metrics.reports.summary import has_interval, percent
from vdna_metrics.text import printable

COLUMNS = (
    "network", "metric", "generator", "class", "n_images", "clusters", "effective_clusters", "first_rank", "last_rank",
    "value", "corrected", "standard_error", "low", "high", "extrapolated", "extrapolated_error", "floor", "bin_width",
)  # fmt: skip
_NUMBERS = ("n", "value", "corrected")


def class_table(leaderboard: Leaderboard, network: str, metric: str) -> tuple[list[str], list[list[str | float]]]:
    """Of each generator with classes the mean over classes, the worst one, and how even they are.

    Args:
        leaderboard: the leaderboard.
        network: name of a network of it.
        metric: name of a metric.

    Returns:
        Heads and rows, the best generator first; no rows where no generator has classes.
    """
    rows: list[list[str | float]] = []
    for name, records in leaderboard.classes_of(network, metric).items():
        worst, sizes = records[0], [record.n_images for record in records]
        mean = sum(record.value for record in records) / len(records)
        images = "-".join(map(str, dict.fromkeys([min(sizes), max(sizes)])))
        rows.append([name, len(records), images, mean, worst.group, worst.value])
    return ["generator", "classes", "images each", "mean over classes", "worst class", "its value"], rows


def rank_text(score: Score) -> str:
    """``"2"``, ``"2-3"`` where the data leave it open, nothing where no rank is known."""
    return "" if score.rank is None else "-".join(map(str, dict.fromkeys(score.rank)))


def ranking_table(
    leaderboard: Leaderboard, network: str, metric: str
) -> tuple[str, list[str], list[list[str | float]]]:
    """A column of a leaderboard as a table.

    Args:
        leaderboard: the leaderboard.
        network: name of a network of it.
        metric: name of a metric.

    Returns:
        Title, heads and rows, the best generator first; ranks and corrected values only where some are known.
    """
    column, records = leaderboard.column(network, metric), {each.name: each for each in leaderboard.generators}
    clusters = {name: record.clusters_text.replace(" clusters", "") for name, record in records.items()}
    heads = ["rank"] * any(score.rank for score in column) + ["generator", "n"]
    heads += ["clusters"] * any(clusters.values()) + ["value"]
    heads += ["corrected"] * any(score.estimate for score in column)
    heads += ["interval"] * any(map(has_interval, column))
    rows = []
    for score in column:
        each = score.estimate
        cells: dict[str, str | float] = {
            "rank": rank_text(score),
            "generator": score.generator,
            "n": records[score.generator].n_images,
            "clusters": clusters[score.generator],
            "value": score.value,
            "corrected": f"{each.corrected:#.4g}" if each else "",
            "interval": f"{each.low:#.4g} to {each.high:#.4g}" if each and each.low is not None else "",
        }
        rows.append([cells[head] for head in heads])
    real = f"{leaderboard.reference.n_images} images of {leaderboard.reference.name}"
    if leaderboard.reference.clusters:
        real += f" in {leaderboard.reference.clusters_text}"
    return f"{headed(find_column(metric), real)}, seen by {network}", heads, rows


def leaderboard_csv(leaderboard: Leaderboard) -> str:
    """A row for each network, metric and generator, the best first, then its classes; unknown numbers are empty."""
    records = {entry.name: entry for entry in leaderboard.generators}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()

    def write(row: dict[str, Any]) -> None:
        writer.writerow(
            {head: printable(value, "csv") if isinstance(value, str) else value for head, value in row.items()}
        )

    for network, metric in leaderboard.columns:
        floor, classes = leaderboard.floor(network, metric), leaderboard.classes_of(network, metric)
        for score in leaderboard.column(network, metric):
            estimate = vars(score.estimate) if score.estimate else {}
            record = records[score.generator]
            row = {**estimate, **vars(score), "n_images": record.n_images}
            if record.clusters:
                row |= {"clusters": record.clusters, "effective_clusters": record.effective_clusters}
            row["first_rank"], row["last_rank"] = score.rank or ("", "")
            row["extrapolated"], row["extrapolated_error"] = score.extrapolated or ("", "")
            row["floor"] = floor.value if floor else ""
            for each in (row, *({**vars(own), "class": own.group} for own in classes.get(score.generator, ()))):
                write(each)
    return text.getvalue()


def leaderboard_markdown(leaderboard: Leaderboard) -> str:
    """A table for each network and metric, with each generator's worst class where there are classes, and the notes."""
    reference = f"{leaderboard.reference.n_images} images of {_cell(leaderboard.reference.name)}"
    if leaderboard.reference.clusters:
        reference += f" in {leaderboard.reference.clusters_text}"
    between = "Distance from" if are_distances(leaderboard.metrics) else "Against"
    intervals = f" {percent(leaderboard)} intervals." * any(map(has_interval, leaderboard.scores))
    lines = [f"# {_cell(leaderboard.title)}", "", f"{between} {reference}.{intervals}", ""]
    for network, metric in leaderboard.columns:
        _, heads, rows = ranking_table(leaderboard, network, metric)
        lines += [f"## {_cell(titled(find_column(metric)))}, seen by {_cell(network)}", "", f"| {' | '.join(heads)} |"]
        lines.append("|" + "".join("--:|" if head in _NUMBERS else "---|" for head in heads))
        for row in rows:
            cells = [f"{cell:#.4g}" if isinstance(cell, float) else _cell(str(cell)) for cell in row]
            lines.append(f"| {' | '.join(cells)} |")
        floor = leaderboard.floor(network, metric)
        if floor is not None:
            lines += ["", f"Noise floor at {floor.n_images} images: {floor.value:#.4g}."]
        heads, class_rows = class_table(leaderboard, network, metric)
        if class_rows:
            lines += ["", f"| {' | '.join(heads)} |", "|---|--:|--:|--:|---|--:|"]
            for row in class_rows:
                cells = [f"{cell:#.4g}" if isinstance(cell, float) else _cell(str(cell)) for cell in row]
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    if leaderboard.diagnoses:
        told = ((record.generator, record.diagnosis.sentence) for record in leaderboard.diagnoses)
        lines += ["## Diagnosis", "", *(f"- {_cell(name)}: {_cell(sentence)}" for name, sentence in told), ""]
    notes = [*leaderboard.notes, *(leaderboard.agreement.notes if leaderboard.agreement else ())]
    if notes:
        lines += ["## Notes", "", *(f"- {_cell(note)}" for note in notes), ""]
    if leaderboard.command:
        lines += ["## Made by", "", f"    {printable(leaderboard.command)}", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return printable(text, "markdown")
