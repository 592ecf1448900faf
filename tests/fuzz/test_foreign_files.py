"""Files of other tools that somebody changed: arrays, pickles, files of torch, packages of vdna, arrays of images."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import pickletools
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import KINDS, make_dna, make_ranges
from helpers.fuzzing import fuzzed, outcome
from helpers.mutations import ODD, changed_array, changed_arrays, changed_bytes, changed_values
from helpers.pickles import REPEATED, again, pickled
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from vdna_metrics.images import open_images
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import load_vdna_ranges
from vdna_metrics.references.formats import unpickling
from vdna_metrics.references.formats.importing import holds_statistics, import_statistics
from vdna_metrics.references.formats.unpickling import load_pickle
from vdna_metrics.references.formats.vdna import read_vdna_package, write_vdna_package

FEATURES = np.random.default_rng(0).standard_normal((5, 64))
MOMENTS = {"mu": FEATURES.mean(0), "sigma": np.cov(FEATURES, rowvar=False)}
DINO = np.random.default_rng(0).standard_normal((3, 1024)).astype(np.float32)

ARCHIVES: dict[str, tuple[dict[str, NDArray[Any]], dict[str, Any]]] = {
    "pytorch-fid": (MOMENTS, {"format": "pytorch-fid", "n_images": 5}),
    "dgm-eval": ({"model": np.array("dinov2"), "reps": DINO}, {}),
}
PICKLES: dict[str, Any] = {
    "EDM2": {"num_images": 3, "fd_dinov2": {"mu": DINO.mean(0), "sigma": np.cov(DINO, rowvar=False)}},
    "StyleGAN3": {
        "num_items": 3, "capture_mean_cov": False, "raw_mean": None, "raw_cov": None,
        "all_features": [np.ones((2, 2048), np.float32), np.zeros((1, 2048), np.float32)],
    },
}  # fmt: skip
STATES: dict[str, torch.Tensor] = {
    "real_features_sum": torch.from_numpy(FEATURES.sum(0)),
    "real_features_cov_sum": torch.from_numpy(FEATURES.T @ FEATURES),
    "real_features_num_samples": torch.tensor(5),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where changed files lie."""
    return tmp_path_factory.mktemp("changed")


def _import(path: Path, **options: Any) -> Callable[[], Any]:
    def read() -> Any:
        holds_statistics(path)
        return import_statistics(path, **options)

    return read


@pytest.mark.parametrize("format", ARCHIVES)
@fuzzed
@given(data=st.data())
def test_arrays_of_statistics(format: str, folder: Path, data: st.DataObject) -> None:
    """Arrays of other shapes, types and values."""
    arrays, options = ARCHIVES[format]
    path = folder / "changed.npz"
    save = np.savez_compressed if data.draw(st.booleans()) else np.savez
    save(path, **data.draw(changed_arrays(arrays)))
    outcome(f"arrays of {format}", _import(path, **options), path.name)


@fuzzed
@given(data=st.data())
def test_bytes_of_archives(folder: Path, data: st.DataObject) -> None:
    """Damaged zip files: directories, lengths, compression, checksums, headers of arrays."""
    format = data.draw(st.sampled_from(sorted(ARCHIVES)))
    arrays, options = ARCHIVES[format]
    stream = io.BytesIO()
    (np.savez_compressed if data.draw(st.booleans()) else np.savez)(stream, **{**arrays, "reps": DINO[:, :9]})
    path = folder / "changed.npz"
    whole = stream.getvalue()
    at_the_end = data.draw(st.booleans())  # where the directory is
    cut = len(whole) - 400 if at_the_end else 0
    path.write_bytes(whole[:cut] + data.draw(changed_bytes(whole[cut:])))
    outcome("bytes of archives", _import(path, **options), path.name)


@st.composite
def _changed_objects(draw: Any, value: Any) -> Any:
    """What a pickle holds with one part exchanged for an odd value, an array of another sort, or something shared."""
    if isinstance(value, np.ndarray) and draw(st.booleans()):
        return draw(changed_array(value))
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key, copied = draw(st.sampled_from(list(keys))), value.copy()
        copied[key] = draw(_changed_objects(value[key]))
        return copied
    several = [np.float64(3), np.zeros(2, [("a", "f8")]), {1.5: 2}, {"a"}, b"x" * 300, {(1, 2): 3}, 1j, np.ones]
    return draw(st.sampled_from([*(lambda value=value: value for value in several), _shared, *ODD]))()


def _shared() -> Any:
    """2**40 tuples, of which 40 are kept."""
    shared: Any = ()
    for _ in range(40):
        shared = (shared, shared)
    return shared


@pytest.mark.parametrize("format", PICKLES)
@fuzzed
@given(data=st.data())
def test_objects_of_pickles(format: str, folder: Path, data: st.DataObject) -> None:
    """Pickles of any protocol that hold something else."""
    path = folder / "changed.pkl"
    # As bytes, since hypothesis shows what it draws, and some of it cannot be shown.
    dumped = st.builds(pickle.dumps, _changed_objects(PICKLES[format]), st.integers(2, 5))
    path.write_bytes(data.draw(dumped.map(memoryview)))
    outcome(f"objects of {format}", _import(path), path.name)


@fuzzed
@given(data=st.data())
def test_bytes_of_pickles(data: st.DataObject) -> None:
    """Other instructions, places and lengths."""
    plain = {"mu": np.arange(4.0), "n": 3, "more": [(1, 2.5), "text", None, {"x": np.float64(3)}]}
    changed = data.draw(changed_bytes(pickle.dumps(plain, data.draw(st.integers(2, 5)))))
    outcome("bytes of pickles", lambda: load_pickle(changed, "changed.pkl"), "changed.pkl")


@fuzzed
@given(data=st.data())
def test_instructions_of_pickles(data: st.DataObject) -> None:
    """Programs of random instructions with random arguments."""
    codes = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
    arguments = st.sampled_from(
        [b"", b"\x01", b"\xff\xff\xff\x0f", b"\xff" * 8, b"numpy\nndarray\n", b"12\n", b"\x02f8"]
    )
    program = b"".join(data.draw(st.lists(st.tuples(st.sampled_from(codes), arguments).map(b"".join), max_size=40)))
    outcome("instructions of pickles", lambda: load_pickle(b"\x80\x04" + program + b".", "changed.pkl"), "changed.pkl")


@fuzzed
@given(data=st.data())
def test_programs_of_pickles(data: st.DataObject) -> None:
    """Programs of what is allowed, of parts that are used many times, also for one another, within the budget."""
    budget, program = 1 << 22, b"]"
    for name in data.draw(st.lists(st.sampled_from(sorted(REPEATED)), min_size=1, max_size=4)):
        aside, part = REPEATED[name](data.draw(st.sampled_from([0, 1, 8, 30, 1000, 30_000])))
        how = data.draw(st.sampled_from(["as it is"] * 4 + ["another part", "another call", "twice", "cut"]))
        if how == "another part":
            part = part.replace(again(data.draw(st.integers(0, 1))), again(data.draw(st.integers(0, 1))))
        elif how == "another call":
            part = part.replace(b"R", data.draw(st.sampled_from([b"\x81", b"b", b"\x86", b"Q", b"s"])))
        elif how == "twice":  # what was made is handed to what makes it
            part += b"q\x01" + part
        elif how == "cut":
            part = part[: data.draw(st.integers(0, len(part)))]
        program += aside + (part + b"a") * data.draw(st.sampled_from([1, 3, 100, 20_000]))
    whole = pickled(program)
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unpickling, "_FLOOR", budget)
            outcome("programs of pickles", lambda: load_pickle(whole, "changed.pkl", lambda *_: b""), "changed.pkl")
        assert tracemalloc.get_traced_memory()[1] < 2 * max(budget, unpickling._TIMES * len(whole)) + 4 * len(whole)
    finally:
        tracemalloc.stop()


@fuzzed
@given(data=st.data())
def test_states_of_torch(folder: Path, data: st.DataObject) -> None:
    """Files of torch with other tensors, objects or bytes."""
    path, states = folder / "changed.pt", dict[str, Any](STATES)
    how, name = (
        data.draw(st.sampled_from(["tensor", "odd", "bytes", "drop"])),
        data.draw(st.sampled_from(sorted(states))),
    )
    if how == "tensor":
        tensor = torch.from_numpy(np.array(data.draw(changed_array(FEATURES)).real.astype(np.float64)))
        kinds = [tensor, tensor.half(), tensor.bfloat16(), tensor.clone().requires_grad_(), tensor.to_sparse(),
                 torch.zeros(1).expand(1 << 30), torch.zeros(64, dtype=torch.complex64), torch.zeros(0)]  # fmt: skip
        states[name] = data.draw(st.sampled_from(kinds))
    elif how == "odd":
        states[name] = data.draw(st.sampled_from(ODD))()
    elif how == "drop":
        del states[name]
    states |= {"options": argparse.Namespace(lr=0.1), "device": torch.device("cpu"), "dtype": torch.float16}
    torch.save(states, path, _use_new_zipfile_serialization=data.draw(st.booleans()))
    if how == "bytes":
        path.write_bytes(data.draw(changed_bytes(path.read_bytes())))
    outcome("states of torch", _import(path, mode="torchmetrics"), path.name)


@pytest.mark.parametrize("kind", KINDS)
@fuzzed
@given(data=st.data())
def test_packages_of_vdna(kind: Any, folder: Path, data: st.DataObject) -> None:
    """Settings and arrays of the vdna package."""
    settings_path, arrays_path = write_vdna_package(make_dna(kind), folder / "changed")
    if data.draw(st.booleans()):
        settings_path.write_text(json.dumps(data.draw(changed_values(json.loads(settings_path.read_text())))))
    else:
        with np.load(arrays_path) as archive:
            arrays = dict(archive)
        np.savez(arrays_path, **data.draw(changed_arrays(arrays)))
    ranges = replace(make_ranges(), fingerprint=None)
    outcome(f"packages of vdna: {kind}", lambda: read_vdna_package(folder / "changed", ranges=ranges), "changed.")


@fuzzed
@given(data=st.data())
def test_ranges_of_vdna(folder: Path, data: st.DataObject) -> None:
    """The `activation_ranges.json` that vdna publishes."""
    path, layout = folder / "ranges.json", NeuronLayout({"a": 3, "b": 1})
    low, high = ({"a": {"0": s, "1": 2 * s, "2": 0.5}, "b": {"0": s}} for s in (-1.0, 1.0))
    path.write_text(json.dumps(data.draw(changed_values({"mins_per_neuron": low, "maxs_per_neuron": high}))))
    outcome("ranges of vdna", lambda: load_vdna_ranges(path, layout), path.name)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@fuzzed
@given(data=st.data())
def test_arrays_of_images(suffix: str, folder: Path, data: st.DataObject) -> None:
    """Arrays of images with other headers, shapes, types or bytes; those that open give their first image."""
    path, images = folder / f"changed.{suffix}", np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
    changed = data.draw(st.one_of(st.just(images), changed_array(images)))
    stream = io.BytesIO()
    if suffix == "npy":
        np.save(stream, changed)
    else:
        (np.savez_compressed if data.draw(st.booleans()) else np.savez)(stream, changed)
    path.write_bytes(data.draw(st.one_of(st.just(stream.getvalue()), changed_bytes(stream.getvalue()))))
    outcome(f"arrays of images: {suffix}", lambda: open_images(path).read(0), path.name)
