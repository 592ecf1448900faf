"""Pictures of images and the regions that they are divided into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.reports.plots import INK, SIZE
from vdna_metrics.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _GAP, _HEADING = 1.3, 0.06, 0.3  # inches: of a picture, between, of a heading
_NOWHERE = (0.82, 0.82, 0.82)
_LEGEND = 24  # regions that it names, the largest

LabelledPicture = tuple[NDArray[np.uint8], NDArray[np.integer]]
"""An image ``[H, W, 3]`` and its labels ``[h, w]``, below 0 where there is none."""


def plot_regions(
    sets: Mapping[str, Sequence[LabelledPicture]], names: Sequence[str], *, title: str | None = None
) -> Figure:
    """Show images, and under each its regions in colours that the legend names: the largest 24, if there are more.

    Args:
        sets: ``{name: images with their labels}``, a row of pairs a set.
        names: of the regions 0, 1, ...
        title: of the picture.

    Returns:
        A figure as large as its pictures need.

    Raises:
        ValueError: when there is nothing to show.

    Examples:
        >>> image, labels = np.zeros((8, 8, 3), np.uint8), np.eye(2, dtype=int)
        >>> figure = plot_regions({"real": [(image, labels)]}, ["ground", "sky"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['ground', 'sky']
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not any(sets.values()):
        raise ValueError("no image to show")
    sizes = np.zeros(len(names) + 1)  # the last of no region
    for _, labels in (pair for row in sets.values() for pair in row):
        sizes += np.bincount(np.where(labels < 0, len(names), labels).ravel(), minlength=len(sizes)) / labels.size
    named = np.sort(np.argsort(-sizes[:-1], kind="stable")[:_LEGEND])
    colours = np.array([to_rgb(colour) for colour in COLOURS[: len(named)]])
    if len(named) > len(COLOURS):
        colours = np.array(colormaps["hsv"](np.arange(len(named)) / len(named)))[:, :3]
    table = np.full((len(names) + 1, 3), to_rgb(INK))
    table[named], table[-1] = colours, _NOWHERE  # which -1 finds
    entries = [(table[place], printable(names[place])) for place in named]
    if len(names) > len(named):
        entries.append((to_rgb(INK), f"{len(names) - len(named)} other regions"))
    if sizes[-1]:
        entries.append((_NOWHERE, "no region"))
    columns = max(map(len, sets.values()))
    pairs = [pair for row in sets.values() for pair in row]
    tall = _WIDTH * max(image.shape[0] / image.shape[1] for image, _ in pairs)
    block = _HEADING + 2 * (tall + _GAP)
    top, bottom = 0.35 if title else 0.08, 0.32 * -(-len(entries) // 6) + 0.1
    width, height = max(4.5, columns * (_WIDTH + _GAP) + _GAP), top + len(sets) * block + bottom
    figure = Figure(figsize=(width, height))
    if title:
        figure.suptitle(title, fontsize=SIZE + 1, ha="left", va="top", x=_GAP / width, y=1 - 0.08 / height)
    for row, (name, shown) in enumerate(sets.items()):
        y = height - top - row * block
        figure.text(_GAP / width, (y - 0.2) / height, printable(name), fontsize=SIZE, color=INK)
        for column, (image, labels) in enumerate(shown):
            for place, picture in enumerate((image, table[np.asarray(labels)])):
                left, low = _GAP + column * (_WIDTH + _GAP), y - _HEADING - tall - place * (tall + _GAP)
                axis = figure.add_axes((left / width, low / height, _WIDTH / width, tall / height))
                axis.imshow(picture, interpolation="nearest", aspect="auto")
                axis.set_axis_off()
    patches = [Patch(color=colour, label=name) for colour, name in entries]
    figure.legend(handles=patches, loc="lower left", ncols=min(6, len(entries)), fontsize=SIZE, frameon=False)
    return figure
