"""Samples of features: which images are in them, whatever way they came."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from vdna_metrics.distributions import FeatureSample
from vdna_metrics.functional.hashing import copy_keys, row_hashes
from vdna_metrics.layout import NeuronLayout

LAYOUT = NeuronLayout({"pool": 3})


def rows_of(numbers: list[int] | Tensor) -> Tensor:
    """Features of images that are told apart by a number, ``[n, 3]``."""
    return torch.as_tensor(numbers, dtype=torch.float32)[:, None] * torch.tensor([1.0, -2.0, 0.5])


def filled(numbers: list[int] | Tensor, size: int, batches: int = 1) -> FeatureSample:
    """A sample of these images."""
    sample = FeatureSample.empty(LAYOUT, size)
    for batch in rows_of(numbers).split(-(-max(1, len(numbers)) // batches)):
        sample.fill_({"pool": batch.T[:, :, None]})
    return sample


def sampled(sample: FeatureSample) -> list[int]:
    """Numbers of the images in a sample, in its order."""
    return [int(number) for number in sample.features()["pool"][:, 0].tolist()]


def by_hand(numbers: list[int], size: int) -> list[int]:
    """The images with the smallest keys, one image after another."""
    keys = []
    for number, count in Counter(numbers).items():
        found = copy_keys(row_hashes(rows_of([number])), torch.tensor([count]))[1]
        keys += [(key, number) for key in found.tolist()]
    return [number for _, number in sorted(keys)[:size]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(2, 20), st.integers(1, 9), st.randoms())
def test_the_smallest_keys_are_the_sample(numbers: list[int], size: int, batches: int, random: object) -> None:
    """In any order and batches it is the occurrences with the smallest keys, copies counted apart."""
    expected = by_hand(numbers, size)
    assert sampled(filled(numbers, size, batches)) == expected
    random.shuffle(numbers)  # type: ignore[attr-defined]
    assert sampled(filled(numbers, size, 1 + batches // 2)) == expected


def test_draws_sort_in_proportion_to_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hashes of those who fell out are not sorted again for every few images that come."""
    sizes: list[int] = []
    chosen = FeatureSample._chosen

    def noted(sample: FeatureSample, hashes: Tensor, *others: Any) -> Any:
        sizes.append(len(hashes))
        return chosen(sample, hashes, *others)

    monkeypatch.setattr(FeatureSample, "_chosen", noted)
    filled(torch.arange(20_000), 10, batches=400)
    assert 20_000 < sum(sizes) < 10 * 20_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 400), max_size=25), min_size=2, max_size=5), st.integers(2, 20))
def test_sums_are_the_sample_of_all(parts: list[list[int]], size: int) -> None:
    """Parts without an image in common add up to the sample of all, and so do parts with copies that all hold."""
    apart = [[1000 * place + number for number in numbers] for place, numbers in enumerate(parts)]
    for made, of in ((apart, size), (parts, 200)):
        whole = [number for numbers in made for number in numbers]
        total, *others = [filled(numbers, of) for numbers in made]
        for other in others:
            total = total + other  # type: ignore[assignment]
        assert sampled(total) == by_hand(whole, of)
        assert torch.equal(total.copied().state, filled(whole, of).copied().state)


@pytest.mark.parametrize("seed", range(4))
def test_copies_in_different_parts_have_their_share(seed: int) -> None:
    """Images of which each part has one have the chance of all their copies: a sum is the sample of one pass.

    Half of the images are in one part, the others in two or in each of eight.
    """
    first = 10**6 * seed
    few, many = list(range(first, first + 1000)), list(range(first + 1000, first + 2000))
    for parts in ([few + many, many], [few[place::8] + many for place in range(8)]):
        total, *others = [filled(part, 50) for part in parts]
        for other in others:
            total = total + other  # type: ignore[assignment]
        assert sampled(total) == by_hand([number for part in parts for number in part], 50)


@pytest.mark.parametrize("seed", range(3))
def test_copies_keep_their_share(seed: int) -> None:
    """Where half of the images are equal, half of the sample is, within three standard errors."""
    n, size = 20_000, 2000
    first = 10**6 * seed
    numbers = torch.cat([torch.arange(first, first + n // 2), torch.full((n // 2,), first + n)])
    share = sum(number == first + n for number in sampled(filled(numbers, size, 40))) / size
    error = (0.25 / size * (1 - size / n)) ** 0.5
    assert abs(share - 0.5) < 3 * error


def test_the_state_is_bounded() -> None:
    """Above the size two words for each different image are kept, and features of the sample.

    Until the next draw there are no more features of others than take as much memory as those two words.
    """
    sample = filled(torch.arange(5000), 50, 200)
    assert sample.lengths[0] == 5000
    assert (sample.lengths[1] - 2 * (50 + 6 * 50**0.5 + 1)) * sample._words <= 2 * 5000
    assert sample.copied().lengths[1] <= 50 + 6 * 50**0.5 + 1
    assert sample.state.nbytes - 2 * 16 * 5000 <= sample.largest_nbytes() + 100
    assert sample.copied().state.nbytes - 16 * 5000 <= sample.largest_nbytes() + 100
    assert sample.largest_nbytes(7) < sample.largest_nbytes() / 20


def test_equal_images_of_other_batches_have_one_row() -> None:
    """Rounding that differs from batch to batch does not make the order matter."""
    one, other = (FeatureSample.empty(LAYOUT) for _ in range(2))
    hashes = torch.tensor([5])
    near = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0 + 1e-6, 3.0 - 1e-6])]
    for sample, order in ((one, near), (other, near[::-1])):
        for row in order:
            sample.fill_({"pool": row[:, None, None]}, hashes)
    assert torch.equal(one.copied().state, other.copied().state)
    assert one.n_images == len(one.features()["pool"]) == 2


def test_a_smaller_sample_decides() -> None:
    """The sum of samples of two sizes has the smaller one, whichever comes first."""
    a, b = filled(list(range(30)), 10), filled(list(range(30, 50)), 15)
    assert sampled(a + b) == sampled(b + a) == by_hand(list(range(50)), 10)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "error", "message"), [(1, ValueError, "at least 2"), (2.5, TypeError, "2.5"), (True, TypeError, "True")]
)
def test_impossible_sizes_are_refused(size: int, error: type[Exception], message: str) -> None:
    """A sample is of a whole number of images, at least two."""
    with pytest.raises(error, match=message):
        FeatureSample.empty(LAYOUT, size)


def test_hashes_have_to_be_of_the_images() -> None:
    """Another number of hashes than images is refused, and nothing is counted."""
    sample = FeatureSample.empty(LAYOUT)
    with pytest.raises(ValueError, match=r"expected a hash for each of 2 images, got \[3\]"):
        sample.fill_({"pool": torch.zeros(3, 2, 1)}, torch.zeros(3, dtype=torch.int64))
    assert sample.n_images == 0


def test_memory_grows_in_steps_and_a_given_state_stays() -> None:
    """Batches are written behind the state, which moves seldom; the state that a sample was made of is as it was."""
    start = filled(list(range(10)), 1000)
    given = start.state.clone()
    sample, moves = start.with_state(start.state), set()
    for batch in rows_of(torch.arange(10, 1000)).split(5):
        sample.fill_({"pool": batch.T[:, :, None]})
        moves.add(sample.state.untyped_storage().data_ptr())
    assert torch.equal(start.state, given)
    assert len(moves) < 15
    assert torch.equal(sample.copied().state, filled(list(range(1000)), 1000).copied().state)


def test_what_was_seen_elsewhere_is_added() -> None:
    """A batch that was counted on another device, as with state_device="cpu", adds what it adds here."""
    here, there = (FeatureSample.empty(LAYOUT, 10) for _ in range(2))
    for batch in rows_of(torch.arange(120) % 50).split(4):
        activations = {"pool": batch.T[:, :, None]}
        here.fill_(activations)
        part = there.with_state(there.zero())
        part.fill_(activations)
        there._absorb_(part)
    assert torch.equal(here.copied().state, there.copied().state)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda sample: pickle.loads(pickle.dumps(sample))])
def test_copies_go_on_as_the_sample_would(again: Callable[[FeatureSample], FeatureSample]) -> None:
    """A copy, or what was pickled, has the state alone, and counts what is added to it."""
    sample = filled(list(range(90)), 1000, 9)
    found = again(sample)
    assert found.state.untyped_storage().nbytes() == found.state.nbytes
    for one in (sample, found):
        one.fill_({"pool": rows_of([100, 101]).T[:, :, None]})
        one.copied().check_possible()
        assert one.n_images == sum(one.arrays()["image_counts"].tolist()) == 92
    assert torch.equal(found.copied().state, sample.copied().state)
