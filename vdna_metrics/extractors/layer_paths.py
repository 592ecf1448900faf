"""Layers as paths: a module, and which part of its output."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

Index = tuple[int | slice | str, ...]

_PART = r"'[^']*'|[-0-9:]+"


def split_path(path: str) -> tuple[str, Index]:
    """A module path and the part of its output that is meant.

    Args:
        path: a module path, or one followed by an index as NumPy writes it, of integers and slices. Where the module
            gives a list or a dict, the first of them, a number or a name in quotes, picks one of its tensors; and so on
            where that is a list again.

    Raises:
        ValueError: when the index is not made of integers, slices and names.

    Examples:
        >>> split_path("stages.3")
        ('stages.3', ())
        >>> split_path("stage4[1]")  # the second of a list of tensors
        ('stage4', (1,))
        >>> split_path("norm[:, 0]")  # the class token of [N, tokens, C]
        ('norm', (slice(None, None, None), 0))
        >>> split_path("['features', 3]")  # of the network's output, a dict, the fourth of its list of features
        ('', ('features', 3))
    """
    match = re.fullmatch(rf"([^\[]*)\[((?:{_PART}|[, ])+)\]", path)
    if match is None:
        if "[" in path:
            raise ValueError(
                f"{path!r}: an index has integers, slices and names in quotes, for example 'norm[:, 0]', 'stage4[1]' "
                "or \"head['logits']\""
            )
        return path, ()
    try:
        index = tuple(map(_read, _split(match[2])))
    except (TypeError, ValueError):
        raise ValueError(f"{path!r}: {match[2]!r} is not an index of integers and slices") from None
    return match[1], index


def _split(text: str) -> list[str]:
    """At the commas that are not in quotes."""
    return [part.strip() for part in re.split(r",(?=(?:[^']*'[^']*')*[^']*$)", text)]


def _read(part: str) -> int | slice | str:
    if part.startswith("'"):
        return part[1:-1]
    return slice(*(int(v) if v else None for v in part.split(":"))) if ":" in part else int(part)


def part_of(output: Any, index: Index) -> Any:
    """The part of a module's output, a tensor or lists and dicts of tensors, that an index picks.

    Raises:
        LookupError, TypeError: when it does not have that part.
    """
    while index and isinstance(output, (list, tuple, dict)):  # not `list | tuple`, which torch 2.4 cannot compile
        part: Any = index[0]
        output, index = output[part], index[1:]
    return output[index] if index else output


def keep_part(index: Index, *, copied: bool) -> Callable[[Any], Tensor]:
    """`part_of` as a function that can be compiled, of a copy where a later module overwrites the output."""

    def part(output: Any) -> Tensor:
        found: Tensor = part_of(output, index)
        return found.clone() if copied else found

    return part
