"""Small inputs that the first version took, hung at or ended in other errors; other tests build the like themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vdna_metrics import load_vdna, open_images
from vdna_metrics.references import import_statistics

CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "h0.npy": (open_images, r"is cut: \d+ bytes of its array of shape \[100000000000, 8, 8, 3\] are missing"),
    "h1.npy": (open_images, "has no readable array: expected the header of an array"),
    "nf19.npy": (open_images, "has no readable array: expected the header of an array"),
    "objc.npz": (open_images, r"member 'arr_0\.npy': expected an array of numbers or text, got one of objects"),
    "two.npz": (open_images, r"it has 'arr_0' twice: members 'arr_0\.npy' and 'arr_0'"),
    "cs5.npz": (open_images, r"member 'arr_0\.npy': expected the header of an array"),
    "zlf0.npz": (open_images, r"member 'arr_0\.npy': expected it stored or deflated, got compression 14"),
    "gaussian_n-5.npz": (load_vdna, "n_images: expected a whole number from 0 .*, got -5"),
    "gaussian_first_missing.npz": (load_vdna, r"expected the arrays \['centre', 'first', 'second'\], got"),
    "layer_gaussian_scatter_scalar.npz": (load_vdna, r"member 'scatter\.npy': expected f8 \[136\], got f8 \[\]"),
    "r_longbinput2.pkl": (import_statistics, "holds a NoneType, statistics are a dict"),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", CASES)
def test_hostile_cases_are_refused_by_name(name: str, shared: Path) -> None:
    """Each is a `ValueError` that names the file and what is wrong in it."""
    path = shared / "cases" / name
    if not path.is_file():
        pytest.skip(f"no file {path}")
    read, message = CASES[name]
    with pytest.raises(ValueError, match=rf"{name}'?:? .*{message}"):
        read(path)
