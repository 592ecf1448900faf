"""Files of features: what they are is decided by types and shapes, and nothing in them is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vdna_metrics import PrecomputedFeatures, build_dnas, open_images, resolve
from vdna_metrics.build import build_set
from vdna_metrics.references.feature_files import read_features, read_torch
from vdna_metrics.references.formats import importing

ROWS = np.random.default_rng(0).normal(size=(30, 4)).astype("f4")
OTHER = np.random.default_rng(1).normal(size=(30, 2))


def _saved(path: Path, what: Any) -> Path:
    torch.save(what, path)
    return path


FILES: dict[str, Callable[[Path], Any]] = {
    "npy": lambda path: np.save(path / "f.npy", ROWS),
    "npz": lambda path: np.savez(path / "f.npz", ROWS),
    "compressed npz": lambda path: np.savez_compressed(path / "f.npz", features=ROWS),
    "Fortran order": lambda path: np.save(path / "f.npy", np.asfortranarray(ROWS)),
    "pt": lambda path: torch.save(torch.from_numpy(ROWS), path / "f.pt"),
    "transposed pt": lambda path: torch.save(torch.from_numpy(ROWS.T.copy()).T, path / "f.pth"),
}


@pytest.mark.parametrize("how", FILES)
def test_one_array_is_one_layer(tmp_path: Path, how: str) -> None:
    """An array without a name is the layer "features", whatever file it is in."""
    FILES[how](tmp_path)
    (path,) = tmp_path.iterdir()
    found = resolve(path).images
    assert found is not None
    assert found.features == (("features", 4),)
    assert (found.name, len(found)) == (path.name, 30)
    assert np.array_equal(np.stack([found.read(i) for i in range(30)]), ROWS)


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_several_arrays_are_layers(tmp_path: Path, suffix: str) -> None:
    """Arrays by name are layers in the order of their names, whatever their order in the file and their types."""
    layers = {"block10": OTHER, "block9": ROWS}
    path = tmp_path / f"f.{suffix}"
    if suffix == "npz":
        np.savez(path, **layers)
    else:
        torch.save({name: torch.from_numpy(rows) for name, rows in layers.items()}, path)
    found = resolve(path).images
    assert found is not None
    assert found.features == (("block9", 4), ("block10", 2))
    kept = build_dnas(path, PrecomputedFeatures({"block9": 4, "block10": 2}), ["gaussian"])["gaussian"]
    mean = kept.distribution.mean_and_variance()[0]
    assert mean.numpy() == pytest.approx(np.concatenate([ROWS.mean(0), OTHER.mean(0)]), abs=1e-7)
    assert kept.provenance.sources == (path.name,)


def test_bfloat16_of_torch_is_read(tmp_path: Path) -> None:
    """Numbers that NumPy has no type for come as float32, the same to the bit."""
    rows = torch.from_numpy(ROWS).bfloat16()
    path = _saved(tmp_path / "f.pt", rows)
    found = read_features(path, read_torch(path))
    assert found is not None
    assert torch.equal(torch.from_numpy(found["features"]), rows.float())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ROWS, "labels": np.arange(30)}, r"arrays \['labels', 'x'\], no 'arr_0'; .*features with np.savez"),
        ({"arr_0": np.zeros((2, 3, 4), "f4")}, r"uint8 .*, features floats \[N, d\]; got float32 \[2, 3, 4\]"),
        ({"arr_0": np.zeros((2, 4), "i8")}, r"images are uint8 .*, features floats \[N, d\]; got int64 \[2, 4\]"),
        ({"x": ROWS, "y": OTHER[:5]}, "features of as many images in each layer, got {'x': 30, 'y': 5}"),
        ({"x": ROWS[:0]}, "f.npz has no rows of features"),
    ],
)
def test_what_is_neither_images_nor_features_shows_both_readings(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    """Of an array file the error says what images and what features would be."""
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        resolve(tmp_path / "f.npz")


def test_images_stay_images(tmp_path: Path) -> None:
    """uint8 arrays are images as ever, floats of two axes features; `open_images` says who opens these."""
    np.savez(tmp_path / "i.npz", np.zeros((2, 8, 8, 3), np.uint8))
    images = resolve(tmp_path / "i.npz").images
    assert images is not None
    assert not images.features
    np.save(tmp_path / "f.npy", ROWS)
    with pytest.raises(ValueError, match=r"got float32 \[30, 4\]; features are opened by resolve"):
        open_images(tmp_path / "f.npy")
    assert read_features(tmp_path / "i.npz") is None


def test_torch_files_of_other_things_are_told(tmp_path: Path) -> None:
    """A torch file with labels beside the features, or with numbers alone, is refused with what features are."""
    for what in ({"x": torch.zeros(3, 2), "labels": torch.zeros(3)}, {"n": 3}):
        with pytest.raises(ValueError, match=r"features are floats \[N, d\], one array a layer, and nothing else"):
            resolve(_saved(tmp_path / "f.pt", what))


class _Mark:
    def __reduce__(self) -> Any:
        return os.mkdir, ("mark",)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects in array files and calls in torch files are refused, and not run."""
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "f.npy", np.array([[_Mark()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "f.npz", x=np.array([[_Mark()]], dtype=object))
    torch.save({"x": torch.zeros(2, 2), "y": _Mark()}, tmp_path / "f.pt")
    for name in ("f.npy", "f.npz", "f.pt"):
        with pytest.raises(ValueError, match=name):
            resolve(tmp_path / name)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_limits_hold_for_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """An array over the limit is refused before it is read, and a cut file is no set."""
    path = tmp_path / f"f.{suffix}"
    np.save(path, ROWS) if suffix == "npy" else np.savez(path, ROWS)
    monkeypatch.setenv("VDNA_METRICS_MAX_ARRAY_BYTES", "470")
    with pytest.raises(ValueError, match="at most 470 bytes of arrays in memory, got 480"):
        resolve(path)
    monkeypatch.delenv("VDNA_METRICS_MAX_ARRAY_BYTES")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=rf"f\.{suffix}"):
        resolve(path)


def test_arrays_of_a_torch_file_have_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of an archive they are added up before one is read."""
    path = _saved(tmp_path / "f.pt", {"a": torch.zeros(9000, 4), "b": torch.zeros(9000, 4)})
    monkeypatch.setenv("VDNA_METRICS_MAX_ARRAY_BYTES", "287999")
    with pytest.raises(ValueError, match=r"f\.pt: its 2 arrays: expected at most 287999 bytes of arrays .*got 288000"):
        resolve(path)


def test_a_torch_file_is_unpickled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it holds features or statistics."""
    files = [
        _saved(tmp_path / "f.pt", torch.zeros(9, 4)),
        _saved(
            tmp_path / "cifar10-train-inception-v3-compat-stat-fid-2048.pt",
            {"mu": torch.zeros(64, dtype=torch.float64), "sigma": torch.eye(64, dtype=torch.float64)},
        ),
    ]
    unpickled = []
    original = importing.load_pickle

    def load(*arguments: Any, **options: Any) -> Any:
        unpickled.append(arguments[1].split("/")[0])
        return original(*arguments, **options)

    monkeypatch.setattr(importing, "load_pickle", load)
    for path in files:
        resolve(path)
    assert unpickled == [f"member '{path.stem}" for path in files]


def test_groups_of_features_have_error_bars_and_a_cache(tmp_path: Path) -> None:
    """A set of features is dealt into groups, kept by its contents, and taken up again."""
    np.save(tmp_path / "f.npy", ROWS)
    taker = PrecomputedFeatures({"features": 4})
    first = build_set(tmp_path / "f.npy", taker, ["gaussian"], groups=5, cache=tmp_path / "cache")
    assert first.dnas["gaussian"].sizes == (6,) * 5
    again = build_set(tmp_path / "f.npy", taker, ["gaussian"], groups=5, cache=tmp_path / "cache")
    assert again.reused == ("gaussian",)
    assert first.dnas["gaussian"].total.provenance.account.formats == (("features", 30),)
