import sys
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from vdna_metrics.functional import (
    accumulate_histogram_,
    accumulate_on_grid_,
    bin_index,
    extremes,
    grid,
    histogram,
    histogram_counts,
)

# Orders in which `[neurons, images, positions]` may lie in memory: permuted by the first, made contiguous, and permuted
# back by the second.
LAYOUTS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "neurons first": ((0, 1, 2), (0, 1, 2)),
    "convolution": ((1, 0, 2), (1, 0, 2)),
    "tokens": ((1, 2, 0), (2, 0, 1)),
    "positions first": ((2, 1, 0), (2, 1, 0)),
}


def bins_by_numpy(activations: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int) -> np.ndarray:
    """The rule as it is written in the design, one neuron at a time, in the dtype of the arrays."""
    indices = np.empty(activations.shape, dtype=np.int64)
    for neuron, values in enumerate(activations):
        if low[neuron] == high[neuron]:
            indices[neuron] = np.where(values > low[neuron], bins - 1, 0)
            continue
        with np.errstate(over="ignore"):
            position = np.floor((values - low[neuron]) * values.dtype.type(bins) / (high[neuron] - low[neuron]))
        indices[neuron] = np.clip(position, 0, bins - 1)
    return indices


def counts_by_numpy(activations: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int) -> np.ndarray:
    """Histograms of every neuron by that rule."""
    indices = bins_by_numpy(activations, low, high, bins).reshape(len(activations), -1)
    return np.stack([np.bincount(row, minlength=bins) for row in indices])


def empty(neurons: int, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, below and above that have seen nothing."""
    return tuple(torch.zeros(shape, dtype=torch.int64) for shape in ((neurons, bins), (neurons,), (neurons,)))


def example(neurons: int, samples: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Activations with values on and outside of both ends of their ranges, which have both signs."""
    low = torch.linspace(-3, 1, neurons, dtype=dtype)
    high = low + torch.linspace(0.1, 7, neurons, dtype=dtype)
    activations = low[:, None] + (high - low)[:, None] * (torch.rand(neurons, samples, dtype=dtype) * 1.2 - 0.1)
    activations[:, 0], activations[:, 1] = low, high
    return activations, low, high


@pytest.fixture(params=["numpy", "numba"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count in the loops of NumPy, then in those that numba compiles."""
    if request.param == "numba":
        assert histogram.compiled_count_() is not None
    else:
        monkeypatch.setattr(histogram, "compiled_count_", lambda: None)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of torch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [1, 2, 7, 1000, 2**24])
def test_bins_equal_the_numpy_expression_bit_for_bit(dtype: torch.dtype, bins: int) -> None:
    """Every activation is in the bin that the written rule gives in NumPy, in the dtype of the inputs."""
    activations, low, high = example(5, 20_000, dtype)
    expected = bins_by_numpy(activations.numpy(), low.numpy(), high.numpy(), bins)
    assert np.array_equal(bin_index(activations, low, high, bins).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bins_next_to_every_edge_equal_the_numpy_expression(dtype: torch.dtype) -> None:
    """The numbers next to a bin's edges are where another order of operations would move an activation."""
    low, high, bins = torch.tensor([0.1, -7.3], dtype=dtype), torch.tensor([0.7, 11.9], dtype=dtype), 1000
    edges = low[:, None] + (high - low)[:, None] * torch.arange(bins + 1, dtype=dtype) / bins
    far = torch.full_like(edges, torch.inf)
    activations = torch.cat([edges, edges.nextafter(far), edges.nextafter(-far)], dim=1)
    expected = bins_by_numpy(activations.numpy(), low.numpy(), high.numpy(), bins)
    assert np.array_equal(bin_index(activations, low, high, bins).numpy(), expected)
    by_reciprocal = ((activations - low[:, None]) * (bins / (high - low))[:, None]).floor().clamp(0, bins - 1)
    assert not np.array_equal(by_reciprocal.numpy(), expected)


def test_wider_ranges_are_kept_in_their_own_dtype() -> None:
    """float32 activations in float64 ranges are placed in float64."""
    activations = torch.rand(2, 10_000)
    low, high = torch.tensor([0.1, 0.0], dtype=torch.float64), torch.tensor([0.7, 0.3], dtype=torch.float64)
    expected = bins_by_numpy(activations.double().numpy(), low.numpy(), high.numpy(), 1000)
    assert np.array_equal(bin_index(activations, low, high, 1000).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_placed_in_float32(dtype: torch.dtype) -> None:
    """Half-precision activations have the bins of their float32 values."""
    activations, low, high = example(3, 5000)
    activations = activations.to(dtype)
    expected = bin_index(activations.float(), low, high, 1000)
    assert torch.equal(bin_index(activations, low, high, 1000), expected)
    assert torch.equal(
        histogram_counts(activations, low, high, 1000), histogram_counts(activations.float(), low, high, 1000)
    )


def test_edges_of_the_range() -> None:
    """`low` is in the first bin, `high` in the last, and what lies outside is in the nearest of the two."""
    activations = torch.tensor([[-1e30, -0.1, 0.0, 0.2499, 0.25, 0.9999, 1.0, 1.1, 1e30]])
    assert bin_index(activations, torch.zeros(1), torch.ones(1), 4).tolist() == [[0, 0, 0, 0, 1, 3, 3, 3, 3]]


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-40, 1e30])
def test_dead_neurons_have_two_bins(value: float) -> None:
    """Where the range has no width, only activations above it are in the last bin, however near they are."""
    at = torch.full((1,), value)
    near = torch.stack([at.nextafter(-at - 1e38), at, at.nextafter(at + 1e38), at - 1e35, at + 1e35], dim=1)
    assert bin_index(near, at, at, 1000).tolist() == [[0, 0, 999, 0, 999]]


def test_subnormal_numbers_may_be_flushed() -> None:
    """Where a process takes subnormal numbers for 0, as compiled code makes it, dead neurons are counted the same."""
    activations = torch.tensor([[0.0, 1.0, -1.0], [5.0, 5.5, 4.5]])
    at = activations[:, 0].clone()
    expected = histogram_counts(activations, at, at, 10)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormal numbers")
    try:
        assert torch.equal(histogram_counts(activations, at, at, 10), expected)
    finally:
        torch.set_flush_denormal(False)


def test_a_bin_for_everything() -> None:
    """No activation, NaN included, is given an index that a histogram does not have."""
    activations = torch.tensor([[torch.nan, torch.inf, -torch.inf, 3e38, -3e38]])
    for low, high in ((0.0, 1.0), (0.0, 0.0), (-3e38, 3e38)):
        index = bin_index(activations, torch.tensor([low]), torch.tensor([high]), 10)
        assert bool(((index >= 0) & (index < 10)).all())
        assert index[0, 0] == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_extremes_are_those_of_numpy(layout: str) -> None:
    """Minimum and maximum are those of all activations of a neuron, however these lie in memory."""
    to, back = LAYOUTS[layout]
    activations = torch.randn(7, 5, 11).permute(to).contiguous().permute(back)
    minimum, maximum = extremes(activations)
    assert np.array_equal(minimum.numpy(), activations.numpy().min(axis=(1, 2)))
    assert np.array_equal(maximum.numpy(), activations.numpy().max(axis=(1, 2)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(300, 3, 1500), (2, 3, 400_000), (700_000, 2, 1)])
def test_extremes_of_many_pieces(layout: str, shape: tuple[int, int, int], threads: Callable[[int], None]) -> None:
    """Extremes found in pieces, by several threads, are those of the whole."""
    to, back = LAYOUTS[layout]
    activations = torch.randn(shape)
    threads(3)
    minimum, maximum = extremes(activations.permute(to).contiguous().permute(back))
    assert torch.equal(minimum, activations.amin(dim=(1, 2)))
    assert torch.equal(maximum, activations.amax(dim=(1, 2)))


@pytest.mark.parametrize("shape", [(4,), (4, 6), (4, 2, 3, 5)])
def test_extremes_of_any_number_of_axes(shape: tuple[int, ...]) -> None:
    """All axes but the neurons' are samples."""
    activations = torch.randn(shape)
    minimum, maximum = extremes(activations)
    assert torch.equal(minimum, activations.reshape(4, -1).min(dim=1).values)
    assert torch.equal(maximum, activations.reshape(4, -1).max(dim=1).values)


def test_extremes_need_activations() -> None:
    """Without any activation there is nothing that could be lowest."""
    with pytest.raises(ValueError, match=r"without activations, got \[3, 0\]"):
        extremes(torch.empty(3, 0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_extremes_keep_the_dtype(dtype: torch.dtype) -> None:
    """Extremes are activations, so they have their dtype and their very values."""
    activations = torch.randn(3, 100).to(dtype)
    for extreme, expected in zip(extremes(activations), activations.aminmax(dim=1), strict=True):
        assert torch.equal(extreme, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_extremes_hand_on_nan(layout: str) -> None:
    """A neuron with one NaN has NaN for its extremes, and no other neuron has."""
    to, back = LAYOUTS[layout]
    activations = torch.randn(7, 5, 11)
    activations[3, 2, 9] = torch.nan
    for extreme in extremes(activations.permute(to).contiguous().permute(back)):
        assert extreme.isnan().tolist() == [neuron == 3 for neuron in range(7)]


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [1, 10, 1000])
def test_counts_equal_the_oracle(dtype: torch.dtype, bins: int) -> None:
    """Counts are those of NumPy's bincount of the written rule."""
    activations, low, high = example(6, 4000, dtype)
    counts = histogram_counts(activations, low, high, bins)
    assert counts.dtype == torch.int64
    assert np.array_equal(counts.numpy(), counts_by_numpy(activations.numpy(), low.numpy(), high.numpy(), bins))


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 4, 5), (150, 30, 200), (2, 3, 300_000), (1, 1, 1), (70_000, 2, 7)])
def test_large_and_strided_activations_equal_the_oracle(layout: str, shape: tuple[int, int, int]) -> None:
    """Counting in pieces, by several threads, in any memory order, counts the same as in one piece."""
    neurons, _, _ = shape
    activations, low, high = example(neurons, max(2, shape[1] * shape[2]))
    activations = activations[:, : shape[1] * shape[2]].reshape(shape)
    to, back = LAYOUTS[layout]
    counts, below, above = empty(neurons, 10)
    accumulate_histogram_(counts, below, above, activations.permute(to).contiguous().permute(back), low, high)
    values, lows, highs = activations.numpy(), low.numpy(), high.numpy()
    assert np.array_equal(counts.numpy(), counts_by_numpy(values, lows, highs, 10))
    assert np.array_equal(below.numpy(), (values < lows[:, None, None]).sum(axis=(1, 2)))
    assert np.array_equal(above.numpy(), (values > highs[:, None, None]).sum(axis=(1, 2)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("piece", [7, 100, 2**26])
def test_the_way_of_accelerators_counts_the_same(layout: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done on other devices, tried on the CPU, equals the oracle in pieces of any size."""
    monkeypatch.setattr(histogram, "_PIECE", piece)
    activations, low, high = example(9, 60)
    activations = activations.reshape(9, 5, 12)
    to, back = LAYOUTS[layout]
    counts, below, above = empty(9, 10)
    view = activations.permute(to).contiguous().permute(back)
    histogram._accumulate_on_accelerator_(counts, below, above, view, low, high)
    values, lows, highs = activations.numpy(), low.numpy(), high.numpy()
    assert np.array_equal(counts.numpy(), counts_by_numpy(values, lows, highs, 10))
    assert np.array_equal(below.numpy(), (values < lows[:, None, None]).sum(axis=(1, 2)))
    assert np.array_equal(above.numpy(), (values > highs[:, None, None]).sum(axis=(1, 2)))


def test_accelerators_count_nan_in_the_first_bin() -> None:
    """Where nothing may wait for the device, NaN has a bin, and the caller finds it in the extremes."""
    counts, below, above = empty(1, 4)
    activations = torch.tensor([[torch.nan, 0.9, torch.nan]])
    histogram._accumulate_on_accelerator_(counts, below, above, activations, torch.zeros(1), torch.ones(1))
    assert counts.tolist() == [[2, 0, 0, 1]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("deterministic", [False, True])
def test_cuda_counts_without_waiting(deterministic: bool) -> None:
    """On CUDA the counts are those of the CPU, also in deterministic mode, and nothing waits for the device."""
    activations, low, high = example(300, 5000)
    expected = histogram_counts(activations, low, high, 100)
    on_device = [tensor.cuda() for tensor in (*empty(300, 100), activations, low, high)]
    torch.use_deterministic_algorithms(deterministic)
    torch.cuda.set_sync_debug_mode("error")
    try:
        accumulate_histogram_(*on_device, observed=extremes(on_device[3]))
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)
    assert torch.equal(on_device[0].cpu(), expected)


@pytest.mark.usefixtures("loops")
def test_views_that_are_not_dense_are_counted() -> None:
    """Slices, such as tokens without their class token, and expanded views are counted like their copies."""
    tokens = torch.randn(6, 50, 200)
    low, high = torch.full((200,), -2.0), torch.full((200,), 2.0)
    for view in (tokens[:, 1:, :].permute(2, 0, 1), tokens[0, 0, :, None].expand(200, 300), tokens[0, 0]):
        counts, below, above = empty(200, 16)
        accumulate_histogram_(counts, below, above, view, low, high)
        copy = view.reshape(200, -1).contiguous()
        assert torch.equal(counts, histogram_counts(copy, low, high, 16))
        assert torch.equal(below + above, (copy.abs() > 2).sum(dim=1))


@pytest.mark.usefixtures("loops")
def test_threads_do_not_change_counts(threads: Callable[[int], None]) -> None:
    """One thread and four count the same."""
    activations, low, high = example(300, 1500)
    threads(1)
    one = histogram_counts(activations, low, high, 100)
    threads(4)
    assert torch.equal(histogram_counts(activations, low, high, 100), one)


@given(data=st.data())
def test_every_activation_is_counted_once(data: st.DataObject) -> None:
    """Rows sum to the number of samples, whatever the values, ranges and bins."""
    numbers = st.floats(-1e6, 1e6, width=32)
    neurons, samples, bins = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 30), st.integers(1, 50)))
    values = data.draw(st.lists(numbers, min_size=neurons * samples, max_size=neurons * samples))
    ends = [sorted(data.draw(st.tuples(numbers, numbers))) for _ in range(neurons)]
    low, high = torch.tensor(ends).unbind(1)
    counts = histogram_counts(torch.tensor(values).view(neurons, samples), low, high, bins)
    assert counts.shape == (neurons, bins)
    assert bool((counts >= 0).all())
    assert counts.sum(dim=1).tolist() == [samples] * neurons


@given(cuts=st.lists(st.integers(0, 400), max_size=6), seed=st.integers(0, 1000))
def test_any_split_and_order_give_the_same_counts(cuts: list[int], seed: int) -> None:
    """Batches of any sizes, in any order, of shuffled samples leave bit-identical counts."""
    activations, low, high = example(3, 400)
    whole = empty(3, 20)
    accumulate_histogram_(*whole, activations, low, high)
    random = torch.Generator().manual_seed(seed)
    shuffled = activations[:, torch.randperm(400, generator=random)]
    edges = [0, *sorted(cuts), 400]
    parts = empty(3, 20)
    for batch in torch.randperm(len(edges) - 1, generator=random).tolist():
        accumulate_histogram_(*parts, shuffled[:, edges[batch] : edges[batch + 1]], low, high)
    assert all(torch.equal(part, all_at_once) for part, all_at_once in zip(parts, whole, strict=True))


@pytest.mark.usefixtures("loops")
def test_outside_is_counted_with_and_without_known_extremes() -> None:
    """Only values strictly outside are below or above, and extremes that the caller has change no count."""
    low, high = torch.tensor([0.0, 0.0, 0.5, -9.0]), torch.tensor([1.0, 0.0, 0.5, 9.0])
    activations = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5]).expand(4, 5)
    for observed in (None, extremes(activations)):
        counts, below, above = empty(4, 2)
        accumulate_histogram_(counts, below, above, activations, low, high, observed=observed)
        assert below.tolist() == [1, 1, 2, 0]
        assert above.tolist() == [1, 3, 2, 0]
        assert counts.tolist() == [[2, 3], [2, 3], [3, 2], [1, 4]]


@pytest.mark.usefixtures("loops")
def test_the_neurons_of_other_layers_are_left_alone() -> None:
    """Counts are added to a slice of a larger flat state without touching its neighbours."""
    state = torch.full((30,), 5, dtype=torch.int64)
    accumulate_histogram_(
        state[10:20].view(2, 5),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
        torch.tensor([[0.0, 0.5], [9.0, -9.0]]),
        torch.zeros(2),
        torch.ones(2),
    )
    assert state.tolist() == [5] * 10 + [6, 5, 6, 5, 5, 6, 5, 5, 5, 6] + [5] * 10


@pytest.mark.usefixtures("loops")
def test_counts_beyond_32_bits_go_on() -> None:
    """A neuron that has seen 2**31 activations, and one that has seen 2**40, count the next one."""
    counts, below, above = empty(2, 3)
    counts[:, 0] = torch.tensor([2**31 - 1, 2**40])
    below[:] = 2**32
    accumulate_histogram_(counts, below, above, torch.full((2, 2), -1.0), torch.zeros(2), torch.ones(2))
    assert counts[:, 0].tolist() == [2**31 + 1, 2**40 + 2]
    assert below.tolist() == [2**32 + 2] * 2


def test_deterministic_mode_is_obeyed() -> None:
    """Counting raises nothing and changes nothing when torch is told to be deterministic."""
    activations, low, high = example(80, 2000)
    expected = histogram_counts(activations, low, high, 50)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(histogram_counts(activations, low, high, 50), expected)
    finally:
        torch.use_deterministic_algorithms(False)


def test_no_gradient_is_tracked() -> None:
    """Activations that require gradients are counted, and the counts hold no graph."""
    activations, low, high = example(3, 100)
    counts = histogram_counts(activations.requires_grad_(), low, high, 10)
    assert not counts.requires_grad
    assert torch.equal(counts, histogram_counts(activations.detach(), low, high, 10))


@pytest.mark.parametrize("inference", [True, False])
def test_counting_leaves_the_caller_free_to_change_the_state(inference: bool) -> None:
    """A state filled inside and outside of inference mode stays an ordinary tensor."""
    counts, below, above = empty(1, 2)
    with torch.inference_mode(inference):
        activations = torch.rand(1, 200_000)
        accumulate_histogram_(counts, below, above, activations, torch.zeros(1), torch.ones(1))
    counts += 1
    assert int(counts.sum()) == 200_002


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 3, 0), (1, 0, 2, 3), (3, 1, 0, 2)])
def test_activations_of_any_number_of_axes(order: tuple[int, ...]) -> None:
    """Four axes in any order in memory, and every other of one, are counted as their samples in a row."""
    back = [order.index(axis) for axis in range(4)]
    activations = torch.randn([(5, 3, 6, 4)[axis] for axis in order]).permute(back)[:, :, ::2]
    low, high = torch.full((5,), -1.0), torch.full((5,), 1.5)
    state, expected = empty(5, 10), empty(5, 10)
    accumulate_histogram_(*state, activations, low, high)
    accumulate_histogram_(*expected, activations.flatten(1), low, high)
    assert all(torch.equal(*pair) for pair in zip(state, expected, strict=True))


@given(data=st.data())
def test_compiled_loops_count_as_those_of_numpy(data: st.DataObject) -> None:
    """Ranges and windows of any type, with activations outside, at their ends and not a number, of any layout."""
    seed, layout = data.draw(st.integers(0, 2**31)), data.draw(st.sampled_from([*LAYOUTS]))
    shape = data.draw(st.tuples(st.integers(1, 140), st.integers(1, 9), st.integers(1, 140)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    bins = data.draw(st.sampled_from([2, 17, 1000]))
    generator = torch.Generator().manual_seed(seed)
    there, back = LAYOUTS[layout]
    activations = torch.randn([shape[axis] for axis in there], generator=generator).to(dtype).permute(back)
    activations = activations[:, :, :: data.draw(st.integers(1, 2))]
    low = -torch.rand(shape[0], generator=generator)
    high = torch.where(torch.rand(shape[0], generator=generator) < 0.1, low, torch.rand(shape[0], generator=generator))
    low[: shape[0] // 9] = activations[: shape[0] // 9].float().amin(dim=(1, 2)).clamp(max=0)
    found = []
    for compiled in (histogram.compiled_count_(), None):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(histogram, "compiled_count_", lambda compiled=compiled: compiled)
            state = empty(shape[0], bins)
            accumulate_histogram_(*state, activations, low, high)
            on_grid = torch.zeros_like(state[0])
            windows = grid(*(end.float() for end in extremes(activations)), bins)
            accumulate_on_grid_(on_grid, activations, *windows)
            found.append(torch.cat([*(part.flatten() for part in state), on_grid.flatten()]))
    assert torch.equal(*found)
    assert found[0].sum() >= 2 * activations.numel()


def test_without_numba_numpy_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A numba that is missing or switched off is passed over in silence, one that cannot be imported with a warning."""
    histogram.compiled_count_.cache_clear()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert histogram.compiled_count_() is None
    monkeypatch.delenv("NUMBA_DISABLE_JIT")
    histogram.compiled_count_.cache_clear()
    monkeypatch.setitem(sys.modules, "vdna_metrics.functional.numba_histogram", None)
    with pytest.warns(UserWarning, match="numba is installed but cannot be used"):
        assert histogram.compiled_count_() is None
    histogram.compiled_count_.cache_clear()


def test_nothing_to_count() -> None:
    """No samples leave empty histograms, and no neurons none."""
    assert histogram_counts(torch.empty(2, 0), torch.zeros(2), torch.ones(2), 3).tolist() == [[0] * 3] * 2
    assert histogram_counts(torch.empty(0, 5), torch.zeros(0), torch.ones(0), 3).shape == (0, 3)


def test_one_range_serves_all_neurons() -> None:
    """Numbers for the ends of the range hold for every neuron, in the dtype of the activations."""
    activations = torch.rand(3, 1000, dtype=torch.float64)
    expected = histogram_counts(activations, torch.full((3,), 0.1).double(), torch.full((3,), 0.7).double(), 9)
    assert torch.equal(
        histogram_counts(activations, torch.tensor(0.1).double(), torch.tensor(0.7).double(), 9), expected
    )
    ends = torch.full((3,), 0.1, dtype=torch.float64), torch.full((3,), 0.7, dtype=torch.float64)
    assert torch.equal(histogram_counts(activations, 0.1, 0.7, 9), histogram_counts(activations, *ends, 9))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_activations_are_refused(value: float) -> None:
    """NaN and infinity have no bin."""
    activations = torch.zeros(2, 5)
    activations[1, 3] = value
    with pytest.raises(ValueError, match="activations hold NaN or infinity"):
        histogram_counts(activations, torch.zeros(2), torch.ones(2), 10)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"activations": torch.zeros(2, 3, dtype=torch.int64)}, TypeError, "floating activations, got torch.int64"),
        ({"activations": torch.zeros(2)}, ValueError, r"must be \[neurons, samples\], got \[2\]"),
        ({"activations": torch.zeros(2, 3, 4)}, ValueError, r"must be \[neurons, samples\], got \[2, 3, 4\]"),
        ({"bins": 0}, ValueError, "from 1 to 16777216, got 0"),
        ({"bins": 2**24 + 1}, ValueError, "from 1 to 16777216, got 16777217"),
        ({"bins": 10.0}, TypeError, "bins must be an int, got 10.0"),
        ({"bins": True}, TypeError, "bins must be an int, got True"),
        ({"low": torch.zeros(3)}, ValueError, r"low must be \[neurons\], got \[3\] for 2 neurons"),
        ({"high": torch.ones(2, 1)}, ValueError, r"high must be \[neurons\], got \[2, 1\] for 2 neurons"),
        ({"low": torch.tensor([0.0, 2.0])}, ValueError, "for 1 of 2 neurons: neuron 1 has low 2.0, high 1.0"),
        ({"high": torch.tensor([torch.inf, 2.0])}, ValueError, "low and high must be finite"),
        ({"low": torch.full((2,), -3e38), "high": torch.full((2,), 3e38)}, ValueError, "too wide"),
        ({"high": torch.full((2,), 1e38)}, ValueError, r"\(high - low\) \* 10 bins does not fit torch.float32"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    """Each mistake has an error that shows what was given."""
    good: dict[str, object] = {
        "activations": torch.zeros(2, 3),
        "low": torch.zeros(2),
        "high": torch.ones(2),
        "bins": 10,
    }
    with pytest.raises(error, match=message):
        histogram_counts(**{**good, **arguments})


def test_counts_must_be_contiguous() -> None:
    """Counts in another memory order would be filled in the wrong places, so they are refused."""
    with pytest.raises(ValueError, match=r"contiguous, got strides \(1, 2\)"):
        accumulate_histogram_(
            torch.zeros(3, 2, dtype=torch.int64).T, *empty(2, 3)[1:], torch.zeros(2, 4), torch.zeros(2), torch.ones(2)
        )


@pytest.mark.usefixtures("loops")
def test_memory_is_bounded(threads: Callable[[int], None]) -> None:
    """What counting a large batch allocates is a few pieces, far from a copy of the batch."""
    activations = torch.rand(4, 16_000_000)
    low, high = torch.zeros(4), torch.full((4,), 0.9)
    threads(1)
    accumulate_histogram_(*empty(4, 100), activations[:, :9], low, high)  # numba compiles
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        tracemalloc.start()  # sees NumPy's buffers, and here not what the profiler imports
        try:
            accumulate_histogram_(*empty(4, 100), activations, low, high)
            _, peak_of_numpy = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    largest_of_torch = max(event.cpu_memory_usage for event in profile.events())
    assert 0 < largest_of_torch <= 2 * 2**20
    assert peak_of_numpy < 4 * 2**20
