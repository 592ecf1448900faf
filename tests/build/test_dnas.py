"""DNAs and ranges from images."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import KINDS, assert_same_state, tiny_extractor
from helpers.image_files import encode, pixels
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vdna_metrics.build.dnas import build_dnas
from vdna_metrics.build.passes import Checkpoint, calibrate
from vdna_metrics.build.reading import Reading
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.account import ImageAccount, ImageSizes
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.registry import create_extractor
from vdna_metrics.files import sha256_of_file
from vdna_metrics.images import open_images
from vdna_metrics.images.batches import FACTS, facts_of_batch
from vdna_metrics.images.sources import manifest_hash
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.metrics import LayerFrechetDistance, NeuronFrechetDistance, VDNAEarthMoversDistance
from vdna_metrics.ranges import ActivationRanges, RangesSource

IMAGES = pixels(11, 16, 16, 3)
NAMES = [f"{'ab'[i // 6]}/{i:02}.png" for i in range(len(IMAGES))]  # a folder's order is that of the array
READING = Reading(batch_size=4)
BINS = 20


def _ranges() -> ActivationRanges:
    return calibrate(IMAGES, tiny_extractor(), reading=READING)


def _build(images: Any, **options: Any) -> dict[Any, VDNA]:
    options = {"kinds": KINDS, "bins": BINS, "ranges": _ranges(), "reading": READING, **options}
    return build_dnas(images, options.pop("extractor", None) or tiny_extractor(), **options)


def _by_hand(layout: NeuronLayout | None = None) -> dict[str, torch.Tensor]:
    """Activations of all images, batch for batch."""
    extractor = tiny_extractor()
    batches = [extractor(batch) for batch in torch.from_numpy(IMAGES).permute(0, 3, 1, 2).split(READING.batch_size)]
    joined = {layer: torch.cat([batch[layer] for batch in batches], dim=1) for layer in extractor.layout}
    return joined if layout is None else layout.pick(joined)


def _folder(root: Path) -> Path:
    for name, image in zip(NAMES, IMAGES, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(image))
    return root


def _zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    return path


def test_one_pass_makes_all_kinds() -> None:
    """All kinds are made of one reading of the images, and each is what its activations give."""
    passes: list[int] = []

    def batches() -> Iterator[torch.Tensor]:
        for batch in torch.from_numpy(IMAGES).permute(0, 3, 1, 2).split(READING.batch_size):
            passes.append(len(batch))
            yield batch

    dnas = _build(batches())
    assert passes == [4, 4, 3]
    assert list(dnas) == list(KINDS)
    for dna in dnas.values():
        assert dna.n_images == 11
        expected = dna.distribution.with_state(torch.zeros_like(dna.distribution.state))
        expected.fill_(_by_hand())
        assert_same_state(dna.distribution, expected)
        assert dna.fingerprint == tiny_extractor().fingerprint


@pytest.mark.parametrize("workers", [0, 2])
def test_every_source_gives_the_same(tmp_path: Path, workers: int) -> None:
    """Files, archives, lists, arrays and tensors of the same images in one order give the same DNAs, as metrics do."""
    reading = Reading(batch_size=4, workers=workers)
    folder = _folder(tmp_path / "photos")
    expected = _build(IMAGES, reading=reading)
    tensors = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    sources: dict[str, Any] = {
        "photos": folder,
        "photos.zip": _zip(folder, tmp_path / "photos.zip"),
        "tensors": DataLoader(TensorDataset(tensors, torch.arange(11)), batch_size=4),
        "one tensor": tensors,
    }
    if not workers:
        files = sorted(folder.rglob("*.png"))
        np.save(tmp_path / "x.npy", IMAGES)
        sources |= {"paths": files, "source": open_images(folder), "array": tmp_path / "x.npy"}
    for name, source in sources.items():
        for kind, dna in _build(source, reading=reading, name=name).items():
            assert_same_state(dna.distribution, expected[kind].distribution)
    metrics: dict[Any, Any] = {
        "histogram": VDNAEarthMoversDistance(tiny_extractor(), bins=BINS, ranges=_ranges()),
        "gaussian": NeuronFrechetDistance(tiny_extractor()),
        "layer_gaussian": LayerFrechetDistance(tiny_extractor()),
    }
    for kind, metric in metrics.items():
        for real, images in ((True, tensors), (False, tensors.contiguous())):
            for batch in images.split(4):
                metric.update(batch, real=real)
            assert_same_state(metric.dna(real=real).distribution, expected[kind].distribution)


def test_the_manifest_identifies_the_images(tmp_path: Path) -> None:
    """Folder and zip of the same files have one manifest, that of names and contents; tensors have none."""
    folder = _folder(tmp_path / "photos")
    dna = _build(folder)["gaussian"]
    assert dna.provenance.sources == ("photos",)
    assert dna.provenance.extractor == tiny_extractor().name
    names = sorted(NAMES)
    digests = [sha256_of_file(folder / name) for name in names]
    assert dna.provenance.manifests == (manifest_hash(names, digests),)
    packed = _build(_zip(folder, tmp_path / "photos.zip"), name="mine")["gaussian"]
    assert packed.provenance.manifests == dna.provenance.manifests
    assert packed.provenance.sources == ("mine",)
    tensors = _build([torch.from_numpy(IMAGES).permute(0, 3, 1, 2)])["gaussian"]
    assert (tensors.provenance.manifests, tensors.provenance.sources) == ((), ("tensors",))


def test_what_the_images_are_is_kept(tmp_path: Path) -> None:
    """Formats, sizes and pixels are those of the files, not of the network's input; they add, and files keep them."""
    for name, width, height in (("a", 30, 20), ("b", 10, 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.png").write_bytes(encode(pixels(1, height, width, 3)[0]))
    whole = _build(tmp_path, kinds=["gaussian"])["gaussian"]
    parts = [_build(tmp_path / name, kinds=["gaussian"])["gaussian"] for name in "ab"]
    assert str(parts[0].provenance.account.sizes) == "30x20"
    assert str(whole.provenance.account.sizes) == "10..30 x 20..40"
    assert (parts[0] + parts[1]).provenance.account == whole.provenance.account
    assert load_vdna(whole.save(tmp_path / "whole.npz")).provenance == whole.provenance


def test_an_account_does_not_depend_on_how_images_come(tmp_path: Path) -> None:
    """A folder, an array, a tensor, batches and ranks' halves have one hash an image, and names of what they are."""
    folder, of = _folder(tmp_path / "photos"), torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    files, *others = (
        _build(images, kinds=["gaussian"])["gaussian"].provenance.account
        for images in (folder, IMAGES, of, list(of.split(4)))
    )
    assert files.formats == (("PNG", len(IMAGES)),)
    assert [account.formats for account in others] == [(("array", 11),), (("array", 11),), (("tensor", 11),)]
    for account in others:
        assert (account.sizes, account.pixels, account.depths) == (files.sizes, files.pixels, files.depths)
    shards = [Reading(batch_size=2, shard=(i, 2)) for i in range(2)]
    one, other = (_build(folder, kinds=["gaussian"], reading=each)["gaussian"] for each in shards)
    assert (one + other).provenance.account == (other + one).provenance.account == files


def test_tensors_on_another_device_are_not_hashed() -> None:
    """Pixels that are not in this memory are not fetched for their hashes: it is not known which are the same."""
    facts = facts_of_batch(torch.empty(3, 3, 4, 5, dtype=torch.uint8, device="meta"))
    assert ImageAccount.of(*(facts[name] for name in FACTS.names)) == ImageAccount(
        (("tensor", 3),), ImageSizes.of([5] * 3, [4] * 3), ()
    )
    vectors = facts_of_batch(torch.zeros(3, 7))
    assert ImageAccount.of(*(vectors[name] for name in FACTS.names)) == ImageAccount((("tensor", 3),), None, ())


@pytest.mark.parametrize(
    "options",
    [
        {"layers": ["second"]},
        {"neurons": {"first": [4, 1]}},
        {"layers": ["first", "second"], "neurons": {"second": [3]}},
    ],
    ids=str,
)
def test_choosing_before_is_selecting_afterwards(options: dict[str, Any]) -> None:
    """DNAs of chosen layers and neurons equal selections of the DNAs of all."""
    chosen, whole = _build(IMAGES, **options), _build(IMAGES)
    for kind, dna in chosen.items():
        selected = whole[kind].select(options.get("layers"), options.get("neurons"))
        assert_same_state(dna.distribution, selected.distribution)
        assert dna.fingerprint == selected.fingerprint


def test_only_chosen_layers_are_run() -> None:
    """With the first layer alone, what comes after it is not run; afterwards all layers are there again."""
    second = _Counted()
    network = nn.Sequential(nn.Conv2d(3, 2, 3), second)
    extractor = create_extractor(network, layers={"first": "0", "second": "1"}, size=16)
    second.calls = 0
    build_dnas(IMAGES, extractor, ["gaussian"], layers=["first"])
    assert second.calls == 0
    assert list(extractor(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))) == ["first", "second"]


class _Counted(nn.Module):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x


def test_splits_merge_to_the_whole() -> None:
    """DNAs of two halves add up to the DNA of all images."""
    whole, halves = _build(IMAGES), [_build(IMAGES[:4], name="x"), _build(IMAGES[4:], name="y")]
    for kind in KINDS:
        merged = halves[0][kind] + halves[1][kind]
        assert_same_state(merged.distribution, whole[kind].distribution)
        assert merged.provenance.sources == ("x", "y")
        assert len(merged.provenance.manifests) == 2


def test_bad_images_are_named_and_counted(tmp_path: Path) -> None:
    """A bad image is an error that names it, or, when asked, is left out and kept in the provenance."""
    folder = _folder(tmp_path / "photos")
    (folder / "a/00.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"photos: a/00\.png: not a readable .*skip_bad=True \(--skip-bad\) leaves it"):
        _build(folder)
    dnas = _build(folder, reading=Reading(batch_size=4, skip_bad=True))
    for dna in dnas.values():
        assert dna.n_images == 10
        ((name, reason),) = dna.provenance.skipped
        assert name == "a/00.png"
        assert reason.startswith("not a readable")
    # Batches are as they were, one image shorter where the bad one was.
    tensors = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    expected = _build([tensors[1:4], tensors[4:8], tensors[8:]])
    assert_same_state(dnas["histogram"].distribution, expected["histogram"].distribution)


def test_progress_is_told_after_each_batch(tmp_path: Path) -> None:
    """Progress tells images done and how many there are in all, where that is known, without the skipped ones."""
    folder = _folder(tmp_path / "photos")
    (folder / "a/00.png").write_bytes(b"no image")
    told: list[tuple[int, int | None]] = []
    reading = Reading(batch_size=4, skip_bad=True, progress=lambda *done: told.append(done))
    _build(folder, kinds=["gaussian"], reading=reading)
    assert told == [(3, 10), (7, 10), (10, 10)]
    told.clear()
    _build([torch.from_numpy(IMAGES).permute(0, 3, 1, 2)], kinds=["gaussian"], reading=reading)
    assert told == [(11, None)]


def test_ranges_come_in_any_order() -> None:
    """Ranges with other layers, or layers in another order, than the network's give the network's DNA."""
    ranges = _ranges()
    low, high = ranges.layout.split(ranges.observed_low), ranges.layout.split(ranges.observed_high)
    order = ["second", "first"]
    shuffled = ActivationRanges.from_extremes(
        {"other": [0.0], **{layer: low[layer] for layer in order}},
        {"other": [1.0], **{layer: high[layer] for layer in order}},
    )
    dna = _build(IMAGES, kinds=["histogram"], ranges=shuffled)["histogram"]
    assert list(dna.layout) == ["first", "second"]
    assert_same_state(dna.distribution, _build(IMAGES)["histogram"].distribution)


class _Overflow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0.99, torch.inf, x)


@pytest.mark.parametrize("value", [0, 255])
def test_overflow_names_its_layer(value: int) -> None:
    """Activations that are not finite name their layer, in building and in calibrating; others pass."""
    network = nn.Sequential(nn.AvgPool2d(4), _Overflow())
    extractor = create_extractor(network, layers={"pool": "0", "top": "1"}, size=16)
    images = np.full((3, 16, 16, 3), value, np.uint8)
    if value == 0:
        assert calibrate(images, extractor).n_images == 3
        return
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in layer top"):
        build_dnas(images, extractor, ["gaussian"])
    with pytest.raises(ValueError, match=r"is not finite for 3 neurons of layer 'top'"):
        calibrate(images, extractor)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([], {}, r"lists no images"),
        (IMAGES, {"kinds": ["histograms"]}, r"unknown kind 'histograms'; known: histogram, gaussian, layer_gaussian"),
        (IMAGES, {"layers": ["frist"]}, r"layers: unknown layer 'frist'; did you mean 'first'\?"),
        (IMAGES, {"neurons": {"first": [6]}}, r"layer 'first' has no neuron 6; it has 6 neurons, 0 to 5"),
        (IMAGES, {"ranges": None}, r"for 'module:Sequential'.*vdna-metrics calibrate IMAGES --extractor FILE.py:"),
        (IMAGES, {"bins": 0}, r"bins must be between 1 and 16777216, got 0"),
        ("nowhere", {}, r"no file, folder or reference 'nowhere'"),
    ],
    ids=["nothing", "kind", "layer", "neuron", "ranges", "bins", "path"],
)  # fmt: skip
def test_impossible_wishes_are_refused(images: Any, options: dict[str, Any], message: str) -> None:
    """Missing images and ranges, and unknown kinds, layers and neurons are named before anything is run."""
    with pytest.raises(ValueError, match=message):
        _build(images, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": "histogram"}, r"expected kinds to be a sequence of names, got 'histogram': write \['histogram'\]"),
        ({"partition": 5}, "expected partition to be Partition or NoneType, got the int 5"),
        ({"reading": 5}, "expected reading to be Reading, got the int 5"),
        ({"ranges": 5}, "expected ranges to be ActivationRanges or str or Path, got the int 5"),
        ({"neurons": [1, 2]}, r"expected neurons to be Mapping, got the list \[1, 2\]: give \{layer: indices\}"),
        ({"layers": 5}, "expected layers to be Collection, got the int 5"),
    ],
)  # fmt: skip
def test_wrong_types_are_named(options: dict[str, Any], message: str) -> None:
    """An argument of another type is a TypeError with what was expected and what came."""
    with pytest.raises(TypeError, match=message):
        build_dnas(IMAGES, tiny_extractor(), **options)


def test_ranges_are_taken_as_a_file(tmp_path: Path) -> None:
    """The path of activation ranges is as good as the ranges."""
    ranges = calibrate(IMAGES, tiny_extractor())
    dnas = [_build(IMAGES, ranges=each)["histogram"] for each in (ranges, ranges.save(tmp_path / "ranges.npz"))]
    assert torch.equal(dnas[0].distribution.state, dnas[1].distribution.state)


def test_ranges_of_another_network_are_refused() -> None:
    """Ranges that another network made, or that have other numbers of neurons, do not fit."""
    foreign = calibrate(IMAGES, tiny_extractor(1))
    with pytest.raises(ValueError, match=r"were not made with this extractor: weights differ: ranges \w+, extractor "):
        _build(IMAGES, ranges=foreign)
    small = ActivationRanges.from_extremes({"first": [0.0], "second": [0.0]}, {"first": [1.0], "second": [1.0]})
    with pytest.raises(ValueError, match=r"expected 6 neurons in layer 'first', got 1"):
        _build(IMAGES, ranges=small)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": 1}, r"batches must be tensors, or tuples that start with one, got dict"),
        (torch.zeros(2, 3, 16, 16), r"images must be uint8 in \[0, 255\], got torch.float32"),
    ],
)
def test_batches_are_uint8_tensors(batch: object, message: str) -> None:
    """Batches of another type are refused, and it is said what they should be."""
    with pytest.raises(TypeError, match=message):
        _build([batch])


def test_calibration_finds_the_extremes() -> None:
    """The observed ends are NumPy's minimum and maximum of every neuron, widened by the rule."""
    activations = _by_hand()
    ranges = calibrate(IMAGES, tiny_extractor(), widen="none", name="noise", reading=READING)
    low = np.concatenate([x.numpy().min(axis=(1, 2)) for x in activations.values()])
    high = np.concatenate([x.numpy().max(axis=(1, 2)) for x in activations.values()])
    np.testing.assert_array_equal(ranges.low, low)
    np.testing.assert_array_equal(ranges.high, high)
    assert (ranges.n_images, ranges.sources) == (11, ("noise",))
    assert ranges.fingerprint == tiny_extractor().fingerprint
    margin = calibrate(IMAGES, tiny_extractor(), reading=READING)
    np.testing.assert_allclose(margin.low, low - 0.1 * (high - low), rtol=1e-6, atol=1e-7)


def test_calibrations_merge_to_the_whole() -> None:
    """Ranges of two halves add up to the ranges of all images, and keep what is known of each half."""
    whole = calibrate(IMAGES, tiny_extractor(), reading=READING)
    halves = [calibrate(part, tiny_extractor(), name="half", reading=READING) for part in (IMAGES[:4], IMAGES[4:])]
    assert (halves[0] + halves[1]).equals(whole)
    assert (halves[0] + halves[1]).sources == ("half", "half")
    assert (halves[0] + halves[1]).sets == halves[0].sets + halves[1].sets


@given(st.lists(st.integers(0, 2), min_size=11, max_size=11), st.sampled_from(["margin", "vdna", "none"]))
@settings(max_examples=20)
def test_extremes_of_any_sets_merge_to_those_of_all(side: list[int], widen: Any) -> None:
    """However images are distributed over sets, merged ranges are those of all images, in any order of merging."""
    one_by_one = Reading(batch_size=1)  # kernels for other batch sizes round otherwise
    parts = [IMAGES[[i for i in range(11) if side[i] == which]] for which in range(3)]
    found = [calibrate(part, tiny_extractor(), widen=widen, reading=one_by_one) for part in parts if len(part)]
    whole = calibrate(IMAGES, tiny_extractor(), widen=widen, reading=one_by_one)
    assert reduce(add, found).equals(whole)
    assert reduce(add, found[::-1]).equals(whole)
    assert reduce(add, found).n_images == 11


def test_calibration_keeps_the_images_that_it_saw_and_skipped(tmp_path: Path) -> None:
    """Number, hash of names and contents, and the skipped images with their reasons are kept with the ranges."""
    folder = _folder(tmp_path / "photos")
    (folder / "a/00.png").write_bytes(b"no image")
    ranges = calibrate(folder, tiny_extractor(), reading=replace(READING, skip_bad=True))
    (known,) = ranges.sets
    dna = _build(folder, kinds=["gaussian"], reading=replace(READING, skip_bad=True))["gaussian"]
    assert known == RangesSource("photos", 10, dna.provenance.manifests[0], dna.provenance.skipped)
    assert [name for name, _ in known.skipped] == ["a/00.png"]
    assert (ranges.n_images, ranges.sources) == (10, ("photos",))


def test_calibrated_ranges_cover_their_images() -> None:
    """Nothing of the images that calibrated the ranges lies outside, with or without a margin."""
    for widen in ("margin", "none"):
        ranges = calibrate(IMAGES, tiny_extractor(), widen=widen, reading=READING)  # type: ignore[arg-type]
        distribution = _build(IMAGES, ranges=ranges)["histogram"].distribution
        assert isinstance(distribution, HistogramDistribution)
        assert distribution.outside() == {"first": 0.0, "second": 0.0}


def test_calibrating_chosen_layers() -> None:
    """Of some layers only, ranges are those of these layers."""
    some = calibrate(IMAGES, tiny_extractor(), layers=["second"], reading=READING)
    assert some.equals(_ranges().select(NeuronLayout({"second": 5})))
    with pytest.raises(ValueError, match="lists no images"):
        calibrate([], tiny_extractor())


_PEAK = """
import resource, sys
import torch
from torch import nn
from vdna_metrics import ActivationRanges, Reading, build_dnas, create_extractor
torch.set_num_threads(1)
network = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3))
extractor = create_extractor(network, layers=["0", "2"], size=32)
low = {layer: [-9.0] * count for layer, count in extractor.layout.items()}
high = {layer: [9.0] * count for layer, count in extractor.layout.items()}
ranges = ActivationRanges.from_extremes(low, high)
kinds = ["histogram", "gaussian", "layer_gaussian"]
dnas = build_dnas(sys.argv[1], extractor, kinds, ranges=ranges, reading=Reading(batch_size=32))
print(dnas["gaussian"].n_images, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.real_data
def test_memory_does_not_grow_with_the_images(shared: Path) -> None:
    """Ten times as many images need no more memory, to 3 %."""
    archive = shared / "data" / "cifar10_jpeg_test.zip"
    peaks = {}
    for source, expected in ((f"{archive}:test/airplane", 1_000), (str(archive), 10_000)):
        child = subprocess.run([sys.executable, "-c", _PEAK, source], capture_output=True, text=True, check=True)
        images, peak = map(int, child.stdout.split())
        assert images == expected
        peaks[images] = peak
    assert peaks[10_000] < 1.03 * peaks[1_000]


# ------------------------------------------------------------------------------------------- parts and interruptions
def _stop_after(batches: int) -> Callable[[], bool]:
    """Ask to stop after some batches."""
    count = iter(range(1, 1000))
    return lambda: next(count) >= batches


def test_parts_add_to_the_whole() -> None:
    """The DNAs of n parts sum to the DNA of all images: counts to the bit, moments to rounding."""
    whole = _build(IMAGES)
    parts = [_build(IMAGES, reading=replace(READING, shard=(i, 2))) for i in range(2)]
    assert [part["histogram"].n_images for part in parts] == [7, 4]
    for kind, dna in whole.items():
        assert_same_state((parts[0][kind] + parts[1][kind]).distribution, dna.distribution)


def test_ranges_of_parts_add_to_those_of_the_whole() -> None:
    """Ranges of n parts merge to the ranges over all images, and a part without an image is an error."""
    parts = [calibrate(IMAGES, tiny_extractor(), reading=replace(READING, shard=(i, 2))) for i in range(2)]
    assert (parts[0] + parts[1]).equals(_ranges())
    with pytest.raises(ValueError, match=r"no images in part 4 of 4, use fewer parts"):
        calibrate(IMAGES, tiny_extractor(), reading=replace(READING, shard=(3, 4)))


@pytest.mark.parametrize("done", [1, 2, 3])
def test_an_interrupted_pass_goes_on(tmp_path: Path, done: int) -> None:
    """A pass that was stopped after any batch and begun again gives the result of one that was not, to the bit."""
    folder = _folder(tmp_path / "photos")
    (folder / "a" / "00b.png").write_bytes(b"")
    reading = replace(READING, skip_bad=True, workers=2, checkpoint=tmp_path / "kept")
    whole = _build(folder, reading=replace(reading, checkpoint=None))
    with pytest.raises(KeyboardInterrupt):
        _build(folder, reading=replace(reading, stop=_stop_after(done)))
    seen: list[int] = []
    resumed = _build(folder, reading=replace(reading, progress=lambda count, total: seen.append(count)))
    for kind, dna in whole.items():
        assert torch.equal(resumed[kind].distribution.state, dna.distribution.state)
        assert resumed[kind].provenance == dna.provenance
    assert len(seen) == 3 - done  # batches that were left


def test_interrupted_ranges_go_on(tmp_path: Path) -> None:
    """Calibration that was stopped goes on too, and both kinds of pass keep apart in one folder."""
    reading = replace(READING, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        calibrate(IMAGES, tiny_extractor(), reading=replace(reading, stop=_stop_after(1)))
    with pytest.raises(KeyboardInterrupt):
        _build(IMAGES, ranges=_ranges(), reading=replace(reading, stop=_stop_after(2)))
    assert len(list(tmp_path.iterdir())) == 2
    ranges = calibrate(IMAGES, tiny_extractor(), reading=reading)
    assert (ranges.equals(_ranges()), ranges.n_images) == (True, 11)


def test_sets_of_the_same_names_are_kept_apart(tmp_path: Path) -> None:
    """What was kept of one set is not taken for another whose images have the same names."""
    other = pixels(11, 16, 16, 3, seed=1) // 2
    reading = replace(READING, checkpoint=tmp_path)
    for images in (IMAGES, other):
        with pytest.raises(KeyboardInterrupt):
            calibrate(images, tiny_extractor(), reading=replace(reading, stop=_stop_after(1)))
    for images in (IMAGES, other):
        assert calibrate(images, tiny_extractor(), reading=reading).equals(
            calibrate(images, tiny_extractor(), reading=READING)
        )


def test_a_set_that_is_done_is_not_read_again(tmp_path: Path) -> None:
    """What calibration found of a set is kept at its end, however short it was, and costs no image again."""
    counts: list[int] = []
    reading = replace(READING, checkpoint=tmp_path, progress=lambda count, total: counts.append(count))
    first = calibrate(IMAGES, tiny_extractor(), reading=reading)
    assert counts == [4, 8, 11]
    second = calibrate(IMAGES, tiny_extractor(), reading=reading)
    assert counts == [4, 8, 11]
    assert second.header() == first.header()
    assert second.equals(first)


@pytest.mark.parametrize("change", ["bins", "batch_size", "images", "ranges"])
def test_another_pass_does_not_take_what_was_kept(tmp_path: Path, change: str) -> None:
    """A pass over other images, or with other settings, begins at the beginning."""
    reading = replace(READING, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        _build(IMAGES, reading=replace(reading, stop=_stop_after(1)))
    counts: list[int] = []
    reading = replace(reading, progress=lambda count, total: counts.append(count))
    wider = calibrate(IMAGES, tiny_extractor(), widen="none", reading=READING)
    {
        "bins": lambda: _build(IMAGES, bins=BINS + 1, reading=reading),
        "batch_size": lambda: _build(IMAGES, reading=replace(reading, batch_size=3)),
        "images": lambda: _build(IMAGES[:10], reading=reading),
        "ranges": lambda: _build(IMAGES, ranges=wider, reading=reading),
    }[change]()
    assert counts[0] == (3 if change == "batch_size" else 4)


def test_what_was_kept_by_other_parts_is_refused(tmp_path: Path) -> None:
    """What two processes left is not for three: the error says what to do."""
    reading = replace(READING, checkpoint=tmp_path, shard=(0, 2))
    with pytest.raises(KeyboardInterrupt):
        _build(IMAGES, reading=replace(reading, stop=_stop_after(1)))
    with pytest.raises(
        ValueError, match=r"1-of-2\.npz was left by 2 processes, now there are 3: go on with as many, or"
    ):
        _build(IMAGES, reading=replace(reading, shard=(0, 3)))


def test_damaged_leavings_are_refused(tmp_path: Path) -> None:
    """What was kept and is damaged is an error, not a wrong result."""
    reading = replace(READING, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        _build(IMAGES, reading=replace(reading, stop=_stop_after(1)))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{file.name} is damaged"):
        _build(IMAGES, reading=reading)


def test_work_is_kept_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that is killed has left what was done when it last was time to."""
    monkeypatch.setattr(Checkpoint, "is_due", lambda self, every=60.0: True)

    def fail(count: int, total: int | None) -> None:
        if count == 11:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        _build(IMAGES, reading=replace(READING, checkpoint=tmp_path, progress=fail))
    counts: list[int] = []
    resumed = _build(
        IMAGES, reading=replace(READING, checkpoint=tmp_path, progress=lambda count, total: counts.append(count))
    )
    assert counts == [11]
    assert torch.equal(resumed["histogram"].distribution.state, _build(IMAGES)["histogram"].distribution.state)


def test_batches_that_come_cannot_be_shared_or_resumed(tmp_path: Path) -> None:
    """An iterable of batches has no numbers to share out or to go on from."""
    for change in ({"shard": (0, 2)}, {"checkpoint": tmp_path}):
        with pytest.raises(ValueError, match="an iterable of batches"):
            _build([torch.zeros(2, 3, 8, 8, dtype=torch.uint8)], reading=replace(READING, **change))
