"""`vdna-metrics score` and `compare`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.options import nested

if TYPE_CHECKING:
    from vdna_metrics.dna import Column


@dataclass(frozen=True)
class ScoreOptions:
    """By what sets are scored against which images."""

    references: tuple[str, ...] = options.references_option("", required=True)
    columns: tuple[Column, ...] = options.columns_option("--metrics", default="emd", several=True)
    protocol: str | None = options.protocol_option()
    by: str | None = options.by_option()
    neurons: options.NeuronOptions = nested(options.NeuronOptions)
    making: options.DNAOptions = nested(options.DNAOptions, "the reference's, else ")
    allow_subsampled: bool = options.allow_subsampled_option()
    checkpoint: str | None = options.checkpoint_option()


def _check_score(sources: tuple[str, ...], given: ScoreOptions, **_: Any) -> None:
    options.check_root(given.making.reading.root, *given.references, *sources)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@options.takes("given", ScoreOptions, _check_score)
@options.as_json
def score(sources: tuple[str, ...], given: ScoreOptions, as_json: bool) -> None:
    """Score sets of generated images against real ones."""
    from vdna_metrics.cli import score as work

    work.score(sources, given, as_json)


@dataclass(frozen=True)
class CompareOptions:
    """By what sets are compared."""

    column: Column | None = options.columns_option("--metric")
    by: str | None = options.by_option()
    neurons: options.NeuronOptions = nested(options.NeuronOptions)
    unit: str | None = options.unit_option()
    making: options.DNAOptions = nested(options.DNAOptions, "a DNA's, else ")
    allow_subsampled: bool = options.allow_subsampled_option()


def _check_compare(reference: str, generated: tuple[str, ...], given: CompareOptions, **_: Any) -> None:
    options.check_root(given.making.reading.root, reference, *generated)


@click.command()
@click.argument("reference", metavar="SOURCE")
@click.argument("generated", nargs=-1, required=True, metavar="SOURCE...")
@options.takes("given", CompareOptions, _check_compare)
@options.as_json
def compare(reference: str, generated: tuple[str, ...], given: CompareOptions, as_json: bool) -> None:
    """Compare DNAs, or sets of images, with the first.

    Of images the DNA is made first, through the network and with the bins and ranges of the first DNA.
    Histograms are compared by VDNA-EMD, Gaussians by the neuron and layer Gaussians by the layer Fréchet distance.
    """
    from vdna_metrics.cli import score as work

    work.compare(reference, generated, given, as_json)
