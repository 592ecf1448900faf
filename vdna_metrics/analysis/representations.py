"""What one vector an image says of a network: sparsity, spread within classes, coding length, singular values."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize, pdist

from vdna_metrics.build.partitions import labelled
from vdna_metrics.functional.moments import to_float64
from vdna_metrics.functional.neighbours import check_features
from vdna_metrics.layout import check_type

Labels = Sequence[Hashable] | Tensor | NDArray[np.generic]
"""A class an image, of any hashable kind, in the order of the features."""


@dataclass(frozen=True, eq=False)
class Representation:
    """What `describe_features` says of features of unit length.

    Args:
        sparsity: share of entries that are close to zero.
        coding_length: in nats, see `coding_length`.
        singular_values: see `singular_spectrum`.
        intra_class_distance: see `intra_class_distance`; ``None`` without labels.
    """

    sparsity: float
    coding_length: float
    singular_values: Tensor
    intra_class_distance: float | None = None


def describe_features(
    features: Tensor, labels: Labels | None = None, *, threshold: float = 1e-5, epsilon_squared: float = 0.5
) -> Representation:
    """Measure what the literature on transfer measures of a layer's features, each vector brought to length 1 first.

    Args:
        features: ``[images, d]``, as the ``vectors`` of `collect_features`.
        labels: a class an image, in the same order, as the ``classes`` there.
        threshold: what is close to zero, above 0.
        epsilon_squared: the distortion ``ε²`` of the coding length.

    Raises:
        ValueError: for features of another shape or not finite, all of them 0, no class of two images, another number
            of labels, or a threshold or distortion that is not positive.

    Source:
        Sariyildiz, On the evaluation and generalization of visual representations, 2023, sections 4.4.2 and 5.5.5.

    Examples:
        >>> found = describe_features(torch.eye(4), "aabb")
        >>> found.sparsity, round(found.coding_length, 4), found.singular_values.tolist()
        (0.75, 2.1972, [0.25, 0.25, 0.25, 0.25])
        >>> round(found.intra_class_distance, 4)
        1.4142
    """
    check_threshold(threshold)
    check_features({"features": features})
    unit = unit_features(features)
    return Representation(
        sparsity=near_zero_share(unit, threshold),
        coding_length=coding_length(unit.T @ unit / len(unit), epsilon_squared=epsilon_squared),
        singular_values=singular_spectrum(unit),
        intra_class_distance=None if labels is None else intra_class_distance(unit, labels),
    )


def unit_features(features: Tensor) -> Tensor:
    """Features ``[images, d]`` of length 1 in float64, of whatever scale; a vector of zeros stays one."""
    values = to_float64(features)
    # Squares of very large and very small numbers do not fit a float64. A power of two changes no digit.
    _, exponent = torch.frexp(values.abs().amax(dim=1, keepdim=True))
    half = exponent // 2  # 2**-exponent may not fit either
    return normalize(torch.ldexp(torch.ldexp(values, -half), half - exponent))


def check_threshold(threshold: float) -> None:
    """Raise ``ValueError`` for what nothing is closer to zero than."""
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")


def near_zero_share(unit: Tensor, threshold: float) -> float:
    """Share of the entries of `unit_features` that are closer to zero than a threshold."""
    return float((unit.abs() < threshold).double().mean())


def intra_class_distance(features: Tensor, labels: Labels) -> float:
    """How far images of one class are from each other: the mean distance of their features of unit length.

    ``(1/C) Σ_c 2/(n_c (n_c − 1)) Σ_{i<j} ‖x_i/‖x_i‖ − x_j/‖x_j‖‖`` over the C classes of two images or more, each of
    which counts alike; from 0 to 2, ``√2`` for vectors at right angles. It tells where features are spread, not whether
    classes are apart: compare networks on the same images.

    Args:
        features: ``[images, d]``, floating.
        labels: a class an image.

    Raises:
        ValueError: for features of another shape or not finite, another number of labels, or no class of two images.

    Source:
        Sariyildiz, On the evaluation and generalization of visual representations, 2023, section 4.4.2 and Fig. 4.5,
        which does not say how classes of different sizes are weighed.

    Examples:
        >>> round(intra_class_distance(torch.tensor([[1.0, 0.0], [0.0, 5.0], [3.0, 3.0]]), ["a", "a", "b"]), 4)
        1.4142
    """
    check_features({"features": features})
    places, _ = class_places(labels, len(features))
    unit = unit_features(features)
    classes = [torch.from_numpy(np.flatnonzero(places == each)) for each in range(int(places.max()) + 1)]
    means = [float(pdist(unit[rows.to(unit.device)]).mean()) for rows in classes if len(rows) > 1]
    if not means:
        raise ValueError(f"expected a class of at least two images, got {len(classes)} classes of one")
    return float(np.mean(means))


def singular_spectrum(features: Tensor) -> Tensor:
    """Singular values of features of unit length as shares of their sum, largest first: ``σ_k / Σ_j σ_j``.

    Vectors are not centred, so the first value mostly tells how much all images have in common. With n images below d
    only n values are not 0: compare equal numbers of images.

    Args:
        features: ``[images, d]``, floating.

    Returns:
        ``[min(images, d)]`` float64.

    Raises:
        ValueError: for features of another shape or not finite, or all of them 0.

    Source:
        Sariyildiz, On the evaluation and generalization of visual representations, 2023, section 4.4.2 and Fig. 4.6b;
        whether vectors are centred there is not said.

    Examples:
        >>> singular_spectrum(torch.tensor([[2.0, 0.0], [3.0, 0.0], [1.0, 0.0]]))
        tensor([1., 0.], dtype=torch.float64)
    """
    check_features({"features": features})
    values: Tensor = torch.linalg.svdvals(unit_features(features))
    if not values.any():
        raise ValueError("all features are 0, which has no spectrum")
    return values / values.sum()


def coding_length(second_moment: Tensor, *, epsilon_squared: float = 0.5) -> float:
    """Coding length of vectors up to a distortion: ``½ log det(I + d/(N ε²) XᵀX)``, in nats.

    Args:
        second_moment: ``XᵀX / N`` of N vectors, ``[d, d]`` symmetric.
        epsilon_squared: the distortion ``ε²``.

    Raises:
        ValueError: when the moment is not square, not finite or no second moment, or ``ε²`` is not positive, or so
            small that no float64 holds the moment's share of it.

    Source:
        Ma, Derksen, Hong, Wright: Segmentation of multivariate mixed data via lossy data coding and compression, 2007.

    Examples:
        >>> round(coding_length(torch.eye(8) / 8) / 8, 6), round(0.5 * torch.tensor(3.0).log().item(), 6)  # X = I
        (0.549306, 0.549306)
    """
    check_type("a second moment", second_moment, Tensor)
    if second_moment.ndim != 2 or second_moment.shape[0] != second_moment.shape[1]:
        raise ValueError(f"expected a second moment [d, d], got {list(second_moment.shape)}")
    if not epsilon_squared > 0:
        raise ValueError(f"epsilon_squared must be positive, got {epsilon_squared}")
    d = len(second_moment)
    inside = torch.eye(d, dtype=torch.float64) + d / epsilon_squared * second_moment.double().cpu()
    if not inside.isfinite().all():
        raise ValueError(f"expected a finite second moment, over ε² too; ε² is {epsilon_squared}")
    factor, failed = torch.linalg.cholesky_ex(inside)
    if failed:
        raise ValueError("expected a second moment XᵀX / N, got a matrix with negative eigenvalues")
    return float(factor.diagonal().log().sum())


def class_places(labels: Labels, n_images: int, what: str = "labels") -> tuple[NDArray[np.int64], tuple[Hashable, ...]]:
    """Each image's class as a place among the classes, and these in the order in which they come first."""
    if isinstance(labels, (Tensor, np.ndarray)):
        if labels.ndim != 1:
            raise ValueError(f"expected {what} [images], got {list(labels.shape)}")
        labels = labels.tolist()
    check_type(what, labels, Sequence)
    if len(labels) != n_images:
        raise ValueError(f"expected a label for each of {n_images} images, got {len(labels)} {what}")
    made = labelled(labels)
    return made.of_image[:, 0], made.parts
