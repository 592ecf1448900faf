"""Kinds of images that a set lacks, by clusters of features, which nobody has named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.analysis.diagnosis.colours import feature_scale
from vdna_metrics.analysis.diagnosis.values import Fault, Sign, Thresholds
from vdna_metrics.analysis.features import Features
from vdna_metrics.functional import precision_recall

_LEAST_IMAGES = 40  # of each side, in what kinds are told
_SPLITS = 4  # of the reference, in halves
_LEAST_KINDS, _MOST_KINDS, _IMAGES_A_KIND = 4, 30, 20
_MOST_FOR_RECALL = 500


@dataclass(frozen=True)
class _Kinds:
    """How images of both sides are spread over clusters of the reference's features.

    Args:
        errors: by how many standard errors counts differ more than by chance.
        reference: share of the reference in clusters of which there are too few.
        generated: share of the generated images in them.
        precision: of the generated images, over that of as many of the reference's.
        recall: of the generated images.
        own_recall: of as many of the reference's.
        recall_errors: their difference in standard errors.
    """

    errors: float
    reference: float
    generated: float
    precision: float
    recall: float
    own_recall: float
    recall_errors: float

    @property
    def recalled(self) -> str:
        """The recall beside what it would be without a fault."""
        return f"recall {self.recall:.2f}, where as many reference images have {self.own_recall:.2f}"


def missing_kinds(
    real: Features, fake: Features, distinct: list[int] | None, limits: Thresholds, seed: int, unseen: list[str]
) -> Iterator[Fault]:
    """A fault, where there are too few images of some kinds.

    Args:
        real: features of the reference.
        fake: of the generated images.
        distinct: which of these are no repeats, where that is known.
        limits: from where on there is a fault.
        seed: of what is drawn.
        unseen: is told why nothing was looked for.
    """
    vectors = fake.vectors if distinct is None else fake.vectors[distinct]
    if len(vectors) < _LEAST_IMAGES or len(real) < 2 * _LEAST_IMAGES:
        unseen.append(
            f"Missing kinds were not looked for: they need {2 * _LEAST_IMAGES} images of the reference and "
            f"{_LEAST_IMAGES} different ones of this set, got {len(real)} and {len(vectors)}"
        )
        return
    found = _kinds(real.vectors.double(), vectors.double(), seed)
    if found.precision < limits.precision:
        unseen.append(
            "Missing kinds were not looked for: its images lie apart from the reference's in features (precision "
            f"{found.precision:.2g} times that of as many reference images)"
        )
        return
    if found.errors - found.recall_errors >= limits.kinds:
        yield Fault(
            "collapse",
            f"Kinds of images are missing: those that make {100 * found.reference:.0f} % of the reference make "
            f"{100 * found.generated:.0f} % of this set ({found.errors:.0f} standard errors); {found.recalled}",
            1 - found.recall / max(found.own_recall, 1e-9),
            (
                Sign("share in kinds that are lacking", found.generated, found.reference, -found.errors),
                Sign("recall", found.recall, found.own_recall, found.recall_errors),
            ),
        )


def recall_in_words(real: Features, fake: Features, seed: int) -> str:
    """What a reader may judge missing kinds by where a fault of the pixels lowers recall too; nothing of few images."""
    if len(fake) < _LEAST_IMAGES or len(real) < 2 * _LEAST_IMAGES:
        return ""
    found = _kinds(real.vectors.double(), fake.vectors.double(), seed)
    return f" ({found.recalled})"


def _kinds(real: Tensor, fake: Tensor, seed: int) -> _Kinds:
    stream = np.random.default_rng(seed)
    scale = feature_scale(real)
    real, fake = real * scale, fake * scale
    rows = []
    for _ in range(_SPLITS):
        half, other = (real[part] for part in np.array_split(stream.permutation(len(real)), 2))
        number = min(len(other), len(fake)) // _IMAGES_A_KIND
        centres = _clusters(half, min(max(number, _LEAST_KINDS), _MOST_KINDS), stream)
        counts = [_counts(side, centres) for side in (other, fake)]
        n = min(len(half), len(other), len(fake), _MOST_FOR_RECALL)
        some = fake[stream.permutation(len(fake))[:n]]
        own, found = (precision_recall(half[:n], side) for side in (other[:n], some))
        rows.append([*_lacking(*counts), *map(float, (*found, *own))])
    errors, reference, generated, precision, recall, own_precision, own_recall = np.mean(rows, axis=0).tolist()
    share = min(max(own_recall, 0.05), 0.95)
    error = (2 * share * (1 - share) / n) ** 0.5
    of_own = precision / max(own_precision, 1e-9)
    return _Kinds(errors, reference, generated, of_own, recall, own_recall, (recall - own_recall) / error)


def _lacking(real: NDArray[np.int64], fake: NDArray[np.int64]) -> tuple[float, float, float]:
    """Of counts in clusters: standard errors of their difference, and both shares in clusters with too few."""
    there = real + fake > 0
    real, fake = real[there], fake[there]
    n, m = real.sum(), fake.sum()
    residuals = (np.sqrt(m / n) * real - np.sqrt(n / m) * fake) / np.sqrt(real + fake)
    freedom = max(len(real) - 1, 1)
    errors = (np.square(residuals).sum() - freedom) / np.sqrt(2 * freedom)
    few = (residuals > 2) & (fake / m < 0.5 * real / n)
    return float(errors), float(real[few].sum() / n), float(fake[few].sum() / m)


def _clusters(points: Tensor, number: int, stream: np.random.Generator) -> Tensor:
    """Centres of clusters by Lloyd's algorithm, from points that are drawn far from each other (k-means++)."""
    centres = points[stream.integers(len(points), size=1)]
    for _ in range(number - 1):
        squared = torch.cdist(points, centres).amin(1).square().numpy()
        share = squared / squared.sum() if squared.sum() > 0 else None
        centres = torch.cat([centres, points[stream.choice(len(points), size=1, p=share)]])
    for _ in range(10):
        nearest = torch.cdist(points, centres).argmin(1)
        members = torch.nn.functional.one_hot(nearest, number).double()
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ points / sizes.clamp(min=1), centres)
    return centres


def _counts(points: Tensor, centres: Tensor) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = torch.bincount(torch.cdist(points, centres).argmin(1), minlength=len(centres)).numpy()
    return counts
