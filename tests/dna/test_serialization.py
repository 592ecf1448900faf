"""DNA files: exact, small, and readable for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import LAYOUT, MADE, Made, make_activations, make_dna, make_fingerprint, make_ranges
from helpers.tampering import Arrays, tampered

from vdna_metrics import compare
from vdna_metrics.distributions import (
    AutoHistogramDistribution,
    Distribution,
    FeatureSample,
    GaussianDistribution,
    HistogramDistribution,
    Kind,
    LayerGaussianDistribution,
)
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA, Provenance, ProvenanceFields
from vdna_metrics.files import SCHEMA, read_header, write_npz
from vdna_metrics.fingerprint import ExtractorFingerprint, Response
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges, load_ranges
from vdna_metrics.schema import typed

FILES = Path(__file__).parents[1] / "files"
kinds = pytest.mark.parametrize("kind", MADE)
CENTRE = torch.linspace(-1, 1, LAYOUT.total, dtype=torch.float64) / 3


def _assert_same(a: VDNA, b: VDNA) -> None:
    """All of two DNAs is equal, to the bit."""
    assert (a.kind, a.layout, a.fingerprint, a.provenance) == (b.kind, b.layout, b.fingerprint, b.provenance)
    assert a.distribution.state.dtype == b.distribution.state.dtype
    assert torch.equal(a.distribution.state, b.distribution.state)
    if isinstance(a.distribution, HistogramDistribution):
        assert isinstance(b.distribution, HistogramDistribution)
        assert a.distribution.bins == b.distribution.bins
        assert a.distribution.ranges.header() == b.distribution.ranges.header()
        assert torch.equal(a.distribution.ranges.observed_low, b.distribution.ranges.observed_low)
        assert torch.equal(a.distribution.ranges.observed_high, b.distribution.ranges.observed_high)
    elif "gaussian" in a.kind:
        assert torch.equal(a.distribution.centre, b.distribution.centre)  # type: ignore[attr-defined]


def _many(kind: Made) -> dict[str, VDNA]:
    dna = make_dna(kind, 30, ranges=make_ranges(-1, 2, widen="vdna", fingerprint=make_fingerprint()), centre=CENTRE)
    other = make_dna(kind, 20, 1, ranges=make_ranges(-1, 2, widen="vdna"), centre=-CENTRE)
    return {
        "plain": dna,
        "merged": dna + other,
        "selected": (dna + other).select(neurons={"conv2": [2, 1], "norm": [0, 1]}),
        "empty": make_dna(kind, 0),
        "unknown": VDNA(dna.distribution, dna.fingerprint),
        "of some positions": replace(dna, provenance=replace(dna.provenance, max_positions=4)),
    }


@kinds
@pytest.mark.parametrize("which", _many("gaussian"))
def test_all_comes_back_to_the_bit(tmp_path: Path, kind: Made, which: str) -> None:
    """A loaded DNA equals the saved one in every value, also after merging and selecting, and also when empty."""
    dna = _many(kind)[which]
    path = dna.save(tmp_path / "ffhq-0.5")
    assert path == tmp_path / "ffhq-0.5.npz"
    _assert_same(load_vdna(path), dna)
    _assert_same(load_vdna(str(path), device="cpu"), dna)


@kinds
def test_the_response_of_the_network_comes_back(tmp_path: Path, kind: Made) -> None:
    """What the network answers to a probe is in the file, of the DNA and of its ranges; without one there is none."""
    answer = Response("64x64:aa", {"conv1": (1 / 3, 0.5), "norm": (-1e-9, 2.0)})
    fingerprint = replace(make_fingerprint(), response=answer)
    plain = make_dna(kind, 5, ranges=make_ranges(fingerprint=fingerprint))
    loaded = load_vdna(replace(plain, fingerprint=fingerprint).save(tmp_path / "a"))
    assert loaded.fingerprint.response == answer
    if isinstance(loaded.distribution, HistogramDistribution):
        assert loaded.distribution.ranges.fingerprint is not None
        assert loaded.distribution.ranges.fingerprint.response == answer
    assert "response" not in read_header(plain.save(tmp_path / "b"))["fingerprint"]


@kinds
def test_a_loaded_dna_is_as_good_as_the_saved(tmp_path: Path, kind: Made) -> None:
    """A loaded DNA can be filled, merged and selected on."""
    dna = make_dna(kind, 10, centre=CENTRE)
    loaded = load_vdna(dna.save(tmp_path / "x"))
    for each in (dna, loaded):
        each.distribution.fill_(make_activations(5, 3))
    _assert_same(loaded + loaded, dna + dna)
    _assert_same(loaded.select(["conv2"]), dna.select(["conv2"]))


@pytest.mark.parametrize("bins", [1, 3, 19, 20, 21, 40, 1000])
@pytest.mark.parametrize("top", [0, 1, 255, 256, 2**16, 2**32 + 1, 2**53 + 1])
def test_any_counts_come_back(tmp_path: Path, bins: int, top: int) -> None:
    """Any counts in any number of bins come back exactly, from none at all to far over 2**32."""
    dna = make_dna("histogram", 0, bins=bins)
    assert isinstance(dna.distribution, HistogramDistribution)
    numbers = np.random.default_rng(0).integers(0, top, dna.distribution.counts.shape, endpoint=True)
    numbers[0] = top
    numbers[1] = 0
    numbers[2, 1:], numbers[2, 0] = 0, 2**61
    dna.distribution.counts.copy_(torch.from_numpy(numbers))
    dna.distribution.below.copy_(dna.distribution.counts[:, 0])
    dna.distribution.state[0] = 2**40
    loaded = load_vdna(dna.save(tmp_path / "x"))
    _assert_same(loaded, dna)
    assert loaded.n_images == 2**40


@kinds
def test_special_floats_and_names_come_back(tmp_path: Path, kind: Made) -> None:
    """Subnormal and negative zero sums, and any characters in names, are kept."""
    dna = make_dna(kind, 3)
    if dna.distribution.dtype == torch.float64:
        dna.distribution.body[:3] = torch.tensor([5e-324, -0.0, 1e69], dtype=torch.float64)
    provenance = Provenance("nét\n", ('a"b', "日本", "bad \udc80"), (("x.png", "cut"),), ("f" * 64,))
    loaded = load_vdna(replace(dna, provenance=provenance).save(tmp_path / "x"))
    assert loaded.provenance == provenance
    assert loaded.distribution.state.numpy().tobytes() == dna.distribution.state.numpy().tobytes()


@kinds
def test_the_header_says_what_it_is(tmp_path: Path, kind: Made) -> None:
    """Kind, images, layout, fingerprint and provenance are readable without the arrays."""
    dna = make_dna(kind, 5)
    header = read_header(dna.save(tmp_path / "x"))
    assert header["schema"] == SCHEMA
    assert (header["kind"], header["n_images"]) == (dna.distribution.stored_as or dna.kind, 5)
    assert typed(NeuronLayout, header["layout"]) == LAYOUT
    assert typed(ExtractorFingerprint, header["fingerprint"]) == dna.fingerprint
    assert typed(ProvenanceFields, header["provenance"]).provenance({}) == dna.provenance
    assert (dna.kind == "histogram") == ("bins" in header)
    assert (kind == "histogram") == ("ranges" in header)


@kinds
def test_numpy_reads_a_dna_without_pickle(tmp_path: Path, kind: Made) -> None:
    """Every array is of plain numbers."""
    with np.load(make_dna(kind).save(tmp_path / "x"), allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "uf" for name in archive.files)


@kinds
def test_same_dna_same_bytes(tmp_path: Path, kind: Made) -> None:
    """Saving a loaded DNA gives the same bytes."""
    path = make_dna(kind).save(tmp_path / "a")
    assert load_vdna(path).save(tmp_path / "b").read_bytes() == path.read_bytes()


@kinds
@pytest.mark.parametrize("tenths", range(10))
def test_a_truncated_dna_is_refused(tmp_path: Path, kind: Made, tenths: int) -> None:
    """A file cut at any length is a ValueError with its name."""
    path = make_dna(kind).save(tmp_path / "x")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * tenths // 10])
    with pytest.raises(ValueError, match=r"x\.npz( is damaged|: member)"):
        load_vdna(path)


@kinds
def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path, kind: Made) -> None:
    """A single flipped bit, anywhere, is an error that names the file or leaves the DNA as it was."""
    dna = make_dna(kind, bins=50)
    path = dna.save(tmp_path / "x")
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            loaded = load_vdna(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            _assert_same(loaded, dna)


def _tampered(path: Path, change: dict[str, Any]) -> Path:
    with np.load(path) as archive:
        arrays = dict(archive)
    header = {**json.loads(arrays["header"].tobytes()), **change}
    np.savez(path, **{**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)})
    return path


def test_keys_of_more_images_than_memory_holds_are_refused(tmp_path: Path) -> None:
    """A count of millions in a file of kilobytes is refused before a key of each is drawn."""
    dna = make_dna("features", 3)
    arrays = {name: each.numpy() for name, each in dna.distribution.arrays().items()}  # type: ignore[attr-defined]
    arrays["image_hashes"], arrays["image_counts"] = arrays["image_hashes"].view("u8"), np.array([1, 1, 10**8], "u4")
    header = {
        name: each for name, each in read_header(dna.save(tmp_path / "x")).items() if name not in ("sha256", "kind")
    }
    path = write_npz(tmp_path / "y", "feature_sample", {**header, "n_images": 10**8 + 2}, arrays)
    with pytest.raises(ValueError, match=r"y\.npz: the keys of 100000002 images: expected at most \d+ bytes"):
        load_vdna(path)


@kinds
def test_a_changed_header_is_refused(tmp_path: Path, kind: Made) -> None:
    """A number of images or a fingerprint that was edited is found."""
    for change in ({"n_images": 10_000}, {"fingerprint": make_fingerprint("other").to_json()}):
        path = _tampered(make_dna(kind).save(tmp_path / "x"), change)
        with pytest.raises(ValueError, match=r"x\.npz was changed after it was written"):
            load_vdna(path)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    """A DNA of a newer version is refused with what to do."""
    path = _tampered(make_dna("gaussian").save(tmp_path / "x"), {"schema": 2})
    with pytest.raises(ValueError, match=r"x\.npz has schema 2 .*this version reads up to 1: upgrade vdna_metrics"):
        load_vdna(path)


def test_ranges_are_no_dna(tmp_path: Path) -> None:
    """A file of ranges is refused, with what is needed."""
    path = make_ranges().save(tmp_path / "x")
    with pytest.raises(ValueError, match=r"expected 'histogram' or .* or 'feature_sample', it holds 'ranges'"):
        load_vdna(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A missing file is a FileNotFoundError with its path."""
    with pytest.raises(FileNotFoundError, match=r"no such file: .*x\.npz"):
        load_vdna(tmp_path / "x.npz")


@kinds
def test_what_was_not_finite_is_not_saved(tmp_path: Path, kind: Made) -> None:
    """A DNA with NaN, as an accelerator notes it, is refused with its layer and leaves no file."""
    dna = make_dna(kind)
    dna.distribution.state[2] += 1
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in layer conv2"):
        dna.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------- released schemas
def _schema1(kind: Made) -> VDNA:
    """What `files/schema1_<kind>.npz` holds, written by the first version; the files are never written again."""
    layout = NeuronLayout({"first": 2, "last": 1}, {"first": (5, 3)})
    fingerprint = ExtractorFingerprint("resnet18", "0123" * 16, "clean:32", {"first": "layer1", "last": "fc"})
    distribution: Distribution
    centre = [0.5, 0.0, -0.1]
    if kind == "auto":
        distribution = AutoHistogramDistribution.empty(layout, 4)
        values = torch.tensor([[-1.0, 0.75, 0.75], [3e38, -0.0, 1e-40], [2.0, 2.0, 2.0]])[:, :, None]
        distribution.fill_({"first": values[:2], "last": values[2:]})
    elif kind == "histogram":
        ranges = ActivationRanges(
            layout,
            torch.tensor([-1.0, 0.25, 2.0]),
            torch.tensor([1.0, 0.75, 2.0]),
            "vdna",
            7,
            ("calibration",),
            fingerprint,
        )
        counts = [2, 0, 300, 98, 0, 70_000, 0, 5_000_000_000, 3, 0, 0, 0]
        state = torch.tensor([3, 0, 0, *counts, 1, 0, 0, 0, 2, 0])
        distribution = HistogramDistribution(layout, state, ranges, 4)
    elif kind == "features":
        values = torch.tensor([[-1.0, 0.75, 0.75], [3e38, -0.0, 1e-40], [2.0, 2.0, 2.0]])[:, :, None]
        sample = FeatureSample.empty(layout, 2)
        sample.fill_({"first": values[:2], "last": values[2:]}, torch.tensor([7, -5, 7]))
        distribution = sample.copied()
    elif kind == "gaussian":
        state = torch.tensor([3, 0, 0, *centre, 1.5, -2.25, 1 / 3, 4.0, 5.5, 0.1], dtype=torch.float64)
        distribution = GaussianDistribution(layout, state)
    else:
        scatter = [4.0, -0.7, -0.7, 5.5, 0.1]
        state = torch.tensor([3, 0, 0, *centre, 1.5, -2.25, 1 / 3, *scatter], dtype=torch.float64)
        distribution = LayerGaussianDistribution(layout, state)
    provenance = Provenance("seeded_resnet18", ("ffhq-0.5", "ü"), (("cut.png", "the file is empty"),), ("ab" * 32,))
    return VDNA(distribution, fingerprint, provenance)


@kinds
def test_files_of_schema_1_are_read_for_ever(kind: Made) -> None:
    """Files of the first schema, kept as they were written, give exactly what was put in."""
    path = FILES / f"schema1_{'feature_sample' if kind == 'features' else kind}.npz"
    assert read_header(path)["schema"] == 1
    _assert_same(load_vdna(path), _schema1(kind))


def test_ranges_of_schema_1_are_read_for_ever() -> None:
    """Ranges of the first schema give exactly what was put in."""
    distribution = _schema1("histogram").distribution
    assert isinstance(distribution, HistogramDistribution)
    loaded = load_ranges(FILES / "schema1_ranges.npz")
    assert loaded.header() == distribution.ranges.header()
    assert loaded.equals(distribution.ranges)
    assert torch.equal(loaded.observed_low, distribution.ranges.observed_low)
    assert torch.equal(loaded.observed_high, distribution.ranges.observed_high)


# ----------------------------------------------------------------------------------------- contents that cannot be
def _sized(kind: Kind, n_images: int = 12) -> VDNA:
    """A DNA whose preprocessing says that all images have one size."""
    fingerprint = make_fingerprint(preprocessing="clean:bicubic:8x8:mean=0,0,0:std=1,1,1")
    return replace(make_dna(kind, n_images, centre=CENTRE), fingerprint=fingerprint)


def _put(name: str, place: Any, value: Any) -> Callable[[dict[str, Any], Arrays], None]:
    def change(_: dict[str, Any], arrays: Arrays) -> None:
        arrays[name][place] = value

    return change


def _cast(name: str, make: Callable[[Any], Any]) -> Callable[[dict[str, Any], Arrays], None]:
    def change(_: dict[str, Any], arrays: Arrays) -> None:
        arrays[name] = np.asarray(make(arrays[name]))

    return change


def _set(name: str, value: Any) -> Callable[[dict[str, Any], Arrays], None]:
    def change(header: dict[str, Any], _: Arrays) -> None:
        *path, last = name.split(".")
        for part in path:
            header = header[part]
        header[last] = value

    return change


IMPOSSIBLE: dict[str, tuple[Kind, Callable[[dict[str, Any], Arrays], Any], str]] = {
    "images below none": ("gaussian", _set("n_images", -5), r"n_images: expected a whole number from 0 .*, got -5"),
    "images without end": ("gaussian", _set("n_images", 10**30), "n_images: expected a whole number, got 10"),
    "images in halves": ("gaussian", _set("n_images", 2.5), r"n_images: expected a whole number, got 2\.5"),
    "no images": ("gaussian", _set("n_images", 0), "expected of 0 images a variance from 0"),
    "fewer images than the variance": ("gaussian", _set("n_images", 1), "expected of 1 images a variance from 0"),
    "negative squares": ("gaussian", _put("second", 2, -1.0), "got .* for neuron 2 of layer 'conv1'"),
    "a mean out of the squares": ("gaussian", _put("first", 5, 1e6), "for neuron 1 of layer 'conv2'"),
    "NaN": ("gaussian", _put("second", 0, np.nan), "array 'second': expected finite numbers, got NaN or infinity"),
    "infinity": ("layer_gaussian", _put("centre", 0, np.inf), "array 'centre': expected finite numbers"),
    "a scalar": ("gaussian", _cast("first", lambda _: 1.0), r"member 'first\.npy': expected f8 \[9\], got f8 \[\]"),
    "one for all": ("gaussian", _cast("centre", lambda a: a[:1]), r"expected f8 \[9\], got f8 \[1\]"),
    "another type": ("gaussian", _cast("centre", lambda a: a.astype(int)), r"expected f8 \[9\], got i8 \[9\]"),
    "complex": ("gaussian", _cast("centre", lambda a: a + 1j), r"expected f8 \[9\], got c16 \[9\]"),
    "no array": (
        "gaussian",
        lambda _, arrays: arrays.pop("first"),
        r"expected the arrays .*'first'.*, got \['centre', 'sec",
    ),
    "another array": ("gaussian", lambda _, arrays: arrays.update(x=np.ones(2)), "expected the arrays .* got .*'x'"),
    "a scalar scatter": ("layer_gaussian", _cast("scatter", lambda _: 1.0), r"expected f8 \[19\], got f8 \[\]"),
    "negative variances": ("layer_gaussian", _put("scatter", 0, -3.0), "expected of 12 images a variance from 0"),
    "wrong bins": ("histogram", _set("bins", 30), r"member 'lengths\.npy': expected u1 \[18\], got u1 \[9\]"),
    "no bins": ("histogram", _set("bins", 0), "bins: expected a whole number from 1 to 16777216, got 0"),
    "too many bins": ("histogram", _set("bins", 1 << 22), r"member 'lengths\.npy': expected u1 \[1887444\]"),
    "more bins than there are": (
        "histogram",
        _set("bins", 1 << 25),
        "bins: expected a whole number from 1 to 16777216",
    ),
    "counts below none": (
        "histogram",
        _put("counts", (0, 0, 0), 255),
        "counts: expected numbers from 0, got .* for neuron 1 of layer 'norm'",
    ),
    "counts of other images": (
        "histogram",
        _set("n_images", 7),
        "expected a multiple of 7 activations .* 'conv1', got 72",
    ),
    "a mean that no square has": (
        "gaussian",
        _put("centre", 0, 1.79e308),
        "centre and first moments: expected a mean within 1e.70, got 1.79e.308 for neuron 0 of layer 'conv1'",
    ),
    "a mean that no square has, of layers": ("layer_gaussian", _put("centre", 8, -1e200), "expected a mean within"),
    "a variance that no square has": ("gaussian", _put("second", 0, 1.79e308), "a variance from 0, below 1e.140, got"),
    "sums that cancel each other": (
        "gaussian",
        lambda _, arrays: arrays.update(centre=arrays["centre"] - 1e200, first=arrays["first"] + 12e200),
        "expected of 12 images a variance from 0",
    ),
    "a covariance above its variances": (
        "layer_gaussian",
        _put("scatter", 1, 1e308),
        "second moments: expected products of at most .*, got 1e.308 in layer 'conv1'",
    ),
    "more outside than int64": (
        "histogram",
        _cast("above", lambda a: np.full(a.shape, 2**63, np.uint64)),
        "above: expected from 0 to what the last bin",
    ),
    "counts of no images": (
        "histogram",
        _set("n_images", 0),
        "n_images and counts: expected no activations of 0 images, got 72 for neuron 0 of layer 'conv1'",
    ),
    "more outside than there are": (
        "histogram",
        _put("below", 0, 200),
        "below: expected from 0 to what the last bin on its side holds, got 200 for neuron 0 of layer 'conv1'",
    ),
    "extremes that were not counted": ("auto", _put("high", 0, 0.0), "the lowest and highest activation counted, got"),
    "extremes that are none": ("auto", _put("low", 0, np.nan), "extremes: expected finite ones, low before high"),
    "extremes in the other order": ("auto", _put("low", 0, 9.0), "extremes: expected finite ones, low before high"),
    "one bin that finds its range": ("auto", _set("bins", 1), "bins must be between 2 and|lengths"),
    "nine bytes a count": (
        "histogram",
        _cast("counts", lambda a: np.repeat(a, 9, 0)),
        "at most 8 bytes a count, got 9",
    ),
    "low above high": ("histogram", _put("low", 0, 9.0), "low is above high for 1 neuron of layer 'conv1'"),
    "layers of another": (
        "gaussian",
        _set("layout.layers", [["conv9", 9]]),
        r"layout: expected layers of the finger.*'conv9'",
    ),
    "neurons that are none": ("gaussian", _set("layout.layers", [["conv1", 0]]), "expected a whole number from 1"),
    "a layer twice": (
        "gaussian",
        _set("layout.layers", [["conv1", 4], ["conv1", 5]]),
        "layers: expected names that differ",
    ),
    "neurons in plenty": (
        "gaussian",
        _set("layout.layers", [["conv1", 2**50]]),
        r"expected f8 \[1125899906842624\], got f8",
    ),
    "neurons without end": (
        "gaussian",
        _set("layout.layers", [["conv1", 2**70]]),
        r"layers\.conv1: expected a whole number",
    ),
    "neurons twice": ("gaussian", _set("layout.neurons", {"norm": [1, 1]}), "neurons.norm: expected each once"),
    "ranges of other neurons": (
        "histogram",
        _set("ranges.layout.layers", [["a", 9]]),
        "ranges.layout: expected that of the",
    ),
    "a rule that is none": (
        "histogram",
        _set("ranges.widen", "max"),
        "ranges.widen: expected 'margin' or 'vdna' or 'none'",
    ),
    "sizes of nothing": (
        "gaussian",
        _set("provenance.sizes", {}),
        "provenance.sizes: expected the fields widths, heights",
    ),
    "deep": ("gaussian", _set("provenance", json.loads("[" * 200 + "]" * 200)), "nested in more than 100 levels"),
    "an unknown field": (
        "gaussian",
        _set("colour", 1),
        r"expected the fields .* it has \['colour'\] \(of a newer version",
    ),
    "no kind of ours": ("gaussian", _set("kind", "cloud"), "it holds 'cloud'"),
    "schema in words": ("gaussian", _set("schema", "1"), "schema: expected a whole number from 1 to 1, got '1'"),
    "schema of none": ("gaussian", _set("schema", 0), "schema: expected a whole number from 1 to 1, got 0"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_contents_are_refused(what: str, tmp_path: Path) -> None:
    """A right checksum makes nothing possible: what no images can have given is an error that names file and field."""
    kind, change, message = IMPOSSIBLE[what]
    path = _sized(kind).save(tmp_path / "x")
    assert load_vdna(path).n_images == 12
    with pytest.raises(ValueError, match=rf"x\.npz.*({message})"):
        load_vdna(tampered(path, change))


def test_counts_of_any_size_of_images_come_back(tmp_path: Path) -> None:
    """Images of their own sizes, and files of others, have other numbers of activations an image."""
    dna = _sized("histogram")
    for other in (
        replace(dna, fingerprint=make_fingerprint(preprocessing="clean:bicubic:own-size:mean=0,0,0:std=1,1,1")),
        replace(dna, provenance=replace(dna.provenance, origin="vdna package: set.npz")),
    ):
        assert load_vdna(tampered(other.save(tmp_path / "x"), _set("n_images", 7))).n_images == 7


@pytest.mark.parametrize("kind", ["gaussian", "layer_gaussian"])
def test_what_loads_has_a_finite_distance(kind: Kind, tmp_path: Path) -> None:
    """The largest moments that load, of either sign, give a finite distance."""
    dnas = []
    for sign in (-1, 1):
        dna = _sized(kind)
        dna.distribution.centre.fill_(sign * 9e69)  # type: ignore[attr-defined]
        dna.distribution.first.zero_()  # type: ignore[attr-defined]
        dna.distribution.second.mul_(2e139)  # type: ignore[attr-defined]
        dnas.append(load_vdna(dna.save(tmp_path / f"{sign}.npz")))
    found = compare.neuron_frechet(*dnas) if kind == "gaussian" else compare.layer_frechet(*dnas)
    assert torch.isfinite(found)


def test_rounding_is_no_impossible_variance(tmp_path: Path) -> None:
    """Sums that were moved far keep a rounding error, which may be a variance a little below zero."""
    dna = make_dna("gaussian", 30)
    far = dna.distribution.about(torch.full((LAYOUT.total,), 1e6, dtype=torch.float64))  # type: ignore[attr-defined]
    back = far.about(torch.zeros(LAYOUT.total, dtype=torch.float64))
    mean, _ = back.mean_and_variance()
    assert load_vdna(replace(dna, distribution=back).save(tmp_path / "x")).n_images == 30
    back.second.copy_(30 * mean.square() * (1 - 1e-13))
    assert load_vdna(replace(dna, distribution=back).save(tmp_path / "x")).n_images == 30


# --------------------------------------------------------------------------------------------------------------- size
def _vit_counts(tails: tuple[float, float], images: int = 10_000, tokens: int = 197, bins: int = 1000) -> np.ndarray:
    """Counts of 13 layers of 768 neurons over ranges that go 10 % beyond the extremes.

    Each neuron is a mixture of three skewed normals of different places and widths; `tails` is the share, between two
    powers of ten, of a wider component with tails as real activations have them.
    """
    stream = np.random.default_rng(0)
    neurons, total = 768, images * tokens
    weights, skews = stream.dirichlet(np.full(3, 2.0), neurons), stream.normal(0, 1, (neurons, 3))
    places, widths = stream.normal(0, 0.5, (neurons, 3)), stream.uniform(0.5, 1.5, (neurons, 3))
    shares = 10 ** stream.uniform(*tails, neurons)

    def density(x: np.ndarray) -> np.ndarray:  # [neurons, points] -> [neurons, points]
        u = (x[:, None] - places[..., None]) / widths[..., None]
        normals = np.exp(-u * u / 2) * (1 + np.tanh(skews[..., None] * u))
        wide = shares[:, None, None] / (1 + u * u / 9) ** 4
        return np.einsum("nk,nkp->np", weights / widths, normals + wide)

    grid = np.broadcast_to(np.linspace(-30, 30, 3001), (neurons, 3001))
    cumulative = np.cumsum(density(grid), axis=1)
    cumulative /= cumulative[:, -1:]
    low = grid[0, (cumulative < 0.5 / total).sum(axis=1)]
    high = grid[0, (cumulative < 1 - 0.5 / total).sum(axis=1)]
    middles = low[:, None] + (high - low)[:, None] * (1.2 * (np.arange(bins) + 0.5) / bins - 0.1)
    chances = density(middles) * (middles > low[:, None]) * (middles < high[:, None])
    chances /= chances.sum(axis=1, keepdims=True)
    return np.concatenate([stream.multinomial(total, chances) for _ in range(13)])


@pytest.mark.parametrize("tails", [(-12, -11), (-6, -2)])
def test_a_vit_dna_is_below_7_megabytes(tmp_path: Path, tails: tuple[float, float]) -> None:
    """10 000 images through a ViT-B/16, 1000 bins a neuron, take less than 7 MB, and come back."""
    layout = NeuronLayout({f"block{i}": 768 for i in range(13)})
    stream = np.random.default_rng(0)
    low, high = (torch.from_numpy(stream.normal(mean, 1, layout.total)) for mean in (-9, 9))
    distribution = HistogramDistribution.empty(ActivationRanges(layout, low, high), 1000)
    distribution.counts.copy_(torch.from_numpy(_vit_counts(tails)))
    distribution.state[0] = 10_000
    fingerprint = ExtractorFingerprint("vit_base_patch16_224", "ab" * 32, "clean:224", {name: name for name in layout})
    dna = VDNA(distribution, fingerprint)
    path = dna.save(tmp_path / "vit")
    assert path.stat().st_size < 7_000_000
    _assert_same(load_vdna(path), dna)
