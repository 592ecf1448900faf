"""The metric in a LightningModule: real runs of two processes, and small ones in this process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torchmetrics import Metric

from vdna_metrics import NeuronFrechetDistance

Recipe = Callable[[str], ModuleType]

pytest.importorskip("lightning", reason="needs the extra `training`")

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),  # Lightning with torch 2.9+
    pytest.mark.filterwarnings("ignore:The '(train|val|test)_dataloader' does not have many workers"),
]


def _validations(folder: Path) -> list[float]:
    rows = csv.DictReader((folder / "log" / "version_0" / "metrics.csv").read_text().splitlines())
    return [float(row["vdna_emd"]) for row in rows if row["vdna_emd"]]


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _metrics(recipe: Recipe) -> dict[str, Metric]:
    training = recipe("lightning_module").Training()
    return {"vdna_emd": training.vdna_emd, **training.frechet}


@pytest.mark.slow
def test_two_processes_with_checkpoints(launch: Callable[..., str], recipe: Recipe, tmp_path: Path) -> None:
    """Two processes log what one would; checkpoints hold no more than the model; a resumed run ends as a whole one."""
    options = ("--devices", 2, "--epochs", 3)
    checkpoint = tmp_path / "whole" / "epoch=0.ckpt"
    whole = json.loads(launch("lightning_module.py", tmp_path / "whole", *options))
    resumed = json.loads(launch("lightning_module.py", tmp_path / "resumed", *options, "--checkpoint", checkpoint))
    assert resumed == whole
    assert whole.pop("processes") == 2
    *validations, tested = _validations(tmp_path / "whole")
    assert len(validations) == 3
    assert _validations(tmp_path / "resumed") == [*validations[1:], tested]
    assert tested == pytest.approx(whole["vdna_emd"])

    saved = torch.load(checkpoint, weights_only=True)
    assert set(saved["state_dict"]) == {"generator.layers.0.weight", "generator.layers.0.bias"}
    weights = sum(tensor.numel() for tensor in saved["state_dict"].values())
    assert sum(tensor.numel() for tensor in _tensors(saved)) < 3.01 * weights  # Adam keeps two more of each

    tiny, module = recipe("tiny"), recipe("lightning_module")
    last = torch.load(tmp_path / "whole" / "epoch=2.ckpt", weights_only=True)
    training = module.Training()
    training.load_state_dict(last["state_dict"], strict=True)
    metrics = _metrics(recipe)
    with torch.no_grad():
        for noise in tiny.noise(32, seed=12).split(8):
            for metric in metrics.values():
                metric.update(tiny.to_uint8(training.generator(noise)))
    assert whole == pytest.approx({name: float(metric.compute()) for name, metric in metrics.items()}, rel=1e-6)


def _validated(recipe: Recipe, **options: Any) -> tuple[Any, list[dict[str, float]]]:
    """A run of three epochs in this process, and what each validation logged."""
    import lightning

    class Kept(lightning.Callback):
        def on_validation_end(self, trainer: Any, _: Any) -> None:
            if not trainer.sanity_checking:
                seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    seen: list[dict[str, float]] = []
    module = recipe("lightning_module")
    torch.manual_seed(0)
    training = module.Training()
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, callbacks=[Kept(), *options.pop("callbacks", [])],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(training, module.batches(seed=10), module.batches(seed=11))
    return training, seen


def test_sanity_checks_do_not_count(recipe: Recipe) -> None:
    """Images of Lightning's sanity check before training are not in the first validation."""
    _, checked = _validated(recipe, num_sanity_val_steps=2)
    _, unchecked = _validated(recipe, num_sanity_val_steps=0)
    assert len(checked) == 3
    assert checked == unchecked


@pytest.mark.filterwarnings(
    "ignore:.*`(training_step|LightningModule.configure_optimizers)` returned `None`:UserWarning"
)
@pytest.mark.parametrize("steps", [0, 1])
def test_real_images_of_a_sanity_check_are_kept(steps: int) -> None:
    """With reset_real_features=False, real images that validation gives count in the sanity check and in each epoch."""
    import lightning

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.metric = NeuronFrechetDistance(torch.nn.AvgPool2d(8), reset_real_features=False)

        def training_step(self, batch: torch.Tensor) -> None:
            """Nothing to learn."""

        def validation_step(self, batch: torch.Tensor) -> None:
            for real in (True, False):
                self.metric.update(batch, real=real)
            self.log("distance", self.metric)

        def configure_optimizers(self) -> None:
            """None."""

    training, images = Training(), torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, num_sanity_val_steps=steps, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(training, DataLoader(images, 3), DataLoader(images, 3))
    assert training.metric.dna(real=True).n_images == 2 * 6 + 3 * steps
    assert training.metric.dna().n_images == 0


def test_every_validation_starts_anew(recipe: Recipe) -> None:
    """What is logged at the last validation is of its images alone, for single metrics and those of a collection."""
    training, seen = _validated(recipe)
    tiny = recipe("tiny")
    metrics = _metrics(recipe)
    with torch.no_grad():
        images = tiny.to_uint8(training.generator(tiny.noise(32, seed=11)))
    for name, metric in metrics.items():
        metric.update(images)
        assert seen[-1][name] == pytest.approx(float(metric.compute()), rel=1e-6)
        assert seen[0][name] != seen[-1][name]
    assert training.vdna_emd.dna().n_images == 0


def test_averaged_weights_are_what_is_validated(recipe: Recipe) -> None:
    """With Lightning's callback validation sees the averaged weights, which the module has when training ends."""
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no EMAWeightAveraging")
    tiny = recipe("tiny")
    _, alone = _validated(recipe)
    training, averaged = _validated(recipe, callbacks=[callbacks.EMAWeightAveraging(decay=0.5)])
    assert all(a["vdna_emd"] != b["vdna_emd"] for a, b in zip(averaged, alone, strict=True))
    metric = _metrics(recipe)["vdna_emd"]
    with torch.no_grad():
        metric.update(tiny.to_uint8(training.generator(tiny.noise(32, seed=11))))
    assert averaged[-1]["vdna_emd"] == pytest.approx(float(metric.compute()), rel=1e-6)
