"""A distance at an infinite number of generated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.analysis.uncertainty.estimates import Estimate, check_confidence, distance_estimate
from vdna_metrics.analysis.uncertainty.parts import names_of_parts, parts_of, shares_of, total_of
from vdna_metrics.analysis.uncertainty.rules import bias_rule, jackknife
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """A distance at an infinite number of generated images.

    Args:
        score: the plain value and, as the corrected one, the extrapolated.
        layers: ``{layer: estimate}``.
        sizes: numbers of generated images of each distance that was fitted, ``[points]``.
        values: those distances, ``[points]`` float64.
        slope: of the fitted line, over ``1/n``.
        distance: name of the distance.
    """

    score: Estimate
    layers: Mapping[str, Estimate]
    sizes: tuple[int, ...]
    values: Tensor
    slope: float
    distance: str


def extrapolate_frechet(
    reference: VDNA | GroupedDNA,
    generated: GroupedDNA,
    *,
    distance: ColumnLike = "lfd",
    draws: int = 5,
    seed: int = 0,
    confidence: float = 0.95,
) -> Extrapolation:
    """FD-infinity: the Fréchet distance of random unions of groups, as a line over ``1/n``, where ``1/n`` is 0.

    The points are all images, all but each one group, and ``draws`` random unions of every number of groups from half
    of them to all but two. The standard error has the chance of the images, by the jackknife, and of the fit. The
    reference is taken as it is: its own bias, in one over its number of images, stays.

    Args:
        reference: real images.
        generated: images compared with them, at least three groups.
        distance: one whose bias is in ``1/n``, as of Fréchet distances: its name, or a `Column`.
        draws: random unions of each size.
        seed: of the unions.
        confidence: of the intervals.

    Raises:
        ValueError: for another distance, too few groups or draws, or DNAs that cannot be compared.

    Source:
        Chong, Forsyth: Effectively unbiased FID and Inception Score and where to find them, CVPR 2020.
    """
    column = find_column(distance)
    check_confidence(confidence)
    if not bias_rule(column).linear:
        raise ValueError(f"only distances whose bias is in 1/n are extrapolated, as Fréchet distances; got {column!r}")
    if len(generated.groups) < 3 or draws < 1:
        raise ValueError(
            f"a line needs at least 3 groups and one draw, got {len(generated.groups)} groups and {draws} draws"
        )
    fixed, chosen = total_of(column.select(reference)), column.select(generated)
    number, stream = len(chosen.groups), np.random.default_rng(seed)
    unions = [chosen.total, *(chosen.without(index) for index in range(number))]
    for size in range((number + 1) // 2, number - 1):
        unions += [chosen.union(stream.permutation(number)[:size].tolist()) for _ in range(draws)]
    by_part = torch.stack([parts_of(column, fixed, union) for union in unions])
    scores = by_part @ shares_of(column, chosen.layout)
    sizes = tuple(union.n_images for union in unions)
    score, slope = _extrapolated(column, scores, sizes, chosen.sizes, confidence)
    of_layers = {
        layer: _extrapolated(column, by_part[:, place], sizes, chosen.sizes, confidence)[0]
        for place, layer in enumerate(names_of_parts(column, chosen.layout))
    }
    score = replace(score, value=column(fixed, chosen.total))
    return Extrapolation(score, of_layers, sizes, scores, slope, column.name)


def _extrapolated(
    column: Column, values: Tensor, sizes: Sequence[int], group_sizes: Sequence[int], confidence: float
) -> tuple[Estimate, float]:
    """Estimate with the line's intercept, and its slope."""
    from scipy.stats import linregress

    fit = linregress(1 / np.asarray(sizes), values.numpy())
    groups = len(group_sizes)
    _, deviations = jackknife(values[:1], values[1 : 1 + groups, None], group_sizes)
    # The images' chance moves all unions alike, and with them the line; the scatter about it is that of the unions.
    scatter = torch.tensor([[fit.intercept_stderr]], dtype=torch.float64)
    chances = [(torch.cat([deviations, scatter]), groups - 1.0)]
    found = distance_estimate(column, float(values[0]), float(fit.intercept), chances, confidence)
    return found, float(fit.slope)
