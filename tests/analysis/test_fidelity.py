"""Features of images, and what is measured of two sets of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import make_fingerprint, tiny_extractor
from helpers.image_files import encode, pixels

from vdna_metrics import Reading, functional
from vdna_metrics.analysis import Features, collect_features, measure_fidelity


def make_features(n: int, d: int = 4, seed: int = 0, **options: Any) -> Features:
    """Random vectors, with names."""
    vectors = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))
    return Features(tuple(f"{seed}/{i}" for i in range(n)), (), vectors, **options)


@pytest.mark.parametrize("layer", [None, "first"])
@pytest.mark.parametrize("batch_size", [2, 32])
def test_features_are_means_over_positions(layer: str | None, batch_size: int) -> None:
    """One vector an image, of the last layer unless another is named, in batches of any size."""
    extractor, images = tiny_extractor(), torch.from_numpy(pixels(5, 3, 16, 16))
    found = collect_features(images, extractor, layer=layer, reading=Reading(batch_size=batch_size))
    expected = extractor(images)[layer or "second"].mean(2).T
    torch.testing.assert_close(found.vectors, expected, rtol=1e-5, atol=1e-5)
    assert found.vectors.dtype == torch.float32
    assert found.names == ("0", "1", "2", "3", "4")
    assert len(set(found.digests)) == len(found) == 5
    assert found.mirrored is None
    assert found.fingerprint == extractor.fingerprint.select([layer or "second"])


def test_mirrored_features_are_those_of_flipped_images() -> None:
    """What a second forward gives is what the flipped images give, to the rounding of the resizer."""
    extractor, images = tiny_extractor(), pixels(3, 20, 24, 3)
    found = collect_features(images, extractor, mirrored=True)
    flipped = collect_features(np.ascontiguousarray(images[:, :, ::-1]), extractor)
    assert found.mirrored is not None
    torch.testing.assert_close(found.mirrored, flipped.vectors, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found.mirrored, found.vectors, rtol=1e-2)


def test_bad_images_have_no_features(tmp_path: Path) -> None:
    """A file that is skipped has no name, digest or vector."""
    for name in ("a", "c"):
        (tmp_path / f"{name}.png").write_bytes(encode(pixels(16, 16, 3)))
    (tmp_path / "b.png").write_bytes(b"no picture")
    found = collect_features(tmp_path, tiny_extractor(), reading=Reading(skip_bad=True))
    assert found.names == ("a.png", "c.png")
    assert found.digests[0] == found.digests[1]
    with pytest.raises(ValueError, match=r"b\.png"):
        collect_features(tmp_path, tiny_extractor())


def test_measured_values_are_the_functions() -> None:
    """Each value is that of its function, with the settings that are written beside it."""
    real, generated = make_features(30), make_features(20, seed=1)
    found = measure_fidelity(real, generated, precision_k=2, density_k=4, kernel_subsets=5, seed=3)
    sides = real.vectors, generated.vectors
    expected = (
        *functional.precision_recall(*sides, k=2),
        *functional.density_coverage(*sides, k=4),
        *(functional.vendi_score(side) for side in sides),
        *functional.kernel_distance(*sides, subsets=5, subset_size=10, seed=3),
    )
    written = json.loads(json.dumps(found.to_json()))
    assert list(written["values"].values()) == [float(value) for value in expected]
    assert written["settings"] == {
        "n_real": 30,
        "n_generated": 20,
        "precision_k": 2,
        "density_k": 4,
        "kernel_subsets": 5,
        "kernel_subset_size": 10,
        "seed": 3,
    }
    assert measure_fidelity(real, generated, kernel_subset_size=20).kernel_distance_std > 0


def test_features_of_other_layers_are_refused() -> None:
    """Another length, network or layer is an error that shows both sides."""
    real = make_features(9, fingerprint=make_fingerprint().select(["conv1"]))
    other = replace(real, fingerprint=make_fingerprint(weights="cd" * 32).select(["conv1"]))
    with pytest.raises(ValueError, match="weights differ: real abababababab, generated cdcdcdcdcdcd"):
        measure_fidelity(real, other)
    other = replace(real, fingerprint=make_fingerprint().select(["conv2"]))
    with pytest.raises(ValueError, match="layers differ: real conv1, generated conv2"):
        measure_fidelity(real, other)
    with pytest.raises(ValueError, match="numbers of neurons differ: real 4, generated 5"):
        measure_fidelity(real, make_features(9, 5))
    with pytest.raises(ValueError, match="real 9, generated 3"):
        measure_fidelity(real, make_features(3))
    measure_fidelity(real, make_features(9, seed=1))  # of which nothing is known


def test_features_need_a_name_each() -> None:
    """Names, digests and vectors are as many, and mirrored features have the others' shape."""
    with pytest.raises(ValueError, match="2 names need as many vectors and digests, got 3, 0"):
        Features(("a", "b"), (), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="got 2, 1"):
        Features(("a", "b"), ("00",), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"mirrored features \[1, 4\] must be as the others, \[2, 4\]"):
        Features(("a", "b"), (), torch.zeros(2, 4), torch.zeros(1, 4))
