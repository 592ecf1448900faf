"""The account of a set of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.dnas import make_dna
from hypothesis import given, strategies as st

from vdna_metrics.dna import account as module
from vdna_metrics.dna.account import ImageAccount, ImageSizes, PixelHashes
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA, Provenance, ProvenanceFields
from vdna_metrics.schema import typed

NOTHING = ImageAccount.of([], [], [], [], [])
PHOTOS = ImageAccount.of(["JPEG", "PNG", "PNG"], [481, 321, 9], [321, 481, 7], [0, 12, 16], [5, 9, 5])
OTHERS = ImageAccount.of(["PNG"], [32], [32], [12], [2**64 - 1])


def test_accounts_add() -> None:
    """A sum is the account of both sets, in any order; one of no images changes nothing."""
    both = PHOTOS + OTHERS
    assert both == OTHERS + PHOTOS
    assert both.formats == (("JPEG", 1), ("PNG", 3))
    assert both.sizes == ImageSizes((9, 481), (7, 481), ((6, 1), (11, 1), (18, 2)), 0)
    assert both.depths == ((12, 2), (16, 1))
    assert both.pixels is not None
    assert (both.pixels.n_images, both.pixels.repeated) == (4, 1)
    assert PHOTOS + NOTHING == NOTHING + PHOTOS == PHOTOS
    assert NOTHING + NOTHING == NOTHING


def test_oblong_images_are_counted() -> None:
    """Oblong is more than 1.5 times as long on one side as on the other; sums with older files do not know it."""
    found = ImageSizes.of([300, 301, 200, 200, 64], [200, 200, 300, 301, 64])
    assert found.oblong == 2
    assert (found + found).oblong == 4
    assert (found + ImageSizes((32, 32), (32, 32))).oblong is None


def test_what_is_not_known_stays_unknown() -> None:
    """A sum with what was not recorded does not pass for the account of both sets."""
    assert PHOTOS + ImageAccount() == ImageAccount() + PHOTOS == ImageAccount()
    assert str(ImageAccount()) == ""


def test_files_keep_it(tmp_path: Path) -> None:
    """A DNA comes back with its account; without one the file is as it was before there were accounts."""
    dna = make_dna("gaussian")
    provenance = Provenance("tiny", ("photos",), account=PHOTOS)
    path = VDNA(dna.distribution, dna.fingerprint, provenance).save(tmp_path / "a.npz")
    assert load_vdna(path).provenance == provenance
    assert "account" not in dna.provenance.to_json()
    assert load_vdna(dna.save(tmp_path / "b.npz")).provenance.account == ImageAccount()


def test_sizes_of_older_files_are_read() -> None:
    """Before there were accounts, provenances had the sizes alone."""
    data = {"extractor": "net", "sources": [], "skipped": [], "manifests": []}
    found = typed(ProvenanceFields, {**data, "sizes": {"widths": [32, 32], "heights": [30, 40]}}).provenance({}).account
    assert found == ImageAccount(sizes=ImageSizes((32, 32), (30, 40)))
    assert found.sizes is not None
    assert found.sizes.octave is None


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 5), st.randoms())
def test_the_hashes_of_parts_add_to_those_of_the_whole(values: list[int], parts: int, random: object) -> None:
    """However images are dealt, and in whatever order parts are added, with more distinct images than are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HASHES", 16)
        whole = PixelHashes.of(np.array(values, np.uint64))
        dealt = [PixelHashes.of(np.array(values[i::parts], np.uint64)) for i in range(parts)]
        random.shuffle(dealt)  # type: ignore[attr-defined]
        assert sum(dealt, PixelHashes()) == whole
        assert whole.is_exact == (len(set(values)) <= 16)
        if whole.is_exact:
            assert whole.repeated == len(values) - len(set(values))


def _hashes(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 2**64 - 1, n, dtype=np.uint64)


def test_larger_sets_are_estimated() -> None:
    """Above what is kept, repeated images and those of another set are told to a few percent, and said to be about."""
    images = _hashes(100_000, 0)
    some = PixelHashes.of(np.concatenate([images, images[:20_000], images[:5_000]]))
    assert not some.is_exact
    assert some.repeated == pytest.approx(25_000, rel=0.05)
    other = PixelHashes.of(np.concatenate([images[60_000:], _hashes(200_000, 1)]))
    assert other.images_in(some) == pytest.approx(40_000, rel=0.05)
    assert some.images_in(other) == pytest.approx(40_000, rel=0.05)
    few = PixelHashes.of(np.concatenate([images[:1000], _hashes(1000, 2)]))
    assert few.images_in(some) == pytest.approx(1000, rel=0.25)
    assert PixelHashes.of(_hashes(300, 3)).images_in(some) == 0
    assert f"about {some.repeated} of 125000" in str(ImageAccount(pixels=some))


def test_sizes_that_cannot_be_alike_are_apart_without_octaves() -> None:
    """Files of before there were accounts tell the least and largest sides: enough where all images are far apart."""
    old, small, near = ImageSizes((321, 481), (321, 481)), ImageSizes.of([160], [120]), ImageSizes.of([400], [300])
    assert old.are_apart(small)
    assert small.are_apart(old)
    assert not old.are_apart(near)
    assert not old.are_apart(old)
