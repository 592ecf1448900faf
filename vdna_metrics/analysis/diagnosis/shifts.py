"""Faults of pixels: which of their statistics move, and which move together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.analysis.diagnosis.values import DiagnosedSet, Fault, Sign, Thresholds
from vdna_metrics.functional import PIXEL_STATISTICS

# Where a reference has hardly any spread, a shift of so much is still nothing to speak of.
_MEANS = tuple(f"{part}{axis}" for part in ("", "dark_", "bright_") for axis in ("red_green", "blue_yellow"))
_LEAST_SPREAD = {
    "size": 0.05,
    # That of images of 32 to 40 pixels. Of large ones lines vary less, so that what blur and JPEG do to them would
    # count, though it is a tenth of what interpolation does.
    **dict.fromkeys(("lines_of_steps", "lines_of_bends"), 0.3),
    **dict.fromkeys(("lightness", "contrast", "saturation", *_MEANS), 2.0),
}
_SPREAD = 0.02


@dataclass(frozen=True)
class Shift:
    """One statistic of both sides: means, and their difference in deviations of an image and in standard errors."""

    generated: float
    reference: float
    deviations: float
    errors: float

    @property
    def difference(self) -> float:
        """Of the means."""
        return self.generated - self.reference

    def sign(self, statistic: str) -> Sign:
        """For a fault."""
        return Sign(statistic, self.generated, self.reference, self.errors)


@dataclass(frozen=True)
class Shifts:
    """Of all statistics by name."""

    found: Mapping[str, Shift]

    @classmethod
    def of(cls, reference: DiagnosedSet, generated: DiagnosedSet) -> Shifts:
        """Of two sets whose pixels were looked at."""
        sides = [pixel_values(side) for side in (reference, generated)]
        means, variances = [side.mean(0) for side in sides], [side.var(0) for side in sides]
        of_means = sum(
            variance * side.dependence / len(values)
            for variance, side, values in zip(variances, (reference, generated), sides, strict=True)
        )
        found = {}
        for place, name in enumerate(PIXEL_STATISTICS):
            least = least_spread(name)
            deviation = max(float(variances[0][place]) ** 0.5, least)
            error = max(float(of_means[place]) ** 0.5, least / len(sides[1]))
            real, fake = float(means[0][place]), float(means[1][place])
            found[name] = Shift(fake, real, (fake - real) / deviation, (fake - real) / error)
        return cls(found)

    def __getitem__(self, name: str) -> Shift:
        return self.found[name]

    def rose(self, name: str, least: float, thresholds: Thresholds) -> bool:
        """Whether a statistic is larger, by so many deviations and for sure."""
        return self[name].deviations >= least and self[name].errors >= thresholds.errors

    def fell(self, name: str, least: float, thresholds: Thresholds) -> bool:
        """Whether it is smaller."""
        return self[name].deviations <= -least and self[name].errors <= -thresholds.errors

    def moved(self, name: str, least: float, thresholds: Thresholds) -> bool:
        """Whether it is either."""
        return self.rose(name, least, thresholds) or self.fell(name, least, thresholds)


def least_spread(name: str) -> float:
    """Of a statistic, where the reference has less."""
    return _LEAST_SPREAD.get(name, _SPREAD)


def pixel_values(side: DiagnosedSet) -> NDArray[np.float64]:
    """Statistics of a set whose pixels were looked at, ``[images, statistics]``."""
    assert side.pixels is not None
    return side.pixels.vectors.double().numpy()


def pixel_faults(shifts: Shifts, limits: Thresholds, unseen: list[str]) -> Iterator[Fault]:
    """Blur, noise, compression and enlargement, which are at the pixels' own scale."""
    if abs(shifts["size"].difference) > limits.size:
        sides = (f"{2 ** shifts['size'].generated:.0f}", f"{2 ** shifts['size'].reference:.0f}")
        unseen.append(
            f"Sharpness, noise, compression and enlargement were not looked for: its images have about {sides[0]} "
            f"pixels a side, those of the reference {sides[1]}; give both in one size"
        )
        return
    sharpness = shifts["sharpness"]
    fewer = shifts.fell("isolated", limits.isolated, limits) and sharpness.errors < limits.errors
    blurred = shifts.fell("sharpness", limits.sharpness, limits) or fewer
    of_eight = shifts.rose("grid", limits.grid, limits) and shifts["borders"].errors >= limits.errors
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
        name = min(("sharpness", "isolated"), key=lambda name: shifts[name].errors) if fewer else "sharpness"
        what = "detail at edges has" if name == "sharpness" else "isolated pixels are"
        of = "the reference's power" if name == "sharpness" else "the reference's"
        yield Fault(
            "blur",
            f"Blurred: {what} {_ratio(shifts[name])} times {of} {_errors(shifts[name])}",
            abs(shifts[name].deviations),
            (sharpness.sign("sharpness"), shifts["isolated"].sign("isolated")),
        )
    of_noise = ("flat_noise",) if of_eight or of_four else ("flat_noise", "isolated")  # codecs ring about edges
    noisy = [name for name in of_noise if shifts.rose(name, limits.noise, limits)]
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


def _periods(shifts: Shifts, limits: Thresholds, *, compressed: bool, blurred: bool) -> list[str]:
    """Statistics that tell of interpolation."""
    if not blurred and shifts["isolated"].errors > -limits.errors:  # repeated pixels are not isolated, nor are blends
        return []
    places = {
        "halves_of_steps": limits.halves,
        "quarters_of_steps": limits.quarters,
        "quarters_of_bends": limits.quarters,
    }
    lines = dict.fromkeys(("lines_of_bends", "lines_of_steps"), limits.lines)
    if compressed:  # JPEG bends a block's quarters too
        places = dict.fromkeys(("halves_of_steps", "quarters_of_steps"), limits.periods_compressed)
        lines = dict.fromkeys(lines, limits.periods_compressed)
    found = [name for name, limit in places.items() if shifts.moved(name, limit, limits)]
    return found + [name for name, limit in lines.items() if shifts.rose(name, limit, limits)]


def _ratio(shift: Shift) -> str:
    return f"{2**shift.difference:.2g}"


def _errors(shift: Shift) -> str:
    return f"({abs(shift.errors):.0f} standard errors)"
