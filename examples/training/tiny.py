"""A generator, a frozen network, images and references, tiny, so that the recipes beside this file run in seconds.

The recipes stay as they are with your own generator and data in place of these; for the network and the references they
then say `VDNAEarthMoversDistance("mugs_vit_base", reference="real.npz")`.
"""

import functools

import torch
from torch import Tensor, nn

from vdna_metrics import VDNA, FeatureExtractor, build_dnas, calibrate, create_extractor

NOISE, SIZE = 8, 16


class Generator(nn.Module):
    """Noise `[N, 8]` to images `[N, 3, 16, 16]` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(NOISE, 3 * SIZE * SIZE), nn.Sigmoid())

    def forward(self, noise: Tensor) -> Tensor:
        return self.layers(noise).view(-1, 3, SIZE, SIZE)


def loss_of(fake: Tensor) -> Tensor:
    """In place of your loss: pixels should be bright and alike."""
    return (fake - 0.8).square().mean()


def noise(n: int, seed: int = 0) -> Tensor:
    """Noise `[n, 8]`, the same for the same seed."""
    return torch.randn(n, NOISE, generator=torch.Generator().manual_seed(seed))


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] to uint8, rounded as files on disk would be."""
    return images.mul(255).round().to(torch.uint8)


@functools.cache
def real_images() -> Tensor:
    """Uint8 images `[64, 3, 16, 16]`: bright, with a little noise."""
    shade = torch.rand(64, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    grain = torch.rand(64, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    return to_uint8(0.6 + 0.3 * shade + 0.1 * grain)


class Network(nn.Module):
    """A frozen network with random weights, the same in every process."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, stride=2)
        generator = torch.Generator().manual_seed(3)
        for parameter in self.parameters():
            # float64, in which a result depends too little on the other images of a batch to change a count
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        return self.late(self.early(images).relu())


@functools.cache
def extractor() -> FeatureExtractor:
    """The network with its layers named; one a process, which all metrics share."""
    return create_extractor(Network(), layers=["early", "late"])


@functools.cache
def references() -> dict[str, VDNA]:
    """DNAs of the real images, `{kind: DNA}`; in earnest files that `vdna-metrics make` wrote once."""
    anything = torch.randint(0, 256, (64, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(4)).to(torch.uint8)
    ranges = calibrate(torch.cat([real_images(), anything]), extractor())
    kinds = ["histogram", "gaussian", "layer_gaussian"]
    return build_dnas(real_images(), extractor(), kinds, ranges=ranges)
