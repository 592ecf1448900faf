"""Whether pixels are labelled by what a network says of them, and whether a fault of one region is found there.

    python benchmarks/experiments/regions.py

Images are composites of two of four textures, with outlines that are known. Labels are found by k-means without any, or
learned from a few of them, as Baranchuk et al. (ICLR 2022) do it, and are judged on composites that nothing was learned
from. Then the region of one texture is made faulty in one of two sets, and the sets are compared region by region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from _common import Experiment, begin, markdown_table, mobilenetv2
from _images import Drawn, Image, draw, pixels, stream_of
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from vdna_metrics import VDNA, ExtractorSpec, build_dnas, create_extractor
from vdna_metrics.analysis import (
    PixelLabeller,
    PixelSegmenter,
    cluster_pixels,
    compare_regions,
    label_disagreement,
    label_images,
    train_segmenter,
)
from vdna_metrics.build import Partition, Reading, regions
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.functional import intersection_over_union
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.procedural import PROCEDURAL_WORLDS
from vdna_metrics.reports import plot_regions

# Chosen before any held-out number was seen.
TEXTURES = ("photograph", "dead leaves, textured", "dead leaves, disks", "dead leaves, squares")
WORLDS = ("", "dead_leaves_textured", "dead_leaves_disks", "dead_leaves_squares")
# Added after the results of those above, which differ by the shape of small things alone.
UNLIKE = ("photograph", "1/f noise", "white noise", "dead leaves, squares")
UNLIKE_WORLDS = ("", "one_over_f_noise", "white_noise", "dead_leaves_squares")
LABELLED = (2, 10)  # images that are learned from
PIXELS, PIXELS_QUICK = 10_000, 500  # of a set, that clusters and segmenters see
K = 5  # clusters of photographs, as in the source's Fig. 4
FAULTS = ("blurred", "darker")
SIZE = 128  # pixels a side, of composites and of what the networks see; the U-Net sees 64
SHOWN = 6

UNET = {
    "sample_size": 64,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    "block_out_channels": [32, 64, 64],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "time_embedding_type": "positional",
    "attention_head_dim": None,
    "downsample_padding": 0,
}
TIMESTEPS, BLOCKS = (50, 150, 250), (1, 2, 3, 4)


# -------------------------------------------------------------------------------------------------------------- images
@dataclass(frozen=True, eq=False)
class Composites(Drawn):
    """Images of two textures each, and which texture is where."""

    labels: tuple[NDArray[np.int64], ...]

    @property
    def size(self) -> int:
        """Height and width."""
        return len(self.labels[0])


def composites(
    name: str,
    photographs: ImageSource,
    n: int,
    size: int,
    *,
    worlds: Sequence[str] = WORLDS,
    fault: str = "",
    region: int = -1,
) -> Composites:
    """``n`` composites, drawn by their names; one texture may be faulty in them."""
    names = tuple(f"{name}/{i:03}" for i in range(n))
    drawn = [_composite(each, photographs, size, worlds, fault, region) for each in names]
    told = f"{name}, {fault} {TEXTURES[region]}" if fault else name
    return Composites(told, names, tuple(image for image, _ in drawn), tuple(labels for _, labels in drawn))


def _composite(
    name: str, photographs: ImageSource, size: int, worlds: Sequence[str], fault: str, region: int
) -> tuple[Image, NDArray[np.int64]]:
    rng = stream_of(name)
    first, second = rng.permutation(len(worlds))[:2]
    field = ndimage.zoom(rng.standard_normal((4, 4)), size / 4, order=3)[:size, :size]
    labels = np.where(field > np.quantile(field, rng.uniform(0.3, 0.7)), first, second).astype(np.int64)
    image = np.zeros((size, size, 3), np.uint8)
    for texture in (first, second):
        rng = stream_of(name, 1 + int(texture))
        if worlds[texture]:
            drawn = PROCEDURAL_WORLDS[worlds[texture]](rng, size)
        else:
            drawn = pixels(photographs, int(rng.integers(len(photographs))), size)
        drawn = spoiled(drawn, fault) if texture == region else drawn
        image[labels == texture] = drawn[labels == texture]
    return image, labels


def spoiled(image: Image, fault: str) -> Image:
    """An image with a fault, ``"blurred"`` or ``"darker"``."""
    if fault == "blurred":
        sigma = image.shape[0] / 150
        return np.clip(ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0)), 0, 255).astype(np.uint8)
    return (image * 0.6).astype(np.uint8)


def seen_pixels(experiment: Experiment) -> int:
    """How many pixels of a set clusters and segmenters are made of."""
    return PIXELS_QUICK if experiment.quick else PIXELS


# ------------------------------------------------------------------------------------------------------------ networks
def networks(experiment: Experiment) -> dict[str, FeatureExtractor]:
    """The extractors by name; the last two are to compare with."""
    if experiment.extractor is not None:
        return {experiment.extractor: create_extractor(experiment.extractor, weights_path=experiment.weights)}
    colours = create_extractor(nn.Identity(), layers=[""], size=48 if experiment.quick else SIZE)
    if experiment.quick:
        return {"vdna_tiny": create_extractor("vdna_tiny"), "colours": colours}
    weights = experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
    arguments = {"config": UNET, "timesteps": list(TIMESTEPS), "blocks": list(BLOCKS)}
    layers = [f"t{timestep}.up.{block}" for timestep in TIMESTEPS for block in BLOCKS]
    unet = ExtractorSpec("random U-Net", "unet_decoder", layers, 64, 0.5, 0.5, arguments, "seeded:0")
    return {
        "mobilenetv2": create_extractor(replace(mobilenetv2(weights), size=SIZE)),
        "random U-Net": create_extractor(unet),
        "colours": colours,
    }


# -------------------------------------------------------------------------------------------------------------- labels
def judged(labels: NDArray[Any], images: Composites, *, match: bool = False) -> NDArray[np.float64]:
    """IoU of each texture, of label maps of a smaller size, which are enlarged to the composites'."""
    height, width = labels.shape[1:]
    places = [(2 * np.arange(images.size) + 1) * side // (2 * images.size) for side in (height, width)]
    found = labels[:, places[0][:, None], places[1]]
    return intersection_over_union(found, np.stack(images.labels), len(TEXTURES), match=match)


def label_composites(
    experiment: Experiment, name: str, network: FeatureExtractor, train: Composites, test: Composites, reading: Reading
) -> dict[str, NDArray[np.float64]]:
    """IoU of the textures on held-out composites, by each way of labelling, and the disagreement."""

    def make() -> dict[str, NDArray[np.float64]]:
        clusters = cluster_pixels(train, network, len(TEXTURES), pixels=seen_pixels(experiment), reading=reading)
        found = {"k-means": judged(label_images(test, clusters, network, reading=reading), test, match=True)}
        for number in LABELLED:
            some = select_images(train, range(number))
            segmenter = train_segmenter(
                some, train.labels[:number], network, len(TEXTURES), pixels=seen_pixels(experiment), reading=reading
            )
            labels = label_images(test, segmenter, network, reading=reading)
            found[f"segmenter, {number}"] = judged(labels, test)
            if number == LABELLED[-1]:
                wrong = labels != _resized(test, labels.shape[1:])
                doubt = label_disagreement(test, segmenter, network, reading=reading)
                found["disagreement"] = np.array([doubt[wrong].mean(), doubt[~wrong].mean()])
        return found

    settings = [
        network.fingerprint.digest,
        train.name,
        len(train),
        test.name,
        len(test),
        LABELLED,
        seen_pixels(experiment),
        test.size,
    ]
    return experiment.keep(f"labels-{name.replace(' ', '_')}", settings, make)


def _resized(images: Composites, shape: Sequence[int]) -> NDArray[np.int64]:
    rows, columns = ((2 * np.arange(side) + 1) * images.size // (2 * side) for side in shape)
    return np.stack([labels[rows[:, None], columns] for labels in images.labels])


# ------------------------------------------------------------------------------------------------------------- regions
def planted(
    experiment: Experiment, network: FeatureExtractor, segmenter: PixelSegmenter, real: Composites,
    photographs: ImageSource, reading: Reading,
) -> tuple[list[list[str]], dict[str, list[int]]]:  # fmt: skip
    """The table of distances, and of each labelling how often the planted region came first, and rose most."""
    rows, counts = [], {}
    labellings: dict[str, PixelLabeller | None] = {"known masks": None, f"segmenter, {LABELLED[-1]}": segmenter}
    for how, labeller in labellings.items():
        settings = [network.fingerprint.digest, LABELLED, seen_pixels(experiment), real.name, len(real), real.size]
        found = experiment.keep(
            f"distances-{'known' if labeller is None else 'segmenter'}",
            [*settings, labeller is None],
            lambda labeller=labeller: {"distances": _distances(network, labeller, real, photographs, reading)},
        )["distances"]
        clean, *faulty = found
        rows.append([how, "none", "", *map(_cell, clean)])
        counts[how] = [0, 0, 0]
        for place, each in enumerate(faulty):
            fault, region = FAULTS[place // len(TEXTURES)], place % len(TEXTURES)
            hits = np.nanargmax(each) == region, np.nanargmax(each - clean) == region
            counts[how] = [a + b for a, b in zip(counts[how], (1, *hits), strict=True)]
            cells = [f"**{_cell(value)}**" if texture == region else _cell(value) for texture, value in enumerate(each)]
            rows.append([how, fault, TEXTURES[region], *cells])
    return rows, counts


def _cell(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"


def _distances(
    network: FeatureExtractor, labeller: PixelLabeller | None, real: Composites, photographs: ImageSource,
    reading: Reading,
) -> NDArray[np.float64]:  # fmt: skip
    """VDNA-EMD of each texture's regions in bins, ``[1 + faults * textures, textures]``; first without a fault."""
    reference = _regions_of(network, labeller, real, reading)
    faults = [{}, *({"fault": fault, "region": region} for fault in FAULTS for region in range(len(TEXTURES)))]
    rows = []
    for fault in faults:
        other = composites("other", photographs, len(real), real.size, **fault)
        dnas, labels = _regions_of(network, labeller, other, reading)
        report = compare_regions(dnas, reference[0], labels, reference[1])
        rows.append([report[texture].distance for texture in TEXTURES])
    return np.array(rows, float)


def _regions_of(
    network: FeatureExtractor, labeller: PixelLabeller | None, images: Composites, reading: Reading
) -> tuple[dict[str, VDNA], Partition[str]]:
    maps = images.labels if labeller is None else label_images(images, labeller, network, reading=reading)
    labels = regions(maps, network, TEXTURES, cropped=labeller is not None)
    return build_dnas(images, network, ranges="auto", partition=labels, reading=reading)["histogram"], labels


# ------------------------------------------------------------------------------------------------------------- results
def main() -> None:
    experiment = begin(__file__, __doc__)
    n_train, n_test, n_sets, n_seen, size = (10, 4, 4, 4, 48) if experiment.quick else (30, 24, 16, 40, SIZE)
    reading = Reading(8, device=experiment.device)
    photographs = experiment.open("bsds500.zip", "train/", "val/")
    held_out = experiment.open("bsds500.zip", "test/")
    train, test = composites("train", photographs, n_train, size), composites("test", held_out, n_test, size)
    extractors = networks(experiment)
    rows, doubts = [], []
    for name, network in extractors.items():
        found = label_composites(experiment, name, network, train, test, reading)
        wrong, right = found.pop("disagreement")
        doubts.append(f"{name} {wrong:.3f} where wrong, {right:.3f} where right")
        rows += _shares(name, found)
    first = next(iter(extractors))
    unlike = [
        composites(f"{each} unlike", of, n, size, worlds=UNLIKE_WORLDS)
        for each, of, n in (("train", photographs, n_train), ("test", held_out, n_test))
    ]
    unlike_rows = []
    for name in (first, "colours"):
        if name in extractors:
            found = label_composites(experiment, name, extractors[name], *unlike, reading)
            del found["disagreement"]
            unlike_rows += _shares(name, found)
    some = select_images(train, range(LABELLED[-1]))
    segmenter = train_segmenter(
        some,
        train.labels[: len(some)],
        extractors[first],
        len(TEXTURES),
        pixels=seen_pixels(experiment),
        reading=reading,
    )
    sheets = pictures(experiment, extractors, test, segmenter, draw(held_out, n_seen), reading)
    real = composites("real", photographs, n_sets, size)
    table, counts = planted(experiment, extractors[first], segmenter, real, photographs, reading)
    told = "; ".join(
        f"by {how} it is the farthest in {a} of {n}, and rises most in {b}" for how, (n, a, b) in counts.items()
    )
    section = [
        f"```bash\n{experiment.command}\n```",
        f"Intersection over union on {n_test} held-out composites; k-means ({len(TEXTURES)} clusters, no label) by the "
        f"best matching, segmenters of {' and '.join(map(str, LABELLED))} labelled composites:",
        markdown_table(["network", "labels by", *TEXTURES, "mean"], rows, words=2),
        f"Disagreement of the {LABELLED[-1]}-image segmenters, mean in nats: {'; '.join(doubts)}.",
        "The same of four textures that are less alike:",
        markdown_table(["network", "labels by", *UNLIKE, "mean"], unlike_rows, words=2),
        *(f"![{told_of}]({path})" for told_of, path in sheets.items()),
        f"VDNA-EMD (bins) of each texture's regions between two sets of {n_sets} composites, seen by `{first}`. In the "
        "second set one texture is faulty, which is printed bold:",
        markdown_table(["labels by", "fault", "planted in", *TEXTURES], table, words=3),
        f"Of the planted region: {told}.",
    ]
    experiment.write_section("\n\n".join(section), page="regions.md")


def _shares(name: str, found: Mapping[str, NDArray[np.float64]]) -> list[list[str]]:
    return [[name, how, *(f"{x:.2f}" for x in each), f"{np.nanmean(each):.2f}"] for how, each in found.items()]


def pictures(
    experiment: Experiment, extractors: Mapping[str, FeatureExtractor], test: Composites,
    segmenter: PixelSegmenter, photographs: ImageSource, reading: Reading,
) -> dict[str, str]:  # fmt: skip
    """Sheets of the composites, and of photographs."""
    shown = select_images(test, range(min(SHOWN, len(test))))
    raw = [test.read(index) for index in range(len(shown))]
    name, network = next(iter(extractors.items()))
    found = label_images(shown, segmenter, network, reading=reading)
    rows = {
        "known": list(zip(raw, test.labels, strict=False)),
        f"by a segmenter of {LABELLED[-1]} others, {name}": list(zip(raw, found, strict=True)),
    }
    title = "Held-out composites and their textures"
    sheets = {title: experiment.save_picture(plot_regions(rows, TEXTURES, title=title), "regions_composites")}
    rows = {}
    few = select_images(photographs, range(min(SHOWN, len(photographs))))
    seen = [pixels(few, index, test.size) for index in range(len(few))]
    for name, network in list(extractors.items())[:2]:
        layers = list(network.layout)
        chosen = [layers[len(layers) // 2], layers[-2]] if name == "mobilenetv2" else layers[1:2]
        for layer in chosen if len(layers) > 1 else layers:
            clusters = cluster_pixels(
                photographs, network, K, layers=[layer], pixels=seen_pixels(experiment), reading=reading
            )
            rows[f"{name}, {layer}"] = list(
                zip(seen, label_images(few, clusters, network, reading=reading), strict=True)
            )
    title = f"{K} clusters of the pixels of {len(photographs)} photographs, a layer each"
    names = [f"cluster {number}" for number in range(K)]
    sheets[title] = experiment.save_picture(plot_regions(rows, names, title=title), "regions_photographs")
    return sheets


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
