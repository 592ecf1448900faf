"""Files of ours that somebody changed: with the right checksum, or byte by byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import MADE, make_dna, make_fingerprint, make_ranges
from helpers.fuzzing import fuzzed, outcome
from helpers.leaderboards import NAMES, make_leaderboard
from helpers.mutations import changed_arrays, changed_bytes, changed_values
from helpers.tampering import contents_of, reseal
from hypothesis import given, strategies as st

from vdna_metrics.build.passes import CheckpointFile
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.files import errors_of, json_hash, read_npz, write_npz
from vdna_metrics.leaderboard import LeaderboardPlan, leaderboard_differences, load_leaderboard
from vdna_metrics.neurons import NeuronSelection, NeuronWeights, load_selection, load_weights
from vdna_metrics.ranges import load_ranges
from vdna_metrics.references.formats.importing import import_statistics
from vdna_metrics.references.records import Manifest
from vdna_metrics.references.resolve import load_dna_folder, load_features
from vdna_metrics.references.store import ReferenceStore, read_image_digests
from vdna_metrics.reports import leaderboard_csv, leaderboard_latex, leaderboard_markdown
from vdna_metrics.schema import ArrayField

FILES = Path(__file__).parents[1] / "files"
STATES = {"state": ArrayField((3,), "f8", finite=False)}


def _load_checkpoint(path: Path) -> Any:
    return read_npz(path, {"checkpoint": CheckpointFile}, arrays=STATES)


READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(MADE, load_vdna),
    "ranges": load_ranges,
    "selection": load_selection,
    "weights": load_weights,
    "features": load_features,
    "checkpoint": _load_checkpoint,
    "statistics": import_statistics,
}


def _files(folder: Path) -> dict[str, Path]:
    """A file of each kind, of images of one size."""
    fingerprint = make_fingerprint(preprocessing="clean:bicubic:8x8:mean=0,0,0:std=1,1,1")
    dnas = {kind: replace(make_dna(kind), fingerprint=fingerprint) for kind in MADE}
    seen, stored = dnas["gaussian"], ("features", "checkpoint", "statistics")
    return {
        **{kind: dna.save(folder / kind) for kind, dna in dnas.items()},
        "ranges": make_ranges(fingerprint=fingerprint).save(folder / "ranges"),
        "selection": NeuronSelection.of(seen, {"conv1": [3, 1]}).save(folder / "selection"),
        "weights": NeuronWeights(seen.layout, torch.arange(9.0), fingerprint).save(folder / "weights"),
        **{kind: FILES / f"schema1_{kind}.npz" for kind in stored},
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind."""
    return _files(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the changed file lies."""
    return tmp_path_factory.mktemp("changed") / "changed.npz"


def _check(found: Any) -> None:
    """What was read can be used: a DNA is finite, of counts from 0, and comes back from a file of its own."""
    if isinstance(found, VDNA):
        assert 0 <= found.n_images <= 2**53
        assert found.distribution.state.isfinite().all()
        if isinstance(found.distribution, HistogramDistribution):
            assert found.distribution.body.min() >= 0
        found.select(list(found.layout)[:1])


@pytest.mark.parametrize("kind", READERS)
@fuzzed
@given(data=st.data())
def test_fields_with_the_right_checksum(kind: str, whole: dict[str, Path], path: Path, data: st.DataObject) -> None:
    """Fields that are dropped, retyped, nested or out of range are refused by file, or are another possible value."""
    header, arrays = contents_of(whole[kind])
    changed = data.draw(changed_values(header))
    if isinstance(changed, dict):
        reseal(path, {"kind": kind, **changed}, arrays)
        _check(outcome(f"fields of {kind}", lambda: READERS[kind](path), path.name))


@pytest.mark.parametrize("kind", READERS)
@fuzzed
@given(data=st.data())
def test_arrays_with_the_right_checksum(kind: str, whole: dict[str, Path], path: Path, data: st.DataObject) -> None:
    """Arrays of other shapes, types and values likewise."""
    header, arrays = contents_of(whole[kind])
    reseal(path, header, data.draw(changed_arrays(arrays)))
    _check(outcome(f"arrays of {kind}", lambda: READERS[kind](path), path.name))


@fuzzed
@given(data=st.data())
def test_bytes_of_our_files(whole: dict[str, Path], path: Path, data: st.DataObject) -> None:
    """Damage is an error that names the file, or lies where nothing is read from."""
    kind = data.draw(st.sampled_from(sorted(READERS)))
    path.write_bytes(data.draw(changed_bytes(whole[kind].read_bytes())))
    found = outcome("bytes of our files", lambda: READERS[kind](path), path.name)
    if isinstance(found, VDNA):
        assert torch.equal(found.distribution.state, load_vdna(whole[kind]).distribution.state)


@fuzzed
@given(data=st.data())
def test_bytes_of_a_header(path: Path, data: st.DataObject) -> None:
    """JSON that is none, in a file that is one."""
    text = data.draw(changed_bytes(json.dumps({"schema": 1, "kind": "gaussian", "sha256": "0" * 64}).encode()))
    np.savez(path, header=np.frombuffer(text, np.uint8))
    assert outcome("bytes of a header", lambda: load_vdna(path), path.name) is None


# ----------------------------------------------------------------------------------------------------------- JSON
def _manifest(path: Path) -> Any:
    return Manifest.parse(path.read_text("utf-8", errors="surrogateescape"), str(path))


JSON_READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "manifest": ("schema2_manifest.json", _manifest),
    "leaderboard": ("schema1_leaderboard_sha256.json", load_leaderboard),
    "digests of images": ("schema1_images.json", read_image_digests),
}


@pytest.mark.parametrize("kind", JSON_READERS)
@fuzzed
@given(data=st.data())
def test_values_of_json(kind: str, path: Path, data: st.DataObject) -> None:
    """Fields of manifests, leaderboards and lists of images are refused by file and place."""
    file, read = JSON_READERS[kind]
    plain = json.loads((FILES / file).read_text())
    if kind == "leaderboard":
        plain.pop("sha256")
    plain = data.draw(changed_values(plain))
    path.with_suffix(".json").write_text(json.dumps(plain))
    outcome(f"values of {kind}", lambda: read(path.with_suffix(".json")), "changed.json")


@pytest.mark.parametrize("kind", JSON_READERS)
@fuzzed
@given(data=st.data())
def test_bytes_of_json(kind: str, path: Path, data: st.DataObject) -> None:
    """Damage is found; in a leaderboard, whose checksum is of its values, every one that changes a value."""
    file, read = JSON_READERS[kind]
    path.with_suffix(".json").write_bytes(data.draw(changed_bytes((FILES / file).read_bytes())))
    found = outcome(f"bytes of {kind}", lambda: read(path.with_suffix(".json")), "changed.json")
    if kind == "leaderboard" and found is not None:
        assert found == load_leaderboard(FILES / file)


@fuzzed
@given(data=st.data())
def test_records_that_are_replayed(path: Path, data: st.DataObject) -> None:
    """A record with the right checksum that was edited is refused by file and field, or can be used: all is in it."""
    plain = json.loads((FILES / "schema1_demo.json").read_text())
    settings = data.draw(st.booleans())
    if settings:
        plain["settings"] = data.draw(changed_values(plain["settings"]))
    else:
        plain = data.draw(changed_values(plain))
    path.with_suffix(".json").write_text(json.dumps({**plain, "sha256": json_hash(json.loads(json.dumps(plain)))}))

    def use() -> LeaderboardPlan:
        found = load_leaderboard(path.with_suffix(".json"))
        leaderboard_csv(found)
        leaderboard_markdown(found)
        if found.columns:
            leaderboard_latex(found)
        leaderboard_differences(load_leaderboard(FILES / "schema1_demo.json"), found)
        with errors_of(str(path.with_suffix(".json"))):
            plan = LeaderboardPlan.from_leaderboard(found)
            plan.check_trusted()
            return plan

    outcome("settings of records" if settings else "records", use, "changed.json")


@fuzzed
@given(data=st.data())
def test_folders_of_groups(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A folder of groups with one file changed, or its list of images, is refused by file or folder."""
    folder = tmp_path_factory.mktemp("groups")
    for number in range(2):
        dna = make_dna("gaussian", 5, number)
        manifests = (f"{number}" * 64,)
        replace(dna, provenance=replace(dna.provenance, manifests=manifests)).save(folder / f"{number}.npz")
    (folder / "images.json").write_text(json.dumps(data.draw(changed_values({"a.png": "ab" * 32, "b.png": "cd" * 32}))))
    header, arrays = contents_of(folder / "1.npz")
    write_npz(
        folder / "features-1.npz", "features", {"fingerprint": header["fingerprint"]}, {"vectors": np.ones((2, 9))}
    )
    reseal(folder / "1.npz", data.draw(changed_values(header)), arrays)
    outcome("folders of groups", lambda: load_dna_folder(folder), folder.name)


@fuzzed
@given(data=st.data())
def test_stores(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A store with a changed manifest gives records, none of which leads out of its folder, or one error."""
    folder = tmp_path_factory.mktemp("store")
    plain = json.loads((FILES / "schema2_manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(data.draw(changed_values(plain))))
    manifest = outcome("stores", lambda: ReferenceStore(str(folder)).manifest(), folder.name)
    for record in manifest.records if manifest else ():
        assert (folder / record.file).resolve().is_relative_to(folder.resolve())
        assert record.key
        assert record.title


def test_a_leaderboard_of_one_changed_byte_is_refused(tmp_path: Path) -> None:
    """No single byte changes a value of a leaderboard unseen."""
    path = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=["emd"]).save(tmp_path / "leaderboard.json")
    whole, data = load_leaderboard(path), path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 200)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            assert load_leaderboard(path) == whole
        except ValueError as error:
            assert path.name in str(error)  # noqa: PT017
