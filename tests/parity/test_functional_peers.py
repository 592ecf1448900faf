import numpy as np
import pytest
import torch
from torch import Tensor

from vdna_metrics.functional import earth_movers_distance, frechet_distance, histogram_counts, neuron_frechet_distance

pytestmark = [
    pytest.mark.parity,
    # SciPy before 1.18 warns of the argument that the peers give to sqrtm, and later ones have it no more.
    pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning"),
]

BINS = 1000


def gaussian(d: int, images: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of correlated features on scales that differ a hundredfold."""
    features = torch.randn(images, d, dtype=torch.float64) * torch.logspace(0, -2, d, dtype=torch.float64)
    features = features @ torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0] + torch.rand(d)
    return features.mean(dim=0), torch.cov(features.T)


def normalised(activations: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """What vdna does to `[images, neurons, height, width]` activations before it counts them, in float64."""
    column = (1, -1, 1, 1)
    mean, std = (low.double() + high.double()) / 2, (high.double() - low.double()) / 2 + 1e-8
    return (activations - mean.view(column)) / std.view(column)


def counted(activations: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Our counts of the same activations."""
    return histogram_counts(activations.transpose(0, 1).flatten(1), low, high, BINS)


def test_histograms_agree_with_those_of_vdna() -> None:
    """The per-channel path of vdna puts the same activations into the same bins, but for rounding at the edges.

    It divides by a float64 standard deviation to which it adds 1e-8, and so moves an activation in ten thousand or
    fewer into the next bin.
    """
    stats = pytest.importorskip("vdna.utils.stats")
    activations = torch.randn(8, 12, 40, 40) * torch.linspace(0.1, 30, 12).view(-1, 1, 1)
    low, high = -torch.linspace(0.3, 60, 12), torch.linspace(0.4, 90, 12)
    peers = stats.histogram_per_channel(normalised(activations, low, high), BINS, [-1.0, 1.0])
    ours = counted(activations, low, high)
    assert torch.equal(peers.sum(dim=1), ours.sum(dim=1))
    assert int((peers - ours).abs().sum()) <= 1e-4 * activations.numel()
    other = torch.randint(1, 50, ours.shape)
    distance = stats.earth_movers_distance(peers, other)
    assert np.allclose(earth_movers_distance(ours, other), distance, rtol=1e-4, atol=0)


def test_small_tensors_are_counted_twice_by_vdna() -> None:
    """With fewer than 2e6 activations times bins, vdna counts a value on the edge of two bins in both.

    Our counts of these values sum to the number of activations; vdna's do not, and its own two paths disagree.
    """
    stats = pytest.importorskip("vdna.utils.stats")
    on_edges = torch.linspace(-1, 1, 5).view(1, 1, 1, 5)
    peers = stats.histogram_per_channel(on_edges, 4, [-1.0, 1.0])
    assert peers.tolist() == [[2, 2, 2, 2]]
    assert histogram_counts(on_edges.view(1, 5), -1.0, 1.0, 4).tolist() == [[1, 1, 1, 2]]
    repeated = on_edges.expand(1, 1, 200_000, 5)
    assert stats.histogram_per_channel(repeated, 4, [-1.0, 1.0]).tolist() == [[200_000, 200_000, 200_000, 400_000]]


def test_earth_movers_distances_agree_with_those_of_vdna() -> None:
    """The unit `bins` is vdna's EMD, neuron by neuron."""
    stats = pytest.importorskip("vdna.utils.stats")
    a, b = torch.randint(0, 10_000, (30, BINS)), torch.randint(0, 300, (30, BINS))
    assert np.allclose(earth_movers_distance(a, b), stats.earth_movers_distance(a, b), rtol=1e-9, atol=0)


def test_neuron_distances_agree_with_those_of_vdna() -> None:
    """The one-dimensional Fréchet distance of vdna is the same sum of squares, written out."""
    stats = pytest.importorskip("vdna.utils.stats")
    mean_a, mean_b = torch.randn(2, 50, dtype=torch.float64)
    variance_a, variance_b = torch.rand(2, 50, dtype=torch.float64)
    expected = stats.frechet_distance_1d(mean_a, variance_a, mean_b, variance_b)
    assert np.allclose(neuron_frechet_distance(mean_a, variance_a, mean_b, variance_b), expected, rtol=1e-9, atol=0)


def test_layer_distances_agree_with_those_of_vdna() -> None:
    """The multivariate Fréchet distance of vdna is ours on well conditioned covariances."""
    stats = pytest.importorskip("vdna.utils.stats")
    a, b = gaussian(64, 500), gaussian(64, 500)
    expected = stats.frechet_distance_multidim(*a, *b).item()
    assert frechet_distance(*a, *b).item() == pytest.approx(expected, rel=1e-6)


def test_layer_distances_agree_with_those_of_pytorch_fid() -> None:
    """pytorch-fid's distance, by SciPy's matrix square root, is ours on well conditioned covariances."""
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    a, b = gaussian(128, 1000), gaussian(128, 1000)
    expected = fid_score.calculate_frechet_distance(*[statistic.numpy() for statistic in (*a, *b)])
    assert frechet_distance(*a, *b).item() == pytest.approx(expected, rel=1e-6)


def test_layer_distances_agree_with_those_of_torchmetrics() -> None:
    """The distance of torchmetrics, by the eigenvalues of the product, is ours on well conditioned covariances."""
    fid = pytest.importorskip("torchmetrics.image.fid")
    a, b = gaussian(128, 1000), gaussian(128, 1000)
    assert frechet_distance(*a, *b).item() == pytest.approx(fid._compute_fid(*a, *b).item(), rel=1e-6)


def test_self_distances_are_zero_where_peers_leave_a_rest() -> None:
    """With fewer images than neurons a Gaussian is at distance 0 from itself, which the peers miss by rounding."""
    fid = pytest.importorskip("torchmetrics.image.fid")
    mean, covariance = gaussian(512, 50)
    trace = float(covariance.trace())
    assert frechet_distance(mean, covariance, mean, covariance).item() < 1e-12 * trace
    assert abs(fid._compute_fid(mean, covariance, mean, covariance).item()) > 1e-9 * trace
