"""Directions: fixed unit vectors, and layers of projections on them that count like any others."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import put_small_networks, put_small_sources, run, run_json
from helpers.ranks import run_ranks
from scipy.stats import kstest, wasserstein_distance
from torch import Tensor, nn

from vdna_metrics import (
    ActivationRange,
    Directions,
    ExtractorSpec,
    FrechetInceptionDistance,
    GivenDirections,
    LayerFrechetDistance,
    PrecomputedFeatures,
    Reading,
    VDNAEarthMoversDistance,
    build_dnas,
    calibrate,
    compare,
    create_extractor,
    load_spec,
    load_vdna,
    principal_directions,
)
from vdna_metrics.dna.distances import bin_width
from vdna_metrics.extractors.directions import as_directions, directions_of, split_directions
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.moments import image_means
from vdna_metrics.references.store import default_ranges

STREAM = np.random.default_rng(0)
REAL = STREAM.normal(size=(70, 12)).astype("f4")
FAKE = STREAM.normal(0.4, 1.5, (50, 12)).astype("f4")
TAKER = PrecomputedFeatures({"pool": 12})
LAYER = "pool@directions9"


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3)).eval()


def _images(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 12, 12), dtype=torch.uint8, generator=generator)


# ------------------------------------------------------------------------------------------------------------ vectors
def test_the_numbers_are_these() -> None:
    """Vectors are the same bits on every machine, for ever."""
    expected = [[3189394225, 3192559833, 3210649391, 1054499031, 950499926]]
    expected += [[3207725584, 1040451478, 1014746339, 1027813126, 3207891636]]
    assert Directions(3, seed=7).vectors(5)[[0, 2]].view("u4").tolist() == expected


@pytest.mark.parametrize("d", [1, 2, 7, 768])
def test_each_has_unit_norm(d: int) -> None:
    """Each vector has norm 1 to the rounding of its float32 numbers."""
    vectors = Directions(20, seed=3).vectors(d)
    assert vectors.dtype == np.float32
    assert vectors.shape == (20, d)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype("f8"), axis=1), 1, rtol=0, atol=1e-7)


def test_they_are_spread_evenly() -> None:
    """No direction is preferred: coordinates have the law that those of the sphere have, and products spread 1/√d."""
    in_space = Directions(4000).vectors(3).astype("f8")
    assert all(kstest(coordinate, "uniform", (-1, 2)).pvalue > 0.01 for coordinate in in_space.T)  # Archimedes
    vectors = Directions(400, seed=1).vectors(256).astype("f8")
    products = (vectors @ vectors.T)[np.triu_indices(400, 1)]
    assert products.std() == pytest.approx(1 / 16, rel=0.02)


def test_more_begin_with_fewer() -> None:
    """The first of many directions are those of a smaller number; another seed gives others."""
    many = Directions(50, seed=2).vectors(6)
    assert np.array_equal(many[:8], Directions(8, seed=2).vectors(6))
    assert not np.isin(many, Directions(50, seed=3).vectors(6)).any()


def test_nothing_around_the_call_reaches_them() -> None:
    """Random streams are neither drawn from nor heeded, and default dtype, autocast and devices change nothing."""
    expected = Directions(5).vectors(4)
    np.random.seed(1)
    before = np.random.get_state()[1], torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            found = Directions(5).vectors(4)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found, expected)
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": 0}, "expected directions of at least 1, got 0"),
        ({"a": 1 << 20}, "expected at most 65536 directions"),
        ({"a": 2.5}, "expected directions to be a whole number, got 2.5"),
        ({"a": True}, "expected directions to be a whole number, got True"),
        (["a"], "give {layer: number of directions}"),
    ],
)
def test_what_is_no_number_of_directions_is_refused(given: Any, message: str) -> None:
    """A mapping of whole numbers from 1 is wanted; errors show what was given."""
    with pytest.raises((TypeError, ValueError), match=message):
        as_directions(given)


def _seen(paths: dict[str, str]) -> ExtractorFingerprint:
    return ExtractorFingerprint("resnet18", "", "clean", paths)


def test_paths_say_all_of_them() -> None:
    """A path is read back to the layer and the directions; another version is refused."""
    directions = Directions(8, seed=3)
    assert split_directions(directions.path("norm[:, 0]")) == ("norm[:, 0]", directions)
    assert directions_of(_seen({directions.layer("a"): directions.path("conv")})) == {"a": directions}
    for path in ("a@directions(n=8,seed=3,v=2)", "a@directions(8)", directions.path(directions.path("a"))):
        with pytest.raises(ValueError, match=r"expected LAYER@directions\(n=64,seed=0,v=1\)"):
            split_directions(path)


# ---------------------------------------------------------------------------------------------------- principal ones
def _moments(features: np.ndarray = REAL) -> Any:
    return build_dnas({"pool": features}, TAKER, ["layer_gaussian"])["layer_gaussian"]


def test_principal_directions_are_eigenvectors() -> None:
    """Those of the covariance, the largest variance first, of unit norm, and with their largest number positive."""
    found = principal_directions(_moments(), "pool", 5)
    vectors, covariance = found.array.astype("f8"), np.cov(REAL.astype("f8").T)
    variances = np.linalg.eigvalsh(covariance)[::-1][:5]
    np.testing.assert_allclose(covariance @ vectors.T, vectors.T * variances, atol=1e-6)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=1e-6)
    assert (vectors[np.arange(5), abs(vectors).argmax(1)] > 0).all()
    assert found.array.dtype == np.float32


def test_principal_directions_are_of_what_varies() -> None:
    """More than images vary in are refused, as are other kinds of DNA, and layers that are not there."""
    with pytest.raises(ValueError, match=r"at most 2 directions, in which the 3 images .* vary in layer 'pool', got 3"):
        principal_directions(_moments(REAL[:3]), "pool", 3)
    with pytest.raises(ValueError, match="are of a layer_gaussian DNA, got a histogram DNA"):
        principal_directions(_dna(REAL), "pool", 1)
    with pytest.raises(ValueError, match="unknown layer 'conv'"):
        principal_directions(_moments(), "conv", 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.eye(3, dtype=int), "expected directions to be floats"),
        (np.ones(3), r"expected directions \[n, d\]"),
        (np.zeros((0, 3)), r"expected directions \[n, d\]"),
        (2 * np.eye(3), "expected unit vectors as directions, got norms from 2 to 2"),
        (np.full((1, 2), np.nan), "expected unit vectors"),
        (np.eye(2, 3), "expected directions of 12 neurons, got GivenDirections"),
    ],
)
def test_what_are_no_directions_is_refused(given: np.ndarray, message: str) -> None:
    """Vectors are floats of norm 1, as many numbers each as the layer has neurons."""
    with pytest.raises((TypeError, ValueError), match=message):
        create_extractor(TAKER, directions={"pool": given})


def test_vectors_travel_with_the_dna(tmp_path: Path) -> None:
    """A DNA's file has its vectors to the bit: a metric of another process takes them from there, as given ones."""
    given = principal_directions(_moments(), "pool", 4)
    layer = given.layer("pool")
    extractor = create_extractor(TAKER, directions={"pool": given})
    real, fake = (build_dnas({"pool": each}, extractor)["histogram"] for each in (REAL, FAKE))
    loaded = load_vdna(real.save(tmp_path / "real.npz"))
    assert directions_of(loaded.fingerprint) == {"pool": given}
    assert directions_of((loaded + real).fingerprint) == directions_of(loaded.select([layer]).fingerprint)
    assert not loaded.select(["pool"]).fingerprint.vectors
    expected = compare.emd(real, fake, reduction="layer")
    for reference in (loaded, tmp_path / "real.npz"):
        metric = VDNAEarthMoversDistance(TAKER, reference=reference, reduction="layer")
        metric.update(FAKE)
        assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(
            {name: float(value) for name, value in expected.items()}
        )
        assert list(VDNAEarthMoversDistance(TAKER, reference=reference, layers=["pool"]).layout) == ["pool"]
        assert list(VDNAEarthMoversDistance(TAKER, reference=reference, layers=[layer]).layout) == [layer]
    other = GivenDirections(-given.array)
    elsewhere = build_dnas({"pool": FAKE}, create_extractor(TAKER, directions={"pool": other}))["histogram"]
    with pytest.raises(ValueError, match=f"{layer}.*{other.layer('pool')}"):
        compare.emd(real, elsewhere)
    for again in (pickle.loads(pickle.dumps(extractor)), create_extractor(TAKER, directions={"pool": given.array})):
        assert again.fingerprint == extractor.fingerprint
        assert torch.equal(again(REAL)[layer], extractor(REAL)[layer])


def test_modules_and_specs_are_projected_on_given_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a module with its layers, with the directions alone, and of a spec's file; unknown vectors are told."""
    put_small_networks(monkeypatch)
    network, vectors = _network(), Directions(3).vectors(6)
    given = GivenDirections(vectors)
    for layers in (None, ["0"], [given.layer("2")]):
        metric = LayerFrechetDistance(network, layers=layers, directions={"2": vectors})
        found = metric.extractor(_images(4))[given.layer("2")]
        drawn = create_extractor(network, layers=["0"], directions={"2": 3})(_images(4))["2@directions3"]
        assert torch.equal(found, drawn)
        assert directions_of(metric.fingerprint) == {"2": given}
    named = create_extractor("tiny", directions={"second": Directions(3).vectors(5)})
    again = create_extractor(load_spec(named.spec.save(tmp_path / "spec.json")))
    assert again.fingerprint.vectors == named.fingerprint.vectors
    with pytest.raises(ValueError, match="nobody says these vectors; give them by directions="):
        create_extractor(_network(), layers={"mine": given.path("2")})
    with pytest.raises(ValueError, match="its vectors have the sha256"):
        split_directions(given.path("2"), {given.sha256: GivenDirections(-vectors).text})
    with pytest.raises(ValueError, match="expected directions of 4 neurons"):
        create_extractor(network, layers=["0"], directions={"0": vectors})


# ---------------------------------------------------------------------------------------------------------- projections
def test_projections_are_those_of_the_means_over_positions() -> None:
    """Each image has one activation a direction: the product of the vector and the mean over the layer's positions."""
    extractor = create_extractor(_network(), layers=["0", "2"], directions={"2": 7, "0": Directions(3, seed=1)})
    assert dict(extractor.layout) == {"0": 4, "2": 6, "2@directions7": 7, "0@directions3.seed1": 3}
    found = extractor(_images(5))
    for layer, directions in (("2", Directions(7)), ("0", Directions(3, seed=1))):
        means = found[layer].double().mean(2)
        expected = torch.from_numpy(directions.vectors(len(means))).double() @ means
        projected = found[directions.layer(layer)]
        assert projected.dtype == torch.float32
        assert projected.shape == (directions.n, 5, 1)
        torch.testing.assert_close(projected[..., 0].double(), expected, rtol=1e-6, atol=1e-9)
    assert all(values.shape[1] == 0 for values in extractor(_images(0)).values())


def test_an_image_has_the_same_bits_in_any_batch() -> None:
    """Projections of given features do not depend on what else is in the batch, nor on autocast around the call."""
    extractor = create_extractor(TAKER, directions={"pool": 64})
    together = extractor(REAL)["pool@directions64"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = [extractor(part)["pool@directions64"] for part in np.array_split(REAL, [1, 2, 9, 40])]
    assert torch.equal(torch.cat(parts, dim=1), together)


def test_one_network_is_one_extractor() -> None:
    """The same directions give the same extractor, of the same module; none, or known ones, the extractor itself."""
    network = _network()
    plain = create_extractor(network, layers=["0"])
    projected = create_extractor(network, layers=["0"], directions={"0": 5})
    assert projected is create_extractor(plain, directions={"0": 5}) is create_extractor(projected, directions={"0": 5})
    assert projected.network is network
    assert create_extractor(plain, directions={}) is plain
    with pytest.raises(ValueError, match="directions: unknown layer 'conv'"):
        create_extractor(plain, directions={"conv": 5})


def test_layers_that_are_looked_at() -> None:
    """Directions are looked at beside the layers that are named; named alone, nothing else is, not even their layer."""
    network = _network()

    def layout(**options: Any) -> dict[str, int]:
        return dict(LayerFrechetDistance(network, **options).layout)

    assert layout(layers=["0"], directions={"2": 5}) == {"0": 4, "2@directions5": 5}
    assert layout(layers=["2@directions5"], directions={"2": 5}) == {"2@directions5": 5}
    assert layout(directions={"2": 5}) == {"output": 6, "2@directions5": 5}
    assert layout(layers={"mine": "2@directions(n=4,seed=0,v=1)"}) == {"mine": 4}
    assert layout(layers=["0", "2"], neurons={"0": [1]}, directions={"2": 5}) == {"0": 1, "2": 6, "2@directions5": 5}


def test_names_and_specs_have_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A spec's file and a pickle give the extractor with its directions again; published ranges do not know them."""
    put_small_networks(monkeypatch)
    extractor = create_extractor("tiny", directions={"second": 8})
    assert extractor.fingerprint.paths["second@directions8"] == "2@directions(n=8,seed=0,v=1)"
    for again in (
        create_extractor(load_spec(extractor.spec.save(tmp_path / "spec.json"))),
        pickle.loads(pickle.dumps(extractor)),
    ):
        assert again.fingerprint == extractor.fingerprint
        assert torch.equal(again(_images(3))["second@directions8"], extractor(_images(3))["second@directions8"])
    assert default_ranges(create_extractor("vdna_tiny")) != "auto"
    assert default_ranges(create_extractor("vdna_tiny", directions={"conv_head": 8})) == "auto"
    with pytest.raises(ValueError, match="expected LAYER@directions"):
        create_extractor(ExtractorSpec("x", "tiny_network", ["2@directions(n=8)"], 16, weights="seeded:0"))


@pytest.mark.parametrize("kind", ["module", "features"])
def test_a_taken_up_extractor_is_the_same(kind: str) -> None:
    """Pickles of modules and features give the same fingerprint and layout."""
    extractor = create_extractor(TAKER, directions={"pool": 3})
    if kind == "module":
        extractor = create_extractor(_network(), layers=["0"], directions={"0": 3})
    again = pickle.loads(pickle.dumps(extractor))
    assert again.fingerprint == extractor.fingerprint
    assert again.layout == extractor.layout


def test_other_directions_are_not_compared() -> None:
    """Other seeds, and features of other dimensions, are told; a forward that differs is, by directions alone."""

    def dna(d: int, seed: int = 0) -> Any:
        extractor = create_extractor(PrecomputedFeatures({"pool": d}), directions={"pool": Directions(9, seed=seed)})
        layers = [Directions(9, seed=seed).layer("pool")]
        return build_dnas({"pool": REAL[:, :d].copy()}, extractor, ["gaussian"], layers=layers)["gaussian"]

    with pytest.raises(ValueError, match="differ"):
        compare.neuron_frechet(dna(12), dna(12, seed=1))
    with pytest.raises(ValueError, match=r"pool\[:, :12\]@directions.*pool\[:, :5\]@directions"):
        compare.neuron_frechet(dna(12), dna(5))
    network = _network()
    one, other = (
        create_extractor(each, layers=["2@directions(n=4,seed=0,v=1)"]).fingerprint
        for each in (network, nn.Sequential(network[0], nn.Tanh(), network[2]))
    )
    assert one.response is not None
    assert one.differences(other)[0][0] != "weights"


# ------------------------------------------------------------------------------------------------------- sets of images
def _dna(features: np.ndarray, **options: Any) -> Any:
    extractor = create_extractor(TAKER, directions={"pool": 9})
    return build_dnas({"pool": features}, extractor, layers=[LAYER], **{"ranges": "auto", **options})["histogram"]


def test_the_emd_is_the_sliced_wasserstein_distance() -> None:
    """In units of activations it is the mean Wasserstein-1 distance of the projections, to a bin."""
    real, fake = _dna(REAL), _dna(FAKE)
    vectors = Directions(9).vectors(12).astype("f8")
    sides = [vectors @ features.astype("f8").T for features in (REAL, FAKE)]
    exact = [wasserstein_distance(*pair) for pair in zip(*sides, strict=True)]
    found = compare.emd(real, fake, unit="activation", reduction="none")[LAYER]
    width = bin_width(real, fake, unit="activation")
    assert width < 0.02
    assert float(compare.emd(real, fake, unit="activation")) == pytest.approx(np.mean(exact), abs=width)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2 * width)  # of each direction its own, twice as wide at most


@pytest.mark.parametrize("ranges", ["auto", "given"])
def test_any_parts_and_order_give_the_same_counts(ranges: Any) -> None:
    """DNAs of parts add up to that of the whole bit for bit, in any order and in any batches."""
    if ranges == "given":
        extractor = create_extractor(TAKER, directions={"pool": 9})
        ranges = calibrate({"pool": REAL[:40]}, extractor)
        assert LAYER in ranges.layout
    whole = _dna(REAL, ranges=ranges, reading=Reading(batch_size=70))
    order = np.random.default_rng(1).permutation(70)
    parts = [_dna(REAL[part], ranges=ranges, reading=Reading(batch_size=4)) for part in np.array_split(order, 3)]
    for one, two, three in ((0, 1, 2), (2, 0, 1)):
        total = parts[one] + parts[two] + parts[three]
        assert torch.equal(total.distribution.state, whole.distribution.state)


def filled(rank: int = 0, ranks: int = 1) -> VDNAEarthMoversDistance:
    """A metric of each so many features, from a place on."""
    metric = VDNAEarthMoversDistance(TAKER, layers=[LAYER], directions={"pool": 9}, ranges="auto", unit="activation")
    metric.update(REAL[rank::ranks], real=True)
    metric.update(FAKE[rank::ranks])
    return metric


_RANK = """
import torch.distributed as dist
from extractors.test_directions import filled, shown
dist.init_process_group("gloo")
print(shown(filled(dist.get_rank(), 2)))
dist.destroy_process_group()
"""


def shown(metric: VDNAEarthMoversDistance) -> str:
    """Value and counts, of all processes."""
    value = float(metric.compute())
    with metric.sync_context(should_sync=metric._to_sync):
        counts = metric.dna().distribution.state.numpy().tobytes()
    return f"{value} {hashlib.sha256(counts).hexdigest()}"


@pytest.mark.slow
def test_ranks_give_what_one_process_gives() -> None:
    """Two processes have the value, and the very counts, of one that has seen all."""
    assert run_ranks(_RANK, Path(__file__).parent) == [f"{shown(filled())}\n"] * 2


def test_metrics_merge_and_builders_agree(tmp_path: Path) -> None:
    """A metric's DNA is the builder's, its file its reference; states merge, and ranges are calibrated like others."""
    metric = filled()
    merged = filled(0, 2)
    merged.merge_state(filled(1, 2))
    assert float(merged.compute()) == float(metric.compute())
    real = _dna(REAL)
    assert torch.equal(metric.dna(real=True).distribution.state, real.distribution.state)
    loaded = load_vdna(real.save(tmp_path / "real.npz"))
    assert loaded.fingerprint == real.fingerprint
    assert loaded.layout == real.layout
    by_reference = VDNAEarthMoversDistance(
        TAKER, reference=loaded, layers=[LAYER], directions={"pool": 9}, unit="activation"
    )
    by_reference.update(FAKE)
    assert float(by_reference.compute()) == float(metric.compute())
    calibration = ActivationRange(TAKER, directions={"pool": 9})
    calibration.update(REAL)
    assert (
        calibration.ranges().digest == calibrate({"pool": REAL}, create_extractor(TAKER, directions={"pool": 9})).digest
    )


def test_fid_is_of_one_layer() -> None:
    """The FID has no layers to add directions to, and says what has."""
    with pytest.raises(ValueError, match=r"for directions take LayerFrechetDistance\(\.\.\., directions="):
        FrechetInceptionDistance(nn.Flatten(), input_img_size=(3, 4, 4), directions={"output": 3})


def test_distances_of_moments_take_them() -> None:
    """The layer Fréchet distance of directions is that of the projected features."""
    metric = LayerFrechetDistance(TAKER, layers=[LAYER], directions={"pool": 9})
    metric.update(REAL, real=True)
    metric.update(FAKE)
    mean, covariance = metric.dna().distribution.mean_and_covariance(LAYER)
    vectors = torch.from_numpy(Directions(9).vectors(12)).double()
    features = image_means(torch.from_numpy(FAKE).t()[..., None])
    torch.testing.assert_close(mean, vectors @ features.mean(0), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(covariance, vectors @ features.t().cov() @ vectors.t(), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- commands
def test_commands_take_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make` writes what the library makes; `score` takes a reference's directions, and refuses others."""
    put_small_sources(tmp_path, monkeypatch)
    run("make", "real", "--extractor", "tiny", "--directions", "second=8", "-o", "real.npz")
    made = load_vdna("real.npz")
    extractor = create_extractor("tiny", directions={"second": 8})
    assert dict(made.layout) == {"first": 6, "second": 5, "second@directions8": 8}
    real, fake = (build_dnas(each, extractor, ranges="auto")["histogram"] for each in ("real", "gen_a"))
    assert torch.equal(made.distribution.state, real.distribution.state)
    scored = run_json("score", "gen_a", "--reference", "real.npz", "--metrics", "emd", "--by", "layer")
    assert scored["results"][0]["emd"] == pytest.approx(float(compare.emd(real, fake)))
    result = run("score", "gen_a", "--reference", "real.npz", "--directions", "second=9", exit_code=1)
    assert "directions of the histogram DNA: unknown layer 'second@directions9'" in result.stderr
    result = run("make", "real", "--extractor", "tiny", "--directions", "second", "-o", "x.npz", exit_code=2)
    assert "expected LAYER=N" in result.stderr
    result = run("make", "real", "--extractor", "tiny", "--directions", "third=3", "-o", "x.npz", exit_code=1)
    assert "unknown layer 'third'" in result.stderr


def test_commands_take_principal_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--directions LAYER=N:DNA` projects on what the library finds; a score, and a replay, take the vectors along."""
    put_small_sources(tmp_path, monkeypatch)
    run("make", "real", "--extractor", "tiny", "--kinds", "layer_gaussian", "-o", "moments.npz")
    given = principal_directions(load_vdna("moments.npz"), "second", 3)
    run("make", "real", "--extractor", "tiny", "--directions", "second=3:moments.npz", "-o", "real.npz")
    assert directions_of(load_vdna("real.npz").fingerprint) == {"second": given}
    scored = run_json("score", "gen_a", "--reference", "real.npz", "--metrics", "emd", "--by", "layer")
    assert given.layer("second") in scored["results"][0]["emd_by_layer"]
    for said, message in (
        ("second=3:real.npz", "layer_gaussian"),
        ("second=99:moments.npz", "expected at most 5 directions"),
        ("second=3:", "expected LAYER=N or LAYER=N:DNA"),
    ):
        result = run("make", "real", "--extractor", "tiny", "--directions", said, "-o", "x.npz", exit_code=2)
        assert message in " ".join(result.stderr.replace("│", "").split())
    options = ("--no-fidelity", "--groups", "5", "--pictures", "0")
    run("leaderboard", "gen_a", "gen_b.zip", "--reference", "real", "--extractors", "tiny", *options,
        "--directions", "second=3:moments.npz", "--metrics", "emd", "-o", "board")  # fmt: skip
    run("leaderboard", "--replay", "board/leaderboard.json")
    for named in ((), ("--extractors", "tiny")):  # a reference's are taken
        found = run_json(
            "leaderboard", "gen_a", "--reference", "real.npz", *named, *options, "--metrics", "emd", "-o", "a"
        )
        assert given.layer("second") in found["scores"][0]["layers"]


def test_layers_of_commands_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside `--layers` directions are looked at too, of images and of features."""
    put_small_sources(tmp_path, monkeypatch)
    run("make", "real", "--extractor", "tiny", "--layers", "first", "--directions", "second=8", "-o", "a.npz")
    assert dict(load_vdna("a.npz").layout) == {"first": 6, "second@directions8": 8}
    np.save("real.npy", REAL)
    np.save("fake.npy", FAKE)
    run("make", "real.npy", "--layers", "features@directions9", "--directions", "features=9", "-o", "b.npz")
    assert dict(load_vdna("b.npz").layout) == {"features@directions9": 9}
    scored = run_json("score", "fake.npy", "--reference", "b.npz", "--metrics", "emd")
    assert scored["results"][0]["emd"] == pytest.approx(float(compare.emd(_dna(REAL), _dna(FAKE))))


def test_leaderboards_record_and_replay_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaderboard looks along directions beside `--layers`, and its record computes the same again."""
    put_small_sources(tmp_path, monkeypatch)
    options = (
        "--extractors",
        "tiny",
        "--directions",
        "second=8",
        "--layers",
        "first",
        "--no-fidelity",
        "--groups",
        "5",
    )
    run("leaderboard", "gen_a", "gen_b.zip", "--reference", "real", *options, "--pictures", "0", "-o", "board")
    run("leaderboard", "--replay", "board/leaderboard.json")
    record = Path("board/leaderboard.json").read_text()
    assert "2@directions(n=8,seed=0,v=1)" in record
    assert '"second@directions8"' in record
