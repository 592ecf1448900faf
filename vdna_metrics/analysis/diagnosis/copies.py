"""Images that a set has twice, or the reference has too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vdna_metrics.analysis.diagnosis.values import DiagnosedSet, Fault, Sign, Thresholds
from vdna_metrics.analysis.features import CopyReport, find_copies, repeated_images

_NEIGHBOURS = 5


@dataclass(frozen=True)
class Repeats:
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
    def of(cls, reference: DiagnosedSet, generated: DiagnosedSet) -> Repeats:
        """Those of the generated images."""
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

    @property
    def share(self) -> float:
        """Of the images, that are like an earlier one."""
        return max(self.pixels, self.near) / max(self.n_images, 1)

    def faults(self, limits: Thresholds) -> Iterator[Fault]:
        """A fault, where they are more than by chance."""
        number = max(self.pixels, self.near)
        if not _is_more(number, self.n_images, self.expected, limits.repeats, limits):
            return
        exact = f", {self.pixels} pixel by pixel" if self.pixels else ""
        yield Fault(
            "repeats",
            f"Repeats: {number} of {self.n_images} images are an earlier one again{exact}, where by chance "
            f"at most {self.expected * self.n_images:.2g} would",
            self.share,
            (_count_sign("repeats", number, self.n_images, self.expected),),
        )


def copy_faults(
    reference: DiagnosedSet, generated: DiagnosedSet, report: CopyReport | None, limits: Thresholds
) -> Iterator[Fault]:
    """A fault, where copies are more than by chance.

    Args:
        reference: what may have been copied.
        generated: the images.
        report: of `find_copies`, where it is known.
        limits: from where on there is a fault.
    """
    real, fake = reference.account.pixels, generated.account.pixels
    same = 0 if real is None or fake is None else fake.images_in(real)
    n_images, number, expected = 0 if fake is None else fake.n_images, same, 0.0
    sides = reference.features, generated.features
    if report is None and sides[0] is not None and sides[1] is not None and len(sides[0]) > _NEIGHBOURS:
        report = find_copies(sides[1], sides[0], k=_NEIGHBOURS)
    if report is not None:
        n_images, number, expected = len(report.matches), max(same, report.sure), report.false_alarms
    if not (
        _is_more(number, n_images, expected, limits.copies, limits)
        or _is_more(same, n_images, 0.0, limits.copies, limits)
    ):
        return
    exact = f", {same} pixel by pixel" if same else ""
    yield Fault(
        "copies",
        f"Copies: {number} of {n_images} images look like one of the reference's{exact}, where by chance "
        f"at most {expected * n_images:.2g} would",
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
