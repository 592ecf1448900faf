"""What a reader of a number should know of the sets behind it: each sentence is made here, for all who say it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch

from vdna_metrics.distributions import FeatureSample, GaussianDistribution, Histogram, LayerGaussianDistribution
from vdna_metrics.dna.account import OBLONG, Counts, ImageAccount
from vdna_metrics.dna.vdna import VDNA

FEW = 100
"""Below so many images chance alone moves histograms and moments by about as much as sets differ."""

_OUTSIDE = 0.01
_FULL_DEPTH = 15  # bits; cameras have 10 to 14
LOSSLESS = {"BMP", "PNG", "PPM", "TIFF"}
"""Formats of files without loss."""


@dataclass(frozen=True)
class Caveat:
    """A sentence on a set of images, in parts, so that what is true of several sets is one sentence.

    Args:
        fact: of this set.
        values: that end the fact, one for each kind of DNA.
        end: what follows from it, the same for all sets; with the mark that parts it from the fact.

    Examples:
        >>> print(Caveat("7 images are few; chance adds", ("3 bins", "0.2"), ". Take more"))
        7 images are few; chance adds 3 bins and 0.2. Take more
    """

    fact: str
    values: tuple[str, ...] = ()
    end: str = ""

    @property
    def told(self) -> str:
        """The fact with its values."""
        *first, last = self.values or ("",)
        return f"{self.fact} {' and '.join(filter(None, [', '.join(first), last]))}".rstrip()

    def __str__(self) -> str:
        return f"{self.told}{self.end}"


class Notes:
    """Sentences, each once with the names of all sets of images that it is true of.

    Examples:
        >>> notes = Notes()
        >>> for name, n in (("a", 7), ("b", 7), ("c", 9)):
        ...     notes.add_caveats(name, {"few": Caveat(f"{n} images are few", end=". Take more")})
        >>> notes.sentences()
        ('a, b: 7 images are few; c: 9 images are few. Take more',)
    """

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], dict[str, dict[str, Caveat]]] = {}

    def add(self, sentence: str | None, name: str = "") -> None:
        """One more, where there is one."""
        if sentence is not None:
            self._add((sentence, ""), name, Caveat(sentence))

    def add_caveats(self, name: str, caveats: Mapping[str, Caveat]) -> None:
        """What `set_caveats` and `pair_caveats` say of a set."""
        for what, caveat in caveats.items():
            self._add((what, caveat.end), name, caveat)

    def _add(self, key: tuple[str, str], name: str, caveat: Caveat) -> None:
        facts = self._said.setdefault(key, {}).setdefault(name, {})
        known = facts.setdefault(caveat.fact, caveat)
        facts[caveat.fact] = replace(known, values=tuple(dict.fromkeys((*known.values, *caveat.values))))

    def sentences(self) -> tuple[str, ...]:
        """All of them, in the order in which they were added."""
        found = []
        for (_, end), sets in self._said.items():
            names_of: dict[str, list[str]] = {}
            for name, facts in sets.items():
                for caveat in facts.values():
                    names_of.setdefault(caveat.told, []).append(name)
            told = (f"{', '.join(names)}: {fact}" if any(names) else fact for fact, names in names_of.items())
            found.append(f"{'; '.join(told)}{end}")
        return tuple(found)


def set_caveats(
    dna: VDNA, *, like: VDNA | None = None, floors: Mapping[str, float] | None = None, said: Collection[str] = ()
) -> dict[str, Caveat]:
    """What a reader should know of a set of images, ``{what: sentence}``.

    Args:
        dna: of the set.
        like: another DNA of that network and kind, with more images, whose spread tells better what chance does.
        floors: what as many images of the reference's own would score by chance, ``{column: value}``, where it is
            known; see `analysis.noise_floor`.
        said: what is left out.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> set_caveats(load_reference("bsds500/test@vdna_tiny", kind="histogram"))
        {}
    """
    account = dna.provenance.account
    found: dict[str, Callable[[], Caveat | None]] = {
        "unread": lambda: _unread(dna),
        "repeated": lambda: _repeated(account),
        "depth": lambda: _depth(account.depths or ()),
        "squeezed": lambda: _squeezed(dna),
        "coverage": lambda: _coverage(dna),
        "few": lambda: _few(dna, like or dna, floors or {}),
        "sampled": lambda: _sampled(dna),
    }
    made = ((what, make()) for what, make in found.items() if what not in said)
    return {what: caveat for what, caveat in made if caveat is not None}


def pair_caveats(
    reference: VDNA, generated: VDNA, *, name: str = "the reference", equal_files: int = 0
) -> dict[str, Caveat]:
    """What a reader should know of generated images beside those of a reference, ``{what: sentence}``.

    Args:
        reference: the real images.
        generated: what is compared with them.
        name: of the reference.
        equal_files: generated images that are files of the reference, as far as the caller knows.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> pair_caveats(*[load_reference("bsds500/test@vdna_tiny", kind="histogram")] * 2)
        {}
    """
    real, fake = reference.provenance.account, generated.provenance.account
    found = {
        "width": _width(reference, name),
        "copies": _copies(real, fake, name, equal_files),
        "formats": _formats(real.formats or (), fake.formats or (), name),
        "sizes": _sizes(real, fake, name),
    }
    return {what: caveat for what, caveat in found.items() if caveat is not None}


def number_caveat(numbers: Mapping[str, int]) -> str | None:
    """A sentence when sets that are compared with each other differ by more than a tenth in their numbers of images.

    Args:
        numbers: of images of each set, by its name.

    Examples:
        >>> number_caveat({"a": 100, "b": 95}), str(number_caveat({"a": 100, "b": 5000}))[:38]
        (None, 'Numbers of images differ (a 100, b 500')
    """
    few, many = (end(numbers, key=lambda name: numbers[name]) for end in (min, max))
    if 1.1 * numbers[few] >= numbers[many]:
        return None
    return (
        f"Numbers of images differ ({few} {numbers[few]}, {many} {numbers[many]}): plain values of fewer images are "
        "larger by chance alone. Compare the corrected ones of a leaderboard, or take as many of each"
    )


def bins_note(widths: Mapping[str, float]) -> str | None:
    """A sentence for values of histograms that find their own ranges, if there are some.

    Args:
        widths: ``{column: by how much at most its values are moved by bins}``.

    Examples:
        >>> bins_note({"emd (bins)": 1.234567})
        'histograms find their own ranges; their bins move emd (bins) by less than 1.23'
    """
    moved = ", ".join(f"{column} by less than {width:.3g}" for column, width in widths.items())
    return f"histograms find their own ranges; their bins move {moved}" if moved else None


# -------------------------------------------------------------------------------------------------------------- a set
def _unread(dna: VDNA) -> Caveat | None:
    unread = dna.provenance.unread
    if not unread:
        return None
    listed = ", ".join(f"{what} {count}" for what, count in unread)
    return Caveat(f"{sum(count for _, count in unread)} files beside the images are not read: {listed}")


def _repeated(account: ImageAccount) -> Caveat | None:
    pixels = account.pixels
    if pixels is None or not pixels.repeated:
        return None
    about = "" if pixels.is_exact else "about "
    batches = {name for name, _ in account.formats or ()} == {"tensor"}
    advice = "give each rank its own by build.UnpaddedSampler" if batches else "leave them out"
    return Caveat(
        f"{about}{pixels.repeated} of {pixels.n_images} images are the same as another one, pixel by pixel, and count "
        "again",
        end=f": {advice}",
    )


def _depth(depths: Counts) -> Caveat | None:
    dim, total = [(bits, n) for bits, n in depths if bits < _FULL_DEPTH], sum(n for _, n in depths)
    number = sum(n for _, n in dim)
    if 2 * number <= total:
        return None
    bits = max(bits for bits, _ in dim)
    return Caveat(
        f"{number} of {total} images of 16 bits have no value above {2**bits - 1}, so they look like {bits}-bit images "
        f"and are read {2 ** (16 - bits)} times too dark",
        end=": white is 65535. Scale their values up first",
    )


def _squeezed(dna: VDNA) -> Caveat | None:
    sizes = dna.provenance.account.sizes
    if sizes is None or not sizes.oblong:
        return None
    are = "image is" if sizes.oblong == 1 else "images are"
    return squeeze_caveat(f"{sizes.oblong} of {dna.n_images} {are}", dna.fingerprint.preprocessing)


def squeeze_caveat(which: str, preprocessing: str) -> Caveat | None:
    """A sentence on oblong images, where the network's preprocessing squeezes them into a square.

    Args:
        which: images, and a verb.
        preprocessing: id of it.

    Examples:
        >>> squeeze_caveat("2 of 9 images are", "none"), str(squeeze_caveat("2 of 9 images are", "clean:8x8"))[:44]
        (None, '2 of 9 images are more than 1.5 times as lon')
    """
    size = re.search(r"(?:^|:)(\d+)x\1(?=:|$)", preprocessing)
    if size is None or ":crop=" in preprocessing:
        return None
    return Caveat(
        f"{which} more than {OBLONG} times as long on one side as on the other, and squeezed into a square of "
        f"{size[1]} pixels",
        end=": what that does to shapes counts. To look at the middle of each image instead, on both sides, give "
        "crop='center' (--crop center)",
    )


def _coverage(dna: VDNA) -> Caveat | None:
    if not isinstance(dna.distribution, Histogram) or not dna.n_images:
        return None
    outside = {layer: share for layer, share in dna.distribution.outside().items() if share > _OUTSIDE}
    if not outside:
        return None
    worst = ", ".join(f"{layer} {share:.1%}" for layer, share in sorted(outside.items(), key=lambda i: -i[1])[:4])
    return Caveat(
        f"more than 1 % of the activations lie outside the activation ranges in {len(outside)} of {len(dna.layout)} "
        f"layers ({worst})",
        end="; they are counted in the edge bins. Calibrate ranges that cover these images (vdna-metrics calibrate, or "
        "ActivationRange)",
    )


def _sampled(dna: VDNA) -> Caveat | None:
    sample = dna.distribution
    if not isinstance(sample, FeatureSample) or sample.n_sampled == dna.n_images:
        return None
    return Caveat(f"features of {sample.n_sampled} of {dna.n_images} images are compared", end=", a random sample")


def is_few(dna: VDNA) -> bool:
    """Whether a DNA has too few images for what its kind estimates.

    Args:
        dna: of the set.
    """
    least = max(FEW, *(count + 1 for count in dna.layout.values())) if dna.kind == "layer_gaussian" else FEW
    return 0 < dna.n_images < least


def _few(dna: VDNA, like: VDNA, floors: Mapping[str, float]) -> Caveat | None:
    if not is_few(dna):
        return None
    n, advice = dna.n_images, "Take more images"
    begin = f"{n} image{' is' if n == 1 else 's are'} few"
    short = [f"{layer} ({count} neurons)" for layer, count in dna.layout.items() if count >= n]
    if dna.kind == "layer_gaussian" and short:
        of = f"{', '.join(short[:4])}{', ...' if len(short) > 4 else ''}"
        begin = f"{n} images are too few to estimate the covariance of {of}: the distance is biased upwards"
        advice += ", fewer neurons, or the neuron Fréchet distance"
    if floors:
        told = tuple(f"{column} {value:.3g}" for column, value in floors.items())
        begin += "; as many of the reference's own images would score"
        return Caveat(begin, told, f" by chance alone. {advice}")
    bias = chance(max((like, dna), key=lambda each: each.n_images), n)
    return Caveat(f"{begin}; chance alone adds", (bias,), f". {advice}")


def chance(dna: VDNA, n_images: int) -> str:
    """What a sample of ``n_images`` adds to a distance from the set that it is drawn from, as far as a DNA tells.

    Of a histogram, at most: with the images each in a single bin, the share of the bins up to one has the variance
    ``F (1 - F) / n`` and a mean absolute error of no more than its root, or ``2 F (1 - F)``; the EMD is their sum over
    bins. Of a Gaussian, about: ``σ² / n`` of the mean and half as much of the deviation, as of normal samples. Of a
    layer Gaussian, at least: the means' part, ``tr S / n``. Of features nothing is told, for they have many distances.

    Args:
        dna: of the set.
        n_images: of the sample.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> [chance(load_reference("bsds500/test@vdna_tiny", kind=kind), 10) for kind in ("histogram", "gaussian")]
        ['up to 35.8 bins to a VDNA-EMD', 'about 0.399 to a neuron Fréchet distance']
    """
    distribution = dna.distribution
    if isinstance(distribution, Histogram):
        counts = distribution.counts.double()
        share = counts.cumsum(dim=1) / counts.sum(dim=1, keepdim=True).clamp_min(1)
        spread = (share * (1 - share)).clamp_min(0)
        moved = torch.minimum(2 * spread, (spread / n_images).sqrt()).sum(dim=1)
        bins = (moved * distribution.bin_widths("bins").to(moved.device)).nanmean().nan_to_num()
        return f"up to {float(bins):.3g} bins to a VDNA-EMD"
    if distribution.kind == "features":
        return "an unknown part to distances of features"
    if dna.n_images < distribution.min_images:
        return "more than can be told"
    if isinstance(distribution, GaussianDistribution):
        variance = distribution.mean_and_variance()[1].mean()
        return f"about {1.5 * float(variance) / n_images:.3g} to a neuron Fréchet distance"
    assert isinstance(distribution, LayerGaussianDistribution)
    traces = [float(distribution.mean_and_covariance(layer)[1].trace()) for layer in dna.layout]
    return f"at least {math.fsum(traces) / len(traces) / n_images:.3g} to a layer Fréchet distance"


# ------------------------------------------------------------------------------------------------------------- a pair
def _width(reference: VDNA, name: str) -> Caveat | None:
    if not isinstance(reference.distribution, Histogram) or not reference.n_images:
        return None
    without = int(reference.distribution.bin_widths("bins").isnan().sum())
    if not without:
        return None
    return Caveat(
        f"{without} of {reference.layout.total} neurons gave one value to all images of {name}",
        end=": in bins and in range they have no distance from it and are left out, which unit='activation' does not",
    )


def _copies(real: ImageAccount, fake: ImageAccount, name: str, equal_files: int) -> Caveat | None:
    common, about = equal_files, ""
    if real.pixels is not None and fake.pixels is not None:
        exact = real.pixels.is_exact and fake.pixels.is_exact
        common, about = max(common, fake.pixels.images_in(real.pixels)), "" if exact else "about "
    if not common:
        return None
    return Caveat(
        f"{about}{common} of its images are images of {name}, too",
        end=": its values are too low, the corrected ones far too low. Give images that the reference does not have",
    )


def _formats(real: Counts, fake: Counts, name: str) -> Caveat | None:
    def mostly(formats: Counts) -> str | None:
        total = sum(count for _, count in formats)
        lossless = sum(count for each, count in formats if each in LOSSLESS)
        if 2 * dict(formats).get("JPEG", 0) > total:
            return "JPEG"
        return max(formats, key=lambda pair: pair[1])[0] if 2 * lossless > total else None

    here, there = mostly(fake), mostly(real)
    if here is None or there is None or (here == "JPEG") == (there == "JPEG"):
        return None
    return Caveat(
        f"its images are {here}, those of {name} {there}",
        end=": what JPEG does to images counts as a difference between the two. Save both in one way",
    )


def _sizes(real: ImageAccount, fake: ImageAccount, name: str) -> Caveat | None:
    if real.sizes is None or fake.sizes is None or not real.sizes.are_apart(fake.sizes):
        return None
    return Caveat(
        f"its images are {fake.sizes}, those of {name} {real.sizes}",
        end=": what is enlarged or reduced more is more or less sharp, which counts as a difference. Give both in "
        "about one size",
    )
