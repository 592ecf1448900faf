"""Departures from a protocol: each is told with both sides, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vdna_metrics.dna.account import AccountFields, ImageSizes
from vdna_metrics.leaderboard import Protocol, SetFacts, find_departures, find_protocol


def _account(size: int = 256, name: str = "PNG", depths: Any = ()) -> AccountFields:
    return AccountFields({name: 50_000}, ImageSizes.of([size], [size]), depths)


def _network(protocol: Protocol) -> dict[str, str]:
    spec = protocol.spec
    return {"architecture": spec.architecture_id, "preprocessing": spec.preprocess.id, "precision": "fp32"}


ADM, EDM2, RFID = (find_protocol(name) for name in ("adm-gfid-256", "edm2-fid", "rfid-imagenet-val"))
MEAN_AND_COVARIANCE = SetFacts("adm", 1_281_167, AccountFields(), ("ADM:imagenet/256",))
OURS = SetFacts("ours", 50_000, _account(), ("ours",), (50,) * 1000)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_images": 1000}, "ours: expected 50 000 images, got 1 000: FID of fewer images is larger"),
        ({"n_images": 60_000}, "ours: expected 50 000 images, got 60 000: FID of more images is smaller"),
        ({"account": _account(64)}, "expected images of 256x256 pixels, got 64x64: how they are brought to one size"),
        ({"account": _account(name="JPEG")}, "expected images saved without loss, got JPEG 50 000: what compression"),
        ({"account": _account(depths=((12, 7),))}, "expected 8 bits a value, got 16 in 7 images"),
        ({"account": _account(name="array")}, ""),
    ],
)
def test_a_set_is_held_to_number_size_format_and_depth(changes: dict[str, Any], told: str) -> None:
    """A set that is otherwise in one thing departs in that alone."""
    found = find_departures(ADM, MEAN_AND_COVARIANCE, [replace(OURS, **changes)], _network(ADM))
    assert len(found.departures) == bool(told)
    assert told in "".join(found.departures)


def test_sets_that_depart_alike_are_one_sentence() -> None:
    """What follows is said once."""
    few = [replace(OURS, name=name, n_images=n) for name, n in (("a", 10), ("b", 10), ("c", 20))]
    found = find_departures(ADM, MEAN_AND_COVARIANCE, few, _network(ADM))
    both = "a, b: expected 50 000 images, got 10; c: expected 50 000 images, got 20: FID of fewer images is larger"
    assert found.departures == (both,)


@pytest.mark.parametrize(
    "sources",
    [
        ("ADM:imagenet/256",),
        ("refs/VIRTUAL_imagenet256_labeled.npz",),
        ("mine", "ADM: VIRTUAL_imagenet256_labeled.npz, sha256 0"),
    ],
)
def test_a_reference_is_known_by_name_file_or_origin(sources: tuple[str, ...]) -> None:
    """ADM's statistics are these under any name; other images are not, whatever their number."""
    reference = replace(MEAN_AND_COVARIANCE, sources=sources)
    assert find_departures(ADM, reference, [OURS], _network(ADM)).departures == ()
    photographs = SetFacts("bsds500/trainval", 300, AccountFields(), ("bsds500/trainval",))
    (told,) = find_departures(ADM, photographs, [OURS], _network(ADM)).departures
    expected = "expected ADM's mean and covariance of ImageNet's training set (ADM:imagenet/256), 1 281 167 images"
    assert told.startswith(f"bsds500/trainval: {expected}, got 300 of bsds500/trainval:")


def test_real_images_that_cannot_be_known_are_held_to_what_can() -> None:
    """Of a reference without statistics, sizes and formats are compared, and the rest is said to be unknown."""
    val = SetFacts("val", 50_000, _account(), ("val256",))
    found = find_departures(RFID, val, [replace(OURS, folders=())], _network(RFID))
    assert found.departures == ()
    assert "val: whether its images are the images of ImageNet's validation set" in " ".join(found.unknown)
    jpeg = replace(val, account=_account(375, "JPEG"))
    assert len(find_departures(RFID, jpeg, [OURS], _network(RFID)).departures) == 2
    unknown = find_departures(RFID, replace(val, account=AccountFields()), [OURS], _network(RFID)).unknown
    assert "val: sizes and formats of its images are not known" in unknown


def test_classes_are_counted_where_folders_are_classes() -> None:
    """As many of each depart from random labels; another number of folders are no classes."""
    ours = replace(OURS, account=_account(512))
    reference = replace(MEAN_AND_COVARIANCE, sources=("EDM2:img512",))

    def found(*folders: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        record = find_departures(EDM2, reference, [replace(ours, folders=folders)], _network(EDM2))
        return record.departures, record.unknown

    equal, random = (50,) * 1000, (40, 60) * 500
    assert "expected labels drawn at random, got 50 images of each of 1000 classes" in found(*equal)[0][0]
    assert found(*random) == ((), ())
    assert "its images lie in 50 folders" in found(*(1000,) * 50)[1][0]
    assert "no class folders are known" in found()[1][0]
    told = find_departures(ADM, MEAN_AND_COVARIANCE, [replace(OURS, folders=random)], _network(ADM)).unknown
    has = "it has 40 to 60 images of each of 1000 classes"
    assert told == (f"ours: {has}; papers have either as many of each or random labels",)


def test_another_network_departs() -> None:
    """Resizing, architecture, precision and ranges are those of the protocol."""
    clean = _network(find_protocol("clean-fid")) | {"precision": "bf16"}
    found = find_departures(ADM, MEAN_AND_COVARIANCE, [OURS], clean).departures
    assert [sentence.partition(" of the network")[0] for sentence in found] == ["preprocessing", "precision"]
    assert "expected legacy_tensorflow:299x299" in found[0]
    assert "got clean:bicubic:299x299" in found[0]
    vdna = find_protocol("vdna")
    (told,) = find_departures(vdna, OURS, [OURS], _network(vdna), ranges="auto").departures
    assert "ranges that are published for mugs_vit_base" in told
