"""Faults of colours and tones, told from those of other kinds of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.analysis.diagnosis.shifts import Shifts, least_spread, pixel_values
from vdna_metrics.analysis.diagnosis.values import DiagnosedSet, Fault, FaultName, Sign, Thresholds
from vdna_metrics.functional import PIXEL_STATISTICS, nearest_neighbours

_NEIGHBOURS = 5
_CASTS = {
    "red_green": (("redder", "greener"), "red over green"),
    "blue_yellow": (("bluer", "yellower"), "blue over red and green"),
}
_TONES = {"saturation": "paler or more colourful", "chroma_axis": "of other hues"}
_ALL_PARTS = ("", "dark_", "bright_", "edge_")
_PARTS = {"dark": " in the darkest pixels", "bright": " in the brightest pixels"}


def colour_faults(
    shifts: Shifts, reference: DiagnosedSet, generated: DiagnosedSet, known: set[FaultName], limits: Thresholds
) -> Iterator[Fault]:
    """A cast, or other tones.

    Args:
        shifts: of all statistics.
        reference: the real images.
        generated: the others.
        known: other faults of the pixels, which change contrast and saturation too.
        limits: from where on there is a fault.
    """
    matched = _matched(reference, generated)

    def least(name: str) -> tuple[float, float]:
        """Difference and standard errors, plain or matched, whichever is smaller; 0 where they disagree."""
        plain = shifts[name].difference, shifts[name].errors
        if matched is None:
            return plain
        difference, errors = matched.of_one(name)
        other = difference, errors / (limits.matched if name in _TONES else 1)
        return (0.0, 0.0) if plain[0] * other[0] <= 0 else min(plain, other, key=lambda each: abs(each[1]))

    told, signs, severity = list[str](), list[Sign](), 0.0
    for axis, (words, channels) in _CASTS.items():
        # With noise, it makes the darkest and the brightest pixels.
        ends = [] if "noise" in known else [f"dark_{axis}", f"bright_{axis}"]
        names = [axis, *ends, f"edge_{axis}"]
        parts = {name: least(name) for name in names}
        sure = {
            name: difference
            for name, (difference, errors) in parts.items()
            if abs(errors) >= limits.colour_errors
            and abs(difference) >= (limits.edges if name.startswith("edge") else limits.colour)
        }
        if len(sure) < 2 and not any(abs(parts[name][1]) >= 1.5 * limits.colour_errors for name in sure):
            continue
        gain = sure.pop(f"edge_{axis}", 0.0)
        signs += [shifts[name].sign(name) for name in sure]
        if sure:
            severity = max(severity, *map(abs, sure.values()))
        if len({difference > 0 for difference in sure.values()}) == 1:
            sure = {axis: max(sure.values(), key=abs)}
        for name, difference in sure.items():
            told.append(f"{words[difference < 0]} by {abs(difference):.0f} of 255 levels{_where(name)}")
        if gain:
            told.append(f"{channels} in edges is {2**gain:.2g} times the reference's")
            signs.append(shifts[f"edge_{axis}"].sign(f"edge_{axis}"))
            severity = max(severity, abs(2**gain - 1) * shifts["contrast"].reference)
    cast = bool(told)
    moved = cast or known
    ratios = {"saturation": limits.saturation, "contrast": limits.contrast}
    for name, limit in ratios.items():
        if moved or abs(least(name)[1]) < limits.tone_errors:
            continue
        ratio = (shifts[name].generated + 1) / (shifts[name].reference + 1)
        if abs(np.log2(ratio)) >= limit:
            told.append(f"{name} is {ratio:.2g} times the reference's")
            severity = max(severity, abs(shifts[name].difference))
            signs.append(shifts[name].sign(name))
    difference, errors = least("chroma_axis")
    if not moved and abs(errors) >= limits.tone_errors and abs(difference) >= limits.hue:
        turned = f"reds and greens, over blues and yellows, are {2**difference:.2g} times the reference's"
        told.append(f"hues are turned ({turned})")
        signs.append(shifts["chroma_axis"].sign("chroma_axis"))
    difference, errors = least("lightness")
    if abs(errors) >= limits.tone_errors and abs(difference) >= limits.lightness:
        told.append(f"{'lighter' if difference > 0 else 'darker'} by {abs(difference):.0f} levels")
        severity = max(severity, abs(difference))
        signs.append(shifts["lightness"].sign("lightness"))
    if not told and not known:  # other faults move all of these a little, which together is sure
        names = [*(f"{part}{axis}" for axis in _CASTS for part in _ALL_PARTS), *_TONES]
        plain = _Means.of(reference, generated).together(names, reference)
        errors = plain.errors
        if matched is not None:
            errors = min(errors, matched.together(names, reference).errors / limits.matched)
        if errors >= limits.colour_errors and plain.distance >= limits.colours_together:
            strongest = max(names, key=lambda name: abs(least(name)[1]))
            told.append(
                f"all together {plain.distance:.2g} deviations of an image from the reference's, "
                f"most of all {_in_words(strongest, least(strongest)[0])}"
            )
            signs.append(Sign("colours together", plain.distance, 0.0, errors))
    if told:
        strongest_sign = max(signs, key=lambda sign: abs(sign.errors))
        begin = "Colour cast" if cast else "Other colours or tones"
        sentence = f"{begin}: {', '.join(told)} ({abs(strongest_sign.errors):.0f} standard errors)"
        yield Fault("colour", sentence, severity, tuple(signs))


def _where(name: str) -> str:
    return _PARTS.get(name.partition("_")[0], "")


def _in_words(name: str, difference: float) -> str:
    """Which way one of the statistics is off."""
    if name in _TONES:
        return _TONES[name]
    words, channels = next(words for axis, words in _CASTS.items() if name.endswith(axis))
    if name.startswith("edge"):
        return f"{channels} in edges, {2**difference:.2g} times"
    return f"{words[difference < 0]}{_where(name)}"


@dataclass(frozen=True)
class _Joint:
    """Of several statistics together: how far in deviations of an image, and for how sure in standard errors."""

    distance: float
    errors: float


@dataclass(frozen=True)
class _Means:
    """Differences of means of all statistics, and the covariance of their errors.

    Args:
        differences: generated less reference, ``[statistics]``.
        covariance: of their errors, ``[statistics, statistics]``.
        freedom: of the covariance, at least.
    """

    differences: NDArray[np.float64]
    covariance: NDArray[np.float64]
    freedom: float

    @classmethod
    def of(cls, reference: DiagnosedSet, generated: DiagnosedSet) -> _Means:
        """Of both sets as they are."""
        sides = [(pixel_values(side), side.dependence) for side in (generated, reference)]
        (fake, _), (real, _) = sides
        covariance = sum(np.cov(values.T, ddof=0) * dependence / len(values) for values, dependence in sides)
        freedom = min(len(values) / dependence for values, dependence in sides) - 1
        return cls(fake.mean(0) - real.mean(0), np.asarray(covariance), freedom)

    def of_one(self, name: str) -> tuple[float, float]:
        """Difference and standard errors of one statistic."""
        place = PIXEL_STATISTICS.index(name)
        difference = float(self.differences[place])
        return difference, difference / max(float(self.covariance[place, place]) ** 0.5, 1e-9)

    def together(self, names: Sequence[str], reference: DiagnosedSet) -> _Joint:
        """Hotelling's test of some, its probability as that of so many standard errors of one."""
        from scipy.stats import f, norm

        freedom = self.freedom - len(names) + 1
        if freedom < 1:
            return _Joint(0.0, 0.0)
        places = [PIXEL_STATISTICS.index(name) for name in names]
        least = np.diag([least_spread(name) ** 2 for name in names])
        differences, grid = self.differences[places], np.ix_(places, places)
        spread = np.cov(pixel_values(reference)[:, places].T, ddof=0) + least
        squared, distance = (
            float(differences @ np.linalg.solve(matrix, differences))
            for matrix in (self.covariance[grid] + least / self.freedom**2, spread)
        )
        chance = f.sf(squared * freedom / (self.freedom * len(names)), len(names), freedom)
        return _Joint(distance**0.5, float(min(norm.isf(chance / 2), squared**0.5)))


def _matched(reference: DiagnosedSet, generated: DiagnosedSet) -> _Means | None:
    """Mean difference of each generated image from the reference images nearest in features.

    ``None`` where there are too few images of which both pixels and features are known.
    """
    if reference.features is None or generated.features is None:
        return None
    (real, of_real), (fake, of_fake) = (_with_pixels(side) for side in (reference, generated))
    if min(len(real), len(fake)) <= _NEIGHBOURS:
        return None
    scale = feature_scale(real)
    places = nearest_neighbours(fake * scale, real * scale, _NEIGHBOURS)[1].numpy()
    differences = of_fake - of_real[places].mean(1)
    used = np.bincount(places.ravel(), minlength=len(real))
    # Images with one nearest image may be one image, changed, and count as one.
    _, group, sizes = np.unique(places[:, 0], return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), differences.shape[1]))
    np.add.at(sums, group.ravel(), differences - differences.mean(0))
    own = sums.T @ sums * generated.dependence / len(fake) ** 2
    numbers = (
        len(fake) ** 2 / np.square(sizes).sum() / generated.dependence,
        used.sum() ** 2 / np.square(used).sum() / reference.dependence,
    )
    covariance = own + np.cov(of_real.T, ddof=0) / numbers[1]
    return _Means(differences.mean(0), covariance, min(numbers) - 1)


def _with_pixels(side: DiagnosedSet) -> tuple[Tensor, NDArray[np.float64]]:
    """Features, and statistics of pixels, of the images that have both."""
    assert side.features is not None
    assert side.pixels is not None
    place_of = {name: place for place, name in enumerate(side.features.names)}
    rows = [(place_of[name], row) for row, name in enumerate(side.pixels.names) if name in place_of]
    places, own = [place for place, _ in rows], [row for _, row in rows]
    return side.features.vectors[places].double(), pixel_values(side)[own]


def feature_scale(real: Tensor) -> Tensor:
    """One over each feature's deviation, 0 where there is none but for rounding."""
    deviation = real.std(0, correction=0)
    return torch.where(deviation > 1e-5 * real.mean(0).abs(), 1 / deviation, 0.0)
