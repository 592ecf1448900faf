"""Difference maps say where an image's distance lies: with what has no place, they add up to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import write_folder
from helpers.dnas import tiny_extractor
from helpers.image_files import pixels
from torch import Tensor, nn

from vdna_metrics import Reading, build_dnas, calibrate, create_extractor
from vdna_metrics.analysis import difference_maps, rank_images
from vdna_metrics.analysis.maps import DifferenceMapper
from vdna_metrics.build import passes
from vdna_metrics.build.keeping import keep_activations
from vdna_metrics.build.passes import run_work
from vdna_metrics.dna import Column
from vdna_metrics.images import open_images
from vdna_metrics.reports import plot_difference_maps
from vdna_metrics.reports.maps import in_colours

ONE = Reading(batch_size=1)


class _Tokens(nn.Module):
    """A patch of 4 by 4 pixels is a token, after one of the whole; then their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 4, stride=4)
        self.tokens, self.pooled = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.tokens(torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1))
        return self.pooled(tokens.mean(dim=1))


def _network(**options: Any) -> Any:
    torch.manual_seed(0)
    return create_extractor(_Tokens(), layers=["tokens", "pooled"], size=20, **options)


def _images() -> tuple[np.ndarray, np.ndarray]:
    return pixels(9, 20, 20, 3), pixels(4, 20, 20, 3, seed=1) // 2


@pytest.mark.parametrize("unit", ["bins", "range", "activation"])
@pytest.mark.parametrize("ranges", ["given", "auto"])
def test_a_map_and_what_has_no_place_make_the_distance(ranges: str, unit: str) -> None:
    """With given ranges and found ones, in any unit, by weights or not, it is the distance that `rank_images` finds."""
    for network in (tiny_extractor(), _network()):
        real, fake = _images()
        given: Any = calibrate(real, network) if ranges == "given" else "auto"
        reference = build_dnas(real, network, bins=40, ranges=given)["histogram"]
        generator = np.random.default_rng(0)
        weights = {layer: generator.normal(size=count) for layer, count in network.layout.items()}
        for column in (Column("emd", unit=unit), Column("emd", unit=unit, weights=weights)):
            found = difference_maps(fake, reference, network, distance=column)
            ranking = rank_images(fake, reference, network, distance=column, reading=ONE)
            assert [each.distance for each in found.maps] == pytest.approx(ranking.scores.tolist(), rel=1e-6, abs=1e-9)
            assert found.unit == column.unit


def test_tokens_without_a_place_are_told_apart() -> None:
    """The class token and the pooled layer add to `elsewhere` alone; the layer is named as left out."""
    network, (real, fake) = _network(), _images()
    reference = build_dnas(real, network, bins=40, ranges=calibrate(real, network))["histogram"]
    found = difference_maps(fake, reference, network)
    assert (found.layers, found.left_out) == (("tokens",), ("pooled",))
    tokens = difference_maps(fake, reference, network, distance=Column("emd", layers=["tokens"]))
    pooled = rank_images(fake, reference, network, distance=Column("emd", layers=["pooled"]), reading=ONE)
    for each, alone, score in zip(found.maps, tokens.maps, pooled.scores.tolist(), strict=True):
        assert each.elsewhere == pytest.approx((alone.elsewhere + score) / 2)
        torch.testing.assert_close(each.values, alone.values / 2)
        blocks = each.values.view(5, 4, 5, 4)
        assert torch.allclose(blocks, blocks[:, :1, :, :1].expand_as(blocks))  # a patch is one place
    with pytest.raises(ValueError, match="pooled: no layer's positions have a place in the image"):
        difference_maps(fake, reference, network, distance=Column("emd", layers=["pooled"]))


def test_a_map_is_high_where_the_image_was_spoilt() -> None:
    """Of a network that sees single pixels, a grey image with one white square has its distance in that square."""
    network = create_extractor(nn.AvgPool2d(1), size=16)
    grey = np.full((6, 16, 16, 3), 100, np.uint8) + pixels(6, 16, 16, 3) // 16
    reference = build_dnas(grey, network, bins=100, ranges=calibrate(pixels(3, 16, 16, 3), network))["histogram"]
    spoilt = grey[:1].copy()
    spoilt[0, 4:8, 8:12] = 255
    (found,) = difference_maps(spoilt, reference, network).maps
    inside = found.values[4:8, 8:12]
    assert float(inside.min()) > 10 * float(found.values.abs().quantile(0.5))
    assert float(inside.sum()) / float(found.values.clamp(min=0).sum()) > 0.5
    picture = in_colours(found, float(found.values.abs().max()))
    assert bool((picture[0, 4:8, 8:12] > picture[2, 4:8, 8:12]).all())  # red


def test_a_ranking_has_maps_of_its_ends_from_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps and pictures of the ends are of the same images, each read once more; activations that were kept do, too."""
    network, (real, fake) = tiny_extractor(), _images()
    reference = build_dnas(real, network, bins=40, ranges=calibrate(real, network))["histogram"]
    read: list[list[int]] = []
    again = passes.read_resized
    monkeypatch.setattr(
        "vdna_metrics.analysis.ranking.read_resized", lambda s, i, e: read.append(sorted(set(i))) or again(s, i, e)
    )
    ranking = rank_images(fake, reference, network, pictures=1, maps=1)
    ends = sorted(set(ranking.ends(1)))
    assert read == [ends]
    assert ranking.maps is not None
    assert [each.index for each in ranking.maps.maps] == list(dict.fromkeys(ranking.ends(1)))
    assert sorted(ranking.pictures) == ends
    assert all(torch.equal(each.image, ranking.pictures[each.index]) for each in ranking.maps.maps)
    kept = run_work(keep_activations(open_images(fake), network.layout), network, Reading())
    from_kept = DifferenceMapper(reference, network, "emd").of_kept(kept, ranking.pictures)
    for one, other in zip(ranking.maps.maps, from_kept.maps, strict=True):
        torch.testing.assert_close(one.values, other.values, rtol=1e-5, atol=1e-5)
    assert len(plot_difference_maps(ranking.maps).axes) == 2 * len(ends) + 1
    assert rank_images(fake, reference, network).maps is None


def test_what_has_no_maps_is_refused() -> None:
    """Other distances, references of some positions, another network, and no maps at all are errors."""
    network, (real, fake) = tiny_extractor(), _images()
    dnas: Any = build_dnas(real, network, ["histogram", "gaussian"], ranges=calibrate(real, network))
    with pytest.raises(ValueError, match="difference maps are of the EMD, got"):
        difference_maps(fake, dnas["gaussian"], network, distance="nfd")
    kinds: Any = build_dnas(real, network, ["gaussian", "layer_gaussian", "features"])
    for kind, dna in kinds.items():
        with pytest.raises(ValueError, match=f"VDNA-EMD needs DNAs of kind 'histogram': reference '{kind}'"):
            difference_maps(fake, dna, network)
    none_seen = dnas["histogram"].distribution
    none_seen = replace(dnas["histogram"], distribution=none_seen.with_state(none_seen.state * 0))
    with pytest.raises(ValueError, match="the reference DNA has seen no image"):
        difference_maps(fake, none_seen, network)
    some = build_dnas(real, network, ranges=calibrate(real, network), max_positions=5)["histogram"]
    with pytest.raises(ValueError, match="the reference counts 5 positions of an image, maps need all"):
        difference_maps(fake, some, network)
    with pytest.raises(ValueError, match="weights differ"):
        difference_maps(fake, dnas["histogram"], tiny_extractor(seed=1))
    with pytest.raises(ValueError, match="no map to show"):
        plot_difference_maps(difference_maps(fake, dnas["histogram"], network).of([]))


def _with_dead_layer() -> Any:
    """Of two layers the second gives 0 for every image."""
    modules = nn.Sequential(nn.AvgPool2d(2), nn.Threshold(1e9, 0.0))
    return create_extractor(modules, layers={"live": "0", "dead": "1"}, size=20)


@pytest.mark.parametrize("unit", ["bins", "range"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_layer_without_width_is_refused_as_between_dnas(unit: str, weighted: bool) -> None:
    """Where all neurons of a layer saw one value, found ranges have no bins: rankings and maps are no NaN, but refused.

    In activations, and of other layers, there is a distance.
    """
    network, (real, fake) = _with_dead_layer(), _images()
    dnas = [build_dnas(images, network, bins=40, ranges="auto")["histogram"] for images in (real, fake)]
    weights = {layer: np.ones(count) for layer, count in network.layout.items()} if weighted else None
    column = Column("emd", unit=unit, weights=weights)
    no_width = "VDNA-EMD: no neuron of dead has any width in the reference"
    with pytest.raises(ValueError, match=no_width):
        column.measure(*dnas)
    with pytest.raises(ValueError, match=no_width):
        rank_images(fake, dnas[0], network, distance=column)
    with pytest.raises(ValueError, match=no_width):
        rank_images(fake, dnas[0], network, distance=column, maps=1)
    with pytest.raises(ValueError, match=no_width):
        difference_maps(fake, dnas[0], network, distance=column)
    for other in (Column("emd", unit="activation"), Column("emd", unit=unit, layers=["live"])):
        assert bool(rank_images(fake, dnas[0], network, distance=other).scores.isfinite().all())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_are_refused(value: float) -> None:
    """A network that gives NaN or infinity for an image has no map of it, and no rank."""
    network, (real, fake) = tiny_extractor(), _images()
    reference = build_dnas(real, network, bins=40, ranges=calibrate(real, network))["histogram"]
    of_resized = network.from_resized

    def broken(images: Tensor) -> dict[str, Tensor]:
        found = dict(of_resized(images))
        found["second"] = found["second"].clone()
        found["second"][0, 0, 0] = value
        return found

    network.from_resized = broken  # type: ignore[method-assign]
    for look in (difference_maps, rank_images):
        with pytest.raises(ValueError, match=r"activations are not finite \(NaN or infinite\) in layers second"):
            look(fake, reference, network)  # type: ignore[operator]


def test_an_image_that_cannot_be_read_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    """The words are those of a pass: it is not said to have changed, since nobody knows."""
    network, (real, fake) = tiny_extractor(), _images()
    reference = build_dnas(real, network, bins=40, ranges=calibrate(real, network))["histogram"]
    write_folder(folder := tmp_path / "images", fake)
    first = min(folder.iterdir())
    for contents, reason in ((b"", "the file is empty"), (first.read_bytes()[:60], ".+")):
        first.write_bytes(contents)
        told = []
        for look in (difference_maps, rank_images):
            with pytest.raises(ValueError, match=f"^images: {first.name}: {reason}") as error:
                look(folder, reference, network)  # type: ignore[operator]
            told.append(str(error.value).partition("; skip_bad")[0])
        assert told[0] == told[1]


def test_indices_and_device_are_checked() -> None:
    """Images and devices that are not there are refused with what there is; integers of NumPy are indices, too."""
    network, (real, fake) = tiny_extractor(), _images()
    reference = build_dnas(real, network, bins=40, ranges=calibrate(real, network))["histogram"]
    assert [each.index for each in difference_maps(fake, reference, network, indices=np.array([3, 0])).maps] == [0, 3]
    with pytest.raises(ValueError, match="expected an index below the 4 images of array, got 4"):
        difference_maps(fake, reference, network, indices=[0, 4])
    with pytest.raises(ValueError, match="expected an index of at least 0, got -1"):
        difference_maps(fake, reference, network, indices=[-1])
    for wrong in (0.5, "0", True):
        with pytest.raises(TypeError, match="expected an index to be a whole number, got"):
            difference_maps(fake, reference, network, indices=[wrong])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"^gpu: .*device"):
        difference_maps(fake, reference, network, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"^cuda: .*(CUDA|NVIDIA)"):
            difference_maps(fake, reference, network, device="cuda")


def test_the_colours_of_a_map_are_those_of_its_bar() -> None:
    """A place has the bar's colour of its value, whatever the image is like there, bright or dark."""
    network, (real, fake) = tiny_extractor(), _images()
    fake[:, :10], fake[:, 10:] = 255 - fake[:, :10] // 8, fake[:, 10:] // 8
    reference = build_dnas(real, network, bins=40, ranges=calibrate(real, network))["histogram"]
    found = difference_maps(fake, reference, network)
    figure = plot_difference_maps(found)
    figure.draw_without_rendering()
    *pictures, bar = figure.axes
    (mesh,) = (each for each in bar.collections if each.get_array() is not None and each.get_array().size > 2)
    for each, shown in zip(found.maps, (ax.images[0].get_array() for ax in pictures[1::2]), strict=True):
        colours = mesh.to_rgba((each.values - each.values.mean()).numpy(), bytes=True)[..., :3]
        np.testing.assert_allclose(np.asarray(shown, int), colours, atol=1)


def test_a_picture_of_maps_says_what_it_shows() -> None:
    """One layer, and one image, are not several; words of an image stand before its name."""
    network, (real, fake) = tiny_extractor(), _images()
    reference = build_dnas(real, network, bins=40, ranges=calibrate(real, network))["histogram"]
    found = difference_maps(fake, reference, network)
    both = plot_difference_maps(found, words={2: "nearest 1"})
    texts = [text.get_text() for text in both.texts]
    assert "layers first, second" in texts
    assert [text.partition(",")[0] for text in texts if text.endswith("bins")] == ["0", "1", "nearest 1: 2", "3"]
    assert both.get_suptitle().endswith("lies: 4 images of array")
    early = difference_maps(fake, reference, network, distance=Column("emd", layers=["first"]), indices=[0])
    one = plot_difference_maps(early)
    assert "layer first" in [text.get_text() for text in one.texts]
    assert one.get_suptitle().endswith("lies: 1 image of array")
