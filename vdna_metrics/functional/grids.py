"""Grids of bins whose width is a power of two, and that are the finest to hold what a neuron gave: they nest."""

import torch
from torch import Tensor

from vdna_metrics.functional.on_cuda import kernels_for

_BIAS, _MANTISSA = 1023, 52  # of float64
_LEAST_EXPONENT = -126
_ORIGIN_BITS = 30  # origins are below 2**31 in size
_SHIFTS = 33  # from here on, a shifted origin is 0 or -1
_NONE = 2_139_095_041  # float32's infinity as int32, and one more
_PIECE_CPU = 1 << 18
_PIECE = 1 << 26
_PIECE_IN_PLACE = 1 << 22  # of which several copies are made


def extreme_codes(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Extremes as whole numbers whose maximum is the code of both sets' extremes; 0 says that there are none.

    Args:
        low: lowest activation, float32; infinity where there is none.
        high: highest activation, float32; minus infinity where there is none.

    Returns:
        int64 codes of ``-low`` and ``high``, in the order of the numbers.

    Examples:
        >>> low, high = torch.tensor([-1.0, torch.inf]), torch.tensor([0.5, -torch.inf])
        >>> codes_to_extremes(*extreme_codes(low, high))
        (tensor([-1., inf]), tensor([0.5000,   -inf]))
    """
    return _code(-low), _code(high)


def codes_to_extremes(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The extremes that `extreme_codes` gave codes, float32."""
    return -_number(low) + 0.0, _number(high)


def _code(values: Tensor) -> Tensor:
    bits = (values + 0.0).contiguous().view(torch.int32).long()  # of the two zeros the positive one
    return torch.where(bits < 0, bits ^ 0x7FFF_FFFF, bits) + _NONE


def _number(codes: Tensor) -> Tensor:
    ordered = codes - _NONE
    return torch.where(ordered < 0, ordered ^ 0x7FFF_FFFF, ordered).int().view(torch.float32)


def grid(low: Tensor, high: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """The finest grid whose bins ``[j 2**k, (j + 1) 2**k)`` hold extremes in a window of so many bins.

    ``k = max(smallest k with floor(high / 2**k) - floor(low / 2**k) < bins, e - 30, -126)``, where
    ``2**e <= max(|low|, |high|) < 2**(e + 1)``; all zeros have -126. It only grows with the extremes, and each grid
    is made of whole bins of every finer one, so counts on it do not depend on how the activations came.

    Args:
        low: lowest activation, ``[neurons]`` float32.
        high: highest activation, ``[neurons]`` float32; lower than ``low`` where there are none.
        bins: number of bins, 2 to 2**24.

    Returns:
        Exponent ``k`` and the window's first bin ``floor(low / 2**k)``, ``[neurons]`` int64; 0 where there is none.

    Examples:
        >>> grid(torch.tensor([-0.3]), torch.tensor([1.0]), 8)
        (tensor([-2]), tensor([-2]))
    """
    seen = low <= high
    start, end = (torch.where(seen, side, 0).double() for side in (low, high))
    exponent = _exponent((end - start) / bins)
    size = torch.maximum(start.abs(), end.abs())
    exponent = exponent.clamp(min=_LEAST_EXPONENT).maximum(_exponent(size) - _ORIGIN_BITS)
    for _ in range(3):  # the first guess is at most two too low: one by the window's edges, one by rounding
        width = power_of_two(-exponent)
        exponent = exponent + ((end * width).floor() - (start * width).floor() >= bins)
    origin = (start * power_of_two(-exponent)).floor().long()
    return torch.where(seen, exponent, 0), torch.where(seen, origin, 0)


def power_of_two(exponent: Tensor) -> Tensor:
    """``2**exponent`` of whole numbers from -1022 to 1023, exact, float64.

    Examples:
        >>> power_of_two(torch.tensor([3, -1]))
        tensor([8.0000, 0.5000], dtype=torch.float64)
    """
    return ((exponent + _BIAS) << _MANTISSA).view(torch.float64)


def _exponent(positive: Tensor) -> Tensor:
    """``floor(log2(x))`` of float64, -1023 of 0."""
    return (positive.contiguous().view(torch.int64) >> _MANTISSA) - _BIAS


def regrid(counts: Tensor, exponent: Tensor, origin: Tensor, new_exponent: Tensor, new_origin: Tensor) -> Tensor:
    """Counts on a coarser grid, or in another window of the same: exact, for grids nest.

    Args:
        counts: ``[neurons, bins]`` int64.
        exponent: of the counts' grid, ``[neurons]``.
        origin: first bin of the counts' window.
        new_exponent: of the other grid, at least that of the counts where there are any.
        new_origin: first bin of the other window of as many bins, which hold all that was counted.

    Returns:
        ``[neurons, bins]`` int64, new.

    Examples:
        >>> from torch import tensor
        >>> regrid(tensor([[1, 0, 2, 4]]), tensor([-1]), tensor([-2]), tensor([0]), tensor([-2]))  # from -1 to 1
        tensor([[0, 1, 6, 0]])
    """
    neurons, bins = counts.shape
    found = torch.empty_like(counts)
    edge = torch.arange(bins + 1, device=counts.device)
    step = max(1, (_PIECE_CPU if counts.device.type == "cpu" else _PIECE) // bins)
    for start in range(0, neurons, step):
        rows = slice(start, start + step)
        shift = (new_exponent[rows] - exponent[rows]).clamp(0, _SHIFTS)[:, None]
        # The counts before each edge of the new bins, which are edges of old ones.
        before = torch.nn.functional.pad(counts[rows].cumsum(dim=1), (1, 0))
        place = ((new_origin[rows, None] + edge) << shift) - origin[rows, None]
        found[rows] = before.gather(1, place.clamp(0, bins)).diff(dim=1)
    return found


def regrid_(counts: Tensor, exponent: Tensor, origin: Tensor, new_exponent: Tensor, new_origin: Tensor) -> None:
    """`regrid` in place, in blocks of rows; ``counts`` is contiguous where Triton's kernels run.

    Examples:
        >>> from torch import tensor
        >>> counts = tensor([[1, 0, 2, 4]])
        >>> regrid_(counts, tensor([-1]), tensor([-2]), tensor([0]), tensor([-2]))
        >>> counts
        tensor([[0, 1, 6, 0]])
    """
    kernels = kernels_for(counts)
    if kernels is not None and kernels.regrid_(counts, exponent, origin, new_exponent, new_origin):
        return
    neurons, bins = counts.shape
    step = max(1, _PIECE_IN_PLACE // bins)
    for start in range(0, neurons, step):
        rows = slice(start, start + step)
        counts[rows] = regrid(counts[rows], exponent[rows], origin[rows], new_exponent[rows], new_origin[rows])
