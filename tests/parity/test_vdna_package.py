"""From images to distances against the vdna package, version 0.1.1, on one network.

Known differences, which the tests step around or show: vdna counts an activation on an inner edge of two bins twice
where a batch is small (its path for less than 2e6 comparisons; ours is compared with its path of a `histc` a channel),
it makes the ranges of histograms by scaling both extremes by 1.2 (`widen="vdna"`), and its settings stay in a feature
extractor once a DNA was made with it, so that each kind needs a new one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.vdna_package import dna_of_vdna
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from vdna_metrics import (
    ActivationRange,
    ExtractorSpec,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    VDNAEarthMoversDistance,
    create_extractor,
    functional,
)
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.ranges import ActivationRanges

pytest.importorskip("vdna")
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning"),
]

SPEC = ExtractorSpec("r", "test_resnet", ["layer1", "layer2"], size=64, mean=0.5, std=0.25, weights="seeded:0")
BINS = 1000


def _smooth_images(n: int, seed: int) -> list[NDArray[np.uint8]]:
    """Coloured blobs, [72, 88, 3], so that both sides have to resize."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 5 + seed, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (72, 88), mode="bicubic").clamp(0, 1)
    return list((fine * 255).round().byte().permute(0, 2, 3, 1).numpy())


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    """The network that both look through."""
    return create_extractor(SPEC)


@pytest.fixture(scope="module")
def sets() -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Images of two kinds, more than the largest layer has neurons."""
    return _smooth_images(120, 1), _smooth_images(100, 4)


def _batches(images: list[NDArray[np.uint8]]) -> tuple[Tensor, ...]:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).split(25)


@pytest.fixture(scope="module")
def ranges(extractor: FeatureExtractor, sets: tuple[list[NDArray[np.uint8]], ...]) -> ActivationRanges:
    """Ranges calibrated on the first set, widened as vdna does."""
    calibration = ActivationRange(extractor)
    for batch in _batches(sets[0]):
        calibration.update(batch)
    return calibration.ranges("vdna")


def _distance(metric: Any, sets: tuple[list[NDArray[np.uint8]], ...]) -> Any:
    for images, real in zip(sets, (True, False), strict=True):
        for batch in _batches(images):
            metric.update(batch, real=real)
    return metric.set_dtype(torch.float64).compute()


def _assert_close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(found).double(), torch.as_tensor(expected).double(), rtol=1e-4, atol=0)


def test_ranges_agree(
    extractor: FeatureExtractor, sets: tuple[list[NDArray[np.uint8]], ...], ranges: ActivationRanges
) -> None:
    """Calibrated extremes are those that vdna finds."""
    theirs = dna_of_vdna("activation-ranges", sets[0], extractor, ranges).get_all_neurons_dists()
    torch.testing.assert_close(ranges.observed_low, theirs["min"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ranges.observed_high, theirs["max"], rtol=1e-4, atol=1e-5)


def test_earth_movers_distances_agree(
    extractor: FeatureExtractor, sets: tuple[list[NDArray[np.uint8]], ...], ranges: ActivationRanges
) -> None:
    """VDNA-EMD is vdna's EMD: over all neurons, over a layer and for each neuron."""
    from vdna import EMD

    theirs = [dna_of_vdna(f"histogram-{BINS}", images, extractor, ranges) for images in sets]
    assert _compared_per_channel(theirs[0], len(sets[0]))

    def ours(**options: Any) -> Any:
        return _distance(VDNAEarthMoversDistance(extractor, ranges=ranges, bins=BINS, **options), sets)

    _assert_close(ours(), EMD(*theirs))
    assert float(ours()) > 5  # bins; a distance that shows differences
    for layer, distance in ours(reduction="layer").items():
        _assert_close(distance, EMD(*theirs, use_neurons_from_layer=layer))
    expected = EMD(*theirs, return_neuron_wise=True)
    for layer, distances in ours(reduction="none").items():
        # One activation in another bin, by the rounding of the resizing, is what a single neuron may differ by.
        positions = int(theirs[1].data[layer][0].sum())
        torch.testing.assert_close(distances, expected[layer], rtol=1e-4, atol=20 / positions)


def _compared_per_channel(dna: Any, n: int) -> bool:
    """Whether no activation was counted twice, as in vdna's other path."""
    totals = {layer: counts.sum(dim=1) for layer, counts in dna.data.items()}
    positions = {"layer1": 16 * 16, "layer2": 8 * 8}
    return all(bool((totals[layer] == n * positions[layer]).all()) for layer in totals)


def test_neuron_frechet_distances_agree(
    extractor: FeatureExtractor, sets: tuple[list[NDArray[np.uint8]], ...], ranges: ActivationRanges
) -> None:
    """The neuron Fréchet distance is vdna's NFD."""
    from vdna import NFD

    theirs = [dna_of_vdna("gaussian", images, extractor, ranges) for images in sets]
    _assert_close(_distance(NeuronFrechetDistance(extractor), sets), NFD(*theirs))
    for layer, distance in _distance(NeuronFrechetDistance(extractor, reduction="layer"), sets).items():
        _assert_close(distance, NFD(*theirs, use_neurons_from_layer=layer))


def test_layer_frechet_distances_agree(
    extractor: FeatureExtractor,
    sets: tuple[list[NDArray[np.uint8]], ...],
    ranges: ActivationRanges,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The layer Fréchet distance is vdna's FD, over all layers and of one."""
    from vdna import FD

    # SciPy 1.18 has no `disp` any more.
    monkeypatch.setattr("vdna.utils.stats.sqrtm", lambda matrix, disp: (linalg.sqrtm(matrix), 0.0))
    theirs = [dna_of_vdna("layer-gaussian", images, extractor, ranges) for images in sets]
    _assert_close(_distance(LayerFrechetDistance(extractor), sets), FD(*theirs))
    for layer, distance in _distance(LayerFrechetDistance(extractor, reduction="layer"), sets).items():
        _assert_close(distance, FD(*theirs, use_neurons_from_layer=layer))


def test_small_batches_count_edges_twice_in_vdna() -> None:
    """The known difference: in small batches vdna counts an activation on an inner edge in both bins, we do in one."""
    from vdna.utils.stats import histogram_per_channel

    on_an_edge = torch.zeros(1, 1, 1, 1)
    theirs = histogram_per_channel(on_an_edge, 4, [-1.0, 1.0])
    ours = functional.histogram_counts(on_an_edge.view(1, 1), -1.0, 1.0, 4)
    assert theirs.tolist() == [[0, 1, 1, 0]]
    assert ours.tolist() == [[0, 0, 1, 0]]
