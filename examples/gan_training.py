"""Train a small GAN and follow three distances of its images from real ones, every epoch, by one forward a batch.

    python examples/gan_training.py --small                             # procedural images, seconds
    python examples/gan_training.py --images photographs.zip --minutes 30 --output runs/gan
    python examples/gan_training.py --images photographs.zip --minutes 30 --output runs/gan --resume --lightning

After every epoch the averaged generator is measured by VDNA-EMD, NFD and a Fréchet distance as FID is one, of the last
layer. After the last, two faults are planted, and a profile over layers shows where each is seen. Everything lands in
the output folder: a checkpoint every epoch, from which `--resume` goes on, `curves.png`, `profiles.png`, `samples.png`
and `figures.json`.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import _gan_report as report
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchvision.transforms.functional import gaussian_blur, resize

from vdna_metrics import (
    VDNA,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    Reading,
    VDNAEarthMoversDistance,
    build_dnas,
    create_extractor,
    open_images,
)
from vdna_metrics.distributions import Kind
from vdna_metrics.images import iterate_images
from vdna_metrics.images.procedural import procedural_images

SIZE, NOISE, NETWORK = 32, 64, "vdna_tiny"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Record = dict[str, float]


# ---------------------------------------------------------------------------------------------------------- the GAN
class GAN(nn.Module):
    """A DCGAN with a spectrally normalised discriminator, and the running average of the generator's weights."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()

        def grow(inputs: int, outputs: int, stride: int = 2) -> list[nn.Module]:
            convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding=stride - 1, bias=False)
            return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

        def shrink(inputs: int, outputs: int) -> list[nn.Module]:
            return [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)), nn.LeakyReLU(0.1)]

        self.generator = nn.Sequential(
            nn.Unflatten(1, (NOISE, 1, 1)),
            *grow(NOISE, 4 * width, stride=1),
            *grow(4 * width, 2 * width),
            *grow(2 * width, width),
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.discriminator = nn.Sequential(
            *shrink(3, width),
            *shrink(width, 2 * width),
            *shrink(2 * width, 4 * width),
            nn.Flatten(),
            spectral_norm(nn.Linear(4 * width * (SIZE // 8) ** 2, 1)),
        )
        # Weights are averaged; batch norm's statistics, which move far in the first steps, are copied.
        self.average = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(0.995))

    def optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Of the discriminator and of the generator."""
        settings = {"lr": 4e-4, "betas": (0.5, 0.999)}
        return (
            torch.optim.Adam(self.discriminator.parameters(), **settings),
            torch.optim.Adam(self.generator.parameters(), **settings),
        )

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss of real images, uint8, and generated ones in [-1, 1]."""
        scores_real, scores_fake = self.discriminator(real / 127.5 - 1), self.discriminator(fake)
        return (1 - scores_real).relu().mean() + (1 + scores_fake).relu().mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        """How far the discriminator is from being deceived."""
        return -self.discriminator(fake).mean()


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8, rounded as files on disk would be."""
    return (images * 127.5 + 127.5).round().to(torch.uint8)


@torch.no_grad()
def generated(gan: GAN, latents: Tensor) -> Iterator[Tensor]:
    """Uint8 images of the averaged generator, in batches."""
    gan.eval()
    for some in latents.split(100):
        yield to_uint8(gan.average(some))


# ---------------------------------------------------------------------------------------------------- real images
def real_images(options: argparse.Namespace) -> Tensor:
    """All real images in random order, uint8 `[N, 3, 32, 32]`."""
    if options.images is None:
        drawn = np.stack(list(procedural_images("dead_leaves_disks", options.procedural, size=SIZE)))
        images = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    else:
        source = open_images(options.images)
        batches = iterate_images(source, transform=lambda x: resize(x, [SIZE, SIZE]), batch_size=500)
        images = torch.cat([batch.images for batch in batches])
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(options.seed))]


def distances(real: Mapping[str, VDNA]) -> MetricCollection:
    """The three distances from real images. They share one network, which runs once for a batch that all are given."""
    metrics = {
        "vdna_emd": VDNAEarthMoversDistance(NETWORK, reference=real["histogram"]),
        "nfd": NeuronFrechetDistance(NETWORK, reference=real["layer_gaussian"]),
        "lfd": LayerFrechetDistance(NETWORK, reference=real["layer_gaussian"], layers=["conv_head"]),
    }
    return MetricCollection(metrics).to(DEVICE)


def measure(metrics: MetricCollection, batches: Iterable[Tensor]) -> Record:
    """The three distances of images."""
    for images in batches:
        metrics.update(images)
    found = {name: value.item() for name, value in metrics.compute().items()}
    metrics.reset()
    return found


# ------------------------------------------------------------------------------------------------------- training
@dataclass
class Run:
    """What both ways of training share: images, metrics, and what was found after every epoch."""

    options: argparse.Namespace
    real: Tensor
    metrics: MetricCollection
    history: list[Record] = field(default_factory=list)

    def is_over(self) -> bool:
        """Whether all epochs, or all minutes, are."""
        over = len(self.history) >= self.options.epochs
        return over or bool(self.history and self.history[-1]["minutes"] >= self.options.minutes)

    def batches(self) -> DataLoader:
        """Of the next epoch, in the same order whether the run was interrupted before it or not."""
        generator = torch.Generator().manual_seed(self.options.seed + len(self.history))
        order = torch.randperm(len(self.real), generator=generator).tolist()
        images = TensorDataset(self.real)
        # With a generator of its own the loader leaves the global stream, that of the noise, alone.
        return DataLoader(images, self.options.batch_size, sampler=order, drop_last=True, generator=generator)

    def latents(self, seed: int = 0) -> Tensor:
        """What images are generated from to be measured: the same after every epoch."""
        generator = torch.Generator().manual_seed(self.options.seed + seed)
        return torch.randn(self.options.evaluated, NOISE, generator=generator).to(DEVICE)

    def note(self, losses: list[Tensor], found: Record, seconds: float) -> None:
        """Add an epoch to the history."""
        before = self.history[-1] if self.history else {"minutes": 0, "images": 0}
        loss_d, loss_g = torch.stack(losses).mean(0).tolist()
        images = before["images"] + len(losses) * self.options.batch_size
        minutes = before["minutes"] + seconds / 60
        now = {"minutes": minutes, "images": images, "loss_discriminator": loss_d, "loss_generator": loss_g, **found}
        self.history.append(now)
        row = ", ".join(f"{name} {value:.4g}" for name, value in now.items())
        print(f"epoch {len(self.history)}: {row}", flush=True)


def train(gan: GAN, run: Run) -> None:
    """Train in a plain loop."""
    optimizer_d, optimizer_g = gan.optimizers()
    saved = {"gan": gan, "optimizer_d": optimizer_d, "optimizer_g": optimizer_g}
    checkpoint = run.options.output / "checkpoint.pt"
    if run.options.resume and checkpoint.exists():
        loaded = torch.load(checkpoint, weights_only=True, map_location=DEVICE)
        for name, part in saved.items():
            part.load_state_dict(loaded[name])
        run.history[:] = loaded["history"]

    while not run.is_over():
        started, losses = time.monotonic(), []
        torch.manual_seed(run.options.seed + len(run.history))  # noise, too, is that of an uninterrupted run
        gan.train()
        for (images,) in itertools.islice(run.batches(), run.options.steps):
            fake = gan.generator(torch.randn(len(images), NOISE, device=DEVICE))
            loss_d = gan.discriminator_loss(images.to(DEVICE), fake.detach())
            optimizer_d.zero_grad()
            loss_d.backward()
            optimizer_d.step()
            loss_g = gan.generator_loss(fake)
            optimizer_g.zero_grad()
            loss_g.backward()
            optimizer_g.step()
            gan.average.update_parameters(gan.generator)
            losses.append(torch.stack([loss_d, loss_g]).detach())
        found = measure(run.metrics, generated(gan, run.latents()))
        run.note(losses, found, time.monotonic() - started)
        states = {name: part.state_dict() for name, part in saved.items()}
        torch.save({**states, "history": run.history}, f"{checkpoint}.new")
        os.replace(f"{checkpoint}.new", checkpoint)  # whatever interrupts this, one of them is whole


def train_with_lightning(gan: GAN, run: Run) -> None:
    """Train the same by a LightningModule."""
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False  # there are two optimizers
            self.gan, self.metrics = gan, run.metrics

        def configure_optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
            return self.gan.optimizers()

        def train_dataloader(self) -> DataLoader:
            return run.batches()

        def val_dataloader(self) -> DataLoader:
            return DataLoader(run.latents(), batch_size=100)

        def on_train_epoch_start(self) -> None:
            self.started, self.losses = time.monotonic(), []
            torch.manual_seed(run.options.seed + len(run.history))

        def training_step(self, batch: list[Tensor]) -> None:
            optimizer_d, optimizer_g = self.optimizers()
            fake = self.gan.generator(torch.randn(len(batch[0]), NOISE, device=self.device))
            loss_d = self.gan.discriminator_loss(batch[0], fake.detach())
            optimizer_d.zero_grad()
            self.manual_backward(loss_d)
            optimizer_d.step()
            loss_g = self.gan.generator_loss(fake)
            optimizer_g.zero_grad()
            self.manual_backward(loss_g)
            optimizer_g.step()
            self.gan.average.update_parameters(self.gan.generator)
            self.losses.append(torch.stack([loss_d, loss_g]).detach())

        def validation_step(self, latents: Tensor) -> None:
            self.metrics.update(to_uint8(self.gan.average(latents)))
            self.log_dict(self.metrics)  # Lightning computes when the epoch ends, and resets

        def on_train_epoch_end(self) -> None:
            found = {name: self.trainer.callback_metrics[name].item() for name in self.metrics}
            run.note(self.losses, found, time.monotonic() - self.started)
            self.trainer.should_stop = run.is_over()

        def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
            checkpoint["history"] = list(run.history)

        def on_load_checkpoint(self, checkpoint: dict[str, list[Record]]) -> None:
            run.history[:] = checkpoint["history"]

    checkpoint = run.options.output / "lightning.ckpt"
    keep = ModelCheckpoint(  # one file, the last epoch's
        checkpoint.parent, checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    trainer = lightning.Trainer(
        devices=1,
        max_epochs=run.options.epochs,
        limit_train_batches=run.options.steps,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[keep],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Training(), ckpt_path=checkpoint if run.options.resume and checkpoint.exists() else None)
    gan.to(DEVICE)


# --------------------------------------------------------------------------------------------------- planted faults
def faulty(gan: GAN, latents: Tensor) -> dict[str, Iterator[Tensor]]:
    """Images of the generator as it is and with two faults: ten latent vectors again and again, and a slight blur."""
    return {
        "generator": generated(gan, latents),
        "mode collapse": generated(gan, latents[torch.arange(len(latents)) % 10]),
        "blur": (gaussian_blur(images, 5, sigma=0.5) for images in generated(gan, latents)),
    }


def main() -> None:
    """Train, plant faults, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", help="folder or archive of real images; procedural ones by default")
    parser.add_argument("--procedural", type=int, default=10_000, help="how many procedural images are drawn")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, help="of an epoch, at most; by default all images are seen")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="of training, after which an epoch is the last"
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--evaluated", type=int, default=2000, help="images that a distance is measured on")
    parser.add_argument("--output", type=Path, help="folder; a new temporary one by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the folder, if there is one"
    )
    parser.add_argument("--lightning", action="store_true", help="train by a LightningModule")
    parser.add_argument("--small", action="store_true", help="2 epochs of 20 steps on 150 images")
    options = parser.parse_args()
    if options.small:
        options.procedural, options.epochs, options.steps, options.evaluated, options.batch_size = 200, 2, 20, 50, 8
    options.output = options.output or Path(tempfile.mkdtemp(prefix="gan_training_"))
    options.output.mkdir(parents=True, exist_ok=True)

    images = real_images(options)
    held_out, training = images[: options.evaluated], images[options.evaluated :]
    kinds: list[Kind] = ["histogram", "layer_gaussian"]
    real = build_dnas(training[:10_000], create_extractor(NETWORK), kinds, reading=Reading(device=DEVICE))
    metrics = distances(real)
    floor = measure(metrics, held_out.to(DEVICE).split(100))
    print(f"{len(training)} training images; of {len(held_out)} others:", floor, flush=True)

    torch.manual_seed(options.seed)
    gan, run = GAN().to(DEVICE), Run(options, training, metrics)
    (train_with_lightning if options.lightning else train)(gan, run)
    report.draw_curves(run.history, floor, options.output / "curves.png")
    others = generated(gan, run.latents(seed=1))
    found = report.profiles(faulty(gan, run.latents()), real["histogram"], others, Reading(device=DEVICE))
    report.draw_profiles(found, options.output / "profiles.png")
    report.print_profiles(found)
    report.draw_samples(faulty(gan, run.latents()), options.output / "samples.png")
    figures = {"floor": floor, "history": run.history, "profiles": found}
    (options.output / "figures.json").write_text(json.dumps(figures, indent=1))
    print(f"pictures and figures in {options.output}")


if __name__ == "__main__":
    main()
