"""The ranking experiments' own arithmetic and images."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.image_files import pixels
from PIL import Image
from torchmetrics.functional.image import lpips, structural_similarity_index_measure
from torchmetrics.functional.retrieval import retrieval_average_precision

from vdna_metrics.images import open_images
from vdna_metrics.images.procedural import procedural_images

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "experiments"


@pytest.fixture
def retrieval(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("retrieval")


def test_average_precision_is_that_of_torchmetrics(retrieval: ModuleType) -> None:
    """The nearest come first."""
    stream = np.random.default_rng(0)
    scores, relevant = stream.random(60), stream.random(60) < 0.3
    expected = retrieval_average_precision(1 - torch.from_numpy(scores), torch.from_numpy(relevant))
    assert retrieval.average_precision(scores, relevant) == pytest.approx(float(expected))


def test_structural_similarity_is_that_of_torchmetrics(retrieval: ModuleType) -> None:
    """The mean over the photographs, in grey, where the window lies inside the images."""
    images = torch.from_numpy(pixels(5, 3, 32, 32)).float() / 255
    grey = images.mean(dim=1, keepdim=True)
    _, similarity = structural_similarity_index_measure(
        grey[:1].expand(4, -1, -1, -1), grey[1:], data_range=1.0, return_full_image=True
    )
    assert retrieval._mean_ssim(images[0], images[1:]) == pytest.approx(
        float(similarity[..., 5:-5, 5:-5].mean()), abs=1e-5
    )


def test_images_at_one_distance_come_all_at_once(retrieval: ModuleType) -> None:
    """Where distances are equal, or infinite, the order of the pool decides nothing."""
    scores, relevant = np.array([1, np.inf, np.inf, np.inf]), np.array([True, True, False, False])
    assert retrieval.average_precision(scores, relevant) == pytest.approx((1 + 2 / 4) / 2)
    assert retrieval.average_precision(scores[::-1], relevant[::-1]) == pytest.approx((1 + 2 / 4) / 2)


def test_operations_are_those_of_the_paper(retrieval: ModuleType) -> None:
    """There are 16, all but the identity change pixels and none the size; two change each image, always alike."""
    (image,) = procedural_images("dead_leaves_textured", 1, size=48)
    picture, stream = Image.fromarray(image[:, :40]), np.random.default_rng(0)
    assert len(retrieval.OPERATIONS) == 16
    for name, operation in retrieval.OPERATIONS.items():
        changed = [operation(picture, stream) for _ in range(5)]
        assert {made.size for made in changed} == {(40, 48)}
        assert any(not np.array_equal(made, picture) for made in changed) == (name != "identity"), name
    source = open_images(np.stack(list(procedural_images("dead_leaves_disks", 4, size=32))))
    changed = retrieval.augmented(source)
    assert all(np.array_equal(changed.read(i), changed.read(i)) for i in range(4))
    assert any(not np.array_equal(changed.read(i), source.read(i)) for i in range(4))


class _Maps(torch.nn.Module):
    """In VGG16's place, as many channels at as many layers."""

    def __init__(self, **_: object) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        waves = torch.cat([(k * x).sin() for k in range(1, 172)], dim=1)
        return [torch.nn.functional.avg_pool2d(waves[:, :n], 2**i) for i, n in enumerate((64, 128, 256, 512, 512))]


def test_lpips_is_that_of_torchmetrics(retrieval: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean maps give each image's mean over the photographs, with the learned weights of VGG16's layers."""
    monkeypatch.setattr(lpips, "Vgg16", _Maps)
    model = lpips._LPIPS(net="vgg")
    images, photographs = torch.from_numpy(pixels(6, 3, 32, 32)).float().div(255).split((2, 4))
    expected = [model(image.expand_as(photographs), photographs, normalize=True).mean() for image in images]

    layers = {"relu_1_2": 64, "relu_2_2": 128, "relu_3_3": 256, "relu_4_3": 512, "relu_5_3": 512}
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    seen, of_set = (
        {layer: x.transpose(0, 1).flatten(2) for layer, x in zip(layers, _Maps()((each - mean) / std), strict=True)}
        for each in (images, photographs)
    )
    vgg16 = SimpleNamespace(extractor=SimpleNamespace(layout=layers, spec=SimpleNamespace(architecture="vgg16")))
    loss = retrieval.feature_losses(vgg16)["LPIPS"]
    parts = {layer: loss.weighted(of_set, layer) for layer in layers}
    square = sum(float((weights * maps**2).sum()) / 4 for maps, weights in parts.values())
    maps = retrieval.MeanMaps(loss, {layer: maps.mean(dim=1) for layer, (maps, _) in parts.items()}, square)
    torch.testing.assert_close(maps.mean_loss(seen).float(), torch.stack(expected), rtol=1e-4, atol=0)


def test_rarity_is_the_smallest_sphere_that_holds_an_image(retrieval: ModuleType) -> None:
    """The radius is a real image's distance from its k-th neighbour; outside all of them it is infinite."""
    real = torch.tensor([[0.0], [1.0], [3.0]])
    assert retrieval.rarity(torch.tensor([[0.5], [4.5], [9.0]]), real, k=1).tolist() == [1.0, 2.0, torch.inf]


def test_covered_images_are_covered_by_their_share(retrieval: ModuleType) -> None:
    """The share of a photograph that is covered is the one that its name tells."""
    realism = importlib.import_module("realism_selection")
    source = open_images(np.zeros((4, 40, 40, 3), np.uint8))
    covered = realism.covered(source, "white_noise", 40)
    for i, name in enumerate(source.names):
        assert (covered.read(i).max(axis=2) > 0).mean() == pytest.approx(realism.covered_share(name), abs=0.01)
