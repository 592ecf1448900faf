"""Layers as paths: a module, and which part of its output."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

Index = tuple[int | slice, ...]


def split_path(path: str) -> tuple[str, Index]:
    """A module path and the part of its output that is meant.

    Args:
        path: a module path, or one followed by an index as NumPy writes it, of integers and slices. The first number
            picks one of a list of tensors where the module gives a list.

    Raises:
        ValueError: when the index is not made of integers and slices.

    Examples:
        >>> split_path("stages.3")
        ('stages.3', ())
        >>> split_path("stage4[1]")  # the second of a list of tensors
        ('stage4', (1,))
        >>> split_path("norm[:, 0]")  # the class token of [N, tokens, C]
        ('norm', (slice(None, None, None), 0))
    """
    match = re.fullmatch(r"(.*?)\[([-0-9:, ]+)\]", path)
    if match is None:
        if "[" in path:
            raise ValueError(f"{path!r}: an index has integers and slices, for example 'norm[:, 0]' or 'stage4[1]'")
        return path, ()
    parts = [part.strip() for part in match[2].split(",")]
    try:
        index = [slice(*(int(v) if v else None for v in p.split(":"))) if ":" in p else int(p) for p in parts]
    except (TypeError, ValueError):
        raise ValueError(f"{path!r}: {match[2]!r} is not an index of integers and slices") from None
    return match[1], tuple(index)


def part_of(output: Any, index: Index) -> Any:
    """The part of a module's output, a tensor or a list of tensors, that an index picks.

    Raises:
        IndexError, TypeError: when it does not have that part.
    """
    if index and isinstance(output, (list, tuple)):  # not `list | tuple`, which torch 2.4 cannot compile
        output, index = output[index[0]], index[1:]
    return output[index] if index else output


def keep_part(index: Index, *, copied: bool) -> Callable[[Any], Tensor]:
    """`part_of` as a function that can be compiled, of a copy where a later module overwrites the output."""

    def part(output: Any) -> Tensor:
        found: Tensor = part_of(output, index)
        return found.clone() if copied else found

    return part
