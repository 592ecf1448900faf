"""Which images each rank of a data loader reads, where none may be read twice."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch.distributed as dist
from torch.utils.data import Sampler

from vdna_metrics.layout import check_count


class UnpaddedSampler(Sampler[int]):
    """Every n-th image, each by one rank alone.

    ``torch.utils.data.DistributedSampler`` repeats images until ranks have equally many, which count twice in a sum
    over ranks: up to ``ranks - 1`` of a set. With this one the last ranks may have an image less, or none. Metrics and
    ``Reading(all_ranks=True)`` talk to the other ranks at the end alone, so that this does not matter to them; to what
    talks each step, as ``dist_sync_on_step=True`` and the gradients of ``DistributedDataParallel``, it does.

    Args:
        images: a dataset, or the number of its images.
        rank: of this process, by default that of ``torch.distributed``, where it is initialised, else 0.
        ranks: how many there are, likewise; else 1.

    Raises:
        ValueError: for a rank that there is not.

    Examples:
        >>> [list(UnpaddedSampler(7, rank=rank, ranks=3)) for rank in range(3)]
        [[0, 3, 6], [1, 4], [2, 5]]
    """

    def __init__(self, images: Sized | int, *, rank: int | None = None, ranks: int | None = None) -> None:
        among = dist.is_available() and dist.is_initialized()
        n_images = images if isinstance(images, int) else len(images)
        self.rank = (dist.get_rank() if among else 0) if rank is None else rank
        self.ranks = (dist.get_world_size() if among else 1) if ranks is None else ranks
        check_count("images", n_images, 0)
        check_count("ranks", self.ranks)
        check_count("rank", self.rank, 0)
        if self.rank >= self.ranks:
            raise ValueError(f"expected a rank below {self.ranks}, got {self.rank}")
        self._indices = range(self.rank, n_images, self.ranks)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)
