"""`vdna-metrics agreement`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import click

from vdna_metrics.analysis import RankAgreement, ScoreColumn, rank_agreement, read_scores
from vdna_metrics.cli.commands.agreement import AgreementOptions
from vdna_metrics.cli.results import output_path, write_picture
from vdna_metrics.cli.screen import print_json, print_table, tell
from vdna_metrics.files import errors_of
from vdna_metrics.layout import near_names
from vdna_metrics.reports.outside import AGREEMENT_HEADS, agreement_row
from vdna_metrics.reports.score_plots import plot_agreements

_PANELS = 24  # of a picture, which nobody would look at with more


def agreement(tables: tuple[str, ...], given: AgreementOptions, as_json: bool) -> None:
    """Tell whether scores of generators have one order."""
    picture = output_path(given.output)
    found = [pair for text in tables for pair in _pairs(text, given)]
    if picture is not None and len(found) > _PANELS:
        raise click.UsageError(
            f"--output is for up to {_PANELS} pairs of scores, got {len(found)}; choose one by --with"
        )
    if picture is not None:
        write_picture(plot_agreements(found), picture)
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
