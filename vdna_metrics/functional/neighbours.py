"""Two sets of features by their neighbours: precision and recall, density and coverage."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vdna_metrics.functional.moments import check_floating, to_float64

_BLOCK = 2048  # rows and columns of distances held at once: 32 MiB of float64
_ELEMENTS = 1 << 23  # of float64 features copied at once: 64 MiB
# Neighbours looked at beyond those asked for: |a|² + |b|² − 2ab orders them only to its rounding.
_SPARE = 4
# A point on a sphere is inside; its distance and the radius may be summed in different orders.
_ON_THE_SPHERE = 1e-12


def nearest_neighbours(queries: Tensor, points: Tensor, k: int, *, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """The k points nearest to each query, by Euclidean distance, nearest first.

    Candidates are found by `|a|² + |b|² − 2ab` in float64, block by block; the distances of those kept are summed from
    the differences, so that the distance of a near-copy is exact and that of a copy is 0. Memory is that of a block,
    beside the features and the result. Of points that are equally far, any may be given.

    Args:
        queries: `[N, d]`, floating.
        points: `[M, d]`, floating.
        k: number of neighbours, at most M.
        exclude_self: queries and points are the same set, and a query is not its own neighbour (one equal to it is).

    Returns:
        Distances `[N, k]` float64 and indices of points `[N, k]` int64, on the device of the features (on the CPU for
        MPS, which has no float64).

    Raises:
        ValueError: if shapes do not fit, k is more than there are, or a feature is not finite.
        TypeError: if features are not floating.

    Examples:
        >>> points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 0.0]])
        >>> nearest_neighbours(torch.tensor([[3.0, 3.0]]), points, 2)
        (tensor([[1.0000, 4.2426]], dtype=torch.float64), tensor([[1, 0]]))
        >>> nearest_neighbours(points, points, 1, exclude_self=True)[1].tolist()
        [[1], [0], [1]]
    """
    check_features({"queries": queries, "points": points})
    if exclude_self and len(queries) != len(points):
        raise ValueError(
            f"exclude_self is for one set as both queries and points, got {len(queries)} queries and {len(points)} "
            "points"
        )
    others = len(points) - exclude_self
    if not 1 <= k <= others:
        raise ValueError(f"k must be from 1 to the number of {'other ' * exclude_self}points, {others}, got {k}")
    queries, points = (features.cpu() if features.device.type == "mps" else features for features in (queries, points))
    centre, kept = _mean(points), min(others, k + _SPARE)
    distances, indices = [], []
    for first, block in _blocks(queries, centre):
        best = block.new_full((len(block), 0), torch.inf)
        places = torch.empty_like(best, dtype=torch.int64)
        for start, others_block in _blocks(points, centre):
            squared = squared_distances(block, others_block)
            if exclude_self:
                squared.diagonal(first - start).fill_(torch.inf)
            here = torch.arange(start, start + len(others_block), device=block.device).expand_as(squared)
            best, order = torch.cat([best, squared], 1).topk(
                min(kept, best.shape[1] + squared.shape[1]), largest=False, sorted=False
            )
            places = torch.cat([places, here], 1).gather(1, order)
        exact = torch.stack([_row_distances(queries, points, first, column) for column in places.unbind(1)], 1)
        exact, order = exact.sort(dim=1, stable=True)
        distances.append(exact[:, :k].sqrt())
        indices.append(places.gather(1, order)[:, :k])
    return torch.cat(distances), torch.cat(indices)


def precision_recall(real: Tensor, generated: Tensor, *, k: int = 3) -> tuple[Tensor, Tensor]:
    """Improved precision and recall of generated images.

    Each image of a set has a ball that reaches to its k-th nearest other image of that set; the balls of a set are its
    manifold. Precision is the share of generated images in the real manifold, recall the share of real images in the
    generated one. What lies on a sphere is inside, as in the paper.

    Args:
        real: features `[N, d]`, floating.
        generated: features `[M, d]`, floating.
        k: of the nearest neighbour that gives the radius.

    Returns:
        Precision and recall, float64 scalars from 0 to 1, on the device of the features (on the CPU for MPS).

    Raises:
        ValueError: if shapes do not fit, a set has k images or fewer, or a feature is not finite.
        TypeError: if features are not floating.

    Source:
        Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, 2019.

    Examples:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> precision_recall(real, torch.tensor([[1.2], [1.4], [9.0]]), k=1)
        (tensor(0.6667, dtype=torch.float64), tensor(0.5000, dtype=torch.float64))
    """
    _check_sides(real, generated, k=k)
    in_real, _ = _memberships(real, _radii(real, k), generated)
    in_generated, _ = _memberships(generated, _radii(generated, k), real)
    return _share(in_real), _share(in_generated)


def density_coverage(real: Tensor, generated: Tensor, *, k: int = 5) -> tuple[Tensor, Tensor]:
    """Density and coverage of generated images.

    Each real image has a ball that reaches to its k-th nearest other real image. Density is the mean number of balls
    that a generated image is in, over k; coverage the share of balls with at least one generated image. One outlying
    real image can raise precision much, and hardly these two.

    Args:
        real: features `[N, d]`, floating.
        generated: features `[M, d]`, floating.
        k: of the nearest neighbour that gives the radius.

    Returns:
        Density, at least 0 and about 1 for two samples of one set, and coverage, from 0 to 1: float64 scalars on the
        device of the features (on the CPU for MPS).

    Raises:
        ValueError: if shapes do not fit, there are k real images or fewer, or a feature is not finite.
        TypeError: if features are not floating.

    Source:
        Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020.

    Examples:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> density_coverage(real, torch.tensor([[1.2], [1.4], [9.0]]), k=2)
        (tensor(1.3333, dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    _check_sides(real, generated, k=k, both=False)
    balls, images = _memberships(real, _radii(real, k), generated)
    return balls.double().mean() / k, _share(images)


def neighbour_shares(
    real: Tensor, generated: Tensor, *, precision_k: int = 3, density_k: int = 5
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`precision_recall` and `density_coverage`: neighbours, and distances between the sets, are found once for both.

    Args:
        real: features `[N, d]`, floating.
        generated: features `[M, d]`, floating.
        precision_k: of the nearest neighbour that gives the radius, of precision and recall.
        density_k: likewise, of density and coverage.

    Returns:
        Precision, recall, density and coverage, float64 scalars.

    Raises:
        ValueError: as `precision_recall` and `density_coverage`.
        TypeError: if features are not floating.

    Examples:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> [float(share) for share in neighbour_shares(real, real + 0.25, precision_k=1, density_k=2)]
        [1.0, 1.0, 1.125, 1.0]
    """
    _check_sides(real, generated, k=precision_k)
    _check_sides(real, generated, k=density_k, both=False)
    in_real, in_balls = _memberships(real, _radii(real, precision_k, density_k), generated)
    in_generated, _ = _memberships(generated, _radii(generated, precision_k), real)
    density = in_real[:, 1:].double().mean() / density_k
    return _share(in_real[:, :1]), _share(in_generated), density, _share(in_balls[:, 1:])


def check_features(sides: dict[str, Tensor]) -> None:
    """Raise unless these are ``[N, d]`` of one d, floating and finite, with N and d above 0, on one device."""
    check_floating(**sides)
    shapes = ", ".join(f"{name} {list(features.shape)}" for name, features in sides.items())
    if any(features.ndim != 2 or 0 in features.shape for features in sides.values()):
        raise ValueError(f"features must be [images, d] with images and d above 0, got {shapes}")
    if len({features.shape[1] for features in sides.values()}) > 1:
        raise ValueError(f"features differ in length: {shapes}; take both from one layer of one network")
    if len({features.device for features in sides.values()}) > 1:
        raise ValueError(
            "features are on different devices: "
            + ", ".join(f"{name} {features.device}" for name, features in sides.items())
        )
    for name, features in sides.items():
        low, high = features.aminmax()  # as NaN as any of them, without a copy
        if not bool(low.isfinite() & high.isfinite()):
            bad = int((~features.isfinite().all(dim=1)).sum())
            raise ValueError(f"{name} has NaN or infinity in {bad} of {len(features)} images")


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Of all pairs of `[N, d]` and `[M, d]` float64 near 0, by `|a|² + |b|² − 2ab`: `[N, M]`, to its rounding."""
    squared = torch.addmm(b.square().sum(1).expand(len(a), -1), a, b.T, alpha=-2)
    return squared.add_(a.square().sum(1, keepdim=True))


def _check_sides(real: Tensor, generated: Tensor, *, k: int, both: bool = True) -> None:
    check_features({"real": real, "generated": generated})
    fewest = min(len(real), len(generated)) if both else len(real)
    if not 1 <= k < fewest:
        raise ValueError(
            f"k must be at least 1 and below the number of {'' if both else 'real '}images, got k={k}, "
            f"real {len(real)}, generated {len(generated)}"
        )


def _share(memberships: Tensor) -> Tensor:
    return (memberships > 0).double().mean()


def _radii(features: Tensor, *ks: int) -> Tensor:
    """Distances of each point's k-th neighbours, ``[N, number of ks]``."""
    return nearest_neighbours(features, features, max(ks), exclude_self=True)[0][:, [k - 1 for k in ks]]


def _memberships(centres: Tensor, radii: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """In how many of the balls each point is, and how many points each ball has.

    Args:
        centres: of the balls, ``[N, d]``.
        radii: ``[N, r]``, of r sets of balls.
        points: ``[M, d]``.

    Returns:
        ``[M, r]`` and ``[N, r]`` int64.
    """
    centres, points = (features.cpu() if features.device.type == "mps" else features for features in (centres, points))
    origin, reach = _mean(centres), radii.square() * (1 + _ON_THE_SPHERE)
    balls = torch.zeros(len(points), reach.shape[1], dtype=torch.int64, device=reach.device)
    images = torch.zeros_like(reach, dtype=torch.int64)
    for first, block in _blocks(points, origin):
        for start, others in _blocks(centres, origin):
            squared = squared_distances(block, others)
            # Where the rounding of the product could decide, the differences do.
            share = (block.shape[1] + 4) * torch.finfo(torch.float64).eps
            rounding = share * (block.square().sum(1, keepdim=True) + others.square().sum(1))
            step = max(1, _ELEMENTS // block.shape[1])
            for which, limit in enumerate(reach[start : start + len(others)].unbind(1)):
                inside = squared <= limit
                rows, columns = ((squared - limit).abs() <= rounding).nonzero(as_tuple=True)
                for row, column in zip(rows.split(step), columns.split(step), strict=True):
                    exact = _difference(points[first + row], centres[start + column])
                    inside[row, column] = exact <= limit[column]
                balls[first : first + len(block), which] += inside.sum(1)
                images[start : start + len(others), which] += inside.sum(0)
    return balls, images


def _blocks(features: Tensor, centre: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Some rows at a time, with the first one's place: float64, shifted, since far from 0 products lose digits."""
    step = min(_BLOCK, max(1, _ELEMENTS // features.shape[1]))
    for first in range(0, len(features), step):
        yield first, to_float64(features[first : first + step]) - centre


def _mean(features: Tensor) -> Tensor:
    zero = features.new_zeros(features.shape[1], dtype=torch.float64)
    return sum((block.sum(0) for _, block in _blocks(features, zero)), zero) / len(features)


def _row_distances(queries: Tensor, points: Tensor, first: int, places: Tensor) -> Tensor:
    return _difference(queries[first : first + len(places)], points[places])


def _difference(a: Tensor, b: Tensor) -> Tensor:
    return (to_float64(a) - to_float64(b)).square_().sum(1)
