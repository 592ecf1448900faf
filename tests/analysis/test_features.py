"""Fidelity and diversity beside distances, and copies."""

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
from torch import Tensor

from vdna_metrics import Reading, functional
from vdna_metrics.analysis import Features, collect_features, find_copies, measure_fidelity


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


def test_the_classes_are_the_class_folders() -> None:
    """First folder below the root, empty for an image of the root; what a probe takes as labels."""
    features = Features(("cat/1.png", "dog/old/2.png", "3.png"), (), torch.zeros(3, 4))
    assert features.classes == ("cat", "dog", "")


def test_features_need_a_name_each() -> None:
    """Names, digests and vectors are as many, and mirrored features have the others' shape."""
    with pytest.raises(ValueError, match="expected 2 vectors and digests, got 3, 0"):
        Features(("a", "b"), (), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="got 2, 1"):
        Features(("a", "b"), ("00",), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"expected mirrored features \[2, 4\], as the others, got \[1, 4\]"):
        Features(("a", "b"), (), torch.zeros(2, 4), torch.zeros(1, 4))


REFERENCE = 200


def features(vectors: Tensor, name: str = "", **options: object) -> Features:
    """Vectors with names ``name0``, ``name1``, ..."""
    return Features(tuple(f"{name}{i}" for i in range(len(vectors))), (), vectors, **options)  # type: ignore[arg-type]


def drawn(n: int, seed: int = 0, d: int = 12) -> Tensor:
    """Vectors of one distribution, whose neurons differ a thousandfold in scale."""
    stream = np.random.default_rng(seed)
    return torch.from_numpy((stream.normal(size=(n, d)) * np.logspace(-1, 2, d)).astype(np.float32))


@pytest.mark.parametrize("k", [2, 5])
def test_planted_copies_are_found_and_new_images_are_not(k: int) -> None:
    """Copies, exact and nearly so, come first with the right image; of new ones the stated share is suspect."""
    reference, new = drawn(REFERENCE), drawn(1000, seed=1)
    exact, near = reference[:5], reference[5:10] * 1.02
    report = find_copies(features(torch.cat([new, exact, near])), features(reference, "r"), k=k, false_alarms=0.05)
    planted = report.matches[1000:]
    assert all(match.suspect for match in planted)
    assert [match.reference for match in planted] == [f"r{i}" for i in range(10)]
    assert [match.ratio for match in planted[:5]] == [0] * 5
    assert {match.image for match in report.suspects[:5]} == {f"{i}" for i in range(1000, 1005)}
    alarms = sum(match.suspect for match in report.matches[:1000]) / 1000
    assert 0.02 < alarms < 0.09
    ratios = [match.ratio for match in report.suspects]
    assert ratios == sorted(ratios)
    assert ratios[-1] <= report.threshold


def test_ratios_are_of_standardised_distances() -> None:
    """Ratio and distance are those of all distances sorted, each neuron in its deviations over the reference."""
    reference, generated = drawn(30), drawn(7, seed=1)
    report = find_copies(features(generated), features(reference), k=3)
    scaled = reference.double() / reference.double().std(0, correction=0)
    between = torch.cdist(generated.double() / reference.double().std(0, correction=0), scaled)
    nearest = between.sort(dim=1).values
    assert [match.distance for match in report.matches] == pytest.approx(nearest[:, 0].tolist(), rel=1e-5)
    assert [match.ratio for match in report.matches] == pytest.approx(
        (nearest[:, 0] / nearest[:, 2]).tolist(), rel=1e-5
    )
    within = torch.cdist(scaled, scaled).fill_diagonal_(torch.inf).sort(dim=1).values
    ratios = (within[:, 0] / within[:, 2]).sort().values
    assert report.threshold == pytest.approx(float(ratios[0]), rel=1e-5)  # of 30, the lowest stands for 1 in 100
    assert report.false_alarms == pytest.approx(1 / 31)


def test_a_reference_image_that_is_there_several_times_is_still_found() -> None:
    """With k = 5 an image may be there four times: its copies are nearer than the fifth image."""
    reference = drawn(REFERENCE)
    again = torch.cat([reference, reference[:1].expand(3, -1)])
    found = find_copies(features(reference[:1] * 1.01), features(again), false_alarms=0.05).matches[0]
    assert found.suspect
    # Where all k neighbours are the image itself it is a copy, not 0/0.
    found = find_copies(features(reference[:1]), features(torch.cat([again, again]))).matches[0]
    assert (found.ratio, found.suspect) == (0, True)


def test_near_duplicates_in_the_reference_do_not_set_the_threshold() -> None:
    """With a tenth of it there twice, a reference finds the near-copies that it finds without, at nearly one limit."""
    reference = drawn(REFERENCE)
    twice = torch.cat([reference, reference[:20] * 1.01])
    generated = features(torch.cat([reference[:30] * 1.05, drawn(300, seed=1)]))
    once, again = (find_copies(generated, features(side), false_alarms=0.05) for side in (reference, twice))
    assert (once.repeated, again.repeated) == (0, 40)
    assert again.threshold == pytest.approx(once.threshold, rel=0.1)
    assert all(match.suspect for match in (*once.matches[:30], *again.matches[:30]))


def test_flipped_copies_are_found_among_flipped_reference_images() -> None:
    """Of two views of an image the nearer counts, and neither is the other's neighbour."""
    reference, flipped = drawn(REFERENCE), drawn(REFERENCE, seed=2)
    flipped[0] = reference[0]  # as of an image with a mirror plane
    generated = features(torch.cat([flipped[3:4], reference[4:5], reference[:1]]))
    plain = find_copies(generated, features(reference, "r"))
    assert [match.suspect for match in plain.matches] == [False, True, True]
    both = find_copies(generated, features(reference, "r", mirrored=flipped))
    assert [(match.reference, match.suspect) for match in both.matches] == [("r3", True), ("r4", True), ("r0", True)]
    assert [match.mirrored for match in both.matches[:2]] == [True, False]
    assert all(match.ratio == 0 for match in both.matches)
    assert both.threshold > 0.1  # an image's own flip is not its neighbour
    assert both.repeated == 0


def test_constant_neurons_and_far_images_do_not_confuse() -> None:
    """A neuron that only rounding moves counts for nothing; images unlike all real ones are no copies."""
    reference = drawn(REFERENCE)
    stream = torch.Generator().manual_seed(0)
    constant = 5 + 1e-6 * torch.rand(REFERENCE, 8, generator=stream)
    copies_of = torch.cat([reference[:9], constant[:9].flip(0)], 1)
    report = find_copies(features(copies_of), features(torch.cat([reference, constant], 1)))
    assert all(match.suspect and match.distance == 0 for match in report.matches)
    assert not find_copies(features(drawn(50, seed=3) * 20), features(reference)).suspects


def test_the_same_bytes_are_always_suspect() -> None:
    """Digests are compared where both sides have them; an empty one is no digest."""
    images = pixels(12, 16, 16, 3)
    reference = collect_features(images, tiny_extractor())
    report = find_copies(collect_features(images[7:8], tiny_extractor()), reference)
    assert [(match.same_file, match.reference) for match in report.suspects] == [(True, "7")]
    far = features(drawn(1, seed=9, d=5) * 100)
    told = find_copies(replace(far, digests=(reference.digests[3],)), reference).matches[0]
    assert (told.same_file, told.reference, told.suspect) == (True, "3", True)
    unknown = find_copies(replace(far, digests=("",)), replace(reference, digests=("",) * 12)).matches[0]
    assert not unknown.same_file


def test_the_report_speaks_plainly() -> None:
    """The summary has both numbers and says what it is not; the record is plain and leaves out who is no suspect."""
    reference = drawn(REFERENCE)
    generated = features(torch.cat([reference[:2], drawn(98, seed=1)]), "g")
    report = find_copies(generated, features(reference, "r"))
    written = json.loads(json.dumps(report.to_json()))
    assert written["summary"] == report.summary
    assert report.summary.startswith(f"{len(report.suspects)} of 100 generated images look like copies of one of 200")
    assert "of 100 new real images about 1 would. A diagnostic, not a proof" in report.summary
    assert len(written["suspects"]) == len(report.suspects) < 10
    assert written["suspects"][0] == {
        "image": "g0",
        "reference": "r0",
        "distance": 0,
        "ratio": 0,
        "mirrored": False,
        "same_file": False,
        "suspect": True,
    }


def test_what_cannot_be_compared_is_refused() -> None:
    """Too few reference images, other layers and shares out of range are errors that say what was given."""
    reference = features(drawn(20))
    with pytest.raises(ValueError, match=r"k=5 needs .* at least 6 reference images, got 5"):
        find_copies(reference, features(drawn(5)))
    with pytest.raises(ValueError, match="k=1 needs to be at least 2"):
        find_copies(reference, reference, k=1)
    with pytest.raises(ValueError, match="numbers of neurons differ: reference 12, generated 3"):
        find_copies(features(drawn(5, d=3)), reference)
    for rate in (0, 1, 1.5):
        with pytest.raises(ValueError, match=f"false_alarms is a share above 0 and below 1, got {rate}"):
            find_copies(reference, reference, false_alarms=rate)
