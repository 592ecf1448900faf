"""What a diagnosis of a generator is made of."""

from __future__ import annotations

from vdna_metrics.analysis.diagnosis import DiagnosedSet
from vdna_metrics.analysis.features import Features
from vdna_metrics.analysis.pixels import collect_pixel_statistics
from vdna_metrics.dna.account import ImageAccount
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.images.sources import evenly_spaced
from vdna_metrics.leaderboard.sets import SetDNAs, SetReader
from vdna_metrics.references.image_sets import ImageSet


def diagnosed_set(reader: SetReader, entry: ImageSet, images: SetDNAs) -> DiagnosedSet:
    """What a network's DNAs and features, and the pixels of some images, which are read once more, tell of a set."""
    pixels, why = _pixels(reader, entry)
    account = next((total_of(dna).provenance.account for dna in (*images.dnas.values(), *entry.dnas)), ImageAccount())
    effective = images.record.effective_clusters
    dependence = images.record.n_images / effective if effective else 1.0
    return DiagnosedSet(pixels, images.features, account, dependence, why)


def _pixels(reader: SetReader, entry: ImageSet) -> tuple[Features | None, str]:
    """And why there are none."""
    if entry.images is None:
        return None, "there are no images at hand"
    some = evenly_spaced(entry.images, reader.settings.diagnosis)
    try:
        return collect_pixel_statistics(some, reading=reader.watched(f"pixels: {entry.name}", some)), ""
    except ValueError as error:  # features, or images that are too small; the distances stand
        return None, str(error)
