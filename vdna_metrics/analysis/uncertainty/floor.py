"""What perfect images would score, by chance alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from vdna_metrics.analysis.uncertainty.parts import names_of_parts, parts_of, shares_of
from vdna_metrics.analysis.uncertainty.rules import bias_rule
from vdna_metrics.dna.columns import ColumnLike, find_column
from vdna_metrics.dna.grouped import GroupedDNA


@dataclass(frozen=True)
class NoiseFloor:
    """The plain distance of so many real images from the reference, by chance alone.

    Args:
        value: mean over the draws.
        spread: standard deviation over the draws, which share images.
        layers: ``{layer: floor}``.
        n_images: images of the generator that it is for.
        measured_at: images in the smaller of the two parts of the reference whose distance was measured.
        distance: name of the distance.
        unit: of the distance.
    """

    value: float
    spread: float
    layers: Mapping[str, float]
    n_images: int
    measured_at: int
    distance: str
    unit: str


def noise_floor(
    reference: GroupedDNA,
    n_images: int,
    *,
    distance: ColumnLike = "emd",
    draws: int = 10,
    seed: int = 0,
) -> NoiseFloor:
    """What perfect images would score: nobody can be expected to win below it.

    The groups are split at random into two disjoint sets of real images, of ``a`` and ``b``, at true distance 0. What
    they are apart is bias, in ``r = 1/a + 1/b`` for Fréchet distances and in its root for the EMD
    (`BiasRule.exponent`); so it is multiplied by ``(1/n + 1/N) / r``, or its root, for ``n`` generated images and ``N``
    of the reference. The number of groups in the smaller set, at most half, is the one for which that factor is nearest
    to 1. The floor is one of plain values; that of corrected ones is 0.

    Args:
        reference: real images.
        n_images: number of images of the generator.
        distance: its name, or a `Column`, as in `jackknife_distance`.
        draws: how many random splits.
        seed: of the splits.

    Raises:
        ValueError: for no draw or image, a distance without a bias rule or a value between a set and itself, or DNAs
            that cannot be compared.
    """
    column = find_column(distance)
    rule, neutral = bias_rule(column), column.distance.neutral
    if neutral is None or column.distance.arity != 2:
        raise ValueError(f"{column.label} has no value between a set and itself, so it has no noise floor")
    if n_images < 1 or draws < 1:
        raise ValueError(f"a noise floor needs at least one image and one draw, got {n_images} and {draws}")
    chosen = column.select(reference)
    number, total = len(chosen.groups), chosen.n_images
    expected = _noise(n_images, total)

    def mismatch(groups: int) -> Fraction:  # exact: a tie is no matter of rounding
        ratio = _noise(groups, number - groups) * number / total / expected
        return max(ratio, 1 / ratio)

    smaller = min(range(1, number // 2 + 1), key=mismatch)
    stream = np.random.default_rng(seed)
    rows, measured_at = [], []
    for _ in range(draws):
        shuffled = stream.permutation(number).tolist()
        one, other = chosen.union(shuffled[:smaller]), chosen.union(shuffled[smaller:])
        scale = float(expected / _noise(one.n_images, other.n_images)) ** rule.exponent
        rows.append(neutral + scale * (parts_of(column, other, one) - neutral))
        measured_at.append(one.n_images)
    values = torch.stack(rows)
    scores = values @ shares_of(column, chosen.layout)
    spread = float(scores.std()) if draws > 1 else 0.0
    of_layers = dict(zip(names_of_parts(column, chosen.layout), values.mean(dim=0).tolist(), strict=False))
    return NoiseFloor(float(scores.mean()), spread, of_layers, n_images, min(measured_at), column.name, column.unit)


def _noise(*numbers: int) -> Fraction:
    return sum((Fraction(1, number) for number in numbers), Fraction(0))
