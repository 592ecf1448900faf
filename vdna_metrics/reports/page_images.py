"""Images on the page of a leaderboard: examples, exemplars, and the ends of rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vdna_metrics.analysis.explain import Exemplar
from vdna_metrics.analysis.ranking import ImageRanking, RankedImage
from vdna_metrics.reports.embedding import image_uri
from vdna_metrics.reports.formatting import one_line, significant

EXAMPLES = 4  # images of a set, and exemplars of a side for each neuron of the first generator
_ENDS = 6  # images at either end of a generator's ranking
_THUMB, _PICTURE = 88, 128  # pixels of the longer side


@dataclass(frozen=True)
class Picture:
    """An image of the page, as a data address."""

    uri: str
    alt: str
    caption: str = ""


def example_pictures(images: Sequence[Tensor], name: str, number: int = EXAMPLES) -> tuple[Picture, ...]:
    """Some images of a set."""
    return tuple(
        Picture(image_uri(image, _THUMB), f"{one_line(name)}, example {place}")
        for place, image in enumerate(images[:number], start=1)
    )


def exemplar_pictures(images: Sequence[Exemplar], whose: str) -> tuple[Picture, ...]:
    """Images in which a neuron's difference shows most."""
    return tuple(
        Picture(image_uri(each.image, _THUMB), f"{whose}: {one_line(each.name)}, pull {each.pull:+.0f} bins")
        for each in images
    )


def ranking_ends(
    rankings: Mapping[str, ImageRanking], order: Sequence[str]
) -> list[tuple[str, tuple[Picture, ...], tuple[Picture, ...]]]:
    """Nearest and farthest images of each generator, as far as they have pictures."""
    found = []
    for name in order:
        if name in rankings:
            near, far = (_ranked(images) for images in (rankings[name].nearest(_ENDS), rankings[name].farthest(_ENDS)))
            if near or far:
                found.append((name, near, far))
    return found


def _ranked(images: Sequence[RankedImage]) -> tuple[Picture, ...]:
    return tuple(
        Picture(
            image_uri(image.image, _PICTURE),
            f"{one_line(image.name)}, distance {significant(image.score, 3)}",
            " ".join([significant(image.score, 3), *(layer.layer for layer in image.layers[:1])]),
        )
        for image in images
        if image.image is not None
    )
