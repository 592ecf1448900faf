"""Pictures of where in images a difference lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vdna_metrics.analysis.maps import DifferenceMap, DifferenceMaps
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.reports.contact_sheets import shortened_path
from vdna_metrics.reports.formatting import significant
from vdna_metrics.reports.plots import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _GAP, _WORDS, _HEADING, _BAR = 1.9, 0.12, 0.42, 0.62, 0.75  # inches
_COLOURS = "RdBu_r"


def plot_difference_maps(
    found: DifferenceMaps, *, columns: int = 3, title: str | None = None, words: Mapping[int, str] | None = None
) -> Figure:
    """Show each image beside where its distance lies: by how much a place is above the image's mean, or below it.

    Args:
        found: what `difference_maps` found, or the ``maps`` of a ranking.
        columns: pairs of pictures in a row.
        title: by default what is shown, and the layers.
        words: what some of the images are, by their index: stands before their names.

    Returns:
        A figure as large as its pictures need; one scale for all of them.

    Raises:
        ValueError: when there is no map.

    Examples:
        >>> from vdna_metrics.analysis import difference_maps
        >>> images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
        >>> plot_difference_maps(difference_maps(images, "bsds500/test", "vdna_tiny")).get_suptitle()
        'Where VDNA-EMD (bins) from bsds500/test lies: 2 images of tensor'
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    if not found.maps:
        raise ValueError("no map to show; give images to difference_maps, or maps= to rank_images")
    limit = largest_departure(found)
    columns = min(columns, len(found.maps))
    tall = _WIDTH * max(each.values.shape[0] / each.values.shape[1] for each in found.maps)
    cell_width, cell_height = 2 * _WIDTH + 3 * _GAP, tall + _WORDS
    rows = -(-len(found.maps) // columns)
    width, height = max(columns * cell_width + _BAR + _GAP, 6.0), _HEADING + rows * cell_height + _GAP
    figure = Figure(figsize=(width, height))
    distance = with_unit(found.label, found.unit)
    shown = f"{len(found.maps)} image{'s' * (len(found.maps) > 1)} of {found.source}"
    whole = f"Where {distance} from {found.reference} lies: {shown}"
    figure.suptitle(title or whole, fontsize=11, ha="left", va="top", x=_GAP / width, y=1 - 0.1 / height)
    layers = f"layer{'s' * (len(found.layers) > 1)} {', '.join(found.layers)}"
    layers += f"; without places, so not shown: {', '.join(found.left_out)}" if found.left_out else ""
    figure.text(_GAP / width, 1 - 0.36 / height, layers, fontsize=8, va="top", color=INK)
    for place, each in enumerate(found.maps):
        left = _GAP + place % columns * cell_width
        top = height - _HEADING - place // columns * cell_height
        own = _WIDTH * each.values.shape[0] / each.values.shape[1]
        for number, picture in enumerate((each.image, in_colours(each, limit))):
            at = left + number * (_WIDTH + _GAP)
            ax = figure.add_axes((at / width, (top - own) / height, _WIDTH / width, own / height))
            ax.imshow(picture.permute(1, 2, 0).numpy(), aspect="auto")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        said = f"{words[each.index]}: " if words and each.index in words else ""
        said += f"{shortened_path(each.name)}, {significant(each.distance)} {found.unit}".strip()
        figure.text(left / width, (top - own - 0.06) / height, said, fontsize=8, va="top", color=INK)
    at_right, upper = _GAP + columns * cell_width, height - _HEADING
    bar: Any = figure.add_axes((at_right / width, (upper - tall) / height, 0.12 / width, tall / height))
    figure.colorbar(ScalarMappable(Normalize(-limit, limit), _COLOURS), cax=bar)
    bar.set_ylabel(f"{found.unit} above the image's mean".strip(), fontsize=8, color=INK, labelpad=1)
    bar.tick_params(labelsize=7, length=2)
    return figure


def largest_departure(found: DifferenceMaps) -> float:
    """By how much a place of any of the images is above or below the image's mean, at most; 1 where all are alike."""
    return max((float((each.values - each.values.mean()).abs().max()) for each in found.maps), default=0.0) or 1.0


def in_colours(found: DifferenceMap, limit: float) -> Tensor:
    """A map in the colours of its bar: red where the distance lies and blue where there is less of it than elsewhere.

    Args:
        found: the map.
        limit: how far above the image's mean the colours end.

    Returns:
        uint8 ``[3, H, W]``.
    """
    import matplotlib

    places = ((found.values - found.values.mean()) / (2 * limit) + 0.5).clamp(0, 1)
    colours = matplotlib.colormaps[_COLOURS](places.numpy(), bytes=True)[..., :3]
    return torch.from_numpy(colours).permute(2, 0, 1)
