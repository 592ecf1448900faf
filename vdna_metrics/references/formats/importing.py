"""Statistics that others published, as DNAs.

Nearly all of them are mean and covariance of one layer: the 2048 neurons before the classifier of the FID Inception,
our layer ``block_3``, or the class token of DINOv2. They serve LayerFrechetDistance, FrechetInceptionDistance and, by
the diagonal, NeuronFrechetDistance; there is no histogram in them. What each format holds, and what it leaves to be
said, is in `FORMATS`.
"""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.distributions import LayerGaussianDistribution
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.downloads import HUB, RemoteFile
from vdna_metrics.extractors import ExtractorSpec
from vdna_metrics.extractors.catalogue import CATALOGUE, FID_INCEPTIONS
from vdna_metrics.extractors.preprocess import PreprocessingMode
from vdna_metrics.files import is_ours, read_npz, sha256_of_file
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.references.formats.published import (
    EXPORTED,
    FID_LAYERS,
    FORMATS,
    SPATIAL_LAYER,
    SPATIAL_PATH,
    SPATIAL_WIDTH,
    TORCH_FIDELITY_INPUTS,
    Format,
    find_published,
)
from vdna_metrics.references.formats.unpickling import load_pickle
from vdna_metrics.references.formats.vdna import RangesLike, read_arrays, read_vdna_package


def import_statistics(
    source: str | Path,
    *,
    format: Format | None = None,
    mode: PreprocessingMode | None = None,
    n_images: int | None = None,
    name: str | None = None,
    ranges: RangesLike | None = None,
) -> list[VDNA]:
    """DNAs from statistics that others made.

    Their preprocessing is that of the extractor they name (``fid_inception``, ``fid_inception_legacy_tensorflow``,
    ``fid_inception_legacy_pytorch``, ``fid_inception_torchmetrics``, ``fd_dinov2``), so they compare with DNAs made by
    it, and with no other. Weights are not recorded in these files and not compared. Sums are taken over as they are; a
    covariance comes back to rounding (2e-16) from the sum that it is kept as.

    ADM's files also hold images, ``arr_0``, which are 10 000 others than those behind ``mu``: `open_images` reads
    these. Its ``mu_s`` becomes a DNA of its own, of a layer that no extractor here gives.

    Tested against clean-fid 0.1.35, pytorch-fid 0.3, torch-fidelity 0.4, torchmetrics 1.9 and vdna 0.1.1 themselves;
    files of ADM, EDM, EDM2, StyleGAN3 and dgm-eval were made in tests by what these projects' sources do.

    Args:
        source: a file; an address, ``https://...``, which is downloaded once; the root of a vdna package; or a name of
            `published_statistics`, ``"clean-fid:cifar10/train/32"`` or ``"clean-fid:cifar10/train/32/legacy_pytorch"``.
        format: found by content where it is ``None``; ``mu`` and ``sigma`` alone may be of several, and need this or
            ``mode``.
        mode: how images were resized, where the file does not say: see `FORMATS`.
        n_images: number of images, where neither the file nor its published name says.
        name: what the DNA is to name as its source, by default the published name or the file's.
        ranges: of a vdna package of histograms, see `read_vdna_package`.

    Returns:
        One DNA, or two of an ADM or EDM2 file.

    Raises:
        ValueError: for unknown names, with near ones; for damaged or hostile files; where format, mode or number are
            neither known nor given, or given otherwise than they are known.
        DownloadError: when the file cannot be had.

    Examples:
        >>> import_statistics("EDM:cifar10")
        Traceback (most recent call last):
        ...
        ValueError: no published statistics 'EDM:cifar10'; did you mean 'EDM:cifar10-32x32'?
    """
    published = find_published(str(source))
    address = published.address if published else str(source)
    remote = address.startswith(("https://", "http://", HUB))
    path = RemoteFile(address).fetch() if remote else Path(source)
    what = published.name if published else str(source)
    if published:
        format, mode = _agreed("format", published.format, format, what), _agreed("mode", published.mode, mode, what)
        n_images = _agreed("n_images", published.n_images, n_images, what)
    if format == "vdna" and remote:
        raise ValueError(f"{what}: a vdna package is two files; download them, and give their root")
    if format == "vdna" or (format is None and not remote and _is_vdna(path)):
        read = read_vdna_package(path, ranges=ranges)
        if not isinstance(read, VDNA):
            raise ValueError(f"{what} holds activation ranges: read_vdna_package gives them")
        _agreed("n_images", read.n_images, n_images, what)
        _agreed("mode", read.fingerprint.preprocessing.partition(":")[0], mode, what)
        return [read if name is None else replace(read, provenance=replace(read.provenance, sources=(name,)))]
    if ranges is not None:
        raise ValueError(f"{what} is not a vdna package; ranges= is for its histograms")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if is_ours(path):
        return [_exported(path, what, mode, n_images, name)]
    contents = _contents(path, what)
    format = _format(contents, format, mode, what)
    number = n_images if n_images is not None or format != "torch-fidelity" else _cached_number(path)
    origin = (
        f"{format} (ddof {FORMATS[format].ddof}): {address if remote else path.name}, sha256 {sha256_of_file(path)}"
    )
    sources = (name or (published.name.partition(":")[2] if published else path.stem),)
    dnas = []
    for part in _parts(format, contents.parts, mode, what):
        count = _agreed("n_images", part.n_images, number, what)
        if count is None:
            raise ValueError(f"{what} does not record of how many images it is: give n_images=")
        if not isinstance(count, int) or isinstance(count, bool) or count < 2:
            raise ValueError(f"{what}: a covariance needs 2 images or more, n_images is {count!r}")
        fingerprint = ExtractorFingerprint(
            part.extractor.architecture_id, "", part.extractor.preprocess.id, {part.layer: part.path}
        )
        provenance = Provenance(part.extractor.name, sources, origin=origin)
        dnas.append(VDNA(part.distribution(count), fingerprint, provenance))
    return dnas


def holds_statistics(source: str | Path) -> bool:
    """Whether a file is of a format in `FORMATS`, by its contents; a name is, when it is of `published_statistics`.

    Raises:
        ValueError: for an unknown name that begins as published ones do.
    """
    path = Path(source)
    if find_published(str(source)) is not None or _is_vdna(path):
        return True
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        magic = file.read(2)
    if magic != b"PK":
        return magic[:1] == b"\x80"  # of a pickle of protocol 2 and later
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except zipfile.BadZipFile:
        return False
    statistics = {"mu", "sigma"} <= names or {"model", "reps"} <= names
    return statistics or any(name.endswith("data.pkl") for name in names)


def _exported(path: Path, what: str, mode: PreprocessingMode | None, n_images: int | None, name: str | None) -> VDNA:
    header, arrays = read_npz(path, (EXPORTED,))
    fingerprint, provenance = (
        ExtractorFingerprint.from_json(header["fingerprint"]),
        Provenance.from_json(header["provenance"]),
    )
    _agreed("mode", fingerprint.preprocessing.partition(":")[0], mode, what)
    count = _agreed("n_images", header["n_images"], n_images, what)
    (layer,) = fingerprint.paths
    if name is not None:
        provenance = replace(provenance, sources=(name,))
    return VDNA(_moments(layer, arrays, "mu", "sigma", what)(count), fingerprint, provenance)


def _agreed(what: str, known: Any, given: Any, file: str) -> Any:
    if known is not None and given is not None and known != given:
        raise ValueError(f"{file}: {what} is {known!r}, got {given!r}")
    return given if known is None else known


def _is_vdna(path: Path) -> bool:
    return path.suffix == ".json" or (not path.is_file() and path.with_name(f"{path.name}.json").is_file())


# ------------------------------------------------------------------------------------------------ what a file holds
@dataclass(frozen=True)
class _Contents:
    """Parts of a file by name, and the names of all it has."""

    container: Literal["npz", "torch", "pickle"]
    parts: Mapping[str, Any]
    names: Sequence[str]


@dataclass(frozen=True)
class _Part:
    """One DNA to be."""

    extractor: ExtractorSpec
    layer: str
    path: str
    distribution: Callable[[int], LayerGaussianDistribution]
    n_images: int | None = None


# ADM's images are gigabytes, and dgm-eval's hparams are a pickle.
_ARRAYS = ("mu", "sigma", "mu_s", "sigma_s", "model", "reps")
_ROWS = 4096  # of features that are summed at once
_SUM, _OUTER, _NUMBER = "real_features_sum", "real_features_cov_sum", "real_features_num_samples"


def _contents(path: Path, what: str) -> _Contents:
    with open(path, "rb") as file:
        magic = file.read(1)
    try:
        if magic == b"P":  # of a zip archive
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
            if any(member.endswith("data.pkl") for member in members):
                parts = _torch_parts(path, what)
                return _Contents("torch", parts, list(parts))
            return _Contents("npz", *read_arrays(path, _ARRAYS))
        if magic == b"\x80":  # of a pickle of protocol 2 and later
            loaded = load_pickle(path.read_bytes(), what)
            if not isinstance(loaded, dict):
                raise ValueError(f"{what} holds a {type(loaded).__name__}, statistics are a dict")
            return _Contents("pickle", loaded, list(map(str, loaded)))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{what} is damaged ({str(error) or type(error).__name__})") from error
    raise ValueError(f"{what} is not a file of statistics: neither an .npz or torch file nor a pickle")


def _torch_parts(path: Path, what: str) -> dict[str, Any]:
    loaded: Any
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch admits no arrays of NumPy, which are all that torch-fidelity's files hold.
        with zipfile.ZipFile(path) as archive:
            (member,) = (member for member in archive.namelist() if member.endswith("data.pkl"))
            loaded = load_pickle(archive.read(member), what)
    except RuntimeError as error:  # damaged archives
        raise ValueError(f"{what} is damaged ({error})") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{what} holds a {type(loaded).__name__}, statistics are a dict")
    return {str(name): value for name, value in loaded.items()}


def _format(contents: _Contents, format: Format | None, mode: PreprocessingMode | None, what: str) -> Format:
    """The format that the content is of, which has to be the given one."""
    names = set(contents.names)
    possible: tuple[Format, ...] = ()
    if contents.container == "torch":
        if any(name.endswith(_SUM) for name in names):
            possible = ("torchmetrics",)
        elif {"mu", "sigma"} <= names:
            possible = ("torch-fidelity",)
    elif contents.container == "pickle":
        if {"num_items", "raw_mean", "raw_cov"} <= names:
            possible = ("StyleGAN3",)
        elif "num_images" in names:
            possible = ("EDM2",)
    elif {"model", "reps"} <= names:
        possible = ("dgm-eval",)
    elif {"mu", "sigma"} <= names:
        possible = ("ADM",) if "mu_s" in names else ("clean-fid", "pytorch-fid", "EDM")
    if not possible:
        raise ValueError(f"{what} is of no known format: it holds {', '.join(sorted(names)[:8]) or 'nothing'}")
    if format is not None:
        if format not in FORMATS:
            raise ValueError(f"unknown format {format!r}; known: {', '.join(FORMATS)}")
        if format not in possible:
            raise ValueError(f"{what} is of format {' or '.join(possible)}, got {format!r}")
        return format
    if len(possible) > 1 and mode is None:
        raise ValueError(
            f"{what} holds mu and sigma alone, as {', '.join(possible)} write them, and does not say how images were "
            "resized: give format=, or mode= ('clean', 'legacy_tensorflow' or 'legacy_pytorch')"
        )
    return possible[0]


def _mode(
    modes: Sequence[PreprocessingMode], mode: PreprocessingMode | None, what: str, how: str = ""
) -> PreprocessingMode:
    if mode is None and len(modes) == 1:
        return modes[0]
    if mode is None:
        raise ValueError(f"{what} does not record how images were resized: give mode=, {' or '.join(modes)}{how}")
    if mode not in modes:
        raise ValueError(f"{what} is of mode {' or '.join(modes)}, got {mode!r}")
    return mode


def _cached_number(path: Path) -> int | None:
    found = re.fullmatch(r"(.+)-inception-v3-compat-stat-fid-\d+", path.stem)
    return TORCH_FIDELITY_INPUTS.get(found[1]) if found else None


# ------------------------------------------------------------------------------------------------ from it to DNAs
def _parts(format: Format, parts: Mapping[str, Any], mode: PreprocessingMode | None, what: str) -> list[_Part]:
    modes = FORMATS[format].modes
    if format == "StyleGAN3":
        spec, n = FID_INCEPTIONS[_mode(modes, mode, what)], _whole(parts["num_items"], f"{what}: num_items")
        if parts.get("capture_mean_cov", True):
            return [_sums(format, spec, parts["raw_mean"], parts["raw_cov"], n, what)]
        features = np.concatenate(parts["all_features"] or [np.zeros((0, 0))])
        return [_features(spec, _layer(format, features.shape[-1], what), features, what)]
    if format == "torchmetrics":
        sums = [name for name in parts if name.endswith(_SUM)]
        if len(sums) != 1:
            raise ValueError(f"{what} holds states of several metrics: {', '.join(sums)}; save one")
        prefix = sums[0].removesuffix(_SUM)
        missing = [prefix + name for name in (_OUTER, _NUMBER) if prefix + name not in parts]
        if missing:
            raise ValueError(f"{what} has {sums[0]} and not {', '.join(missing)}")
        spec = FID_INCEPTIONS[_mode(modes, mode, what, " (antialias=True, its default, or antialias=False)")]
        n = _whole(parts[prefix + _NUMBER], f"{what}: {_NUMBER}")
        return [_sums(format, spec, parts[sums[0]], parts[prefix + _OUTER], n, what)]
    if format == "dgm-eval":
        model = str(parts["model"])
        if model == "dinov2":
            _mode(modes[:1], mode, what)
            return [_features(CATALOGUE["fd_dinov2"], "class_token", parts["reps"], what)]
        if model != "inception":
            raise ValueError(f"{what} is of dgm-eval's model {model!r}; known here are dinov2 and inception")
        chosen = _mode(modes, mode, what, " (with --clean_resize, or dgm-eval's default)")
        # It always scales to [-1, 1], as pytorch-fid.
        spec = CATALOGUE["inception"] if chosen == "clean" else FID_INCEPTIONS[chosen]
        return [_features(spec, _layer(format, np.shape(parts["reps"])[-1], what), parts["reps"], what)]
    spec = FID_INCEPTIONS[_mode(modes, mode, what)]
    found = []
    n_images = None
    inception: Any = parts
    if format == "EDM2":
        n_images, inception = _whole(parts["num_images"], f"{what}: num_images"), parts.get("fid")
    if inception is not None:
        mean = _values(inception, "mu", what)
        layer = _layer(format, len(mean), what)
        found.append(_Part(spec, layer, spec.paths[layer], _moments(layer, inception, "mu", "sigma", what), n_images))
    if format == "ADM":
        build = _moments(SPATIAL_LAYER, parts, "mu_s", "sigma_s", what, SPATIAL_WIDTH)
        found.append(_Part(spec, SPATIAL_LAYER, SPATIAL_PATH, build))
    if format == "EDM2" and "fd_dinov2" in parts:
        dinov2 = CATALOGUE["fd_dinov2"]
        ((layer, path),) = dinov2.paths.items()
        build = _moments(layer, parts["fd_dinov2"], "mu", "sigma", f"{what}: fd_dinov2", dinov2.neurons)
        found.append(_Part(dinov2, layer, path, build, n_images))
    if not found:
        raise ValueError(f"{what} has statistics of neither fid nor fd_dinov2; it holds {', '.join(parts)}")
    return found


def _layer(format: Format, width: int, what: str) -> str:
    """The layer of the FID Inception that has as many neurons."""
    widths = FORMATS[format].widths
    if width not in widths:
        needed = " or ".join(map(str, widths))
        raise ValueError(f"{what} has {width} neurons, statistics of {format} have {needed} of the FID Inception")
    return FID_LAYERS[width]


def _whole(value: Any, what: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = None
    if number is None or number != value:
        raise ValueError(f"{what} is {value!r}, expected a whole number")
    return number


def _values(parts: Any, name: str, what: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Float64 numbers, finite and of the shape; one dimension of any length by default."""
    if not isinstance(parts, Mapping) or name not in parts:
        raise ValueError(f"{what} has no {name!r}")
    found = parts[name]
    array = np.array(found.cpu().double().numpy() if isinstance(found, Tensor) else found)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what}: {name} is {array.dtype}, expected numbers")
    values = torch.from_numpy(array.astype(np.float64))
    if values.ndim != (1 if shape is None else len(shape)) or (shape is not None and tuple(values.shape) != shape):
        raise ValueError(f"{what}: {name} is {list(values.shape)}, expected {list(shape or ['neurons'])}")
    if not values.isfinite().all():
        raise ValueError(f"{what}: {name} holds NaN or infinity")
    return values


def _symmetric(matrix: Tensor, what: str) -> Tensor:
    """A covariance or scatter, symmetric to the last bit, since files keep one triangle."""
    skew = float((matrix - matrix.T).amax())
    if skew > 1e-6 * float(matrix.abs().amax()) or float(matrix.diagonal().amin()) < -1e-9 * float(matrix.abs().amax()):
        raise ValueError(f"{what} is not a covariance: it is not symmetric, or has negative variances")
    return (matrix + matrix.T) / 2


def _moments(
    layer: str, parts: Any, mean_name: str, covariance_name: str, what: str, width: int | None = None
) -> Callable[[int], LayerGaussianDistribution]:
    mean = _values(parts, mean_name, what, None if width is None else (width,))
    covariance = _symmetric(_values(parts, covariance_name, what, (len(mean),) * 2), f"{what}: {covariance_name}")

    def build(n: int) -> LayerGaussianDistribution:
        distribution = LayerGaussianDistribution.empty(NeuronLayout({layer: len(mean)}), centre=mean)
        distribution.scatters()[layer].copy_(covariance * (n - 1))
        distribution.state[0] = n
        return distribution

    return build


def _sums(format: Format, spec: ExtractorSpec, total: Any, outer: Any, n: int, what: str) -> _Part:
    """Sums are what a state is: they are taken as they are, about 0."""
    first = _values({"sum": total}, "sum", what)
    layer = _layer(format, len(first), what)
    scatter = _symmetric(_values({"outer": outer}, "outer", what, (len(first),) * 2), f"{what}: the sum of products")

    def build(count: int) -> LayerGaussianDistribution:
        distribution = LayerGaussianDistribution.empty(NeuronLayout({layer: len(first)}))
        distribution.first.copy_(first)
        distribution.scatters()[layer].copy_(scatter)
        distribution.state[0] = count
        return distribution

    return _Part(spec, layer, spec.paths[layer], build, n)


def _features(spec: ExtractorSpec, layer: str, features: Any, what: str) -> _Part:
    width = spec.neurons if len(spec.paths) == 1 else features.shape[-1]
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"{what}: features are {list(features.shape)}, expected [images, {width}]")

    def build(count: int) -> LayerGaussianDistribution:
        centre = torch.from_numpy(features.mean(axis=0, dtype=np.float64))
        distribution = LayerGaussianDistribution.empty(NeuronLayout({layer: features.shape[1]}), centre=centre)
        for start in range(0, count, _ROWS):
            rows = torch.from_numpy(np.asarray(features[start : start + _ROWS], np.float64))
            distribution.fill_({layer: rows.T[:, :, None]})
        return distribution

    return _Part(spec, layer, spec.paths[layer], build, len(features))
