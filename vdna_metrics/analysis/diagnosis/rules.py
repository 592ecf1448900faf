"""What is wrong with generated images: faults of their pixels, missing kinds, copies and repeats."""

from __future__ import annotations

from dataclasses import replace

from vdna_metrics.analysis.diagnosis.colours import colour_faults
from vdna_metrics.analysis.diagnosis.copies import Repeats, copy_faults
from vdna_metrics.analysis.diagnosis.kinds import missing_kinds, recall_in_words
from vdna_metrics.analysis.diagnosis.shifts import Shifts, pixel_faults
from vdna_metrics.analysis.diagnosis.values import DiagnosedSet, Diagnosis, Fault, Looked, Thresholds
from vdna_metrics.analysis.features import CopyReport
from vdna_metrics.layout import check_type

THRESHOLDS = Thresholds()


_IN_WORDS = {"resized": "enlargement", "colour": "a colour cast"}


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
      counts. Where none is sure alone, and no other fault of the pixels is found, all of them are tested together
      (Hotelling's test).
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
        >>> from vdna_metrics.analysis import collect_features
        >>> from vdna_metrics.images.procedural import procedural_images
        >>> images = np.stack(list(procedural_images("dead_leaves_textured", 60, size=48)))
        >>> noisy = np.clip(images[30:] + np.random.default_rng(0).normal(0, 12, images[30:].shape), 0, 255)
        >>> sides = images[:30], images[30:], noisy.astype(np.uint8)
        >>> real, fine, noisy = (DiagnosedSet(collect_features(side, "pixel_statistics")) for side in sides)
        >>> [fault.name for fault in diagnose(real, fine).faults], [f.name for f in diagnose(real, noisy).faults]
        ([], ['noise'])
    """
    for name, side in (("reference", reference), ("generated", generated)):
        check_type(name, side, DiagnosedSet)
    faults, unseen = list[Fault](), list[str]()
    repeats = Repeats.of(reference, generated)
    # An image tells once what it tells; of few that are repeated, chance would be a shift.
    generated = replace(generated, dependence=generated.dependence / (1 - repeats.share))
    if reference.pixels is None or generated.pixels is None:
        whose, side = ("the reference", reference) if reference.pixels is None else ("this set", generated)
        unseen.append(f"Pixels were not looked at: of {whose}, {side.unseen}")
    else:
        shifts = Shifts.of(reference, generated)
        faults += pixel_faults(shifts, thresholds, unseen)
        faults += colour_faults(shifts, reference, generated, {fault.name for fault in faults}, thresholds)
    faults += repeats.faults(thresholds)
    faults += copy_faults(reference, generated, copies, thresholds)
    if reference.features is None or generated.features is None:
        unseen.append(
            "Missing kinds, and copies that are not the same pixel by pixel, were not looked for: there are no features"
        )
    elif moved := [fault for fault in faults if fault.name not in ("copies", "repeats")]:
        what = _IN_WORDS.get(moved[0].name, moved[0].name)
        recall = recall_in_words(reference.features, generated.features, seed)
        unseen.append(f"Missing kinds were not looked for: {what} moves features too{recall}")
    else:
        faults += missing_kinds(reference.features, generated.features, repeats.distinct, thresholds, seed, unseen)
    return Diagnosis(tuple(faults), tuple(unseen), _looked(reference, generated))


def _looked(*sides: DiagnosedSet) -> Looked:
    if all(side.pixels is not None for side in sides) or all(side.features is not None for side in sides):
        return "images"
    return "hashes" if all(side.account.pixels is not None for side in sides) else "nothing"
