"""Measure with a network of your own: name its weights and layers, calibrate, compare.

    python examples/own_extractor.py            # 100 images a set
    python examples/own_extractor.py --small    # 12 images a set, in seconds

A spec is data, so this is all that a new extractor takes. Nothing is downloaded: the weights are drawn by chance and
saved, in place of those that you have trained, and the images are procedural.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from vdna_metrics import ExtractorSpec, VDNAEarthMoversDistance, calibrate, create_extractor
from vdna_metrics.images.procedural import procedural_images


def images_of(world: str, n_images: int) -> Tensor:
    """Uint8 images `[N, 3, 224, 224]`."""
    return torch.from_numpy(np.stack(list(procedural_images(world, n_images)))).permute(0, 3, 1, 2)


def main() -> None:
    """Make a weights file, describe it, use it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="fewer images")
    n_images = 12 if parser.parse_args().small else 100
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    trained = timm.create_model("resnet10t", num_classes=10, zero_init_last=False)
    save_file(trained.state_dict(), folder / "trained.safetensors")

    # --8<-- [start:spec]
    spec = ExtractorSpec(
        name="our_resnet10",
        architecture="resnet10t",  # any timm architecture
        architecture_kwargs={"num_classes": 10},  # as it was trained
        weights=folder / "trained.safetensors",  # or a torch file, "hf-hub:owner/name/file", "https://..."
        layers={"stem": "maxpool", "stage_1": "layer1", "stage_4": "layer4"},  # name: module path
        size=96,  # images are resized to this
        mean=0.5,  # and normalised by these
        std=0.5,
    )
    ranges = calibrate(images_of("dead_leaves_textured", n_images), create_extractor(spec), name="textured leaves")
    metric = VDNAEarthMoversDistance(spec, ranges=ranges, reduction="layer")
    # --8<-- [end:spec]

    print(create_extractor(spec))
    print(f"calibrated on {ranges.n_images} images: {ranges.layout.total} neurons, {int(ranges.dead.sum())} dead")
    metric.update(images_of("dead_leaves_textured", n_images), real=True)
    metric.update(images_of("dead_leaves_squares", n_images))
    for layer, distance in metric.compute().items():
        print(f"{layer:8} {distance:6.2f} bins")


if __name__ == "__main__":
    main()
