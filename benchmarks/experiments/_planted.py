"""Sets of photographs with planted faults, and what a diagnosis is made of them."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from _common import Experiment, mobilenetv2
from _images import Drawn, Image, draw, pixels, stream_of
from numpy.typing import NDArray
from PIL import Image as PillowImage, ImageFilter

from vdna_metrics import create_extractor
from vdna_metrics.analysis import DiagnosedSet, Diagnosis, Features, collect_features, diagnose
from vdna_metrics.build import Reading
from vdna_metrics.dna.account import ImageAccount, PixelHashes
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.functional import PIXEL_STATISTICS
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.decoding import pixel_hash

Change = Callable[[Image, np.random.Generator], Image]
Filters = PillowImage.Resampling
_EXTRACTOR = "vdna_tiny"
_SPLITS = 3  # folders that are no classes


# ---------------------------------------------------------------------------------------------------- faults of pixels
def _filtered(filter: ImageFilter.Filter) -> Change:
    return lambda image, _: np.asarray(PillowImage.fromarray(image).filter(filter))


def _motion(length: int) -> Change:
    """Along a row, as a moving camera blurs."""

    def change(image: Image, _: np.random.Generator) -> Image:
        half = length // 2
        padded = np.pad(image.astype(np.float64), ((0, 0), (half, length - 1 - half), (0, 0)), mode="edge")
        return _whole(sum(padded[:, i : i + image.shape[1]] for i in range(length)) / length)

    return change


def _whole(values: Any) -> Image:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _gaussian_noise(deviation: float) -> Change:
    return lambda image, random: _whole(image + random.normal(0, deviation, image.shape))


def _uniform_noise(most: float) -> Change:
    return lambda image, random: _whole(image + random.uniform(-most, most, image.shape))


def _poisson_noise(photons: float) -> Change:
    """Of white so many."""
    return lambda image, random: _whole(random.poisson(image / 255 * photons) * 255 / photons)


def _impulses(share: float) -> Change:
    def change(image: Image, random: np.random.Generator) -> Image:
        hit = random.random(image.shape[:2]) < share
        return np.where(hit[..., None], random.choice([0, 255], image.shape[:2])[..., None], image).astype(np.uint8)

    return change


def _encoded(format: str, **options: Any) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        file = io.BytesIO()
        PillowImage.fromarray(image).save(file, format, **options)
        return np.asarray(PillowImage.open(file).convert("RGB"))

    return change


def _offset(*levels: float) -> Change:
    return lambda image, _: _whole(image + np.array(levels))


def _gain(*factors: float) -> Change:
    return lambda image, _: _whole(image * np.array(factors))


def _gamma(*exponents: float) -> Change:
    return lambda image, _: _whole(255 * (image / 255) ** np.array(exponents))


def _tint(share: float, *colour: float) -> Change:
    """A sheet of coloured glass."""
    return lambda image, _: _whole((1 - share) * image + share * np.array(colour))


def _resized(factor: float, filter: Filters, reducing: Filters | None = None) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        whole = PillowImage.fromarray(image)
        small = whole.resize([max(4, round(side / factor)) for side in whole.size], reducing or filter)
        return np.asarray(small.resize(whole.size, filter))

    return change


def _resized_by_torch(factor: float) -> Change:
    """Torch's bicubic kernel, which is another one than Pillow's where images are enlarged."""

    def change(image: Image, _: np.random.Generator) -> Image:
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        size = [max(4, round(side / factor)) for side in x.shape[2:]]
        small = torch.nn.functional.interpolate(x, size, mode="area").round()
        large = torch.nn.functional.interpolate(small, x.shape[2:], mode="bicubic", align_corners=False)
        return _whole(large[0].permute(1, 2, 0).numpy())

    return change


def _convolved(image: Image, kernel: NDArray[np.float64]) -> Image:
    from scipy.ndimage import convolve

    return _whole(convolve(image.astype(np.float64), (kernel / kernel.sum())[..., None], mode="nearest"))


def _disc(radius: float) -> Change:
    """As a lens out of focus blurs; pixels at the rim count in part."""
    half = math.ceil(radius)
    places = np.arange(-half, half + 1)
    kernel = np.clip(radius + 0.5 - np.hypot(places[:, None], places), 0, 1)
    return lambda image, _: _convolved(image, kernel)


def _diagonal(length: int) -> Change:
    return lambda image, _: _convolved(image, np.eye(length))


def _repeatedly(change: Change, times: int) -> Change:
    def changed(image: Image, random: np.random.Generator) -> Image:
        for _ in range(times):
            image = change(image, random)
        return image

    return changed


def _speckle(deviation: float) -> Change:
    return lambda image, random: _whole(image * (1 + random.normal(0, deviation, image.shape)))


def _laplace_noise(scale: float) -> Change:
    return lambda image, random: _whole(image + random.laplace(0, scale, image.shape))


def _any_impulses(share: float) -> Change:
    def change(image: Image, random: np.random.Generator) -> Image:
        hit = random.random(image.shape[:2]) < share
        return np.where(hit[..., None], random.integers(0, 256, image.shape), image).astype(np.uint8)

    return change


def _temperature(share: float) -> Change:
    factors = np.array([1 + share, 1.0, 1 - share]) ** (1 / 2.2)
    return lambda image, _: _whole(image * factors)


def _hue(degrees: float) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        hue, *others = PillowImage.fromarray(image).convert("HSV").split()
        turned = hue.point(lambda value: (value + round(degrees / 360 * 256)) % 256)
        return np.asarray(PillowImage.merge("HSV", (turned, *others)).convert("RGB"))

    return change


DEVELOPED: dict[str, dict[str, Sequence[Change]]] = {
    "blur": {"Gaussian blur": [_filtered(ImageFilter.GaussianBlur(each)) for each in (0.5, 0.8, 1.5)]},
    "noise": {
        "Gaussian noise": [_gaussian_noise(each) for each in (2, 5, 12)],
        "impulses": [_impulses(each) for each in (0.005, 0.01, 0.03)],
    },
    "compression": {"JPEG": [_encoded("JPEG", quality=each) for each in (45, 30, 15)]},
    "colour": {
        "offsets": [_offset(each, 0, -each) for each in (10, 15, 25)],
        "gains": [_gain(1 + each, 1, 1 - each) for each in (0.1, 0.15, 0.25)],
    },
    "resized": {
        "bicubic": [_resized(each, Filters.BICUBIC) for each in (1.5, 2, 4)],
        "nearest": [_resized(each, Filters.NEAREST, Filters.BOX) for each in (1.5, 2, 4)],
    },
}
HELD_OUT: dict[str, dict[str, Sequence[Change]]] = {
    "blur": {
        "box blur": [_filtered(ImageFilter.BoxBlur(each)) for each in (0.5, 1, 2)],
        "motion blur": [_motion(each) for each in (2, 3, 7)],
        "median": [_filtered(ImageFilter.MedianFilter(each)) for each in (3, 5, 7)],
    },
    "noise": {
        "uniform noise": [_uniform_noise(each) for each in (4, 8, 20)],
        "Poisson noise": [_poisson_noise(each) for each in (3000, 800, 200)],
        "salt and pepper": [_impulses(each) for each in (0.007, 0.02, 0.05)],
    },
    "compression": {
        "JPEG 4:4:4": [_encoded("JPEG", quality=each, subsampling=0) for each in (50, 25, 10)],
        "JPEG progressive 4:2:2": [
            _encoded("JPEG", quality=each, subsampling=1, progressive=True) for each in (50, 25, 10)
        ],
        "WEBP": [_encoded("WEBP", quality=each) for each in (60, 30, 10)],
    },
    "colour": {
        "gains of blue and green": [_gain(1, 1 - each / 2, 1 + each) for each in (0.12, 0.2, 0.35)],
        "gamma of channels": [_gamma(1 - each, 1, 1 + each) for each in (0.1, 0.2, 0.35)],
        "tint": [_tint(each, 255, 190, 60) for each in (0.07, 0.12, 0.25)],
    },
    "resized": {
        "nearest": [_resized(each, Filters.NEAREST, Filters.BOX) for each in (1.6, 2.5, 3)],
        "bilinear": [_resized(each, Filters.BILINEAR) for each in (1.4, 2, 3)],
        "Lanczos": [_resized(each, Filters.LANCZOS) for each in (1.5, 2, 3)],
        "torch bicubic": [_resized_by_torch(each) for each in (1.6, 2, 3.5)],
    },
}
HELD_OUT_AGAIN: dict[str, dict[str, Sequence[Change]]] = {
    "blur": {
        "disc blur": [_disc(each) for each in (0.8, 1.5, 3)],
        "diagonal motion blur": [_diagonal(each) for each in (2, 4, 8)],
        "smoothed": [_repeatedly(_filtered(ImageFilter.SMOOTH_MORE), each) for each in (1, 2, 5)],
    },
    "noise": {
        "speckle": [_speckle(each) for each in (0.04, 0.08, 0.2)],
        "Laplace noise": [_laplace_noise(each) for each in (2, 4, 10)],
        "impulses of any level": [_any_impulses(each) for each in (0.01, 0.03, 0.08)],
    },
    "compression": {
        "JPEG 4:2:0, optimised": [_encoded("JPEG", quality=each, subsampling=2, optimize=True) for each in (40, 20, 8)],
        "WEBP, fast": [_encoded("WEBP", quality=each, method=0) for each in (50, 20, 5)],
    },
    "colour": {
        "temperature in linear light": [_temperature(each) for each in (0.2, 0.35, 0.6)],
        "hue turned": [_hue(each) for each in (10, 18, 40)],
        "offset of green": [_offset(0, each, 0) for each in (10, 16, 28)],
    },
    "resized": {
        "Hamming": [_resized(each, Filters.HAMMING) for each in (1.5, 2, 3)],
        "bilinear from boxes": [_resized(each, Filters.BILINEAR, Filters.BOX) for each in (1.7, 2.4, 3.4)],
        "nearest from nearest": [_resized(each, Filters.NEAREST) for each in (1.4, 2.2, 3.2)],
    },
}


# -------------------------------------------------------------------------------------------------------------- boards
@dataclass(frozen=True, eq=False)
class PlantedSet:
    """Images with a fault, some or none.

    Args:
        faults: their names.
        kind: how they were made.
        severity: 0 to 2; 0 without a fault.
        images: what is diagnosed.
        also: other names that are as right.
    """

    faults: frozenset[str]
    kind: str
    severity: int
    images: Drawn
    also: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True, eq=False)
class Board:
    """A reference and photographs to make sets of, which are others.

    Args:
        name: of the board.
        held_out: whether thresholds were chosen before it was run.
        reference: the real images.
        pool: images of the same kind that are not in the reference.
        n: images a set.
        fine: number of sets without a fault.
        network: that knows what images show, for clusters; not that of the diagnosis.
        kinds: of faults of pixels.
    """

    name: str
    held_out: bool
    reference: Drawn
    pool: Drawn
    n: int
    fine: int
    network: FeatureExtractor
    kinds: dict[str, dict[str, Sequence[Change]]]

    def sets(self) -> Iterator[PlantedSet]:
        """All sets, drawn with a seed each."""
        yield from self.without_fault()
        for fault in self.kinds:
            yield from self.of_pixels(fault)
        yield from self.of_content()
        yield from self.mixed()

    def without_fault(self) -> Iterator[PlantedSet]:
        """Other draws of the pool."""
        for place in range(self.fine):
            yield self._planted((), "no fault", 0, self._draw(1000 + place))

    def of_pixels(self, fault: str) -> Iterator[PlantedSet]:
        """Draws of the pool, changed."""
        kinds = self.kinds[fault]
        for place, (kind, severities) in enumerate(kinds.items()):
            for severity, change in enumerate(severities):
                images = _changed(self._draw(10 * place + severity, fault), change)
                yield self._planted((fault,), kind, severity, images)

    def _planted(
        self, faults: Iterable[str], kind: str, severity: int, images: Iterable[tuple[str, Image]]
    ) -> PlantedSet:
        names, found = zip(*images, strict=True)
        # A name says one image, wherever it comes from.
        unique = tuple(f"{place:05}-{name}" for place, name in enumerate(names))
        title = f"{self.name}: {kind}, {severity}"
        return PlantedSet(frozenset(faults), kind, severity, Drawn(title, unique, tuple(found)))

    def _draw(self, seed: int, *of: str, source: Drawn | None = None, n: int | None = None) -> list[tuple[str, Image]]:
        chosen = source or self.pool
        places = stream_of("/".join((self.name, *of)), seed).permutation(len(chosen))[: self.n if n is None else n]
        return [(chosen.names[place], chosen.images[place]) for place in places]

    def of_content(self) -> Iterator[PlantedSet]:
        """Missing kinds, copies, repeats."""
        classes = sorted({_class(name) for name in self.pool.names})
        shares = (0.7, 0.5, 0.25)
        for severity, share in enumerate(shares):
            if len(classes) > _SPLITS:
                kept = set(stream_of(self.name, severity).permutation(classes)[: round(share * len(classes))])
                some = [place for place, name in enumerate(self.pool.names) if _class(name) in kept]
                yield self._planted(
                    ("collapse",), "classes are missing", severity, self._draw(severity, source=_some(self.pool, some))
                )
            if self.held_out or len(classes) <= _SPLITS:
                order = np.argsort(self._clusters, kind="stable")
                nearest = order[: max(self.n // 2, round(share * len(order)))].tolist()
                yield self._planted(
                    ("collapse",),
                    "clusters are missing",
                    severity,
                    self._draw(severity, "clusters", source=_some(self.pool, nearest)),
                )
        for severity, share in enumerate((0.2, 0.08, 0.03)):
            if self.held_out:
                few = self._draw(severity, "augmented", n=max(2, round(share * self.n)))
                repeated = [few[i % len(few)] for i in range(self.n)]
                images = _changed(repeated, _augmented, numbered=True)
                planted = self._planted(("collapse",), "few images, augmented", severity, images)
                # They are the same images again, too.
                yield replace(planted, also=(frozenset({"repeats"}), frozenset({"collapse", "repeats"})))
        ways: dict[str, Change] = {"exact": lambda image, _: image}
        if self.held_out:
            ways |= {"flipped": lambda image, _: image[:, ::-1], "saved again as JPEG": _encoded("JPEG", quality=92)}
        for way, change in ways.items():
            for severity, share in enumerate((0.1, 0.25, 0.6)):
                n = round(share * self.n)
                copied = _changed(self._draw(severity, way, source=self.reference, n=n), change)
                yield self._planted(("copies",), f"copies, {way}", severity, [*copied, *self._draw(severity, way)[n:]])
        for severity, share in enumerate((0.1, 0.25, 0.6)):
            images = self._draw(severity, "repeats")
            n = round(share * self.n)
            yield self._planted(("repeats",), "repeats, exact", severity, [*images[:-n], *images[:n]])
            if self.held_out:
                again = _changed(images[:n], _encoded("JPEG", quality=92))
                yield self._planted(("repeats",), "repeats, saved again as JPEG", severity, [*images[:-n], *again])

    def mixed(self) -> Iterator[PlantedSet]:
        """Two faults, of middle severity."""
        middle = {fault: next(iter(kinds.values()))[1] for fault, kinds in self.kinds.items()}
        pairs = [
            ("blur", "noise"), ("blur", "colour"), ("blur", "compression"), ("noise", "colour"),
            ("resized", "noise"), ("resized", "colour"), ("resized", "compression"), ("colour", "compression"),
        ]  # fmt: skip
        for one, other in pairs:
            images = _changed(_changed(self._draw(0, one, other), middle[one]), middle[other])
            yield self._planted((one, other), "two faults of pixels", 1, images)
        n = self.n // 4
        for fault in ("blur", "noise", "colour"):
            images = _changed(self._draw(1, fault, "repeats"), middle[fault])
            yield self._planted((fault, "repeats"), "a fault of pixels and repeats", 1, [*images[:-n], *images[:n]])
        images, copied = self._draw(2, "mixed"), self._draw(2, "mixed", source=self.reference, n=n)
        yield self._planted(
            ("copies", "repeats"), "copies and repeats", 1, [*copied, *images[: self.n - 2 * n], *images[:n]]
        )

    @cached_property
    def _clusters(self) -> NDArray[np.float64]:
        """How far each image of the pool is from one of them that is drawn, by what the network knows."""
        vectors = collect_features(self.pool, self.network, reading=Reading(16)).vectors
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        seed = int(stream_of(self.name, 7).integers(len(vectors)))
        found: NDArray[np.float64] = -(vectors @ vectors[seed]).double().numpy()
        return found


def _class(name: str) -> str:
    return name.rpartition("/")[0].rpartition("/")[2]


def _some(source: Drawn, places: Sequence[int]) -> Drawn:
    return Drawn(source.name, tuple(source.names[i] for i in places), tuple(source.images[i] for i in places))


def _changed(images: Iterable[tuple[str, Image]], change: Change, *, numbered: bool = False) -> list[tuple[str, Image]]:
    return [
        (name, np.ascontiguousarray(change(image, stream_of(f"{name}{place if numbered else ''}"))))
        for place, (name, image) in enumerate(images)
    ]


def _augmented(image: Image, random: np.random.Generator) -> Image:
    """Flipped or not, moved, lighter or darker; not resized, which is a fault of its own."""
    image = image[:, ::-1] if random.random() < 0.5 else image
    by = [int(random.integers(-side // 8, side // 8 + 1)) for side in image.shape[:2]]
    padded = np.pad(image, [*((abs(each), abs(each)) for each in by), (0, 0)], mode="reflect")
    top, left = (abs(each) + each for each in by)
    moved = padded[top : top + image.shape[0], left : left + image.shape[1]]
    return _whole(moved * random.uniform(0.9, 1.1))


def make_board(
    experiment: Experiment,
    name: str,
    source: ImageSource,
    n_reference: int,
    *,
    kinds: dict[str, dict[str, Sequence[Change]]],
    n: int,
    size: int | None = None,
    seed: int = 0,
    after: int = 0,
) -> Board:
    """A board of images of one source.

    Args:
        experiment: in a quick one there are few.
        name: of the board.
        source: of the images.
        n_reference: how many are the reference.
        kinds: of faults of pixels, and with those that are held out more of the others.
        n: images a set.
        size: to which the middle square is resized; ``None`` takes its middle 256 pixels as they are.
        seed: of the draw.
        after: of which so many images are passed over.
    """
    quick = experiment.quick
    n_reference, n, fine = (24, 12, 1) if quick else (n_reference, n, 12)
    drawn = draw(source, after + n_reference + (2 * n if quick else 1200), seed)
    some = select_images(drawn, range(0 if quick else after, len(drawn)))
    images = tuple(_middle(pixels(some, place), size) for place in range(len(some)))
    held = Drawn(name, some.names, images)
    reference, pool = _some(held, range(n_reference)), _some(held, range(n_reference, len(held)))
    weights = experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
    network = create_extractor(_EXTRACTOR if quick else replace(mobilenetv2(weights), size=(96, 96)))
    return Board(name, kinds is not DEVELOPED, reference, pool, n, fine, network, kinds)


def _middle(image: Image, size: int | None) -> Image:
    """The middle square, resized; without a size its middle 256 pixels, cut on the grid of JPEG's blocks."""
    side = min(image.shape[:2]) if size is not None else min(*image.shape[:2], 256)
    top, left = ((length - side) // 2 // 8 * 8 for length in image.shape[:2])
    middle = image[top : top + side, left : left + side]
    if size is None:
        return np.ascontiguousarray(middle)
    return np.asarray(PillowImage.fromarray(middle).resize((size, size), Filters.BICUBIC))


# ----------------------------------------------------------------------------------------------------------- diagnoses
Diagnosed = list[tuple[PlantedSet, Diagnosis]]


def diagnose_board(experiment: Experiment, board: Board) -> Diagnosed:
    """All sets of a board, each with its diagnosis, which is told on the error stream."""
    network, found = create_extractor(_EXTRACTOR), []
    reference = _look(experiment, network, board.reference)
    for planted in board.sets():
        if experiment.quick and planted.severity != 1:
            continue
        diagnosis = diagnose(reference, _look(experiment, network, planted.images))
        right = "right" if is_right(planted, diagnosis) else "WRONG"
        truth = " and ".join(sorted(planted.faults)) or "none"
        print(f"{right} {planted.images.name}: {truth}; {diagnosis.sentence}", file=sys.stderr, flush=True)
        found.append((planted, diagnosis))
    return found


def named(diagnosis: Diagnosis) -> frozenset[str]:
    """Faults that a diagnosis names."""
    return frozenset(fault.name for fault in diagnosis.faults)


def is_right(planted: PlantedSet, diagnosis: Diagnosis) -> bool:
    """Whether a diagnosis names what was planted, and nothing else."""
    return named(diagnosis) in (planted.faults, *planted.also)


def single(told: Diagnosed) -> Diagnosed:
    """Those of sets with one fault or none."""
    return [(planted, diagnosis) for planted, diagnosis in told if len(planted.faults) < 2]


def tally(told: Diagnosed) -> tuple[str, str]:
    """Right ones of all with one fault or none; false alarms of those with none."""
    every = single(told)
    fine = [each for each in every if not each[0].faults]
    right = [each for each in every if is_right(*each)]
    return _share(right, every), _share([each for each in fine if each[1].faults], fine)


def _share(part: Sequence[Any], whole: Sequence[Any]) -> str:
    return f"{len(part)} of {len(whole)} ({len(part) / len(whole):.0%})" if whole else "–"


def mixed_in_words(told: Diagnosed) -> str:
    """What became of sets with two faults."""
    mixed = [(planted.faults, named(diagnosis)) for planted, diagnosis in told if len(planted.faults) == 2]
    both, one = ([pair for pair in mixed if len(pair[0] & pair[1]) == number] for number in (2, 1))
    wrong = [pair for pair in mixed if pair[1] - pair[0]]
    return (
        f"of {len(mixed)} sets with two faults, both were named of {len(both)}, one of {len(one)}; a fault that is not "
        f"there of {len(wrong)}."
    )


def _look(experiment: Experiment, network: FeatureExtractor, images: Drawn) -> DiagnosedSet:
    """What a diagnosis is made of, found or looked at."""
    hashes = np.array([pixel_hash(image) for image in images.images], np.uint64)

    def see() -> dict[str, NDArray[Any]]:
        return {
            "pixels": collect_features(images, "pixel_statistics", reading=Reading(1)).vectors.numpy(),
            "features": collect_features(images, network, reading=Reading(16)).vectors.numpy(),
        }

    settings = [images.names, list(map(str, hashes)), network.fingerprint.digest, PIXEL_STATISTICS]
    found = {name: torch.from_numpy(rows) for name, rows in experiment.keep("seen", settings, see).items()}
    fingerprint = network.fingerprint.select([list(network.layout)[-1]])
    return DiagnosedSet(
        Features(images.names, (), found["pixels"]),
        Features(images.names, (), found["features"], fingerprint=fingerprint),
        ImageAccount(pixels=PixelHashes.of(hashes)),
    )
