"""Rankings of images: scores are those of the images' own DNAs, in any batches; what stands first is what tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.dnas import tiny_extractor
from helpers.image_files import encode, pixels

from vdna_metrics import VDNA, NeuronSelection, NeuronWeights, Reading, build_dnas, calibrate, compare
from vdna_metrics.analysis import rank_images
from vdna_metrics.dna import Column
from vdna_metrics.dna.columns import default_column
from vdna_metrics.dna.distances import EMD, NFD, Distance
from vdna_metrics.extractors.registry import create_extractor
from vdna_metrics.functional import image_means
from vdna_metrics.functional.emd import EMDUnit

BINS = 50
ONE = Reading(batch_size=1)  # so that an image's activations are the same to the last bit however it is looked at


def _setting(max_positions: int | None = None) -> tuple[Any, np.ndarray, dict[str, VDNA]]:
    """A network, 9 images, and the DNAs of 11 others."""
    extractor = tiny_extractor()
    real, images = pixels(11, 20, 20, 3), pixels(9, 20, 20, 3, seed=1) // 2
    dnas: dict[str, VDNA] = {}
    kinds = ("histogram", "gaussian", "layer_gaussian")
    dnas |= build_dnas(
        real, extractor, kinds, bins=BINS, ranges=calibrate(real, extractor), max_positions=max_positions, name="real"
    )
    return extractor, images, dnas


def _dna(image: np.ndarray, extractor: Any, like: VDNA) -> VDNA:
    ranges = like.distribution.ranges  # type: ignore[attr-defined]
    return build_dnas(
        image[None], extractor, bins=BINS, ranges=ranges, max_positions=like.provenance.max_positions, reading=ONE
    )["histogram"]


# ----------------------------------------------------------------------------------------------------------- histograms
@pytest.mark.parametrize("max_positions", [None, 5])
@pytest.mark.parametrize("unit", get_args(EMDUnit))
def test_a_score_is_the_emd_of_the_images_own_dna(unit: EMDUnit, max_positions: int | None) -> None:
    """Score and layers are what `compare.emd` says of a DNA of that image alone, over the same positions."""
    extractor, images, dnas = _setting(max_positions)
    found = rank_images(images, dnas["histogram"], extractor, distance=Column("emd", unit=unit), reading=ONE)
    assert (found.source, found.reference, found.layers) == ("array", "real", ("first", "second"))
    for row, image in enumerate(images):
        one = _dna(image, extractor, dnas["histogram"])
        score = float(compare.emd(dnas["histogram"], one, unit=unit))  # type: ignore[arg-type]
        by_layer: Any = compare.emd(dnas["histogram"], one, unit=unit, reduction="layer")
        assert float(found.scores[row]) == pytest.approx(score, rel=1e-12)
        assert found.layer_distances[row].tolist() == pytest.approx([float(d) for d in by_layer.values()], rel=1e-12)


def test_selected_and_weighed_neurons_are_those_of_compare() -> None:
    """Layers, neurons and weights choose and weigh as in `compare`, as containers and as values."""
    extractor, images, dnas = _setting()
    reference = dnas["histogram"]
    one = _dna(images[3], extractor, reference)
    layout = extractor.layout.select(neurons={"first": [4, 0], "second": [1]})
    selection = NeuronSelection.of(extractor, layout.neurons)
    values = NeuronWeights(
        extractor.layout.select(neurons=selection.neurons), torch.tensor([2.0, -0.5, 1.0]), extractor.fingerprint
    )
    options: list[dict[str, Any]] = [
        {"layers": ["second"]},
        {"neurons": {"first": [4, 0]}},
        {"neurons": {"first": [4, 0]}, "weights": {"first": [0.5, 2.0]}},
        {"neurons": selection},
        {"neurons": selection, "weights": values},
    ]
    for chosen in options:
        found = rank_images(images, reference, extractor, reading=ONE, distance=Column("emd", **chosen))
        assert float(found.scores[3]) == pytest.approx(float(compare.emd(reference, one, **chosen)), rel=1e-12)
        by_layer: Any = compare.emd(reference, one, reduction="layer", **chosen)
        assert found.layers == tuple(by_layer)
        assert found.layer_distances[3].tolist() == pytest.approx([float(d) for d in by_layer.values()], rel=1e-12)


def test_batches_make_no_difference() -> None:
    """Scores and kept pictures are the same in any batches."""
    extractor, images, dnas = _setting()
    whole = rank_images(images, dnas["histogram"], extractor, pictures=3)
    for batch_size in (1, 4):
        reading = Reading(batch_size=batch_size)
        found = rank_images(images, dnas["histogram"], extractor, pictures=3, reading=reading)
        torch.testing.assert_close(found.scores, whole.scores, rtol=1e-3, atol=1e-3)  # an activation at a bin's edge
        assert set(found.pictures) == set(whole.pictures)


# ------------------------------------------------------------------------------------------------------------ Gaussians
def test_a_gaussian_reference_sees_an_image_as_a_point() -> None:
    """The neuron Fréchet distance of a Gaussian without spread, and of a layer their sum; weights as in `compare`."""
    extractor, images, dnas = _setting()
    mean, variance = dnas["gaussian"].distribution.mean_and_variance()  # type: ignore[attr-defined]
    for row, image in enumerate(images):
        activations = extractor(torch.from_numpy(image).permute(2, 0, 1)[None])
        x = torch.cat([image_means(part) for part in activations.values()], dim=1)[0]
        neurons = extractor.layout.split((x - mean).square() + variance)
        every = torch.cat(list(neurons.values()))
        sums = [float(part.sum()) for part in neurons.values()]
        expected: list[tuple[str, Any, float]] = [
            ("gaussian", None, float(every.mean())),
            ("gaussian", {layer: part / 7 for layer, part in neurons.items()}, float((every * every).sum() / 7)),
            ("layer_gaussian", None, sum(sums) / 2),
            ("layer_gaussian", {"first": 3, "second": -0.5}, 3 * sums[0] - sums[1] / 2),
        ]
        for kind, weights, score in expected:
            found = rank_images(
                images[row : row + 1], dnas[kind], extractor, distance=default_column([kind]).replace(weights=weights)
            )
            assert float(found.scores[0]) == pytest.approx(score, rel=1e-9)


# ------------------------------------------------------------------------------------------------------------- rankings
def test_the_nearest_and_the_farthest_stand_at_the_ends() -> None:
    """Both ends come in order of score, under their names, and their layers with what tells most first."""
    extractor, images, dnas = _setting()
    ranking = rank_images(images, dnas["histogram"], extractor)
    order = ranking.scores.argsort().tolist()
    assert [image.index for image in ranking.nearest(4)] == order[:4]
    assert [image.index for image in ranking.farthest(4)] == order[::-1][:4]
    assert [image.name for image in ranking.nearest(99)] == [str(index) for index in order]
    deviations = ranking.layer_distances.std(dim=0, correction=0)
    unusual = (ranking.layer_distances - ranking.layer_distances.mean(dim=0)) / deviations
    for image, sign in ((ranking.nearest(1)[0], 1), (ranking.farthest(1)[0], -1)):
        assert image.score == float(ranking.scores[image.index])
        told = {layer.layer: layer for layer in image.layers}
        for column, layer in enumerate(ranking.layers):
            assert told[layer].distance == float(ranking.layer_distances[image.index, column])
            assert told[layer].unusual == pytest.approx(float(unusual[image.index, column]))
        places = [sign * layer.unusual for layer in image.layers]
        assert places == sorted(places)


def test_the_layer_that_tells_is_not_the_one_that_always_adds_most() -> None:
    """Of images that differ in one layer only, that layer stands first at both ends, be it ever so small."""
    scores = torch.tensor([[1.0, 50.0], [1.2, 50.0], [1.1, 50.0]], dtype=torch.float64)
    extractor, images, dnas = _setting()
    whole = rank_images(images[:3], dnas["histogram"], extractor)
    ranking = replace(whole, layer_distances=scores, scores=scores.sum(dim=1))
    assert ranking.farthest(1)[0].layers[0].layer == "first"
    assert ranking.nearest(1)[0].layers[0].layer == "first"
    assert {layer.unusual for layer in ranking.nearest(1)[0].layers if layer.layer == "second"} == {0}


@pytest.mark.parametrize("batch_size", [2, 4, 32])
def test_pictures_of_both_ends_are_kept(batch_size: int) -> None:
    """The nearest and the farthest have their pictures at the network's size, and no other image has."""
    extractor, images, dnas = _setting()
    reading = Reading(batch_size=batch_size)
    ranking = rank_images(images, dnas["histogram"], extractor, pictures=2, reading=reading)
    kept = [*ranking.nearest(2), *ranking.farthest(2)]
    assert set(ranking.pictures) == {image.index for image in kept}
    for image in kept:
        resized = extractor.preprocess.resize(torch.from_numpy(images[image.index]).permute(2, 0, 1)[None])[0]
        assert torch.equal(image.image, resized.clamp(0, 255).round().byte())
    assert all(image.image is None for image in ranking.nearest(9)[2:-2])


def test_a_ranking_is_plain_containers() -> None:
    """`to_json` has both ends, without pictures, and the unit."""
    extractor, images, dnas = _setting()
    ranking = rank_images(images, dnas["histogram"], extractor, pictures=1)
    found = json.loads(json.dumps(ranking.to_json(nearest=2, farthest=1)))
    assert (found["n_images"], found["unit"], found["kind"]) == (9, "bins", "histogram")
    assert [image["index"] for image in found["nearest"]] == [image.index for image in ranking.nearest(2)]
    assert [image["score"] for image in found["farthest"]] == [float(ranking.scores.max())]
    assert rank_images(images, dnas["gaussian"], extractor).to_json()["unit"] == "squared activations"


def test_bad_images_leave_gaps(tmp_path: Path) -> None:
    """A skipped image is named, and the others keep their places and names."""
    extractor, images, dnas = _setting()
    for i, image in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(encode(image))
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"2\.png"):
        rank_images(tmp_path, dnas["histogram"], extractor)
    found = rank_images(tmp_path, dnas["histogram"], extractor, reading=Reading(batch_size=1, skip_bad=True))
    assert found.indices == (0, 1, 3, 4, 5, 6, 7, 8)
    assert [name for name, _ in found.skipped] == ["2.png"]
    assert len(found) == 8
    whole = rank_images(images, dnas["histogram"], extractor, reading=ONE)
    assert torch.equal(found.scores, whole.scores[list(found.indices)])
    assert found.nearest(1)[0].name == f"{found.nearest(1)[0].index}.png"


def test_what_cannot_be_ranked_is_refused() -> None:
    """Another extractor, an unknown unit, too few images, and activations that are not finite are errors."""
    extractor, images, dnas = _setting()
    reference = dnas["histogram"]
    with pytest.raises(ValueError, match="not made with this extractor: weights differ"):
        rank_images(images, reference, tiny_extractor(seed=1))
    with pytest.raises(ValueError, match="unit must be one of bins"):
        rank_images(images, reference, extractor, distance=Column("emd", unit="metre"))
    with pytest.raises(ValueError, match="expected pictures of at least 0, got -1"):
        rank_images(images, reference, extractor, pictures=-1)
    few = build_dnas(images[:1], extractor, ["gaussian"])["gaussian"]
    with pytest.raises(ValueError, match="a gaussian DNA needs at least 2 images: reference 1"):
        rank_images(images, few, extractor)
    with pytest.raises(ValueError, match="weights: unknown layer 'fist'; did you mean 'first'"):
        rank_images(images, reference, extractor, distance=Column("emd", weights={"fist": [1.0]}))


def test_activations_that_are_not_finite_are_refused() -> None:
    """They name their layer instead of being counted in the first bin."""

    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / (x.amax(dim=(1, 2, 3), keepdim=True) > -1.9)  # infinite for black images

    extractor = create_extractor(Broken(), layers={"ratio": ""}, size=8, mean=1.0, std=0.5)
    bright, black = np.full((3, 8, 8, 3), 255, np.uint8), np.zeros((1, 8, 8, 3), np.uint8)
    reference = build_dnas(bright, extractor, ["gaussian"])["gaussian"]
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in layers ratio"):
        rank_images(np.concatenate([bright, black]), reference, extractor)


# -------------------------------------------------------------------------------------------------- any distance
def _jensen_shannon(reference: Any, generated: Any) -> dict[str, torch.Tensor]:
    p, q = (side.counts / side.counts.sum(dim=1, keepdim=True).double() for side in (reference, generated))
    entropy = torch.special.entr((p + q) / 2) - (torch.special.entr(p) + torch.special.entr(q)) / 2
    return reference.layout.split(entropy.sum(dim=1))  # type: ignore[no-any-return]


def _evenness(generated: Any) -> torch.Tensor:
    shares = generated.counts / generated.counts.sum(dim=1, keepdim=True).double()
    return torch.special.entr(shares).sum(dim=1).mean()


JENSEN_SHANNON = Distance(
    "jsd", "Jensen-Shannon", "How far histograms are from their mean.", "histogram", _jensen_shannon, unit="nats"
)
EVENNESS = Distance(
    "evenness", "evenness", "How evenly activations fill their ranges.", "histogram", _evenness,
    unit="nats", direction="higher", arity=1, per=None, neutral=None,
)  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"layers": ["second"]}, {"weights": {"first": range(6), "second": range(5)}}])
def test_any_distance_ranks_by_its_own_values(options: Any) -> None:
    """A distance from outside the package gives what it says of a DNA of each image, by layer too, and its label."""
    extractor, images, dnas = _setting(max_positions=5)
    reference = dnas["histogram"]
    found = rank_images(images, reference, extractor, distance=Column(JENSEN_SHANNON, **options), reading=ONE)
    assert (found.distance, found.label, found.unit) == ("jsd", "Jensen-Shannon", "nats")
    assert json.loads(json.dumps(found.to_json()))["distance"] == "jsd"
    for row, image in enumerate(images):
        one = _dna(image, extractor, reference)
        score: Any = JENSEN_SHANNON(reference, one, **options)
        by_layer: Any = JENSEN_SHANNON(reference, one, reduction="layer", **options)
        assert float(found.scores[row]) == pytest.approx(float(score), rel=1e-12)
        assert found.layers == tuple(by_layer)
        assert found.layer_distances[row].tolist() == pytest.approx([float(d) for d in by_layer.values()], rel=1e-12)


def test_a_score_of_images_alone_puts_the_highest_first() -> None:
    """One-sided and higher-is-better: the nearest are the best, with the highest score; it has no layers to tell."""
    extractor, images, dnas = _setting()
    ranking = rank_images(images, dnas["histogram"], extractor, distance=EVENNESS, pictures=1, reading=ONE)
    expected = [float(EVENNESS(None, _dna(i, extractor, dnas["histogram"]))) for i in images]  # type: ignore[arg-type]
    assert ranking.scores.tolist() == pytest.approx(expected, rel=1e-12)
    assert [image.index for image in ranking.nearest(9)] == sorted(range(9), key=lambda i: -expected[i])
    assert ranking.farthest(1)[0].score == min(ranking.scores.tolist())
    assert (ranking.layers, ranking.nearest(1)[0].layers) == ((), ())
    assert set(ranking.pictures) == {ranking.nearest(1)[0].index, ranking.farthest(1)[0].index}
    with pytest.raises(ValueError, match="evenness has no parts that could be weighted"):
        rank_images(images, dnas["histogram"], extractor, distance=Column(EVENNESS, weights={"first": [1.0]}))


def test_the_distance_must_fit_the_reference_and_single_images() -> None:
    """Another kind of reference, an option it lacks, and a DNA that needs several images are refused by name."""
    extractor, images, dnas = _setting()
    with pytest.raises(ValueError, match="Jensen-Shannon needs DNAs of kind 'histogram': reference 'gaussian'"):
        rank_images(images, dnas["gaussian"], extractor, distance=JENSEN_SHANNON)
    with pytest.raises(ValueError, match="nfd has no option 'unit'"):
        rank_images(images, dnas["gaussian"], extractor, distance=Column("nfd", unit="range"))
    slow = replace(NFD, name="slow", of_images=None, aliases=())
    with pytest.raises(ValueError, match="cannot rank single images: a gaussian DNA needs at least 2 images"):
        rank_images(images, dnas["gaussian"], extractor, distance=slow)
    of_layers = rank_images(images, dnas["layer_gaussian"], extractor, distance="nfd")
    torch.testing.assert_close(of_layers.scores, rank_images(images, dnas["gaussian"], extractor).scores)


def test_the_fast_way_is_that_of_dnas() -> None:
    """Without its fast way, the EMD ranks by the same numbers."""
    extractor, images, dnas = _setting()
    slow = replace(EMD, name="slow", of_images=None)
    fast = rank_images(images, dnas["histogram"], extractor, distance=Column("emd", unit="activation"), reading=ONE)
    found = rank_images(images, dnas["histogram"], extractor, distance=Column(slow, unit="activation"), reading=ONE)
    torch.testing.assert_close(found.layer_distances, fast.layer_distances, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("of_images", "message"),
    [
        (lambda _: lambda x: {layer: part.mean(2).T * torch.nan for layer, part in x.items()}, "jsd is not finite in"),
        (lambda _: lambda x: x["nowhere"], "jsd: its function failed with KeyError: 'nowhere'"),
        (lambda reference: reference.nothing, "jsd: its function failed with AttributeError"),
    ],
)
def test_errors_of_a_fast_way_name_the_distance(of_images: Any, message: str) -> None:
    """What somebody's `of_images` does wrong is an error of that distance, and NaN is no score."""
    extractor, images, dnas = _setting()
    with pytest.raises(ValueError, match=message):
        rank_images(images, dnas["histogram"], extractor, distance=replace(JENSEN_SHANNON, of_images=of_images))
