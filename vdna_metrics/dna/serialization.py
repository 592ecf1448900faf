"""DNA files: schema 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import (
    Distribution,
    GaussianDistribution,
    HistogramDistribution,
    Kind,
    LayerGaussianDistribution,
)
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.files import read_npz, write_npz
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges

Array = NDArray[Any]


def save_vdna(dna: VDNA, path: str | Path) -> Path:
    """Write a DNA as one ``.npz``: plain arrays and a JSON header, complete or not at all.

    Counts are kept as steps from bin to bin, their bytes shuffled into planes, which deflate packs best. Covariances
    keep their upper triangle. All values come back exactly.
    """
    distribution = dna.distribution
    distribution.check_finite()
    header: dict[str, Any] = {
        "n_images": dna.n_images,
        "layout": dna.layout.to_json(),
        "fingerprint": dna.fingerprint.to_json(),
        "provenance": dna.provenance.to_json(),
    }
    arrays: dict[str, Array] = {}
    if isinstance(distribution, HistogramDistribution):
        header["bins"] = distribution.bins
        header["ranges"] = distribution.ranges.header()
        arrays["low"] = distribution.ranges.observed_low.numpy()
        arrays["high"] = distribution.ranges.observed_high.numpy()
        arrays["counts"] = _packed(distribution.counts)
        arrays["below"] = _smallest(_array(distribution.below))
        arrays["above"] = _smallest(_array(distribution.above))
    elif isinstance(distribution, GaussianDistribution):
        arrays["centre"] = _array(distribution.centre)
        arrays["first"] = _array(distribution.first)
        arrays["second"] = _array(distribution.second)
    elif isinstance(distribution, LayerGaussianDistribution):
        triangles = [_upper_triangle(scatter) for scatter in distribution.scatters().values()]
        arrays["centre"] = _array(distribution.centre)
        arrays["first"] = _array(distribution.first)
        arrays["scatter"] = _array(torch.cat(triangles))
    return write_npz(path, dna.kind, header, arrays)


def load_vdna(path: str | Path, *, device: torch.device | str | None = None) -> VDNA:
    """Read a DNA from a file written by `VDNA.save`.

    Args:
        path: the file.
        device: where its state goes, the CPU by default.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, was changed, has a newer schema, or holds something else.
    """
    header, arrays = read_npz(path, get_args(Kind))
    layout = NeuronLayout.from_json(header["layout"])
    distribution: Distribution
    if header["kind"] == "histogram":
        ranges = ActivationRanges.from_header(header["ranges"], arrays["low"], arrays["high"])
        counts = _unpacked(arrays["counts"])
        parts = [counts, *(torch.from_numpy(arrays[name].astype(np.int64)) for name in ("below", "above"))]
        distribution = HistogramDistribution(layout, _state(header, layout, parts, torch.int64), ranges, header["bins"])
    else:
        centre, first = torch.from_numpy(arrays["centre"]), torch.from_numpy(arrays["first"])
        if header["kind"] == "gaussian":
            parts = [first, torch.from_numpy(arrays["second"])]
            distribution = GaussianDistribution(layout, _state(header, layout, parts, torch.float64), centre)
        else:
            parts = [first, *_from_triangles(torch.from_numpy(arrays["scatter"]), layout)]
            distribution = LayerGaussianDistribution(layout, _state(header, layout, parts, torch.float64), centre)
    if device is not None:
        distribution = distribution.to(device)
    return VDNA(
        distribution,
        ExtractorFingerprint.from_json(header["fingerprint"]),
        Provenance.from_json(header["provenance"]),
    )


def _state(header: dict[str, Any], layout: NeuronLayout, parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    head = torch.zeros(1 + len(layout), dtype=dtype)
    head[0] = header["n_images"]
    return torch.cat([head, *(part.flatten() for part in parts)])


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array


def _smallest(counts: Array) -> Array:
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def _packed(counts: Tensor) -> Array:
    # Neighbouring bins differ less than they hold. Steps are folded to unsigned (0, -1, 1, -2 -> 0, 1, 2, 3), so that
    # small ones have empty high bytes. The file is a tenth smaller than with the counts themselves.
    steps = np.diff(_array(counts), axis=1, prepend=0)
    folded = _smallest((steps << 1) ^ (steps >> 63))
    return np.stack([(folded >> (8 * place)).astype(np.uint8) for place in range(folded.itemsize)])  # low bytes first


def _unpacked(planes: Array) -> Tensor:
    folded = np.zeros(planes.shape[1:], np.int64)
    for place, plane in enumerate(planes):
        folded |= plane.astype(np.int64) << (8 * place)
    steps = (folded >> 1) ^ -(folded & 1)
    return torch.from_numpy(np.cumsum(steps, axis=1))


def _upper_triangle(matrix: Tensor) -> Tensor:
    rows, columns = torch.triu_indices(*matrix.shape, device=matrix.device)
    return matrix[rows, columns]


def _from_triangles(packed: Tensor, layout: NeuronLayout) -> list[Tensor]:
    matrices = []
    sizes = [count * (count + 1) // 2 for count in layout.values()]
    for count, part in zip(layout.values(), packed.split(sizes), strict=True):
        rows, columns = torch.triu_indices(count, count)
        matrix = packed.new_zeros(count, count)
        matrix[rows, columns] = part
        matrix[columns, rows] = part
        matrices.append(matrix)
    return matrices
