"""Features of pixels."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from vdna_metrics import create_extractor
from vdna_metrics.analysis import extract_pixels

NETWORK = create_extractor(
    nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 5, 3, 2)), layers=["0", "2"], size=16
)


def _images(n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8)


def test_pixels_are_upsampled_maps() -> None:
    """Each layer's maps are upsampled bilinearly as torch does it, and lie side by side in the network's order."""
    images = _images()
    found = extract_pixels(images, NETWORK, ["2", "0"], (20, 24))
    with torch.no_grad():
        network = NETWORK.network
        first = network[0](NETWORK.preprocess(images))
        maps = [first, network[2](network[1](first))]
    expected = torch.cat([F.interpolate(x, (20, 24), mode="bilinear", align_corners=False) for x in maps], dim=1)
    torch.testing.assert_close(found, expected)
    assert extract_pixels(images, NETWORK).shape == (2, 9, 16, 16)


def test_tokens_are_patches_of_the_image() -> None:
    """A pixel in the middle of a patch has the features of its token, and class tokens are left out."""
    vit = create_extractor(timm.create_model("vit_tiny_patch16_224", img_size=48), layers=["blocks.1"], size=48)
    images = torch.randint(0, 256, (1, 3, 48, 48), dtype=torch.uint8)
    tokens = vit(images)["blocks.1"][:, 0, 1:]
    found = extract_pixels(images, vit, size=(3, 3))
    torch.testing.assert_close(found[0].flatten(1), tokens)


def test_layers_without_places_and_too_much_memory_are_refused() -> None:
    """A vector has no pixels, and what takes more memory than there may be is said before it is made."""
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = create_extractor(pooled, layers={"conv": "0", "pool": "2"}, size=16)
    with pytest.raises(ValueError, match=r"layers pool of .* have no positions in the image; choose from conv"):
        extract_pixels(_images(), network)
    with pytest.raises(ValueError, match=r"features of 16 x 16 pixels: expected at most 1 kB .* got 18 kB"):
        extract_pixels(_images(), NETWORK, memory_limit=1000)
    with pytest.raises(ValueError, match=r"expected images \[N, 3, H, W\]"):
        extract_pixels(_images()[0], NETWORK)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": (0, 5)}, ValueError, "expected height of at least 1, got 0"),
        ({"size": (5, -1)}, ValueError, "expected width of at least 1, got -1"),
        ({"size": (1, 2, 3)}, ValueError, r"expected a size \(height, width\), got \(1, 2, 3\)"),
        ({"size": 64}, TypeError, "expected size to be tuple or list, got the int 64"),
        ({"layers": []}, ValueError, "expected layers to look at, got none"),
        ({"memory_limit": -1}, ValueError, "expected memory_limit of at least 1, got -1"),
    ],
)
def test_impossible_arguments_are_refused(options: dict, error: type[Exception], message: str) -> None:
    """Sizes without pixels, no layers, no images and no memory are errors that say what is expected."""
    with pytest.raises(error, match=message):
        extract_pixels(_images(), NETWORK, **options)
    with pytest.raises(ValueError, match=r"expected images \[N, 3, H, W\]"):
        extract_pixels(_images(0), NETWORK)
