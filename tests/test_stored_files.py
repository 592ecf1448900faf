"""A file of each kind and schema, kept as it was written: the ones beside those that other tests look at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.leaderboards import NAMES, make_leaderboard

from vdna_metrics.build.passes import CheckpointFile, CheckpointValues
from vdna_metrics.dna.serialization import DNA_FILES, load_vdna
from vdna_metrics.extractors import ExtractorSpec, load_spec
from vdna_metrics.extractors.directions import directions_of
from vdna_metrics.files import read_header, read_npz
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.leaderboard import load_leaderboard
from vdna_metrics.references.formats.importing import import_statistics
from vdna_metrics.references.records import Manifest, RangesRecord, ReferenceRecord
from vdna_metrics.references.resolve import load_features
from vdna_metrics.references.store import read_image_digests
from vdna_metrics.schema import ArrayField

FILES = Path(__file__).parent / "files"
FINGERPRINT = ExtractorFingerprint("resnet18", "0123" * 16, "clean:32", {"last": "fc"})
RECORDS = (
    ReferenceRecord("cats", "all", "vdna_tiny", "gaussian", "dnas/b.npz", "ab" * 32, 9, "cd" * 32, "clean"),
    ReferenceRecord(
        "cats", "all", "vdna_tiny", "histogram-8", "dnas/a.npz", "ab" * 32, 9, "cd" * 32, "clean", "32x32", "ef" * 32,
        "01" * 32, "CC0", "", ("blocks.0",), "2-of-10",
    ),
    RangesRecord("vdna_tiny", "ranges/r.npz", "ab" * 32, 9, ("cats/all",), "margin", "ef" * 32),
)  # fmt: skip


def test_every_kind_has_a_file() -> None:
    """Whoever adds a kind of file keeps one of its first schema here."""
    kept = {read_header(path)["kind"] for path in FILES.glob("schema1_*.npz")}
    assert kept == {*DNA_FILES, "ranges", "selection", "weights", "features", "checkpoint", "statistics"}
    assert {path.stem for path in FILES.glob("*.json")} == {
        "schema1_demo", "schema1_leaderboard", "schema1_leaderboard_sha256", "schema1_images", "schema1_manifest",
        "schema1_extractor", "schema2_manifest",
    }  # fmt: skip


def test_features_are_read_for_ever() -> None:
    """Features of a cache, and the network that they are of."""
    fingerprint, vectors = load_features(FILES / "schema1_features.npz")
    assert fingerprint == FINGERPRINT
    np.testing.assert_array_equal(vectors, np.array([[0.5, -1], [2, 3e38]], np.float32))


def test_checkpoints_are_read_for_ever() -> None:
    """A pass that was interrupted before an update goes on after it; states may be infinite."""
    states = {"state": ArrayField((3,), "f8", finite=False)}
    file, arrays = read_npz(FILES / "schema1_checkpoint.npz", {"checkpoint": CheckpointFile}, arrays=states)
    assert file.values == CheckpointValues(2, (("cut.png", "the file is empty"),), 1)
    assert arrays["state"].tolist() == [2, 0, -np.inf]
    assert (arrays["indices"].tolist(), arrays["fact_width"].tolist()) == ([0, 2], [32, 8])
    assert arrays["fact_format"].tolist() == [b"PNG", b"JPEG"]
    assert arrays["digests"].astype(str).tolist() == ["ab" * 32, "cd" * 32]


def test_exported_statistics_are_read_for_ever() -> None:
    """What `export_statistics` writes for clean-fid comes back with its header."""
    (dna,) = import_statistics(FILES / "schema1_statistics.npz")
    assert (dna.n_images, dna.fingerprint, dna.provenance.sources) == (3, FINGERPRINT, ("ffhq-0.5", "ü"))
    mean, covariance = dna.distribution.mean_and_covariance("last")  # type: ignore[attr-defined]
    assert (mean.tolist(), covariance.tolist()) == ([0.5, -1], [[2, 0.25], [0.25, 1]])


def test_directions_are_read_for_ever() -> None:
    """A DNA has the vectors that its projections are on."""
    given = directions_of(load_vdna(FILES / "schema1_directions.npz").fingerprint)["pool"]
    assert given.vectors(3).tolist() == [[0, 1, 0], [0, 0, -1]]


def test_specs_of_extractors_are_read_for_ever() -> None:
    """What `ExtractorSpec.save` wrote, beside the weights that it names."""
    assert load_spec(FILES / "schema1_extractor.json") == ExtractorSpec(
        "mine", "resnet18", {"first": "layer1", "last": "fc"}, (64, 96), 0.5, (0.1, 0.2, 0.3), {"pad_type": "same"},
        str(FILES / "weights.pth"), "ab" * 32, "model", ("head",), None, "clean", "center", "bicubic", 1064, "CC0", "ü",
        "bf16", channels_last=True,
    )  # fmt: skip


def test_digests_of_images_are_read_for_ever() -> None:
    """The list of images beside groups, with a name that is no text."""
    assert read_image_digests(FILES / "schema1_images.json") == {"a.png": "ab" * 32, "ü \udcff.png": "cd" * 32}


@pytest.mark.parametrize("schema", [1, 2])
def test_manifests_are_read_for_ever(schema: int) -> None:
    """Manifests of both schemas; groups came with the second."""
    text = (FILES / f"schema{schema}_manifest.json").read_text("utf-8")
    assert Manifest.parse(text, "test") == Manifest.of(
        [each for each in RECORDS if schema == 2 or not getattr(each, "group", "")]
    )


def test_a_leaderboard_with_its_sha256_is_read_for_ever() -> None:
    """Since version 0.2 a leaderboard says its own sha256; the values are those of the file without."""
    path = FILES / "schema1_leaderboard_sha256.json"
    read = load_leaderboard(path)
    assert len(json.loads(path.read_text())["sha256"]) == 64
    made = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["emd", "nfd", "lfd", "fid"])
    assert replace(read, writer=made.writer) == made
