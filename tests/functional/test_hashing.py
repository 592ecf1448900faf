"""Hashes that tell images apart, and keys by which a sample is drawn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from vdna_metrics.functional import hashing
from vdna_metrics.functional.hashing import copy_keys, image_hashes, row_hashes


def _images(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=stream)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_other_devices_hash_alike(n: int, height: int, width: int, seed: int) -> None:
    """What NumPy computes on the CPU is what torch computes on other devices."""
    images = _images(n, height, width, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_hashes", hashing._hashes_on_device)
        elsewhere = image_hashes(images)
    assert torch.equal(image_hashes(images), elsewhere)


def test_large_images_hash_alike() -> None:
    """Likewise of images with more rows than there are odd numbers."""
    images = _images(1, 1500, 1111)
    assert torch.equal(image_hashes(images), hashing._hashes_on_device(images.permute(0, 2, 3, 1)))


def test_an_image_is_hashed_apart_from_its_batch_and_memory() -> None:
    """Neither the images beside it nor strides change a hash."""
    images = _images(5, 33, 47)
    whole = image_hashes(images)
    assert torch.equal(whole, torch.cat([image_hashes(each[None]) for each in images]))
    assert torch.equal(whole, image_hashes(images.to(memory_format=torch.channels_last)))
    assert len(set(whole.tolist())) == 5


def test_a_hash_stays_what_it_is() -> None:
    """Files keep hashes, so they are the same on every machine and in every version."""
    ramp = (torch.arange(90_000) % 251).byte().view(1, 100, 300, 3).permute(0, 3, 1, 2)
    found = torch.cat([image_hashes(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)), image_hashes(ramp)]).tolist()
    assert [each % 2**64 for each in found] == [0x4AA9A6E31CE631BE, 0x94AB2D3E02BDA9BF]


def test_keys_are_as_if_drawn() -> None:
    """Keys of copies of one image, of many and of pairs are exponential; hashes spread evenly over all numbers."""
    n = 4096
    once, pairs = torch.ones(n, dtype=torch.int64), torch.full((n // 2,), 2)
    hashes = image_hashes(torch.arange(n).view(n, 1, 1, 1).remainder(256).byte().expand(n, 3, 1, 1))[:256]
    sets = (torch.tensor([7]), torch.tensor([n])), (torch.arange(n), once), (torch.arange(n // 2), pairs)
    shares = [-torch.expm1(-copy_keys(*each)[1].double() * 2.0**-44) for each in sets]
    for share in (*shares, hashes.double() * 2.0**-64 + 0.5):
        even = torch.arange(1, len(share) + 1, dtype=torch.float64) / len(share)
        assert (
            float((share.sort().values - even).abs().max()) < 1.95 / len(share) ** 0.5
        )  # Kolmogorov-Smirnov, 1 in 1000


def test_keys_of_copies_are_sums_of_gaps() -> None:
    """The j-th of c copies has `sum of E_i / (c - i)`, whatever images stand beside it."""
    alone = [copy_keys(torch.tensor([5]), torch.tensor([count]))[1] for count in (1, 2, 4)]
    place, keys = copy_keys(torch.tensor([9, 5, 8]), torch.tensor([3, 4, 1]))
    assert place.tolist() == [0] * 3 + [1] * 4 + [2]
    assert torch.equal(keys[3:7], alone[2])
    for count, found in zip((2, 4), alone[1:], strict=True):
        assert abs(float(found[0]) - float(alone[0][0]) / count) <= 1
    gaps = alone[2].diff(prepend=torch.zeros(1, dtype=torch.int64)) * torch.tensor([4, 3, 2, 1])
    pair = alone[1].diff(prepend=torch.zeros(1, dtype=torch.int64)) * torch.tensor([2, 1])
    assert torch.allclose(gaps[:2].double(), pair.double(), rtol=1e-9)


def test_rows_are_told_apart() -> None:
    """Any bit of a row changes its hash."""
    rows = torch.randn(1, 37).repeat(38, 1)
    rows[1:].fill_diagonal_(0.0)
    assert len(set(row_hashes(rows).tolist())) == 38


def test_what_is_no_image_is_refused() -> None:
    """Floats and other shapes have no hash."""
    with pytest.raises(TypeError, match=r"expected uint8 images, got torch\.float32"):
        image_hashes(torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"expected images \[N, C, H, W\], got \[3, 2, 2\]"):
        image_hashes(torch.zeros(3, 2, 2, dtype=torch.uint8))
