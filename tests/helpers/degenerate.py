"""Sets of features that a collapsed generator or odd data give, and distances between them in sixty digits."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import torch
from torch import Tensor, nn

D = 8
EPS = torch.finfo(torch.float64).eps


def _normal(n: int) -> Tensor:
    return torch.randn(n, D, dtype=torch.float64) * torch.logspace(0, -1, D, dtype=torch.float64) + 0.3


def _dead(n: int) -> Tensor:
    values = _normal(n)
    values[:, 3] = 0.7
    return values


SETS: dict[str, Callable[[int], Tensor]] = {
    "normal": _normal,
    "constant": lambda n: torch.full((n, D), 0.1, dtype=torch.float64),
    "one image repeated": lambda n: _normal(1).expand(n, D),
    "two modes": lambda n: _normal(2)[torch.arange(n) % 2],
    "near-duplicates": lambda n: _normal(1) + 1e-6 * _normal(n),
    "dead channel": _dead,
    "large means": lambda n: 1e4 * (1 + torch.rand(D, dtype=torch.float64)) + _normal(n),
    "huge means": lambda n: 1e7 * (1 + torch.rand(D, dtype=torch.float64)) + _normal(n),
}


class Table(nn.Module):
    """A network that knows its features by heart: an image's first value is its place among them."""

    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def forward(self, images: Tensor) -> Tensor:
        places = images[:, 0, 0, 0]
        places = (places * 255).round().long() if places.is_floating_point() else places.long()
        return self.features[places % len(self.features)]


def images_of_places(start: int, stop: int) -> Tensor:
    """Images of these places in a `Table`, ``[N, 3, 2, 2]`` uint8."""
    return torch.arange(start, stop, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)


def exact_layer_distance(a: Tensor, b: Tensor) -> float:
    """LFD of two sets of features by the singular values of their products, in sixty digits."""
    with mpmath.workdps(60):
        (mean_a, rows_a), (mean_b, rows_b) = _centred(a), _centred(b)
        overlap = mpmath.fsum(mpmath.svd_r(rows_a * rows_b.T, compute_uv=False))
        traces = mpmath.norm(rows_a) ** 2 + mpmath.norm(rows_b) ** 2
        return float(mpmath.norm(mean_a - mean_b) ** 2 + traces - 2 * overlap)


def exact_neuron_distance(a: Tensor, b: Tensor) -> float:
    """NFD of two sets of features, in sixty digits."""
    with mpmath.workdps(60):
        (mean_a, rows_a), (mean_b, rows_b) = _centred(a), _centred(b)
        spreads = mpmath.fsum((mpmath.norm(rows_a[:, i]) - mpmath.norm(rows_b[:, i])) ** 2 for i in range(rows_a.cols))
        return float((mpmath.norm(mean_a - mean_b) ** 2 + spreads) / rows_a.cols)


def allowed_error(a: Tensor, b: Tensor, distance: float) -> float:
    """64 roundings of the raw second moments, and a billionth of the distance."""
    raw = sum(float(x.double().square().sum(dim=1).mean()) for x in (a, b))
    return 64 * EPS * raw + 1e-9 * distance


def _centred(values: Tensor) -> tuple[mpmath.matrix, mpmath.matrix]:
    """Mean `[1, d]`, and the centred rows over the root of their degrees of freedom."""
    matrix = mpmath.matrix(values.tolist())
    ones = mpmath.ones(matrix.rows, 1)
    mean = ones.T * matrix / matrix.rows
    return mean, (matrix - ones * mean) / mpmath.sqrt(matrix.rows - 1)
