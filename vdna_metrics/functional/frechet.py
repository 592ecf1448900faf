"""Fréchet distances between Gaussians: a neuron at a time, and a layer with its full covariance."""

from typing import Any

import torch
from torch import Tensor

from vdna_metrics.functional.moments import check_tensors, to_float64

# Smallest squared Cholesky pivot, relative to the largest entry, at which a covariance counts as well conditioned.
_WELL_CONDITIONED = 1e-9
# Asymmetry and negative eigenvalues, relative to the largest entry or eigenvalue, that are taken for rounding. Many a
# float64 covariance was float32 once, and its dtype does not tell.
_ROUNDING = 1e-6
# What may be lost of a distance, relative to itself.
_TOLERANCE = 5e-10
# Rounding of all eigenvalues of `BᵀΣ_aB` together, as root of the sum of squares, in `eps ‖Σ_a‖ ‖Σ_b‖` (Frobenius).
# Twice the most seen beside squared singular values, which is 8, in 42 pairs: activations of photographs, 64 to 1280
# dimensions, and drawn features, 20 to 2048, of condition numbers up to 4e14. An observation: proven constants grow
# with d.
_EIGENVALUE_ROUNDING = 16
# Rows of a covariance and of its transpose that are compared at once: what a cache holds.
_ROWS = 64


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
    check_tensors(mean_a, variance_a, mean_b, variance_b)
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


def frechet_distance_ratio(values: Tensor, normalisers: Tensor, intervals: Tensor | None = None) -> Tensor:
    """Fréchet distance ratio FDr^k: how many times as far from the training set as held-out images are.

    `FDr^k = (1/k) Σ_i FD_i(generated, train) / FD_i(validation, train)`, the mean over k networks. 1 says as far as the
    validation set; each network counts alike, whatever the units of its features. A Fréchet distance of few images is
    too large, so both must be of as many images, or both corrected for their numbers.

    Args:
        values: `FD_i(generated, train)` of each network, `[k]`.
        normalisers: `FD_i(validation, train)`, `[k]`.
        intervals: of each normaliser, `[k, 2]`: its lower and upper end.

    Returns:
        Float64 scalar without unit, on the device of the values (on the CPU for MPS).

    Raises:
        ValueError: if shapes do not fit, a number is not finite, or the ratio is undefined: a normaliser is not above
            0, or its interval holds 0.

    Source:
        Yang et al., Representation Fréchet Loss for Visual Generation, arXiv 2604.28190, 2026. Ratio and mean are those
        of `eval_all_fds.py` in a public copy of the authors' code: raw FD over that of the validation set, and the
        arithmetic mean over six networks. It does not treat the undefined cases.

    Examples:
        >>> frechet_distance_ratio(torch.tensor([3.0, 20.0]), torch.tensor([1.5, 40.0]))
        tensor(1.2500, dtype=torch.float64)
    """
    if values.ndim != 1 or len(values) == 0 or normalisers.shape != values.shape:
        raise ValueError(
            "Expected a value and a normaliser for each of at least one network, "
            f"got values {list(values.shape)}, normalisers {list(normalisers.shape)}"
        )
    if intervals is not None and intervals.shape != (len(values), 2):
        raise ValueError(f"Expected intervals [{len(values)}, 2], got {list(intervals.shape)}")
    values = to_float64(values)
    normalisers = to_float64(normalisers).to(values.device)
    if not bool((values.isfinite() & normalisers.isfinite()).all()):
        raise ValueError(f"Expected finite distances, got values {values.tolist()}, normalisers {normalisers.tolist()}")
    for place, normaliser in enumerate(normalisers.tolist()):
        interval = (normaliser, normaliser) if intervals is None else intervals[place].tolist()
        check_normaliser(normaliser, *interval, where=f"at index {place}")
    return (values / normalisers).mean()


def check_normaliser(value: float, low: float, high: float, *, where: str) -> None:
    """Raise ``ValueError``, which says where, for a normaliser that nothing can be divided by."""
    if value <= 0:
        raise ValueError(f"Expected normalisers above 0, got {value:.6g} {where}: no ratio is defined")
    if not low <= high:  # NaN is not either
        raise ValueError(f"Expected an interval from low to high, got {low:.6g} to {high:.6g} {where}")
    if low <= 0:
        raise ValueError(
            f"Expected normalisers that differ from 0, got {value:.6g} {where}, whose interval from {low:.6g} to "
            f"{high:.6g} holds 0: no ratio is defined; take more validation images"
        )


def covariance_factor(covariance: Tensor, *, scale: Tensor | float = 0.0) -> Tensor:
    """A factor of a covariance, `Σ = AAᵀ`, without columns for its null space.

    Well conditioned covariances have their Cholesky factor, `r = d`. Others have, on a CPU, one with pivots, which ends
    where what is left is rounding, so that a covariance of `n <= d` images keeps `r = n - 1` columns; it takes a
    hundredth of the time of eigenvectors. Where it does not give the covariance back, and elsewhere, the factor is the
    eigenvectors, scaled by the roots of their eigenvalues; eigenvalues below `d * eps` of the largest are left out, and
    those below twice the most negative one, which shows how large rounding is.

    Args:
        covariance: `[d, d]` symmetric, positive semi-definite.
        scale: largest second moment that the covariance is a difference of. Its rounding may be more than all of the
            covariance, as where a generator makes one image only.

    Returns:
        `[d, r]` float64, on the device of the covariance (on the CPU for MPS, which has no float64).

    Raises:
        ValueError: if the covariance is not square, not finite, not symmetric, or has eigenvalues below zero beyond
            rounding; or if it requires a gradient, which a factor does not carry and `frechet_distance` does.

    Examples:
        >>> covariance_factor(torch.tensor([[4.0, 0.0], [0.0, 0.0]])).abs()
        tensor([[2.],
                [0.]], dtype=torch.float64)
        >>> covariance_factor(torch.tensor([[-1e-8]]), scale=1.0).shape
        torch.Size([1, 0])
    """
    check_tensors(covariance)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or covariance.shape[0] == 0:
        raise ValueError(f"a covariance must be [d, d] with d > 0, got {list(covariance.shape)}")
    if covariance.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            "a factor carries no gradient, and the covariance requires one: give covariance.detach(), or the "
            "covariance itself to frechet_distance"
        )
    # Products of numbers below 1e-154 are rounded to multiples of 5e-324.
    forgiven = 8 * len(covariance) * _eps(covariance) * float(scale) + torch.finfo(torch.float64).tiny
    covariance = to_float64(covariance)
    lowest, highest = covariance.aminmax()
    largest = torch.maximum(-lowest, highest)
    if not bool(largest.isfinite()):
        raise ValueError("the covariance holds NaN or infinity")
    skew = _largest_skew(covariance)
    if bool(skew > (_ROUNDING * largest).clamp(min=forgiven)):
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
    if bool(eigenvalues[0] < -(_ROUNDING * top).clamp(min=forgiven)):
        raise ValueError(
            f"the covariance is not positive semi-definite: its eigenvalues go from {eigenvalues[0].item():.3g} "
            f"to {eigenvalues[-1].item():.3g}"
        )
    kept = eigenvalues > torch.maximum(len(eigenvalues) * torch.finfo(torch.float64).eps * top, -2 * eigenvalues[0])
    scaled: Tensor = eigenvectors[:, kept] * eigenvalues[kept].sqrt()
    return scaled


def _largest_skew(matrix: Tensor) -> Tensor:
    """Largest difference between two entries across the diagonal."""
    rows = len(matrix) if matrix.device.type != "cpu" else _ROWS
    starts = range(0, len(matrix), rows)
    differences = ((matrix[i : i + rows, i:] - matrix[i:, i : i + rows].T).abs().amax() for i in starts)
    return torch.stack(list(differences)).amax()


def _pivoted_cholesky(covariance: Tensor, largest: Tensor) -> Tensor | None:
    """A factor `[d, r]`, or nothing where the covariance is not positive semi-definite to rounding."""
    from scipy.linalg.blas import dsyrk
    from scipy.linalg.lapack import dpstrf

    # The sums that a covariance comes from leave about as much in its null space; LAPACK's own tolerance, a quarter of
    # this, lets some of it through on some CPUs.
    rounding = 2 * len(covariance) * torch.finfo(torch.float64).eps * float(largest)
    columns = covariance.contiguous().numpy().T  # in LAPACK's memory order; of `lower=0` it takes three times as long
    packed, pivots, rank, _ = dpstrf(columns, tol=rounding, lower=1)
    if not rank:
        return None
    factor = torch.zeros(len(covariance), rank, dtype=torch.float64, device="cpu")
    factor[torch.from_numpy(pivots.astype("int64")) - 1] = torch.from_numpy(packed[:, :rank]).tril()
    left = dsyrk(-1, factor.numpy().T, beta=1, c=columns, trans=1, lower=1)
    lost = torch.from_numpy(left.T).triu().abs().max()
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
    product, or its eigenvalues, lose up to half of the digits when a covariance is rank deficient. Where a bound, from
    twice the rounding observed, leaves less than 5e-10 of the distance to be lost, they are the roots of the
    eigenvalues of `BᵀΣ_aB`, which is faster.

    The distance is differentiable in means and covariances, and through them in features. With `AᵀB = U S Vᵀ`, the
    gradient in `Σ_a` is `I − T`, where `T = B V S⁻¹ Vᵀ Bᵀ` is symmetric and `T A = B V Uᵀ`; likewise in `Σ_b`. Where
    `Σ_a` is rank deficient, as of fewer images than features, this is the derivative along directions that keep the
    rank, which are those that moving features of as many images can take; between two null vectors of `Σ_a` it is put
    to 0. Across the rank the derivative is `−∞` wherever `Σ_b` has variance there: a little variance in a new direction
    shortens the distance by its root. Where `AᵀB` has fewer singular values above rounding than rows and columns, the
    distance has a kink, and the gradient is the subgradient that leaves those out (`1/s = 0`).

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
        ValueError: if shapes differ, a covariance is refused by `covariance_factor`, or a factor requires a gradient,
            which only a covariance can carry.
        RuntimeError: by a backward with ``create_graph=True``: there are no second derivatives.

    Source: Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982.

    Examples:
        >>> zero, one = torch.zeros(2), torch.ones(2)
        >>> frechet_distance(zero, torch.eye(2), one, 4 * torch.eye(2))
        tensor(4., dtype=torch.float64)
        >>> covariance = torch.eye(2).requires_grad_()
        >>> frechet_distance(zero, covariance, zero, 4 * torch.eye(2)).backward()
        >>> covariance.grad
        tensor([[-1.,  0.],
                [ 0., -1.]])
    """
    check_tensors(mean_a, covariance_a, mean_b, covariance_b)
    sides = (mean_a, covariance_a, factor_a), (mean_b, covariance_b, factor_b)
    if mean_a.ndim != 1 or any(m.shape != mean_a.shape or c.shape != mean_a.shape * 2 for m, c, _ in sides):
        raise ValueError(
            "means must be [d] and covariances [d, d], got "
            f"mean_a {list(mean_a.shape)}, covariance_a {list(covariance_a.shape)}, "
            f"mean_b {list(mean_b.shape)}, covariance_b {list(covariance_b.shape)}"
        )
    factors = []
    for mean, covariance, factor in sides:
        if factor is None:
            # A covariance of one pass over the images is the difference of its diagonal and squared means.
            scale = (to_float64(covariance.detach().diagonal()).abs() + to_float64(mean.detach()).square()).max()
            factor = covariance_factor(covariance.detach(), scale=scale)
        elif factor.requires_grad:
            raise ValueError(
                "a factor requires a gradient, and carries none: give factor.detach(), with a covariance that requires "
                "the gradient"
            )
        factors.append(factor)
    between_means = (to_float64(mean_a) - to_float64(mean_b)).square().sum()
    spreads: Tensor = _BetweenCovariances.apply(
        to_float64(covariance_a), to_float64(covariance_b), *factors, between_means.detach()
    )
    return between_means + spreads


class _BetweenCovariances(torch.autograd.Function):
    """`tr Σ_a + tr Σ_b − 2 ‖AᵀB‖_*`, at least 0, and its gradient in the covariances."""

    @staticmethod
    def forward(
        ctx: Any, covariance_a: Tensor, covariance_b: Tensor, factor_a: Tensor, factor_b: Tensor, rest: Tensor
    ) -> Tensor:
        traces = covariance_a.trace() + covariance_b.trace()
        if any(ctx.needs_input_grad):
            product = factor_a.T @ factor_b
            left, values, right = torch.linalg.svd(product, full_matrices=False)
            kept = values > max(product.shape) * torch.finfo(torch.float64).eps * product.norm()
            # T is CCᵀ of these: `B V S^-½` for the first covariance, `A U S^-½` for the second.
            roots = values[kept].sqrt()
            transports = factor_b @ right.T[:, kept] / roots, factor_a @ left[:, kept] / roots
            ctx.save_for_backward(factor_a, factor_b, *transports)
            overlap = values.sum()
        else:
            sides = (covariance_a, factor_a), (covariance_b, factor_b)
            narrow, wide = sorted(sides, key=lambda side: side[1].shape[1])
            overlap = _overlap(narrow, wide, rest + traces)
        spreads: Tensor = (traces - 2 * overlap).clamp_(min=0)
        return spreads

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Not `once_differentiable`, which leaves this part of a second derivative out without a word.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a Fréchet distance between layers has first derivatives only: take them without create_graph=True"
            )
        factor_a, factor_b, *transports = ctx.saved_tensors
        found: list[Tensor | None] = []
        for needed, factor, transport in zip(ctx.needs_input_grad, (factor_a, factor_b), transports, strict=False):
            found.append(gradient * _rank_keeping_gradient(factor, transport) if needed else None)
        return *found, None, None, None


def _rank_keeping_gradient(factor: Tensor, transport: Tensor) -> Tensor:
    """`I − CCᵀ`, `[d, d]`, without what it has between two vectors that are not in the range of the factor."""
    d, rank = factor.shape
    found = -transport @ transport.T
    if rank >= d:
        found.diagonal().add_(1)
        return found
    basis = torch.linalg.qr(factor).Q
    outside = transport - basis @ (basis.T @ transport)
    return found.addmm_(outside, outside.T).addmm_(basis, basis.T)


def _overlap(narrow: tuple[Tensor, Tensor], wide: tuple[Tensor, Tensor], rest: Tensor) -> Tensor:
    """Sum of the singular values of the factors' product, to within the tolerance of a distance.

    Args:
        narrow: a covariance and its factor, which has no more columns than the other.
        wide: the other.
        rest: what the distance is without its overlap: it is the rest less twice the sum.
    """
    (covariance, factor), (other_covariance, other_factor) = narrow, wide
    d, rank = factor.shape
    # Of two factors of one rank below d the product is about as badly conditioned as a square of noise.
    if rank < other_factor.shape[1] or rank == d:
        # The squares of the singular values take a fifth of the time, and their rounding is a little of the largest,
        # which may be much of the smallest. With `|√x − √y| = |x − y| / (√x + √y)`, twice the sum of roots is off by
        # about the root of the sum of squared errors times that of the sum of `1/x`, or less (Cauchy and Schwarz); by
        # 1.2 times as much where an error is half of its eigenvalue.
        squares = torch.linalg.eigvalsh(_congruence(other_covariance, factor))
        values: Tensor = squares.clamp(min=0).sqrt()
        number = torch.finfo(torch.float64)
        rounding = _EIGENVALUE_ROUNDING * number.eps * covariance.norm() * other_covariance.norm() + number.tiny
        small = rounding * (1 / values).norm() <= _TOLERANCE * (rest - 2 * values.sum())
        if bool(small & (rounding <= squares / 2).all()):
            return values.sum()
    values = torch.linalg.svdvals(other_factor.T @ factor)
    return values.sum()


def _congruence(covariance: Tensor, factor: Tensor) -> Tensor:
    """`BᵀΣB`, `[r, r]`, of which only the lower triangle need be there."""
    if factor.device.type != "cpu" or factor.shape[0] != factor.shape[1] or bool(factor.T.tril(-1).count_nonzero()):
        return factor.T @ covariance @ factor
    from scipy.linalg.lapack import dsygst

    # A quarter of the operations of two products of full matrices. Transposes are in LAPACK's memory order, and their
    # upper triangles are the lower ones that Cholesky factors are made of.
    columns, root = (matrix.contiguous().numpy().T for matrix in (covariance, factor))
    product, _ = dsygst(columns, root, itype=2)
    return torch.from_numpy(product.T)


def _eps(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0.0


def _deviation(mean: Tensor, variance: Tensor, side: str) -> Tensor:
    # Sums over many images leave more than one rounding of the dtype in a variance.
    rounding = 1e4 * _eps(variance)
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
