"""Label maps of images by what a network says of their pixels: by k-means, or learned from a few labelled images."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vdna_metrics.analysis.pixels import checked_size, layer_maps
from vdna_metrics.build.partitions import check_aspect
from vdna_metrics.build.passes import ActivationBatch, check_pictures, run_pass
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Progress, Reading, check_memory
from vdna_metrics.build.regions import VOID, LabelMap, grids_of, seen_labels
from vdna_metrics.distributions.memory import StateSize
from vdna_metrics.extractors.architectures import seeded_state_dict
from vdna_metrics.extractors.execution import one_thread
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.files import errors_of
from vdna_metrics.fingerprint import ExtractorFingerprint, refuse_differences
from vdna_metrics.functional.regions import pixels_at, project_pixels
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import check_count
from vdna_metrics.references.resolve import resolve_images

PIXELS = 50_000
"""Pixels of a set that are learned from, evenly many of each image."""

_MANY_CLASSES = 30  # from which on the source's networks are wider
_BATCH, _RATE = 64, 1e-3  # the source's
_STARTS = 4  # of k-means, the best of which counts
_EVERY = 100  # steps between two reports of progress


@dataclass(frozen=True, eq=False)
class PixelLabeller(ABC):
    """What gives each pixel a label, by its features.

    Args:
        layers: whose activations are the features, in the network's order.
        fingerprint: of the network and these layers.
    """

    layers: tuple[str, ...]
    fingerprint: ExtractorFingerprint

    @property
    @abstractmethod
    def number(self) -> int:
        """How many labels there are."""

    @property
    @abstractmethod
    def weights(self) -> list[Tensor]:
        """What tells it apart from others of one network."""

    @abstractmethod
    def scores(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """How well each label fits each pixel, ``[N, number, H, W]``, of the layers' maps ``[N, C, h, w]``."""

    def labels(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """The label that fits best, of equal ones the smallest, ``[N, H, W]``."""
        return self.scores(maps, size).argmax(dim=1)


def _check_labels(what: str, number: int) -> None:
    """Raise ``ValueError`` for a number of labels that leaves nothing to tell apart, or reaches `VOID`."""
    check_count(what, number, 2)
    if number > VOID:
        raise ValueError(f"expected at most {VOID} {what}, got {number}: the label {VOID} is no region")


# ------------------------------------------------------------------------------------------------------------- k-means
@dataclass(frozen=True, eq=False)
class PixelClusters(PixelLabeller):
    """Clusters of pixels, the largest first; a pixel belongs to that with the nearest centre.

    Args:
        centres: ``[clusters, features]`` float32.
    """

    centres: Tensor

    @property
    def number(self) -> int:
        """How many clusters there are."""
        return len(self.centres)

    @property
    def weights(self) -> list[Tensor]:
        """The centres."""
        return [self.centres]

    def scores(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """``2 c·x - |c|²``: what makes the distance from a centre smaller than from another."""
        centres = self.centres.to(maps[0].device)
        return project_pixels(maps, 2 * centres, size) - centres.square().sum(dim=1)[:, None, None]


def cluster_pixels(
    images: NumberedImages,
    extractor: ExtractorLike,
    clusters: int,
    *,
    layers: Sequence[str] | None = None,
    pixels: int = PIXELS,
    seed: int = 0,
    reading: Reading = DEFAULT_READING,
) -> PixelClusters:
    """Find clusters of pixels by k-means, without a label.

    Features are taken as they are, so layers of larger activations count more. Of each image some pixels are drawn,
    which keeps the memory bounded; the clusters hold for all, see `label_images`.

    Args:
        images: images of which clusters are found.
        extractor: frozen network with a size, or its name.
        clusters: how many to find; the source shows 5.
        layers: layers whose activations are the features, by default all.
        pixels: how many of all images are looked at.
        seed: of the pixels and of k-means.
        reading: how images are read.

    Raises:
        ValueError: for layers without places, fewer pixels than clusters, or when scikit-learn is not installed.

    Source:
        Baranchuk et al., Label-Efficient Semantic Segmentation with Diffusion Models, ICLR 2022, Fig. 4.

    Examples:
        >>> red_and_blue = np.zeros((2, 96, 96, 3), np.uint8)
        >>> red_and_blue[:, :, :40, 0], red_and_blue[:, :, 40:, 2] = 250, 250
        >>> found = cluster_pixels(red_and_blue, "vdna_tiny", 2, layers=["blocks.0"], pixels=500)
        >>> label_images(red_and_blue, found, "vdna_tiny")[0, 50, [0, 95]].tolist()
        [1, 0]
    """
    _check_labels("clusters", clusters)
    network, source = create_extractor(extractor), resolve_images(images)
    features, _ = _drawn_pixels(source, None, network, layers, pixels, seed, reading)
    if len(features) < clusters:
        raise ValueError(f"{clusters} clusters of {len(features)} pixels; take more pixels, or fewer clusters")
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ValueError(
            f"k-means is scikit-learn's, which cannot be imported ({error}): pip install 'vdna_metrics[sklearn]'"
        ) from error
    with one_thread():
        found = KMeans(clusters, n_init=_STARTS, random_state=seed).fit(features.numpy())
    order = np.argsort(-np.bincount(found.labels_, minlength=clusters), kind="stable")
    centres = torch.from_numpy(np.asarray(found.cluster_centers_[order], np.float32))
    return PixelClusters(*_seen_through(network, layers), centres)


# ----------------------------------------------------------------------------------------------------------- segmenter
@dataclass(frozen=True, eq=False)
class PixelSegmenter(PixelLabeller):
    """Small networks that tell classes of pixels by their features; the class that most of them name is the label.

    Args:
        models: the networks, ``[pixels, features]`` -> ``[pixels, classes]``.
        classes: how many classes there are.
    """

    models: tuple[nn.Sequential, ...]
    classes: int

    @property
    def number(self) -> int:
        """How many classes there are."""
        return self.classes

    @property
    def weights(self) -> list[Tensor]:
        """Those of all networks."""
        return [tensor for model in self.models for tensor in model.state_dict().values()]

    def scores(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """How many networks name each class."""
        return torch.stack([_one_hot(shares.argmax(dim=1), self.classes) for shares in self._shares(maps, size)]).sum(0)

    def disagreement(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """How far the networks disagree on each pixel, ``[N, H, W]``: the Jensen-Shannon divergence of their shares.

        ``H(mean of p) - mean of H(p)`` in nats; 0 where all say the same, at most the logarithm of their number.
        """
        mean, entropy = torch.zeros(()), torch.zeros(())
        for shares in self._shares(maps, size):
            mean = mean + shares / len(self.models)
            entropy = entropy + _entropy(shares) / len(self.models)
        return (_entropy(mean) - entropy).clamp(min=0)

    @torch.no_grad()
    def _shares(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Iterator[Tensor]:
        """Of each network the shares of the classes, ``[N, classes, H, W]``."""
        for model in self.models:
            first, rest = model[0], model[1:]
            assert isinstance(first, nn.Linear)
            hidden = project_pixels(maps, first.weight, size) + first.bias[:, None, None]
            told = rest(hidden.movedim(1, -1).reshape(-1, len(first.weight))).softmax(dim=1)
            yield told.view(len(hidden), *size, self.classes).movedim(-1, 1)


def _one_hot(labels: Tensor, number: int) -> Tensor:
    return F.one_hot(labels, number).movedim(-1, 1)


def _entropy(shares: Tensor) -> Tensor:
    entropy: Tensor = -torch.special.xlogy(shares, shares).sum(dim=1)
    return entropy


def train_segmenter(
    images: NumberedImages,
    labels: Iterable[LabelMap],
    extractor: ExtractorLike,
    classes: int,
    *,
    layers: Sequence[str] | None = None,
    models: int = 10,
    epochs: int = 4,
    pixels: int = PIXELS,
    seed: int = 0,
    progress: Progress | None = None,
    reading: Reading = DEFAULT_READING,
) -> PixelSegmenter:
    """Learn classes of pixels from a few labelled images.

    As in the source: independent networks with two hidden layers, each with ReLU and batch normalisation, of 128 and 32
    neurons for fewer than 30 classes, else of 256 and 128; Adam at 0.001, batches of 64 pixels. The source learns from
    all pixels, here of each image some are drawn, which keeps the memory bounded. Weights and the order of pixels are
    drawn from ``numpy.random.RandomState``, and it is computed by one thread on the CPU, so that a seed gives one
    segmenter.

    Args:
        images: the labelled images.
        labels: of each its classes, whole numbers ``[H, W]``, as for `regions`.
        extractor: frozen network with a size, or its name.
        classes: how many classes there are.
        layers: layers whose activations are the features, by default all.
        models: how many networks vote.
        epochs: how often each sees the pixels.
        pixels: how many of all images are learned from.
        seed: of pixels, weights and order.
        progress: called with the steps that are done, and all.
        reading: how images are read.

    Raises:
        ValueError: for another number of labels than of images, layers without places, or pixels of one class alone.

    Source:
        Baranchuk et al., Label-Efficient Semantic Segmentation with Diffusion Models, ICLR 2022, section 3.2 and
        appendix C; the disagreement is that of Zhang et al., DatasetGAN, CVPR 2021.

    Examples:
        >>> halves = np.zeros((2, 96, 96, 3), np.uint8)
        >>> halves[:, :, :40, 0], halves[:, :, 40:, 2] = 250, 250
        >>> left = (np.arange(96) < 40).astype(int) * np.ones((2, 96, 1), int)
        >>> told = train_segmenter(halves, left, "vdna_tiny", 2, layers=["blocks.0"], models=3, pixels=2000)
        >>> label_images(halves, told, "vdna_tiny")[0, 50, [0, 95]].tolist()
        [1, 0]
    """
    _check_labels("classes", classes)
    for name, number in (("models", models), ("epochs", epochs)):
        check_count(name, number)
    network, source = create_extractor(extractor), resolve_images(images)
    known, sizes = _labels_seen(labels, network, classes)
    if len(known) != len(source):
        raise ValueError(f"expected a label map for each of {len(source)} images, got {len(known)}")
    features, of_class = _drawn_pixels(source, known, network, layers, pixels, seed, reading, sizes)
    if len(of_class.unique()) < 2:
        had = len({int(each) for label in known for each in np.unique(label[label >= 0])})
        advice = "" if had < 2 else f": the labels have {had} classes, but few pixels were drawn; take more pixels"
        raise ValueError(f"expected labelled pixels of two classes at least, got {len(of_class.unique())}{advice}")
    steps = max(1, len(features) // _BATCH) * epochs

    def report(before: int, done: int) -> None:
        if progress is not None:
            progress(before + done, models * steps)

    with one_thread():
        trained = tuple(
            _trained(features, of_class, classes, epochs, [seed, model], partial(report, model * steps))
            for model in range(models)
        )
    return PixelSegmenter(*_seen_through(network, layers), trained, classes)


def _labels_seen(
    labels: Iterable[LabelMap], network: FeatureExtractor, classes: int
) -> tuple[list[NDArray[np.int64]], list[tuple[int, int]]]:
    """At the network's size, where every pixel has the label that lies under its centre; and their own sizes."""
    grids_of(network, [])  # it has a size
    assert isinstance(network.preprocess, Preprocessing)
    height, width = network.preprocess.size or (0, 0)
    found, sizes = [], []
    for index, each in enumerate(labels):
        with errors_of(f"label map {index}"):
            seen = seen_labels(each, network, classes)
        rows = (2 * np.arange(height) + 1) * seen.shape[0] // (2 * height)
        columns = (2 * np.arange(width) + 1) * seen.shape[1] // (2 * width)
        found.append(seen[rows[:, None], columns])
        sizes.append((int(np.shape(each)[0]), int(np.shape(each)[1])))
    return found, sizes


def _trained(
    features: Tensor, labels: Tensor, classes: int, epochs: int, seed: list[int], report: Callable[[int], None]
) -> nn.Sequential:
    wide, narrow = (128, 32) if classes < _MANY_CLASSES else (256, 128)
    sizes = ((features.shape[1], wide), (wide, narrow))
    hidden = [part for n, m in sizes for part in (nn.Linear(n, m), nn.ReLU(), nn.BatchNorm1d(m))]
    model = nn.Sequential(*hidden, nn.Linear(narrow, classes))
    model.load_state_dict(seeded_state_dict(model, seed))
    stream = np.random.RandomState([*seed, 1])
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    batch, done = min(_BATCH, len(features)), 0
    for _ in range(epochs):
        order = torch.from_numpy(stream.permutation(len(features)))
        for rows in order[: len(order) // batch * batch].split(batch):
            optimiser.zero_grad()
            F.cross_entropy(model(features[rows]), labels[rows]).backward()
            optimiser.step()
            done += 1
            if done % _EVERY == 0:
                report(done)
    report(done)
    return model.eval().requires_grad_(False)


# -------------------------------------------------------------------------------------------------------------- passes
def label_images(
    images: NumberedImages,
    labeller: PixelLabeller,
    extractor: ExtractorLike,
    size: tuple[int, int] | None = None,
    *,
    reading: Reading = DEFAULT_READING,
) -> NDArray[np.int16]:
    """Label maps of images.

    Args:
        images: the images.
        labeller: what `cluster_pixels` or `train_segmenter` gave.
        extractor: the network that it was made with, or its name.
        size: height and width of the label maps, of what the network sees; by default its input's.
        reading: how images are read.

    Returns:
        ``[images, H, W]``, -1 where an image was skipped.

    Raises:
        ValueError: for another network, or more memory than the limit.
    """
    return _maps_of(images, labeller, extractor, size, reading, labeller.labels, torch.int16).numpy()


def label_disagreement(
    images: NumberedImages,
    segmenter: PixelSegmenter,
    extractor: ExtractorLike,
    size: tuple[int, int] | None = None,
    *,
    reading: Reading = DEFAULT_READING,
) -> NDArray[np.float32]:
    """How far the networks of a segmenter disagree on each pixel, see `PixelSegmenter.disagreement`.

    Args:
        images: as in `label_images`, and so are the others.
        segmenter: what `train_segmenter` gave.
        extractor: likewise.
        size: likewise.
        reading: likewise.

    Returns:
        ``[images, H, W]`` in nats, -1 where an image was skipped.
    """
    return _maps_of(images, segmenter, extractor, size, reading, segmenter.disagreement, torch.float32).numpy()


def _maps_of(
    images: NumberedImages,
    labeller: PixelLabeller,
    extractor: ExtractorLike,
    size: tuple[int, int] | None,
    reading: Reading,
    tell: Callable[[Sequence[Tensor], tuple[int, int]], Tensor],
    dtype: torch.dtype,
) -> Tensor:
    network, source = create_extractor(extractor), resolve_images(images)
    check_pictures(source)
    seen = _seen_through(network, labeller.layers)[1]
    refuse_differences(
        "these labels are of another network", labeller.fingerprint.differences(seen), ("labels", "extractor")
    )
    grids = grids_of(network, labeller.layers)
    assert isinstance(network.preprocess, Preprocessing)
    shape = network.preprocess.size or (0, 0) if size is None else checked_size(size)
    number, n_bytes = len(source), shape[0] * shape[1] * dtype.itemsize
    check_memory(source.name, [StateSize("label maps", number, n_bytes)], reading, fewer="images, or a smaller size")
    state = torch.zeros(number, *shape, dtype=dtype)  # more by 1, so that no label is 0

    def fill_(batch: ActivationBatch) -> None:
        every = layer_maps(batch.activations, grids)
        for row, index in enumerate(batch.indices):  # an image at a time, whose scores may take much memory
            maps = [x[row : row + 1] for x in every]
            state[index] = (tell(maps, shape)[0] + 1).to(dtype).cpu()

    layout = network.layout.select(list(grids))
    settings = [tell.__qualname__, network.fingerprint.digest, layout.to_json(), _hash(*labeller.weights), *shape]
    run_pass(source, network, layout, reading, {"labels": state}, settings, fill_)
    return state - 1


def _drawn_pixels(
    source: ImageSource,
    labels: Sequence[NDArray[np.int64]] | None,
    network: FeatureExtractor,
    layers: Sequence[str] | None,
    pixels: int,
    seed: int,
    reading: Reading,
    label_sizes: Sequence[tuple[int, int]] = (),
) -> tuple[Tensor, Tensor]:
    """Features of some pixels, evenly many of each image, ``[pixels, C]``, and their labels, where there are some."""
    check_count("pixels", pixels)
    check_pictures(source)
    grids = grids_of(network, layers)
    if not grids:
        raise ValueError("expected layers to look at, got none")
    layout = network.layout.select(list(grids))
    assert isinstance(network.preprocess, Preprocessing)
    size = network.preprocess.size or (0, 0)
    each = max(1, pixels // max(1, len(source)))
    sizes = [StateSize("pixels", len(source) * each, 4 * layout.total)]
    check_memory(source.name, sizes, reading, fewer="pixels (pixels=) or layers (layers=, --label-layers)")
    places = torch.stack([_places(index, size, None if labels is None else labels[index], each, seed)
                          for index in range(len(source))])  # fmt: skip
    state = torch.zeros(len(source), each, layout.total)

    def fill_(batch: ActivationBatch) -> None:
        rows = list(batch.indices)
        for row, shape in zip(rows, batch.sizes, strict=True) if label_sizes else ():
            check_aspect(source.names[row], shape, label_sizes[row])
        maps = layer_maps(batch.activations, grids)
        state[rows] = pixels_at(maps, places[rows].to(maps[0].device).clamp(min=0), size).cpu()

    settings = ["pixels", network.fingerprint.digest, layout.to_json(), _hash(places)]
    seen = run_pass(source, network, layout, reading, {"pixels": state}, settings, fill_)
    read = torch.zeros(len(source), dtype=torch.bool)
    read[seen.indices] = True
    kept = (places >= 0) & read[:, None]
    if labels is None:
        return state[kept], torch.zeros(0)
    of_pixel = torch.stack(
        [torch.from_numpy(label.ravel())[place] for label, place in zip(labels, places, strict=True)]
    )
    return state[kept], of_pixel[kept]


def _hash(*tensors: Tensor) -> str:
    return hashlib.sha256(b"".join(tensor.cpu().numpy().tobytes() for tensor in tensors)).hexdigest()


def _places(index: int, size: tuple[int, int], labels: NDArray[np.int64] | None, number: int, seed: int) -> Tensor:
    """Pixels that are drawn of an image, of those with a label where there are labels; -1 where there are none."""
    among = np.arange(size[0] * size[1]) if labels is None else np.flatnonzero(labels >= 0)
    draws = np.random.RandomState([seed, index]).random_sample(number)
    chosen = among[(draws * len(among)).astype(np.int64)] if len(among) else np.full(number, -1)
    return torch.from_numpy(chosen)


def _seen_through(
    network: FeatureExtractor, layers: Sequence[str] | None
) -> tuple[tuple[str, ...], ExtractorFingerprint]:
    chosen = tuple(network.layout.select(layers))
    return chosen, network.fingerprint.select(list(chosen))
