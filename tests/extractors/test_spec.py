"""An extractor as data."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vdna_metrics.extractors import ExtractorSpec, create_extractor, get_spec, load_spec

SPEC = ExtractorSpec("r", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0")


def test_layers_are_paths_or_named_paths() -> None:
    """A list of module paths names layers by their paths, a mapping by its keys."""
    assert SPEC.paths == {"layer1": "layer1", "layer2": "layer2"}
    assert replace(SPEC, layers={"first": "layer1"}).paths == {"first": "layer1"}


@pytest.mark.parametrize(
    ("size", "expected"), [(32, (32, 32)), ((32, 48), (32, 48)), ([32, 48], (32, 48)), (None, None)]
)
def test_a_size_is_a_number_or_a_pair(size: object, expected: tuple[int, int] | None) -> None:
    """One number is a square, two are height and width, None keeps the images' own."""
    assert ExtractorSpec("r", "test_resnet", size=size).size == expected


def test_mean_and_std_are_numbers_or_triples() -> None:
    """One number serves all channels."""
    spec = ExtractorSpec("r", "test_resnet", mean=0.5, std=[0.1, 0.2, 0.3])
    assert spec.mean == (0.5, 0.5, 0.5)
    assert spec.std == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"architecture": "test_vit"},
        {"architecture_kwargs": {"num_classes": 0}},
        {"layers": ["layer2", "layer1"]},
        {"layers": {"layer1": "layer2"}},
        {"size": 48},
        {"mean": 0.25},
        {"std": 0.25},
        {"weights": "seeded:1"},
        {"sha256": "0f"},
        {"state_dict_key": "model"},
        {"ignore_weights": ("head.",)},
        {"preprocessing": "legacy_pytorch"},
        {"crop": "center"},
        {"interpolation": "bilinear"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_specs_are_equal_when_all_that_matters_is(change: dict[str, object]) -> None:
    """Specs that build the same extractor are equal and hash alike; any change that shows makes them differ."""
    assert replace(SPEC) == SPEC
    assert hash(replace(SPEC)) == hash(SPEC)
    assert replace(SPEC, licence="MIT", note="a note") == SPEC
    assert replace(SPEC, **change) != SPEC
    assert SPEC != "r"


def test_a_spec_survives_pickling() -> None:
    """A spec comes back from a pickle equal, with its normalised values."""
    assert pickle.loads(pickle.dumps(SPEC)) == SPEC


def test_a_spec_says_its_fingerprint_without_building(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but unstated weights is known from the spec alone, which agrees with the extractor; nothing is loaded."""
    built = create_extractor(SPEC).fingerprint
    stated = replace(SPEC, sha256=built.weights)
    remote = replace(SPEC, weights="https://weights.invalid/r.safetensors", sha256="ab" * 32)
    monkeypatch.setattr("vdna_metrics.extractors.weights.source_file", lambda *_: pytest.fail("looked for weights"))
    assert stated.fingerprint == built
    assert SPEC.fingerprint == replace(built, weights="")
    assert remote.fingerprint.weights == ""
    assert not SPEC.fingerprint.differences(built)
    assert (stated.fingerprint.paths, stated.fingerprint.preprocessing) == (SPEC.paths, SPEC.preprocess.id)


def test_arguments_are_part_of_the_architecture() -> None:
    """Architecture arguments show in its id, in a fixed order."""
    spec = ExtractorSpec("r", "test_resnet", architecture_kwargs={"num_classes": 0, "global_pool": ""})
    assert spec.architecture_id == 'test_resnet({"global_pool": "", "num_classes": 0})'
    assert SPEC.architecture_id == "test_resnet"


def test_only_stated_weights_can_be_had_again() -> None:
    """A module, or weights of the architecture's own random initialisation, cannot be rebuilt from the spec."""
    assert SPEC.is_rebuildable
    assert not replace(SPEC, weights=None).is_rebuildable
    assert not create_extractor(nn.AvgPool2d(2)).spec.is_rebuildable


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "layer1"}, TypeError, "list of module paths .* got the text 'layer1'"),
        ({"mean": (0.5, 0.5)}, ValueError, r"mean needs one number or three, got \(0.5, 0.5\)"),
        ({"std": (1.0,) * 4}, ValueError, "std needs one number or three"),
        ({"preprocessing": "cleen"}, ValueError, "unknown preprocessing 'cleen'; known: clean"),
        ({"crop": "left"}, ValueError, "unknown crop 'left'"),
        ({"interpolation": "nearest"}, ValueError, "unknown interpolation 'nearest'"),
    ],
)
def test_wrong_specs_are_refused(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    """Wrong parts are errors when the spec is written, not when it is built."""
    with pytest.raises(error, match=message):
        ExtractorSpec("r", "test_resnet", **arguments)


def test_a_spec_comes_back_from_its_file(tmp_path: Path) -> None:
    """Every field is kept, and the file is a name like any other."""
    spec = ExtractorSpec(
        "mine", "resnet18", {"a": "layer1", "b": "layer4"}, (64, 96), 0.5, (0.1, 0.2, 0.3), {"pad_type": "same"},
        "hf-hub:owner/name/file", "ab" * 4, "model", ("head",), "https://host.invalid/ranges.json", "legacy_pytorch",
        "center", "bilinear", 7, "MIT", "of mine", "bf16", True, True,
    )  # fmt: skip
    path = spec.save(tmp_path / "mine.json")
    read = load_spec(path)
    assert read == spec == get_spec(str(path))
    for item in fields(spec):
        assert getattr(read, item.name) == getattr(spec, item.name)


def test_paths_of_a_spec_are_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a spec, its weights and its code can be moved; what is no path stays as it is."""
    monkeypatch.chdir(tmp_path)
    Path("nets").mkdir()
    spec = ExtractorSpec("mine", "nets/net.py:build", {"output": ""}, weights="nets/w.pth", ranges="/r.json")
    data = json.loads(spec.save("nets/mine.json").read_text())
    assert (data["architecture"], data["weights"], data["ranges"]) == ("net.py:build", "w.pth", "/r.json")
    Path("nets").rename("moved")
    read = load_spec("moved/mine.json")
    assert (read.architecture, read.weights) == (os.path.join("moved", "net.py:build"), os.path.join("moved", "w.pth"))
    for weights in ("timm", "seeded:0", "package:w.pth", "hf-hub:a/b/c", "https://host.invalid/w.pth", None):
        assert load_spec(replace(spec, weights=weights).save("s.json")).weights == weights


def test_a_file_runs_nothing_unasked(tmp_path: Path) -> None:
    """Reading a spec that names code runs none of it; building its network is a question of trust."""
    (tmp_path / "net.py").write_text("raise SystemExit")
    path = ExtractorSpec("mine", f"{tmp_path}/net.py:build", {"output": ""}, None).save(tmp_path / "mine.json")
    assert load_spec(path).is_code
    with pytest.raises(ValueError, match=r"'mine' is code: .*trust_code=True"):
        create_extractor(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [0, 3]}, r"size\[0\]: expected a whole number from 1"),
        ({"colour": "red"}, "it has 'colour'|has \\['colour'\\]"),
        ({"crop": "middle"}, "crop: expected 'none' or 'center' or 'short_side_center', got 'middle'"),
        ({"mean": "grey"}, "mean: expected a list of 3, got 'grey'"),
        ({"schema": 2}, "schema 2"),
        ({"schema": None}, "schema: expected a whole number from 1 to 1, got None"),
        ({"layers": ["layer1"]}, "layers"),
    ],
)
def test_what_is_no_spec_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """A field that is unknown or of another type is named, with the file."""
    path = ExtractorSpec("r", "resnet18", ["layer1"]).save(tmp_path / "r.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message) as caught:
        load_spec(path)
    assert "r.json" in str(caught.value) or "schema" in message


def test_a_module_is_in_no_file(tmp_path: Path) -> None:
    """A module given as such has nothing that a file could say; the error says what has."""
    with pytest.raises(ValueError, match=r"'module:AvgPool2d' is a torch\.nn\.Module, .* FILE\.py:FACTORY"):
        create_extractor(torch.nn.AvgPool2d(2)).spec.save(tmp_path / "m.json")
    with pytest.raises(FileNotFoundError):
        create_extractor(str(tmp_path / "none.json"))
