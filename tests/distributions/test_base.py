"""What holds for every kind of distribution: the merging law, refusals, untouched states."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any

import pytest
import torch
from helpers.dnas import (
    KINDS,
    LAYOUT,
    MADE,
    Activations,
    Made,
    assert_same_state,
    hashes_of,
    images_of,
    make_activations,
    make_distribution,
    make_empty,
    make_ranges,
)
from hypothesis import given, strategies as st

from vdna_metrics.distributions import Kind, LayerGaussianDistribution
from vdna_metrics.layout import NeuronLayout

IMAGES = 11
ACTIVATIONS = make_activations(IMAGES)
CENTRE = torch.linspace(-1, 1, LAYOUT.total, dtype=torch.float64)
kinds = pytest.mark.parametrize("kind", MADE)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Over matrices this small, threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@st.composite
def splits(draw: st.DrawFn, parts: int | None = None) -> list[list[int]]:
    """All images in any order, cut anywhere; parts may be empty."""
    order = draw(st.permutations(range(IMAGES)))
    number = draw(st.integers(0, 5)) if parts is None else parts - 1
    cuts = sorted(draw(st.lists(st.integers(0, IMAGES), min_size=number, max_size=number)))
    return [order[a:b] for a, b in zip([0, *cuts], [*cuts, IMAGES], strict=True)]


@st.composite
def centres(draw: st.DrawFn) -> torch.Tensor:
    """A shift of each neuron's sums."""
    values = st.floats(-3, 3, width=32)
    return torch.tensor(draw(st.lists(values, min_size=LAYOUT.total, max_size=LAYOUT.total)), dtype=torch.float64)


@kinds
@given(parts=splits())
def test_any_batches_give_the_same(kind: Made, parts: list[list[int]]) -> None:
    """Any order of the images, cut into any batches, gives the counts of one batch, and its moments to 1e-12."""
    batched = make_empty(kind)
    for part in parts:
        batch = images_of(ACTIVATIONS, part)
        batched.fill_(batch, hashes_of(batch))
    assert batched.n_images == IMAGES
    assert_same_state(batched, make_distribution(kind, ACTIVATIONS))


@kinds
@given(parts=splits(), data=st.data())
def test_any_files_give_the_same(kind: Made, parts: list[list[int]], data: st.DataObject) -> None:
    """The sum of the distributions of any parts, in any order, is the distribution of all images."""
    made = [make_distribution(kind, images_of(ACTIVATIONS, part)) for part in parts]
    assert_same_state(reduce(add, data.draw(st.permutations(made))), make_distribution(kind, ACTIVATIONS))


@kinds
@given(parts=splits(3), shifts=st.tuples(centres(), centres(), centres()))
def test_merging_laws(kind: Made, parts: list[list[int]], shifts: tuple[torch.Tensor, ...]) -> None:
    """`a + b == b + a` and `(a + b) + c == a + (b + c)`, also where sums are taken about different centres."""
    a, b, c = (
        make_distribution(kind, images_of(ACTIVATIONS, part), centre=centre)
        for part, centre in zip(parts, shifts, strict=True)
    )
    whole = make_distribution(kind, ACTIVATIONS)
    assert_same_state((a + b) + c, whole)
    assert_same_state(a + (b + c), whole)
    assert_same_state((b + a) + c, whole)


@kinds
def test_empty_is_neutral(kind: Made) -> None:
    """`empty + a == a == a + empty`."""
    a, empty = make_distribution(kind, ACTIVATIONS, centre=CENTRE), make_empty(kind)
    assert_same_state(empty + a, a)
    assert_same_state(a + empty, a)
    assert (empty + empty).n_images == 0


@kinds
def test_merging_leaves_both_sides_alone(kind: Made) -> None:
    """`+` makes a new state."""
    a = make_distribution(kind, make_activations(3), centre=CENTRE)
    b = make_distribution(kind, make_activations(4, 1))
    before = a.state.clone(), b.state.clone()
    merged = a + b
    merged.fill_(make_activations(2, 2))
    assert torch.equal(a.state, before[0])
    assert torch.equal(b.state, before[1])


@kinds
def test_an_empty_batch_changes_nothing(kind: Made) -> None:
    """A batch without images is no error and no image."""
    distribution = make_distribution(kind, ACTIVATIONS)
    before = distribution.state.clone()
    distribution.fill_(images_of(ACTIVATIONS, []))
    assert torch.equal(distribution.state, before)


@kinds
def test_strides_and_float_types_do_not_matter(kind: Made) -> None:
    """Permuted views and float64 copies of activations give the same as contiguous float32."""
    expected = make_distribution(kind, ACTIVATIONS)
    views = {layer: x.permute(1, 2, 0).contiguous().permute(2, 0, 1) for layer, x in ACTIVATIONS.items()}
    assert_same_state(make_distribution(kind, views), expected)
    ranges = make_ranges(-8, 8)  # whole powers of two, so that float64 finds the same bins
    doubles = {layer: x.double() for layer, x in ACTIVATIONS.items()}
    assert_same_state(
        make_distribution(kind, doubles, ranges=ranges), make_distribution(kind, ACTIVATIONS, ranges=ranges)
    )


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_as_its_value(kind: Made, dtype: torch.dtype) -> None:
    """Half precision activations give the same as their exact float32 values."""
    halves = {layer: x.to(dtype) for layer, x in ACTIVATIONS.items()}
    values = {layer: x.float() for layer, x in halves.items()}
    assert_same_state(make_distribution(kind, halves), make_distribution(kind, values))


@kinds
def test_layers_beyond_the_layout_are_passed_over(kind: Made) -> None:
    """Activations of other layers do not matter."""
    more = {"stem": torch.full((1, 5, 1), torch.nan), **ACTIVATIONS}
    assert_same_state(make_distribution(kind, more), make_distribution(kind, ACTIVATIONS))


def _broken(change: dict[str, Any]) -> Activations:
    changed: Activations = {**make_activations(3), **change}
    return {layer: x for layer, x in changed.items() if x is not None}


@kinds
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv2": None}, r"activations of layer 'conv2' are missing"),
        ({"norm": torch.zeros(3, 3, 1)}, r"layer 'norm' must be \[2 neurons, images, positions\], got \[3, 3, 1\]"),
        ({"norm": torch.zeros(2, 3)}, r"layer 'norm' must be \[2 neurons, images, positions\], got \[2, 3\]"),
        ({"norm": torch.zeros(2, 3, 0)}, r"layer 'norm' must be \[2 neurons, images, positions\], got \[2, 3, 0\]"),
        (
            {"norm": torch.zeros(2, 4, 1)},
            r"layers differ in their number of images: \{'conv1': 3, 'conv2': 3, 'norm': 4\}",
        ),
    ],
)
def test_unfitting_batches_are_refused_whole(kind: Made, change: dict[str, Any], message: str) -> None:
    """A missing layer, a wrong shape or differing numbers of images are named, and nothing is counted."""
    distribution = make_distribution(kind, ACTIVATIONS)
    before = distribution.state.clone()
    with pytest.raises(ValueError, match=message):
        distribution.fill_(_broken(change))
    assert torch.equal(distribution.state, before)


@kinds
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("layers", [["conv1"], ["conv2", "norm"]])
def test_activations_that_are_not_finite_are_refused_whole(kind: Made, value: float, layers: list[str]) -> None:
    """One NaN or infinity names its layers, all of them and no others, and nothing of the batch is counted."""
    distribution = make_distribution(kind, ACTIVATIONS)
    before = distribution.state.clone()
    batch = make_activations(3, 1)
    for layer in layers:
        batch[layer][-1, 1, -1] = value
    plural = "s" * (len(layers) > 1)
    with pytest.raises(ValueError, match=rf"not finite \(NaN or infinite\) in layer{plural} {', '.join(layers)}:"):
        distribution.fill_(batch)
    assert torch.equal(distribution.state, before)
    distribution.check_finite()


@kinds
def test_a_noted_infinity_is_told_later(kind: Made) -> None:
    """Where an accelerator only noted that activations were not finite, every later look at them says so."""
    distribution = make_distribution(kind, ACTIVATIONS)
    distribution.state[1 + list(LAYOUT).index("conv2")] += 1  # as an accelerator does
    merged = make_distribution(kind, make_activations(4, 1)) + distribution
    chosen = merged.select(LAYOUT.select(["conv2", "norm"]))
    for seen in (distribution, merged, chosen):
        with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in layer conv2:"):
            seen.check_finite()
    merged.select(LAYOUT.select(["conv1", "norm"])).check_finite()


SELECTIONS = [
    LAYOUT.select(["conv1", "norm"]),
    LAYOUT.select(neurons={"conv1": [3, 0], "conv2": [1]}),
    LAYOUT.select(["conv2"], {"conv2": [2, 0, 1]}),
]


@kinds
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_selecting_afterwards_is_selecting_before(kind: Made, selection: NeuronLayout) -> None:
    """A selection of a distribution is the distribution of the selected activations."""
    chosen = make_distribution(kind, ACTIVATIONS).select(selection)
    empty = make_empty(kind).select(selection)
    empty.fill_(selection.pick(ACTIVATIONS), hashes_of(ACTIVATIONS))
    assert chosen.layout == selection
    assert_same_state(chosen, empty)


@kinds
def test_selecting_twice_is_selecting_once(kind: Made) -> None:
    """Selections of selections give the neurons with those ids of the full layers."""
    whole = make_distribution(kind, ACTIVATIONS)
    first = LAYOUT.select(neurons={"conv1": [3, 2, 0], "norm": [1, 0]})
    second = first.select(neurons={"conv1": [0, 3]})
    once = whole.select(LAYOUT.select(neurons={"conv1": [0, 3]}))
    assert_same_state(whole.select(first).select(second), once)


@kinds
def test_a_selection_has_a_state_of_its_own(kind: Made) -> None:
    """Filling a selection leaves the whole alone."""
    whole = make_distribution(kind, ACTIVATIONS)
    before = whole.state.clone()
    chosen = whole.select(LAYOUT.select(["conv1"]))
    chosen.fill_(make_activations(2, 1))
    assert torch.equal(whole.state, before)
    assert chosen.n_images == IMAGES + 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@kinds
@pytest.mark.parametrize("state_device", ["cpu", "cuda"])
def test_activations_on_a_gpu_give_the_same(kind: Made, state_device: str) -> None:
    """Activations on a GPU give the same as on the CPU, with the state on either; layer factors follow each batch."""
    distribution = make_empty(kind).to(state_device)
    for seed in (0, 1):
        distribution.fill_({layer: x.cuda() for layer, x in make_activations(5, seed).items()})
        if isinstance(distribution, LayerGaussianDistribution):
            factor = distribution.factor("conv1")
            torch.testing.assert_close(factor @ factor.T, distribution.mean_and_covariance("conv1")[1])
    both = make_distribution(kind, make_activations(5, 0)) + make_distribution(kind, make_activations(5, 1))
    assert_same_state(distribution.to("cpu"), both)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@kinds
def test_an_infinity_on_a_gpu_is_noted(kind: Made) -> None:
    """On a GPU a batch with a NaN does not raise, and its layer is named when the state is looked at."""
    for device in ("cpu", "cuda"):
        distribution = make_empty(kind).to(device)
        batch = make_activations(3)
        batch["conv2"][0, 0, 0] = torch.nan
        distribution.fill_({layer: x.cuda() for layer, x in batch.items()})
        with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in layer conv2:"):
            distribution.check_finite()


@kinds
def test_with_state_shares_the_given_state(kind: Made) -> None:
    """`with_state` does not copy the state, so that a metric's can be filled; one that grows is left as it was."""
    empty = make_empty(kind)
    state = torch.zeros_like(empty.state)
    filled = empty.with_state(state)
    filled.fill_(ACTIVATIONS, hashes_of(ACTIVATIONS))
    assert torch.equal(filled.copied().state, make_distribution(kind, ACTIVATIONS).state)
    assert (filled.state is state) != filled.grows
    assert bool(state.any()) != filled.grows
    assert empty.n_images == 0


@kinds
def test_a_state_of_another_size_or_type_is_refused(kind: Made) -> None:
    """A state must have the size and the type of its kind; the message has both."""
    empty = make_empty(kind)
    size = empty.state_size()
    with pytest.raises(
        ValueError, match=rf"a {empty.kind} of 9 neurons has a state of \[{size}\] .*, got \[{size + 1}\]"
    ):
        empty.with_state(torch.zeros(size + 1, dtype=empty.dtype))
    with pytest.raises(ValueError, match=rf"a {empty.kind} .* {empty.dtype}, got \[{size}\] torch.float32"):
        empty.with_state(torch.zeros(size))


@pytest.mark.parametrize(("a", "b"), [(a, b) for a in KINDS for b in KINDS if a != b])
def test_kinds_do_not_mix(a: Kind, b: Kind) -> None:
    """Different kinds do not merge; both are shown."""
    with pytest.raises(ValueError, match=rf"cannot be merged: kinds differ: first {a}, second {b}"):
        make_empty(a) + make_empty(b)


@kinds
@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (LAYOUT.select(["conv1"]), r"layers differ: first conv1, conv2, norm, second conv1"),
        (LAYOUT.select(list(LAYOUT), {"norm": [0]}), r"neurons of layer 'norm' differ: first 2, second 1"),
        (
            LAYOUT.select(list(LAYOUT), {"norm": [1, 0]}),
            r"selected neurons of layer 'norm' differ: first all, second \[1, 0\]",
        ),
    ],
)
def test_layouts_do_not_mix(kind: Made, selection: NeuronLayout, message: str) -> None:
    """Different layers, numbers of neurons and selected neurons do not merge; both are shown."""
    whole = make_empty(kind)
    with pytest.raises(ValueError, match=rf"these distributions cannot be merged: {message}"):
        whole + whole.select(selection)


@kinds
def test_only_distributions_add(kind: Made) -> None:
    """A distribution and a number do not add."""
    with pytest.raises(TypeError, match="unsupported operand"):
        make_empty(kind) + 1  # type: ignore[operator]
