"""`vdna-metrics agreement`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.options import option


@dataclass(frozen=True)
class AgreementOptions:
    """With which score, how sure, and where the picture goes."""

    against: str | None = option(
        "--with", metavar="SCORE", help="The score that all others are compared with.  [default: every two]"
    )
    confidence: float = options.confidence_option("Of the intervals.")
    output: str | None = option(
        "-o",
        "--output",
        type=options.picture,
        metavar="FILE",
        help=f"Picture to write, a panel a pair: {', '.join(options.PICTURES)}.",
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
    from vdna_metrics.cli import agreement as work

    work.agreement(tables, given, as_json)
