"""How a distance settles as more images are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.dna.columns import ColumnLike, find_column
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import check_count
from vdna_metrics.references.resolve import DNALike, compared_dna


@dataclass(frozen=True, eq=False)
class SampleSizeCurve:
    """Distance of growing random subsets of a set from a fixed DNA.

    Args:
        sizes: numbers of images, growing; the last is the whole set.
        values: distances, ``[draws, sizes]`` float64.
        distance: name of the distance.
        unit: of the distance.
    """

    sizes: tuple[int, ...]
    values: Tensor
    distance: str
    unit: str

    @property
    def mean(self) -> Tensor:
        """Mean over the draws, ``[sizes]``."""
        return self.values.mean(dim=0)

    @property
    def spread(self) -> Tensor:
        """Standard deviation (ddof=1) over the draws, ``[sizes]``; 0 where there is one draw."""
        return self.values.std(dim=0) if len(self.values) > 1 else torch.zeros_like(self.values[0])

    @property
    def final(self) -> float:
        """The distance of the whole set."""
        return float(self.values[0, -1])

    def stays_within(self, share: float = 0.05) -> int:
        """The smallest size from which on the mean is never farther than this share from the final value."""
        outside = ((self.mean - self.final).abs() > share * abs(self.final)).tolist()
        outside[-1] = False  # the draws of the whole set differ by rounding
        return self.sizes[len(outside) - outside[::-1].index(True)] if any(outside) else self.sizes[0]


def sample_size_curve(
    reference: DNALike,
    parts: Sequence[DNALike],
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 10,
    seed: int = 0,
    distance: ColumnLike = "emd",
) -> SampleSizeCurve:
    """How the distance from a fixed DNA settles as more images are taken.

    Each draw puts the parts in a random order and adds them up; at each size the sum is compared. So images are read
    once, when the parts are made, and memory is that of the parts and of one more DNA. Parts of one image each give
    subsets of any size; parts of several, drawn at random (see the example), need less memory and time, and one that
    holds neighbours, a class or a video, would make subsets more alike than random ones are.

    Args:
        reference: the fixed DNA, or its file or name, see `resolve_dna`; likewise the parts.
        parts: DNAs of disjoint sets of equally many images, as `build_dnas` makes them with a partition.
        sizes: numbers of images, multiples of a part's; by default some that grow by about 1.4. The whole set is
            always taken too.
        draws: how many orders of the parts.
        seed: of the orders.
        distance: its name, or a `Column`, as in `distance_matrix`.

    Raises:
        ValueError: when there are no parts or draws, parts differ in their number of images, a size is not made of
            whole parts, or DNAs cannot be compared.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Fig. 5.

    Examples:
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> from vdna_metrics.build import labelled
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> of_three = labelled((np.random.default_rng(0).permutation(12) // 3).tolist())  # random parts
        >>> made = build_dnas(images, extractor, ["gaussian"], partition=of_three)
        >>> first, *others = parts = list(made["gaussian"].values())
        >>> curve = sample_size_curve(sum(others, first), parts, distance="nfd")
        >>> curve.sizes, tuple(curve.values.shape), round(curve.final, 6)
        ((3, 6, 9, 12), (10, 4), 0.0)
    """
    column = find_column(distance)
    check_count("draws", draws)
    if not parts:
        raise ValueError("expected parts of at least one image, got none")
    fixed, *chosen = (total_of(compared_dna(dna, column)) for dna in (reference, *parts))
    numbers = {part.n_images for part in chosen}
    if len(numbers) > 1:
        raise ValueError(f"parts must be of equally many images, these have {min(numbers)} to {max(numbers)}")
    per_part, total = chosen[0].n_images, chosen[0].n_images * len(chosen)
    counts = _growing(len(parts)) if sizes is None else [*sorted({*sizes} - {total}), total]
    if sizes is not None:
        wrong = [size for size in counts if size % per_part or not 0 < size <= total]
        if wrong:
            raise ValueError(f"sizes must be multiples of {per_part}, of {per_part} to {total} images, got {wrong[0]}")
        counts = [size // per_part for size in counts]
    stream = np.random.default_rng(seed)
    values = torch.empty(draws, len(counts), dtype=torch.float64)
    for draw in range(draws):
        order = stream.permutation(len(chosen)).tolist()
        grown, seen = chosen[order[0]], 1
        for place, count in enumerate(counts):
            # Distributions, since the provenance of a sum names every part.
            distribution = grown.distribution
            for index in order[seen:count]:
                distribution = distribution + chosen[index].distribution
            grown, seen = VDNA(distribution, grown.fingerprint, grown.provenance), count
            values[draw, place] = column(fixed, grown)
    return SampleSizeCurve(tuple(count * per_part for count in counts), values, column.name, column.unit)


def _growing(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 11, 16, ... and the most, without those just below it."""
    steps = {round(2 ** (i / 2)) for i in range(2 * most.bit_length())}
    return sorted({count for count in steps if count < most / 1.2} | {most})
