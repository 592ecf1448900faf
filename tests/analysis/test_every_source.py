"""What analysis takes as a DNA: the value, its file, or its name, as metrics do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vdna_metrics import VDNA, analysis, build_dnas, coverage, load_reference, quantile_ranges, resolve

TRAINVAL, TEST = "bsds500/trainval@vdna_tiny", "bsds500/test@vdna_tiny"
WORLD = "procedural:white_noise/3"
ONE = torch.ones(1)

Case = Callable[[Any, Any], Any]
CASES: dict[str, tuple[str, Case]] = {
    "attribute_distances": (
        "histogram", lambda a, b: analysis.attribute_distances({("day", True): a, ("day", False): b}).values["day"]
    ),
    "coding_share": ("layer_gaussian", lambda a, _: analysis.coding_share(a)),
    "compare_groups": ("histogram", lambda a, b: analysis.compare_groups({"test": b}, a)),
    "coverage": ("histogram", lambda a, _: coverage(a).layers),
    "dead_neurons": ("gaussian", lambda a, _: analysis.dead_neurons(a)["blocks.0"]),
    "describe": ("histogram", lambda a, _: analysis.describe(a)),
    "distance_matrix": ("histogram", lambda a, b: analysis.distance_matrix({"a": a, "b": b}).values),
    "explain": ("histogram", lambda a, b: analysis.explain(a, b).contributions),
    "feature_sparsity": ("features", lambda a, _: analysis.feature_sparsity(a)),
    "nearest": ("histogram", lambda a, b: analysis.nearest(a, {"b": b})),
    "quantile_ranges": ("histogram", lambda a, _: quantile_ranges(a).digest),
    "rank_images": ("histogram", lambda a, _: analysis.rank_images(WORLD, a, "vdna_tiny").scores),
    "redundancy": ("layer_gaussian", lambda a, _: analysis.redundancy(a)),
    "sample_size_curve": ("histogram", lambda a, b: analysis.sample_size_curve(a, [b, b], draws=1).mean),
    "select_sensitive": ("histogram", lambda a, b: analysis.select_sensitive(a, [b, b], k=3).mask),
    "sparsity": ("histogram", lambda a, _: analysis.sparsity(a)),
}  # fmt: skip


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.fixture(scope="module")
def dnas() -> Callable[[str], tuple[VDNA, VDNA]]:
    """Both references of a kind."""
    kinds: dict[str, tuple[VDNA, VDNA]] = {}

    def find(kind: str) -> tuple[VDNA, VDNA]:
        if kind not in kinds:
            kinds[kind] = load_reference(TRAINVAL, kind=kind), load_reference(TEST, kind=kind)
        return kinds[kind]

    return find


@pytest.mark.parametrize("name", CASES)
def test_a_file_and_a_name_are_as_good_as_the_dna(
    name: str, dnas: Callable[[str], tuple[VDNA, VDNA]], tmp_path: Path
) -> None:
    """Every function that takes a DNA takes its file, a name of a store and an image set, and finds the same."""
    kind, run = CASES[name]
    real, test = dnas(kind)
    expected = run(real, test)
    files = real.save(tmp_path / "real.npz"), str(test.save(tmp_path / "test.npz"))
    assert _same(run(*files), expected)
    assert _same(run(resolve(real), resolve(test)), expected)
    full = "histogram-1000" if kind == "histogram" else kind
    assert _same(run(f"{TRAINVAL}#{full}", f"{TEST}#{full}"), expected)


def test_error_bars_take_names_of_references_in_groups() -> None:
    """A name whose groups hold what is compared gives error bars and a floor."""
    found = analysis.jackknife_distance(TRAINVAL, TEST)
    assert found.covers == ("reference", "generated")
    assert analysis.noise_floor(TRAINVAL, 100, draws=1).value > 0
    early = "lfd[blocks.0]"
    assert analysis.extrapolate_frechet(TRAINVAL, TEST, distance=early, draws=1).sizes[0] == 200


def test_without_a_distance_the_first_that_a_name_has_is_taken() -> None:
    """A name of several kinds of DNA is explained, and ranks images, by the first distance there is."""
    assert analysis.explain(TRAINVAL, TEST).distance == "emd"
    assert analysis.rank_images(WORLD, "bsds500/test", "vdna_tiny").distance == "emd"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: analysis.explain(5, TEST), "expected images, a DNA, or the name of some, got 5"),
        (lambda: coverage(None), "expected a DNA to be VDNA or .* got the NoneType None"),
        (lambda: analysis.distance_matrix([TRAINVAL, TEST]), r"give each a name, \{name: DNA\}"),
        (lambda: analysis.nearest(TEST, [TRAINVAL]), r"expected references to be Mapping, .*give each a name"),
        (lambda: analysis.compare_groups([TEST], TRAINVAL), "expected groups to be Mapping"),
        (lambda: analysis.measure_fidelity("gen_a", "gen_b"), r"collect_features\(images, extractor\) gives them"),
        (lambda: analysis.find_copies("gen_a", "gen_b"), r"collect_features\(images, extractor\) gives them"),
        (lambda: analysis.find_exemplars("real.npz", WORLD, "vdna_tiny"), "expected an explanation to be Explanation"),
        (lambda: analysis.compare_pair("a", "b", paired=False), r"jackknife_distance\(reference, generated\) gives it"),
        (lambda: analysis.rank_intervals([TRAINVAL]), "expected results to be Mapping"),
        (lambda: analysis.rank_intervals({"a": 5}), "expected the distance of 'a' to be JackknifedDistance"),
        (lambda: analysis.agreement("emd"), "expected columns to be Mapping"),
        (lambda: analysis.agreement({"emd": [1.0, 2.0]}), r"it is \{generator: distance\}"),
        (lambda: analysis.noise_floor(TRAINVAL, "ten"), "expected n_images to be a whole number"),
        (lambda: analysis.jackknife_distance(TRAINVAL, TEST, confidence="95 %"), "expected a confidence to be Real"),
        (lambda: analysis.describe({"histogram": 5}), "expected a DNA to be VDNA or .* got the int 5"),
        (lambda: analysis.coding_length([[1.0]]), "expected a second moment to be Tensor"),
        (lambda: analysis.emd_parts([1], [1]), "expected counts_a to be Tensor"),
        (lambda: analysis.ranking_discrepancy([1.0], [2.0]), "expected distances of validation sets to be Mapping"),
        (lambda: analysis.attribute_distances([TRAINVAL]), "expected dnas to be Mapping"),
        (lambda: analysis.desensitise("train", "test", "tint"), r"attribute_distances\(dnas\) gives them"),
        (lambda: analysis.learn_weights([1.0], {}, "tint"), "expected distances to be Mapping"),
        (lambda: analysis.sensitivity_removal({"tint": ONE}, [1.0], "tint"), "expected weights to be Tensor"),
        (lambda: analysis.sensitivity_deviation(ONE, ONE, "tint"), "expected distances to be Mapping"),
        (lambda: analysis.split_of(3), "expected the name of an image to be str"),
        (lambda: analysis.split_images(WORLD, ["red"]), r"read_attribute_table\(path\) gives it"),
        (lambda: analysis.choose_attributes([WORLD], "red"), r"split_images\(images, table\) gives them"),
        (lambda: analysis.collect_features(WORLD, "vdna_tiny", layer=3), "expected a layer of layers to be str"),
        (lambda: quantile_ranges(TRAINVAL, lower="low"), "expected lower to be Real"),
        (lambda: build_dnas(WORLD, "vdna_tiny", name=3), "expected name to be str"),
        (lambda: build_dnas(WORLD, "vdna_tiny", layers=[1]), "expected a layer of layers to be str, got the int 1"),
        (lambda: load_reference(TEST, kind=3), "expected kind to be str"),
        (lambda: load_reference(TEST, layers="blocks.0"), r"write \['blocks.0'\]"),
    ],
)
def test_another_type_is_named(run: Callable[[], object], message: str) -> None:
    """Another type is a TypeError with what was expected and what came."""
    with pytest.raises(TypeError, match=message):
        run()


def test_images_have_no_dna() -> None:
    """Images where a DNA is expected are an error that says how to make one."""
    with pytest.raises(ValueError, match=r"expected a histogram DNA, procedural:white_noise/3 has images"):
        analysis.explain(WORLD, TEST)
