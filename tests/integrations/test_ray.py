"""Ray Data, with a Ray that runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from vdna_metrics import build_dnas, load_vdna


@pytest.mark.slow
def test_partial_dnas_add_up(
    launch: Callable[..., str], recipe: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNAs of batches of paths, made by two workers, add up to the counts of a single pass."""
    pytest.importorskip("ray.data", reason="needs the extra `training`, or Ray has no build for this Python")
    # Ray gives way to all other work unless it is told not to, and takes minutes on a machine that is busy.
    options = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    for name, value in options.items():
        monkeypatch.setenv(name, value)
    tiny, paths = recipe("tiny"), []
    for i, image in enumerate(tiny.real_images()[:37]):
        paths.append(tmp_path / f"{i:02}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(paths[-1])
    output, parts = tmp_path / "dna.npz", tmp_path / "parts"
    assert launch("ray_data.py", tmp_path, output, "--parts", parts, "--images-a-part", 8) == str(output)
    assert len(list(parts.iterdir())) == 5
    ranges = tiny.references()["histogram"].distribution.ranges
    single = build_dnas(paths, tiny.extractor(), ranges=ranges)["histogram"]
    assert torch.equal(load_vdna(output).distribution.state, single.distribution.state)
    assert single.n_images == 37
