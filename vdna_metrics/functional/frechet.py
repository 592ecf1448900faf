"""Fréchet distances between Gaussians: a neuron at a time, and a layer with its full covariance."""

import torch
from torch import Tensor

from vdna_metrics.functional.moments import to_float64

# Smallest squared Cholesky pivot, relative to the largest entry, at which a covariance counts as well conditioned.
_WELL_CONDITIONED = 1e-9
# Asymmetry and negative eigenvalues, relative to the largest entry or eigenvalue, that are taken for rounding. Many a
# float64 covariance was float32 once, and its dtype does not tell.
_ROUNDING = 1e-6
# What may be lost of a distance, relative to the traces of its covariances.
_TOLERANCE = 1e-11


def neuron_frechet_distance(mean_a: Tensor, variance_a: Tensor, mean_b: Tensor, variance_b: Tensor) -> Tensor:
    """Squared Fréchet distance of every neuron between two one-dimensional Gaussians.

    `d = (μ_a − μ_b)² + (σ_a − σ_b)²`.

    Args:
        mean_a: `[neurons]`.
        variance_a: `[neurons]`; what lies below zero by rounding counts as zero.
        mean_b: `[neurons]`.
        variance_b: `[neurons]`.

    Returns:
        `[neurons]` float64, on the device of the means (on the CPU for MPS, which has no float64).

    Raises:
        ValueError: if shapes differ, or a variance is NaN or negative beyond rounding.

    Examples:
        >>> one, four = torch.tensor([1.0]), torch.tensor([4.0])
        >>> neuron_frechet_distance(torch.tensor([0.0]), one, torch.tensor([3.0]), four)
        tensor([10.], dtype=torch.float64)
    """
    shapes = {
        "mean_a": mean_a.shape,
        "variance_a": variance_a.shape,
        "mean_b": mean_b.shape,
        "variance_b": variance_b.shape,
    }
    if len(set(shapes.values())) != 1 or mean_a.ndim != 1:
        raise ValueError(
            "means and variances must be [neurons] of one length, got "
            + ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        )
    deviation_a = _deviation(mean_a, variance_a, "a")
    deviation_b = _deviation(mean_b, variance_b, "b")
    return (to_float64(mean_a) - to_float64(mean_b)).square() + (deviation_a - deviation_b).square()


def covariance_factor(covariance: Tensor) -> Tensor:
    """A factor of a covariance, `Σ = AAᵀ`, without columns for its null space.

    Well conditioned covariances have their Cholesky factor, `r = d`. Others have, on a CPU, one with pivots, which ends
    where what is left is rounding, so that a covariance of `n <= d` images keeps `r = n - 1` columns; it takes a
    hundredth of the time of eigenvectors. Where it does not give the covariance back, and elsewhere, the factor is the
    eigenvectors, scaled by the roots of their eigenvalues; eigenvalues below `d * eps` of the largest are left out.

    Args:
        covariance: `[d, d]` symmetric, positive semi-definite.

    Returns:
        `[d, r]` float64, on the device of the covariance (on the CPU for MPS, which has no float64).

    Raises:
        ValueError: if the covariance is not square, not finite, not symmetric, or has eigenvalues below zero beyond
            rounding.

    Examples:
        >>> covariance_factor(torch.tensor([[4.0, 0.0], [0.0, 0.0]])).abs()
        tensor([[2.],
                [0.]], dtype=torch.float64)
    """
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or covariance.shape[0] == 0:
        raise ValueError(f"a covariance must be [d, d] with d > 0, got {list(covariance.shape)}")
    covariance = to_float64(covariance)
    lowest, highest = covariance.aminmax()
    largest = torch.maximum(-lowest, highest)
    if not bool(largest.isfinite()):
        raise ValueError("the covariance holds NaN or infinity")
    # Antisymmetric, so that its highest entry is also its largest.
    skew = (covariance - covariance.T).amax()
    if bool(skew > _ROUNDING * largest):
        raise ValueError(f"the covariance is not symmetric: entries across the diagonal differ by {skew.item():.3g}")
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not bool(failed) and bool(factor.diagonal().min().square() > _WELL_CONDITIONED * largest):
        return factor
    pivoted = _pivoted_cholesky(covariance, largest) if covariance.device.type == "cpu" else None
    if pivoted is not None:
        return pivoted
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    top = eigenvalues.abs().max()
    if bool(eigenvalues[0] < -_ROUNDING * top):
        raise ValueError(
            f"the covariance is not positive semi-definite: its eigenvalues go from {eigenvalues[0].item():.3g} "
            f"to {eigenvalues[-1].item():.3g}"
        )
    kept = eigenvalues > len(eigenvalues) * torch.finfo(torch.float64).eps * top
    factor = eigenvectors[:, kept] * eigenvalues[kept].sqrt()
    return factor


def _pivoted_cholesky(covariance: Tensor, largest: Tensor) -> Tensor | None:
    """A factor `[d, r]`, or nothing where the covariance is not positive semi-definite to rounding."""
    from scipy.linalg.lapack import dpstrf

    # The sums that a covariance comes from leave about as much in its null space; LAPACK's own tolerance, a quarter of
    # this, lets some of it through on some CPUs.
    rounding = 2 * len(covariance) * torch.finfo(torch.float64).eps * float(largest)
    packed, pivots, rank, _ = dpstrf(covariance.detach().numpy(), tol=rounding, lower=1)
    if not rank:
        return None
    factor = torch.empty(len(covariance), rank, dtype=torch.float64, device="cpu")
    factor[torch.from_numpy(pivots.astype("int64")) - 1] = torch.from_numpy(packed).tril()[:, :rank]
    lost = (factor @ factor.T).sub_(covariance).abs_().max()
    return factor if bool(lost <= 2 * rounding) else None


def frechet_distance(
    mean_a: Tensor,
    covariance_a: Tensor,
    mean_b: Tensor,
    covariance_b: Tensor,
    *,
    factor_a: Tensor | None = None,
    factor_b: Tensor | None = None,
) -> Tensor:
    """Squared Fréchet distance between two Gaussians (the FID of two sets of features).

    `d = |μ_a − μ_b|² + tr Σ_a + tr Σ_b − 2 ‖AᵀB‖_*` with `Σ_a = AAᵀ` and `Σ_b = BBᵀ`: the singular values of `AᵀB`
    are the square roots of the eigenvalues of `Σ_a Σ_b`. They come from symmetric factors, because a square root of the
    product, or its eigenvalues, lose up to half of the digits when a covariance is rank deficient.

    Args:
        mean_a: `[d]`.
        covariance_a: `[d, d]` symmetric, positive semi-definite.
        mean_b: `[d]`.
        covariance_b: `[d, d]` symmetric, positive semi-definite.
        factor_a: `covariance_factor(covariance_a)` where the caller has kept it.
        factor_b: `covariance_factor(covariance_b)` where the caller has kept it.

    Returns:
        Scalar float64, at least 0, on the device of the means (on the CPU for MPS, which has no float64).

    Raises:
        ValueError: if shapes differ, or a covariance is refused by `covariance_factor`.

    Source: Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982.

    Examples:
        >>> zero, one = torch.zeros(2), torch.ones(2)
        >>> frechet_distance(zero, torch.eye(2), one, 4 * torch.eye(2))
        tensor(4., dtype=torch.float64)
    """
    sides = (mean_a, covariance_a), (mean_b, covariance_b)
    if mean_a.ndim != 1 or any(m.shape != mean_a.shape or c.shape != mean_a.shape * 2 for m, c in sides):
        raise ValueError(
            "means must be [d] and covariances [d, d], got "
            f"mean_a {list(mean_a.shape)}, covariance_a {list(covariance_a.shape)}, "
            f"mean_b {list(mean_b.shape)}, covariance_b {list(covariance_b.shape)}"
        )
    factor_a = covariance_factor(covariance_a) if factor_a is None else factor_a
    factor_b = covariance_factor(covariance_b) if factor_b is None else factor_b
    between_means = (to_float64(mean_a) - to_float64(mean_b)).square().sum()
    traces = to_float64(covariance_a).trace() + to_float64(covariance_b).trace()
    overlap = _nuclear_norm(factor_a.T @ factor_b, _TOLERANCE * traces)
    return between_means + (traces - 2 * overlap).clamp_(min=0)


def _nuclear_norm(matrix: Tensor, tolerance: Tensor) -> Tensor:
    """Sum of the singular values, to within a tolerance."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    # The eigenvalues of the square take less than half as long, but their rounding, a little of the largest, is much of
    # the smallest; then, as where there are none, only the singular values will do.
    squares = torch.linalg.eigvalsh(tall.T @ tall)
    values: Tensor = squares.clamp(min=0).sqrt()
    rounding = 4 * torch.finfo(torch.float64).eps * squares.amax() if len(squares) else torch.inf
    if not bool((rounding / (2 * values)).sum() <= tolerance):
        values = torch.linalg.svdvals(tall)
    return values.sum()


def _deviation(mean: Tensor, variance: Tensor, side: str) -> Tensor:
    # Sums over many images leave more than one rounding of the dtype in a variance.
    rounding = 1e4 * torch.finfo(variance.dtype).eps if variance.is_floating_point() else 0.0
    mean, variance = to_float64(mean), to_float64(variance)
    if not bool((mean.isfinite() & variance.isfinite()).all()):
        raise ValueError(f"mean_{side} or variance_{side} holds NaN or infinity")
    scale = (mean.square() + variance.abs()).max() if len(variance) else 0.0
    negative = variance < -rounding * scale
    if bool(negative.any()):
        raise ValueError(
            f"variance_{side} must not be negative, it is for {int(negative.sum())} of {len(variance)} neurons: "
            f"the first is {variance[negative][0].item():.6g}"
        )
    return variance.clamp(min=0).sqrt()
