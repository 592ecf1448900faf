"""`examples/gan_training.py`: the plain loop and the LightningModule, interrupts, planted faults."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),  # Lightning with torch 2.9+
    pytest.mark.filterwarnings("ignore:The '(train|val)_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module("gan_training")


OPTIONS = {"images": None, "procedural": 40, "seed": 0, "steps": 3, "evaluated": 12, "batch_size": 8}


@pytest.fixture
def trained(example: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """Train for some epochs of three steps; gives the run."""
    images = example.real_images(argparse.Namespace(**OPTIONS))
    real = example.build_dnas(images, example.create_extractor(example.NETWORK), ["histogram", "layer_gaussian"])
    metrics = example.distances(real)

    def train(way: str, epochs: int, minutes: float = float("inf"), resume: bool = False) -> Any:
        folder = tmp_path / way
        folder.mkdir(exist_ok=True)
        more = {"epochs": epochs, "minutes": minutes, "resume": resume, "output": folder}
        torch.manual_seed(0)
        run = example.Run(argparse.Namespace(**OPTIONS, **more), images, metrics)
        getattr(example, way)(example.GAN().to(example.DEVICE), run)
        return run

    return train


def test_both_ways_find_the_same_and_resume(trained: Callable[..., Any]) -> None:
    """The LightningModule finds what the plain loop finds; either, interrupted and resumed, ends as if it was not."""
    pytest.importorskip("lightning", reason="needs the extra `training`")
    whole = trained("train", epochs=2).history
    assert [record["images"] for record in whole] == [24, 48]
    for way in ("train", "train_with_lightning"):
        assert len(trained(way, epochs=5, minutes=0).history) == 1  # which is over after any epoch
        resumed = trained(way, epochs=2, resume=True).history
        assert len(resumed) == 2
        for found, expected in zip(resumed, whole, strict=True):
            assert {**found, "minutes": 0} == pytest.approx({**expected, "minutes": 0})


def test_one_forward_a_batch(example: ModuleType, trained: Callable[..., Any]) -> None:
    """The three distances of one batch take one forward of the network."""
    metrics = trained("train", epochs=1).metrics
    forwards: list[int] = []
    for stem in {metric.extractor.network.conv_stem for metric in metrics.values()}:
        stem.register_forward_hook(lambda module, inputs, output: forwards.append(len(inputs[0])))
    found = example.measure(metrics, torch.randint(0, 256, (2, 9, 3, 32, 32)).to(torch.uint8))
    assert set(found) == {"vdna_emd", "nfd", "lfd"}
    assert forwards == [9, 9]


def test_planted_faults(example: ModuleType) -> None:
    """With a perfect generator blur stands out most in the first layer, collapse to few images equally in all."""
    pool = example.real_images(argparse.Namespace(images=None, procedural=200, seed=0))

    def real_images_of(latents: Tensor) -> Tensor:  # the same latent vector, the same image
        return pool[(latents[:, 0] * 1e6).long() % len(pool)] / 127.5 - 1

    perfect = SimpleNamespace(eval=lambda: None, average=real_images_of)
    latents = [torch.randn(150, example.NOISE, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    real = example.build_dnas(pool, example.create_extractor(example.NETWORK))["histogram"]
    found = example.report.profiles(
        example.faulty(perfect, latents[0]), real, example.generated(perfect, latents[1]), example.Reading()
    )["VDNA-EMD from the generator's"]
    times = {
        name: {layer: distance / found["generator"][layer] for layer, distance in profile.items()}
        for name, profile in found.items()
    }
    blur, collapse = times["blur"], times["mode collapse"]
    assert max(blur.values()) == blur["blocks.0"] > 1.2 * blur["conv_head"] > 3
    assert 2 < max(collapse.values()) < 1.5 * min(collapse.values())


def test_the_command(example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, on a folder of images of any size, leaves three pictures and the figures behind them."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(torch.randint(0, 256, (60, 3, 24, 40)).float() / 255):
        example.report.save_image(image, folder / f"{i}.png")
    small = ["--epochs", "1", "--steps", "2", "--batch-size", "8", "--evaluated", "20"]
    monkeypatch.setattr(sys, "argv", ["x", *small, "--images", str(folder), "--output", str(tmp_path)])
    example.main()
    for name in ("curves", "profiles", "samples"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["history"]) == 1
    assert set(figures["floor"]) == {"vdna_emd", "nfd", "lfd"}
    assert set(figures["profiles"]["VDNA-EMD from real images"]) == {"generator", "mode collapse", "blur"}
