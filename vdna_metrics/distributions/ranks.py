"""What the processes that each see a part of the images tell each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class RankError(RuntimeError):
    """Another rank has failed, is gone, or does not answer."""


@contextmanager
def heard() -> Iterator[None]:
    """Raise `RankError` where what processes tell each other is not heard."""
    try:
        yield
    except RuntimeError as error:
        told = re.sub(r"^\[\S+\] ", "", str(error)).partition(". ")[0]  # gloo adds where in its code, and advice
        raise RankError(f"another rank has ended, and says why, or does not answer: {told}") from error


class Ranks:
    """The processes of a group, of ``torch.distributed``.

    Args:
        device: where they exchange tensors, unless their backend takes those of the CPU.
        group: by default all.
    """

    def __init__(self, device: torch.device | str, group: Any = None) -> None:
        self._group = group
        on_cpu = dist.get_backend(group) in ("gloo", "mpi")
        self._device = None if on_cpu or torch.device(device).type == "mps" else device

    def all_reduce(self, tensor: Tensor, operation: Any = None) -> Tensor:
        """The sum over the ranks, or what a ``ReduceOp`` says; in place or not."""
        there = tensor if self._device is None else tensor.to(self._device)
        with heard():
            dist.all_reduce(there, dist.ReduceOp.SUM if operation is None else operation, group=self._group)
        return there.to(tensor.device)

    def all_gather_rows(self, rows: Tensor) -> Tensor:
        """``[n, columns]`` of all ranks, one below the other; n may differ."""
        many = dist.get_world_size(self._group)
        lengths = rows.new_zeros(many, dtype=torch.int64)
        lengths[dist.get_rank(self._group)] = len(rows)
        numbers = self.all_reduce(lengths).tolist()
        padded = torch.nn.functional.pad(rows, (0, 0, 0, max(numbers) - len(rows)))
        there = padded if self._device is None else padded.to(self._device)
        found = [torch.empty_like(there) for _ in range(many)]
        with heard():
            dist.all_gather(found, there, group=self._group)
        return torch.cat([part[:n] for part, n in zip(found, numbers, strict=True)]).to(rows.device)
