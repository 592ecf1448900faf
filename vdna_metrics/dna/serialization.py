"""DNA files: schema 1."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import (
    AutoHistogramDistribution,
    FeatureSample,
    GaussianDistribution,
    Histogram,
    HistogramDistribution,
    LayerGaussianDistribution,
    empty_histogram,
)
from vdna_metrics.distributions.base import Distribution
from vdna_metrics.dna.vdna import VDNA, ProvenanceFields
from vdna_metrics.files import check_limit, errors_of, read_header, read_npz, write_npz
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.grids import extreme_codes
from vdna_metrics.functional.histogram import MAX_BINS
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges, GivenRanges, RangesFields, load_ranges
from vdna_metrics.schema import ArrayField, Arrays, Check, Count

Array = NDArray[Any]

_RUN = 20
_KEY_BYTES = 64
_RUNS = 1 << 16  # that are unpacked at once


def save_vdna(dna: VDNA, path: str | Path) -> Path:
    """Write a DNA as one ``.npz``: plain arrays and a JSON header, complete or not at all.

    Counts are rearranged for deflate, covariances keep their upper triangle; all values come back exactly.
    """
    distribution = dna.distribution
    distribution.check_finite()
    header: dict[str, Any] = {
        "n_images": dna.n_images,
        "layout": dna.layout.to_json(),
        "fingerprint": dna.fingerprint.to_json(),
        "provenance": dna.provenance.to_json(),
    }
    arrays: dict[str, Array] = dna.provenance.account.arrays()
    if isinstance(distribution, Histogram):
        header["bins"] = distribution.bins
        arrays["lengths"], arrays["counts"] = _packed(_array(distribution.counts))
    if isinstance(distribution, AutoHistogramDistribution):
        arrays["low"], arrays["high"] = map(_array, distribution.observed)
    elif isinstance(distribution, HistogramDistribution):
        header["ranges"] = distribution.ranges.header()
        arrays["low"] = distribution.ranges.observed_low.numpy()
        arrays["high"] = distribution.ranges.observed_high.numpy()
        arrays["below"] = _smallest(_array(distribution.below))
        arrays["above"] = _smallest(_array(distribution.above))
    elif isinstance(distribution, GaussianDistribution | LayerGaussianDistribution):
        arrays["centre"], arrays["first"] = _array(distribution.centre), _array(distribution.first)
    elif isinstance(distribution, FeatureSample):
        header["size"] = distribution.size
        arrays |= {name: _array(each) for name, each in distribution.copied().arrays().items()}
        arrays["image_counts"] = _smallest(arrays["image_counts"])
        arrays["image_hashes"] = arrays["image_hashes"].view(np.uint64)
    if isinstance(distribution, GaussianDistribution):
        arrays["second"] = _array(distribution.second)
    elif isinstance(distribution, LayerGaussianDistribution):
        scatters = [_array(scatter) for scatter in distribution.scatters().values()]
        arrays["scatter"] = np.concatenate([scatter[np.triu_indices(len(scatter))] for scatter in scatters])
    return write_npz(path, distribution.stored_as or dna.kind, header, arrays)


def load_vdna(path: str | Path, *, device: torch.device | str | None = None) -> VDNA:
    """Read a DNA from a file written by `VDNA.save`.

    Args:
        path: the file.
        device: where its state goes, the CPU by default.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, was changed, has a newer schema, or holds something else.
    """
    file, arrays = read_npz(path, DNA_FILES)
    with errors_of(str(path)):
        distribution: Distribution = file.distribution(arrays)
        provenance = file.provenance.provenance(arrays)
    placed = distribution if device is None else distribution.to(device)
    return VDNA(placed, file.fingerprint, provenance)


def load_merged(paths: Sequence[str | Path]) -> VDNA | ActivationRanges:
    """Read DNA files, or files of activation ranges, and add them: as if all their images had been one set.

    Args:
        paths: files of one kind, at least one.

    Raises:
        ValueError: for files of several kinds, or two that do not go together; both are named.

    Examples:
        >>> load_merged([])
        Traceback (most recent call last):
        ValueError: expected at least one file, got none
    """
    if not paths:
        raise ValueError("expected at least one file, got none")
    kinds = {str(path): str(read_header(path)["kind"]) for path in paths}
    if len(set(kinds.values())) > 1:
        raise ValueError(f"only files of one kind merge: {', '.join(f'{path} {kind}' for path, kind in kinds.items())}")
    load: Callable[[str | Path], Any] = load_ranges if "ranges" in kinds.values() else load_vdna
    merged: VDNA | ActivationRanges = load(paths[0])
    for path in paths[1:]:
        with errors_of(f"{paths[0]} and {path}"):
            merged = merged + load(path)
    return merged


# ----------------------------------------------------------------------------------------------------------- schemas
_Bins = Annotated[int, Check(f"a whole number from 1 to {MAX_BINS}", lambda n: 1 <= n <= MAX_BINS)]


@dataclass(frozen=True)
class DNAFile:
    """What the files of all kinds say of a DNA; a kind has a subclass, in `DNA_FILES`."""

    n_images: Count
    layout: NeuronLayout
    fingerprint: ExtractorFingerprint
    provenance: ProvenanceFields

    def __post_init__(self) -> None:
        lacking = [layer for layer in self.layout if layer not in self.fingerprint.paths]
        if lacking:
            raise ValueError(
                f"layout: expected layers of the fingerprint, {list(self.fingerprint.paths)}, got {lacking[:4]} too"
            )

    def arrays(self) -> dict[str, ArrayField]:
        """The kind's arrays, and those of the account."""
        return self.provenance.account.arrays()

    def distribution(self, arrays: Arrays) -> Distribution:
        """What the arrays hold, after a look at whether images can give it."""
        raise NotImplementedError


@dataclass(frozen=True)
class _HistogramFile(DNAFile):
    bins: _Bins
    ranges: RangesFields | None = None  # none are given to histograms that find their own

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ranges is not None and self.ranges.layout != self.layout:
            raise ValueError(f"ranges.layout: expected that of the DNA, {dict(self.layout)}, got {self.ranges.layout}")

    def arrays(self) -> dict[str, ArrayField]:
        neurons = self.layout.total
        check_limit("array_bytes", neurons * (self.bins + 2) * 8, f"the counts of {neurons} neurons, {self.bins} bins")
        runs, outside = neurons * -(-self.bins // _RUN), ArrayField((neurons,), "u")
        packed = {"lengths": ArrayField((runs,), "u1"), "counts": ArrayField((None, runs, _RUN), "u1")}
        if self.ranges is None:
            extremes = dict.fromkeys(("low", "high"), ArrayField((neurons,), "f4", finite=False))
            return {**super().arrays(), **packed, **extremes}
        return {**super().arrays(), **self.ranges.arrays(), **packed, "below": outside, "above": outside}

    def distribution(self, arrays: Arrays) -> Histogram:
        if len(arrays["counts"]) > 8:
            raise ValueError(f"array 'counts': expected at most 8 bytes a count, got {len(arrays['counts'])}")
        ranges: GivenRanges = "auto" if self.ranges is None else self.ranges.ranges(arrays)
        found = empty_histogram(self.layout, ranges, self.bins)
        _unpack_(_array(found.counts), arrays["lengths"], arrays["counts"])
        if isinstance(found, HistogramDistribution):
            for name, outside in (("below", found.below), ("above", found.above)):
                _array(outside)[:] = arrays[name]  # what is over int64 is negative there
        elif isinstance(found, AutoHistogramDistribution):
            low, high = (torch.from_numpy(arrays[end]) for end in ("low", "high"))
            found.codes.copy_(torch.stack(extreme_codes(low, high)))
        found.state[0] = self.n_images
        found.check_possible()
        prepared = _PREPARED.search(self.fingerprint.preprocessing)
        if prepared and not self.provenance.origin:  # vdna counts some activations twice
            self._check_totals(found, one_size=bool(prepared["size"]))
        return found

    def _check_totals(self, found: Histogram, *, one_size: bool) -> None:
        """An image gives all neurons of a layer as many activations, and the same number as another of its size."""
        for layer, counts in self.layout.split(found.counts).items():
            totals = counts.sum(1)
            images, low, high = self.n_images, int(totals.min()), int(totals.max())
            few_or_none = low < images or (low and not images)
            if low != high or few_or_none or (one_size and images and low % images):
                raise ValueError(
                    f"n_images and array 'counts': expected {f'a multiple of {images}' * one_size or 'one number of'} "
                    f"activations for each neuron of layer {layer!r}, got {low if low == high else f'{low} to {high}'}"
                )


@dataclass(frozen=True)
class _MomentsFile(DNAFile):
    def _moments(self, second: str, length: int) -> dict[str, ArrayField]:
        neurons = ArrayField((self.layout.total,), "f8")
        return {**super().arrays(), "centre": neurons, "first": neurons, second: ArrayField((length,), "f8")}

    def _fill_(self, found: GaussianDistribution | LayerGaussianDistribution, arrays: Arrays) -> None:
        """Take the first moments, and see that the second ones go with them."""
        _array(found.centre)[:], _array(found.first)[:] = arrays["centre"], arrays["first"]
        found.state[0] = self.n_images
        found.check_possible()


@dataclass(frozen=True)
class _GaussianFile(_MomentsFile):
    def arrays(self) -> dict[str, ArrayField]:
        return self._moments("second", self.layout.total)

    def distribution(self, arrays: Arrays) -> GaussianDistribution:
        found = GaussianDistribution.empty(self.layout)
        _array(found.second)[:] = arrays["second"]
        self._fill_(found, arrays)
        return found


@dataclass(frozen=True)
class _LayerGaussianFile(_MomentsFile):
    def arrays(self) -> dict[str, ArrayField]:
        for layer, count in self.layout.items():
            check_limit("array_bytes", 8 * count**2, f"the covariance of layer {layer!r}")
        return self._moments("scatter", sum(count * (count + 1) // 2 for count in self.layout.values()))

    def distribution(self, arrays: Arrays) -> LayerGaussianDistribution:
        found = LayerGaussianDistribution.empty(self.layout)
        scatters, start = found.scatters(), 0
        for scatter in map(_array, scatters.values()):
            for row in range(len(scatter)):
                end = start + len(scatter) - row
                scatter[row, row:] = scatter[row:, row] = arrays["scatter"][start:end]
                start = end
        self._fill_(found, arrays)
        return found


@dataclass(frozen=True)
class _FeaturesFile(DNAFile):
    size: Annotated[int, Check("a whole number from 2", lambda n: n >= 2)]

    def arrays(self) -> dict[str, ArrayField]:
        # A key is drawn for each image, in several arrays at once.
        check_limit("array_bytes", _KEY_BYTES * self.n_images, f"the keys of {self.n_images} images")
        check_limit("array_bytes", 4 * self.layout.total * min(self.size, self.n_images), "a table of features")
        return {
            **super().arrays(),
            "image_hashes": ArrayField((None,), "u8"),
            "image_counts": ArrayField((None,), "u"),
            "features": ArrayField((None, self.layout.total), "f4"),
        }

    def distribution(self, arrays: Arrays) -> FeatureSample:
        hashes = torch.from_numpy(arrays["image_hashes"].view(np.int64))
        counts, rows = torch.from_numpy(arrays["image_counts"].astype(np.int64)), torch.from_numpy(arrays["features"])
        if not len(rows) <= len(hashes) == len(counts):
            raise ValueError(
                "arrays 'image_hashes', 'image_counts', 'features': expected as many counts as hashes, and no more "
                f"rows, got {len(hashes)}, {len(counts)} and {len(rows)}"
            )
        found = FeatureSample.empty(self.layout, self.size).with_arrays(self.n_images, hashes, counts, rows)
        found.check_possible()
        return found


DNA_FILES: Mapping[str, type[DNAFile]] = {
    "histogram": _HistogramFile,
    "gaussian": _GaussianFile,
    "layer_gaussian": _LayerGaussianFile,
    FeatureSample.stored_as: _FeaturesFile,
}
_PREPARED = re.compile(r"^none$|:(own-size|(?P<size>\d+x\d+))(:|$)")  # ids of `Preprocessing`


# ------------------------------------------------------------------------------------------------------------- arrays
def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array


def _smallest(counts: Array) -> Array:
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def _packed(counts: Array) -> tuple[Array, Array]:
    """``[neurons, bins]`` -> bit lengths ``[runs]`` and bytes ``[bytes, runs, 20]``, which deflate packs best.

    Neighbouring bins differ less than they hold, so steps from bin to bin are kept, folded to unsigned numbers (0, -1,
    1, -2 become 0, 1, 2, 3). Runs of 20 steps are sorted by the bits they need, because deflate fits one code to many
    kilobytes, and their bytes are put into planes. Where the counts of a ViT-B have an entropy of 5.4 MB, this takes
    6.6 MB; planes of the counts take 7.7 MB.
    """
    steps = np.diff(counts, axis=1, prepend=0)
    folded = np.pad((steps << 1) ^ (steps >> 63), ((0, 0), (0, -counts.shape[1] % _RUN)))
    runs = folded.reshape(-1, _RUN)
    lengths = np.frexp(runs.max(axis=1))[1].astype(np.uint8)
    runs = _smallest(runs[np.argsort(lengths, kind="stable")])
    return lengths, np.stack([(runs >> (8 * place)).astype(np.uint8) for place in range(runs.itemsize)])


def _unpack_(counts: Array, lengths: Array, planes: Array) -> None:
    """Inverse of `_packed`, into counts ``[neurons, bins]`` int64."""
    order: Array = np.argsort(lengths, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    places = places.reshape(len(counts), -1)  # of each neuron's runs
    neurons = max(1, _RUNS // places.shape[1])
    for start in range(0, len(counts), neurons):
        rows = slice(start, start + neurons)
        runs = np.zeros((*places[rows].shape, _RUN), np.int64)
        for place, plane in enumerate(planes):
            runs |= plane[places[rows]].astype(np.int64) << (8 * place)
        steps = ((runs >> 1) ^ -(runs & 1)).reshape(len(runs), -1)[:, : counts.shape[1]]
        np.cumsum(steps, axis=1, out=counts[rows])
