"""Calibration of activation ranges as a metric."""

from __future__ import annotations

import pytest
import torch
from helpers.metric_tester import EXTRACTOR, NETWORK, assert_same, feed, filled, images, make
from torch import nn

from vdna_metrics import ActivationRange, VDNAEarthMoversDistance


def test_it_sees_the_smallest_and_the_largest_activation() -> None:
    """`compute` gives, for each layer, each neuron's smallest and largest activation over all images and positions."""
    metric = make("range")
    for seed in (1, 2):
        metric.update(images(5, seed))
    with torch.no_grad():
        first = NETWORK.conv((torch.cat([images(5, 1), images(5, 2)]).float() / 255).double())
        last = NETWORK.last(first.relu())
    for layer, output in (("conv", first), ("last", last)):
        neurons = output.transpose(0, 1).flatten(1)
        expected = torch.stack([neurons.amin(1), neurons.amax(1)], dim=1).float()
        assert torch.equal(metric.compute()[layer], expected)


def test_forward_sees_its_batch() -> None:
    """`forward` gives the extremes of its batch alone, and adds the batch."""
    metric, alone, both = filled("range"), make("range"), filled("range")
    feed(alone, images(4, 7))
    feed(both, images(4, 7))
    assert_same(metric(images(4, 7)), alone.compute())
    assert_same(metric.compute(), both.compute())


def test_ranges_know_how_they_were_made() -> None:
    """ranges() keeps extremes, rule, number of images, sources and the extractor's fingerprint."""
    metric = filled("range", generated=9)
    ranges = metric.ranges("vdna", sources=["noise"])
    both = torch.cat(list(metric.compute().values()))
    assert torch.equal(ranges.observed_low, both[:, 0])
    assert torch.equal(ranges.observed_high, both[:, 1])
    assert (ranges.widen, ranges.n_images, ranges.sources) == ("vdna", 9, ("noise",))
    assert ranges.fingerprint == EXTRACTOR.fingerprint
    assert ranges.layout == EXTRACTOR.layout
    assert metric.ranges().widen == "margin"


def test_calibrated_ranges_serve_the_distance() -> None:
    """What was calibrated on images covers them in a histogram: nothing lies outside."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    calibration = ActivationRange(network, layers=["0", "1"])
    calibration.update(images(9, 2))
    metric = VDNAEarthMoversDistance(network, layers=["0", "1"], ranges=calibration.ranges("none"))
    metric.update(images(9, 2))
    assert set(metric.dna().distribution.outside().values()) == {0.0}


def test_layers_may_be_chosen() -> None:
    """Chosen layers, also as a text, are the only ones calibrated."""
    for layers in (["last"], "last"):
        metric = make("range", layers=layers)
        metric.update(images(4))
        assert list(metric.ranges().layout) == ["last"]


def test_no_images_are_no_calibration() -> None:
    """An empty batch counts no images."""
    metric = make("range")
    metric.update(images(0))
    with pytest.raises(ValueError, match=r"no images yet: call update\(imgs\) first"):
        metric.compute()
    with pytest.raises(ValueError, match="no images yet"):
        metric.ranges()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_activations_that_are_not_finite_are_refused(value: float) -> None:
    """NaN and infinity are errors that name the layers, in compute and in ranges."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    metric = ActivationRange(network, layers=["0", "1"])
    with torch.no_grad():
        network[1].bias[0] = value
    metric.update(images(3))
    for call in (metric.compute, metric.ranges):
        with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in layers 1$"):
            call()
