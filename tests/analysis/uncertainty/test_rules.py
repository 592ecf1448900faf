"""Bias rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.distances import JSD, make_grouped

from vdna_metrics.analysis.uncertainty import (
    BIAS_RULES,
    BiasRule,
    extrapolate_frechet,
    jackknife_distance,
    noise_floor,
    rules,
)
from vdna_metrics.dna.columns import Column


@pytest.mark.parametrize("sizes", [(7, 7, 7), (2, 9, 5, 30)], ids=["even", "uneven"])
def test_a_bias_in_one_over_n_is_removed_exactly(sizes: tuple[int, ...]) -> None:
    """Of ``3 + 50/n`` the jackknife leaves 3, and no error, whatever the sizes of the groups."""
    total = sum(sizes)
    without = torch.tensor([[3 + 50 / (total - size)] for size in sizes], dtype=torch.float64)
    bias, deviations = rules.jackknife(torch.tensor([3 + 50 / total], dtype=torch.float64), without, sizes)
    assert float(bias) == pytest.approx(50 / total)
    assert deviations.abs().max() < 5


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    """Deviations of a mean of equal groups add up to the variance of the groups' means over their number."""
    means = torch.tensor([1.0, 4.0, 2.0, 7.0], dtype=torch.float64)
    without = (means.sum() - means) / 3
    bias, deviations = rules.jackknife(means.mean()[None], without[:, None], (5,) * 4)
    assert float(bias) == pytest.approx(0)
    assert float(deviations.square().sum()) == pytest.approx(float(means.var() / 4))


def test_distances_name_their_rule() -> None:
    """A rule is found by its name; one without a rule, of an unknown one or of another distance's is refused."""
    assert rules.bias_rule(Column("emd")) is BIAS_RULES["extrapolation"]
    assert rules.bias_rule(Column("lfd")) is BIAS_RULES["jackknife"]
    for distance, message in (
        (JSD, "Jensen-Shannon has no bias rule, so it has neither a corrected value nor a noise floor"),
        (replace(JSD, bias="magic"), "unknown bias rule, 'magic'; known: extrapolation, jackknife"),
        (replace(JSD, bias="extrapolation"), "'extrapolation' is for 'emd' alone, Jensen-Shannon cannot"),
    ):
        reference, generated = make_grouped(distance, 0), make_grouped(distance, 1)
        with pytest.raises(ValueError, match=message):
            jackknife_distance(reference, generated, distance=distance)
        with pytest.raises(ValueError, match=message):
            noise_floor(reference, 10, distance=distance)
        with pytest.raises(ValueError, match=message):
            extrapolate_frechet(reference, generated, distance=distance)


def test_a_rule_of_ones_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of the mapping makes a rule known: its corrected values and its exponent count."""

    def halved(column: Column, reference: Any, generated: Any, plain: torch.Tensor) -> Any:
        corrected, *chances = rules.jackknife_parts(column, reference, generated, plain)
        return corrected / 2, *chances

    own = replace(JSD, bias="halved")
    reference, generated = make_grouped(JSD, 0), make_grouped(JSD, 1, shift=0.4)
    usual = jackknife_distance(reference, generated, distance=replace(JSD, bias="jackknife"))
    monkeypatch.setitem(BIAS_RULES, "halved", BiasRule(halved, 0.5))
    found = jackknife_distance(reference, generated, distance=own)
    assert found.score.corrected == pytest.approx(usual.score.corrected / 2)
    assert (found.distance, found.unit) == ("jsd", "nats")
    floors = {name: noise_floor(reference, 3, distance=replace(JSD, bias=name)) for name in ("halved", "jackknife")}
    factor = (1 / 3 + 1 / 60) / (1 / 12 + 1 / 48)
    assert floors["jackknife"].value / floors["halved"].value == pytest.approx(factor**0.5)
