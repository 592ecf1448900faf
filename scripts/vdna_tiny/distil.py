"""Train `vdna_tiny`: the first two thirds of a MobileNetV2, taught to answer for the whole from a fifth of the pixels.

    python scripts/vdna_tiny/distil.py SHARED WORK [--views 24000] [--epochs 4]

SHARED holds `data/` and `weights/mobilenetv2_100.tf_in1k.safetensors`; WORK is a folder for what can be taken up
again: the teacher's answers, in memory-mapped files, and checkpoints. The same command goes on where it was
interrupted, and ends with weights in `vdna_metrics/extractors/vdna_tiny.safetensors`.

The student begins with the teacher's own weights where they have the same layers. For each view the teacher's
activations at 224 pixels, in four layers, are averaged over a grid of cells, and so are their deviations within each
cell. The student, at 96 pixels, has to give the same of the same neurons.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import keep_freed_memory, training_views
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vdna_metrics import ExtractorSpec, FeatureExtractor, create_extractor
from vdna_metrics.extractors.architectures import build_architecture
from vdna_metrics.extractors.preprocess import Preprocessing

STUDENT = "short_mobilenetv2"
SIZE = 96
RESULT = Path(__file__).resolve().parents[2] / "vdna_metrics" / "extractors" / "vdna_tiny.safetensors"
# Layers, and the cells along a side over which they are averaged.
TARGETS = {"blocks.0": 12, "blocks.2": 6, "blocks.4": 6, "conv_head": 3}
ASKED = 32  # views that the teacher answers at once
LESSON = 64  # views a step of the student
RATES = {"new": 3e-3, "inherited": 1e-3}
SAVED_EVERY = 60  # seconds


def teacher(shared: Path) -> FeatureExtractor:
    """The MobileNetV2, at the layers of `TARGETS`."""
    spec = ExtractorSpec(
        name="mobilenetv2",
        architecture="mobilenetv2_100",
        architecture_kwargs={"pad_type": "same"},
        weights=str(_teacher_weights(shared)),
        layers=list(TARGETS),
        size=224,
        mean=0.5,
        std=0.5,
    )
    return create_extractor(spec)


def _teacher_weights(shared: Path) -> Path:
    return shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"


def summarise(activations: Tensor, cells: int) -> Tensor:
    """`[images, neurons, H, W]` -> mean and deviation in each cell, `[images, 2 neurons, cells, cells]`."""
    mean = F.adaptive_avg_pool2d(activations, cells)
    variance = F.adaptive_avg_pool2d(activations * activations, cells) - mean * mean
    return torch.cat([mean, (variance.clamp(min=0) + 1e-6).sqrt()], 1)


def ask_teacher(shared: Path, work: Path, n: int) -> dict[str, np.ndarray]:
    """The views at the student's size, and the teacher's answers; kept in files, begun where they were left."""
    network = teacher(shared)
    shapes = {"views": (3, SIZE, SIZE)}
    shapes |= {layer: (2 * network.layout[layer], cells, cells) for layer, cells in TARGETS.items()}
    done_file = work / "views_done"
    done = int(done_file.read_text()) if done_file.exists() else 0
    files = {}
    for name, shape in shapes.items():
        path, kind = work / f"{name}.npy", np.uint8 if name == "views" else np.float16
        files[name] = np.lib.format.open_memmap(path, "r+" if path.exists() else "w+", kind, (n, *shape))
    small = Preprocessing(size=(SIZE, SIZE))
    views = training_views(shared, n, done)
    begin, first = time.monotonic(), done
    while done < n:
        batch = [torch.from_numpy(next(views).copy()).permute(2, 0, 1)[None] for _ in range(min(ASKED, n - done))]
        rows = slice(done, done + len(batch))
        files["views"][rows] = torch.cat([small.resize(view) for view in batch]).round_().byte().numpy()
        answers = network.from_resized(torch.cat([network.preprocess.resize(view) for view in batch]))
        for layer, cells in TARGETS.items():
            maps = answers[layer].transpose(0, 1).float()
            side = round(maps.shape[2] ** 0.5)
            files[layer][rows] = summarise(maps.unflatten(2, (side, side)), cells).half().numpy()
        done += len(batch)
        if done % (10 * ASKED) == 0 or done == n:
            for file in files.values():
                file.flush()
            done_file.write_text(str(done))
        left = (time.monotonic() - begin) / (done - first) * (n - done)
        print(f"\rteacher: {done}/{n} views, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return files


class Lesson(nn.Module):
    """The student, and how far its answers are from the teacher's."""

    def __init__(self, answers: dict[str, np.ndarray], weights: dict[str, Tensor]) -> None:
        super().__init__()
        # In eval mode all along: the teacher's statistics of its batch norms stay.
        self.student = build_architecture(STUDENT, {}).eval()
        own = self.student.state_dict()
        self.inherited = {name for name in own if name in weights and weights[name].shape == own[name].shape}
        self.student.load_state_dict({name: weights[name] for name in self.inherited}, strict=False)
        for layer in TARGETS:
            some = torch.from_numpy(np.array(answers[layer][::20])).float()
            neurons = some.shape[1] // 2
            mean, deviation = some[:, :neurons], some[:, neurons:]
            # Of all that a neuron does, over images and positions.
            scale = (mean.var((0, 2, 3)) + deviation.square().mean((0, 2, 3))).sqrt() + 1e-3
            self.register_buffer(f"scale_{layer.replace('.', '_')}", scale.repeat(2)[:, None, None])

    def forward(self, images: Tensor, answers: dict[str, Tensor]) -> dict[str, Tensor]:
        """`{layer: error}`, in units of each neuron's deviation."""
        seen: dict[str, Tensor] = {}
        handles = [
            self.student.get_submodule(layer).register_forward_hook(
                lambda _m, _i, output, layer=layer: seen.update({layer: output})
            )
            for layer in TARGETS
        ]
        self.student(images)
        for handle in handles:
            handle.remove()
        losses = {}
        for layer, cells in TARGETS.items():
            scale = getattr(self, f"scale_{layer.replace('.', '_')}")
            given, wanted = summarise(seen[layer], cells) / scale, answers[layer] / scale
            neurons = given.shape[1] // 2
            losses[layer] = F.smooth_l1_loss(given[:, :neurons], wanted[:, :neurons])
            # Deviations over the whole image: the student's cells may be single positions.
            losses[f"{layer} deviation"] = F.smooth_l1_loss(_deviation(given), _deviation(wanted))
        return losses


def _deviation(summary: Tensor) -> Tensor:
    mean, deviation = summary.chunk(2, 1)
    return (mean.var((2, 3), correction=0) + deviation.square().mean((2, 3)) + 1e-6).sqrt()


def train(lesson: Lesson, files: dict[str, np.ndarray], work: Path, epochs: int) -> nn.Module:
    """Train, with a checkpoint a minute."""
    steps = len(files["views"]) // LESSON
    groups = {
        age: [p for name, p in lesson.student.named_parameters() if (name in lesson.inherited) == (age == "inherited")]
        for age in RATES
    }
    optimiser = torch.optim.AdamW(
        [{"params": groups[age], "lr": rate} for age, rate in RATES.items()], weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, list(RATES.values()), total_steps=epochs * steps, pct_start=0.05, anneal_strategy="cos"
    )
    parts = {"lesson": lesson, "optimiser": optimiser, "schedule": schedule}
    checkpoint, step = work / "checkpoint.pt", 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        step = kept.pop("step")
        for name, state in kept.items():
            parts[name].load_state_dict(state)
    saved, recent = time.monotonic(), []
    while step < epochs * steps:
        epoch, place = divmod(step, steps)
        order = np.random.default_rng([1, epoch]).permutation(len(files["views"]))
        rows = np.sort(order[place * LESSON : (place + 1) * LESSON])
        images = torch.from_numpy(files["views"][rows]).float().sub_(127.5).div_(127.5)
        answers = {layer: torch.from_numpy(files[layer][rows]).float() for layer in TARGETS}
        if np.random.default_rng([2, step]).random() < 0.5:
            images, answers = images.flip(3), {layer: answer.flip(3) for layer, answer in answers.items()}
        losses = lesson(images, answers)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(lesson.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        recent.append([float(loss.detach()) for loss in losses.values()])
        step += 1
        if time.monotonic() - saved > SAVED_EVERY or step == epochs * steps:
            errors = " ".join(f"{error:.3f}" for error in np.mean(recent, 0))
            print(f"step {step}/{epochs * steps}: {errors}", file=sys.stderr, flush=True)
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({"step": step, **states}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            saved, recent = time.monotonic(), []
    return lesson.student


def main() -> None:
    """Ask the teacher, train, write."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--views", type=int, default=24_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    settings = {"views": options.views, "epochs": options.epochs, "size": SIZE, "student": STUDENT, "targets": TARGETS}
    record = options.work / "settings.json"
    if record.exists() and json.loads(record.read_text()) != settings:
        sys.exit(f"{options.work} is of another run: {record.read_text()}, now {json.dumps(settings)}; take a new one")
    record.write_text(json.dumps(settings))
    torch.manual_seed(0)
    files = ask_teacher(options.shared, options.work, options.views)
    trained = train(Lesson(files, load_file(_teacher_weights(options.shared))), files, options.work, options.epochs)
    state = {name: value.half() for name, value in trained.state_dict().items() if value.is_floating_point()}
    save_file(state, options.output)
    print(f"{options.output}: {options.output.stat().st_size} bytes, {sum(v.numel() for v in state.values())} weights")


if __name__ == "__main__":
    main()
