"""A leaderboard as text: rows for a spreadsheet, and Markdown."""

from __future__ import annotations

import csv
import io

from vdna_metrics.leaderboard.record import METRIC_LABELS, Leaderboard, Score

COLUMNS = (
    "network", "metric", "generator", "class", "n_images", "first_rank", "last_rank", "value", "corrected",
    "standard_error", "low", "high", "extrapolated", "extrapolated_error", "floor",
)  # fmt: skip


def rank_text(score: Score) -> str:
    """``"2"``, ``"2-3"`` where the data leave it open, nothing where no rank is known."""
    return "" if score.rank is None else "-".join(map(str, dict.fromkeys(score.rank)))


def leaderboard_csv(leaderboard: Leaderboard) -> str:
    """A row a network, metric and generator, nearest first, then its classes; empty where a number is not known."""
    sizes = {entry.name: entry.n_images for entry in leaderboard.generators}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for network, metric in leaderboard.columns:
        floor, classes = leaderboard.floor(network, metric), leaderboard.classes_of(network, metric)
        for score in leaderboard.column(network, metric):
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


def leaderboard_markdown(leaderboard: Leaderboard) -> str:
    """A table a network and metric, with each generator's worst class where there are classes, and the notes."""
    confidence = f"{100 * float(leaderboard.settings.get('confidence', 0.95)):g} %"
    reference = f"{leaderboard.reference.n_images} images of {_cell(leaderboard.reference.name)}"
    lines = [f"# {_cell(leaderboard.title)}", "", f"Distance from {reference}. {confidence} intervals.", ""]
    sizes = {entry.name: entry.n_images for entry in leaderboard.generators}
    for network, metric in leaderboard.columns:
        lines += [f"## {METRIC_LABELS[metric]}, seen by {_cell(network)}", ""]
        lines += ["| rank | generator | n | value | corrected | interval |", "|---|---|--:|--:|--:|---|"]
        for score in leaderboard.column(network, metric):
            estimate, interval, corrected = score.estimate, "", ""
            if estimate is not None:
                corrected, interval = f"{estimate.corrected:#.4g}", f"{estimate.low:#.4g} to {estimate.high:#.4g}"
            cells = [rank_text(score), _cell(score.generator), str(sizes[score.generator]), f"{score.value:#.4g}"]
            lines.append(f"| {' | '.join([*cells, corrected, interval])} |")
        floor = leaderboard.floor(network, metric)
        if floor is not None:
            lines += ["", f"Noise floor at {floor.n_images} images: {floor.value:#.4g}."]
        classes = leaderboard.classes_of(network, metric)
        if classes:
            lines += ["", "| generator | worst class | n | value |", "|---|---|--:|--:|"]
            lines += [
                f"| {_cell(name)} | {_cell(worst.group)} | {worst.n_images} | {worst.value:#.4g} |"
                for name, (worst, *_) in classes.items()
            ]
        lines.append("")
    notes = [*leaderboard.notes, *(leaderboard.agreement.notes if leaderboard.agreement else ())]
    if notes:
        lines += ["## Notes", "", *(f"- {_cell(note)}" for note in notes), ""]
    if leaderboard.command:
        lines += ["## Made by", "", f"    {leaderboard.command}", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that is no markup: names come from folders."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in text)
    return " ".join(escaped.split())
