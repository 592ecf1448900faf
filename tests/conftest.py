"""What every test may rely on: fixed seeds, one thread a worker, no display, and the data beside the project."""

import os
from pathlib import Path

# Before torch and matplotlib are imported: workers that share the cores must not each start a thread for every core,
# and tests that start processes of their own hand these settings on.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import pytest
import torch
from hypothesis import settings

# Before Triton is imported, which nothing did yet: where there is no GPU, its interpreter runs the kernels.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# A shared machine is slow now and then, and a failure must come again when it is looked at.
settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs, weights and oracles that lies beside the project; tests skip where there is none."""
    folder = Path(os.environ.get("VDNA_METRICS_SHARED", Path(__file__).parents[2] / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"shared data not found at {folder}; set VDNA_METRICS_SHARED")
    return folder
