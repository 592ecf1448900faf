"""How much is taken of what somebody else may have made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Limit:
    """How much of something is taken from a file that somebody else may have made.

    Args:
        default: where the environment says nothing.
        of: what is counted, for errors.
    """

    default: int
    of: str


LimitName = Literal[
    "array_bytes", "pickle_bytes", "json_bytes", "json_values", "images", "image_bytes", "image_pixels", "jpeg_scans",
    "text_bytes", "members", "tar_header_bytes", "download_bytes",
]  # fmt: skip
LIMITS: Mapping[LimitName, Limit] = {
    # Of all that are read from one file; a ViT-L's counts in 1000 bins are 200 MB, 50 000 features of 2048 are 410 MB.
    "array_bytes": Limit(5 << 27, "bytes of arrays in memory"),
    "pickle_bytes": Limit(1 << 29, "bytes of one pickle"),  # without the tensors beside it
    "json_bytes": Limit(160 << 20, "bytes of one JSON text"),  # the digests of ImageNet's images are 135 MB
    "json_values": Limit(3_000_000, "values in one JSON text"),  # each some 300 bytes of memory
    "images": Limit(1_500_000, "images in one container"),  # ImageNet has 1.43 million; one of a zip takes 600 bytes
    "image_bytes": Limit(3 << 27, "bytes of one image file"),  # as many pixels as follow, of 3 bytes
    "image_pixels": Limit(1 << 27, "pixels of one image"),  # some 7 bytes of memory each, in every worker
    "jpeg_scans": Limit(100, "scans of one JPEG"),  # each is decoded; ten are usual
    "text_bytes": Limit(1 << 28, "bytes of one list of names"),  # ImageNet's is 60 MB
    "members": Limit(10_000, "members of one archive of arrays"),
    "tar_header_bytes": Limit(1 << 18, "bytes of headers before one member of a tar"),  # with names and attributes
    "download_bytes": Limit(20 * 10**9, "bytes of one downloaded file"),
}
"""Every limit, once. `VDNA_METRICS_MAX_` and the name in capitals is the variable of the environment that sets it."""


def limit_of(name: LimitName) -> int:
    """A limit: what the environment says, which worker processes inherit, else the default.

    Raises:
        ValueError: when the variable is no whole number above 0.

    Examples:
        >>> limit_of("array_bytes")
        671088640
    """
    variable = limit_variable(name)
    text = os.environ.get(variable, "")
    if text and not is_limit(text):
        raise ValueError(f"expected {variable} to be a whole number of {LIMITS[name].of}, got {text[:40]!r}")
    return int(text) if text else LIMITS[name].default


def is_limit(text: str) -> bool:
    """Whether text is a whole number above 0 that a file's size can be."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0


def check_limit(name: LimitName, size: int, what: str) -> None:
    """Raise ``ValueError`` when something is over its limit; the error says how to raise it.

    Call it before anything of that size is allocated.

    Examples:
        >>> check_limit("array_bytes", 10**12, "x.npz: member 'mu.npy'")
        Traceback (most recent call last):
        ValueError: x.npz: member 'mu.npy': expected at most 671088640 bytes of arrays in memory, got 1000000000000;
        if you trust it, set VDNA_METRICS_MAX_ARRAY_BYTES (--limit array_bytes=1000000000000)
    """
    if size > limit_of(name):
        raise ValueError(
            f"{what}: expected at most {limit_of(name)} {LIMITS[name].of}, got {size}; if you trust it, set "
            f"{limit_variable(name)} (--limit {name}={size})"
        )


def limit_variable(name: LimitName) -> str:
    """The variable of the environment that sets a limit."""
    return f"VDNA_METRICS_MAX_{name.upper()}"
