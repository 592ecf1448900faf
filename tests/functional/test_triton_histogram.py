import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vdna_metrics.distributions import AutoHistogramDistribution, HistogramDistribution, base
from vdna_metrics.functional import accumulate_histogram_, bin_index, extremes, grids, histogram, on_cuda
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges

pytest.importorskip("triton")
from vdna_metrics.functional import triton_histogram

# The interpreter computes in NumPy, which says what a GPU passes over in silence.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # there, Triton's interpreter runs the kernels

# `[neurons, ...]` views of what layers put out, and a type each.
LAYERS: dict[str, Callable[[], Tensor]] = {
    "tokens": lambda: torch.randn(3, 29, 21, dtype=torch.bfloat16).permute(2, 0, 1),
    "tokens without the first": lambda: torch.randn(3, 30, 21)[:, 1:].permute(2, 0, 1),
    "map": lambda: torch.randn(3, 5, 7, 9, dtype=torch.float16).relu().flatten(2).transpose(0, 1),
    "map, channels last": lambda: torch.randn(2, 7, 9, 5).permute(3, 0, 1, 2),
    "every other position": lambda: torch.randn(5, 3, 11, 7, dtype=torch.float64)[:, :, ::2, 1:],
    "pooled": lambda: torch.randn(6, 33).T[:, :, None],
    "one activation": lambda: torch.randn(1, 1),
}


@pytest.fixture(params=[False, True], ids=["atomic additions", "shared memory"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to count, whichever the installed Triton is given."""
    if DEVICE == "cuda" and request.param and not triton_histogram.SHARED:
        pytest.skip("this Triton counts in shared memory by ballots, and has no mask for them")
    monkeypatch.setattr(triton_histogram, "SHARED", request.param)
    return bool(request.param)


def count(activations: Tensor, low: Tensor, high: Tensor, bins: int) -> tuple[list[Tensor], float]:
    """Counts, below and above by the kernel, and its note."""
    neurons = len(activations)
    totals = [torch.zeros(shape, dtype=torch.int64, device=DEVICE) for shape in ((neurons, bins), neurons, neurons)]
    note = torch.zeros(1, device=DEVICE)
    on_device = [tensor.to(DEVICE) for tensor in (activations, low, high)]
    triton_histogram.count_in_ranges_(*totals, *on_device, note)
    return [total.cpu() for total in totals], note.item()


def count_on_cpu(activations: Tensor, low: Tensor, high: Tensor, bins: int) -> list[Tensor]:
    """The same, on the CPU."""
    neurons = len(activations)
    totals = [torch.zeros(shape, dtype=torch.int64) for shape in ((neurons, bins), neurons, neurons)]
    accumulate_histogram_(*totals, activations, low, high)
    return totals


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    """Tensors of both are equal bit for bit."""
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layer", LAYERS)
def test_counts_are_those_of_the_cpu(layer: str, shared: bool) -> None:
    """Counts, below and above are those of the CPU bit for bit, in any type and any order in memory."""
    activations = LAYERS[layer]()
    low, high = torch.linspace(-1.5, -0.2, len(activations)), torch.linspace(0.3, 2, len(activations))
    found, note = count(activations, low, high, 10)
    assert_equal(found, count_on_cpu(activations, low, high, 10))
    assert int(found[0].sum()) == activations.numel()
    assert note == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bins_next_to_every_edge(dtype: torch.dtype, shared: bool) -> None:
    """Edges and their neighbours are in the bins of `bin_index`, in the type of the ranges if that is wider."""
    low, high, bins = torch.tensor([0.1, -7.3], dtype=dtype), torch.tensor([0.7, 11.9], dtype=dtype), 1000
    edges = low[:, None] + (high - low)[:, None] * torch.arange(bins + 1, dtype=dtype) / bins
    far = torch.full_like(edges, torch.inf)
    activations = torch.cat([edges, edges.nextafter(far), edges.nextafter(-far)], dim=1)
    for values in (activations, activations.float()):
        expected = torch.stack([row.bincount(minlength=bins) for row in bin_index(values, low, high, bins)])
        assert torch.equal(count(values, low, high, bins)[0][0], expected)


def test_what_is_not_finite_is_noted_and_counted_once(shared: bool) -> None:
    """Each of NaN and the infinities makes the note NaN, and is in the bin that `bin_index` gives it."""
    low, high = torch.tensor([0.0, -1.0]), torch.tensor([1.0, 1.0])
    for value in (torch.nan, torch.inf, -torch.inf):
        activations = torch.rand(2, 40)
        activations[1, 7] = value
        found, note = count(activations, low, high, 4)
        expected = torch.stack([row.bincount(minlength=4) for row in bin_index(activations, low, high, 4)])
        assert torch.equal(found[0], expected)
        assert note != note
        assert found[1].tolist() == [0, value == -torch.inf]
        assert found[2].tolist() == [0, value == torch.inf]


def test_dead_neurons(shared: bool) -> None:
    """Where a range has no width, only what is above it is in the last bin, however near."""
    at = torch.tensor([0.0, -2.5, 1e-40, 1e30])
    near = torch.stack([at.nextafter(-at - 1e38), at, at.nextafter(at + 1e38), at - 1e35, at + 1e35], dim=1)
    assert_equal(count(near, at, at, 1000)[0], count_on_cpu(near, at, at, 1000))


def test_counts_outgrow_int32(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs add to int64 totals, and each counts fewer activations than its own counters hold."""
    monkeypatch.setattr(triton_histogram, "_MOST_SAMPLES", 150)
    monkeypatch.setattr(triton_histogram, "_MOST_TILES", 1)
    monkeypatch.setattr(triton_histogram, "_TILE", 64)
    monkeypatch.setattr(triton_histogram, "_TILE_SHARED", 64)
    activations = torch.randn(3, 4, 90).permute(0, 2, 1)
    low, high = torch.full((3,), -1.0), torch.full((3,), 1.0)
    many = [torch.full(shape, 2**40, dtype=torch.int64, device=DEVICE) for shape in ((3, 8), (3,), (3,))]
    on_device = [tensor.to(DEVICE) for tensor in (activations, low, high)]
    triton_histogram.count_in_ranges_(*many, *on_device, torch.zeros(1, device=DEVICE))
    assert_equal([total.cpu() - 2**40 for total in many], count_on_cpu(activations, low, high, 8))


@pytest.mark.parametrize("layer", LAYERS)
def test_counts_on_grids_are_those_of_the_cpu(layer: str, shared: bool) -> None:
    """On grids that hold the extremes, the kernel counts as the CPU does in float64."""
    activations = LAYERS[layer]()
    low, high = (end.float() for end in extremes(activations))
    _assert_same_on_grid(activations, low, high)


@pytest.mark.parametrize(("low", "high"), [(-3e38, 3e38), (-1e30, 1e-3), (-1e-40, 1e-44), (5.0, 5.0000005), (0.0, 0.0)])
def test_scaling_in_float32_is_exact(low: float, high: float, shared: bool) -> None:
    """Activations of any size, and those that vanish beside their bin's width, are where float64 puts them."""
    ends = torch.tensor([[low, high]])
    tiny = torch.tensor([[1e-45, -1e-45, 1e-38, -1e-38, 0.0, -0.0]]).clamp(low, high)
    activations = torch.cat([ends, tiny, low + (high / 2 - low / 2) * 2 * torch.rand(1, 50)], dim=1).clamp(low, high)
    _assert_same_on_grid(activations, ends[:, 0], ends[:, 1])


def _assert_same_on_grid(activations: Tensor, low: Tensor, high: Tensor, bins: int = 10) -> None:
    exponent, origin = grids.grid(low, high, bins)
    expected = torch.zeros(len(activations), bins, dtype=torch.int64)
    histogram.accumulate_on_grid_(expected, activations, exponent, origin)
    counts = torch.zeros_like(expected, device=DEVICE)
    triton_histogram.count_on_grids_(counts, activations.to(DEVICE), exponent.to(DEVICE), origin.to(DEVICE))
    assert torch.equal(counts.cpu(), expected)


@pytest.mark.parametrize("layer", LAYERS)
def test_extremes_are_those_of_the_cpu(layer: str) -> None:
    """Minimum and maximum in the type of the activations, and NaN where a neuron has any."""
    activations = LAYERS[layer]()
    for _ in range(2):
        for found, expected in zip(
            triton_histogram.extremes(activations.to(DEVICE)), extremes(activations), strict=True
        ):
            assert found.dtype == activations.dtype
            torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0, equal_nan=True)
        activations[len(activations) // 2, ..., -1] = torch.nan


def test_counts_move_to_coarser_grids_in_place() -> None:
    """Rows move as `regrid` moves them, and rows of the same grid are left alone; of too many bins none is moved."""
    counts = torch.randint(0, 2**40, (6, 12))
    counts[:, 5:] = 0
    exponent, origin = torch.tensor([0, -3, 0, 5, -126, 0]), torch.tensor([-4, 0, 7, -1, 3, -2])
    coarser = exponent + torch.tensor([0, 1, 0, 3, 60, 0])
    moved = torch.tensor([-7, -2, 7, -3, 0, -2])
    expected = grids.regrid(counts, exponent, origin, coarser, moved)
    found, steps = counts.to(DEVICE), [each.to(DEVICE) for each in (exponent, origin, coarser, moved)]
    assert triton_histogram.regrid_(found, *steps)
    assert torch.equal(found.cpu(), expected)
    assert torch.equal(expected[[2, 5]], counts[[2, 5]])
    assert not triton_histogram.regrid_(torch.zeros(1, 5000, dtype=torch.int64), *(each[:1] for each in steps))


@pytest.fixture
def by_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histograms are filled on the CPU as they are on CUDA."""
    if DEVICE == "cuda":
        pytest.skip("there the kernels are what `fill_` runs")
    for module in (histogram, grids):
        monkeypatch.setattr(module, "kernels_for", lambda _: triton_histogram)
    monkeypatch.setattr(base, "_on_cpu", lambda _: False)


def _batches() -> list[dict[str, Tensor]]:
    return [
        {"map": torch.randn(4, 5, 6) * scale, "tokens": torch.randn(5, 6, 3).permute(2, 0, 1) * scale}
        for scale in (1, 3, 2)
    ]


def _histograms() -> list[Any]:
    layout = NeuronLayout({"map": 4, "tokens": 3})
    ends = {"map": [1.0] * 4, "tokens": [2.0] * 3}
    low = {layer: [-end for end in each] for layer, each in ends.items()}
    ranges = ActivationRanges.from_extremes(low, ends)
    return [HistogramDistribution.empty(ranges, 12), AutoHistogramDistribution.empty(layout, 12)]


@pytest.mark.parametrize("which", [0, 1], ids=["given ranges", "auto ranges"])
def test_histograms_filled_by_kernels(which: int, request: pytest.FixtureRequest) -> None:
    """States are those of the CPU bit for bit, over batches that reach farther; what is not finite is noted once."""
    batches, expected = _batches(), _histograms()[which]
    for batch in batches:
        expected.fill_(batch)
    request.getfixturevalue("by_kernels")
    found = _histograms()[which]
    for batch in batches:
        found.fill_(batch)
    assert torch.equal(found.state, expected.state)
    batches[0]["tokens"][1, 2, 3] = torch.nan
    found.fill_(batches[0])
    assert found.state[:3].tolist() == [20, 0, 1]
    with pytest.raises(ValueError, match=r"not finite .* in layer tokens:"):
        found.check_finite()


def test_nothing_of_triton_is_imported_for_a_cpu() -> None:
    """Counting on a CPU imports no Triton; what else imports it, such as timm, is not ours to say."""
    lines = [
        "import sys, torch",
        "from vdna_metrics.functional import histogram_counts",
        "histogram_counts(torch.zeros(1, 2), 0.0, 1.0, 3)",
        "print('triton' in sys.modules)",
    ]
    child = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["False"]


def test_kernels_that_fail_are_said_once_and_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a kernel cannot be built or run, torch's operations count, and a warning says why."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no C compiler")

    device = torch.device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch, "zeros", fails)
    with pytest.warns(UserWarning, match="counted without Triton, .* failed with RuntimeError: no C compiler"):
        assert on_cuda._kernels_on.__wrapped__(device) is None
    monkeypatch.setitem(sys.modules, triton_histogram.__name__, None)  # as where Triton is not installed
    assert on_cuda._kernels_on.__wrapped__(device) is None
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert on_cuda._kernels_on.__wrapped__(device) is None


_COMPILE = """
import json, sys
import torch
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vdna_metrics.functional import triton_histogram

kernel = triton_histogram._count
for on_grid in (False, True):
    ends = "*i64" if on_grid else "*fp32"
    types = {name: "*i64" for name in ("counts", "below", "above")} | {"lower": ends, "upper": ends}
    types |= {"activations": "*bf16", "note": "*fp32"}
    constants = {"INNER": 0, "BINS": 1000, "ON_GRID": on_grid, "WIDE": False, "NEURONS": 8, "TILE": 8192}
    constants["ROW"] = 1024 if triton_histogram.SHARED else 0
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    options = {"num_warps": 16, "enable_fp_fusion": False}
    source = ASTSource(kernel, signature, constants)
    print(json.dumps(compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]))
"""


@pytest.mark.slow
def test_machine_code_rounds_as_the_rule_and_counts_in_shared_memory() -> None:
    """Compiled for Hopper, quotients are those of IEEE 754, nothing is fused, and histograms are atomic additions.

    The last holds from the release on that `SHARED` names; ballots would be many times slower.
    """
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    child = subprocess.run([sys.executable, "-c", _COMPILE], env=environment, capture_output=True, text=True)
    assert not child.returncode, child.stderr
    ranges, grid = map(json.loads, child.stdout.splitlines())
    assert "div.rn.f32" in ranges
    for code in (ranges, grid):
        assert not re.search(r"\bfma|div\.(full|approx)|mul\.\w*ftz|(add|sub)\.\w*ftz", code)
        if triton_histogram.SHARED:
            assert re.search(r"atom\S*\.shared\S*\.add", code)
            assert "vote" not in code
