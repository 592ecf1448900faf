"""What a diagnosis of a generator is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from vdna_metrics.analysis.diagnosis import DiagnosedSet
from vdna_metrics.analysis.features import Features
from vdna_metrics.build.dnas import MadeDNAs
from vdna_metrics.build.passes import ActivationBatch, ImageWork, Seen
from vdna_metrics.build.sets import SetCache
from vdna_metrics.dna.account import ImageAccount
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.extractors import create_extractor
from vdna_metrics.extractors.architectures import PixelStatistics
from vdna_metrics.functional.pixels import LEAST_SIDE, PIXEL_STATISTICS
from vdna_metrics.images.sources import evenly_spaced
from vdna_metrics.leaderboard.sets import SetDNAs, SetReader
from vdna_metrics.references.image_sets import ImageSet

_PIXELS = "pixel_statistics"


def diagnosed_set(entry: ImageSet, images: SetDNAs, pixels: Features | str) -> DiagnosedSet:
    """What a network's DNAs and features, and the pixels of some images, tell of a set.

    Args:
        entry: the set.
        images: its DNAs and features.
        pixels: statistics of its pixels, or why there are none.
    """
    account = next((total_of(dna).provenance.account for dna in (*images.dnas.values(), *entry.dnas)), ImageAccount())
    effective = images.record.effective_clusters
    dependence = images.record.n_images / effective if effective else 1.0
    found, why = (None, pixels) if isinstance(pixels, str) else (pixels, "")
    return DiagnosedSet(found, images.features, account, dependence, why)


def find_pixels(reader: SetReader, entry: ImageSet) -> Features | str | ImageWork[Features | str]:
    """Statistics of the pixels of some images of a set, from the cache; what makes them; or why there are none.

    They are made where images are decoded, at their own sizes.
    """
    if entry.images is None:
        return "there are no images at hand"
    if entry.images.features:
        return "there are features alone"
    network, some = create_extractor(_PIXELS), evenly_spaced(entry.images, reader.settings.diagnosis)
    (layer,) = network.layout
    fingerprint, cache = network.fingerprint, None
    if reader.cache is not None:
        digest_of = dict(zip(entry.images.names, reader.digests_of(entry.name, entry.images), strict=True))
        digests, groups = [digest_of[name] for name in some.names], min(len(some), reader.settings.groups)
        cache = SetCache(reader.cache, some, digests, network, groups, "", {}, layer, entry.name)
        kept = cache.load(skip_bad=reader.reading.skip_bad)
        if kept.features is not None:
            return Features(kept.names, kept.digests, kept.features, fingerprint=fingerprint)
    rows = torch.zeros(len(some), len(PIXEL_STATISTICS))

    def fill_(batch: ActivationBatch) -> None:
        assert batch.measured is not None
        rows[list(batch.indices)] = batch.measured

    def done(seen: Seen) -> Features | str:
        facts = seen.all_facts
        for name, width, height in zip(seen.seen_names, facts["width"], facts["height"], strict=True):
            if min(width, height) < LEAST_SIDE:  # the distances stand
                return f"{name}: expected images of at least {LEAST_SIDE} pixels a side, got {width}x{height}"
        found = seen.rows(rows)
        if cache is not None:
            cache.save(MadeDNAs({}, seen.seen_names, tuple(seen.digests), tuple(seen.skipped), found))
        return Features(seen.seen_names, tuple(seen.digests), found, fingerprint=fingerprint)

    return ImageWork(some, None, {"rows": rows}, [fingerprint.digest], fill_, done, _statistics)


def _statistics(image: Tensor) -> Tensor:
    if min(image.shape[1:]) < LEAST_SIDE:
        return torch.full((len(PIXEL_STATISTICS),), torch.nan)
    statistics: Tensor = PixelStatistics()(image[None].contiguous())[0]
    return statistics
