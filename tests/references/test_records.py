"""Names and keys of records."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.references.records import Manifest, ReferenceName, ReferenceRecord, group_place

LAYERS = list(CATALOGUE["vdna_tiny"].paths)
WHOLE = ReferenceRecord(
    "cats", "all", "vdna_tiny", "histogram-8", "f", "0" * 64, 9, "0", "clean", ranges="ab" * 32, layers=LAYERS
)


def test_a_name_tells_missing_layers() -> None:
    """Layers stand in the name where some of the catalogue's are missing, more than three of them as a number."""
    assert WHOLE.name == "cats/all@vdna_tiny#histogram-8"
    assert replace(WHOLE, layers=LAYERS[:2]).name == f"{WHOLE.name}[{LAYERS[0]}+{LAYERS[1]}]"
    many = list(CATALOGUE["mugs_vit_base"].paths)[:5]
    assert "[5-layers-" in replace(WHOLE, extractor="mugs_vit_base", layers=many).name
    assert replace(WHOLE, extractor="a network of mine", layers=["x"]).name == "cats/all@a network of mine#histogram-8"
    assert replace(WHOLE, layers=()).name == WHOLE.name


def test_layers_of_other_networks_tell_records_apart() -> None:
    """Layers of a network that the catalogue lacks are no part of the name, and of the key and the exact name."""
    one = replace(WHOLE, extractor="mine", layers=["x"])
    other = replace(one, layers=["y"])
    assert one.name == other.name
    assert one.key != other.key
    assert one.exact_name == f"{one.name}[x]%abababab"
    assert ReferenceName.parse(one.exact_name).fits(one)
    assert not ReferenceName.parse(one.exact_name).fits(other)
    assert not replace(other, group="1-of-2").is_group_of(one)


@pytest.mark.parametrize(
    "change",
    [{"layers": LAYERS[:2]}, {"ranges": "cd" * 32}, {"group": "1-of-2"}, {"kind": "histogram-9"}, {"split": "b"}],
)
def test_a_key_has_all_that_tells_two_apart(change: dict[str, str]) -> None:
    """Records that differ in layers, ranges, group, bins or split stand beside each other."""
    assert replace(WHOLE, **change).key != WHOLE.key  # type: ignore[arg-type]


def test_groups_belong_to_their_whole() -> None:
    """Groups have the whole's set, network, kind and ranges, and may have fewer layers."""
    group = replace(WHOLE, group="3-of-10", layers=LAYERS[:2], n_images=2)
    assert group.is_group_of(WHOLE)
    assert not WHOLE.is_group_of(WHOLE)
    assert not replace(group, ranges="cd" * 32).is_group_of(WHOLE)
    assert (group_place(group), group_place(WHOLE)) == ((3, 10), (0, 0))
    assert group.title == f"{group.name} (group 3-of-10)"


@pytest.mark.parametrize(
    "text",
    ["cats", "cats/all", "cats@vdna_tiny", "cats#histogram", "cats/all@vdna_tiny#histogram-8%abab", WHOLE.exact_name],
)
def test_parts_of_a_name_may_be_left_out(text: str) -> None:
    """What is left out fits anything, and a parsed name reads as it was typed."""
    name = ReferenceName.parse(text.upper())
    assert name.fits(WHOLE)
    assert str(name) == text


@pytest.mark.parametrize("text", ["dogs", "cats/b", "cats@other", "cats#gaussian", "cats[conv_head]", "cats%cd", "#"])
def test_other_names_do_not_fit(text: str) -> None:
    """One wrong part is enough."""
    assert not ReferenceName.parse(text).fits(WHOLE)


def test_a_manifest_comes_back() -> None:
    """Layers and groups are written, groups in the order of their numbers, and schema 1 is still read."""
    groups = [replace(WHOLE, group=f"{number}-of-10") for number in (10, 9, 1)]
    manifest = Manifest.of([*groups, WHOLE])
    assert [record.group for record in manifest.references] == ["", "1-of-10", "9-of-10", "10-of-10"]
    assert Manifest.parse(manifest.dump(), "test") == manifest
    old = json.loads(Manifest.of([replace(WHOLE, layers=())]).dump())
    assert "layers" not in old["references"][0]
    assert Manifest.parse(json.dumps({**old, "schema": 1}), "test").references[0].layers == ()
