"""The ranking experiments' own arithmetic and images."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.image_files import pixels
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure
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


def test_each_operation_changes_an_image_and_keeps_its_size(retrieval: ModuleType) -> None:
    """There are 16 with the one that needs a second image; two of them change each image of a source, always alike."""
    (image,) = procedural_images("dead_leaves_textured", 1, size=48)
    picture, stream = Image.fromarray(image[:, :40]), np.random.default_rng(0)
    assert len(retrieval.OPERATIONS) == 15
    for name, operation in retrieval.OPERATIONS.items():
        changed = [operation(picture, stream) for _ in range(5)]
        assert {made.size for made in changed} == {(40, 48)}
        assert any(not np.array_equal(made, picture) for made in changed), name
    source = open_images(np.stack(list(procedural_images("dead_leaves_disks", 4, size=32))))
    changed = retrieval.augmented(source)
    assert all(np.array_equal(changed.read(i), changed.read(i)) for i in range(4))
    assert not any(np.array_equal(changed.read(i), source.read(i)) for i in range(4))


def test_covered_images_are_covered_by_their_share(retrieval: ModuleType) -> None:
    """The share of a photograph that is covered is the one that its name tells."""
    realism = importlib.import_module("realism_selection")
    source = open_images(np.zeros((4, 40, 40, 3), np.uint8))
    covered = realism.covered(source, "white_noise", 40)
    for i, name in enumerate(source.names):
        assert (covered.read(i).max(axis=2) > 0).mean() == pytest.approx(realism.covered_share(name), abs=0.01)
