"""Standard datasets by name, from small files in each dataset's published format."""

from __future__ import annotations

import gzip
import hashlib
import json
import multiprocessing
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from helpers.file_server import file_server
from helpers.image_files import encode, pixels
from torch.utils.data import DataLoader

from vdna_metrics.downloads import DownloadError
from vdna_metrics.images import ImageDataset, dataset_table, iterate_images, open_images
from vdna_metrics.images.batches import ImageRecord
from vdna_metrics.images.datasets import list_datasets, open_dataset
from vdna_metrics.images.sources import ImageSource, manifest_hash

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
Sizes = Callable[..., None]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache but an empty one."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """Put other numbers in the place of a dataset's official ones."""

    def put(name: str, resolution: str | None = None, **splits: int) -> None:
        record = dataset_table.DATASETS[name]
        changed = replace(record, splits=dict(record.splits) | splits, resolution=resolution or record.resolution)
        monkeypatch.setitem(dataset_table.DATASETS, name, changed)

    return put


def _write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


def _rows(source: ImageSource) -> np.ndarray:
    return np.stack([np.asarray(source.read(index)) for index in range(len(source))])


def _digests(source: ImageSource) -> list[str]:
    return [digest for batch in iterate_images(source) for digest in batch.digests]


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


# ------------------------------------------------------------------------------------------------------ names
def test_names_are_canonical(tmp_path: Path, official: Sizes) -> None:
    """A name is dataset/split in lower case, and any case is understood."""
    official("coco", val2017=2)
    for index in range(2):
        _write(tmp_path / "val2017" / f"{index}.jpg", encode(pixels(8, 8, 3), "JPEG"))
    assert open_dataset(" COCO/Val2017", root=tmp_path).name == "coco/val2017"
    for record in list_datasets():
        names = [record.name, *record.splits]
        assert names == [name.lower().strip() for name in names]
        assert all("/" not in name for name in names)
        assert record.home.startswith("http")
        assert record.licence
        assert record.layout
        assert all(number > 0 for number in record.splits.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-10/test", r"unknown dataset 'cifar-10'; did you mean 'cifar10'"),
        ("imagnet/val", r"did you mean 'imagenet'"),
        ("ffhq/all", r"did you mean .*'ffhq-128' or 'ffhq-1024'"),
        ("lsun_church/train", r"did you mean .*'lsun_church_outdoor'"),
        ("cifar10", r"'cifar10' names no split: cifar10/train \(50000 images\), cifar10/test \(10000 images\)"),
        ("cifar10/", r"names no split"),
        ("cifar10/val", r"cifar10 has no split 'val': cifar10/train \(50000 images\), cifar10/test"),
        ("ade20k/train", r"no split 'train': ade20k/training \(20210 images\), ade20k/validation"),
    ],
)
def test_names_are_never_guessed(name: str, message: str) -> None:
    """An unknown dataset answers with near ones, a missing or unknown split with the splits."""
    with pytest.raises(ValueError, match=message):
        open_dataset(name)


def test_official_numbers_add_up() -> None:
    """Parts of one whole have its number of images, and classes of equal size divide theirs."""
    splits = {record.name: record.splits for record in list_datasets()}
    celeba, stl10, coco = splits["celeba"], splits["stl10"], splits["coco"]
    assert celeba["train"] + celeba["valid"] + celeba["test"] == celeba["all"] == 202_599
    assert stl10["train"] + stl10["unlabeled"] == stl10["train+unlabeled"]
    # The releases of 2014 and 2017 divide the same photographs.
    assert coco["train2017"] + coco["val2017"] == coco["train2014"] + coco["val2014"]
    assert splits["ffhq-1024"] == splits["ffhq-128"] == {"all": 70_000, "train": 60_000, "validation": 10_000}
    assert sum(splits["afhq"].values()) == 16_130
    assert sum(splits["afhqv2"].values()) == 15_803


def test_page_lists_what_there_is() -> None:
    """The page has two rows for each dataset: its splits with their numbers, and the places of a copy."""
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8").splitlines()
    numbers, places = [], []
    for record in list_datasets():
        splits = ", ".join(f"{split} {number:,}".replace(",", " ") for split, number in record.splits.items())
        numbers.append(f"| `{record.name}` | {splits} | {record.resolution} | {record.loader} | {record.licence} |")
        places.append(f"| [`{record.name}`]({record.home}) | `{'`, `'.join(record.layout)}` |")
    rows = [line for line in page if line.startswith(("| `", "| [`"))]
    assert rows[: len(numbers)] == numbers
    assert [row.rpartition("|")[0].rpartition("|")[0] + "|" for row in rows[len(numbers) :]] == places


# ------------------------------------------------------------------------------------------------------ arrays
def _write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch, per_batch: int = 2) -> np.ndarray:
    kind = torchvision.datasets.CIFAR10
    images = pixels(6 * per_batch, 3, 32, 32)
    folder = root / "cifar-10-batches-py"
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    for number in range(6):
        name = f"data_batch_{number + 1}" if number < 5 else "test_batch"
        part = images[number * per_batch : (number + 1) * per_batch]
        batch = {"data": part.reshape(per_batch, -1), "labels": [(number + i) % 10 for i in range(per_batch)]}
        md5 = _write(folder / name, pickle.dumps(batch))
        lists["train_list" if number < 5 else "test_list"].append([name, md5])
    md5 = _write(folder / "batches.meta", pickle.dumps({"label_names": CLASSES}))
    monkeypatch.setattr(kind, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})
    for name, files in lists.items():
        monkeypatch.setattr(kind, name, files)
    return images


def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """CIFAR's pickled batches give rows [32, 32, 3] in the official order, named and grouped by class."""
    images = _write_cifar10(tmp_path, monkeypatch).transpose(0, 2, 3, 1)
    official("cifar10", train=10, test=2)
    train, test = (open_dataset(f"cifar10/{split}", root=tmp_path) for split in ("train", "test"))
    assert np.array_equal(_rows(train), images[:10])
    assert np.array_equal(_rows(test), images[10:])
    assert test.names == ("dog/000000", "frog/000001")
    assert train.groups == tuple(CLASSES[(number + i) % 10] for number in range(5) for i in range(2))
    assert _digests(test) == _digests(open_images(np.ascontiguousarray(images[10:])))


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """CIFAR-100 is grouped by its fine labels."""
    kind, folder = torchvision.datasets.CIFAR100, tmp_path / "cifar-100-python"
    images = pixels(4, 3, 32, 32)
    for name, part in (("train", images[:3]), ("test", images[3:])):
        labels = {"fine_labels": [1] * len(part), "coarse_labels": [0] * len(part)}
        md5 = _write(folder / name, pickle.dumps({"data": part.reshape(len(part), -1), **labels}))
        monkeypatch.setattr(kind, f"{name}_list", [[name, md5]])
    md5 = _write(folder / "meta", pickle.dumps({"fine_label_names": ["apple", "aquarium_fish"]}))
    monkeypatch.setattr(kind, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5})
    official("cifar100", train=3, test=1)
    source = open_dataset("cifar100/train", root=tmp_path)
    assert np.array_equal(_rows(source), images[:3].transpose(0, 2, 3, 1))
    assert source.names[2] == "aquarium_fish/000002"


def test_damage_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """A pickle with another md5 is never loaded."""
    _write_cifar10(tmp_path, monkeypatch)
    official("cifar10", test=2)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"cifar-10-batches-py is incomplete or damaged: "):
        open_dataset("cifar10/test", root=tmp_path)


@pytest.mark.parametrize("folder", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes, folder: str, suffix: str) -> None:
    """MNIST's idx files are read compressed or not, in torchvision's folders or side by side."""
    images, labels = pixels(3, 28, 28), np.array([7, 0, 9], np.uint8)
    md5s = {}
    for name, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        data = gzip.compress(_idx(array)) if suffix else _idx(array)
        md5s[f"{name}.gz"] = _write(tmp_path / folder / f"{name}{suffix}", data)
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", list(md5s.items()))
    official("mnist", test=3)
    source = open_dataset("mnist/test", root=tmp_path)
    assert source.names == ("7/000000", "0/000001", "9/000002")
    assert np.array_equal(_rows(source)[..., 0], images)
    (batch,) = iterate_images(source)
    assert np.array_equal(batch.images.numpy(), np.stack([images] * 3, axis=1))


def test_mnist_refusals(tmp_path: Path, official: Sizes) -> None:
    """Other gzip files, cut idx files, missing labels and unequal numbers are refused."""
    official("mnist", test=3)
    path = tmp_path / "t10k-images-idx3-ubyte"
    _write(path, _idx(pixels(3, 28, 28)))
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte is missing, the file of the labels"):
        open_dataset("mnist/test", root=tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    _write(labels, _idx(pixels(2) % 10))
    with pytest.raises(ValueError, match="has 3 images and 2 labels"):
        open_dataset("mnist/test", root=tmp_path)
    for bad in (_idx(pixels(3, 28, 28))[:-1], b"", b"\0\0\x0d\x03", b"\0\0\x08\x03\0\0"):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"is cut or no idx file of bytes: it has {len(bad)} bytes"):
            open_dataset("mnist/test", root=tmp_path)
    path.unlink()
    _write(tmp_path / f"{path.name}.gz", gzip.compress(_idx(pixels(3, 28, 28))))
    _write(tmp_path / f"{labels.name}.gz", gzip.compress(_idx(pixels(3) % 10)))
    with pytest.raises(ValueError, match="is not the official file of mnist: its md5 is not 9fb629c4"):
        open_dataset("mnist/test", root=tmp_path)


def test_fashion_mnist(tmp_path: Path, official: Sizes) -> None:
    """Fashion-MNIST's classes are single folders, T-shirt/top too."""
    official("fashion_mnist", train=2)
    _write(tmp_path / "FashionMNIST/raw/train-images-idx3-ubyte", _idx(pixels(2, 28, 28)))
    _write(tmp_path / "FashionMNIST/raw/train-labels-idx1-ubyte", _idx(np.array([0, 9], np.uint8)))
    source = open_dataset("fashion_mnist/train", root=tmp_path)
    assert source.groups == ("T-shirt-top", "Ankle boot")


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """STL-10's column-major planes come out upright; what has no label is grouped so."""
    kind, folder = torchvision.datasets.STL10, tmp_path / "stl10_binary"
    images = pixels(6, 96, 96, 3)
    arrays = {
        "train_X.bin": images[:2].transpose(0, 3, 2, 1),
        "train_y.bin": np.array([1, 10], np.uint8),
        "unlabeled_X.bin": images[2:3].transpose(0, 3, 2, 1),
        "test_X.bin": images[3:].transpose(0, 3, 2, 1),
        "test_y.bin": np.array([2, 2, 3], np.uint8),
    }
    md5s = {name: _write(folder / name, np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}
    _write(folder / "class_names.txt", "\n".join(CLASSES).encode())
    listed = [[name, md5] for name, md5 in md5s.items()]
    monkeypatch.setattr(kind, "train_list", listed[:3])
    monkeypatch.setattr(kind, "test_list", listed[3:])
    official("stl10", **{"train": 2, "test": 3, "unlabeled": 1, "train+unlabeled": 3})
    source = open_dataset("stl10/train+unlabeled", root=tmp_path)
    assert np.array_equal(_rows(source), images[:3])
    assert source.groups == ("airplane", "truck", "unlabeled")
    assert np.array_equal(_rows(open_dataset("stl10/test", root=tmp_path)), images[3:])
    (folder / "class_names.txt").unlink()
    with pytest.raises(ValueError, match=r"stl10_binary/class_names\.txt is missing"):
        open_dataset("stl10/test", root=tmp_path)


def _svhn(images: np.ndarray, labels: np.ndarray, path: Path) -> str:
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]})
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """SVHN's MATLAB files give upright rows; its label 10 is the digit 0."""
    images = pixels(4, 32, 32, 3)
    md5 = _svhn(images, np.array([10, 1, 9, 10], np.uint8), tmp_path / "extra_32x32.mat")
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "extra", ["", "extra_32x32.mat", md5])
    official("svhn", extra=4)
    source = open_dataset("svhn/extra", root=tmp_path)
    assert source.groups == ("0", "1", "9", "0")
    assert np.array_equal(_rows(source), images)


# ------------------------------------------------------------------------------------------------------ files
def _jpegs(root: Path, names: list[str], size: tuple[int, int] = (8, 8)) -> dict[str, bytes]:
    files = {}
    for seed, name in enumerate(names):
        kind = "PNG" if name.endswith(".png") else "JPEG"
        files[name] = encode(pixels(size[1], size[0], 3, seed=seed), kind)
        _write(root / name, files[name])
    return files


@pytest.mark.parametrize(
    ("name", "folder", "images"),
    [
        ("imagenet/train", "train", ["n01440764/n01440764_10026.JPEG", "n01443537/n01443537_2.JPEG"]),
        ("imagenet/val", "val", ["n01440764/ILSVRC2012_val_00000293.JPEG"]),
        ("imagenet/val", "ILSVRC/Data/CLS-LOC/val", ["ILSVRC2012_val_00000001.JPEG"]),
        ("coco/train2017", "train2017", ["000000000009.jpg"]),
        ("coco/val2014", "images/val2014", ["COCO_val2014_000000000042.jpg"]),
        ("cityscapes/val", "leftImg8bit/val", ["lindau/lindau_000000_000019_leftImg8bit.png"]),
        ("bdd100k/train", "bdd100k/images/100k/train", ["0000f77c-6257be58.jpg"]),
        ("bdd100k-10k/val", "images/10k/val", ["7d06fefd-f7be05a6.jpg"]),
        ("ade20k/training", "ADEChallengeData2016/images/training", ["ADE_train_00000001.jpg"]),
        ("ade20k/validation", "images/validation", ["ADE_val_00000001.jpg"]),
        ("mapillary_vistas/validation", "validation/images", ["_1Gn_xkw7sa_i9GU4mkxxQ.jpg"]),
        ("kitti/training", "Kitti/raw/training/image_2", ["000000.png", "000001.png"]),
        ("ffhq-1024/all", "images1024x1024", ["00000/00000.png", "69000/69999.png"]),
        ("afhq/val", "afhq/val", ["cat/flickr_cat_000008.jpg", "dog/flickr_dog_000043.jpg"]),
        ("celeba/all", "celeba/img_align_celeba", ["000001.jpg"]),
    ],
)
def test_folders(tmp_path: Path, official: Sizes, name: str, folder: str, images: list[str]) -> None:
    """A dataset of files has the names, bytes and manifest hash of its folder; the whole rest of the root is left."""
    dataset, split = name.split("/")
    official(dataset, "various", **{split: len(images)})
    _jpegs(tmp_path / folder, images)
    _jpegs(tmp_path / "annotations", ["not_one_of_them.png"])
    source, plain = open_dataset(name, root=str(tmp_path)), open_images(tmp_path / folder)
    assert (source.name, source.names, source.groups) == (name, plain.names, plain.groups)
    assert [source.read(index) for index in range(len(source))] == [plain.read(i) for i in range(len(plain))]
    assert manifest_hash(source.names, _digests(source)) == manifest_hash(plain.names, _digests(plain))


@pytest.mark.parametrize(
    ("name", "archive", "folder"),
    [
        ("coco/val2017", "val2017.zip", "val2017"),
        ("cityscapes/test", "leftImg8bit_trainvaltest.zip", "leftImg8bit/test"),
        ("ade20k/validation", "ADEChallengeData2016.zip", "ADEChallengeData2016/images/validation"),
        ("ffhq-128/all", "thumbnails128x128.zip", "thumbnails128x128"),
        ("celeba/all", "Img/img_align_celeba.zip", "img_align_celeba"),
    ],
)
def test_archives(tmp_path: Path, official: Sizes, name: str, archive: str, folder: str) -> None:
    """Archives are read in place, as they were downloaded."""
    dataset, split = name.split("/")
    official(dataset, "various", **{split: 2})
    (tmp_path / archive).parent.mkdir(exist_ok=True)
    files = {f"{index:05d}.png": encode(pixels(8, 8, 3, seed=index)) for index in range(2)}
    with zipfile.ZipFile(tmp_path / archive, "w") as file:
        for image, data in files.items():
            file.writestr(f"{folder}/{image}", data)
        file.writestr("other/0.png", files["00000.png"])
    source = open_dataset(name, root=tmp_path)
    assert source.names == ("00000.png", "00001.png")
    assert [source.read(0), source.read(1)] == list(files.values())


@pytest.mark.parametrize("packed", [False, True])
def test_ffhq_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes, packed: bool) -> None:
    """FFHQ's first 60 000 numbers are for training, the others for validation, in a folder or the archive."""
    names = ["00000/00000.png", "59000/59999.png", "60000/60000.png", "69000/69999.png", "69000/69998.png"]
    files = _jpegs(tmp_path / "thumbnails128x128", names, (128, 128))
    if packed:
        with zipfile.ZipFile(tmp_path / "thumbnails128x128.zip", "w") as file:
            for name, data in files.items():
                file.writestr(f"thumbnails128x128/{name}", data)
                (tmp_path / "thumbnails128x128" / name).unlink()
        for folder in (*(tmp_path / "thumbnails128x128").iterdir(), tmp_path / "thumbnails128x128"):
            folder.rmdir()
    official("ffhq-128", train=2, validation=3)
    train = open_dataset("ffhq-128/train", root=tmp_path)
    validation = pickle.loads(pickle.dumps(open_dataset("ffhq-128/validation", root=tmp_path)))
    assert train.names == ("00000/00000.png", "59000/59999.png")
    assert validation.names == ("60000/60000.png", "69000/69998.png", "69000/69999.png")
    assert validation.read(1) == files["69000/69998.png"]


def test_celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """CelebA's splits are those of its partition file, which has to be the official one."""
    files = _jpegs(tmp_path / "Img" / "img_align_celeba", [f"{n:06d}.jpg" for n in range(1, 7)], (178, 218))
    official("celeba", train=3, valid=1, test=2, all=6)
    with pytest.raises(ValueError, match=r"celeba/test needs list_eval_partition\.txt: none of .*Eval/list_eval"):
        open_dataset("celeba/test", root=tmp_path)
    rows = "".join(f"{n:06d}.jpg {part}\n" for n, part in enumerate([0, 2, 0, 1, 0, 2], start=1))
    md5 = _write(tmp_path / "Eval" / "list_eval_partition.txt", rows.encode())
    with pytest.raises(ValueError, match=r"list_eval_partition\.txt is not the official file: its md5 is not d32c9c"):
        open_dataset("celeba/test", root=tmp_path)
    monkeypatch.setattr(torchvision.datasets.CelebA, "file_list", [("", md5, "list_eval_partition.txt")])
    names = {split: open_dataset(f"celeba/{split}", root=tmp_path).names for split in ("train", "valid", "test")}
    assert names == {
        "train": ("000001.jpg", "000003.jpg", "000005.jpg"),
        "valid": ("000004.jpg",),
        "test": ("000002.jpg", "000006.jpg"),
    }
    assert open_dataset("celeba/test", root=tmp_path).read(1) == files["000006.jpg"]
    assert len(open_dataset("celeba/all", root=tmp_path)) == 6


# ------------------------------------------------------------------------------------------------------ lmdb
def _write_lmdb(path: Path, n: int) -> dict[str, bytes]:
    lmdb = pytest.importorskip("lmdb")
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {f"{index * 7919:040x}": encode(pixels(9, 8, 3, seed=index), "WEBP", lossless=True) for index in range(n)}
    environment = lmdb.open(str(path), map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for key, data in files.items():
            transaction.put(key.encode(), data)
    environment.close()
    return files


def test_lsun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """LSUN's databases give the files as stored, named by their keys in order; nothing is written anywhere."""
    files = _write_lmdb(tmp_path / "lsun" / "church_outdoor_val_lmdb", 3)
    _write_lmdb(tmp_path / "lsun" / "cat", 2)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    official("lsun_church_outdoor", val=3)
    official("lsun_cat", all=2)
    source = open_dataset("lsun_church_outdoor/val", root="lsun")
    assert source.names == tuple(f"{key}.webp" for key in sorted(files))
    assert [source.read(i) for i in range(3)] == [files[key] for key in sorted(files)]
    assert len(open_dataset("lsun_cat/all", root=tmp_path / "lsun")) == 2
    assert open_dataset("lsun_church_outdoor/val", root=tmp_path / "lsun").read(0) == source.read(0)
    assert sorted(tmp_path.rglob("*")) == before


def test_lsun_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no database is refused, and a missing package named."""
    pytest.importorskip("lmdb")
    (tmp_path / "bedroom_val_lmdb").mkdir()
    with pytest.raises(ValueError, match=r"bedroom_val_lmdb is not a readable LMDB database"):
        open_dataset("lsun_bedroom/val", root=tmp_path)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ValueError, match=r"read by the package lmdb: pip install lmdb, or 'vdna_metrics\[datasets\]'"):
        open_dataset("lsun_bedroom/val", root=tmp_path)


# ------------------------------------------------------------------------------------------------------ workers
KINDS = ["lmdb", "folder", "chosen", "array", "hub"]


def _make(kind: str, root: Path, patch: pytest.MonkeyPatch, official: Sizes) -> ImageSource:
    """A source of eight images."""
    if kind == "lmdb":
        _write_lmdb(root / "tower_train_lmdb", 8)
        official("lsun_tower", train=8)
        return open_dataset("lsun_tower/train", root=root)
    if kind == "array":
        _write_cifar10(root, patch, per_batch=8)
        official("cifar10", test=8)
        return open_dataset("cifar10/test", root=root)
    if kind == "hub":
        _write_hub(root / "copy", {"valid": 8})
        official("tiny_imagenet", valid=8)
        return open_dataset("tiny_imagenet/valid", root=root / "copy")
    _jpegs(root / "images1024x1024", [f"{n:05d}.png" for n in range(8)])
    official("ffhq-1024", "8x8", all=8, train=8)
    return open_dataset(f"ffhq-1024/{'all' if kind == 'folder' else 'train'}", root=root)


@pytest.fixture(params=KINDS)
def any_source(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes
) -> ImageSource:
    """A source of eight images of each kind."""
    return _make(request.param, tmp_path, monkeypatch, official)


def _same(one: list[ImageRecord], other: list[ImageRecord]) -> bool:
    return len(one) == len(other) == 8 and all(
        (a.index, a.digest) == (b.index, b.digest) and torch.equal(torch.as_tensor(a.image), torch.as_tensor(b.image))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_forked_workers(any_source: ImageSource) -> None:
    """Forked workers read what this process reads, also after it has read."""
    dataset = ImageDataset(any_source)
    alone = [dataset[index] for index in range(8)]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert _same(alone, list(loader))


@pytest.mark.slow
def test_spawned_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """A spawned process reads what this one reads, from every kind of source."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for kind in KINDS:
            dataset = ImageDataset(_make(kind, tmp_path / kind, monkeypatch, official))
            assert _same([dataset[index] for index in range(8)], pool.map(dataset.__getitem__, range(8))), kind


def test_threads(any_source: ImageSource) -> None:
    """Threads share a source."""
    expected = [ImageDataset(any_source)[index].digest for index in range(8)]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda index: ImageDataset(any_source)[index % 8].digest, range(200)))
    assert read == expected * 25


def test_sources_pickle_small(any_source: ImageSource) -> None:
    """A pickled source holds names and places, no open handle and no image but those of an array in memory."""
    packed = pickle.dumps(any_source)
    copy = pickle.loads(packed)
    assert copy.names == any_source.names
    assert np.array_equal(np.asarray(copy.read(3)), np.asarray(any_source.read(3)))
    if not isinstance(any_source.read(0), np.ndarray):
        assert len(packed) < 8000


# ------------------------------------------------------------------------------------------------------ refusals
def test_other_numbers_are_refused(tmp_path: Path) -> None:
    """A copy with more or fewer images than the official split is none; both numbers are shown, and the way on."""
    _jpegs(tmp_path / "val2017", ["000000000139.jpg"])
    with pytest.raises(
        ValueError,
        match=r"coco/val2017: 1 images found in .*, the official split has 5000; open another copy by its path, as "
        r"open_images\('.*'\), and name it otherwise",
    ):
        open_dataset("coco/val2017", root=tmp_path)


def test_other_sizes_are_refused(tmp_path: Path, official: Sizes) -> None:
    """A resized copy is not the dataset, though its number is right."""
    official("cityscapes", val=1)
    _jpegs(tmp_path / "leftImg8bit" / "val", ["lindau/a.png"], (1024, 512))
    with pytest.raises(ValueError, match=r"lindau/a\.png in .* is 1024x512, the official images are 2048x1024"):
        open_dataset("cityscapes/val", root=tmp_path)
    _jpegs(tmp_path / "leftImg8bit" / "val", ["lindau/a.png"], (2048, 1024))
    assert len(open_dataset("cityscapes/val", root=tmp_path)) == 1


@pytest.mark.parametrize("name", [name for name in dataset_table.DATASETS if name not in dataset_table.HUB_DATASETS])
def test_nothing_there(tmp_path: Path, name: str) -> None:
    """A root without the dataset is answered with what was looked for, where to get it and under which licence."""
    record = dataset_table.DATASETS[name]
    for split in record.splits:
        with pytest.raises(ValueError, match=f"is not in .*{tmp_path.name}") as caught:
            open_dataset(f"{name}/{split}", root=tmp_path)
        message = str(caught.value)
        assert record.home in message
        assert record.licence in message
        assert "{" not in message
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["imagenet/val", "ffhq-1024/all", "cityscapes/train", "bdd100k/val"])
def test_licensed_sets_are_not_downloaded(tmp_path: Path, name: str, official: Sizes) -> None:
    """Without a root, what has to be asked for is looked for in the cache, where a link to a copy may lie."""
    dataset, split = name.split("/")
    with pytest.raises(ValueError, match=rf"without root= it is looked for in .*home/datasets/{dataset}$"):
        open_dataset(name)
    assert not (tmp_path / "home").exists()
    official(dataset, "various", **{split: 1})
    place = dataset_table.DATASETS[dataset].layout[0].format(split=split)
    _jpegs(tmp_path / "copy" / place, ["00000.png"])
    (tmp_path / "home" / "datasets").mkdir(parents=True)
    (tmp_path / "home" / "datasets" / dataset).symlink_to(tmp_path / "copy", target_is_directory=True)
    assert open_dataset(name).names == ("00000.png",)


# ------------------------------------------------------------------------------------------------------ downloads
def test_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Torchvision downloads into the cache, once; a damaged file comes again; a failure says what to do."""
    images = pixels(3, 32, 32, 3)
    md5 = _svhn(images, np.array([1, 2, 3], np.uint8), tmp_path / "made" / "test_32x32.mat")
    official("svhn", test=3)
    with file_server() as server:
        address = server.serve("test_32x32.mat", (tmp_path / "made" / "test_32x32.mat").read_bytes())
        monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "test", [address, "test_32x32.mat", md5])
        with pytest.raises(ValueError, match=r"without root= torchvision downloads it \(download=True\)"):
            open_dataset("svhn/test", download=False)
        assert server.requests == []
        assert np.array_equal(_rows(open_dataset("svhn/test")), images)
        asked = len(server.requests)
        assert asked > 0
        file = tmp_path / "home" / "datasets" / "svhn" / "test_32x32.mat"
        assert np.array_equal(_rows(open_dataset("SVHN/test", download=False)), images)
        assert len(open_dataset("svhn/test")) == 3
        assert len(server.requests) == asked
        file.write_bytes(b"half")
        assert len(open_dataset("svhn/test")) == 3
        assert len(server.requests) > asked
        monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "test", [f"{address}x", "test_32x32.mat", md5])
        file.unlink()
        with pytest.raises(
            DownloadError, match=r"svhn/test could not be downloaded to .*svhn: .*404.*Get it from http"
        ):
            open_dataset("svhn/test")
    assert capsys.readouterr().out == ""


def test_half_unpacked_files_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """Too few files in the cache are not opened: the process that is unpacking them is waited for."""
    official("kitti", testing=2)
    folder = tmp_path / "home" / "datasets" / "kitti"
    _jpegs(folder / "Kitti/raw/testing/image_2", ["000000.png"])

    def unpack(root: str, *, train: bool, download: bool) -> None:
        assert (root, train, download) == (str(folder), False, True)
        _jpegs(folder / "Kitti/raw/testing/image_2", ["000001.png"])

    monkeypatch.setattr(torchvision.datasets, "Kitti", unpack)
    with pytest.raises(ValueError, match=r"1 images found in .*kitti, the official split has 2"):
        open_dataset("kitti/testing", download=False)
    assert open_dataset("kitti/testing").names == ("000000.png", "000001.png")


# ------------------------------------------------------------------------------------------------------ hub
@pytest.fixture(scope="module", autouse=True)
def _hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hugging Face's cache in a folder of the tests, whatever imports the package first."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            import datasets as hub
        except ImportError:
            pass
        else:
            patch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hub"))
            hub.disable_progress_bars()
        yield


def _write_hub(root: Path, splits: dict[str, int]) -> dict[str, list[bytes]]:
    hub = pytest.importorskip("datasets")
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=["n01443537", "n01629819"])})
    files = {}
    for split, number in splits.items():
        files[split] = [encode(pixels(64, 64, 3, seed=index), "JPEG") for index in range(number)]
        rows = {
            "image": [{"bytes": data, "path": None} for data in files[split]],
            "label": [index % 2 for index in range(number)],
        }
        (root / "data").mkdir(parents=True, exist_ok=True)
        hub.Dataset.from_dict(rows, features=features).to_parquet(str(root / f"data/{split}-00000-of-00001.parquet"))
    return files


def test_hub_copy(tmp_path: Path, official: Sizes) -> None:
    """A copy of a repository of the hub gives the files' bytes, named and grouped by class."""
    files = _write_hub(tmp_path / "copy", {"train": 3, "valid": 2})
    official("tiny_imagenet", train=3, valid=2)
    for split in ("train", "valid"):
        source = open_dataset(f"tiny_imagenet/{split}", root=tmp_path / "copy")
        assert [source.read(index) for index in range(len(source))] == files[split]
    assert source.names == ("n01443537/000000", "n01629819/000001")
    official("tiny_imagenet", train=100_000)
    with pytest.raises(ValueError, match=r"3 images found in .*copy, the official split has 100000"):
        open_dataset("tiny_imagenet/train", root=tmp_path / "copy")


def test_hub_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Sizes) -> None:
    """Without a root the repository is brought from the hub, or taken from its cache."""
    files = _write_hub(tmp_path / "snapshot", {"validation": 2})
    official("food101", validation=2)
    asked = []

    def bring(repository: str, **options: Any) -> str:
        asked.append((repository, options["repo_type"], options["local_files_only"]))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", bring)
    source = open_dataset("food101/validation")
    assert [source.read(index) for index in range(2)] == files["validation"]
    open_dataset("food101/validation", download=False)
    assert asked == [("ethz/food101", "dataset", False), ("ethz/food101", "dataset", True)]


def test_hub_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing there, nothing cached and a missing package are named, with the page of the dataset."""
    pytest.importorskip("datasets")
    with pytest.raises(ValueError, match=r"food101/train is not in .*nowhere': no Parquet files. Get it from https://"):
        open_dataset("food101/train", root=tmp_path / "nowhere")
    with pytest.raises(DownloadError, match=r"food101/train could not be had from the hub's ethz/food101: .*root="):
        open_dataset("food101/train", download=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install datasets, or 'vdna_metrics\[datasets\]'"):
        open_dataset("food101/train", root=tmp_path)


# ------------------------------------------------------------------------------------------------------ real data
@pytest.mark.real_data
def test_real_mnist(tmp_path: Path, shared: Path) -> None:
    """The official MNIST test set opens through its root: 10 000 images with exactly the pixels of the idx file."""
    for part in ("images-idx3", "labels-idx1"):
        name = f"t10k-{part}-ubyte.gz"
        (tmp_path / name).symlink_to(shared / "data" / f"mnist_{name}")
    source = open_dataset("mnist/test", root=tmp_path)
    raw = gzip.decompress((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes())
    expected = np.frombuffer(raw[16:], np.uint8).reshape(10_000, 28, 28)
    assert len(source) == 10_000
    assert np.array_equal(_rows(source)[..., 0], expected)
    assert source.names[:3] == ("7/000000", "2/000001", "1/000002")
    numbers = {digit: source.groups.count(digit) for digit in sorted(set(source.groups))}
    assert json.dumps(list(numbers.values())) == "[980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]"
    read: Any = torch.cat([batch.images for batch in iterate_images(source, batch_size=1000)])
    assert np.array_equal(read[:, 0].numpy(), expected)
    assert torch.equal(read[:, 0], read[:, 2])
