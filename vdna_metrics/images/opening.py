"""From what a user names to an image source: nothing is decoded or extracted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.images.containers import open_array, open_container, open_sequence
from vdna_metrics.images.dataset_table import DATASET
from vdna_metrics.images.datasets import open_dataset
from vdna_metrics.images.procedural import PROCEDURAL, open_procedural
from vdna_metrics.images.sources import ImageSource


def open_images(
    source: ImageSource | str | Path | Sequence[str | Path] | NDArray[np.uint8] | Tensor,
    *,
    root: str | Path | None = None,
) -> ImageSource:
    """List the images of a source; nothing is decoded or extracted.

    ======================================  ==========================================================================
    folder                                  recursive, links followed, each file once, sorted by POSIX relative path
    one image file
    ``.zip``, ``.tar``                      read in place, sorted as a folder's; ``archive.zip:folder`` opens a folder
    ``.txt``                                one path a line, relative to the list's folder; blank lines and ``#``
                                            comments are left out; the list's order is kept
    ``.npy``, ``.npz`` (key ``arr_0``)      uint8 ``[N, H, W, 3]``, ``[N, H, W, 1]``, ``[N, H, W]``, ``[N, 3, H, W]``
                                            or ``[N, 1, H, W]``; memory mapped, unless the ``.npz`` is compressed
    sequence of paths                       image files in the given order, named relative to their common folder
    NumPy array                             as ``.npy``
    torch tensor                            likewise, on any device
    ``dataset:NAME/SPLIT``                  a split of a standard dataset, see `open_dataset`
    ``procedural:WORLD/N``                  N drawn images, see `open_procedural`
    `ImageSource`                           as it is
    ======================================  ==========================================================================

    Files are images by their suffix, and what they are by their content: JPEG, PNG, WebP, BMP, TIFF, PNM, GIF (its
    first frame), and AVIF where this Pillow has it. Others, hidden files and folders (a leading ``.``) and ``__MACOSX``
    are left out, and counted in `ImageSource.unread`. Compressed tars are refused: they cannot be read at random, and
    ``gunzip`` makes them plain ones.

    Args:
        source: one of the above.
        root: copy on disk of a ``dataset:``, which is downloaded otherwise.

    Returns:
        A frozen, picklable value with ``name``, ``names``, ``groups``, ``len()`` and ``read(index)``.

    Raises:
        ValueError: nothing there, no images in it, or an unknown kind of file; the message lists what was found.
        TypeError: none of the above.

    Examples:
        >>> source = open_images(np.zeros((2, 8, 8, 3), dtype=np.uint8))
        >>> source.names, source.groups
        (('0', '1'), ('', ''))
    """
    if isinstance(source, ImageSource):
        return source
    if isinstance(source, np.ndarray):
        return open_array("array", source)
    if isinstance(source, Tensor):
        return open_array("tensor", source.detach().cpu().numpy())
    if isinstance(source, Sequence) and not isinstance(source, str):
        return open_sequence(source)
    if not isinstance(source, (str, Path)):
        raise TypeError(f"an image source is a path, paths, an array or a tensor, got {type(source).__name__}")
    name = str(source)
    if name.startswith(DATASET):
        return open_dataset(name.removeprefix(DATASET), root=root)
    if name.startswith(PROCEDURAL):
        return open_procedural(name.removeprefix(PROCEDURAL))
    return open_container(source)
