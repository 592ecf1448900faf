"""A leaderboard as text: rows for a spreadsheet, and Markdown."""

from __future__ import annotations

import csv
import io

from vdna_metrics.reports.board import METRIC_LABELS, Leaderboard, Score

COLUMNS = (
    "network", "metric", "generator", "class", "n_images", "first_rank", "last_rank", "value", "corrected",
    "standard_error", "low", "high", "extrapolated", "extrapolated_error", "floor",
)  # fmt: skip


def rank_text(score: Score) -> str:
    """``"2"``, ``"2-3"`` where the data leave it open, nothing where no rank is known."""
    return "" if score.rank is None else "-".join(map(str, dict.fromkeys(score.rank)))


def board_csv(board: Leaderboard) -> str:
    """A row a network, metric and generator, nearest first, then its classes; empty where a number is not known."""
    sizes = {entry.name: entry.n_images for entry in board.generators}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for network, metric in board.columns:
        floor, classes = board.floor(network, metric), board.classes_of(network, metric)
        for score in board.column(network, metric):
            row: dict[str, object] = {
                "network": network,
                "metric": metric,
                "generator": score.generator,
                "n_images": sizes[score.generator],
                "value": score.value,
            }
            if score.rank is not None:
                row["first_rank"], row["last_rank"] = score.rank
            if score.estimate is not None:
                for part in ("corrected", "standard_error", "low", "high"):
                    row[part] = getattr(score.estimate, part)
            if score.extrapolated is not None:
                row["extrapolated"], row["extrapolated_error"] = score.extrapolated
            if floor is not None:
                row["floor"] = floor.value
            writer.writerow(row)
            for record in classes.get(score.generator, ()):
                own = {"class": record.group, "n_images": record.n_images, "value": record.value}
                writer.writerow({"network": network, "metric": metric, "generator": score.generator, **own})
    return text.getvalue()


def board_markdown(board: Leaderboard) -> str:
    """A table a network and metric, with each generator's worst class where there are classes, and the notes."""
    confidence = f"{100 * float(board.settings.get('confidence', 0.95)):g} %"
    reference = f"{board.reference.n_images} images of {_cell(board.reference.name)}"
    lines = [f"# {_cell(board.title)}", "", f"Distance from {reference}. {confidence} intervals.", ""]
    sizes = {entry.name: entry.n_images for entry in board.generators}
    for network, metric in board.columns:
        lines += [f"## {METRIC_LABELS[metric]}, seen by {_cell(network)}", ""]
        lines += ["| rank | generator | n | value | corrected | interval |", "|---|---|--:|--:|--:|---|"]
        for score in board.column(network, metric):
            estimate, interval, corrected = score.estimate, "", ""
            if estimate is not None:
                corrected, interval = f"{estimate.corrected:#.4g}", f"{estimate.low:#.4g} to {estimate.high:#.4g}"
            cells = [rank_text(score), _cell(score.generator), str(sizes[score.generator]), f"{score.value:#.4g}"]
            lines.append(f"| {' | '.join([*cells, corrected, interval])} |")
        floor = board.floor(network, metric)
        if floor is not None:
            lines += ["", f"Noise floor at {floor.n_images} images: {floor.value:#.4g}."]
        classes = board.classes_of(network, metric)
        if classes:
            lines += ["", "| generator | worst class | n | value |", "|---|---|--:|--:|"]
            lines += [
                f"| {_cell(name)} | {_cell(worst.group)} | {worst.n_images} | {worst.value:#.4g} |"
                for name, (worst, *_) in classes.items()
            ]
        lines.append("")
    notes = [*board.notes, *(board.agreement.notes if board.agreement else ())]
    if notes:
        lines += ["## Notes", "", *(f"- {_cell(note)}" for note in notes), ""]
    if board.command:
        lines += ["## Made by", "", f"    {board.command}", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that is no markup: names come from folders."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in text)
    return " ".join(escaped.split())
