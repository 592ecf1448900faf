"""Fabric, Accelerate and torchrun: each launched as its page says, with two processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vdna_metrics import ActivationRange

Recipe = Callable[[str], ModuleType]


def _alone(recipe: Recipe, weights: dict[str, torch.Tensor], *more: torch.Tensor) -> float:
    """The distance that one process finds for a generator's images."""
    tiny = recipe("tiny")
    generator = tiny.Generator()
    generator.load_state_dict(weights)
    metric = recipe("torchrun_loop").evaluation_metric()
    with torch.no_grad():
        for noise in tiny.noise(60, seed=11).split(8):
            metric.update(tiny.to_uint8(generator(noise)))
    for images in more:
        metric.update(images)
    return metric.compute().item()


@pytest.mark.slow
def test_fabric(launch: Callable[..., str], recipe: Recipe, tmp_path: Path) -> None:
    """Two processes of a Fabric loop find what one finds for the same generator."""
    pytest.importorskip("lightning", reason="needs the extra `training`")
    found = json.loads(launch("fabric_loop.py", tmp_path, "--devices", 2))
    distances = found["distances"]
    assert found["processes"] == 2
    saved = torch.load(tmp_path / "fabric.ckpt", weights_only=True)
    assert distances[-1] == _alone(recipe, saved["generator"])
    assert distances[-1] < distances[0]


@pytest.mark.slow
def test_accelerate(
    launch: Callable[..., str], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes of an Accelerate loop find what one finds for the same generator, without any gathering."""
    pytest.importorskip("accelerate", reason="needs the extra `training`")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    found = json.loads(
        launch("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "accelerate_loop.py", tmp_path)
    )
    distances = found["distances"]
    assert found["processes"] == 2
    assert distances[-1] == _alone(recipe, torch.load(tmp_path / "accelerate.pt", weights_only=True))
    assert distances[-1] < distances[0]


@pytest.mark.slow
def test_torchrun(launch: Callable[..., str], recipe: Recipe, tmp_path: Path) -> None:
    """Two processes under torchrun find what one finds; states saved in between count once when they are loaded."""
    found = json.loads(
        launch("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "torchrun_loop.py", tmp_path)
    )
    weights = torch.load(tmp_path / "torchrun.pt", weights_only=True)
    assert found["distance"] == _alone(recipe, weights)
    more = [recipe("torchrun_loop").images_after(rank) for rank in range(2)]
    assert found["went on"] == found["resumed"] == [found["distance"], _alone(recipe, weights, *more)]


def test_a_loaded_metric_computes_without_a_warning(recipe: Recipe, tmp_path: Path) -> None:
    """States from a checkpoint are images seen: no warning that nothing was, and on one process nothing to sum."""
    tiny, torchrun_loop = recipe("tiny"), recipe("torchrun_loop")
    metric, resumed = torchrun_loop.evaluation_metric(), torchrun_loop.evaluation_metric()
    metric.update(tiny.real_images()[:9])
    torchrun_loop.save(metric, tmp_path / "metric.pt")
    torchrun_loop.load(resumed, tmp_path / "metric.pt")
    assert resumed.compute() == metric.compute()
    assert resumed.dna().n_images == 9


def test_inside_a_compiled_step(recipe: Recipe) -> None:
    """Metrics may be updated inside a compiled function, whatever the batch's size."""
    tiny, torchrun_loop = recipe("tiny"), recipe("torchrun_loop")
    inside, outside = torchrun_loop.evaluation_metric(), torchrun_loop.evaluation_metric()
    extremes = ActivationRange(tiny.extractor()), ActivationRange(tiny.extractor())
    generator = tiny.Generator().requires_grad_(False)

    @torch.compile(backend="eager")
    def step(noise: torch.Tensor) -> torch.Tensor:
        images = tiny.to_uint8(generator(noise))
        inside.update(images)
        extremes[0].update(images)
        return images

    for seed, n in enumerate((4, 6, 5)):
        images = step(tiny.noise(n, seed))
        outside.update(images)
        extremes[1].update(images)
    assert torch.equal(inside.generated_state, outside.generated_state)
    assert all(torch.equal(a, b) for a, b in zip(*(e.metric_state.values() for e in extremes), strict=True))
