"""Distances as values, and their registry."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distances import EVENNESS, JSD, REGISTERED, registered
from helpers.dnas import LAYOUT, make_activations, make_dna
from scipy.stats import wasserstein_distance

from vdna_metrics import compare
from vdna_metrics.distributions import FeatureSample
from vdna_metrics.dna import feature_distances
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.distances import (
    EMD,
    LFD,
    NFD,
    Distance,
    bin_width,
    find_distance,
    list_distances,
    register_distance,
)
from vdna_metrics.layout import NeuronLayout

A, B = make_dna("histogram", 30), make_dna("histogram", 20, seed=1, shift=0.4)


# --------------------------------------------------------------------------------------------------------- the registry
def test_a_registered_distance_is_known_by_its_name_and_aliases() -> None:
    """It is listed once, behind the package's own, and every name of it stands for the same value."""
    distance = replace(JSD, aliases=("jensen_shannon",))
    with registered(distance):
        assert list_distances() == [*REGISTERED, "jsd"]
        assert find_distance("jsd") is find_distance("jensen_shannon") is distance
        assert register_distance(distance) is distance
    assert find_distance("neuron_frechet") is NFD
    assert find_distance(JSD) is JSD
    with pytest.raises(ValueError, match="unknown distance 'jsd'"):
        find_distance("jsd")


def test_the_same_distance_again_takes_its_place() -> None:
    """A cell that is run twice registers an equal value with a function of the same name: that one holds now."""

    def cell(label: str = "Jensen-Shannon") -> Distance:
        def function(reference: Any, generated: Any) -> Any:
            return JSD.function(reference, generated)

        return replace(JSD, function=function, label=label)

    with registered(cell()):
        again = cell()
        assert register_distance(again) is find_distance("jsd") is again
        with pytest.raises(
            ValueError, match="the name 'jsd' stands for Jensen-Shannon already: give other another one"
        ):
            register_distance(cell("other"))
        with pytest.raises(ValueError, match="stands for Jensen-Shannon already"):
            register_distance(replace(again, function=len))
        assert find_distance("jsd") is again


@pytest.mark.parametrize("changes", [{"name": "emd"}, {"aliases": ("lfd",)}, {"name": "layer_frechet"}])
def test_a_name_stands_for_one_distance(changes: dict[str, Any]) -> None:
    """A name or an alias that is taken is refused with both distances, and nothing of the newcomer is registered."""
    with registered():
        with pytest.raises(ValueError, match=r"the name '\w+' stands for .* already: give Jensen-Shannon another one"):
            register_distance(replace(JSD, **changes))
        assert list_distances() == list(REGISTERED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "J S"}, "lower-case letters, digits and _, got 'J S'"),
        ({"kind": "heap"}, "jsd: kind must be one of histogram, gaussian, layer_gaussian, features, got 'heap'"),
        ({"direction": "up"}, "direction must be one of lower, higher, got 'up'"),
        ({"arity": 3}, "arity must be one of 1, 2, got 3"),
        ({"per": "pixel"}, "per must be one of neuron, layer, None, got 'pixel'"),
    ],
)
def test_what_is_no_distance_is_refused(changes: dict[str, Any], message: str) -> None:
    """A field that has another value than it may is named with those that it may have."""
    with pytest.raises(ValueError, match=message):
        replace(JSD, **changes)


def _installed(folder: Path, name: str, entry: str, code: str) -> None:
    """A distribution with one module and one entry point, as an installer leaves it."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vdna_metrics.distances]\n{entry}\n")


def _run(folder: Path, script: str) -> str:
    path = f"import sys\nsys.path.insert(0, {str(folder)!r})\n"
    ran = subprocess.run([sys.executable, "-c", path + script], capture_output=True, text=True, check=True)
    return ran.stdout


PLUGIN = """
from vdna_metrics.dna.distances import Distance
NOTHING = Distance(
    "nothing", "nothing", "Nothing.", "histogram", lambda a, b: {k: x[:, 0] * 0.0 for k, x in a.layout.split(a.counts)}
)
"""


def test_an_installed_package_registers_a_distance(tmp_path: Path) -> None:
    """Its entry point is found by name and listed, without that anybody imports it."""
    _installed(tmp_path, "some_plugin", "nothing = some_plugin:NOTHING", PLUGIN)
    found = _run(tmp_path, "from vdna_metrics.dna import *\nprint(find_distance('nothing'), list_distances())")
    assert found.strip() == f"Distance(nothing: nothing) {[*REGISTERED, 'nothing']}"


@pytest.mark.parametrize(
    ("entry", "code", "reason"),
    [
        ("broken = broken_plugin:X", "raise RuntimeError('out of order')", "RuntimeError: out of order"),
        ("broken = broken_plugin:X", "", "AttributeError"),
        ("broken = broken_plugin:X", "X = 3", "TypeError: expected a distance to be Distance, got the int 3"),
        (
            "emd = broken_plugin:X",
            PLUGIN.replace('"nothing", "n', '"emd", "n') + "X = NOTHING",
            "ValueError: the name 'emd'",
        ),
    ],
    ids=["raises", "has nothing", "is no distance", "takes a name"],
)
def test_a_broken_plugin_warns_and_takes_nothing_down(tmp_path: Path, entry: str, code: str, reason: str) -> None:
    """What cannot be loaded is named in a warning, with the reason; our own distances are there as ever."""
    _installed(tmp_path, "broken_plugin", entry, code)
    script = (
        "import warnings\nfrom vdna_metrics.dna import *\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    print(list_distances(), [str(each.message) for each in caught])"
    )
    found = _run(tmp_path, script)
    assert found.startswith(str([*REGISTERED]))
    assert "of broken_plugin:X cannot be used" in found
    assert reason in found


# ---------------------------------------------------------------------------------------------------------- the value
def test_parts_add_up_to_the_whole() -> None:
    """`none` has the neurons, `layer` their mean and `mean` that over all; weights make them sums."""
    parts = JSD(A, B, reduction="none")
    assert {layer: len(part) for layer, part in parts.items()} == dict(LAYOUT)
    layers = JSD(A, B, reduction="layer")
    for layer, part in parts.items():
        assert float(layers[layer]) == pytest.approx(float(part.mean()))
    assert float(JSD(A, B)) == pytest.approx(float(torch.cat(list(parts.values())).mean()))
    weights = {layer: [2.0] * count for layer, count in LAYOUT.items()}
    assert float(JSD(A, B, weights=weights)) == pytest.approx(2 * LAYOUT.total * float(JSD(A, B)))
    assert float(JSD(A, A)) == 0


def test_a_score_of_one_set_looks_at_no_reference() -> None:
    """With arity 1 the reference may be None, anything, or another kind; it has one number and no parts."""
    assert EVENNESS(None, A) == EVENNESS(B, A) == EVENNESS(make_dna("gaussian"), A)
    for reduction in ("layer", "none"):
        with pytest.raises(ValueError, match="evenness is one number, without parts per layer or neuron"):
            EVENNESS(None, A, reduction=reduction)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no parts that could be weighted"):
        EVENNESS(None, A, weights={"conv1": [1.0] * 4})
    assert EVENNESS.higher_is_better
    assert not JSD.higher_is_better


def test_options_have_their_defaults_and_are_checked() -> None:
    """The first allowed value is the default; another name or value is refused with what there is."""
    assert EMD.checked_options({}) == {"unit": "bins"}
    assert float(EMD(A, B, unit="range")) == pytest.approx(float(compare.emd(A, B)) / 8)
    with pytest.raises(ValueError, match="unit must be one of bins, range, activation, got 'metre'"):
        EMD(A, B, unit="metre")
    with pytest.raises(ValueError, match="emd has no option 'colour'; it has unit"):
        EMD(A, B, colour="red")
    with pytest.raises(ValueError, match="jsd has no option 'unit'; it has none"):
        JSD(A, B, unit="bins")


@pytest.mark.parametrize("distance", [EMD, NFD, LFD, JSD, EVENNESS])
@pytest.mark.parametrize("given", ["photographs.npz", Path("photographs.npz"), None])
def test_paths_are_no_dnas(distance: Distance, given: Any) -> None:
    """A path or a name is a TypeError that says which side it was and what reads it."""
    side = "generated" if distance.arity == 1 else "reference"
    sides = (None, given) if distance.arity == 1 else (given, make_dna(distance.kind))
    with pytest.raises(TypeError, match=rf"expected the {side} to be a VDNA, got \w+: load_vdna\(path\) reads a file"):
        distance(*sides)


def test_what_cannot_be_compared_is_said_by_the_label() -> None:
    """Another kind, no image, and too few images are errors that show both sides."""
    with pytest.raises(
        ValueError, match="Jensen-Shannon needs DNAs of kind 'histogram': reference 'histogram', generated"
    ):
        JSD(A, make_dna("gaussian"))
    with pytest.raises(ValueError, match="the generated DNA has seen no image"):
        JSD(A, make_dna("histogram", 0))
    with pytest.raises(ValueError, match="needs at least 2 images: reference 12, generated 1"):
        NFD(make_dna("gaussian"), make_dna("gaussian", 1))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda layout: {"x": torch.zeros(3)}, "odd: its function has to give the shapes .*got .'x': .3"),
        (
            lambda layout: {layer: torch.full((n,), torch.nan) for layer, n in layout.items()},
            "odd is not finite in layer",
        ),
        (lambda layout: torch.zeros(3), "odd: its function has to give the shapes"),
    ],
)
def test_what_a_function_gives_is_checked(result: Any, message: str) -> None:
    """A plugin's result of other layers or shapes, or not finite, is an error that names the distance."""
    odd = Distance("odd", "odd", "Odd.", "histogram", lambda a, b: result(a.layout))
    with pytest.raises(ValueError, match=message):
        odd(make_dna("histogram"), make_dna("histogram"))


def test_single_precision_results_are_taken() -> None:
    """A function may compute in float32; values are float64 all the same."""
    half = Distance(
        "half", "half", "Half.", "histogram", lambda a, b: {x: torch.ones(n) / 2 for x, n in a.layout.items()}
    )
    found = half(make_dna("histogram"), make_dna("histogram"), reduction="none")
    assert {part.dtype for part in found.values()} == {torch.float64}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("error", "message"),
    [(KeyError("layer"), "jsd: its function failed with KeyError: 'layer'"), (ValueError("too flat"), "jsd: too flat")],
)
def test_errors_of_a_function_name_the_distance(error: Exception, message: str) -> None:
    """Whatever goes wrong in somebody's function is an error of that distance, with its cause."""

    def broken(*_: Any) -> Any:
        raise error

    with pytest.raises(ValueError, match=message) as caught:
        replace(JSD, function=broken)(A, B)
    assert caught.value.__cause__ is error


def test_names_of_columns_are_taken() -> None:
    """A distance cannot be called as a column is."""
    with pytest.raises(ValueError, match="the name 'fid' is that of a column"):
        register_distance(Distance("fid", "mine", "Mine.", "histogram", lambda a, b: {}))


# ------------------------------------------------------------------------------------------------------- width of bins
@pytest.mark.parametrize("unit", ["bins", "range", "activation"])
@pytest.mark.parametrize("weighted", [False, True])
def test_bins_move_an_emd_by_less_than_their_width(unit: Any, weighted: bool) -> None:
    """Of auto histograms of any number of bins, the EMD is within `bin_width` of that of the activations themselves."""
    exact, weights = {}, {layer: torch.linspace(-0.5, 1, n).double() for layer, n in LAYOUT.items()}
    sides = make_activations(30), make_activations(20, 1, shift=0.4)
    reference = make_dna("auto", 30, bins=4096)
    for layer in LAYOUT:
        a, b = (side[layer].flatten(1).numpy().astype(float) for side in sides)
        exact[layer] = torch.tensor([wasserstein_distance(x, y) for x, y in zip(a, b, strict=True)])
    widths = LAYOUT.split(reference.distribution.widths())
    for bins in (2, 3, 17, 200):
        dnas = make_dna("auto", 30, bins=bins), make_dna("auto", 20, seed=1, shift=0.4, bins=bins)
        options: dict[str, Any] = {"unit": unit, "weights": weights if weighted else None}
        scale = {"bins": bins, "range": 1.0}.get(unit)
        values = torch.cat(
            [exact[layer] if scale is None else exact[layer] * scale / widths[layer] for layer in LAYOUT]
        )
        values[~values.isfinite()] = torch.nan  # the neuron that gives one value
        expected = (values * torch.cat([*weights.values()])).nansum() if weighted else values.nanmean()
        found = compare.emd(*dnas, **options)
        assert isinstance(found, torch.Tensor)
        assert abs(found - expected) <= bin_width(*dnas, **options)
        assert Column("emd", **options).bin_width(*dnas) == bin_width(*dnas, **options) > 0
    assert Column("emd").bin_width(A, B) is None
    assert Column("nfd").bin_width(make_dna("gaussian"), make_dna("gaussian")) is None
    assert bin_width(A, B) == 1


def test_columns_of_neighbours_search_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Precision, recall, density and coverage of the same two sets, one after the other, are one search."""
    shares, searched = feature_distances.neighbour_shares, []

    def count(real: torch.Tensor, generated: torch.Tensor) -> tuple[torch.Tensor, ...]:
        searched.append(len(real))
        return shares(real, generated)

    monkeypatch.setattr(feature_distances, "neighbour_shares", count)
    stream = torch.Generator().manual_seed(0)
    sides: list[Any] = []
    for n in (40, 30):
        sides.append(FeatureSample.empty(NeuronLayout({"layer": 6}), n))
        sides[-1].fill_({"layer": torch.randn(6, n, 1, generator=stream)}, torch.arange(n) + n)
    names = ("precision", "recall", "density", "coverage")
    found = [float(find_distance(name).parts(*sides)["layer"]) for name in names]
    assert found == [float(share) for share in shares(*(side.features()["layer"] for side in sides))]
    assert searched == [40]
    find_distance("recall").parts(*sides[::-1])
    assert searched == [40, 30]
