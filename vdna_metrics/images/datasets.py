"""Standard datasets by name: official splits from a copy on disk, or downloaded where their licence allows it."""

from __future__ import annotations

import gzip
import os
import struct
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from http.client import HTTPException
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.downloads import DownloadError, cache_folder
from vdna_metrics.files import errors_of, read_whole
from vdna_metrics.images.containers import open_array, open_container
from vdna_metrics.images.dataset_table import CELEBA_PARTITIONS, DATASETS, FFHQ_SPLITS, HUB_DATASETS, DatasetRecord
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.sources import ImageSource, select_images
from vdna_metrics.layout import near_names

__all__ = ["DatasetRecord", "list_datasets", "open_dataset"]

_DIGITS = "0123456789"
_UNLABELLED = -1


# ------------------------------------------------------------------------------------------------------ public
def list_datasets() -> list[DatasetRecord]:
    """The standard datasets that `open_dataset` knows.

    Examples:
        >>> next(record.splits for record in list_datasets() if record.name == "cifar10")
        {'train': 50000, 'test': 10000}
    """
    return list(DATASETS.values())


def open_dataset(name: str, *, root: str | Path | None = None, download: bool = True) -> ImageSource:
    """Open a split of a standard dataset, complete or not at all.

    Files are read as they are: their bytes, names and manifest hash are those of ``open_images`` of their folder.
    Arrays of pixels (CIFAR, MNIST, STL-10, SVHN) are named ``class/number`` in the official order. What torchvision
    downloads is checked by md5 wherever torchvision knows it, a copy of yours just so.

    Args:
        name: ``dataset/split`` in any case, such as ``"cifar10/test"``; see `list_datasets`.
        root: folder of a copy that is there already, which is only read; by default the folder ``datasets/NAME`` of
            the cache (``VDNA_METRICS_HOME``), or the cache of Hugging Face.
        download: without a root, download what is missing, where that may be done unasked.

    Returns:
        A frozen, picklable value with ``name``, ``names``, ``groups``, ``len()`` and ``read(index)``.

    Raises:
        ValueError: an unknown dataset or split, no split, nothing there (with where to get it and how it must lie),
            or images of another number or size than the official ones.
        DownloadError: a download failed.

    Examples:
        >>> open_dataset("cifar10")
        Traceback (most recent call last):
        ...
        ValueError: 'cifar10' names no split: cifar10/train (50000 images), cifar10/test (10000 images)
    """
    record, split = _find(name)
    if root is not None:
        source = _open_copy(record, split, Path(root).expanduser())
    elif record.loader == "huggingface":
        source = _open_hub(record, split, _snapshot(record, split, download))
    else:
        source = _open_cached(record, split, download)
    source = replace(source, name=f"{record.name}/{split}")
    _check_official(record, split, source, str(root or HUB_DATASETS.get(record.name, _cached(record))))
    return source


def _find(name: str) -> tuple[DatasetRecord, str]:
    dataset, _, split = name.strip().lower().partition("/")
    if dataset not in DATASETS:
        raise ValueError(f"unknown dataset {dataset!r}; {near_names(dataset, sorted(DATASETS))}")
    record = DATASETS[dataset]
    splits = ", ".join(f"{dataset}/{known} ({number} images)" for known, number in record.splits.items())
    if not split:
        raise ValueError(f"{name!r} names no split: {splits}")
    if split not in record.splits:
        raise ValueError(f"{dataset} has no split {split!r}: {splits}")
    return record, split


def _check_official(record: DatasetRecord, split: str, source: ImageSource, where: str) -> None:
    official = record.splits[split]
    other = f"open another copy by its path, as open_images({where!r}), and name it otherwise"
    if len(source) != official:
        found = f"{len(source)} images found in {where}"
        raise ValueError(f"{source.name}: {found}, the official split has {official}; {other}")
    if record.resolution == "various":
        return
    first = source.read(0)
    height, width = (decode_image(first, source.names[0]) if isinstance(first, bytes) else first).shape[:2]
    if f"{width}x{height}" != record.resolution:
        raise ValueError(
            f"{source.name}: {source.names[0]} in {where} is {width}x{height}, the official images are "
            f"{record.resolution}; {other}"
        )


# ------------------------------------------------------------------------------------------------------ copies
def _open_copy(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    return _OPENERS.get(record.name, _open_files)(record, split, root)


def _place(record: DatasetRecord, split: str, root: Path) -> str:
    """The first of the places of a copy that is there, as `open_images` names it."""
    idx = "t10k" if split == "test" else split
    places = [place.format(split=split, idx=idx) for place in record.layout]
    for place in places:
        path = f"{root}/{place}"
        if os.path.exists(path) or (".zip:" in path and os.path.isfile(path.rpartition(":")[0])):
            return path
    lacking = f"none of {', '.join(places)} is there"
    raise ValueError(f"{record.name}/{split} is not in {str(root)!r}: {lacking}. {_advice(record)}")


def _advice(record: DatasetRecord) -> str:
    without = {
        "torchvision": "torchvision downloads it (download=True)",
        "huggingface": "it is downloaded from there (download=True)",
        "local copy": f"it is looked for in {_cached(record)}",
    }[record.loader]
    get = f"Get it from {record.home} (licence: {record.licence}) and give the folder that holds it as root= (--root)"
    return f"{get}; without root= {without}"


def _open_files(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    return open_container(_place(record, split, root))


def _choose(whole: ImageSource, stems: Collection[str]) -> ImageSource:
    return select_images(whole, [place for place, name in enumerate(whole.names) if PurePosixPath(name).stem in stems])


def _open_ffhq(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    whole = _open_files(record, split, root)
    return whole if split == "all" else _choose(whole, {f"{number:05d}" for number in FFHQ_SPLITS[split]})


def _open_celeba(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    from torchvision.datasets import CelebA
    from torchvision.datasets.utils import check_integrity

    whole = _open_files(record, split, root)
    if split == "all":
        return whole
    partition = next((root / name for name in CELEBA_PARTITIONS if (root / name).is_file()), None)
    if partition is None:
        raise ValueError(f"celeba/{split} needs list_eval_partition.txt: none of {CELEBA_PARTITIONS} is in {root}")
    md5 = next(md5 for _, md5, name in CelebA.file_list if name == partition.name)
    if not check_integrity(partition, md5):
        raise ValueError(f"{partition} is not the official file: its md5 is not {md5}; get it from {record.home}")
    number = {"train": "0", "valid": "1", "test": "2"}[split]
    rows = (line.split() for line in read_whole(partition, "text_bytes").decode().splitlines())
    return _choose(whole, {PurePosixPath(name).stem for name, part in rows if part == number})


def _label(images: NDArray[np.uint8], labels: Sequence[str], where: str) -> ImageSource:
    if len(images) != len(labels):
        raise ValueError(f"{where} has {len(images)} images and {len(labels)} labels")
    return replace(open_array("array", images), names=_number(labels))


def _number(labels: Sequence[str]) -> tuple[str, ...]:
    # "T-shirt/top" would be a folder in a folder.
    return tuple(f"{label.replace('/', '-')}/{index:06d}" for index, label in enumerate(labels))


def _open_arrays(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    where = _place(record, split, root)
    with errors_of(f"{where} is incomplete or damaged", RuntimeError):
        dataset = _torchvision(record, split, root, download=False)
    images = np.asarray(dataset.data)
    targets = np.asarray(dataset.targets if hasattr(dataset, "targets") else dataset.labels).tolist()
    known = _DIGITS if record.name == "svhn" else getattr(dataset, "classes", None)
    if known is None:
        raise ValueError(f"{where}/class_names.txt is missing, the names of the classes")
    classes = {_UNLABELLED: "unlabeled"} | dict(enumerate(known))
    if images.shape[1] == 3:
        images = images.transpose(0, 2, 3, 1)
    return _label(images, [classes[target] for target in targets], where)


def _open_idx(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    path = Path(_place(record, split, root))
    labels_path = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if not labels_path.is_file():
        raise ValueError(f"{record.name}/{split}: {labels_path} is missing, the file of the labels")
    images, labels = _read_idx(record, path), _read_idx(record, labels_path)
    classes = _DIGITS if record.name == "mnist" else _torchvision_class(record).classes
    # With a channel, so that three images cannot be taken for one of three rows.
    return _label(images[..., None], [classes[label] for label in labels], str(path))


def _read_idx(record: DatasetRecord, path: Path) -> NDArray[np.uint8]:
    from torchvision.datasets.utils import check_integrity

    compressed = path.suffix == ".gz"
    md5 = dict(_torchvision_class(record).resources)[path.name] if compressed else None
    if not check_integrity(path, md5):
        raise ValueError(f"{path} is not the official file of {record.name}: its md5 is not {md5}")
    data = gzip.decompress(path.read_bytes()) if compressed else path.read_bytes()
    n_axes = data[3] if data[:3] == b"\0\0\x08" else 0
    shape = struct.unpack(f">{n_axes}I", data[4 : 4 + 4 * n_axes].ljust(4 * n_axes, b"\0"))
    if not n_axes or len(data) != 4 + 4 * n_axes + int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path} is cut or no idx file of bytes: it has {len(data)} bytes, axes {list(shape)}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        advice = f"pip install {name}, or 'vdna_metrics[datasets]'"
        raise ValueError(f"this dataset is read by the package {name}: {advice}") from error


# ------------------------------------------------------------------------------------------------------ lmdb
# One database may be open once in a process. Without locks, read-only, it is a mapped file: forked workers go on with
# their parent's, spawned ones open their own.
_ENVIRONMENTS: dict[str, Any] = {}
_OPENING = threading.Lock()


def _environment(path: str) -> Any:
    lmdb = _package("lmdb")
    with _OPENING:
        if path not in _ENVIRONMENTS:
            with errors_of(f"{path} is not a readable LMDB database", lmdb.Error):
                # Not torchvision's LSUN: that writes a list of keys into the working folder, which it finds again by
                # the letters of the path alone, so that two copies may share one list.
                _ENVIRONMENTS[path] = lmdb.open(path, readonly=True, create=False, lock=False, readahead=False)
        return _ENVIRONMENTS[path]


@dataclass(frozen=True)
class _LmdbSource(ImageSource):
    path: str

    def read(self, index: int) -> bytes:
        with _environment(self.path).begin() as transaction:
            data = transaction.get(self.names[index].removesuffix(".webp").encode())
        if data is None:
            raise ValueError(f"{self.names[index]} is no longer in {self.path}")
        return bytes(data)


def _open_lsun(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    path = os.path.realpath(_place(record, split, root))
    with _environment(path).begin() as transaction:
        keys = transaction.cursor().iternext(keys=True, values=False)
        return _LmdbSource(split, tuple(f"{key.decode()}.webp" for key in keys), path)


# ------------------------------------------------------------------------------------------------------ hub
@dataclass(frozen=True, eq=False)  # tables have no single truth value to compare by
class _HubSource(ImageSource):
    rows: Any  # a table in mapped files, which pickles as their paths

    def read(self, index: int) -> bytes:
        data: bytes = self.rows[index]["image"]["bytes"]
        return data


def _open_hub(record: DatasetRecord, split: str, root: Path) -> ImageSource:
    datasets = _package("datasets")
    if not any(root.rglob("*.parquet")):  # a name that is no folder would be asked for at the hub
        raise ValueError(f"{record.name}/{split} is not in {str(root)!r}: no Parquet files. {_advice(record)}")
    rows = datasets.load_dataset(str(root), split=split)
    labels = rows.features["label"]
    names = _number([labels.int2str(label) for label in rows["label"]])
    return _HubSource(split, names, rows.cast_column("image", datasets.Image(decode=False)))


_OPENERS: dict[str, Callable[[DatasetRecord, str, Path], ImageSource]] = {
    **dict.fromkeys(("cifar10", "cifar100", "stl10", "svhn"), _open_arrays),
    **dict.fromkeys(("mnist", "fashion_mnist"), _open_idx),
    **dict.fromkeys(("ffhq-1024", "ffhq-128"), _open_ffhq),
    **{name: _open_lsun for name in DATASETS if name.startswith("lsun_")},
    "celeba": _open_celeba,
    **dict.fromkeys(HUB_DATASETS, _open_hub),
}


# ------------------------------------------------------------------------------------------------------ downloads
def _cached(record: DatasetRecord) -> Path:
    return cache_folder() / "datasets" / record.name


def _open_cached(record: DatasetRecord, split: str, download: bool) -> ImageSource:
    folder = _cached(record)
    fetch = download and record.loader == "torchvision"
    try:
        source = _open_copy(record, split, folder)
        if len(source) == record.splits[split] or not fetch:
            return source
    except ValueError:
        if not fetch:
            raise
    _download(record, split, folder)  # or wait for the process that is unpacking it now
    return _open_copy(record, split, folder)


def _download(record: DatasetRecord, split: str, folder: Path) -> None:
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Ranks that start together wait for the first of them; and older torchvision prints, which is the caller's.
        with FileLock(folder / ".lock"), redirect_stdout(sys.stderr):
            _torchvision(record, split, folder, download=True)
    except (OSError, RuntimeError, HTTPException, ImportError) as error:
        failed = f"{record.name}/{split} could not be downloaded to {folder}"
        raise DownloadError(f"{failed}: {error}. {_advice(record)}") from error


def _snapshot(record: DatasetRecord, split: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download

    repository, files = HUB_DATASETS[record.name], ["*.parquet", "README.md"]
    try:
        path = snapshot_download(repository, repo_type="dataset", allow_patterns=files, local_files_only=not download)
    except (OSError, ValueError) as error:
        failed = f"{record.name}/{split} could not be had from the hub's {repository}"
        raise DownloadError(f"{failed}: {error}. {_advice(record)}") from error
    return Path(path)


def _torchvision_class(record: DatasetRecord) -> Any:
    from torchvision import datasets

    named = {name.lower(): name for name in datasets.__all__}
    return getattr(datasets, named[record.name.replace("_", "")])


def _torchvision(record: DatasetRecord, split: str, root: Path, *, download: bool) -> Any:
    by_name = record.name in ("celeba", "stl10", "svhn")
    which: dict[str, Any] = {"split": split} if by_name else {"train": split in ("train", "training")}
    return _torchvision_class(record)(str(root), download=download, **which)
