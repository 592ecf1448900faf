"""What `score` and `compare` do: sets of images, whatever they are given as, against one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vdna_metrics.cli.inputs import kinds_of
from vdna_metrics.cli.results import Notes, measured, report_skipped
from vdna_metrics.cli.screen import progress_bars, watched

if TYPE_CHECKING:
    from vdna_metrics.build.reading import Reading
    from vdna_metrics.cli.screen import StartBar
    from vdna_metrics.cli.settings import DNASettings
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA, Column
    from vdna_metrics.references import ImageSet


@dataclass(frozen=True)
class Compared:
    """A set beside the reference.

    Args:
        images: the set.
        dna: of the first column's kind.
        values: as `measured` gives them, of all columns.
    """

    images: ImageSet
    dna: VDNA
    values: Mapping[str, Any]


def compare_sets(
    reference: ImageSet,
    generated: Sequence[ImageSet],
    columns: Sequence[Column],
    settings: DNASettings,
    reading: Reading,
    by: str | None,
    *,
    allow_subsampled: bool,
) -> tuple[dict[Kind, VDNA], list[Compared], Notes]:
    """Measure sets against the first; DNAs that there are not are made of the images.

    Args:
        reference: the real images.
        generated: what is compared with them.
        columns: distances to measure.
        settings: as `find_settings` gives them.
        reading: how images are read.
        by: parts to measure too, ``"layer"`` or ``"neuron"``.
        allow_subsampled: as in `Distance`.

    Returns:
        The DNAs of the reference, the generated sets, and what a reader of the numbers should know.
    """
    kinds, notes, compared = kinds_of(columns), Notes(), []
    with progress_bars() as start:
        real, settings = reference_dnas(reference, kinds, settings, reading, start, notes)
        for images in generated:
            fake = dnas_of(images, kinds, settings, reading, start, images.source, notes, real)
            values: dict[str, Any] = {}
            for column in columns:
                notes.add_warnings(images.source, fake[column.kind])
                try:
                    values |= measured(
                        column, real[column.kind], fake[column.kind], by, allow_subsampled=allow_subsampled
                    )
                except ValueError as error:
                    raise ValueError(f"{reference.source} and {images.source}: {error}") from error
            compared.append(Compared(images, fake[kinds[0]], values))
    return real, compared, notes


def reference_dnas(
    reference: ImageSet,
    kinds: Sequence[Kind],
    settings: DNASettings,
    reading: Reading,
    start: StartBar,
    notes: Notes,
) -> tuple[dict[Kind, VDNA], DNASettings]:
    """The DNAs of a reference, and the settings with the ranges that its histograms have."""
    if "histogram" in kinds and reference.images is not None and settings.choose(reference, "histogram") is None:
        settings = settings.with_ranges(reference.images, reading, start)
    name = f"real: {reference.source if reference.images is None else reference.images.name}"
    real = dnas_of(reference, kinds, settings, reading, start, name, notes)
    for dna in real.values():
        notes.add_warnings("reference", dna)
    return real, settings


def dnas_of(
    images: ImageSet,
    kinds: Sequence[Kind],
    settings: DNASettings,
    reading: Reading,
    start: StartBar,
    name: str,
    notes: Notes,
    like: Mapping[Kind, VDNA] | None = None,
) -> dict[Kind, VDNA]:
    """DNAs of a set: those that it has, the others of its images; of the layers and neurons of others, if given."""
    notes.read += images.notes
    dnas: dict[Kind, VDNA] = {}
    for kind in kinds:
        chosen = settings.choose(images, kind, None if like is None else like[kind])
        if chosen is not None:
            dnas[kind] = chosen.total
            notes.add(images.source, chosen.notes)
    missing = [kind for kind in kinds if kind not in dnas]
    if missing:
        assert images.images is not None
        made = settings.make(images.images, missing, watched(reading, start, name, images.images))
        report_skipped(made[missing[0]])
        if like is not None:  # kinds of a reference may differ in their layers
            made = {kind: dna.select(list(like[kind].layout), like[kind].layout.neurons) for kind, dna in made.items()}
        dnas |= made
    return {kind: dnas[kind] for kind in kinds}
