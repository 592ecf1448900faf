"""A leaderboard as text: rows for a spreadsheet, and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import Leaderboard, Score, are_corrected
from vdna_metrics.leaderboard.rows import COLUMNS, FDR, rows_of
from vdna_metrics.reports.formatting import are_distances, decimals, fixed, headed, significant, titled
from vdna_metrics.reports.networks import dispute_sentences, order_sentences, ratio_sentences, ratio_table
from vdna_metrics.reports.outside import outside_agreement_table, outside_sentences, outside_table
from vdna_metrics.reports.summary import (
    has_interval,
    headline,
    inside,
    interval_text,
    percent,
    runs_sentences,
    score_text,
)
from vdna_metrics.text import printable

_NUMBERS = ("n", "value", "corrected", "plain")


def class_table(leaderboard: Leaderboard, network: str, metric: str) -> tuple[list[str], list[list[str | float]]]:
    """Of each generator with classes the mean over classes, the worst one, and how uneven they are.

    Args:
        leaderboard: the leaderboard.
        network: name of a network of it.
        metric: name of a metric.

    Returns:
        Heads and rows, the best generator first; no rows where no generator has classes. The imbalance is that of
        `functional.class_imbalance`, empty where the reference's numbers of images are not known.
    """
    rows: list[list[str | float]] = []
    records_of, summaries = leaderboard.classes_of(network, metric), leaderboard.class_summaries(network, metric)
    for name, records in records_of.items():
        found, sizes = summaries[name], [record.n_images for record in records]
        images = "-".join(map(str, dict.fromkeys([min(sizes), max(sizes)])))
        imbalance = "" if found.imbalance is None else float(found.imbalance)
        worst = records[int(found.worst_class)].group
        rows.append([name, len(records), images, imbalance, float(found.mean), worst, float(found.worst)])
    return ["generator", "classes", "images each", "imbalance", "mean over classes", "worst class", "its value"], rows


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
        Title, heads and rows, the best generator first. The number that decides comes first, with its interval: the
        corrected value where all sets have one, then the plain one.
    """
    column, records = leaderboard.column(network, metric), {each.name: each for each in leaderboard.generators}
    clusters = {name: record.clusters_text.replace(" clusters", "") for name, record in records.items()}
    corrected = are_corrected(column)
    heads = ["rank"] * any(score.rank for score in column) + ["generator", "n"]
    heads += ["clusters"] * any(clusters.values()) + ["corrected" if corrected else "value"]
    heads += ["interval"] * (corrected and any(map(has_interval, column))) + ["plain"] * corrected
    rows = []
    for score in column:
        cells: dict[str, str | float] = {
            "rank": rank_text(score),
            "generator": score.generator,
            "n": records[score.generator].n_images,
            "clusters": clusters[score.generator],
            "value": score_text(score),
            "corrected": score_text(score, corrected=True),
            "interval": " to ".join(interval_text(score.estimate) or ()),
            "plain": score_text(score),
        }
        rows.append([cells[head] for head in heads])
    real = f"{leaderboard.reference.n_images} images of {leaderboard.reference.name}"
    if leaderboard.reference.clusters:
        real += f" in {leaderboard.reference.clusters_text}"
    return f"{headed(find_column(metric), real)}, seen by {network}", heads, rows


def runs_table(leaderboard: Leaderboard, network: str, metric: str) -> tuple[list[str], list[list[str]]]:
    """Of each generator and checkpoint the mean over its training runs, and how much runs differ.

    Args:
        leaderboard: the leaderboard.
        network: name of a network of it.
        metric: name of a metric.

    Returns:
        Heads and rows, the best generator first; no rows where no generator has several runs or checkpoints.
    """
    rows = []
    for record in leaderboard.runs_of(network, metric):
        each, value = record.estimate, inside(record.estimate)
        places = decimals(value, each.standard_error)
        spreads = [record.between, record.resampling]
        row = {
            "rank": "" if record.rank is None else "-".join(map(str, dict.fromkeys(record.rank))),
            "generator": record.label,
            "runs": str(len(record.sets)),
            "mean": fixed(value, places),
            "interval": " to ".join(interval_text(each) or ()),
            "between runs": "" if spreads[0] is None else fixed(spreads[0], places),
            "by their images": "" if spreads[1] is None else fixed(spreads[1], places),
        }
        rows.append(row)
    heads = [head for head in rows[0] if head != "rank" or any(row["rank"] for row in rows)] if rows else []
    return heads, [[row[head] for head in heads] for row in rows]


def floor_text(leaderboard: Leaderboard, network: str, metric: str) -> str | None:
    """A sentence on the noise floor of a column, where it is known."""
    floor = leaderboard.floor(network, metric)
    if floor is None:
        return None
    kind = "plain values" if are_corrected(leaderboard.column(network, metric)) else "values"
    value = fixed(floor.value, decimals(floor.value, floor.spread))
    return f"Noise floor of {kind} at {floor.n_images} images: {value}."


def leaderboard_csv(leaderboard: Leaderboard) -> str:
    """A row for each network, metric and generator, the best first, then its classes; unknown numbers are empty.

    FDr^k and outside scores are rows without a network.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows_of(leaderboard):
        writer.writerow(printable(cell, "csv") if isinstance(cell, str) else cell for cell in row.values())
    return text.getvalue()


def leaderboard_markdown(leaderboard: Leaderboard) -> str:
    """A table for each network and metric, with each generator's worst class where there are classes, and the notes."""
    reference = f"{leaderboard.reference.n_images} images of {_cell(leaderboard.reference.name)}"
    if leaderboard.reference.clusters:
        reference += f" in {leaderboard.reference.clusters_text}"
    between = "Distance from" if are_distances(leaderboard.metrics) else "Against"
    intervals = f" {percent(leaderboard)} intervals." * any(map(has_interval, leaderboard.scores))
    lines = [f"# {_cell(leaderboard.title)}", "", f"{between} {reference}.{intervals}", ""]
    lines += [*(f"- {_cell(sentence)}" for sentence in headline(leaderboard)), ""] if leaderboard.scores else []
    for network, metric in leaderboard.columns:
        _, heads, rows = ranking_table(leaderboard, network, metric)
        lines += [f"## {_cell(titled(find_column(metric)))}, seen by {_cell(network)}", "", f"| {' | '.join(heads)} |"]
        lines.append("|" + "".join("--:|" if head in _NUMBERS else "---|" for head in heads))
        for row in rows:
            lines.append(f"| {' | '.join(_cell(str(cell)) for cell in row)} |")
        if (floor := floor_text(leaderboard, network, metric)) is not None:
            lines += ["", floor]
        heads, run_rows = runs_table(leaderboard, network, metric)
        if run_rows:
            lines += ["", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in run_rows]
            lines += ["", *map(_cell, runs_sentences(leaderboard, network, metric))]
        heads, class_rows = class_table(leaderboard, network, metric)
        if class_rows:
            lines += ["", f"| {' | '.join(heads)} |", "|---|--:|--:|--:|--:|---|--:|"]
            for row in class_rows:
                cells = [significant(cell) if isinstance(cell, float) else _cell(str(cell)) for cell in row]
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    if leaderboard.diagnoses:
        told = ((record.generator, record.diagnosis.sentence) for record in leaderboard.diagnoses)
        lines += ["## Diagnosis", "", *(f"- {_cell(name)}: {_cell(sentence)}" for name, sentence in told), ""]
    for title, heads, extra, sentences in extra_tables(leaderboard):
        lines += [f"## {_cell(title)}", "", *(f"{_cell(sentence)}\n" for sentence in sentences)]
        if extra:
            ruler = "".join("---|" if isinstance(cell, str) else "--:|" for cell in extra[0])
            lines += [f"| {' | '.join(map(_cell, heads))} |", f"|{ruler}"]
            for row in extra:
                cells = [significant(cell) if isinstance(cell, float) else _cell(str(cell)) for cell in row]
                lines.append(f"| {' | '.join(cells)} |")
            lines.append("")
    if leaderboard.notes:
        lines += ["## Notes", "", *(f"- {_cell(note)}" for note in leaderboard.notes), ""]
    if leaderboard.command:
        lines += ["## Made by", "", f"    {printable(leaderboard.command)}", ""]
    return "\n".join(lines)


def extra_tables(leaderboard: Leaderboard) -> Iterator[tuple[str, list[str], list[list[str | float]], list[str]]]:
    """What is of no column alone: title, heads and rows, and sentences before them.

    Args:
        leaderboard: the leaderboard.
    """
    if leaderboard.normalisers:
        yield f"{FDR}, over the networks", *ratio_table(leaderboard), ratio_sentences(leaderboard)
    if leaderboard.disputes:
        yield "Sets on which networks disagree", [], [], dispute_sentences(leaderboard)
    if leaderboard.agreement is not None and (sentences := order_sentences(leaderboard)):
        yield "Sets on which columns disagree", [], [], sentences
    if leaderboard.outside:
        yield "Outside scores", *outside_table(leaderboard), []
    if leaderboard.outside_agreement:
        title = f"Agreement with outside scores, {percent(leaderboard)} intervals"
        yield title, *outside_agreement_table(leaderboard), outside_sentences(leaderboard)


def _cell(text: str) -> str:
    return printable(text, "markdown")
