"""Neurons that differ most, by any distance that has parts by neuron."""

from __future__ import annotations

import re

import pytest
from helpers.dnas import LAYOUT, make_dna
from helpers.toy_distances import registered_toys

from vdna_metrics.analysis.explain import explain
from vdna_metrics.dna.columns import find_column
from vdna_metrics.reports.analysis_plots import parts_text
from vdna_metrics.reports.page_figures import most_different_neurons


@pytest.mark.parametrize(("metric", "kind"), [("emd", "histogram"), ("nfd", "gaussian")])
def test_they_are_those_of_the_explanation(metric: str, kind: str) -> None:
    """Of our distances the neurons, values and parts are what `explain` finds, the largest first."""
    reference, generated = make_dna(kind), make_dna(kind, seed=1, shift=0.5)  # type: ignore[arg-type]
    found = most_different_neurons(find_column(metric), reference, generated, 4)
    expected = explain(reference, generated).top(4)
    assert [(each.layer, each.neuron) for each in found] == [(each.layer, each.neuron) for each in expected]
    assert [each.distance for each in found] == pytest.approx([each.distance for each in expected])
    for each, other in zip(found, expected, strict=True):
        assert each.shift / each.contribution == pytest.approx(other.shift / other.contribution)
        assert sum(map(float, re.findall(r"\d+", parts_text(each)))) == pytest.approx(100, abs=1)
        assert (each.means, each.deviations) == (other.means, other.deviations)


def test_other_distances_have_their_own_order_and_no_parts() -> None:
    """Values are the distance's own, the largest first; the split into shift, spread and shape is not theirs."""
    reference, generated = make_dna("histogram"), make_dna("histogram", seed=1, shift=0.5)
    with registered_toys():
        column = find_column("jsd")
        found = most_different_neurons(column, reference, generated, 20)
        values = column.measure(reference, generated, "none")
    assert isinstance(values, dict)
    assert [each.distance for each in found] == sorted((each.distance for each in found), reverse=True)
    assert all(each.distance == float(values[each.layer][each.neuron]) for each in found)
    assert len(found) == LAYOUT.total - 1  # one is dead
    assert not any(parts_text(each) for each in found)
    assert any(each.means[0] != each.means[1] for each in found)


def test_a_set_does_not_differ_from_itself() -> None:
    """Neurons with the neutral value are left out."""
    dna = make_dna("histogram")
    assert most_different_neurons(find_column("emd"), dna, dna, 4) == ()
