"""Features of single images, and what they say of two sets: fidelity, diversity, and copies, which are no proof."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.build.passes import ActivationBatch, check_pictures, run_pass
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading, check_memory
from vdna_metrics.distributions.memory import StateSize
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.fingerprint import ExtractorFingerprint, refuse_differences
from vdna_metrics.functional import kernel_distance, vendi_score
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.neighbours import nearest_neighbours, neighbour_shares
from vdna_metrics.images.sources import first_folder
from vdna_metrics.layout import check_type
from vdna_metrics.references.resolve import resolve_images

# A neuron whose deviation is below this share of its mean says the same of every image but for rounding, which
# standardising would blow up.
_ROUNDING = 1e-5
# Reference images whose ratio is below this share of what 1 in 100 would have by the spread of all are near-duplicates
# of others: on photographs the 1 % quantile was 0.6 to 1.2 of that, and ratios of near-duplicates below 0.4.
_REPEATED = 0.5
# The threshold of few reference images is uncertain, and ratios of copies are far below it: flipped and compressed ones
# were below 0.65 of it on photographs of ImageNet and CIFAR-10, of 600 new ones none was below 0.9.
_SURE = 0.8
# Of equal images that are more than k, the k-th distance is no measure: this share of the reference's nearest is.
_TOGETHER = 0.03
SUBSET_SIZE = 1000
"""Images in a subset of the kernel distance where there are twice as many."""


@dataclass(frozen=True, eq=False)
class Features:
    """One vector an image: the means over positions of a layer's activations.

    Args:
        names: of the N images.
        digests: sha256 of the N images as stored; empty where they are not known.
        vectors: ``[N, d]`` float32.
        mirrored: likewise, of the images flipped left to right, where they were asked for.
        fingerprint: of the extractor and the layer, where they are known.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    vectors: Tensor
    mirrored: Tensor | None = None
    fingerprint: ExtractorFingerprint | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        if len(self.vectors) != n or len(self.digests) not in (0, n):
            raise ValueError(f"expected {n} vectors and digests, got {len(self.vectors)}, {len(self.digests)}")
        if self.mirrored is not None and self.mirrored.shape != self.vectors.shape:
            here, there = list(self.vectors.shape), list(self.mirrored.shape)
            raise ValueError(f"expected mirrored features {here}, as the others, got {there}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class folder of each image, as in `class_folders`: the labels that `linear_probe` asks for."""
        return tuple(map(first_folder, self.names))

    def __repr__(self) -> str:
        layer = f", {', '.join(self.fingerprint.paths)} of {self.fingerprint.architecture}" if self.fingerprint else ""
        return f"Features({len(self)} images of {self.vectors.shape[1]} neurons{layer})"


def _check_same_layer(**sides: Features) -> None:
    """Refuse, showing both sides, what is not features of one layer of one network."""
    for name, side in sides.items():
        advice = ": collect_features(images, extractor) gives them"
        check_type(f"the features of {name} images", side, Features, advice=advice)
    one, other = sides.values()
    if one.vectors.shape[1] != other.vectors.shape[1]:
        found = [("numbers of neurons", str(one.vectors.shape[1]), str(other.vectors.shape[1]))]
    elif one.fingerprint is None or other.fingerprint is None:
        found = []
    else:
        found = one.fingerprint.differences(other.fingerprint)
        here, there = (", ".join(each.paths) for each in (one.fingerprint, other.fingerprint))
        found += [("layers", here, there)] * (here != there)
    here, there = sides
    refuse_differences("features are not comparable", found, (here, there))


def collect_features(
    images: NumberedImages,
    extractor: ExtractorLike,
    *,
    layer: str | None = None,
    mirrored: bool = False,
    reading: Reading = DEFAULT_READING,
) -> Features:
    """Means over positions of one layer, for every image.

    Args:
        images: what has places and names, see `NumberedImages`.
        extractor: frozen network, or its name.
        layer: by default the extractor's last.
        mirrored: also of each image flipped left to right, by a second forward.
        reading: how images are read.

    Returns:
        The features, ``[N, d]`` float32 on the CPU: 5 MB a thousand images of 1280 neurons.

    Raises:
        ValueError: for an unknown layer, or unreadable images (unless skipped).

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> collect_features(np.zeros((3, 32, 32, 3), np.uint8), create_extractor("vdna_tiny"))
        Features(3 images of 1280 neurons, conv_head of short_mobilenetv2)
    """
    check_type("reading", reading, Reading)
    network, source = create_extractor(extractor), resolve_images(images)
    if mirrored:
        check_pictures(source)
    layout = network.layout.select([layer if layer is not None else list(network.layout)[-1]])
    (chosen,) = layout
    names = ("features", "mirrored features") if mirrored else ("features",)
    check_memory(source.name, [StateSize(name, len(source), 4 * layout.total) for name in names], reading)
    states = {name: torch.zeros(len(source), layout.total) for name in names}

    def fill_(batch: ActivationBatch) -> None:
        rows = list(batch.indices)
        states["features"][rows] = image_means(batch.activations[chosen]).float().cpu()
        if mirrored and batch.images is not None:
            activations = network.from_resized(batch.images.flip(3))
            states["mirrored features"][rows] = image_means(activations[chosen]).float().cpu()

    fingerprint = network.fingerprint.select([chosen])
    seen = run_pass(source, network, layout, reading, states, ["features", fingerprint.digest, chosen], fill_)
    return Features(
        names=seen.seen_names,
        digests=tuple(seen.digests),
        vectors=seen.rows(states["features"]),
        mirrored=seen.rows(states["mirrored features"]) if mirrored else None,
        fingerprint=fingerprint,
    )


@dataclass(frozen=True)
class Fidelity:
    """What features say of generated images beside their distance; see `functional` for each value.

    Args:
        precision: share of generated images in the real manifold.
        recall: share of real images in the generated manifold.
        density: mean number of real balls around a generated image, over ``density_k``.
        coverage: share of real balls with a generated image.
        vendi_real: Vendi score of the real images.
        vendi_generated: of the generated ones.
        kernel_distance: KID, mean over subsets.
        kernel_distance_std: deviation of one subset's value.
        n_real: number of real images.
        n_generated: number of generated images.
        precision_k: neighbour that gives the radius, of precision and recall.
        density_k: likewise, of density and coverage.
        kernel_subsets: number of subsets of the kernel distance.
        kernel_subset_size: images of either set in each.
        seed: of their draws.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    vendi_real: float
    vendi_generated: float
    kernel_distance: float
    kernel_distance_std: float
    n_real: int
    n_generated: int
    precision_k: int
    density_k: int
    kernel_subsets: int
    kernel_subset_size: int
    seed: int

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Plain containers: ``values``, and the ``settings`` they came with."""
        every = list(asdict(self).items())
        first = list(vars(self)).index("n_real")
        return {"values": dict(every[:first]), "settings": dict(every[first:])}


def measure_fidelity(
    real: Features,
    generated: Features,
    *,
    precision_k: int = 3,
    density_k: int = 5,
    kernel_subsets: int = 100,
    kernel_subset_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Fidelity:
    """Precision, recall, density, coverage, Vendi scores and kernel distance of two sets of features.

    All but the kernel distance depend on the numbers of images: compare generators at one number, against one set of
    real images.

    Args:
        real: features of real images.
        generated: of generated images, from the same layer.
        precision_k: neighbour that gives the radius, of precision and recall.
        density_k: likewise, of density and coverage.
        kernel_subsets: number of subsets of the kernel distance.
        kernel_subset_size: images of either set in each; by default 1000, or half of the smaller set where that is
            less, so that subsets differ. The expected value is the same.
        seed: of their draws.
        device: where to compute.

    Raises:
        ValueError: when the sets were not seen by one layer of one network, there are too few images, or a feature is
            not finite.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
        >>> features = collect_features(images, create_extractor("vdna_tiny"))
        >>> found = measure_fidelity(features, features)
        >>> found.precision, found.recall, found.coverage, found.kernel_subset_size
        (1.0, 1.0, 1.0, 6)
    """
    _check_same_layer(real=real, generated=generated)
    if kernel_subset_size is None:
        kernel_subset_size = max(2, min(SUBSET_SIZE, min(len(real), len(generated)) // 2))
    sides = real.vectors.to(device), generated.vectors.to(device)
    shares = neighbour_shares(*sides, precision_k=precision_k, density_k=density_k)
    precision, recall, density, coverage = shares
    vendi_real, vendi_generated = (vendi_score(side) for side in sides)
    kernel, deviation = kernel_distance(*sides, subsets=kernel_subsets, subset_size=kernel_subset_size, seed=seed)
    return Fidelity(
        precision=float(precision),
        recall=float(recall),
        density=float(density),
        coverage=float(coverage),
        vendi_real=float(vendi_real),
        vendi_generated=float(vendi_generated),
        kernel_distance=float(kernel),
        kernel_distance_std=float(deviation),
        n_real=len(real),
        n_generated=len(generated),
        precision_k=precision_k,
        density_k=density_k,
        kernel_subsets=kernel_subsets,
        kernel_subset_size=kernel_subset_size,
        seed=seed,
    )


@dataclass(frozen=True)
class CopyMatch:
    """A generated image and the reference image nearest to it.

    Args:
        image: name of the generated image.
        reference: name of the reference image.
        distance: between their features, each neuron in its deviations over the reference.
        ratio: of this distance to that of the k-th nearest reference image: near 0 for a copy, near 1 for an image
            that is like many.
        mirrored: whether the reference image flipped left to right is the nearest.
        same_file: whether the two are the same bytes.
        suspect: whether they look like copies.
    """

    image: str
    reference: str
    distance: float
    ratio: float
    mirrored: bool
    same_file: bool
    suspect: bool


@dataclass(frozen=True)
class CopyReport:
    """Which generated images look like copies; a diagnostic, not a proof.

    Args:
        matches: one a generated image, in their order.
        threshold: of the ratio, at or below which an image is suspect.
        false_alarms: share of real images that would be suspect.
        n_reference: number of reference images.
        repeated: number of reference images with near-duplicates in the reference, which do not set the threshold.
        k: neighbour whose distance the nearest one's is compared with.
    """

    matches: tuple[CopyMatch, ...]
    threshold: float
    false_alarms: float
    n_reference: int
    repeated: int
    k: int

    @property
    def sure(self) -> int:
        """How many look like copies for sure: the same files, and ratios below 0.8 of the threshold."""
        return sum(match.same_file or match.ratio <= _SURE * self.threshold for match in self.matches)

    @property
    def suspects(self) -> tuple[CopyMatch, ...]:
        """Those that look like copies, the most suspicious first."""
        found = [match for match in self.matches if match.suspect]
        return tuple(sorted(found, key=lambda match: (not match.same_file, match.ratio)))

    @property
    def summary(self) -> str:
        """What was found, for people."""
        n, by_chance = len(self.matches), self.false_alarms * len(self.matches)
        return (
            f"{len(self.suspects)} of {n} generated images look like copies of one of {self.n_reference} reference "
            f"images; of {n} new real images about {by_chance:.3g} would. A diagnostic, not a proof: look at the pairs."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain containers: the settings, the summary and the suspects."""
        report = {**vars(self), "n_generated": len(self.matches), "summary": self.summary}
        del report["matches"]
        return {**report, "suspects": [vars(match) for match in self.suspects]}


def find_copies(
    generated: Features,
    reference: Features,
    *,
    k: int = 5,
    false_alarms: float = 0.01,
    device: torch.device | str = "cpu",
) -> CopyReport:
    """Find each generated image's nearest reference image, and say which look like copies.

    An image is suspect when its nearest reference image is much nearer than its k-th nearest: ``d_1 / d_k`` at or below
    a threshold. The threshold is the ``false_alarms`` quantile of the same ratio of each reference image among the
    others, so that this share of new real images would be suspect; with fewer than ``1 / false_alarms`` reference
    images, about one in their number. Reference images that have near-duplicates in the reference are left out of the
    quantile: those whose ratio is below half of what one in a hundred would have if the distances of k neighbours
    spread as those of the median image do, ``d_k^D`` uniformly in some dimension D. The same bytes are always suspect.

    What a network sees as the same image (flipped, cropped, compressed) is found; what a random network does not, is
    not. With ``reference.mirrored``, each reference image also stands flipped.

    Args:
        generated: features of generated images.
        reference: features of the images that may have been copied, from the same layer.
        k: at least 2; a reference image may have k − 2 near-duplicates in the reference and still be found.
        false_alarms: share of new real images that may be suspect, above 0 and below 1.
        device: where to compute.

    Raises:
        ValueError: when the sets were not seen by one layer of one network, there are too few reference images, a
            feature is not finite, or an option is out of range.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> from vdna_metrics.analysis import collect_features, find_copies
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> network = create_extractor("vdna_tiny")
        >>> images = np.stack(list(procedural_images("dead_leaves_disks", 30, size=64)))
        >>> reference = collect_features(images[:20], network)
        >>> generated = collect_features(np.concatenate([images[20:], images[7:8, :, ::-1]]), network)
        >>> [(match.image, match.reference) for match in find_copies(generated, reference).suspects]
        [('10', '7')]
    """
    _check_same_layer(reference=reference, generated=generated)
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms is a share above 0 and below 1, got {false_alarms}")
    if k < 2 or len(reference) < k + 1:
        raise ValueError(
            f"k={k} needs to be at least 2 and at least {max(k, 2) + 1} reference images, got {len(reference)}"
        )
    n, spread = len(reference), _Spread.of(reference, k, false_alarms, device)
    scale, points, threshold = spread.scale, spread.points, spread.threshold
    found = _nearest_images(generated.vectors.to(device) * scale, points, n, k, leave_out_own=False)
    digests = {digest: place for place, digest in reversed(list(enumerate(reference.digests))) if digest}
    matches = []
    for place, (ratio, distance, index) in enumerate(zip(*(part.tolist() for part in found), strict=True)):
        same = digests.get(generated.digests[place]) if generated.digests else None
        matches.append(
            CopyMatch(
                image=generated.names[place],
                reference=reference.names[index % n if same is None else same],
                distance=distance,
                ratio=ratio,
                mirrored=same is None and index >= n,
                same_file=same is not None,
                suspect=same is not None or ratio <= threshold,
            )
        )
    return CopyReport(tuple(matches), threshold, spread.false_alarms, n, spread.repeated, k)


@dataclass(frozen=True, eq=False)
class RepeatedImages:
    """Which images of a set are not an earlier one again; a diagnostic, not a proof.

    Args:
        distinct: their places; of images that look like each other the first.
        expected: share of the images that at most would be taken for repeats by chance, or as in the reference.
    """

    distinct: list[int]
    expected: float


def repeated_images(
    generated: Features,
    reference: Features,
    *,
    k: int = 5,
    false_alarms: float = 0.01,
    device: torch.device | str = "cpu",
) -> RepeatedImages | None:
    """Find images of one set that look like each other for sure, by the rule of `find_copies` and 0.8 of its threshold.

    Args:
        generated: features of the images.
        reference: those that tell what is normal, from the same layer.
        k: as in `find_copies`.
        false_alarms: likewise.
        device: where to compute.

    Returns:
        ``None`` for sets of k images or fewer.

    Raises:
        ValueError: as `find_copies`.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> images = np.stack(list(procedural_images("dead_leaves_disks", 30, size=64)))
        >>> reference, generated = (
        ...     collect_features(some, create_extractor("vdna_tiny"))
        ...     for some in (images[:20], np.concatenate([images[20:], images[22:24]]))
        ... )
        >>> {10, 11}.isdisjoint(repeated_images(generated, reference).distinct)
        True
    """
    _check_same_layer(reference=reference, generated=generated)
    if min(len(reference), len(generated)) <= k:
        return None
    spread = _Spread.of(reference, k, false_alarms, device)
    points = generated.vectors.to(device) * spread.scale
    distances, places = (found.cpu().numpy() for found in nearest_neighbours(points, points, k, exclude_self=True))
    near = distances <= np.maximum(_SURE * spread.threshold * distances[:, -1:], _TOGETHER * spread.reach)
    first = np.arange(len(points))
    for image, other in zip(*np.nonzero(near), strict=True):
        one, another = sorted((_root(first, int(image)), _root(first, int(places[image, other]))))
        first[another] = one
    distinct = np.flatnonzero(first == np.arange(len(points))).tolist()
    return RepeatedImages(distinct, max(spread.false_alarms, spread.repeated / len(reference)))


def _root(first: NDArray[np.int64], image: int) -> int:
    while first[image] != image:
        image = int(first[image])
    return image


@dataclass(frozen=True, eq=False)
class _Spread:
    """How near images of a reference are to each other: what is normal, for copies and repeats.

    Args:
        scale: of each neuron, one over its deviation.
        points: of the images, and of the flipped ones after them.
        threshold: of the ratio of the nearest distance to the k-th.
        false_alarms: share of new real images at or below it.
        repeated: number of images with near-duplicates, which do not set it.
        reach: median distance of the nearest.
    """

    scale: Tensor
    points: Tensor
    threshold: float
    false_alarms: float
    repeated: int
    reach: float

    @classmethod
    def of(cls, reference: Features, k: int, false_alarms: float, device: torch.device | str) -> _Spread:
        n = len(reference)
        vectors = reference.vectors.to(device)
        mean, deviation = vectors.mean(0), vectors.std(0, correction=0)
        scale = torch.where(deviation > _ROUNDING * mean.abs(), 1 / deviation, 0)
        points = vectors if reference.mirrored is None else torch.cat([vectors, reference.mirrored.to(device)])
        points = points * scale
        ratios, first, _ = (
            found.cpu().numpy() for found in _nearest_images(points[:n], points, n, k, leave_out_own=True)
        )
        apart = ratios >= _REPEATED * _expected_ratio(float(np.median(ratios)), 0.01, k)
        # The mean share below this estimate of a quantile is the share asked for, also where reference images are few.
        threshold = float(np.quantile(ratios[apart], false_alarms, method="weibull"))
        number = int(apart.sum())
        reach = float(np.median(first))
        return cls(scale, points, threshold, max(false_alarms, 1 / (number + 1)), n - number, reach)


def _expected_ratio(median: float, share: float, k: int) -> float:
    """The ratio that a share of images are below, if ``(d_1 / d_k)^D`` is the least of k − 1 uniform numbers."""
    powers = [-math.expm1(math.log1p(-below) / (k - 1)) for below in (share, 0.5)]
    return float(median ** (math.log(powers[0]) / math.log(powers[1])))


def _nearest_images(
    queries: Tensor, points: Tensor, n: int, k: int, *, leave_out_own: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Ratio, distance and place of each query's nearest point; points ``i`` and ``n + i`` are one image."""
    views = len(points) // n
    distances, places = nearest_neighbours(queries, points, min(len(points), views * (k + leave_out_own)))
    images = places % n
    again = torch.zeros_like(images, dtype=torch.bool)
    for column in range(1, images.shape[1]):
        again[:, column] = (images[:, :column] == images[:, column : column + 1]).any(1)
    if leave_out_own:
        again |= images == torch.arange(len(queries), device=images.device)[:, None]
    distances, order = distances.masked_fill(again, torch.inf).sort(dim=1, stable=True)
    first, last = distances[:, 0], distances[:, k - 1]
    return torch.where(last > 0, first / last, 0), first, places.gather(1, order)[:, 0]
