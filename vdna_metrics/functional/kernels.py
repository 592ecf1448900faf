"""Features by a kernel: maximum mean discrepancy (KID, CMMD), and the Vendi score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.functional.moments import to_float64
from vdna_metrics.functional.neighbours import check_features

_BLOCK = 2048  # rows and columns of a kernel held at once: 32 MiB of float64
_ELEMENTS = 1 << 22  # of float64 features copied at once: 32 MiB


class Kernel(Protocol):
    """A positive definite function of two features."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Of all pairs of `[N, d]` and `[M, d]`, `[N, M]` float64."""
        ...

    def own(self, features: Tensor) -> Tensor:
        """Of each of `[N, d]` with itself, `[N]` float64."""
        ...


@dataclass(frozen=True)
class PolynomialKernel:
    """`k(x, y) = (γ x·y + c)^degree`; by default the KID's, `(x·y/d + 1)³`.

    Args:
        degree: of the polynomial, at least 1.
        gamma: factor of the product, by default 1/d.
        coef: added to it.

    Raises:
        ValueError: if the degree is below 1.

    Source:
        Bińkowski, Sutherland, Arbel, Gretton, Demystifying MMD GANs, 2018.

    Examples:
        >>> x, y = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> PolynomialKernel()(x, y)
        tensor([[8., 1.]], dtype=torch.float64)
    """

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise ValueError(f"Expected a degree of at least 1, got {self.degree}")

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Of all pairs of `[N, d]` and `[M, d]`, `[N, M]` float64."""
        return (self._gamma(a) * (to_float64(a) @ to_float64(b).T)).add_(self.coef).pow_(self.degree)

    def own(self, features: Tensor) -> Tensor:
        """Of each of `[N, d]` with itself, `[N]` float64."""
        squares = torch.cat([to_float64(block).square().sum(1) for block in features.split(_step(features))])
        return (self._gamma(features) * squares).add_(self.coef).pow_(self.degree)

    def _gamma(self, features: Tensor) -> float:
        return 1 / features.shape[1] if self.gamma is None else self.gamma


def kernel_distance(
    real: Tensor,
    generated: Tensor,
    *,
    degree: int = 3,
    gamma: float | None = None,
    coef: float = 1.0,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Kernel distance between two sets of features (the KID): squared maximum mean discrepancy, unbiased.

    `k(x, y) = (γ x·y + c)^degree`; of each subset of m real and m generated images,
    `Σ_{i≠j} k(x_i, x_j) / m(m−1) + Σ_{i≠j} k(y_i, y_j) / m(m−1) − 2 Σ_ij k(x_i, y_j) / m²`. Being unbiased, it may be a
    little below 0. Not multiplied by 1000, as many tables are.

    The subsets are torch-fidelity's, for the same seed and real images as its first input.

    Args:
        real: features `[N, d]`, floating.
        generated: features `[M, d]`, floating.
        degree: of the polynomial.
        gamma: factor of the product, by default 1/d.
        coef: added to it.
        subsets: how many are drawn.
        subset_size: images of either set in each, without replacement.
        seed: of the draws.

    Returns:
        Mean and standard deviation (over n) of the subsets' values, float64 scalars on the device of the features (on
        the CPU for MPS). The deviation is of a subset's value: it is no error of the mean, and 0 where a subset is all
        there is.

    Raises:
        ValueError: if shapes do not fit, a set has fewer images than a subset, an option is out of range, or a feature
            is not finite.
        TypeError: if features are not floating.

    Source:
        Bińkowski, Sutherland, Arbel, Gretton, Demystifying MMD GANs, 2018.

    Examples:
        >>> real = torch.linspace(0, 1, 100)[:, None]
        >>> [round(float(value), 3) for value in kernel_distance(real, real + 0.5, subset_size=50)]
        [3.413, 0.625]
    """
    check_features({"real": real, "generated": generated})
    if subsets < 1 or subset_size < 2 or degree < 1:
        raise ValueError(
            "subsets and degree must be at least 1 and subset_size at least 2, "
            f"got subsets={subsets}, degree={degree}, subset_size={subset_size}"
        )
    if subset_size > min(len(real), len(generated)):
        raise ValueError(
            f"subset_size={subset_size} is more than there are images: real {len(real)}, generated {len(generated)}; "
            f"give at most {min(len(real), len(generated))}"
        )
    kernel = PolynomialKernel(degree, gamma, coef)
    stream = np.random.RandomState(seed)  # whose stream is frozen
    sides = [features.cpu() if features.device.type == "mps" else features for features in (real, generated)]
    draws = [[stream.choice(len(side), subset_size, replace=False) for side in sides] for _ in range(subsets)]
    rows = torch.from_numpy(np.array(draws)).to(sides[0].device).unbind(1)
    real_pairs, generated_pairs = (
        _subset_sums(kernel, side, side, chosen, chosen) - kernel.own(side)[chosen].sum(1)
        for side, chosen in zip(sides, rows, strict=True)
    )
    between = _subset_sums(kernel, *sides, *rows)
    values = (real_pairs + generated_pairs) / (subset_size * (subset_size - 1)) - 2 * between / subset_size**2
    return values.mean(), values.std(correction=0)


def vendi_score(features: Tensor) -> Tensor:
    """Vendi score of a set of features: how many wholly different images are as diverse.

    `exp(−Σ λ log λ)` of the eigenvalues λ of `K/n`, with the cosine kernel `K_ij = x_i·x_j / |x_i||x_j|`. `XXᵀ` and
    `XᵀX` share the eigenvalues other than 0, so the smaller is taken: memory is `min(n, d)²`.

    Args:
        features: `[n, d]`, floating.

    Returns:
        Float64 scalar from 1, all alike, to at most min(n, d), on the device of the features (on the CPU for MPS).

    Raises:
        ValueError: if the shape does not fit, a feature is not finite, or one is all zeros and so has no cosine.
        TypeError: if features are not floating.

    Source:
        Friedman and Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning, 2023.

    Examples:
        >>> vendi_score(torch.eye(3).repeat(2, 1))  # three, each twice
        tensor(3.0000, dtype=torch.float64)
    """
    check_features({"features": features})
    n, d = features.shape
    zeros = int((~features.any(dim=1)).sum())
    if zeros:
        raise ValueError(f"{zeros} of {n} features are all zeros, which have no cosine with others; leave them out")
    if n <= d:
        unit = _unit(features)
        gram = unit @ unit.T
    else:
        gram = torch.zeros(d, d, dtype=torch.float64, device=features.device if features.device.type != "mps" else None)
        for block in features.split(_step(features)):
            unit = _unit(block)
            gram.addmm_(unit.T, unit)
    shares: Tensor = torch.linalg.eigvalsh(gram / n).clamp_(min=0)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def _subset_sums(kernel: Kernel, a: Tensor, b: Tensor, rows_a: Tensor, rows_b: Tensor) -> Tensor:
    """Sum over the pairs of each subset, ``[subsets]``; rows ``[subsets, size]``."""
    if len(a) * len(b) > rows_a.shape[0] * rows_a.shape[1] ** 2:
        return torch.stack([kernel(a[x], b[y]).sum() for x, y in zip(rows_a, rows_b, strict=True)])
    # Subsets that overlap much: each pair of images once, counted for the subsets that have both.
    sums = torch.zeros(len(rows_a), dtype=torch.float64, device=a.device)
    member_a, member_b = (
        sums.new_zeros(len(rows), len(side)).scatter_(1, rows, 1).T for side, rows in ((a, rows_a), (b, rows_b))
    )
    step = _step(a)
    for block_a, in_a in zip(a.split(step), member_a.split(step), strict=True):
        for block_b, in_b in zip(b.split(step), member_b.split(step), strict=True):
            sums += (in_a * (kernel(block_a, block_b) @ in_b)).sum(0)
    return sums


def _step(features: Tensor) -> int:
    """Rows of a block."""
    return max(1, min(_BLOCK, _ELEMENTS // features.shape[1]))


def _unit(features: Tensor) -> Tensor:
    features = to_float64(features)
    features = features / features.abs().amax(dim=1, keepdim=True)  # so that no square underflows
    return features / features.square().sum(1, keepdim=True).sqrt_()
