"""`vdna-metrics agreement`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import click

from vdna_metrics.analysis import RankAgreement, ScoreColumn, rank_agreement, read_scores
from vdna_metrics.cli import options
from vdna_metrics.cli.options import option
from vdna_metrics.cli.results import output_path
from vdna_metrics.cli.screen import print_json, print_table, tell
from vdna_metrics.files import errors_of
from vdna_metrics.layout import near_names
from vdna_metrics.reports.outside import AGREEMENT_HEADS, agreement_row
from vdna_metrics.reports.score_plots import plot_agreements

_PANELS = 24  # of a picture, which nobody would look at with more


@dataclass(frozen=True)
class AgreementOptions:
    """With which score, how sure, and where the picture goes."""

    against: str | None = option(
        "--with", metavar="SCORE", help="The score that all others are compared with.  [default: every two]"
    )
    confidence: float = options.confidence_option("Of the intervals.")
    output: str | None = option(
        "-o", "--output", metavar="FILE", help=f"Picture to write, a panel a pair: {', '.join(options.PICTURES)}."
    )


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="[NAME=]TABLE...")
@options.takes("given", AgreementOptions)
@options.as_json
def agreement(tables: tuple[str, ...], given: AgreementOptions, as_json: bool) -> None:
    """Tell whether scores of generators have one order.

    No images are read. A TABLE is a .csv or .tsv: its first column names the generators, the others are scores, 'NAME↑'
    or 'NAME (higher is better)', 'NAME↓' or 'NAME (lower is better)', each with its standard errors in a column '±'
    after it, or without. Rank correlations are of values as they stand, with intervals that take the generators for a
    sample; the order is inconclusive where the interval holds 0, and of fewer than five generators.
    """
    picture = output_path(given.output)
    found = [pair for text in tables for pair in _pairs(text, given)]
    if picture is not None and len(found) > _PANELS:
        raise click.UsageError(
            f"--output is for up to {_PANELS} pairs of scores, got {len(found)}; choose one by --with"
        )
    if picture is not None:
        plot_agreements(found).savefig(picture, dpi=110)
    if as_json:
        print_json(
            [{"table": name, "score": x.name, "with": y.name, **dataclasses.asdict(pair)} for name, x, y, pair in found]
        )
        return
    cells = [[name, *agreement_row(x.title, y.title, pair)] for name, x, y, pair in found]
    heads = ["table", *AGREEMENT_HEADS]
    same = [head for place, head in enumerate(heads[:3]) if head != "score" and len({row[place] for row in cells}) == 1]
    told = {"table": f" of {cells[0][0]}", "with": f" with {cells[0][2]}"}  # what is the same in all rows
    title = f"Rank agreement{''.join(told[head] for head in same)}, {100 * given.confidence:g} % intervals"
    kept = [place for place, head in enumerate(heads) if head not in same]
    print_table(title, [heads[place] for place in kept], [[row[place] for place in kept] for row in cells])
    if picture is not None:
        tell(f"wrote {picture}")


Pair = tuple[str, ScoreColumn, ScoreColumn, RankAgreement]


def _pairs(text: str, given: AgreementOptions) -> Iterator[Pair]:
    """Name of the table, two scores of it, and their agreement."""
    name, equals, path = text.partition("=")
    if not (equals and name and path) or Path(text).exists():
        name, path = Path(text).stem, text
    scores = read_scores(path)
    if len(scores) < 2:
        raise ValueError(f"{path}: expected two scores or more, got {scores[0].name!r} alone")
    for x, y in _chosen(scores, given.against, path):
        with errors_of(path):
            yield name, x, y, rank_agreement(x, y, confidence=given.confidence)


def _chosen(scores: Sequence[ScoreColumn], against: str | None, path: str) -> list[tuple[ScoreColumn, ScoreColumn]]:
    if against is None:
        return list(combinations(scores, 2))
    one = next((score for score in scores if against in (score.name, score.title)), None)
    if one is None:
        raise ValueError(f"{path} has no score {against!r}; {near_names(against, [score.name for score in scores])}")
    return [(score, one) for score in scores if score is not one]
