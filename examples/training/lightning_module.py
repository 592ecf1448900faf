"""VDNA-EMD and two Fréchet distances in a LightningModule: validation every epoch, checkpoints, test.

python examples/training/lightning_module.py runs --devices 2 --epochs 2
python examples/training/lightning_module.py runs --devices 2 --epochs 3 --checkpoint runs/epoch=1.ckpt
"""

import argparse
import json
from pathlib import Path

import lightning
import tiny
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from vdna_metrics import LayerFrechetDistance, NeuronFrechetDistance, VDNAEarthMoversDistance


# --8<-- [start:module]
class Training(lightning.LightningModule):
    """Trains a generator; the distances of its images from the real ones are logged at every validation."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = tiny.Generator()
        network, real = tiny.extractor(), tiny.references()
        self.vdna_emd = VDNAEarthMoversDistance(network, reference=real["histogram"])
        self.frechet = MetricCollection(
            {
                "nfd": NeuronFrechetDistance(network, reference=real["gaussian"]),
                "lfd": LayerFrechetDistance(network, reference=real["layer_gaussian"]),
            }
        )

    def training_step(self, noise: Tensor) -> Tensor:
        return tiny.loss_of(self.generator(noise))

    def validation_step(self, noise: Tensor) -> None:
        images = tiny.to_uint8(self.generator(noise))
        self.vdna_emd.update(images)
        self.frechet.update(images)  # of the same tensor, so that the network has run only once
        self.log("vdna_emd", self.vdna_emd)
        self.log_dict(self.frechet)

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.generator.parameters(), lr=0.02)
        # --8<-- [end:module]


def trainer(folder: Path, devices: int = 1, epochs: int = 2) -> lightning.Trainer:
    """Processes on the CPU; on GPUs leave `accelerator` and `strategy` out."""
    # --8<-- [start:trainer]
    return lightning.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=epochs,
        callbacks=[ModelCheckpoint(folder, filename="{epoch}", monitor="vdna_emd", mode="min", save_top_k=-1)],
        logger=CSVLogger(folder, name="log"),
        # --8<-- [end:trainer]
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def batches(seed: int) -> DataLoader:
    """Noise for 32 images, in 4 batches."""
    return DataLoader(tiny.noise(32, seed), batch_size=8)


def main() -> None:
    """Train, or go on training, then test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for checkpoints and logs")
    parser.add_argument("--devices", type=int, default=1, help="processes")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--checkpoint", help="to go on from")
    options = parser.parse_args()
    lightning.seed_everything(0, verbose=False)
    runner, training = trainer(options.folder, options.devices, options.epochs), Training()
    runner.fit(training, batches(seed=10), batches(seed=11), ckpt_path=options.checkpoint)
    [tested] = runner.test(training, batches(seed=12), verbose=False)
    if runner.is_global_zero:
        print(json.dumps({"processes": runner.world_size, **tested}))
    if dist.is_initialized():  # Lightning leaves it open, and a gloo that is open at exit can abort the process
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
