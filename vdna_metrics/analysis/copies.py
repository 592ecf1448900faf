"""Which generated images look like copies of reference images: a diagnostic, not a proof."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.analysis.fidelity import Features
from vdna_metrics.functional.neighbours import nearest_neighbours

# A neuron whose deviation is below this share of its mean says the same of every image but for rounding, which
# standardising would blow up.
_ROUNDING = 1e-5
# Reference images whose ratio is below this share of what 1 in 100 would have by the spread of all are near-duplicates
# of others: on photographs the 1 % quantile was 0.6 to 1.2 of that, and ratios of near-duplicates below 0.4.
_REPEATED = 0.5


@dataclass(frozen=True)
class CopyMatch:
    """A generated image and the reference image nearest to it.

    Args:
        image: name of the generated image.
        reference: name of the reference image.
        distance: between their features, each neuron in its deviations over the reference.
        ratio: of this distance to that of the k-th nearest reference image: near 0 for a copy, near 1 for an image
            that is like many.
        mirrored: whether the reference image flipped left to right is the nearest.
        same_file: whether the two are the same bytes.
        suspect: whether they look like copies.
    """

    image: str
    reference: str
    distance: float
    ratio: float
    mirrored: bool
    same_file: bool
    suspect: bool


@dataclass(frozen=True)
class CopyReport:
    """Which generated images look like copies; a diagnostic, not a proof.

    Args:
        matches: one a generated image, in their order.
        threshold: of the ratio, at or below which an image is suspect.
        false_alarms: share of real images that would be suspect.
        n_reference: number of reference images.
        repeated: number of reference images with near-duplicates in the reference, which do not set the threshold.
        k: neighbour whose distance the nearest one's is compared with.
    """

    matches: tuple[CopyMatch, ...]
    threshold: float
    false_alarms: float
    n_reference: int
    repeated: int
    k: int

    @property
    def suspects(self) -> tuple[CopyMatch, ...]:
        """Those that look like copies, the most suspicious first."""
        found = [match for match in self.matches if match.suspect]
        return tuple(sorted(found, key=lambda match: (not match.same_file, match.ratio)))

    @property
    def summary(self) -> str:
        """What was found, for people."""
        n, by_chance = len(self.matches), self.false_alarms * len(self.matches)
        return (
            f"{len(self.suspects)} of {n} generated images look like copies of one of {self.n_reference} reference "
            f"images; of {n} new real images about {by_chance:.3g} would. A diagnostic, not a proof: look at the pairs."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain containers: the settings, the summary and the suspects."""
        report = {**vars(self), "n_generated": len(self.matches), "summary": self.summary}
        del report["matches"]
        return {**report, "suspects": [vars(match) for match in self.suspects]}


def find_copies(
    generated: Features,
    reference: Features,
    *,
    k: int = 5,
    false_alarms: float = 0.01,
    device: torch.device | str = "cpu",
) -> CopyReport:
    """Find each generated image's nearest reference image, and say which look like copies.

    An image is suspect when its nearest reference image is much nearer than its k-th nearest: ``d_1 / d_k`` at or below
    a threshold. The threshold is the ``false_alarms`` quantile of the same ratio of each reference image among the
    others, so that this share of new real images would be suspect; with fewer than ``1 / false_alarms`` reference
    images, about one in their number. Reference images that have near-duplicates in the reference are left out of the
    quantile: those whose ratio is below half of what one in a hundred would have if the distances of k neighbours
    spread as those of the median image do, ``d_k^D`` uniformly in some dimension D. The same bytes are always suspect.

    What a network sees as the same image (flipped, cropped, compressed) is found; what a random network does not, is
    not. With ``reference.mirrored``, each reference image also stands flipped.

    Args:
        generated: features of generated images.
        reference: features of the images that may have been copied, from the same layer.
        k: at least 2; a reference image may have k − 2 near-duplicates in the reference and still be found.
        false_alarms: share of new real images that may be suspect, above 0 and below 1.
        device: where to compute.

    Raises:
        ValueError: when the sets were not seen by one layer of one network, there are too few reference images, a
            feature is not finite, or an option is out of range.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> from vdna_metrics.analysis import collect_features, find_copies
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> network = create_extractor("vdna_tiny")
        >>> images = np.stack(list(procedural_images("dead_leaves_disks", 30, size=64)))
        >>> reference = collect_features(images[:20], network)
        >>> generated = collect_features(np.concatenate([images[20:], images[7:8, :, ::-1]]), network)
        >>> [(match.image, match.reference) for match in find_copies(generated, reference).suspects]
        [('10', '7')]
    """
    reference.check_same_layer(generated, ("reference", "generated"))
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms is a share above 0 and below 1, got {false_alarms}")
    if k < 2 or len(reference) < k + 1:
        raise ValueError(
            f"k={k} needs to be at least 2 and at least {max(k, 2) + 1} reference images, got {len(reference)}"
        )
    n = len(reference)
    vectors = reference.vectors.to(device)
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0)
    scale = torch.where(deviation > _ROUNDING * mean.abs(), 1 / deviation, 0)
    points = vectors if reference.mirrored is None else torch.cat([vectors, reference.mirrored.to(device)])
    points = points * scale
    ratios = _nearest_images(points[:n], points, n, k, leave_out_own=True)[0].cpu().numpy()
    apart = ratios[ratios >= _REPEATED * _expected_ratio(float(np.median(ratios)), 0.01, k)]
    # The mean share below this estimate of a quantile is the share asked for, also where reference images are few.
    threshold = float(np.quantile(apart, false_alarms, method="weibull"))
    found = _nearest_images(generated.vectors.to(device) * scale, points, n, k, leave_out_own=False)
    digests = {digest: place for place, digest in reversed(list(enumerate(reference.digests))) if digest}
    matches = []
    for place, (ratio, distance, index) in enumerate(zip(*(part.tolist() for part in found), strict=True)):
        same = digests.get(generated.digests[place]) if generated.digests else None
        matches.append(
            CopyMatch(
                image=generated.names[place],
                reference=reference.names[index % n if same is None else same],
                distance=distance,
                ratio=ratio,
                mirrored=same is None and index >= n,
                same_file=same is not None,
                suspect=same is not None or ratio <= threshold,
            )
        )
    rate = max(false_alarms, 1 / (len(apart) + 1))
    return CopyReport(tuple(matches), threshold, rate, n, n - len(apart), k)


def _expected_ratio(median: float, share: float, k: int) -> float:
    """The ratio that a share of images are below, if ``(d_1 / d_k)^D`` is the least of k − 1 uniform numbers."""
    powers = [-math.expm1(math.log1p(-below) / (k - 1)) for below in (share, 0.5)]
    return float(median ** (math.log(powers[0]) / math.log(powers[1])))


def _nearest_images(
    queries: Tensor, points: Tensor, n: int, k: int, *, leave_out_own: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Ratio, distance and place of each query's nearest point; points ``i`` and ``n + i`` are one image."""
    views = len(points) // n
    distances, places = nearest_neighbours(queries, points, min(len(points), views * (k + leave_out_own)))
    images = places % n
    again = torch.zeros_like(images, dtype=torch.bool)
    for column in range(1, images.shape[1]):
        again[:, column] = (images[:, :column] == images[:, column : column + 1]).any(1)
    if leave_out_own:
        again |= images == torch.arange(len(queries), device=images.device)[:, None]
    distances, order = distances.masked_fill(again, torch.inf).sort(dim=1, stable=True)
    first, last = distances[:, 0], distances[:, k - 1]
    return torch.where(last > 0, first / last, 0), first, places.gather(1, order)[:, 0]
