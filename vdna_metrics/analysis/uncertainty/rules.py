"""Rules by which a distance is corrected for a finite number of images, by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vdna_metrics.analysis.uncertainty.estimates import Chance
from vdna_metrics.analysis.uncertainty.no_noise import extrapolate_emd
from vdna_metrics.analysis.uncertainty.parts import parts_of, total_of
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA

Correct = Callable[[Column, VDNA | GroupedDNA, VDNA | GroupedDNA, Tensor], tuple[Tensor, Chance, Chance]]
"""Takes a column, reference, generated and the plain distances of its parts ``[parts]``; gives corrected ones and what
each side's chance does to them."""


@dataclass(frozen=True)
class BiasRule:
    """How a distance is corrected for a finite number of images, and how its bias goes with that number.

    Args:
        correct: the correction.
        exponent: near a true distance of 0 the bias goes with ``1/n`` to the power of this.
        only: name of the only distance that it is for; ``None`` where it is for any.

    Examples:
        >>> BIAS_RULES["jackknife"].linear, BIAS_RULES["extrapolation"].linear
        (True, False)
    """

    correct: Correct
    exponent: float
    only: str | None = None

    @property
    def linear(self) -> bool:
        """Whether the bias is in ``1/n``, so that a line over ``1/n`` meets the distance of infinitely many images."""
        return self.exponent == 1


def bias_rule(column: Column) -> BiasRule:
    """The rule that a column's distance names.

    Raises:
        ValueError: when it names none, one that is not known, or one that is for another distance alone.
    """
    name, distance = column.distance.bias, column.distance
    if name is None:
        raise ValueError(f"{distance.label} has no bias rule, so it has neither a corrected value nor a noise floor")
    if name not in BIAS_RULES:
        raise ValueError(f"{distance.label} names an unknown bias rule, {name!r}; known: {', '.join(BIAS_RULES)}")
    rule = BIAS_RULES[name]
    if rule.only not in (None, distance.name):
        raise ValueError(
            f"the bias rule {name!r} is for {rule.only!r} alone, {distance.label} cannot be corrected by it"
        )
    return rule


def jackknife(plain: Tensor, without: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Bias ``[k]`` and deviations ``[groups, k]`` from distances ``[k]`` of all and ``[groups, k]`` without each."""
    groups = len(sizes)
    inverse_share = sum(sizes) / torch.tensor(sizes, dtype=torch.float64)[:, None]
    bias = ((1 - 1 / inverse_share) * without).sum(dim=0) - (groups - 1) * plain
    pseudo_values = inverse_share * plain - (inverse_share - 1) * without
    return bias, (pseudo_values - plain + bias) / (groups * (inverse_share - 1)).sqrt()


def jackknife_parts(
    column: Column, reference: VDNA | GroupedDNA, generated: VDNA | GroupedDNA, plain: Tensor
) -> tuple[Tensor, Chance, Chance]:
    """Jackknifed distances of the parts, and the two sides' deviations."""
    totals = total_of(reference), total_of(generated)
    corrected, chances = plain, [Chance(plain.new_empty(0, len(plain)), 0.0)] * 2
    for place, side in enumerate((reference, generated)):
        if isinstance(side, GroupedDNA):
            left = [side.without(index) for index in range(len(side.groups))]
            pairs = [(dna, totals[1]) if place == 0 else (totals[0], dna) for dna in left]
            without = torch.stack([parts_of(column, *pair) for pair in pairs])
            bias, deviations = jackknife(plain, without, side.sizes)
            corrected = corrected - bias
            chances[place] = Chance(deviations, len(left) - 1.0)
    return corrected, chances[0], chances[1]


BIAS_RULES: dict[str, BiasRule] = {
    "extrapolation": BiasRule(extrapolate_emd, 0.5, only="emd"),
    "jackknife": BiasRule(jackknife_parts, 1.0),
}
"""``{name: rule}``, as `Distance.bias` names them; an entry of one's own makes a rule known."""
