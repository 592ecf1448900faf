"""First and second moments of image features, in float64 sums around a centre."""

import torch
from torch import Tensor

# Elements that `image_means` copies to float64 at once: on a CPU, what its caches hold; 32 MiB elsewhere.
_CHUNK_CPU = 1 << 17
_CHUNK = 1 << 22
_TILE = 256  # neurons of a scatter's tile


def check_tensors(*tensors: object) -> None:
    """Raise ``TypeError`` for what is no tensor, as an array of NumPy's."""
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"Expected a tensor, got {type(tensor).__name__}; torch.as_tensor makes one")


def check_floating(**tensors: Tensor) -> None:
    """Raise ``TypeError`` for what is no tensor, or not of a floating type."""
    check_tensors(*tensors.values())
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise TypeError(f"Expected floating {name}, got {tensor.dtype}")


def to_float64(tensor: Tensor) -> Tensor:
    """Give a tensor as float64, on the CPU where its device (MPS) has no float64.

    Args:
        tensor: any real tensor.

    Returns:
        The same values and shape; the tensor itself where it is float64 already.

    Examples:
        >>> to_float64(torch.tensor([1, 2])).dtype
        torch.float64
    """
    check_tensors(tensor)
    if tensor.device.type == "mps":
        tensor = tensor.cpu()
    return tensor.to(torch.float64)


def image_means(activations: Tensor) -> Tensor:
    """Mean over the positions of every image.

    `f_ij = (1/P) Σ_p x_jip`, summed in float64 (in float32 on MPS, which has no float64).

    Args:
        activations: `[neurons, images, positions]`, floating, any strides.

    Returns:
        `[images, neurons]` float64, on the device of the activations (on the CPU for MPS).

    Raises:
        ValueError: if there are not three dimensions, or no positions.

    Examples:
        >>> image_means(torch.tensor([[[1.0, 3.0], [5.0, 5.0]]]))
        tensor([[2.],
                [5.]], dtype=torch.float64)
    """
    if activations.ndim != 3 or activations.shape[2] == 0:
        raise ValueError(
            f"activations must be [neurons, images, positions] with positions > 0, got {list(activations.shape)}"
        )
    images_first = activations.transpose(0, 1)
    if activations.device.type == "mps":
        return to_float64(images_first.float().mean(dim=2))
    neurons, images, positions = activations.shape
    if positions == 1:
        return images_first[:, :, 0].to(torch.float64)
    features = torch.empty((images, neurons), dtype=torch.float64, device=activations.device)
    # A float64 mean of float32 input converts all of its input first, so the images are taken a few at a time.
    chunk = _CHUNK_CPU if activations.device.type == "cpu" else _CHUNK
    step = max(1, chunk // (neurons * positions)) if neurons else images
    for start in range(0, images, step):
        block = images_first[start : start + step]
        features[start : start + step] = block.mean(dim=2, dtype=torch.float64)
    return features


def accumulate_moments_(first: Tensor, second: Tensor, features: Tensor, centre: Tensor) -> None:
    """Add a batch to the shifted sums of every neuron.

    `s₁ += Σ_i (f_i − c)` and `s₂ += Σ_i (f_i − c)²`.

    Args:
        first: `[neurons]` float64, changed in place.
        second: `[neurons]` float64, changed in place.
        features: `[images, neurons]` float64.
        centre: `[neurons]` float64, the same in every call that adds to these sums.

    Examples:
        >>> first, second = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        >>> accumulate_moments_(first, second, torch.tensor([[1.0], [4.0]]), torch.tensor([2.0]))
        >>> first.item(), second.item()
        (1.0, 5.0)
    """
    shifted = features - centre
    first.add_(shifted.sum(dim=0))
    second.add_(shifted.square_().sum(dim=0))


def accumulate_scatter_(first: Tensor, scatter: Tensor, features: Tensor, centre: Tensor) -> None:
    """Add a batch to the shifted sums and the shifted scatter matrix of a layer.

    `s₁ += Σ_i (f_i − c)` and `S += Σ_i (f_i − c)(f_i − c)ᵀ`.

    Args:
        first: `[d]` float64, changed in place.
        scatter: `[d, d]` float64, changed in place.
        features: `[images, d]` float64.
        centre: `[d]` float64, the same in every call that adds to these sums.

    Examples:
        >>> first, scatter = torch.zeros(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
        >>> features = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> accumulate_scatter_(first, scatter, features, torch.zeros(2, dtype=torch.float64))
        >>> scatter
        tensor([[1., 2.],
                [2., 4.]], dtype=torch.float64)
    """
    shifted = features - centre
    first.add_(shifted.sum(dim=0))
    # A matrix product need not be symmetric to the last bit; a scatter must be, since files keep one triangle of it. So
    # the other one is a copy, of tiles that the caches hold, and half of the products are saved.
    for start in range(0, len(scatter), _TILE):
        end = start + _TILE
        product = shifted[:, start:end].T @ shifted[:, start:]
        own, others = product[:, :_TILE], product[:, _TILE:]
        scatter[start:end, start:end].add_(own.triu().add_(own.triu(1).T))
        scatter[start:end, end:].add_(others)
        scatter[end:, start:end].add_(others.T)


def recentre(n: int | Tensor, first: Tensor, second: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Move the shifted sums of `accumulate_moments_` to the centre `c + shift`.

    `s₁' = s₁ − nδ` and `s₂' = s₂ − 2δs₁ + nδ²`, as `s₂ − δ(s₁ + s₁')`.

    Args:
        n: number of images in the sums.
        first: `[neurons]` float64.
        second: `[neurons]` float64.
        shift: `[neurons]` float64, new centre minus old centre.

    Returns:
        The two sums around the new centre, `[neurons]` each.

    Examples:
        >>> recentre(2, torch.tensor([1.0]), torch.tensor([5.0]), torch.tensor([-2.0]))
        (tensor([5.]), tensor([17.]))
    """
    moved = first - n * shift
    return moved, second - shift * (first + moved)


def recentre_scatter(n: int | Tensor, first: Tensor, scatter: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Move the shifted sums of `accumulate_scatter_` to the centre `c + shift`.

    `s₁' = s₁ − nδ` and `S' = S − δs₁ᵀ − s₁δᵀ + nδδᵀ`, symmetric to the last bit where `S` is.

    Args:
        n: number of images in the sums.
        first: `[d]` float64.
        scatter: `[d, d]` float64.
        shift: `[d]` float64, new centre minus old centre.

    Returns:
        The sum `[d]` and the scatter `[d, d]` around the new centre.

    Examples:
        >>> recentre_scatter(2, torch.tensor([1.0]), torch.tensor([[5.0]]), torch.tensor([-2.0]))
        (tensor([5.]), tensor([[17.]]))
    """
    moved = first - n * shift
    cross = torch.outer(shift, (first + moved) / 2)
    return moved, scatter - (cross + cross.T)


def mean_and_variance(n: int, first: Tensor, second: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance from the shifted sums of `accumulate_moments_`.

    `μ = c + s₁/n` and `σ² = (s₂ − s₁²/n) / (n − 1)`; what rounding leaves below zero is zero.

    Args:
        n: number of images in the sums, at least 2.
        first: `[neurons]` float64.
        second: `[neurons]` float64.
        centre: `[neurons]` float64.

    Returns:
        Mean and variance, `[neurons]` float64 each.

    Raises:
        ValueError: if n is below 2.

    Examples:
        >>> mean_and_variance(2, torch.tensor([1.0]), torch.tensor([5.0]), torch.tensor([2.0]))
        (tensor([2.5000]), tensor([4.5000]))
    """
    _check_images(n, "variance")
    mean = first / n
    variance = (second - first * mean).div_(n - 1).clamp_(min=0)
    return centre + mean, variance


def mean_and_covariance(n: int, first: Tensor, scatter: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased covariance from the shifted sums of `accumulate_scatter_`.

    `μ = c + s₁/n` and `Σ = (S − s₁s₁ᵀ/n) / (n − 1)`, exactly symmetric.

    Args:
        n: number of images in the sums, at least 2.
        first: `[d]` float64.
        scatter: `[d, d]` float64.
        centre: `[d]` float64.

    Returns:
        Mean `[d]` and covariance `[d, d]`, float64.

    Raises:
        ValueError: if n is below 2.

    Examples:
        >>> mean_and_covariance(2, torch.tensor([1.0]), torch.tensor([[5.0]]), torch.tensor([2.0]))
        (tensor([2.5000]), tensor([[4.5000]]))
    """
    _check_images(n, "covariance")
    mean = first / n
    covariance = torch.addr(scatter, first, mean, alpha=-1).div_(n - 1)
    # A matrix product need not be symmetric to the last bit, and factorisations read one triangle only.
    return centre + mean, (covariance + covariance.T).div_(2)


def _check_images(n: int, statistic: str) -> None:
    if n < 2:
        raise ValueError(f"a {statistic} needs at least 2 images, got n = {n}")
