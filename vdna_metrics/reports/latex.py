"""A leaderboard as a table of a paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.leaderboard.record import Leaderboard, Score
from vdna_metrics.reports.formatting import are_distances, decimals, fixed, listed
from vdna_metrics.reports.outside import ExtraColumn, extra_columns
from vdna_metrics.reports.summary import has_interval, inside, percent, score_text
from vdna_metrics.text import printable


@dataclass(frozen=True)
class _TableColumn:
    """A column with the score of each generator that has one."""

    network: str
    column: Column
    scores: dict[str, Score]

    @property
    def corrected(self) -> bool:
        """Whether its numbers are corrected ones with their intervals, which all must have then."""
        return all(map(has_interval, self.scores.values()))

    @property
    def span(self) -> int:
        """Columns of the table that it takes: errors have one of their own, so that they stand in line."""
        return 1 + self.corrected

    @property
    def best(self) -> list[str]:
        """Generators that may be the first, as far as the data tell; without ranks the first."""
        return [name for name, score in self.scores.items() if score.rank and score.rank[0] == 1] or [*self.scores][:1]


def leaderboard_latex(leaderboard: Leaderboard) -> str:
    r"""All columns as one table, a generator a row, in the order of the first column.

    Where all scores of a column have an interval, numbers are corrected and followed by ± half its width, or by the
    ways up and down to its ends where these differ; else they are plain. Bold are the best and all that the data cannot
    tell from it; without ranks the best alone. FDr^k and outside scores come last, with their errors.

    Args:
        leaderboard: with at least one score.

    Returns:
        A ``table`` for ``\input``, of letters that any LaTeX sets; it needs the package ``booktabs`` and no other.

    Raises:
        ValueError: for a leaderboard without scores.
    """
    if not leaderboard.columns:
        raise ValueError("this leaderboard has no scores")
    columns = []
    for network, metric in leaderboard.columns:
        scores = {score.generator: score for score in leaderboard.column(network, metric)}
        columns.append(_TableColumn(network, find_column(metric), scores))
    images = {record.name: record.n_images for record in leaderboard.generators}
    names, extra = dict.fromkeys([*columns[0].scores, *images]), extra_columns(leaderboard)
    sizes = [""] if len(set(images.values())) > 1 else []  # a column of their own
    shape = [*("r" for _ in sizes), *("r@{ }l" if each.corrected else "r" for each in columns), *("r" for _ in extra)]
    lines = [
        r"% Needs \usepackage{booktabs}.",
        *([f"% Made by {printable(leaderboard.command)}"] if leaderboard.command else []),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(leaderboard, columns)}}}",
        r"\label{tab:leaderboard}",
        rf"\begin{{tabular}}{{l{''.join(shape)}}}",
        r"\toprule",
    ]
    networks = [(name, sum(each.span for each in of)) for name, of in groupby(columns, lambda each: each.network)]
    if len(networks) > 1:
        above = [_across(width, _text(name)) for name, width in networks]
        lines.append(_row(["", *sizes, *above, *("" for _ in extra)]))
        places = [2 + len(sizes)]
        for _, width in networks:
            places.append(places[-1] + width)
        lines.append("".join(rf"\cmidrule(lr){{{a}-{b - 1}}}" for a, b in pairwise(places)))
    heads = [_across(each.span, _head(each.column, columns)) for each in columns]
    heads += [_across(1, _direction(_text(each.head), each.higher_is_better)) for each in extra]
    lines += [_row(["", *("images" for _ in sizes), *heads]), r"\midrule"]
    for name in names:
        cells = [cell for each in columns for cell in _cells(each, name)]
        cells += [_extra(each, name) for each in extra]
        lines.append(_row([_text(name), *(str(images[name]) for _ in sizes), *cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _cells(column: _TableColumn, generator: str) -> list[str]:
    """The number of a generator, bold where it is among the best, and its error."""
    score = column.scores.get(generator)
    if score is None:
        return ["--", ""][: column.span]
    number = score_text(score, corrected=column.corrected).replace("−", "$-$")
    number = rf"\textbf{{{number}}}" if generator in column.best else number
    return [number, _error(score)] if column.corrected else [number]


def _extra(column: ExtraColumn, generator: str) -> str:
    """A number from elsewhere, and its error."""
    if generator not in column.cells:
        return "--"
    _, *texts = column.cells[generator]
    return " ".join(filter(None, texts)).replace("−", "$-$").replace("±", r"$\pm$")


def _error(score: Score) -> str:
    """Half the width of the interval, or how far its ends are from the number, of which one may be cut."""
    each = score.estimate
    if each is None or each.low is None or each.high is None:
        raise ValueError(f"the {score.metric} of {score.generator} has no interval")
    places = decimals(each.value, each.standard_error)
    number = inside(each)
    up, down = fixed(each.high - number, places), fixed(number - each.low, places)
    return rf"$\pm$ {up}" if up == down else rf"$^{{+{up}}}_{{-{down}}}$"


def _caption(leaderboard: Leaderboard, columns: Sequence[_TableColumn]) -> str:
    """What is measured from what, what the numbers are, and which are bold."""
    reference, sizes = leaderboard.reference, {record.n_images for record in leaderboard.generators}
    what, of = ("Distance", "from") if are_distances(leaderboard.metrics) else ("Scores", "against")
    each = f"{min(sizes)} images of each generator" if len(sizes) == 1 else "images of each generator"
    networks = listed([_text(name) for name in dict.fromkeys(each.network for each in columns)])
    text = f"{what} of {each} {of} {reference.n_images} images of {_text(reference.name)}, seen by {networks}."
    if any(each.corrected for each in columns):
        which = "Numbers" if all(each.corrected for each in columns) else "Numbers with an interval"
        interval = _text(percent(leaderboard)).replace(" ", "~")
        text += f" {which} are corrected for the bias of finitely many images;"
        text += rf" $\pm$ is half the width of the {interval} interval."
    return rf"{text} Bold: the best{', and what the data cannot tell from it' if leaderboard.pairs else ''}."


def _head(column: Column, columns: Sequence[_TableColumn]) -> str:
    """Name, unit and direction; the long name where columns share the short one."""
    alike = {each.column.name for each in columns if each.column.short == column.short}
    name = with_unit(column.short, column.unit) if len(alike) == 1 else column.title
    return _direction(_text(name), column.distance.higher_is_better)


def _direction(name: str, higher_is_better: bool) -> str:
    return rf"{name} $\{'up' if higher_is_better else 'down'}arrow$"


def _across(width: int, text: str) -> str:
    return rf"\multicolumn{{{width}}}{{c}}{{{text}}}"


def _row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _text(text: str) -> str:
    return printable(text, "latex")
