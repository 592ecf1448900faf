"""Distances of sets that a collapsed generator or odd data give, against sixty digits."""

from __future__ import annotations

import pytest
import torch
from helpers.degenerate import (
    EPS,
    SETS,
    D,
    Table,
    allowed_error,
    exact_layer_distance,
    exact_neuron_distance,
    images_of_places,
)
from torch import Tensor

from vdna_metrics import FrechetInceptionDistance, LayerFrechetDistance, NeuronFrechetDistance
from vdna_metrics.metrics import DistanceMetric


def _pairs(name: str, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Real and generated features where either side, or both, are a set of a name."""
    make, plain = SETS[name], SETS["normal"]
    some = [(make(n), plain(17)) for n in (2, 3, 8)] + [(plain(17), make(n)) for n in (2, 5, 17)]
    both = make(6)
    return [(a.to(dtype), b.to(dtype)) for a, b in [*some, (make(3), make(17)), (both, both)]]


def _feed(metric: DistanceMetric, a: Tensor, b: Tensor, *, batch: int = 4, part: int = 0, parts: int = 1) -> None:
    """Give both sides of a `Table` in batches, each n-th one; the generated side alone where there is a reference."""
    for start, side, real in ((0, a, True), (len(a), b, False)):
        if not (real and metric.reference):
            for images in images_of_places(start, start + len(side)).split(batch)[part::parts]:
                metric.update(images, real=real)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SETS)
def test_degenerate_sets_have_a_distance_and_the_right_one(name: str, dtype: torch.dtype) -> None:
    """LFD, NFD and FID hold in all: in one process, against a reference, merged from halves, from forward."""
    for a, b in _pairs(name, dtype):
        network = Table(torch.cat([a, b]))
        layer, neuron = exact_layer_distance(a, b), exact_neuron_distance(a, b)
        for make, expected, parts in (
            (LayerFrechetDistance, layer, 1),
            (FrechetInceptionDistance, layer, 1),
            (NeuronFrechetDistance, neuron, a.shape[1]),
        ):
            options = {"input_img_size": (3, 2, 2)} if make is FrechetInceptionDistance else {}
            whole, merged, half = (make(network, **options) for _ in range(3))
            _feed(whole, a, b)
            referring = make(network, reference=whole.dna(real=True), **options)
            _feed(referring, a, b)
            for part, metric in enumerate((merged, half)):
                _feed(metric, a, b, batch=1, part=part, parts=2)
            merged.merge_state(half)
            for metric in (whole, referring, merged):
                found = float(metric.set_dtype(torch.float64).compute())
                error = allowed_error(a, b, expected * parts) / parts
                assert abs(found - expected) <= error, (make.__name__, len(a), len(b))


def test_a_rank_that_only_rounding_fills_costs_half_of_the_digits() -> None:
    """Beside a set of full rank, float32 features in one direction keep half of float64's digits."""
    for seed in range(20):
        stream = torch.Generator().manual_seed(seed)
        line = torch.randn(17, 1, generator=stream) * torch.randn(1, D, generator=stream)
        full = torch.randn(17, D, generator=stream)
        metric = LayerFrechetDistance(Table(torch.cat([full, line]))).set_dtype(torch.float64)
        _feed(metric, full, line)
        expected = exact_layer_distance(full, line)
        assert abs(float(metric.compute()) - expected) <= 4 * EPS**0.5 * expected


@pytest.mark.parametrize("name", SETS)
def test_forward_of_degenerate_batches_is_their_distance(name: str) -> None:
    """Batch by batch, and all together, as a training loop that has collapsed sees them."""
    a, b = SETS["normal"](17), SETS[name](8)
    metric = LayerFrechetDistance(Table(torch.cat([a, b]))).set_dtype(torch.float64)
    metric.update(images_of_places(0, 17), real=True)
    for start in (0, 4):
        expected = exact_layer_distance(a, b[start : start + 4])
        found = float(metric(images_of_places(17 + start, 21 + start)))
        assert abs(found - expected) <= allowed_error(a, b, expected)
    expected = exact_layer_distance(a, b)
    assert abs(float(metric.compute()) - expected) <= allowed_error(a, b, expected)


def test_grey_images_have_a_distance() -> None:
    """All images alike, through a network, as at a generator's first step: 0 from the same, more from photographs."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 4, 4), torch.nn.ReLU(), torch.nn.AvgPool2d(8))
    varied = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8)
    grey = torch.full_like(varied, 128)
    for make in (LayerFrechetDistance, NeuronFrechetDistance):
        found = []
        for real, generated in ((varied, grey), (grey, varied), (grey, grey)):
            metric = make(network, layers=["2"])
            metric.update(real, real=True)
            for part in generated.split(7):
                metric.update(part)
            found.append(float(metric.compute()))
        assert found[0] == pytest.approx(found[1], rel=1e-6)
        assert found[0] > 1e-4
        assert found[2] < 1e-12
