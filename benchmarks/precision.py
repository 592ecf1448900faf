"""What precision, memory format and compilation change: distances between real photographs, and time.

A trained MobileNetV2 looks at BSDS500, resized to 224 x 224: training and validation photographs are the reference,
test photographs are compared with it as they are, blurred and noisy. Ranges are calibrated once, in fp32, for all
options.

- `alone`: distance between the same test photographs in fp32 and with the option: what the option itself moves.
- `test`, `blurred`, `noisy`: distances to the reference, both sides with the option. These should be fp32's.
- `mixed`: distance of the test photographs with the option from the reference in fp32, which the package refuses to
  compute for another precision; here the fingerprint is replaced by force.

EMD is the VDNA-EMD in bins of 1000, LFD the mean layer Fréchet distance, FD that of the last layer alone, whose 1280
neurons averaged over positions are what a FID of this network would see. Times are of one batch through the network,
with options in turn, minima of the repeats, compilation not counted.
"""

import argparse
import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import interleaved
from torch import Tensor

from vdna_metrics import VDNA, ExtractorSpec, build_dnas, calibrate, compare, create_extractor
from vdna_metrics.build.reading import Reading
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.images import open_images
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.procedural import add_noise, blur, procedural_images

OPTIONS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "tf32": {"precision": "tf32"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "channels_last, compile": {"channels_last": True, "compile": True},
    "bf16, channels_last, compile": {"precision": "bf16", "channels_last": True, "compile": True},
}
BATCH = 16


def find_network(shared: Path) -> ExtractorSpec:
    """The trained network, or a random one where there is none."""
    weights = shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
    if not weights.is_file():
        print(f"no trained weights at {weights}: seeded_resnet18, which has learned nothing, takes its place")
        layers = ["layer1.0", "layer2.0", "layer3.0", "layer4.1"]
        return ExtractorSpec("resnet18", "resnet18", layers, weights="seeded:0", architecture_kwargs={"num_classes": 0})
    return ExtractorSpec(
        name="mobilenetv2",
        architecture="mobilenetv2_100",
        architecture_kwargs={"pad_type": "same"},
        weights=str(weights),
        layers=["blocks.0", "blocks.2", "blocks.4", "conv_head"],
        mean=0.5,
        std=0.5,
    )


def find_photographs(shared: Path, extractor: FeatureExtractor, n: int) -> dict[str, Tensor]:
    """Reference and test images `[N, 3, H, W]` uint8 at the network's size, at most `n` each."""
    path = shared / "data" / "bsds500.zip"
    if not path.is_file():
        print(f"no photographs at {path}: textured dead leaves take their place")
        leaves = list(procedural_images("dead_leaves_textured", 2 * n))
        reference, test = (torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) for part in (leaves[:n], leaves[n:]))
    else:
        source = open_images(path)

        def photographs(splits: tuple[str, ...]) -> Iterator[Tensor]:
            chosen = [index for index, name in enumerate(source.names) if name.startswith(splits)]
            for index in chosen[:n]:
                image = torch.from_numpy(decode_image(source.read(index))).permute(2, 0, 1)[None]
                yield extractor.preprocess.resize(image).round().byte()

        reference, test = (torch.cat(list(photographs(splits))) for splits in (("train/", "val/"), ("test/",)))
    rng = np.random.default_rng(0)
    images = test.permute(0, 2, 3, 1).numpy()
    degraded = {
        "blurred": np.stack([blur(image, 2.0) for image in images]),
        "noisy": np.stack([add_noise(image, 25.0, rng) for image in images]),
    }
    channels_first = {name: torch.from_numpy(stack).permute(0, 3, 1, 2) for name, stack in degraded.items()}
    return {"reference": reference, "test": test, **channels_first}


def distances(a: dict[str, VDNA], b: dict[str, VDNA]) -> tuple[float, float, float]:
    """EMD, LFD and FD, as if both sides had been made with one precision."""
    forced = {kind: replace(dna, fingerprint=a[kind].fingerprint) for kind, dna in b.items()}
    by_layer = compare.layer_frechet(a["layer_gaussian"], forced["layer_gaussian"], reduction="layer")
    values = [float(value) for value in by_layer.values()]
    return float(compare.emd(a["histogram"], forced["histogram"])), sum(values) / len(values), values[-1]


def time_batches(extractors: dict[str, FeatureExtractor], images: Tensor, repeats: int) -> dict[str, float]:
    """Seconds of a batch, the minimum of interleaved repeats."""

    def run(extractor: FeatureExtractor) -> None:
        extractor(images)
        if images.is_cuda:
            torch.cuda.synchronize()

    runs = {name: partial(run, extractor) for name, extractor in extractors.items()}
    return {name: min(clocks.seconds) for name, clocks in interleaved(runs, repeats).items()}


def main() -> None:
    """Print the table."""
    beside = Path(os.environ.get("VDNA_METRICS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=beside, help="folder with weights/ and data/")
    parser.add_argument("--images", type=int, default=300, help="images of a set, at most")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="options besides fp32")
    parser.add_argument("--quick", action="store_true", help="few images, nothing compiled, for CI")
    arguments = parser.parse_args()
    n, repeats = (8, 1) if arguments.quick else (arguments.images, arguments.repeats)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {name: options for name, options in OPTIONS.items() if name == "fp32" or name in arguments.only}
    if device == "cpu":
        options.pop("tf32", None)  # fp32 under another name
    if arguments.quick:
        options = {name: chosen for name, chosen in options.items() if not chosen.get("compile")}

    spec = find_network(arguments.shared)
    extractors = {name: create_extractor(spec, **chosen) for name, chosen in options.items()}
    images = find_photographs(arguments.shared, extractors["fp32"], n)
    reading = Reading(batch_size=BATCH, device=device)
    ranges = calibrate(images["reference"], extractors["fp32"], reading=reading)
    machine = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}; {spec.name}")
    print(", ".join(f"{name} {len(stack)}" for name, stack in images.items()))

    seconds = time_batches(extractors, images["reference"][:BATCH].to(device), repeats)
    sets = ("test", "blurred", "noisy")
    columns = ("alone", *sets, "mixed")
    print(f"{'':30}{'ms/image':>10}{'/ fp32':>8}   {'':5}" + "".join(f"{column:>12}" for column in columns))
    full: dict[str, dict[str, VDNA]] = {}
    for option, extractor in extractors.items():
        dnas = {
            name: build_dnas(stack, extractor, ["histogram", "layer_gaussian"], ranges=ranges, reading=reading)
            for name, stack in images.items()
        }
        full = full or dnas
        found = [
            distances(full["test"], dnas["test"]),
            *(distances(dnas["reference"], dnas[name]) for name in sets),
            distances(full["reference"], dnas["test"]),
        ]
        each, ratio = seconds[option] / BATCH * 1e3, seconds[option] / seconds["fp32"]
        for row, (unit, values) in enumerate(zip(("EMD", "LFD", "FD"), zip(*found, strict=True), strict=True)):
            head = f"{option:30}{each:10.2f}{ratio:8.2f}   " if not row else " " * 51
            print(f"{head}{unit:5}" + "".join(f"{value:12.5g}" for value in values))


if __name__ == "__main__":
    main()
