"""Wasserstein distances in one dimension, and of sets of features by their projections on directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vdna_metrics.functional.emd import cumulative_shares
from vdna_metrics.functional.moments import check_floating, to_float64
from vdna_metrics.functional.neighbours import check_features

_ELEMENTS = 1 << 22  # of float64 held at once, in each of a few tensors: 32 MiB
_UNIT = 1e-3  # how far lengths of unit directions may be from 1: half precision is


def sample_wasserstein(a: Tensor, b: Tensor, *, p: float = 2.0) -> Tensor:
    """Wasserstein distance between two samples of numbers to the power p, row by row.

    `W_p^p = ∫₀¹ |F⁻¹(u) − G⁻¹(u)|^p du` with the samples' quantile functions, which are steps: of samples of one size
    the mean over the sorted pairs, of others over the pieces between all of their steps. It is exact.

    Args:
        a: `[rows, n]`, floating.
        b: `[rows, m]`, floating.
        p: at least 1.

    Returns:
        `[rows]` float64, in the units of the numbers to the power p, on the device of the samples (on the CPU for MPS).

    Raises:
        ValueError: if shapes do not fit, p is below 1, or a number is not finite.
        TypeError: if samples are not floating.

    Source:
        Vallender, Calculation of the Wasserstein Distance Between Probability Distributions on the Line, 1974.

    Examples:
        >>> sample_wasserstein(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 1.0]]))
        tensor([1.], dtype=torch.float64)
        >>> sample_wasserstein(torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 0.0, 3.0]]))
        tensor([1.5000], dtype=torch.float64)
    """
    check_floating(a=a, b=b)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or 0 in (a.shape[1], b.shape[1]):
        raise ValueError(f"Expected samples [rows, n] and [rows, m], got {list(a.shape)} and {list(b.shape)}")
    if not 1 <= p < math.inf:
        raise ValueError(f"Expected a power p of at least 1, got {p}")
    a, b = to_float64(a), to_float64(b)
    for name, sample in (("a", a), ("b", b)):
        if not bool(sample.isfinite().all()):
            raise ValueError(f"Expected a finite {name}, got NaN or infinity")
    return _sample_wasserstein(a, b, p)


def sliced_wasserstein(real: Tensor, generated: Tensor, directions: Tensor, *, p: float = 2.0) -> Tensor:
    """Sliced Wasserstein distance between two sets of features to the power p, on given directions.

    `mean over u of W_p^p(u·X, u·Y)`, with exact distances between samples, also of unlike sizes; see
    `sample_wasserstein`. A few directions are taken at a time.

    Args:
        real: features `[N, d]`, floating.
        generated: features `[M, d]`, floating.
        directions: unit vectors `[directions, d]`, floating.
        p: at least 1.

    Returns:
        Float64 scalar, in the units of the features to the power p, on the device of the features (on the CPU for MPS).

    Raises:
        ValueError: if shapes do not fit, directions are not of unit length, p is below 1, or a feature is not finite.
        TypeError: if features or directions are not floating.

    Source:
        Rabin et al., Wasserstein Barycenter and its Application to Texture Mixing, 2011; Bonneel et al., Sliced and
        Radon Wasserstein Barycenters of Measures, 2015.

    Examples:
        >>> real = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
        >>> sliced_wasserstein(real, real + torch.tensor([3.0, 0.0]), torch.eye(2))
        tensor(4.5000, dtype=torch.float64)
    """
    check_features({"real": real, "generated": generated, "directions": directions})
    if not 1 <= p < math.inf:
        raise ValueError(f"Expected a power p of at least 1, got {p}")
    directions = to_float64(directions)
    lengths = directions.square().sum(1).sqrt()
    if not bool(((lengths - 1).abs() <= _UNIT).all()):
        raise ValueError(
            f"Expected directions of length 1, got {float(lengths.min()):.4g} to {float(lengths.max()):.4g}"
        )
    sides = [features.cpu() if features.device.type == "mps" else features for features in (real, generated)]
    total = directions.new_zeros(())
    for few in directions.split(max(1, _ELEMENTS // (len(real) + len(generated)))):
        a, b = (_project(side, few) for side in sides)
        total = total + _sample_wasserstein(a, b, p).sum()
    return total / len(directions)


def monge_inception_distance(real: Tensor, generated: Tensor, directions: Tensor) -> Tensor:
    """Monge Inception distance (MIND): a sliced Wasserstein distance on the scale of the FID.

    `MIND = 3 d · mean over u of W₂²(u·X, u·Y)`; see `sliced_wasserstein`. A published MIND is one of Inception's 2048
    features on 1000 random directions, of two samples of one size. Of unlike sizes no image is left out here, where
    torch-fidelity draws from the larger set as many as the smaller one has.

    Args:
        real: features `[N, d]`, floating.
        generated: features `[M, d]`, floating.
        directions: unit vectors `[directions, d]`, floating.

    Returns:
        Float64 scalar, in squared units of the features, on the device of the features (on the CPU for MPS).

    Raises:
        ValueError: if shapes do not fit, directions are not of unit length, or a feature is not finite.
        TypeError: if features or directions are not floating.

    Source:
        Berthet et al., MIND: Monge Inception Distance for Generative Models Evaluation, arXiv 2605.06797, 2026. The
        factor, the mean over images and directions, and the defaults are those of torch-fidelity's `metric_mind.py`.

    Examples:
        >>> real = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
        >>> monge_inception_distance(real, real + torch.tensor([3.0, 0.0]), torch.eye(2))  # 3 · 2 · 9/2
        tensor(27., dtype=torch.float64)
    """
    return 3 * real.shape[-1] * sliced_wasserstein(real, generated, directions)


def histogram_wasserstein2(counts_a: Tensor, counts_b: Tensor, width: Tensor | float = 1.0) -> Tensor:
    """Squared Wasserstein distance of every neuron between two histograms over the same bins of one width.

    `W₂² = ∫₀¹ (F⁻¹(u) − G⁻¹(u))² du`, with the mass of a bin spread evenly over it: quantile functions are linear
    between the cumulative shares of both, and the integral of each piece is `Δu (δ₀² + δ₀δ₁ + δ₁²) / 3`, of the
    differences at its ends. For grids of powers of two, as automatic ranges have, the width is `power_of_two(exponent)`
    of the common grid; where the grid begins does not matter.

    Of each side, spreading moves W₂ by at most `width/√3`, which is what atoms at the edges of their bins give, and by
    far less where there are many activations in many bins.

    Args:
        counts_a: `[neurons, bins]`, whole numbers.
        counts_b: `[neurons, bins]`, whole numbers; the totals of the two may differ.
        width: of a neuron's bins, `[neurons]`, or one for all.

    Returns:
        `[neurons]` float64, in squared units of the width, on the device of the counts (on the CPU for MPS).

    Raises:
        ValueError: if shapes differ, a neuron of either side is empty, a count is negative or not whole, or a width is
            not finite and at least 0.
        TypeError: if counts are complex.

    Source:
        Vallender, Calculation of the Wasserstein Distance Between Probability Distributions on the Line, 1974; for
        histograms, Irpino and Verde, A New Wasserstein Based Distance for the Hierarchical Clustering of Histogram
        Symbolic Data, 2006.

    Examples:
        >>> a, b = torch.tensor([[4, 0, 0, 0]]), torch.tensor([[0, 0, 4, 0]])
        >>> histogram_wasserstein2(a, b, 0.5)  # one bin, moved by two
        tensor([1.], dtype=torch.float64)
        >>> histogram_wasserstein2(torch.tensor([[4, 0]]), torch.tensor([[2, 2]]))  # stretched from 1 to 2
        tensor([0.3333], dtype=torch.float64)
    """
    if counts_a.shape != counts_b.shape or counts_a.ndim != 2 or counts_a.shape[1] == 0:
        raise ValueError(
            "Expected two [neurons, bins] of one shape with at least one bin, "
            f"got counts_a {list(counts_a.shape)}, counts_b {list(counts_b.shape)}"
        )
    neurons, bins = counts_a.shape
    step = max(1, _ELEMENTS // (8 * bins))
    shares_a, shares_b = cumulative_shares(counts_a, "counts_a"), cumulative_shares(counts_b, "counts_b")
    pieces = zip(shares_a.split(step), shares_b.split(step), strict=True)
    distances = torch.cat([_quantile_integral(a, b) for a, b in pieces])
    widths = to_float64(torch.as_tensor(width)).to(distances.device)
    if widths.ndim > 1 or (widths.ndim == 1 and len(widths) != neurons):
        raise ValueError(f"Expected a width for each of {neurons} neurons, or one for all, got {list(widths.shape)}")
    if not bool(((widths >= 0) & widths.isfinite()).all()):
        raise ValueError("Expected finite widths of at least 0, got others")
    return distances * widths.square()


def _sample_wasserstein(a: Tensor, b: Tensor, p: float) -> Tensor:
    n, m = a.shape[1], b.shape[1]
    a, b = a.sort(dim=1).values, b.sort(dim=1).values
    if n == m:
        return _power(a.sub_(b), p).mean(1)
    # Steps of both, in units of 1/nm: whole numbers.
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    sizes = ends.diff(prepend=ends.new_zeros(1))
    starts = ends - sizes
    shares = (sizes.double() / (n * m)).to(a.device)
    of_a, of_b = ((starts // other).to(a.device) for other in (m, n))
    found: Tensor = _power(a[:, of_a].sub_(b[:, of_b]), p) @ shares
    return found


def _power(differences: Tensor, p: float) -> Tensor:
    powers: Tensor = differences.square_() if p == 2 else differences.abs_().pow_(p)
    return powers


def _project(features: Tensor, directions: Tensor) -> Tensor:
    """`[directions, images]` float64."""
    step = max(1, _ELEMENTS // features.shape[1])
    return torch.cat([directions @ to_float64(block).T for block in features.split(step)], 1)


def _quantile_integral(shares_a: Tensor, shares_b: Tensor) -> Tensor:
    """Of the cumulative shares `[rows, bins]` of two histograms, with bins of width 1."""
    ends = torch.cat([shares_a, shares_b], 1).sort(1).values
    starts = torch.nn.functional.pad(ends[:, :-1], (1, 0))
    first, last = (torch.zeros_like(ends) for _ in range(2))
    for shares, sign in ((shares_a, 1), (shares_b, -1)):
        bin_ = torch.searchsorted(shares, ends)  # the piece's: pieces end where a bin of either ends
        before = torch.nn.functional.pad(shares[:, :-1], (1, 0)).gather(1, bin_)
        mass = (shares.gather(1, bin_) - before).clamp_(min=torch.finfo(torch.float64).tiny)
        for ordinate, edge in ((first, starts), (last, ends)):
            ordinate.add_(((edge - before) / mass).add_(bin_), alpha=sign)
    integral: Tensor = ((first.square() + first * last + last.square()) * (ends - starts)).sum(1) / 3
    return integral
