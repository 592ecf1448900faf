"""Files of the vdna package: ``ROOT.json`` with settings, ``ROOT.npz`` with arrays, in its four kinds.

As version 0.1.1 writes and reads them: a histogram is ``{layer}`` int32 ``[neurons, bins]``; a Gaussian ``mu-{layer}``
and ``var-{layer}`` float32, a layer Gaussian ``mu-{layer}`` and ``sigma-{layer}`` float64, both with ddof 1 over the
images' means; activation ranges are ``min-{layer}`` and ``max-{layer}`` float32. vdna passes over what it does not know
in the settings, so what its format has no place for (fingerprint, provenance, rule of the ranges) is written there
under ``"vdna_metrics"``, and read again from there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import (
    AutoHistogramDistribution,
    GaussianDistribution,
    HistogramDistribution,
    LayerGaussianDistribution,
)
from vdna_metrics.distributions.base import Distribution
from vdna_metrics.dna.vdna import VDNA, Provenance, ProvenanceFields
from vdna_metrics.extractors import ExtractorSpec
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import source_file
from vdna_metrics.files import errors_of, is_ours, read_arrays, read_json, replacing, sha256_of_file, write_whole
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout, near_names
from vdna_metrics.ranges import ActivationRanges, load_ranges, load_vdna_ranges
from vdna_metrics.schema import Arrays, Count, Positive

RangesLike = ActivationRanges | str | Path
_OURS = "vdna_metrics"
_VERSION = "0.1.1"
_KINDS = {"histogram": "histogram", "gaussian": "gaussian", "layer_gaussian": "layer-gaussian"}
_SCALES = {"vdna": 1.2, "none": 1.0}  # by which vdna multiplies extremes, for the rules that do it
_HALF = ("clip_im_vit_b16",)  # which vdna computes in half precision


@dataclass(frozen=True)
class _Ours:
    fingerprint: ExtractorFingerprint
    provenance: ProvenanceFields
    ranges: str | None = None


@dataclass(frozen=True)
class _Data:
    of_others: ClassVar[bool] = True

    source: Any
    resize_mode: str
    crop_to_square_pre_resize: str
    custom_fn_resize: Any = None


@dataclass(frozen=True)
class _Extraction:
    of_others: ClassVar[bool] = True

    range_scale_for_norm_params: float | None = 1.2
    hist_range: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Histogram:
    of_others: ClassVar[bool] = True

    hist_nb_bins: Positive | None = None


@dataclass(frozen=True)
class _Settings:
    of_others: ClassVar[bool] = True

    neurons_list: Mapping[str, Positive]
    type: str
    num_images: Count
    feature_extractor_name: str
    data_settings: _Data
    distribution: _Histogram = _Histogram()
    extraction_settings: _Extraction = _Extraction()
    vdna_metrics: _Ours | None = None


def read_vdna_package(
    root: str | Path, *, ranges: RangesLike | None = None, extractor: ExtractorSpec | None = None
) -> VDNA | ActivationRanges:
    """Read a DNA, or activation ranges, that the vdna package wrote.

    Counts, extremes and means come back to the bit, variances and covariances to rounding (2e-16), since our state
    holds their sums. What vdna does not record stays unknown: the weights are not compared, and no activation of a
    histogram counts as outside the ranges, into whose edge bins vdna put them.

    Args:
        root: path of both files without their suffixes, or of one of them.
        ranges: of a histogram: those that it was made with, as `ActivationRanges`, a file of them, vdna's
            ``activation_ranges.json`` or its package of activation ranges. Not needed where vdna publishes them for
            the extractor, and took these: they are downloaded.
        extractor: spec of the extractor, where the one that the file names is not in the catalogue.

    Raises:
        ValueError: when a file is damaged or lacks something, when its settings have no counterpart here (images
            cropped at random), or when extractor or ranges are unknown or do not fit.
    """
    settings_path, arrays_path = _paths(root)
    settings = read_json(settings_path, _Settings, "settings as vdna writes them")
    kind, n_images = settings.type, settings.num_images
    with errors_of(str(settings_path)):
        layout = NeuronLayout(settings.neurons_list)
    if kind not in (*_KINDS.values(), "activation-ranges"):
        raise ValueError(f"{settings_path} is of type {kind[:40]!r}, known are {', '.join(_KINDS.values())}")
    if kind.endswith("gaussian") and not n_images:
        raise ValueError(f"{settings_path}: num_images: expected the moments of 1 image or more, got 0")
    # By name, for vdna leaves an empty pickle beside each layer's moments.
    parts = [""] if kind == "histogram" else [f"{part}-" for part in ("mu", "var", "sigma", "min", "max")]
    arrays = read_arrays(arrays_path, [part + layer for part in parts for layer in layout])
    ours = settings.vdna_metrics
    if ours:
        fingerprint, provenance = ours.fingerprint, ours.provenance.provenance({})
    else:
        fingerprint = _fingerprint(settings_path, settings, layout, extractor)
        stated = settings.data_settings.source
        source = f"{len(stated)} files" if isinstance(stated, list) else Path(str(stated)).name or str(stated)
        origin = f"vdna package: {arrays_path.name}, sha256 {sha256_of_file(arrays_path)}"
        name = extractor.name if extractor else settings.feature_extractor_name
        provenance = Provenance(name, (source,), origin=origin)
    distribution: Distribution
    if kind == "activation-ranges":
        low, high = (_parts(arrays_path, arrays, layout, f"{part}-") for part in ("min", "max"))
        with errors_of(str(arrays_path)):
            return ActivationRanges(layout, low, high, "vdna", n_images, provenance.sources, fingerprint)
    if kind == "histogram":
        if settings.distribution.hist_nb_bins is None:
            raise ValueError(f"{settings_path}: expected distribution.hist_nb_bins of a histogram, got none")
        counts = _counts(arrays_path, arrays, layout, settings.distribution.hist_nb_bins)
        found = _ranges(ranges, settings_path, settings, layout, fingerprint)
        distribution = HistogramDistribution.empty(found, settings.distribution.hist_nb_bins)
        distribution.counts.copy_(counts)
    elif kind == "gaussian":
        distribution = GaussianDistribution.empty(layout)
        distribution.centre.copy_(_parts(arrays_path, arrays, layout, "mu-"))
        distribution.second.copy_(_parts(arrays_path, arrays, layout, "var-") * (n_images - 1))
    else:
        distribution = LayerGaussianDistribution.empty(layout)
        distribution.centre.copy_(_parts(arrays_path, arrays, layout, "mu-"))
        for layer, scatter in distribution.scatters().items():
            sigma = _part(arrays_path, arrays, f"sigma-{layer}", (layout[layer], layout[layer]))
            scatter.copy_(symmetric(sigma, f"{arrays_path}: sigma-{layer}") * (n_images - 1))
    distribution.state[0] = n_images
    with errors_of(str(arrays_path)):
        distribution.check_possible()
    return VDNA(distribution, fingerprint, provenance)


def write_vdna_package(dna: VDNA, root: str | Path) -> tuple[Path, Path]:
    """Write a DNA as the vdna package reads it.

    vdna loads it by `load_vdna_from_files(root)`, or `load_vdna_from_files(f"{root}.json")` where the name of the
    root has a dot, of which vdna takes what follows for a suffix. Its EMD, NFD and FD are then ours; Gaussians are
    rounded to float32 as in all its files.

    Args:
        dna: DNA of whole layers.
        root: path of both files without their suffixes.

    Returns:
        The paths of settings and arrays.

    Raises:
        ValueError: when a count does not fit vdna's int32, layers are not whole, or histograms found their own ranges.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_vdna_package(load_reference("bsds500/test@vdna_tiny#gaussian"), f"{folder}/test")
        ...     read_vdna_package(f"{folder}/test").n_images
        200
    """
    layout, distribution = dna.layout, dna.distribution
    if layout.neurons:
        raise ValueError(
            f"files of vdna hold whole layers, of {', '.join(layout.neurons)} there are some neurons: "
            "export the DNA before it is selected from"
        )
    if isinstance(distribution, AutoHistogramDistribution):
        raise ValueError(
            "files of vdna hold histograms in activation ranges, the same for all; the bins of this DNA are its own "
            "(ranges='auto'): make another in ranges, which observed_ranges (vdna-metrics calibrate DNA) takes off this"
        )
    distribution.check_finite()
    settings_path, arrays_path = _paths(root)
    kind = name = _KINDS[dna.kind]
    ours: dict[str, Any] = {"fingerprint": dna.fingerprint.to_json(), "provenance": dna.provenance.to_json()}
    extraction: dict[str, Any] = {"average_feats_spatially": True}
    stated: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    if isinstance(distribution, HistogramDistribution):
        name, stated = f"{kind}-{distribution.bins}", {"hist_nb_bins": distribution.bins}
        extraction = {
            "accumulate_spatial_feats_in_hist": True,
            "accumulate_sample_feats_in_hist": True,
            "normalise_feats": True,
            "hist_nb_bins": distribution.bins,
            "range_scale_for_norm_params": _SCALES.get(distribution.ranges.widen),
        }
        ours["ranges"] = distribution.ranges.digest
        arrays = _as_int32(distribution)
    elif isinstance(distribution, GaussianDistribution):
        for prefix, moment in zip(("mu", "var"), distribution.mean_and_variance(), strict=True):
            parts = layout.split(moment.cpu().float())
            arrays |= {f"{prefix}-{layer}": part.numpy() for layer, part in parts.items()}
    elif isinstance(distribution, LayerGaussianDistribution):
        for layer in layout:
            mean, covariance = distribution.mean_and_covariance(layer)
            arrays |= {f"mu-{layer}": mean.cpu().numpy(), f"sigma-{layer}": covariance.cpu().numpy()}
    resize, _, crop = dna.fingerprint.preprocessing.partition("crop=")
    settings = {
        "vdna_version": _VERSION,
        "distribution": stated,
        "type": kind,
        "name": name,
        "data_settings": {
            "source": ", ".join(dna.provenance.sources),
            "crop_to_square_pre_resize": crop.partition(":")[0] or "none",
            "resize_mode": resize.partition(":")[0],
            "shuffle_files": False,
            "num_images": -1,
        },
        "extraction_settings": {"range_scale_for_norm_params": 1.2, "hist_range": [-1.0, 1.0], **extraction},
        "num_images": dna.n_images,
        "feature_extractor_name": dna.provenance.extractor,
        "neurons_list": dict(layout),
        _OURS: ours,
    }
    with replacing(arrays_path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return write_whole(settings_path, json.dumps(settings, indent=4)), arrays_path


def _paths(root: str | Path) -> tuple[Path, Path]:
    """Settings and arrays of a root, of which neither suffix nor what follows another dot is cut."""
    stem = str(root)
    for suffix in (".json", ".npz"):
        stem = stem.removesuffix(suffix)
    return Path(f"{stem}.json"), Path(f"{stem}.npz")


def _part(path: Path, arrays: Arrays, name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in arrays:
        raise ValueError(f"{path} has no array {name!r}; {near_names(name, list(arrays))}")
    found = arrays[name]
    if found.dtype.kind not in "biuf" or found.size != math.prod(shape) or not np.isfinite(found).all():
        raise ValueError(f"{path}: {name!r} is {list(found.shape)}, expected {list(shape)} finite numbers")
    return torch.from_numpy(found.astype(np.float64).reshape(shape))  # of one neuron vdna squeezes


def symmetric(matrix: Tensor, what: str) -> Tensor:
    """A covariance or scatter, symmetric to the last bit, since files keep one triangle."""
    skew = float((matrix - matrix.T).amax())
    if skew > 1e-6 * float(matrix.abs().amax()) or float(matrix.diagonal().amin()) < -1e-9 * float(matrix.abs().amax()):
        raise ValueError(f"{what} is not a covariance: it is not symmetric, or has negative variances")
    return (matrix + matrix.T) / 2


def _parts(path: Path, arrays: Arrays, layout: NeuronLayout, prefix: str) -> Tensor:
    return torch.cat([_part(path, arrays, f"{prefix}{layer}", (count,)) for layer, count in layout.items()])


def _counts(path: Path, arrays: Arrays, layout: NeuronLayout, bins: int) -> Tensor:
    for layer, count in layout.items():
        found = arrays.get(layer)
        if found is None or found.shape != (count, bins) or found.dtype.kind not in "iu" or (found < 0).any():
            shown = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise ValueError(f"{path}: counts of layer {layer!r} are {shown}, expected {[count, bins]} from 0")
    return torch.cat([torch.from_numpy(arrays[layer].astype(np.int64)) for layer in layout])


def _as_int32(distribution: HistogramDistribution) -> dict[str, NDArray[Any]]:
    parts = distribution.layout.split(distribution.counts.cpu())
    largest = {layer: int(part.max()) for layer, part in parts.items()}
    over = [f"{layer} {count}" for layer, count in largest.items() if count > np.iinfo(np.int32).max]
    if over:
        raise ValueError(f"vdna keeps counts as int32, up to {np.iinfo(np.int32).max}; here are {', '.join(over[:4])}")
    return {layer: part.numpy().astype(np.int32) for layer, part in parts.items()}


def _fingerprint(
    path: Path, settings: _Settings, layout: NeuronLayout, extractor: ExtractorSpec | None
) -> ExtractorFingerprint:
    """Of the catalogue's entry of that name, as vdna's settings have it resize and crop."""
    name = settings.feature_extractor_name
    spec = extractor or CATALOGUE.get(name)
    if spec is None:
        raise ValueError(
            f"{path} is of extractor {name!r}, which is not in the catalogue; {near_names(name, list(CATALOGUE))} "
            "Give extractor=, its spec"
        )
    data = settings.data_settings
    resize: Any = data.resize_mode
    crop: Any = data.crop_to_square_pre_resize
    if resize not in ("clean", "legacy_pytorch") or crop not in ("none", "center"):
        raise ValueError(
            f"{path} was made with resize_mode {resize!r} and crop_to_square_pre_resize {crop!r}, known here are "
            "'clean' or 'legacy_pytorch', and 'none' or 'center': images could not be treated alike"
        )
    if data.custom_fn_resize is not None:
        raise ValueError(f"{path} was made with custom_fn_resize, which it does not hold")
    paths = spec.paths
    lacked = next((layer for layer in layout if layer not in paths), None)
    if lacked is not None:
        raise ValueError(f"{path} has layer {lacked!r}, extractor {spec.name!r} not; {near_names(lacked, list(paths))}")
    if len(layout) == len(paths) and spec.neurons not in (None, layout.total):
        raise ValueError(f"{path} has {layout.total} neurons, extractor {spec.name!r} has {spec.neurons}")
    preprocessing = replace(spec, preprocessing=resize, crop=crop).preprocess.id
    precision = "fp16" if spec.name in _HALF else spec.precision
    chosen = {layer: paths[layer] for layer in layout}
    return ExtractorFingerprint(spec.architecture_id, "", preprocessing, chosen, precision)


def _ranges(
    ranges: RangesLike | None, path: Path, settings: _Settings, layout: NeuronLayout, fingerprint: ExtractorFingerprint
) -> ActivationRanges:
    """The ranges of a histogram, which its files do not hold."""
    extraction, digest = settings.extraction_settings, settings.vdna_metrics.ranges if settings.vdna_metrics else None
    if ranges is None:
        spec = CATALOGUE.get(settings.feature_extractor_name)
        if spec is None or spec.ranges is None or digest is not None:
            raise ValueError(f"{path} does not hold the ranges of its histogram: give ranges=, those it was made with")
        published = source_file(spec.ranges)
        found = load_vdna_ranges(published, layout, source=spec.ranges, fingerprint=fingerprint)
    elif isinstance(ranges, ActivationRanges):
        found = ranges
    else:
        found = _load_ranges(Path(ranges), layout, fingerprint)
    found.check_fingerprint(fingerprint)
    found = found.for_layout(layout)
    if digest not in (None, found.digest):
        raise ValueError(f"{path} was made with other activation ranges: {digest[:12]}, got {found.digest[:12]}")
    scale = extraction.range_scale_for_norm_params
    if digest is None and (scale != _SCALES.get(found.widen) or extraction.hist_range != (-1.0, 1.0)):
        raise ValueError(
            f"{path} was made with extremes times {scale} in bins over {list(extraction.hist_range)}, the ranges have "
            f"the rule {found.widen!r}; expected 'vdna' (times 1.2) or 'none' (times 1), and [-1.0, 1.0]"
        )
    return found


def _load_ranges(path: Path, layout: NeuronLayout, fingerprint: ExtractorFingerprint) -> ActivationRanges:
    if is_ours(path):
        return load_ranges(path)
    settings = _paths(path)[0]
    if settings.is_file() and "neurons_list" not in read_json(settings, Mapping[str, Any], "activation ranges"):  # type: ignore[type-abstract]
        return load_vdna_ranges(settings, layout, fingerprint=fingerprint)
    found = read_vdna_package(path)
    if not isinstance(found, ActivationRanges):
        raise ValueError(f"{path} holds a {found.kind} DNA, expected activation ranges")
    return found
