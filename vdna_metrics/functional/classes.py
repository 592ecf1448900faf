"""A distance within each class, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdna_metrics.functional.moments import to_float64


@dataclass(frozen=True)
class ClassSummary:
    """What `class_summary` gives; scalars.

    Args:
        mean: over classes, each of which counts alike.
        worst: of the worst class.
        worst_class: which that is, int64; of several the first.
        imbalance: see `class_imbalance`; ``None`` where the numbers of real images are not known.
    """

    mean: Tensor
    worst: Tensor
    worst_class: Tensor
    imbalance: Tensor | None


def class_imbalance(generated: Tensor, real: Tensor) -> Tensor:
    """How far the classes of generated images are from being as frequent as those of real ones.

    The total variation distance between the classes' shares, `½ Σ_c |g_c / Σ g − r_c / Σ r|`: the share of generated
    images that would have to be of another class. Of classes that were asked for, as of a conditional generator, it
    says what was asked for; of classes that a classifier tells, what came.

    Args:
        generated: images of each class, `[classes]`.
        real: likewise.

    Returns:
        float64 scalar from 0, for equal shares, to 1, for no class in common.

    Raises:
        ValueError: if the shapes differ or are not `[classes]`, a number is negative or not finite, or a side has no
            image.

    Examples:
        >>> import torch
        >>> class_imbalance(torch.tensor([30, 10, 0]), torch.tensor([5, 5, 10]))
        tensor(0.5000, dtype=torch.float64)
    """
    if generated.shape != real.shape or generated.ndim != 1:
        raise ValueError(
            f"Expected numbers of generated and real images [classes], got {list(generated.shape)} and "
            f"{list(real.shape)}"
        )
    shares = []
    for name, counts in (("generated", generated), ("real", real)):
        counts = to_float64(counts)
        if not (bool(counts.isfinite().all()) and bool((counts >= 0).all()) and bool(counts.sum() > 0)):
            raise ValueError(f"Expected numbers of {name} images from 0, at least one above, got {counts.tolist()[:8]}")
        shares.append(counts / counts.sum())
    return (shares[0] - shares[1].to(shares[0].device)).abs().sum() / 2


def class_summary(
    values: Tensor, generated: Tensor, real: Tensor | None = None, *, higher_is_better: bool = False
) -> ClassSummary:
    """Mean and worst of a distance within each class, and how uneven the classes are.

    Args:
        values: of each class, `[classes]`.
        generated: images of each class, `[classes]`.
        real: likewise, where they are known.
        higher_is_better: of the values; then the lowest is the worst.

    Returns:
        Mean, worst value, worst class and imbalance, in float64.

    Raises:
        ValueError: if there is no class, a value is not finite, or as `class_imbalance`.

    Examples:
        >>> import torch
        >>> found = class_summary(torch.tensor([1.0, 5.0]), torch.tensor([9, 3]), torch.tensor([6, 6]))
        >>> float(found.mean), int(found.worst_class), float(found.imbalance)
        (3.0, 1, 0.25)
    """
    if values.ndim != 1 or not len(values) or not bool(values.isfinite().all()):
        raise ValueError(f"Expected finite values of at least one class, got {values.tolist()}")
    values = to_float64(values)
    worst = values.argmin() if higher_is_better else values.argmax()
    imbalance = None if real is None else class_imbalance(generated, real)
    return ClassSummary(values.mean(), values[worst], worst, imbalance)
