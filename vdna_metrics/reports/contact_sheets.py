"""Contact sheets: the images at either end of a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.analysis.ranking import ImageRanking, RankedImage
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.reports.plots import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _GAP, _LINE, _HEADING = 1.4, 0.12, 0.135, 0.44  # inches: of a picture, between, of a line of words, of a title
_COLOURS = {"nearest": COLOURS[0], "farthest": COLOURS[1]}
_WORDS = {"nearest": "below", "farthest": "above"}


def contact_sheet(
    ranking: ImageRanking, *, nearest: int = 20, farthest: int = 20, columns: int = 10, title: str | None = None
) -> Figure:
    """Show the nearest and the farthest images, each with its name, its score and its most unusual layer.

    After the layer's name stands by how many standard deviations its distance exceeds the mean of all ranked images,
    see `RankedImage`.

    Args:
        ranking: what `rank_images` found, with pictures.
        nearest: how many of the nearest, at most as many as were kept.
        farthest: how many of the farthest, likewise.
        columns: images in a row.
        title: by default what was ranked, and by which distance.

    Returns:
        A figure as large as its pictures need.

    Raises:
        ValueError: when no picture was kept or asked for.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor, load_reference
        >>> from vdna_metrics.analysis import rank_images
        >>> images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
        >>> photographs = load_reference("bsds500/test@vdna_tiny", kind="histogram")
        >>> ranking = rank_images(images, photographs, create_extractor("vdna_tiny"), pictures=1)
        >>> contact_sheet(ranking).get_suptitle()
        '3 images of array, by VDNA-EMD (bins) from bsds500/test'
    """
    from matplotlib.figure import Figure

    ends = {"nearest": ranking.nearest(nearest), "farthest": ranking.farthest(farthest)}
    pictures = {end: shown for end, images in ends.items() if (shown := _with_pixels(images))}
    if not pictures:
        raise ValueError(
            f"no picture to show: {len(ranking.pictures)} were kept (rank_images(pictures=)) to show the {nearest} "
            f"nearest and the {farthest} farthest"
        )
    columns = max(1, min(columns, max(map(len, pictures.values()))))
    tallest = max(pixels.shape[0] / pixels.shape[1] for images in pictures.values() for _, pixels in images)
    cell = _WIDTH * tallest + 3 * _LINE + 2 * _GAP
    width = max(columns * (_WIDTH + _GAP) + _GAP, 6.0)
    height = _HEADING + sum(_HEADING + -(-len(images) // columns) * cell for images in pictures.values())
    figure = Figure(figsize=(width, height))
    distance = with_unit(ranking.label, ranking.unit)
    ranked = f"{len(ranking)} image{'s' * (len(ranking) > 1)} of {ranking.source}"
    whole = f"{ranked}, by {distance} from {ranking.reference}"
    figure.suptitle(title or whole, fontsize=11, ha="left", va="top", x=_GAP / width, y=1 - 0.1 / height)
    top = height - _HEADING
    for end, images in pictures.items():
        words = f"the {len(images)} {end}" if len(images) > 1 else f"the {end}"
        words += f": score, and the layer that is farthest {_WORDS[end]} what is usual in it"
        figure.text(_GAP / width, (top - 0.28) / height, words, fontsize=9, color=_COLOURS[end])
        top -= _HEADING
        for place, (image, pixels) in enumerate(images):
            left, upper = _GAP + place % columns * (_WIDTH + _GAP), top - place // columns * cell
            tall = _WIDTH * pixels.shape[0] / pixels.shape[1]
            ax = figure.add_axes((left / width, (upper - tall) / height, _WIDTH / width, tall / height))
            ax.imshow(pixels, aspect="auto")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(color=_COLOURS[end], linewidth=1.2)
            lines = [f"{image.score:#.4g}", shortened_path(image.name)]
            lines += [f"{shortened_path(layer.layer, 17)} {layer.unusual:+.1f}σ" for layer in image.layers[:1]]
            for line, text in enumerate(lines):
                down = (upper - tall - 0.06 - line * _LINE) / height
                weight = "bold" if line == 0 else "normal"
                figure.text(left / width, down, text, fontsize=7.5, va="top", color=INK, weight=weight)
        top -= -(-len(images) // columns) * cell
    return figure


def _with_pixels(images: Sequence[RankedImage]) -> list[tuple[RankedImage, NDArray[np.uint8]]]:
    """Images up to the first of which no picture was kept."""
    found = []
    for image in images:
        if image.image is None:
            break
        found.append((image, image.image.permute(1, 2, 0).numpy()))
    return found


def shortened_path(name: str, letters: int = 23) -> str:
    """The end of a path, which tells more than its beginning."""
    return name if len(name) <= letters else f"…{name[1 - letters :]}"
