"""The EMD without noise."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from vdna_metrics.analysis.uncertainty import (
    no_noise,
)

# Of 16 splits, the groups of the first half.
FIRST_HALVES = {
    5: ["12", "14", "13", "01", "02", "24", "04", "23", "34", "03", "03", "13", "23", "34", "12", "01"],
    6: ["124", "045", "013", "345", "015", "135", "025", "235", "034", "023", "135", "235", "012", "013", "234", "045"],
}


def test_noise_is_extrapolated_to_none() -> None:
    """`c₀` of the parabola in √r through the EMD at r = 1, 2, 4, here by numerical integration; no noise, no change."""
    stream = np.random.default_rng(0)
    difference, variance = stream.normal(size=6), stream.uniform(0.1, 2, 6)
    grid = np.linspace(-12, 12, 20001)
    density = stats.norm.pdf(grid) * (grid[1] - grid[0])
    noisy = []
    for noise in (1, 2, 4):
        places = difference[:, None] + np.sqrt((noise - 1) * variance)[:, None] * grid
        noisy.append(float((abs(places) @ density).sum()))
    expected = np.polyfit(np.sqrt([1, 2, 4]), noisy, 2)[-1]
    tensors = torch.from_numpy(difference), torch.from_numpy(variance)
    assert float(no_noise._without_noise(*tensors)) == pytest.approx(expected, rel=1e-5)
    plain = no_noise._without_noise(tensors[0], torch.zeros(6, dtype=torch.float64))
    assert float(plain) == pytest.approx(abs(difference).sum())


@pytest.mark.parametrize("groups", [2, 3, 5, 10])
def test_halves_are_unlike(groups: int) -> None:
    """Each parting has every group once, in halves that differ by one at most; their degrees are at most groups − 1."""
    halves, freedom = no_noise._halves(groups)
    for first, second in halves:
        assert sorted(first + second) == list(range(groups))
        assert abs(len(first) - len(second)) <= 1
    assert 0.7 * (groups - 1) <= freedom <= groups - 1 + 1e-9


def test_halves_are_these() -> None:
    """The halves of 5 and 6 groups, to the group: they may not change with a machine or a version of NumPy."""
    firsts = {groups: ["".join(map(str, first)) for first, _ in no_noise._halves(groups)[0]] for groups in (5, 6)}
    assert firsts == FIRST_HALVES


@pytest.mark.parametrize("groups", [5, 9, 10, 12, 20])
def test_halves_do_not_hang_on_rounding(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No product of floats chooses them: one that rounds otherwise, as another CPU's BLAS does, changes nothing."""
    choose = no_noise._halves.__wrapped__
    expected, stream = choose(groups), np.random.default_rng(1)

    class Rounded(np.ndarray[Any, Any]):
        def __matmul__(self, other: Any) -> Any:
            return super().__matmul__(other) * (1 + 1e-16 * stream.normal())

    class Stream:
        def __init__(self, seed: int) -> None:
            self._stream = np.random.mtrand.RandomState(seed)

        def permutation(self, values: Any) -> Any:
            return self._stream.permutation(values).view(Rounded)

    with monkeypatch.context() as patched:
        patched.setattr(no_noise.np.random, "RandomState", Stream)
        assert choose(groups) == expected


@pytest.mark.slow
def test_halves_are_one_on_every_kind_of_cpu() -> None:
    """OpenBLAS's kernels of another CPU give the same halves and degrees of freedom."""
    script = (
        "from vdna_metrics.analysis.uncertainty import no_noise\n"
        "print([no_noise._halves(groups) for groups in (5, 6, 9, 10, 12, 20)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "OPENBLAS_CORETYPE": core}, text=True,
            capture_output=True, check=True,
        ).stdout
        for core in ("Haswell", "Prescott")
    }  # fmt: skip
    assert len(found) == 1
