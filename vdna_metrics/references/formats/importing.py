"""Statistics that others published, as DNAs.

Nearly all of them are mean and covariance of one layer: the 2048 neurons before the classifier of the FID Inception,
our layer ``block_3``, or the class token of DINOv2. They serve LayerFrechetDistance, FrechetInceptionDistance and, by
the diagonal, NeuronFrechetDistance; there is no histogram in them. Some are features of single images, for KID, recall
and the like. What each format holds, and what it leaves to be said, is in docs/references.md.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import Distribution, FeatureSample, LayerGaussianDistribution
from vdna_metrics.distributions.kinds import SAMPLE
from vdna_metrics.dna.vdna import VDNA, Provenance, ProvenanceFields
from vdna_metrics.downloads import HUB, RemoteFile
from vdna_metrics.extractors import ExtractorSpec
from vdna_metrics.extractors.catalogue import CATALOGUE, FID_INCEPTIONS
from vdna_metrics.extractors.modes import PreprocessingMode
from vdna_metrics.files import (
    DAMAGE,
    check_file,
    errors_of,
    is_ours,
    open_archive,
    open_member,
    open_regular,
    read_arrays,
    read_member,
    read_npz,
    sha256_of_file,
)
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout, check_choice
from vdna_metrics.references.formats.published import (
    EXPORTED,
    FID_LAYERS,
    FIDELITY_FEATURES,
    FORMATS,
    TORCH_FIDELITY_INPUTS,
    Format,
    find_published,
)
from vdna_metrics.references.formats.unpickling import StoredTensor, is_legacy_torch, load_legacy_torch, load_pickle
from vdna_metrics.references.formats.vdna import RangesLike, read_vdna_package, symmetric
from vdna_metrics.schema import ArrayField, Positive


def import_statistics(
    source: str | Path,
    *,
    format: Format | None = None,
    mode: PreprocessingMode | None = None,
    n_images: int | None = None,
    name: str | None = None,
    ranges: RangesLike | None = None,
    feature_images: int = SAMPLE,
) -> list[VDNA]:
    """DNAs from statistics that others made.

    Their preprocessing is that of the extractor they name (``fid_inception``, ``fid_inception_legacy_tensorflow``,
    ``fid_inception_legacy_pytorch``, ``fid_inception_torchmetrics``, ``sfid_inception``, ``fd_dinov2``), so they
    compare with DNAs made by it, and with no other. Weights are not recorded in these files and not compared. Sums are
    taken over as they are; a covariance comes back to rounding (2e-16) from the sum that it is kept as.

    ADM's files also hold images, ``arr_0``, which are 10 000 others than those behind ``mu``: `open_images` reads
    these. Its ``mu_s`` and ``sigma_s`` become a DNA of their own, of the extractor ``sfid_inception``, whose layer
    Fréchet distance is sFID.

    Features become a sample of them, see `FeatureSample`: those of dgm-eval beside their Gaussian, and those that
    clean-fid keeps for its KID (``..._kid.npz``) and torch-fidelity as ``INPUT-inception-v3-compat-features-2048.pt``
    alone. Their images are not known, so rows that are equal to the bit are taken for copies of one image.

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
        feature_images: at most so many images have their features kept.

    Returns:
        One DNA, or two of an ADM, EDM2 or dgm-eval file.

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
    check_file(path)
    if is_ours(path):
        return [_exported(path, what, mode, n_images, name)]
    file = address if remote else path.name
    called = name or (published.name.partition(":")[2] if published else path.stem)
    container, parts = _contents(path, what)
    return _imported(path, container, parts, what, file, called, format, mode, n_images, feature_images)


def import_torch(path: Path, loaded: Any) -> list[VDNA]:
    """`import_statistics` of a file that `load_torch` has read."""
    what = str(path)
    return _imported(path, "torch", _states(loaded, what), what, path.name, path.stem)


def _imported(
    path: Path,
    container: Container,
    parts: Mapping[str, Any],
    what: str,
    file: str,
    called: str,
    format: Format | None = None,
    mode: PreprocessingMode | None = None,
    n_images: int | None = None,
    feature_images: int = SAMPLE,
) -> list[VDNA]:
    format = _format(container, parts, format, mode, what)
    count = _agreed("n_images", _stated_number(format, parts, path, what), n_images, what)
    if count is None:
        raise ValueError(f"{what} does not record of how many images it is: give n_images=")
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= 1 << 53:
        raise ValueError(f"{what}: a reference needs 2 images or more, up to 2**53; n_images is {str(count)[:40]}")
    digest, dnas = sha256_of_file(path), []
    for spec, distribution in _distributions(format, parts, mode, count, what, feature_images):
        (layer,) = distribution.layout
        ddof = "" if distribution.kind == "features" else f" (ddof {FORMATS[format].ddof})"
        origin = f"{format}{ddof}: {file}, sha256 {digest}"
        fingerprint = ExtractorFingerprint(spec.architecture_id, "", spec.preprocess.id, {layer: spec.paths[layer]})
        dnas.append(VDNA(distribution, fingerprint, Provenance(spec.name, (called,), origin=origin)))
    return dnas


def holds_statistics(source: str | Path) -> bool:
    """Whether a file is of a format in `FORMATS`, by its contents; a name is, when it is of `published_statistics`.

    Raises:
        ValueError: for an unknown name that begins as published ones do.
    """
    path = Path(source)
    if find_published(str(source)) is not None or _is_vdna(path):
        return True
    try:
        container, names = _container(path) if path.is_file() else (None, set())
    except ValueError:
        return False
    return container in ("pickle", "torch") or any(of <= names for kind, of, _ in _HOLDS if kind == container)


def _exported(path: Path, what: str, mode: PreprocessingMode | None, n_images: int | None, name: str | None) -> VDNA:
    file, arrays = read_npz(path, {EXPORTED: _StatisticsFile})
    fingerprint, provenance = file.fingerprint, file.provenance.provenance({})
    _agreed("mode", fingerprint.preprocessing.partition(":")[0], mode, what)
    _agreed("n_images", file.n_images, n_images, what)
    (layer,) = fingerprint.paths
    if name is not None:
        provenance = replace(provenance, sources=(name,))
    return VDNA(_of_moments(layer, arrays, file.n_images, what), fingerprint, provenance)


@dataclass(frozen=True)
class _StatisticsFile:
    n_images: Positive
    fingerprint: ExtractorFingerprint
    provenance: ProvenanceFields

    def __post_init__(self) -> None:
        if len(self.fingerprint.paths) != 1:
            raise ValueError(f"fingerprint.paths: expected one layer, got {list(self.fingerprint.paths)[:4]}")

    def arrays(self) -> dict[str, ArrayField]:
        return {"mu": ArrayField((None,), "f8"), "sigma": ArrayField((None, None), "f8")}


def _agreed(what: str, known: Any, given: Any, file: str) -> Any:
    if known is not None and given is not None and known != given:
        raise ValueError(f"{file}: {what} is {known!r}, got {given!r}")
    return given if known is None else known


def _is_vdna(path: Path) -> bool:
    return path.suffix == ".json" or (not path.is_file() and path.with_name(f"{path.name}.json").is_file())


# ------------------------------------------------------------------------------------------------ what a file holds
Container = Literal["npz", "torch", "pickle"]

# ADM's images are gigabytes, and dgm-eval's hparams are a pickle.
_ARRAYS = ("mu", "sigma", "mu_s", "sigma_s", "model", "reps", "feats")
_TENSOR = "a tensor"  # what stands for the name of one that is the whole file
_FEATURES: Mapping[Format, str] = {"dgm-eval": "reps", "clean-fid": "feats", "torch-fidelity": _TENSOR}
_ROWS = 4096  # of features that are summed at once
_NEURONS = 1 << 16  # of one layer
_SUM, _OUTER, _NUMBER = "real_features_sum", "real_features_cov_sum", "real_features_num_samples"
_HOLDS: Sequence[tuple[Container, set[str], tuple[Format, ...]]] = (
    ("torch", {_SUM}, ("torchmetrics",)),
    ("torch", {"mu", "sigma"}, ("torch-fidelity",)),
    ("torch", {_TENSOR}, ("torch-fidelity",)),
    ("pickle", {"num_items", "raw_mean", "raw_cov"}, ("StyleGAN3",)),
    ("pickle", {"num_images"}, ("EDM2",)),
    ("npz", {"model", "reps"}, ("dgm-eval",)),
    ("npz", {"mu", "sigma", "mu_s"}, ("ADM",)),
    ("npz", {"mu", "sigma"}, ("clean-fid", "pytorch-fid", "EDM")),
    ("npz", {"feats"}, ("clean-fid",)),
)
"""Kind of file and names in it, and the formats that have them; the first that fits."""


def _container(path: Path) -> tuple[Container | None, set[str]]:
    """Kind of a file by its contents, ``None`` for others; and the names of an archive's arrays."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head[:2] != b"PK":
        pickled = head[:1] == b"\x80"  # of protocol 2 and later
        return ("torch" if pickled and is_legacy_torch(head) else "pickle" if pickled else None), set()
    with open_archive(path) as (_, members):
        return ("torch" if any(name.endswith("data.pkl") for name in members) else "npz"), set(members)


def _contents(path: Path, what: str) -> tuple[Container, Mapping[str, Any]]:
    """Kind of a file, and its parts by name; of an ``.npz`` those that statistics consist of."""
    with errors_of(what, DAMAGE):
        container, names = _container(path)
        if container == "torch":
            return container, _states(load_torch(path, what), what)
        if container == "npz":
            return container, dict.fromkeys(names) | dict(read_arrays(path, _ARRAYS))
        if container == "pickle":
            with io.BufferedReader(open_regular(path)) as file:
                return container, _dict(load_pickle(file, what, size=os.fstat(file.fileno()).st_size), what)
    raise ValueError(f"{what} is not a file of statistics: neither an .npz or torch file nor a pickle")


def _dict(loaded: Any, what: str) -> dict[str, Any]:
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{what} holds a {type(loaded).__name__}, statistics are a dict")
    return {str(name): value for name, value in loaded.items()}


def load_torch(path: Path, what: str) -> Any:
    """What a file of ``torch.save`` holds; of an archive's tensors nothing is read yet."""
    with open_regular(path) as file:
        is_archive = file.read(2) == b"PK"
    if not is_archive:
        return load_legacy_torch(lambda: io.BufferedReader(open_regular(path)), what)
    with open_archive(path) as (archive, members):
        pickles = [name for name in members if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"expected one member data.pkl, got {pickles[:4]}")
        pickled = pickles[0]

        def tensor_bytes(name: str, size: int) -> bytes:
            stored = f"{pickled.removesuffix('data.pkl')}data/{name}"
            with open_archive(path) as (archive, members):
                if stored not in members:
                    raise ValueError(f"it has no member {stored[:80]!r}")
                return read_member(archive, members[stored], size)

        info = members[pickled]
        with open_member(archive, info) as stream:
            return load_pickle(stream, f"member {info.filename!r}", tensor_bytes, size=info.file_size)


def _states(loaded: Any, what: str) -> dict[str, Any]:
    """Parts of what a torch file holds, of a metric's states by their own names."""
    if isinstance(loaded, StoredTensor):
        return {_TENSOR: loaded}
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    parts = _dict(loaded, what)
    sums = [name for name in parts if name.endswith(_SUM)]
    if len(sums) > 1:
        raise ValueError(f"{what} holds states of several metrics: {', '.join(sums)}; save one")
    if not sums:
        return parts
    prefix = sums[0].removesuffix(_SUM)
    missing = [prefix + name for name in (_OUTER, _NUMBER) if prefix + name not in parts]
    if missing:
        raise ValueError(f"{what} has {sums[0]} and not {', '.join(missing)}")
    return {name: parts[prefix + name] for name in (_SUM, _OUTER, _NUMBER)}


def _format(
    container: Container, parts: Mapping[str, Any], format: Format | None, mode: PreprocessingMode | None, what: str
) -> Format:
    """The format that the content is of, which has to be the given one."""
    fitting = (formats for kind, names, formats in _HOLDS if kind == container and names <= parts.keys())
    possible = next(fitting, ())
    if not possible:
        raise ValueError(
            f"{what} is of no known format: it holds {', '.join(sorted(parts)[:8]) or 'nothing'}; "
            "features are floats [N, d], one array a layer, and nothing else"
        )
    if format is not None:
        check_choice("format", format, Format)
    if format is not None and format not in possible:
        raise ValueError(f"{what} is of format {' or '.join(possible)}, got {format!r}")
    if possible == ("torch-fidelity",) and _TENSOR in parts:
        _check_fidelity_name(format, what)
    if format is None and len(possible) > 1 and mode is None:
        raise ValueError(
            f"{what} holds mu and sigma alone, as {', '.join(possible)} write them, and does not say how images were "
            "resized: give format=, or mode= ('clean', 'legacy_tensorflow' or 'legacy_pytorch')"
        )
    return format or possible[0]


def _check_fidelity_name(format: Format | None, what: str) -> None:
    """A tensor by itself may be anything, so its name, or whoever imports it, has to say what it is."""
    name = FIDELITY_FEATURES.fullmatch(PurePosixPath(what).name)
    if name is not None and name["extractor"] != "inception-v3-compat":
        raise ValueError(
            f"{what} is of torch-fidelity's extractor {name['extractor']!r}; known here is inception-v3-compat"
        )
    if name is not None and name["layer"] not in map(str, FID_LAYERS):
        raise ValueError(f"{what} is of the layer {name['layer']!r}, expected {' or '.join(map(str, FID_LAYERS))}")
    if name is None and format is None:
        raise ValueError(
            f"{what} holds one tensor and does not say of what: expected torch-fidelity's name, "
            "INPUT-inception-v3-compat-features-2048.pt, or format='torch-fidelity'"
        )


def _features_of(format: Format, parts: Mapping[str, Any]) -> str | None:
    """Name of the features in a file that holds nothing else."""
    name = _FEATURES.get(format)
    return name if name in parts and "mu" not in parts else None


def _stated_number(format: Format, parts: Mapping[str, Any], path: Path, what: str) -> int | None:
    """Of how many images the file, or a name that its maker gave it, says that it is."""
    if (features := _features_of(format, parts)) is not None:
        return len(_features(parts[features], features, what))
    if format == "torch-fidelity":
        return TORCH_FIDELITY_INPUTS.get(re.sub(r"-inception-v3-compat-stat-fid-\d+$", "", path.stem))
    part = {"StyleGAN3": "num_items", "torchmetrics": _NUMBER, "EDM2": "num_images"}.get(format)
    if part is None:
        return None
    stated = parts[part]
    stated = stored_array(stated, part, what) if isinstance(stated, np.ndarray | StoredTensor) else stated
    number = stated.item() if isinstance(stated, np.ndarray) and stated.size == 1 else stated
    if type(number) not in (int, float) or number != number // 1 or not 0 <= number <= 1 << 53:
        shown = f"{number:g}" if type(number) is float else type(number).__name__
        raise ValueError(f"{what}: {part} is {shown}, expected a whole number up to 2**53")
    return int(number)


# ------------------------------------------------------------------------------------------------ from it to DNAs
def _distributions(
    format: Format, parts: Mapping[str, Any], mode: PreprocessingMode | None, n: int, what: str, size: int
) -> Sequence[tuple[ExtractorSpec, Distribution]]:
    """Those of a file, each with the extractor whose activations it holds."""
    dinov2, sfid = CATALOGUE["fd_dinov2"], CATALOGUE["sfid_inception"]
    modes, how = FORMATS[format].modes, ""
    if format == "torchmetrics":
        how = " (antialias=True, its default, or antialias=False)"
    if format == "dgm-eval":
        model, how = str(parts["model"])[:40], " (with --clean_resize, or dgm-eval's default)"
        features = _features(parts["reps"], "reps", what)
        if model not in ("dinov2", "inception"):
            raise ValueError(f"{what} is of dgm-eval's model {model!r}; known here are dinov2 and inception")
        if model == "dinov2":
            _mode(modes[:1], mode, what)
            gaussian = _of_features("class_token", [features], what, dinov2.neurons)
            return [(dinov2, gaussian), (dinov2, _sample_of("class_token", features, "reps", what, size))]
        layer, chosen = _layer(format, np.shape(features)[-1], what), _mode(modes, mode, what, how)
        # It always scales to [-1, 1], as pytorch-fid.
        spec = CATALOGUE["inception"] if chosen == "clean" else FID_INCEPTIONS[chosen]
        gaussian = _of_features(layer, [features], what)
        return [(spec, gaussian), (spec, _sample_of(layer, features, "reps", what, size))]
    spec = FID_INCEPTIONS[_mode(modes, mode, what, how)]
    if (alone := _features_of(format, parts)) is not None:
        features = _features(parts[alone], alone, what)
        width = features.shape[1]
        name = FIDELITY_FEATURES.fullmatch(PurePosixPath(what).name) if format == "torch-fidelity" else None
        if name is not None and name["layer"] != str(width):
            raise ValueError(f"{what}: expected {name['layer']} neurons, as its name says, got {width}")
        return [(spec, _sample_of(_layer(format, width, what), features, alone, what, size))]
    if format == "torchmetrics":
        return [(spec, _of_sums(format, parts[_SUM], parts[_OUTER], n, what))]
    if format == "StyleGAN3" and parts.get("capture_mean_cov") is not False:
        return [(spec, _of_sums(format, parts["raw_mean"], parts["raw_cov"], n, what))]
    if format == "StyleGAN3":
        batches = parts.get("all_features")
        if not isinstance(batches, list) or not batches:
            raise ValueError(f"{what}: expected all_features to be a list of arrays, got {type(batches).__name__}")
        batches = [_features(batch, "all_features", what) for batch in batches]
        if len({id(batch) for batch in batches}) < len(batches):  # a few bytes would be hours of work
            raise ValueError(f"{what}: expected all_features to be arrays that differ, got one of them twice")
        images = sum(map(len, batches))
        if images != n:
            raise ValueError(f"{what}: num_items is {n}, all_features are of {images} images")
        return [(spec, _of_features(_layer(format, batches[0].shape[1], what), batches, what))]
    found: list[tuple[ExtractorSpec, Distribution]] = []
    inception = parts.get("fid") if format == "EDM2" else parts
    if inception is not None:
        layer = _layer(format, len(_values(inception, "mu", what)), what)
        found.append((spec, _of_moments(layer, inception, n, what)))
    if format == "ADM":
        found.append((sfid, _of_moments("mixed_6_conv", parts, n, what, suffix="_s", width=sfid.neurons)))
    if format == "EDM2" and "fd_dinov2" in parts:
        of = f"{what}: fd_dinov2"
        found.append((dinov2, _of_moments("class_token", parts["fd_dinov2"], n, of, width=dinov2.neurons)))
    if not found:
        raise ValueError(f"{what} has statistics of neither fid nor fd_dinov2; it holds {', '.join(parts)}")
    return found


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


def _layer(format: Format, width: int, what: str) -> str:
    """The layer of the FID Inception that has as many neurons."""
    widths = FORMATS[format].widths
    if width not in widths:
        needed = " or ".join(map(str, widths))
        raise ValueError(f"{what} has {width} neurons, statistics of {format} have {needed} of the FID Inception")
    return FID_LAYERS[width]


def _values(parts: Any, name: str, what: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Float64 numbers, finite and of the shape; one dimension of any length by default."""
    if not isinstance(parts, Mapping) or name not in parts:
        raise ValueError(f"{what} has no {name!r}")
    array = stored_array(parts[name], name, what)
    if shape is None and len(array.shape) == 1 and array.size > _NEURONS:
        raise ValueError(f"{what}: {name} is of {array.size} neurons, expected at most {_NEURONS}")
    if array.ndim != (1 if shape is None else len(shape)) or (shape is not None and array.shape != shape):
        raise ValueError(f"{what}: {name} is {list(array.shape)}, expected {list(shape or ['neurons'])}")
    values = torch.from_numpy(array.astype(np.float64))
    if not values.isfinite().all():
        raise ValueError(f"{what}: {name} holds NaN or infinity")
    return values


def stored_array(found: Any, name: str, what: str) -> NDArray[Any]:
    """Numbers of a file, as they are there."""
    with errors_of(f"{what}: {name}", DAMAGE):
        array = found.array() if isinstance(found, StoredTensor) else found
        if not isinstance(array, np.ndarray):
            raise ValueError(f"expected an array of numbers, got {type(array).__name__}")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"expected an array of numbers, got {array.dtype}")
    return array


def _features(found: Any, name: str, what: str) -> NDArray[Any]:
    array = stored_array(found, name, what)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{what}: {name} is {list(array.shape)}, expected [images, neurons]")
    return array


def _of_moments(
    layer: str, parts: Any, n: int, what: str, *, suffix: str = "", width: int | None = None
) -> LayerGaussianDistribution:
    mean = _values(parts, f"mu{suffix}", what, None if width is None else (width,))
    covariance = _values(parts, f"sigma{suffix}", what, (len(mean),) * 2)
    distribution = LayerGaussianDistribution.empty(NeuronLayout({layer: len(mean)}))
    distribution.centre.copy_(mean)
    distribution.scatters()[layer].copy_(symmetric(covariance, f"{what}: sigma{suffix}") * (n - 1))
    distribution.state[0] = n
    return _possible(distribution, what)


def _of_sums(format: Format, total: Any, outer: Any, n: int, what: str) -> LayerGaussianDistribution:
    """Sums are what a state is: they are taken as they are, about 0."""
    first = _values({"sum": total}, "sum", what)
    layer = _layer(format, len(first), what)
    scatter = _values({"outer": outer}, "outer", what, (len(first),) * 2)
    distribution = LayerGaussianDistribution.empty(NeuronLayout({layer: len(first)}))
    distribution.first.copy_(first)
    distribution.scatters()[layer].copy_(symmetric(scatter, f"{what}: the sum of products"))
    distribution.state[0] = n
    return _possible(distribution, what)


def _possible(distribution: LayerGaussianDistribution, what: str) -> LayerGaussianDistribution:
    with errors_of(what):
        distribution.check_possible()
    return distribution


def _of_features(
    layer: str, batches: Sequence[NDArray[Any]], what: str, width: int | None = None
) -> LayerGaussianDistribution:
    neurons = width or batches[0].shape[1]
    wrong = next((batch for batch in batches if batch.shape[1] != neurons), None)
    if wrong is not None:
        raise ValueError(f"{what}: features are {list(wrong.shape)}, expected [images, {neurons}]")
    distribution = LayerGaussianDistribution.empty(NeuronLayout({layer: neurons}))
    parts = [batch[start : start + _ROWS] for batch in batches for start in range(0, len(batch), _ROWS)]
    waiting: list[NDArray[Any]] = []
    for place, part in enumerate(parts, 1):
        waiting.append(part)
        if sum(map(len, waiting)) >= _ROWS or place == len(parts):  # a sum of products takes as long of one row
            rows = torch.from_numpy(np.concatenate(waiting).astype(np.float64))
            waiting = []
            with errors_of(what):
                distribution.fill_({layer: rows.T[:, :, None]})
    return _possible(distribution, what)


def _sample_of(layer: str, features: NDArray[Any], name: str, what: str, size: int) -> FeatureSample:
    """A sample of features as they are, whose hashes are of the rows."""
    sample = FeatureSample.empty(NeuronLayout({layer: features.shape[1]}), size)
    with errors_of(f"{what}: {name}"):
        for start in range(0, len(features), _ROWS):
            rows = torch.from_numpy(features[start : start + _ROWS].astype(np.float32))
            sample.fill_({layer: rows.T[:, :, None]})
        sample = sample.copied()
        sample.check_possible()
    return sample
