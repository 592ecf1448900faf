"""What is wrong with generated images, in sentences: faults of their pixels, missing kinds, copies and repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.analysis.features import CopyReport, Features, find_copies, repeated_images
from vdna_metrics.dna.account import ImageAccount
from vdna_metrics.functional import PIXEL_STATISTICS, nearest_neighbours, precision_recall
from vdna_metrics.layout import check_type

FaultName = Literal["blur", "noise", "compression", "colour", "resized", "collapse", "copies", "repeats"]
NO_FAULT = "No fault that this looks for stands out."


@dataclass(frozen=True)
class Thresholds:
    """From where on a statistic is a sign of a fault.

    Shifts are in deviations of the reference's images, unless said otherwise, and count where they are also so many
    standard errors from 0. They were chosen on photographs of ImageNet and CIFAR-10's training images, and fixed before
    the experiment of `docs/diagnosis.md` was run on others.

    Args:
        errors: standard errors that any shift needs.
        size: log2 of a side, by which sizes may differ where pixels are compared.
        sharpness: loss, of blur and enlargement.
        sharpness_compressed: likewise, beside compression.
        noise: rise of noise in flat parts, or of isolated pixels.
        borders: rise, of JPEG's blocks.
        grid: likewise, alone.
        blocks_of_four: rise of quarters of bends without a loss of sharpness, as other codecs leave it.
        halves: of steps, either way, of enlargement.
        quarters: of steps or bends, likewise.
        bends: rise of their lines.
        steps: likewise.
        periods_compressed: of halves and quarters, beside compression.
        repeated_pixels: of any period, without a loss of sharpness: pixels were repeated.
        colour: levels, of a cast.
        colour_errors: standard errors of a cast, of both the plain and the matched difference.
        saturation: log2 of the ratio.
        lightness: levels.
        contrast: log2 of the ratio.
        kinds: standard errors of the counts of kinds.
        missing: share of the reference in kinds that are lacking, less that of the generated images.
        recall: standard errors of a loss of recall, alone.
        precision: share of the reference's own below which nothing is said of kinds.
        copies: share of the images, above chance.
        repeats: likewise.
        chance: probability of so many copies or repeats by chance.
    """

    errors: float = 5.0
    size: float = 0.2
    sharpness: float = 0.7
    sharpness_compressed: float = 2.5
    noise: float = 0.5
    borders: float = 0.8
    grid: float = 1.5
    blocks_of_four: float = 0.8
    halves: float = 0.7
    quarters: float = 0.8
    bends: float = 1.0
    steps: float = 2.5
    periods_compressed: float = 3.0
    repeated_pixels: float = 8.0
    colour: float = 4.0
    colour_errors: float = 3.5
    saturation: float = 0.25
    lightness: float = 12.0
    contrast: float = 0.3
    kinds: float = 4.0
    missing: float = 0.08
    recall: float = 5.0
    precision: float = 0.5
    copies: float = 0.03
    repeats: float = 0.03
    chance: float = 1e-4


THRESHOLDS = Thresholds()

_LEAST_IMAGES = 40  # of each side, in what kinds are told
_SPLITS = 4  # of the reference, in halves
_LEAST_KINDS, _MOST_KINDS, _IMAGES_A_KIND = 4, 30, 20
_MOST_FOR_RECALL = 500
_NEIGHBOURS = 5
# Where a reference has hardly any spread, a shift of so much is still nothing to speak of.
_LEAST_SPREAD = {"size": 0.05, "lightness": 2.0, "contrast": 2.0, "saturation": 2.0}
_SPREAD = 0.02
_CASTS = {
    "red_green": ("redder", "greener"),
    "blue_yellow": ("bluer", "yellower"),
}


# ----------------------------------------------------------------------------------------------------------- the value
@dataclass(frozen=True)
class Sign:
    """A statistic by which a fault is told.

    Args:
        statistic: which.
        generated: its value for the generated images.
        reference: its value for the reference, or what is expected by chance.
        errors: their difference in standard errors.
    """

    statistic: str
    generated: float
    reference: float
    errors: float


@dataclass(frozen=True)
class Fault:
    """One fault of a set of generated images.

    Args:
        name: of the fault.
        sentence: what was seen, without a full stop.
        severity: in deviations of the reference's images for faults of pixels, levels for colours, as a share of the
            images for missing kinds, copies and repeats.
        signs: the statistics by which it is told.
    """

    name: FaultName
    sentence: str
    severity: float
    signs: tuple[Sign, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a set of generated images, as far as this looks.

    Args:
        faults: those that stand out.
        unseen: what could not be looked for, and why, a sentence each without a full stop.
    """

    faults: tuple[Fault, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def found(self) -> str:
        """The faults, for people."""
        return " ".join(f"{fault.sentence}." for fault in self.faults) or NO_FAULT

    @property
    def sentence(self) -> str:
        """Both, for people.

        Examples:
            >>> print(Diagnosis(unseen=("Pixels were not looked at: no images of the reference",)).sentence)
            No fault that this looks for stands out. Pixels were not looked at: no images of the reference.
        """
        return " ".join([self.found, *(f"{unseen}." for unseen in self.unseen)])


@dataclass(frozen=True, eq=False)
class DiagnosedSet:
    """What is known of a set of images, each part as far as it is there.

    Args:
        pixels: of some of its images, `collect_pixel_statistics`.
        features: of its images, in a network.
        account: of the images.
        dependence: how many images tell as much as one independent one, see `ImageClusters.effective`.
        unseen: why there are no pixels.
    """

    pixels: Features | None = None
    features: Features | None = None
    account: ImageAccount = field(default_factory=ImageAccount)
    dependence: float = 1.0
    unseen: str = "there are no images at hand"


def diagnose(
    reference: DiagnosedSet,
    generated: DiagnosedSet,
    *,
    copies: CopyReport | None = None,
    thresholds: Thresholds = THRESHOLDS,
    seed: int = 0,
) -> Diagnosis:
    """Say which faults of generated images stand out against a reference, which sets what is normal.

    - Pixels: means over images of `functional.pixel_statistics` are compared, each in deviations of the reference's
      images and in standard errors; which of them move together tells blur, noise, compression and enlargement apart.
      Where sizes differ, these are not looked for. Colours are compared twice, plainly and with the five reference
      images that are nearest in features, since other kinds of images have other colours; the smaller difference
      counts.
    - Kinds: the reference's features are put into clusters, and images of each are counted on both sides. Where there
      are too few of some, though the images lie among the reference's (precision), kinds are missing. Repeats count
      once. With a fault of the pixels, which moves features too, this is not looked for.
    - Copies and repeats: images that are the same pixel by pixel, and those whose nearest image is much nearer than the
      others (`find_copies`), where they are more than by chance.

    Args:
        reference: the real images.
        generated: the others.
        copies: of `find_copies`, where that is known.
        thresholds: from where on there is a fault.
        seed: of the halves and clusters that are drawn.

    Raises:
        ValueError: for features that are not of one layer of one network.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics.analysis import collect_pixel_statistics
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> images = np.stack(list(procedural_images("dead_leaves_textured", 60, size=48)))
        >>> noisy = np.clip(images[30:] + np.random.default_rng(0).normal(0, 12, images[30:].shape), 0, 255)
        >>> sides = images[:30], images[30:], noisy.astype(np.uint8)
        >>> real, fine, noisy = (DiagnosedSet(collect_pixel_statistics(side)) for side in sides)
        >>> [fault.name for fault in diagnose(real, fine).faults], [f.name for f in diagnose(real, noisy).faults]
        ([], ['noise'])
    """
    for name, side in (("reference", reference), ("generated", generated)):
        check_type(name, side, DiagnosedSet)
    faults, unseen = list[Fault](), list[str]()
    if reference.pixels is None or generated.pixels is None:
        whose, side = ("the reference", reference) if reference.pixels is None else ("this set", generated)
        unseen.append(f"Pixels were not looked at: of {whose}, {side.unseen}")
    else:
        shifts = _Shifts.of(reference, generated)
        faults += _pixel_faults(shifts, thresholds, unseen)
        faults += _colour_faults(shifts, reference, generated, {fault.name for fault in faults}, thresholds)
    repeats = _Repeats.of(reference, generated)
    faults += repeats.faults(thresholds)
    faults += _copies(reference, generated, copies, thresholds)
    if reference.features is None or generated.features is None:
        unseen.append("Missing kinds were not looked for, and copies only pixel by pixel: there are no features")
    elif moved := [fault for fault in faults if fault.name not in ("copies", "repeats")]:
        unseen.append(f"Missing kinds were not looked for: {moved[0].name} moves features too")
    else:
        faults += _collapse(reference.features, generated.features, repeats.distinct, thresholds, seed, unseen)
    return Diagnosis(tuple(faults), tuple(unseen))


# -------------------------------------------------------------------------------------------------------------- pixels
@dataclass(frozen=True)
class _Shift:
    """One statistic of both sides: means, and their difference in deviations of an image and in standard errors."""

    generated: float
    reference: float
    deviations: float
    errors: float

    @property
    def difference(self) -> float:
        return self.generated - self.reference

    def sign(self, statistic: str) -> Sign:
        return Sign(statistic, self.generated, self.reference, self.errors)


@dataclass(frozen=True)
class _Shifts:
    """Of all statistics by name."""

    found: Mapping[str, _Shift]

    @classmethod
    def of(cls, reference: DiagnosedSet, generated: DiagnosedSet) -> _Shifts:
        sides = [_values(side) for side in (reference, generated)]
        means, variances = [side.mean(0) for side in sides], [side.var(0) for side in sides]
        of_means = sum(
            variance * side.dependence / len(values)
            for variance, side, values in zip(variances, (reference, generated), sides, strict=True)
        )
        found = {}
        for place, name in enumerate(PIXEL_STATISTICS):
            least = _LEAST_SPREAD.get(name, 2.0 if name.endswith(("green", "yellow")) else _SPREAD)
            deviation = max(float(variances[0][place]) ** 0.5, least)
            error = max(float(of_means[place]) ** 0.5, least / len(sides[1]))
            real, fake = float(means[0][place]), float(means[1][place])
            found[name] = _Shift(fake, real, (fake - real) / deviation, (fake - real) / error)
        return cls(found)

    def __getitem__(self, name: str) -> _Shift:
        return self.found[name]

    def rose(self, name: str, least: float, thresholds: Thresholds) -> bool:
        return self[name].deviations >= least and self[name].errors >= thresholds.errors

    def fell(self, name: str, least: float, thresholds: Thresholds) -> bool:
        return self[name].deviations <= -least and self[name].errors <= -thresholds.errors

    def moved(self, name: str, least: float, thresholds: Thresholds) -> bool:
        return self.rose(name, least, thresholds) or self.fell(name, least, thresholds)


def _values(side: DiagnosedSet) -> NDArray[np.float64]:
    assert side.pixels is not None
    return side.pixels.vectors.double().numpy()


def _pixel_faults(shifts: _Shifts, limits: Thresholds, unseen: list[str]) -> Iterator[Fault]:
    """Blur, noise, compression and enlargement, which are at the pixels' own scale."""
    if abs(shifts["size"].difference) > limits.size:
        sides = (f"{2 ** shifts['size'].generated:.0f}", f"{2 ** shifts['size'].reference:.0f}")
        unseen.append(
            f"Sharpness, noise, compression and enlargement were not looked for: its images have about {sides[0]} "
            f"pixels a side, those of the reference {sides[1]}; give both in one size"
        )
        return
    sharpness = shifts["sharpness"]
    blurred = shifts.fell("sharpness", limits.sharpness, limits)
    of_eight = shifts.rose("grid", limits.grid, limits) or (
        shifts.rose("borders", limits.borders, limits) and shifts["grid"].errors >= limits.errors
    )
    if of_eight:
        blurred = shifts.fell("sharpness", limits.sharpness_compressed, limits)
    periods = _periods(shifts, limits, compressed=of_eight, blurred=blurred)
    of_four = not (blurred or of_eight or periods) and shifts.rose("quarters_of_bends", limits.blocks_of_four, limits)
    if of_eight or of_four:
        name = "borders" if of_eight else "quarters_of_bends"
        size, codec = (8, "JPEG") if of_eight else (4, "WEBP, say")
        yield Fault(
            "compression",
            f"Compressed ({codec}): second differences at the borders of blocks of {size} pixels are "
            f"{_ratio(shifts[name])} times what they are in the reference's, over those inside {_errors(shifts[name])}",
            abs(shifts[name].deviations),
            (shifts[name].sign(name), shifts["grid"].sign("grid")),
        )
    if periods:
        strongest = max(periods, key=lambda name: abs(shifts[name].deviations))
        yield Fault(
            "resized",
            f"Resized from smaller images: {_PERIODS[strongest]} {_errors(shifts[strongest])}, and detail at edges has "
            f"{_ratio(sharpness)} times the reference's power",
            abs(shifts[strongest].deviations),
            (*(shifts[name].sign(name) for name in periods), sharpness.sign("sharpness")),
        )
    elif blurred:
        yield Fault(
            "blur",
            f"Blurred: detail at edges has {_ratio(sharpness)} times the reference's power {_errors(sharpness)}",
            abs(sharpness.deviations),
            (sharpness.sign("sharpness"),),
        )
    noisy = [name for name in ("flat_noise", "isolated") if shifts.rose(name, limits.noise, limits)]
    if noisy and not (periods and not blurred):
        strongest = max(noisy, key=lambda name: shifts[name].errors)
        what = "noise where images are flattest is" if strongest == "flat_noise" else "isolated pixels are"
        yield Fault(
            "noise",
            f"Noisy: {what} {_ratio(shifts[strongest])} times the reference's {_errors(shifts[strongest])}",
            shifts[strongest].deviations,
            tuple(shifts[name].sign(name) for name in noisy),
        )


_PERIODS = {
    "halves_of_steps": "differences of neighbouring pixels go up and down with every second pixel",
    "quarters_of_steps": "differences of neighbouring pixels go up and down with every fourth pixel",
    "quarters_of_bends": "second differences go up and down with every fourth pixel",
    "lines_of_steps": "differences of neighbouring pixels have a period",
    "lines_of_bends": "second differences have a period",
}


def _periods(shifts: _Shifts, limits: Thresholds, *, compressed: bool, blurred: bool) -> list[str]:
    """Statistics that tell of interpolation."""
    least = {
        "halves_of_steps": limits.halves,
        "quarters_of_steps": limits.quarters,
        "quarters_of_bends": limits.quarters,
    }
    lines = {"lines_of_bends": limits.bends, "lines_of_steps": limits.steps}
    if compressed:
        least, lines = (dict.fromkeys(some, limits.periods_compressed) for some in (least, lines))
    found = [name for name, limit in least.items() if shifts.moved(name, limit, limits)]
    found += [name for name, limit in lines.items() if shifts.rose(name, limit, limits)]
    sure = dict.fromkeys(least, limits.repeated_pixels) | dict.fromkeys(lines, max(lines.values()))
    alone = any(abs(shifts[name].deviations) >= sure[name] for name in found)
    return found if blurred or alone else []


def _ratio(shift: _Shift) -> str:
    return f"{2**shift.difference:.2g}"


def _errors(shift: _Shift) -> str:
    return f"({abs(shift.errors):.0f} standard errors)"


# ------------------------------------------------------------------------------------------------------------- colours
def _colour_faults(
    shifts: _Shifts, reference: DiagnosedSet, generated: DiagnosedSet, known: set[FaultName], limits: Thresholds
) -> Iterator[Fault]:
    matched = _matched(reference, generated)

    def least(name: str) -> tuple[float, float]:
        """Difference and standard errors, plain or matched, whichever is smaller; 0 where they disagree."""
        plain = shifts[name].difference, shifts[name].errors
        if matched is None:
            return plain
        place = PIXEL_STATISTICS.index(name)
        other = float(matched[0][place]), float(matched[0][place] / max(matched[1][place], 1e-9))
        return (0.0, 0.0) if plain[0] * other[0] <= 0 else min(plain, other, key=lambda each: abs(each[1]))

    told, signs, severity = list[str](), list[Sign](), 0.0
    for axis, words in _CASTS.items():
        parts = {name: least(name) for name in (axis, f"dark_{axis}", f"bright_{axis}")}
        sure = {
            name: difference
            for name, (difference, errors) in parts.items()
            if abs(errors) >= limits.colour_errors and abs(difference) >= limits.colour
        }
        strongest = max(parts, key=lambda name: abs(parts[name][1]))
        alike = len({difference > 0 for difference in sure.values()}) == 1
        if alike and (len(sure) >= 2 or abs(parts[strongest][1]) >= 1.5 * limits.colour_errors):
            difference = max(sure.values(), key=abs)
            told.append(f"{words[difference < 0]} by {abs(difference):.0f} of 255 levels")
            severity = max(severity, abs(difference))
            signs += [shifts[name].sign(name) for name in sure]
    cast = bool(told)
    ratios = {"saturation": limits.saturation, "contrast": limits.contrast}
    for name, limit in ratios.items():
        if cast or known & {"blur", "resized", "noise", "compression"} or abs(least(name)[1]) < limits.colour_errors + 0.5:
            continue
        ratio = (shifts[name].generated + 1) / (shifts[name].reference + 1)
        if abs(np.log2(ratio)) >= limit:
            told.append(f"{name} is {ratio:.2g} times the reference's")
            severity = max(severity, abs(shifts[name].difference))
            signs.append(shifts[name].sign(name))
    difference, errors = least("lightness")
    if abs(errors) >= limits.colour_errors + 0.5 and abs(difference) >= limits.lightness:
        told.append(f"{'lighter' if difference > 0 else 'darker'} by {abs(difference):.0f} levels")
        severity = max(severity, abs(difference))
        signs.append(shifts["lightness"].sign("lightness"))
    if told:
        strongest_sign = max(signs, key=lambda sign: abs(sign.errors))
        begin = "Colour cast" if cast else "Other colours or tones"
        sentence = f"{begin}: {', '.join(told)} ({abs(strongest_sign.errors):.0f} standard errors)"
        yield Fault("colour", sentence, severity, tuple(signs))


def _matched(
    reference: DiagnosedSet, generated: DiagnosedSet
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean difference of each generated image from the reference images nearest in features, and its standard error.

    ``None`` where there are too few images of which both pixels and features are known.
    """
    if reference.features is None or generated.features is None:
        return None
    (real, of_real), (fake, of_fake) = (_with_pixels(side) for side in (reference, generated))
    if min(len(real), len(fake)) <= _NEIGHBOURS:
        return None
    scale = _scale(real)
    places = nearest_neighbours(fake * scale, real * scale, _NEIGHBOURS)[1].numpy()
    differences = of_fake - of_real[places].mean(1)
    used = np.bincount(places.ravel(), minlength=len(real))
    effective = used.sum() ** 2 / np.square(used).sum()
    variance = differences.var(0) * generated.dependence / len(fake)
    variance += of_real.var(0) * reference.dependence / effective
    return differences.mean(0), np.sqrt(variance)


def _with_pixels(side: DiagnosedSet) -> tuple[Tensor, NDArray[np.float64]]:
    """Features, and statistics of pixels, of the images that have both."""
    assert side.features is not None
    assert side.pixels is not None
    place_of = {name: place for place, name in enumerate(side.features.names)}
    rows = [(place_of[name], row) for row, name in enumerate(side.pixels.names) if name in place_of]
    places, own = [place for place, _ in rows], [row for _, row in rows]
    return side.features.vectors[places].double(), _values(side)[own]


def _scale(real: Tensor) -> Tensor:
    deviation = real.std(0, correction=0)
    return torch.where(deviation > 1e-5 * real.mean(0).abs(), 1 / deviation, 0.0)


# --------------------------------------------------------------------------------------------------- copies and repeats
@dataclass(frozen=True)
class _Repeats:
    """Images of a set that are like another one of it.

    Args:
        pixels: number of images that are the same as an earlier one, pixel by pixel.
        near: those that look like one.
        expected: share of the images that would by chance.
        n_images: in which they were looked for.
        distinct: one image of each that is repeated, and all others; ``None`` without features.
    """

    pixels: int
    near: int
    expected: float
    n_images: int
    distinct: list[int] | None

    @classmethod
    def of(cls, reference: DiagnosedSet, generated: DiagnosedSet) -> _Repeats:
        real, fake = reference.account.pixels, generated.account.pixels
        same = 0 if fake is None else fake.repeated
        expected = 0.0 if real is None or not real.n_images else real.repeated / real.n_images
        n_images = 0 if fake is None else fake.n_images
        if reference.features is None or generated.features is None:
            return cls(same, 0, expected, n_images, None)
        found = repeated_images(generated.features, reference.features)
        if found is None:
            return cls(same, 0, expected, n_images, list(range(len(generated.features))))
        near = len(generated.features) - len(found.distinct)
        return cls(same, near, max(expected, found.expected), len(generated.features), found.distinct)

    def faults(self, limits: Thresholds) -> Iterator[Fault]:
        number = max(self.pixels, self.near)
        if not _is_more(number, self.n_images, self.expected, limits.repeats, limits):
            return
        exact = f", {self.pixels} pixel by pixel" if self.pixels else ""
        yield Fault(
            "repeats",
            f"Repeats: {number} of {self.n_images} images are an earlier one again{exact}, where about "
            f"{self.expected * self.n_images:.2g} would be by chance",
            number / self.n_images,
            (_count_sign("repeats", number, self.n_images, self.expected),),
        )


def _copies(
    reference: DiagnosedSet, generated: DiagnosedSet, report: CopyReport | None, limits: Thresholds
) -> Iterator[Fault]:
    real, fake = reference.account.pixels, generated.account.pixels
    same = 0 if real is None or fake is None else fake.images_in(real)
    n_images, number, expected = 0 if fake is None else fake.n_images, same, 0.0
    if report is None and reference.features is not None and generated.features is not None:
        if len(reference.features) > _NEIGHBOURS:
            report = find_copies(generated.features, reference.features, k=_NEIGHBOURS)
    if report is not None:
        n_images, number, expected = len(report.matches), max(same, len(report.suspects)), report.false_alarms
    if not (
        _is_more(number, n_images, expected, limits.copies, limits)
        or _is_more(same, n_images, 0.0, limits.copies, limits)
    ):
        return
    exact = f", {same} pixel by pixel" if same else ""
    yield Fault(
        "copies",
        f"Copies: {number} of {n_images} images look like one of the reference's{exact}, where about "
        f"{expected * n_images:.2g} would by chance",
        number / n_images,
        (_count_sign("copies", number, n_images, expected),),
    )


def _is_more(number: int, n_images: int, expected: float, share: float, limits: Thresholds) -> bool:
    """Whether a number of images is above chance, and by enough to be spoken of."""
    from scipy.stats import binom

    if number < 2 or number < (expected + share) * n_images:
        return False
    return bool(binom.sf(number - 1, n_images, max(expected, 1e-6)) < limits.chance)


def _count_sign(statistic: str, number: int, n_images: int, expected: float) -> Sign:
    share = max(expected, 1 / n_images)
    error = (n_images * share * (1 - min(share, 0.5))) ** 0.5
    return Sign(statistic, float(number), expected * n_images, (number - expected * n_images) / error)


# --------------------------------------------------------------------------------------------------------------- kinds
@dataclass(frozen=True)
class _Kinds:
    """How images of both sides are spread over clusters of the reference's features.

    Args:
        errors: by how many standard errors counts differ more than by chance.
        reference: share of the reference in clusters of which there are too few.
        generated: share of the generated images in them.
        precision: of the generated images, over that of as many of the reference's.
        recall: of the generated images.
        own_recall: of as many of the reference's.
        recall_errors: their difference in standard errors.
    """

    errors: float
    reference: float
    generated: float
    precision: float
    recall: float
    own_recall: float
    recall_errors: float


def _collapse(
    real: Features, fake: Features, distinct: list[int] | None, limits: Thresholds, seed: int, unseen: list[str]
) -> Iterator[Fault]:
    vectors = fake.vectors if distinct is None else fake.vectors[distinct]
    if len(vectors) < _LEAST_IMAGES or len(real) < 2 * _LEAST_IMAGES:
        unseen.append(
            f"Missing kinds were not looked for: they need {2 * _LEAST_IMAGES} images of the reference and "
            f"{_LEAST_IMAGES} different ones of this set, got {len(real)} and {len(vectors)}"
        )
        return
    found = _kinds(real.vectors.double(), vectors.double(), seed)
    if found.precision < limits.precision:
        unseen.append(
            "Missing kinds were not looked for: its images lie apart from the reference's in features (precision "
            f"{found.precision:.2g} times that of as many reference images)"
        )
        return
    lacking = found.errors >= limits.kinds and found.reference - found.generated >= limits.missing
    if lacking or found.recall_errors <= -limits.recall:
        yield Fault(
            "collapse",
            f"Kinds of images are missing: those that make {found.reference:.0%} of the reference make "
            f"{found.generated:.0%} of this set ({found.errors:.0f} standard errors); recall {found.recall:.2f}, where "
            f"as many reference images have {found.own_recall:.2f}",
            found.reference - found.generated,
            (
                Sign("share in kinds that are lacking", found.generated, found.reference, -found.errors),
                Sign("recall", found.recall, found.own_recall, found.recall_errors),
            ),
        )


def _kinds(real: Tensor, fake: Tensor, seed: int) -> _Kinds:
    random = np.random.default_rng(seed)
    scale = _scale(real)
    real, fake = real * scale, fake * scale
    rows = []
    for _ in range(_SPLITS):
        half, other = (real[part] for part in np.array_split(random.permutation(len(real)), 2))
        number = min(len(other), len(fake)) // _IMAGES_A_KIND
        centres = _clusters(half, min(max(number, _LEAST_KINDS), _MOST_KINDS), random)
        counts = [_counts(side, centres) for side in (other, fake)]
        n = min(len(half), len(other), len(fake), _MOST_FOR_RECALL)
        some = fake[random.permutation(len(fake))[:n]]
        own, found = (precision_recall(half[:n], side) for side in (other[:n], some))
        rows.append([*_lacking(*counts), *map(float, (*found, *own))])
    errors, reference, generated, precision, recall, own_precision, own_recall = np.mean(rows, axis=0).tolist()
    share = min(max(own_recall, 0.05), 0.95)
    error = (2 * share * (1 - share) / n) ** 0.5
    of_own = precision / max(own_precision, 1e-9)
    return _Kinds(errors, reference, generated, of_own, recall, own_recall, (recall - own_recall) / error)


def _lacking(real: NDArray[np.int64], fake: NDArray[np.int64]) -> tuple[float, float, float]:
    """Of counts in clusters: standard errors of their difference, and both shares in clusters with too few."""
    there = real + fake > 0
    real, fake = real[there], fake[there]
    n, m = real.sum(), fake.sum()
    residuals = (np.sqrt(m / n) * real - np.sqrt(n / m) * fake) / np.sqrt(real + fake)
    freedom = max(len(real) - 1, 1)
    errors = (np.square(residuals).sum() - freedom) / np.sqrt(2 * freedom)
    few = (residuals > 2) & (fake / m < 0.5 * real / n)
    return float(errors), float(real[few].sum() / n), float(fake[few].sum() / m)


def _clusters(points: Tensor, number: int, random: np.random.Generator) -> Tensor:
    """Centres of clusters by Lloyd's algorithm, from points that are drawn far from each other (k-means++)."""
    centres = points[random.integers(len(points), size=1)]
    for _ in range(number - 1):
        squared = torch.cdist(points, centres).amin(1).square().numpy()
        share = squared / squared.sum() if squared.sum() > 0 else None
        centres = torch.cat([centres, points[random.choice(len(points), size=1, p=share)]])
    for _ in range(10):
        nearest = torch.cdist(points, centres).argmin(1)
        members = torch.nn.functional.one_hot(nearest, number).double()
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ points / sizes.clamp(min=1), centres)
    return centres


def _counts(points: Tensor, centres: Tensor) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = torch.bincount(torch.cdist(points, centres).argmin(1), minlength=len(centres)).numpy()
    return counts
