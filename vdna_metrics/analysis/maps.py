"""Where in an image its distance from a reference lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vdna_metrics.build.keeping import KeptActivations
from vdna_metrics.build.passes import as_pictures, read_resized
from vdna_metrics.build.reading import NumberedImages, check_device
from vdna_metrics.distributions import Histogram
from vdna_metrics.distributions.parts import check_finite_activations, some_images
from vdna_metrics.dna.columns import Column, ColumnLike
from vdna_metrics.dna.distances import EMD
from vdna_metrics.dna.of_images import image_emd_by_position_from
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.functional.positions import spread_over
from vdna_metrics.layout import check_count
from vdna_metrics.neurons import chosen_weights
from vdna_metrics.references.resolve import DNALike, compared_reference, resolve_images


@dataclass(frozen=True, eq=False)
class DifferenceMap:
    """What each place of an image adds to the image's EMD from a reference.

    Args:
        index: place of the image in its source.
        name: its name there.
        values: ``[H, W]`` float64, in the distance's unit; negative where the image is held back towards the reference.
        elsewhere: what tokens and layers without a place add; `distance` is the mean of the values plus this.
        image: uint8 ``[3, H, W]`` as the network saw it.
    """

    index: int
    name: str
    values: Tensor = field(repr=False)
    elsewhere: float
    image: Tensor = field(repr=False)

    @property
    def distance(self) -> float:
        """The image's EMD from the reference."""
        return float(self.values.mean()) + self.elsewhere


@dataclass(frozen=True, eq=False)
class DifferenceMaps:
    """Maps of some images; see `difference_maps`.

    Args:
        source: name of the images.
        reference: what they were compared with.
        label: what people call the distance.
        unit: of the values.
        layers: those whose positions have places, which are in the maps.
        left_out: those that have none.
        maps: of each image.
    """

    source: str
    reference: str
    label: str
    unit: str
    layers: tuple[str, ...]
    left_out: tuple[str, ...]
    maps: tuple[DifferenceMap, ...]

    def of(self, indices: Sequence[int]) -> DifferenceMaps:
        """Those of some images, in this order and each once; of images without one there is none."""
        by_index = {each.index: each for each in self.maps}
        return replace(self, maps=tuple(by_index[index] for index in dict.fromkeys(indices) if index in by_index))


def difference_maps(
    images: NumberedImages,
    reference: DNALike,
    extractor: ExtractorLike,
    *,
    distance: ColumnLike = "emd",
    indices: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> DifferenceMaps:
    """Where in each image its EMD from a reference lies, as `rank_images` measures it.

    An image's EMD is exactly the mean of what its positions add, see `functional.image_emd_by_position`. Each layer's
    positions are spread over the image, each over the part that its row and column stand for, and the layers are
    averaged as in the distance. So the mean of a map, and what class and register tokens and layers without positions
    add, make the image's EMD.

    A position sees more of the image than its part, in late layers all of it, so a map shows where the network's
    answer differs, and blurs what it differs for.

    Args:
        images: the images.
        reference: histogram DNA that counts all positions, or its file or name, see `resolve_dna`.
        extractor: that of the reference, or its name.
        distance: ``"emd"``, or a `Column` of it with layers, neurons, weights and unit.
        indices: of the images to look at, by default all; all maps are held in memory.
        device: where the network runs.

    Raises:
        ValueError: when the distance is not the EMD, the reference is no histogram, is of another network, has no width
            in a layer or counts some positions of an image only, no layer has positions with a place, there is no such
            image or device, an image cannot be read, or activations are not finite.
        TypeError: when an index is no whole number.

    Source: Ramtoula, Gadd, Newman, De Martini, "Visual DNA", CVPR 2023, Eq. 4, taken apart by positions.

    Examples:
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> images = [torch.from_numpy(image) for image in procedural_images("dead_leaves_textured", 2, size=96)]
        >>> found = difference_maps(torch.stack(images).permute(0, 3, 1, 2), "bsds500/test", "vdna_tiny")
        >>> found.maps[0].values.shape, found.layers
        (torch.Size([96, 96]), ('blocks.0', 'blocks.2', 'blocks.4', 'conv_head'))
    """
    check_device(device)
    network, source = create_extractor(extractor), resolve_images(images)
    indices = range(len(source)) if indices is None else list(indices)
    for index in indices:
        check_count("an index", index, 0)
        if index >= len(source):
            raise ValueError(f"expected an index below the {len(source)} images of {source.name}, got {index}")
    mapper = DifferenceMapper(reference, network, distance)
    resized = read_resized(source, indices, network)
    return mapper.of_images(source.name, source.names, resized, device)


class DifferenceMapper:
    """Makes maps of activations; see `difference_maps`.

    Args:
        reference: as in `difference_maps`.
        network: that of the reference.
        distance: as in `difference_maps`.
    """

    def __init__(self, reference: DNALike, network: FeatureExtractor, distance: ColumnLike | None) -> None:
        self._column, real = compared_reference(reference, distance, network.name)
        (real,) = self._column.distance.prepared({"reference": real})
        if (problem := no_maps(self._column, real)) is not None:
            raise ValueError(problem)
        self._layout = layout = real.layout
        fingerprint = network.fingerprint.select(list(layout))
        real.check_fingerprint(fingerprint)
        self._network, self._reference = network, ", ".join(real.provenance.sources) or "unknown source"
        histogram = real.distribution
        assert isinstance(histogram, Histogram)
        unit = self._column.options["unit"]
        widths = layout.split(histogram.bin_widths(unit))
        self._column.distance.check_known(widths)
        known = {layer: (~each.isnan()).double().cpu() for layer, each in widths.items()}
        weights = chosen_weights(self._column.weights, layout, fingerprint)
        of_neurons = (
            {layer: each / each.sum() for layer, each in known.items()} if weights is None else layout.split(weights)
        )
        shares = self._column.layer_shares(layout, histogram).tolist()
        in_whole = {layer: share * of_neurons[layer] for layer, share in zip(layout, shares, strict=True)}
        self._by_position = image_emd_by_position_from(histogram, in_whole, unit=unit)

    def of_images(
        self, source: str, names: Sequence[str], resized: Mapping[int, Tensor], device: torch.device | str
    ) -> DifferenceMaps:
        """Maps of images as `read_resized` gives them, in their order."""
        pictures, lease = as_pictures(resized), self._network.lease(list(self._layout))
        seen = (
            (index, self._layout.pick(self._network.from_resized(image[None].to(device))))
            for index, image in resized.items()
        )
        found = self._made(source, names, seen, pictures)
        del lease
        return found

    def of_kept(self, kept: KeptActivations, pictures: Mapping[int, Tensor]) -> DifferenceMaps:
        """Maps of those images of which a pass has kept the activations, in the order of the pictures.

        Args:
            kept: the activations.
            pictures: ``{index: uint8 [3, H, W]}``.
        """
        rows = [(batch, row) for batch in kept.batches for row in range(next(iter(batch.values())).shape[1])]
        row_of = dict(zip(kept.indices, rows, strict=True))
        seen = (
            (index, self._layout.pick(some_images(row_of[index][0], torch.tensor([row_of[index][1]]))))
            for index in pictures
            if index in row_of
        )
        return self._made(kept.source, dict(zip(kept.indices, kept.names, strict=True)), seen, pictures)

    def _made(
        self,
        source: str,
        names: Sequence[str] | Mapping[int, str],
        seen: Iterable[tuple[int, dict[str, Tensor]]],
        pictures: Mapping[int, Tensor],
    ) -> DifferenceMaps:
        maps, placed = [], dict.fromkeys(self._layout, True)
        for index, activations in seen:
            check_finite_activations(activations)
            _, height, width = pictures[index].shape
            values, elsewhere = torch.zeros(height, width, dtype=torch.float64), 0.0
            grids = self._network.grids((height, width))
            for layer, (added,) in self._by_position(activations).items():
                positions, added, grid = len(added), added.cpu(), grids.get(layer)
                first = positions if grid is None else grid.first
                placed[layer] = grid is not None
                elsewhere += float(added[:first].sum()) / positions
                if grid is not None:
                    share = (positions - first) / positions  # a token counts like a position
                    values += share * spread_over(added[first:].view(1, *grid.shape), (height, width))[0]
            maps.append(DifferenceMap(index, names[index], values, elsewhere, pictures[index]))
        layers = tuple(layer for layer, has_place in placed.items() if has_place)
        if not layers:
            raise ValueError(
                f"{', '.join(self._layout)}: no layer's positions have a place in the image; give a distance with "
                "layers=, maps of convolutions or tokens of patches"
            )
        left_out = tuple(layer for layer in self._layout if layer not in layers)
        column = self._column
        return DifferenceMaps(source, self._reference, column.label, column.unit, layers, left_out, tuple(maps))


def no_maps(column: Column, reference: VDNA) -> str | None:
    """Why a distance from a reference has no maps, ``None`` where it has."""
    if column.distance is not EMD:
        return f"difference maps are of the EMD, got {column!r}; give distance='emd'"
    if (kept := reference.provenance.max_positions) is not None:
        return f"the reference counts {kept} positions of an image, maps need all: make it without max_positions="
    return None
