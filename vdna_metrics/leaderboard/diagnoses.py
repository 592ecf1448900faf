"""What a diagnosis of a generator is made of."""

from __future__ import annotations

from dataclasses import replace

from vdna_metrics.analysis.diagnosis import DiagnosedSet
from vdna_metrics.analysis.features import Features
from vdna_metrics.build.sets import build_set
from vdna_metrics.dna.account import ImageAccount
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.extractors import create_extractor
from vdna_metrics.images.sources import evenly_spaced
from vdna_metrics.leaderboard.sets import SetDNAs, SetReader
from vdna_metrics.leaderboard.settings import NetworkColumns
from vdna_metrics.references.image_sets import ImageSet

_PIXELS = "pixel_statistics"


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
    if entry.images.features:
        return None, "there are features alone"
    network, some = create_extractor(_PIXELS), evenly_spaced(entry.images, reader.settings.diagnosis)
    watched = replace(reader, network=NetworkColumns(_PIXELS, network, ())).watched(entry.name, some)
    (layer,) = network.layout
    try:
        # Images have their own sizes. The statistics are made where images are decoded, not where the network runs.
        found = build_set(
            some,
            network,
            ("gaussian",),
            groups=min(len(some), reader.settings.groups),
            features=layer,
            cache=reader.cache,
            name=entry.name,
            reading=replace(watched, batch_size=1, device="cpu"),
        )
    except ValueError as error:  # images that are too small; the distances stand
        return None, str(error)
    assert found.features is not None
    return Features(found.names, found.digests, found.features, fingerprint=network.fingerprint), ""
