"""What a diagnosis is of, from where on there is a fault, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vdna_metrics.analysis.features import Features
from vdna_metrics.dna.account import ImageAccount

FaultName = Literal["blur", "noise", "compression", "colour", "resized", "collapse", "copies", "repeats"]
Looked = Literal["images", "hashes", "nothing"]
NO_FAULT: Mapping[Looked, str] = {
    "images": "No fault that this looks for stands out.",
    "hashes": "No image is one of the reference's, or another one, pixel by pixel; nothing else could be looked at.",
    "nothing": "Nothing could be looked at.",
}


@dataclass(frozen=True)
class Thresholds:
    """From where on a statistic is a sign of a fault.

    Shifts are in deviations of the reference's images, unless said otherwise, and count where they are also so many
    standard errors from 0. They were chosen on photographs of ImageNet and CIFAR-10's training images, and judged on
    others, see `docs/diagnosis.md`.

    Args:
        errors: standard errors that any shift needs.
        size: log2 of a side, by which sizes may differ where pixels are compared.
        sharpness: loss, of blur and enlargement.
        isolated: loss of isolated pixels, likewise: medians keep edges.
        sharpness_compressed: likewise, beside compression.
        noise: rise of noise in flat parts, or of isolated pixels.
        grid: rise, of JPEG's blocks, where borders rise too.
        blocks_of_four: rise of quarters of bends without a loss of sharpness, as other codecs leave it.
        halves: of steps, either way, of enlargement.
        quarters: of steps or bends, likewise.
        lines: rise, of steps or bends.
        periods_compressed: of all of these, beside compression.
        colour: levels, of a cast.
        edges: log2 of the ratio of channels' edges, likewise.
        colour_errors: standard errors of two parts of a cast, or of all colours together; half as many again of one
            part alone.
        colours_together: deviations of all colours together, where none counts alone.
        tone_errors: standard errors of saturation, contrast, hues and lightness.
        matched: share of the standard errors of saturation, of hues and of all colours together that suffices where
            images are compared with those nearest in features: pale ones are nearest to pale ones.
        saturation: log2 of the ratio.
        contrast: likewise.
        hue: log2 of the ratio of two opponents' edges.
        lightness: levels.
        kinds: standard errors by which counts of kinds differ, and those of a loss of recall, added up.
        precision: share of the reference's own below which nothing is said of kinds.
        copies: share of the images, above chance.
        repeats: likewise.
        chance: probability of so many copies or repeats by chance.
    """

    errors: float = 5.0
    size: float = 0.2
    sharpness: float = 0.7
    isolated: float = 1.2
    sharpness_compressed: float = 2.0
    noise: float = 0.5
    grid: float = 2.5
    blocks_of_four: float = 0.8
    halves: float = 0.5
    quarters: float = 1.0
    lines: float = 1.4
    periods_compressed: float = 3.0
    colour: float = 4.0
    edges: float = 0.06
    colour_errors: float = 3.5
    colours_together: float = 0.4
    tone_errors: float = 4.0
    matched: float = 0.7
    saturation: float = 0.25
    contrast: float = 0.3
    hue: float = 0.2
    lightness: float = 12.0
    kinds: float = 4.0
    precision: float = 0.5
    copies: float = 0.03
    repeats: float = 0.03
    chance: float = 1e-4


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
        severity: in deviations of the reference's images for faults of pixels, levels for colours, the share of recall
            that is lost for missing kinds, that of the images for copies and repeats.
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
        looked: at pixels or features of images, at hashes of their pixels alone, or at nothing.
    """

    faults: tuple[Fault, ...] = ()
    unseen: tuple[str, ...] = ()
    looked: Looked = "images"

    @property
    def found(self) -> str:
        """The faults, for people."""
        return " ".join(f"{fault.sentence}." for fault in self.faults) or NO_FAULT[self.looked]

    @property
    def sentence(self) -> str:
        """Both, for people.

        Examples:
            >>> print(Diagnosis(unseen=("There are no images of the reference",), looked="nothing").sentence)
            Nothing could be looked at. There are no images of the reference.
        """
        return " ".join([self.found, *(f"{unseen}." for unseen in self.unseen)])


@dataclass(frozen=True, eq=False)
class DiagnosedSet:
    """What is known of a set of images, each part as far as it is there.

    Args:
        pixels: of some of its images, `collect_features` of ``"pixel_statistics"``.
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
