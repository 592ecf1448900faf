"""Features by a kernel: maximum mean discrepancy (KID, CMMD), and the Vendi score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.functional.moments import check_floating, to_float64
from vdna_metrics.functional.neighbours import check_features, squared_distances

_BLOCK = 2048  # rows and columns of a kernel held at once: 32 MiB of float64
_ELEMENTS = 1 << 22  # of float64 features copied at once: 32 MiB
# Asymmetry and error of the trace, relative to it, of a second moment that was summed in float32.
_TRACE = 1e-4


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
        TypeError: for what is no number.
        ValueError: if the degree is below 1, gamma not above 0 or coef below 0, or not finite.

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
        numbers: list[tuple[str, object, str]] = [("coef", self.coef, "of at least 0")]
        if self.gamma is not None:
            numbers.append(("gamma", self.gamma, "above 0"))
        for name, value, low in numbers:
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"Expected {name} to be a number, got {value!r}")
            if not math.isfinite(value) or value < 0 or (value == 0 and name == "gamma"):
                raise ValueError(f"Expected a finite {name} {low}, got {value}")

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Of all pairs of `[N, d]` and `[M, d]`, `[N, M]` float64."""
        return (self._gamma(a) * (to_float64(a) @ to_float64(b).T)).add_(self.coef).pow_(self.degree)

    def own(self, features: Tensor) -> Tensor:
        """Of each of `[N, d]` with itself, `[N]` float64."""
        squares = torch.cat([to_float64(block).square().sum(1) for block in features.split(_step(features))])
        return (self._gamma(features) * squares).add_(self.coef).pow_(self.degree)

    def _gamma(self, features: Tensor) -> float:
        return 1 / features.shape[1] if self.gamma is None else self.gamma


@dataclass(frozen=True)
class RBFKernel:
    """`k(x, y) = exp(−|x − y|² / 2σ²)`.

    Args:
        sigma: the bandwidth σ, in the units of the features.

    Raises:
        ValueError: if the bandwidth is not above 0 and finite.

    Examples:
        >>> RBFKernel(1.0)(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        tensor([[1.0000, 0.3679]], dtype=torch.float64)
    """

    sigma: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"Expected a sigma above 0 and finite, got {self.sigma}")

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Of all pairs of `[N, d]` and `[M, d]`, `[N, M]` float64."""
        a, b = to_float64(a), to_float64(b)
        centre = a.mean(0)  # far from 0, |a|² + |b|² − 2ab loses digits
        return squared_distances(a - centre, b - centre).clamp_(min=0).mul_(-0.5 / self.sigma**2).exp_()

    def own(self, features: Tensor) -> Tensor:
        """Of each of `[N, d]` with itself, `[N]` float64: 1."""
        return to_float64(features.new_ones(len(features)))


def kernel_mmd(
    real: Tensor, generated: Tensor, *, kernel: Kernel | None = None, biased: bool = False
) -> tuple[Tensor, Tensor]:
    """Squared maximum mean discrepancy between two sets of features, over all pairs, and its standard error.

    Unbiased, `U = Σ_{i≠j} k(x_i, x_j) / n(n−1) + Σ_{i≠j} k(y_i, y_j) / m(m−1) − 2 Σ_ij k(x_i, y_j) / nm`, which may be
    a little below 0. With `biased=True` the pairs of an image with itself count too, over n² and m²: never below 0, and
    above 0 for two samples of one distribution. Sums are taken block by block; memory is that of a block, whatever n
    and m are.

    By Hoeffding's decomposition the variance of U is `4A_x/n + 4A_y/m + 2B_xx/n(n−1) + 2B_yy/m(m−1) + 4B_xy/nm`, with
    `A_x = Var_x(E k(x, x') − E k(x, y))` and B the mean squares of the doubly centred kernels. B's unbiased estimates
    are the sums of squares of the centred matrices (of those without diagonal, U-centred) over their degrees of
    freedom; `A_x` is the variance of the rows' means less what B adds to it, at least 0. So the error also holds where
    both sets are of one distribution and A is 0, and images are taken to be independent. It is small where the value is
    too small by chance, so an interval is that of `squared_interval`, not the value and twice the error on both sides.

    Args:
        real: features `[n, d]`, floating.
        generated: features `[m, d]`, floating.
        kernel: by default the KID's, `PolynomialKernel()`.
        biased: count the pairs of an image with itself, as CMMD does.

    Returns:
        The squared discrepancy and its standard error (that of U; the biased value's differs by a share of the order of
        1/n, and is about that value, which is above the true one), float64 scalars on the device of the features (on
        the CPU for MPS). The error is NaN where a set has fewer than 4 images.

    Raises:
        ValueError: if shapes do not fit, a set has one image and the estimate is unbiased, or a feature is not finite.
        TypeError: if features are not floating.

    Source:
        Gretton et al., A Kernel Two-Sample Test, 2012, Lemma 6. The decomposition: Hoeffding, A Class of Statistics
        with Asymptotically Normal Distribution, 1948; U-centring: Székely and Rizzo, Partial Distance Correlation with
        Methods for Dissimilarities, 2014. For n = m, Sutherland et al., Generative Models and Model Criticism via
        Optimized Maximum Mean Discrepancy, 2017, have such an estimate of the U-statistic without the pairs (x_i, y_i).

    Examples:
        >>> real = torch.linspace(0, 1, 100)[:, None]
        >>> [round(float(value), 3) for value in kernel_mmd(real, real + 0.5)]
        [3.414, 0.608]
        >>> value, error = kernel_mmd(real, real + 0.5, kernel=RBFKernel(1.0), biased=True)
        >>> round(float(value), 4), round(float(error), 4)
        (0.1858, 0.0306)
    """
    check_features({"real": real, "generated": generated})
    n, m = len(real), len(generated)
    if not biased and min(n, m) < 2:
        raise ValueError(
            f"Expected at least 2 images in each set for an unbiased estimate, got real {n}, generated {m}"
        )
    kernel = PolynomialKernel() if kernel is None else kernel
    x, y = (features.cpu() if features.device.type == "mps" else features for features in (real, generated))
    # A constant added to the kernel changes neither the value nor the error; without it fewer digits cancel.
    shift = kernel(x[:64], y[:64]).mean()
    within_x, within_y, between = _within(kernel, x, shift), _within(kernel, y, shift), _between(kernel, x, y, shift)
    if biased:
        value = within_x.everything / n**2 + within_y.everything / m**2 - 2 * between.total / (n * m)
        value = value.clamp(min=0)
    else:
        value = within_x.total / (n * (n - 1)) + within_y.total / (m * (m - 1)) - 2 * between.total / (n * m)
    if min(n, m) < 4:
        return value, torch.full_like(value, torch.nan)
    mixed = between.centred_square()
    variance = 4 * mixed / (n * m)
    for own, cross, size, others in ((within_x, between.rows / m, n, m), (within_y, between.columns / n, m, n)):
        square = own.centred_square()
        # Over size − 2 rather than size − 1, so that the variance of the expected parts is exactly A.
        means = own.rows / (size - 2) - cross
        first = (means.var() - square / (size - 2) - mixed / others).clamp(min=0)
        variance = variance + 4 * first / size + 2 * square / (size * (size - 1))
    return value, variance.sqrt()


def cmmd(real: Tensor, generated: Tensor, *, sigma: float = 10.0, scale: float = 1000.0) -> tuple[Tensor, Tensor]:
    """CMMD of two sets of CLIP embeddings, and its standard error.

    `1000 · MMD²`, biased, with the kernel `exp(−|x − y|² / 2·10²)` on embeddings of unit length; others are divided by
    their lengths first. A CMMD is one of CLIP ViT-L/14 at 336 pixels, for which σ was chosen; other features give
    numbers that are not comparable.

    Args:
        real: features `[n, d]`, floating.
        generated: features `[m, d]`, floating.
        sigma: bandwidth of the kernel, in units of the embeddings' length.
        scale: factor of the value and its error.

    Returns:
        CMMD and its standard error, as of `kernel_mmd`: float64 scalars on the device of the features (on the CPU for
        MPS).

    Raises:
        ValueError: if shapes do not fit, a feature is not finite, or one is all zeros and so has no direction.
        TypeError: if features are not floating.

    Source:
        Jayasumana et al., Rethinking FID: Towards a Better Evaluation Metric for Image Generation, 2024. Constants,
        estimator and lengths are those of the authors' code: `cmmd/distance.py` in google-research (`_SIGMA`, `_SCALE`,
        means over all pairs), on embeddings of scenic's CLIP, which divides them by their lengths.

    Examples:
        >>> real = torch.eye(3).repeat(2, 1)
        >>> round(float(cmmd(real, real.flip(1) + torch.tensor([1.0, 0.0, 0.0]))[0]), 4)
        2.4027
    """
    check_features({"real": real, "generated": generated})
    for name, features in (("real", real), ("generated", generated)):
        _check_directions(features, name)
    value, error = kernel_mmd(unit_rows(real), unit_rows(generated), kernel=RBFKernel(sigma), biased=True)
    return scale * value, scale * error


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
    if n <= d:
        _check_directions(features, "features")
        unit = unit_rows(features)
        return _eigenvalue_diversity(unit @ unit.T / n)
    device = "cpu" if features.device.type == "mps" else features.device
    second = torch.zeros(d, d, dtype=torch.float64, device=device)
    accumulate_unit_second_(second, features)
    return _eigenvalue_diversity(second / n)


def accumulate_unit_second_(second: Tensor, features: Tensor) -> None:
    """Add a batch to the second moment of features of unit length.

    `S += Σ_i x_i x_iᵀ / |x_i|²`.

    Args:
        second: `[d, d]` float64, changed in place.
        features: `[images, d]`, floating.

    Raises:
        ValueError: if the shape does not fit, a feature is not finite, or one is all zeros and so has no direction.
        TypeError: if features are not floating.

    Examples:
        >>> second = torch.zeros(2, 2, dtype=torch.float64)
        >>> accumulate_unit_second_(second, torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        >>> second
        tensor([[1.3600, 0.4800],
                [0.4800, 0.6400]], dtype=torch.float64)
    """
    check_features({"features": features})
    _check_directions(features, "features")
    for block in features.split(_step(features)):
        unit = unit_rows(block)
        second.addmm_(unit.T, unit)


def vendi_score_from_moments(second: Tensor, n: int) -> Tensor:
    """Vendi score from the second moment of features of unit length, which adds up over batches and sets.

    `exp(−Σ λ log λ)` of the eigenvalues λ of `S/n`, which are those of the cosine kernel over n; see `vendi_score`.

    Args:
        second: `S = Σ_i x_i x_iᵀ / |x_i|²`, `[d, d]`, floating; see `accumulate_unit_second_`.
        n: number of images in it.

    Returns:
        Float64 scalar from 1, all alike, to at most min(n, d), on the device of the moment (on the CPU for MPS).

    Raises:
        ValueError: if the moment is not square, finite and symmetric, or its trace is not n, the sum of the squared
            lengths.
        TypeError: if it is not floating.

    Source:
        Friedman and Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning, 2023.

    Examples:
        >>> vendi_score_from_moments(2 * torch.eye(3), 6)  # three, each twice
        tensor(3.0000, dtype=torch.float64)
    """
    check_floating(second=second)
    if second.ndim != 2 or second.shape[0] != second.shape[1] or 0 in second.shape:
        raise ValueError(f"Expected a second moment [d, d], got {list(second.shape)}")
    second = to_float64(second)
    trace = float(second.trace())
    if n < 1 or not abs(trace - n) <= _TRACE * n:  # NaN is not either
        raise ValueError(
            f"Expected the second moment of n={n} features of unit length, whose trace is n, got a trace of {trace:.6g}"
        )
    if not bool(((second - second.T).abs() <= _TRACE * n).all()):
        raise ValueError("Expected a finite and symmetric second moment, got one that is not")
    return _eigenvalue_diversity(second / n)


def _eigenvalue_diversity(second: Tensor) -> Tensor:
    shares: Tensor = torch.linalg.eigvalsh(second).clamp_(min=0)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


@dataclass(frozen=True)
class _Within:
    """Of the pairs of one set: sums over the others of each row, of their squares, and over the diagonal."""

    rows: Tensor
    squares: Tensor
    diagonal: Tensor

    @property
    def total(self) -> Tensor:
        return self.rows.sum()

    @property
    def everything(self) -> Tensor:
        return self.total + self.diagonal

    def centred_square(self) -> Tensor:
        """Unbiased estimate of the mean square of the doubly centred kernel."""
        n = len(self.rows)
        squares = self.squares - 2 * self.rows.square().sum() / (n - 2) + self.total.square() / ((n - 1) * (n - 2))
        return (squares / (n * (n - 3))).clamp(min=0)


@dataclass(frozen=True)
class _Between:
    """Of the pairs of two sets: sums of each row and column, and of all squares."""

    rows: Tensor
    columns: Tensor
    squares: Tensor

    @property
    def total(self) -> Tensor:
        return self.rows.sum()

    def centred_square(self) -> Tensor:
        """Unbiased estimate of the mean square of the doubly centred kernel."""
        n, m = len(self.rows), len(self.columns)
        squares = self.squares - self.rows.square().sum() / m - self.columns.square().sum() / n
        return ((squares + self.total.square() / (n * m)) / ((n - 1) * (m - 1))).clamp(min=0)


def _within(kernel: Kernel, features: Tensor, shift: Tensor) -> _Within:
    diagonal, step = kernel.own(features) - shift, _step(features)
    rows, squares = torch.zeros_like(diagonal), torch.zeros_like(shift)
    for first in range(0, len(features), step):
        block = slice(first, first + step)
        for start in range(first, len(features), step):
            others = slice(start, start + step)
            values = kernel(features[block], features[others]).sub_(shift)
            if start == first:
                values.fill_diagonal_(0)
            else:  # each pair once, for both of its images
                rows[others] += values.sum(0)
                squares += values.square().sum()
            rows[block] += values.sum(1)
            squares += values.square_().sum()
    return _Within(rows, squares, diagonal.sum())


def _between(kernel: Kernel, a: Tensor, b: Tensor, shift: Tensor) -> _Between:
    step = _step(a)
    rows, columns, squares = shift.new_zeros(len(a)), shift.new_zeros(len(b)), torch.zeros_like(shift)
    for first in range(0, len(a), step):
        for start in range(0, len(b), step):
            values = kernel(a[first : first + step], b[start : start + step]).sub_(shift)
            rows[first : first + step] += values.sum(1)
            columns[start : start + step] += values.sum(0)
            squares += values.square_().sum()
    return _Between(rows, columns, squares)


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


def _check_directions(features: Tensor, name: str) -> None:
    zeros = int((~features.any(dim=1)).sum())
    if zeros:
        raise ValueError(
            f"{zeros} of {len(features)} {name} are all zeros, which have no cosine with others; leave them out"
        )


def unit_rows(features: Tensor) -> Tensor:
    """Features ``[N, d]`` divided by their lengths, float64; NaN where they are all zeros."""
    features = to_float64(features)
    features = features / features.abs().amax(dim=1, keepdim=True)  # so that no square underflows
    return features / features.square().sum(1, keepdim=True).sqrt_()
