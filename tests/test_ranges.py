"""Activation ranges: widening, merging, files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import LAYOUT, make_fingerprint, make_ranges
from hypothesis import given, strategies as st

from vdna_metrics import create_extractor
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.files import write_npz
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges, RangesSource, load_ranges, load_vdna_ranges
from vdna_metrics.references.store import default_ranges


@dataclass
class _Extractor:
    fingerprint: ExtractorFingerprint


def _of(low: list[float], high: list[float], **options: Any) -> ActivationRanges:
    return ActivationRanges.from_extremes({"a": low}, {"a": high}, **options)


@pytest.mark.parametrize(
    ("widen", "low", "high"),
    [
        # extremes          [-1, 3]  [1, 2]  [-2, -1]  [0, 5]   [0.5, 0.5]
        ("margin", [-1.4, 0.9, -2.1, -0.5, 0.5], [3.4, 2.1, -0.9, 5.5, 0.5]),
        ("vdna", [-1.2, 1.2, -2.4, 0.0, 0.6], [3.6, 2.4, -1.2, 6.0, 0.6]),
        ("none", [-1.0, 1.0, -2.0, 0.0, 0.5], [3.0, 2.0, -1.0, 5.0, 0.5]),
    ],
)
def test_widening_by_hand(widen: Any, low: list[float], high: list[float]) -> None:
    """Margin adds 10 % of the width at each end, vdna takes both ends times 1.2, and none takes the extremes."""
    # With vdna's rule, ends of one sign move the same way, so that the range leaves out what was observed at one end.
    ranges = _of([-1, 1, -2, 0, 0.5], [3, 2, -1, 5, 0.5], widen=widen)
    torch.testing.assert_close(ranges.low, torch.tensor(low))
    torch.testing.assert_close(ranges.high, torch.tensor(high))
    assert ranges.low.dtype == torch.float32
    assert ranges.dead.tolist() == [False, False, False, False, True]


def test_margin_is_the_default() -> None:
    """Ranges are widened by a margin unless another rule is asked for."""
    assert _of([0], [1]).widen == "margin"


@given(
    st.lists(
        st.tuples(st.floats(-(2**99), 2**99, width=32), st.floats(-(2**99), 2**99, width=32)).map(sorted),
        min_size=1,
        max_size=8,
    )
)
def test_a_margin_always_covers_the_extremes(ends: list[list[float]]) -> None:
    """Whatever the extremes, the range with a margin holds them, and only a neuron without width is dead."""
    low, high = (torch.tensor(side, dtype=torch.float32) for side in zip(*ends, strict=True))
    ranges = _of(low.tolist(), high.tolist())
    assert bool((ranges.low <= low).all())
    assert bool((ranges.high >= high).all())
    assert torch.equal(ranges.dead, low == high)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "margin over images of unknown source"),
        ({"widen": "vdna", "n_images": 7, "sources": ["x", "y"]}, "vdna over 7 images of x, y"),
        ({"n_images": 7, "sources": ["x", "y", "z", "w"]}, "margin over 7 images of x, y, ..."),
    ],
)
def test_ranges_are_shown_on_a_line(options: dict[str, Any], shown: str) -> None:
    """Rule, images, sources and how many neurons there are; no tensors."""
    assert repr(_of([0.0] * 2000, [1.0] * 2000, **options)) == f"ActivationRanges({shown}: 2000 neurons in 1 layer)"
    assert len(repr(default_ranges(create_extractor("vdna_tiny")))) < 120
    quantiles = ActivationRanges(LAYOUT, *torch.zeros(2, LAYOUT.total), widen="quantile", levels=(0.01, 0.99))
    assert repr(quantiles).startswith("ActivationRanges(quantile 0.01 to 0.99 over images of unknown source: ")


def test_extremes_come_as_any_container() -> None:
    """Lists, arrays and tensors, of any float type and with gradients, give the same ranges, in `low`'s order."""
    expected = _of([0.5, 1.0], [2.0, 3.0])
    for make in (np.array, torch.tensor, lambda v: torch.tensor(v, dtype=torch.float16, requires_grad=True)):
        assert _of(make([0.5, 1.0]), make([2.0, 3.0])).equals(expected)
    both = ActivationRanges.from_extremes({"b": [0.0], "a": [1.0]}, {"a": [3.0], "b": [2.0]}, widen="none")
    assert list(both.layout) == ["b", "a"]
    assert both.high.tolist() == [2.0, 3.0]


def test_extremes_remember_their_making() -> None:
    """The number of images, sources and the extractor's fingerprint on these layers are kept."""
    fingerprint = make_fingerprint()
    ranges = ActivationRanges.from_extremes(
        {"conv2": [0.0]}, {"conv2": [1.0]}, extractor=_Extractor(fingerprint), n_images=5, sources=["x"]
    )
    assert (ranges.n_images, ranges.sources) == (5, ("x",))
    assert ranges.fingerprint == fingerprint.select(["conv2"])


def test_later_changes_of_the_input_do_not_matter() -> None:
    """Ranges keep copies of the extremes."""
    low = torch.zeros(2)
    ranges = ActivationRanges(NeuronLayout({"a": 2}), low, torch.ones(2))
    low += 9
    assert ranges.observed_low.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("low", "high", "options", "message"),
    [
        ([0, 2, 5], [1, 1, 1], {}, r"low is above high for 2 neurons of layer 'a': the first has 2 and 1"),
        ([0, float("nan")], [1, 1], {}, r"observed_low is not finite for 1 neuron of layer 'a'"),
        ([0, 0], [1, float("inf")], {}, r"observed_high is not finite for 1 neuron of layer 'a'"),
        ([0, 0], [1, 3.4e38], {"widen": "vdna"}, r"high, widened, is not finite for 1 neuron of layer 'a'"),
        ([0, -3.4e38], [1, 3.4e38], {}, r"low, widened, is not finite for 1 neuron of layer 'a'"),
        ([0, 0], [1], {}, r"high of layer 'a': 1 given, the layer has 2 neurons"),
        ([0], [1], {"widen": "double"}, r"unknown widening rule 'double'; known: margin, vdna, none, quantile"),
    ],
)
def test_impossible_ranges_are_refused(
    low: list[float], high: list[float], options: dict[str, Any], message: str
) -> None:
    """Reversed, unequal and infinite extremes and unknown rules are named, with their layers."""
    with pytest.raises(ValueError, match=message):
        _of(low, high, **options)


def test_both_ends_need_the_same_layers() -> None:
    """A layer that only one end has is named."""
    with pytest.raises(ValueError, match=r"high miss layer 'b'; they have: a"):
        ActivationRanges.from_extremes({"a": [0], "b": [0]}, {"a": [1]})
    with pytest.raises(ValueError, match=r"high: unknown layer 'b'; known: a"):
        ActivationRanges.from_extremes({"a": [0]}, {"a": [1], "b": [1]})


def test_a_layer_that_the_extractor_lacks_is_refused() -> None:
    """Extremes of layers that the extractor does not look at are an error."""
    with pytest.raises(ValueError, match=r"tiny has no layer 'conv8'; its layers: conv1, conv2, norm"):
        ActivationRanges.from_extremes({"conv8": [0]}, {"conv8": [1]}, extractor=_Extractor(make_fingerprint()))


def test_the_layout_and_the_extremes_agree() -> None:
    """Extremes of another number of neurons than the layout's are refused."""
    with pytest.raises(ValueError, match=r"observed_high has shape \(3,\), the layout 2 neurons"):
        ActivationRanges(NeuronLayout({"a": 2}), torch.zeros(2), torch.ones(3))


@pytest.mark.parametrize("widen", ["margin", "vdna", "none"])
def test_merging_widens_the_extremes_of_both(widen: Any) -> None:
    """`+` takes the minimum of minima and the maximum of maxima and only then widens; sources follow each other."""
    a = _of([0, -1], [1, 1], widen=widen, n_images=2, sources=["x"])
    b = _of([-2, 0], [0, 5], widen=widen, n_images=3, sources=["y"])
    merged = a + b
    assert merged.equals(_of([-2, -1], [1, 5], widen=widen))
    assert (b + a).equals(merged)
    assert (merged.n_images, merged.sources) == (5, ("x", "y"))


@given(st.lists(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), min_size=3, max_size=3))
def test_merging_is_associative(extremes: list[list[float]]) -> None:
    """`(a + b) + c` equals `a + (b + c)` and `a + a` equals `a`."""
    a, b, c = (_of(values, [v + 1 for v in values]) for values in extremes)
    assert ((a + b) + c).equals(a + (b + c))
    assert (a + a).equals(a)


@pytest.mark.parametrize("known", [(0, 3), (3, 0), (0, 0)])
def test_an_unknown_number_of_images_stays_unknown(known: tuple[int, int]) -> None:
    """Where one side does not know its number of images, nor does the sum; the set that is known keeps its own."""
    a, b = (_of([0], [1], n_images=n, sources=[name]) for n, name in zip(known, "xy", strict=True))
    merged = a + b
    assert merged.n_images == 0
    assert merged.sets == (RangesSource("x", known[0]), RangesSource("y", known[1]))
    assert (merged + _of([0], [1], n_images=5)).n_images == 0


def test_ranges_know_each_image_set(tmp_path: Path) -> None:
    """What is known of each set is kept in merging, selecting and files, and gives the sources their names."""
    sets = (RangesSource("x", 2, "ab" * 32, (("1.png", "cut"), ("2.png", "empty"))), RangesSource("y", 3))
    a, b = (ActivationRanges(LAYOUT, low, low + 1, n_images=part.n_images, sets=(part,))
            for part, low in zip(sets, torch.randn(2, LAYOUT.total), strict=True))  # fmt: skip
    merged = (a + b).select(LAYOUT.select(["conv2"]))
    assert (merged.sources, merged.n_images, merged.sets) == (("x", "y"), 5, sets)
    assert load_ranges(merged.save(tmp_path / "r")).sets == sets
    # Of several names and one number, the parts of the number are not known.
    assert _of([0], [1], n_images=5, sources=["x", "y"]).sets == (RangesSource("x"), RangesSource("y"))
    with pytest.raises(ValueError, match="sources and sets differ: z and x, y"):
        ActivationRanges(LAYOUT, b.low, b.high, sources=("z",), sets=sets)


def test_early_files_have_no_sets() -> None:
    """A file that was written before sets were kept is read, with what it knows."""
    ranges = load_ranges(Path(__file__).parent / "files" / "schema1_ranges.npz")
    assert [part.name for part in ranges.sets] == list(ranges.sources)
    assert ranges.levels is None


def _quantile_ranges(low: float = 0.0, high: float = 1.0) -> ActivationRanges:
    return make_ranges(low, high, widen="quantile", levels=(0.1, 0.9))


def test_quantile_ranges_are_taken_as_they_are() -> None:
    """Quantiles are not widened."""
    ranges = _quantile_ranges(-2.0, 2.0)
    assert torch.equal(ranges.low, ranges.observed_low)
    assert torch.equal(ranges.high, ranges.observed_high)


@pytest.mark.parametrize("widen", ["quantile", "none"])
def test_quantile_ranges_do_not_merge(widen: str) -> None:
    """Quantiles of two sets do not tell those of their union: the error says what does."""
    other = _quantile_ranges() if widen == "quantile" else make_ranges(0.0, 1.0)
    for a, b in ((_quantile_ranges(), other), (other, _quantile_ranges())):
        with pytest.raises(ValueError, match=r"quantile ranges cannot be merged.* merge the histogram DNAs"):
            a + b


@pytest.mark.parametrize(
    ("widen", "levels", "message"),
    [
        (
            "quantile",
            None,
            r"the rule is 'quantile', the levels of quantiles are None: quantiles come from a histogram",
        ),
        ("margin", (0.1, 0.9), r"the rule is 'margin', the levels of quantiles are \(0.1, 0.9\)"),
        ("quantile", (0.9, 0.1), r"the lower one first, got 0.9 and 0.1"),
    ],
)
def test_levels_belong_to_quantiles(widen: str, levels: Any, message: str) -> None:
    """The rule `quantile` has levels, in order, and no other rule has any."""
    with pytest.raises(ValueError, match=message):
        make_ranges(widen=widen, levels=levels)


def test_merging_keeps_the_known_fingerprint() -> None:
    """Where one side does not know its extractor, the other's is kept."""
    known = make_ranges(fingerprint=make_fingerprint())
    assert (make_ranges() + known).fingerprint == make_fingerprint()
    assert (known + make_ranges()).fingerprint == make_fingerprint()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_ranges(widen="margin"), r"widening rules differ: first none, second margin"),
        (make_ranges(fingerprint=make_fingerprint(weights="cd" * 32)), r"weights differ: first (ab){6}, second (cd)+"),
        (_of([0], [1], widen="none"), r"layouts differ: first \{'conv1': 4, .*\}, second \{'a': 1\}"),
    ],
)
def test_unlike_ranges_do_not_merge(other: ActivationRanges, message: str) -> None:
    """Ranges of another rule, extractor or layout are not merged; both sides are shown."""
    with pytest.raises(ValueError, match=rf"these ranges cannot be merged: {message}"):
        make_ranges(fingerprint=make_fingerprint()) + other


def test_only_ranges_add() -> None:
    """Ranges and other things do not add."""
    with pytest.raises(TypeError, match="unsupported operand"):
        make_ranges() + 1  # type: ignore[operator]


def test_equal_ranges_have_the_same_ends() -> None:
    """Ranges are equal when every neuron's ends are, whatever rule they came by and whoever saw the images."""
    a = _of([0.0], [1.0], widen="margin")
    assert a.equals(_of(a.low, a.high, widen="none", n_images=9, sources=["y"]))
    assert not a.equals(_of([0.0], [1.0], widen="none"))
    assert not a.equals(ActivationRanges.from_extremes({"b": [0.0]}, {"b": [1.0]}))


def test_selected_ranges_are_those_of_the_neurons() -> None:
    """A selection keeps the neurons' ends, rule, sources, and the fingerprint of its layers."""
    ranges = make_ranges(fingerprint=make_fingerprint()) + make_ranges(-4, 3.5)
    selection = LAYOUT.select(neurons={"conv2": [2, 0]})
    chosen = ranges.select(selection)
    assert chosen.layout == selection
    assert torch.equal(chosen.low, ranges.low[[6, 4]])
    assert torch.equal(chosen.high, ranges.high[[6, 4]])
    assert (chosen.widen, chosen.sources, chosen.n_images) == (ranges.widen, ranges.sources, ranges.n_images)
    assert chosen.fingerprint == make_fingerprint().select(["conv2"])


def test_ranges_come_in_the_order_of_a_layout() -> None:
    """`for_layout` gives the ranges of a network's layers and neurons in the network's order."""
    ends = {"b": [1.0], "a": [2.0, 3.0], "c": [9.0]}
    ranges = ActivationRanges.from_extremes(ends, ends)
    chosen = ranges.for_layout(NeuronLayout({"a": 1, "b": 1}, {"a": (1,)}))
    assert list(chosen.layout) == ["a", "b"]
    assert chosen.observed_low.tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (NeuronLayout({"z": 1}), r"layers: unknown layer 'z'; known: conv1, conv2, norm"),
        (NeuronLayout({"conv1": 5}), r"expected 5 neurons in layer 'conv1', got 4"),
        (NeuronLayout({"conv1": 1}, {"conv1": (7,)}), r"layer 'conv1' has no neuron 7"),
    ],
)
def test_ranges_of_another_network_do_not_fit_a_layout(layout: NeuronLayout, message: str) -> None:
    """Unknown layers, missing neurons and other numbers of neurons are refused."""
    with pytest.raises(ValueError, match=message):
        make_ranges().for_layout(layout)


def test_selected_ranges_do_not_fit_the_whole_layer() -> None:
    """Ranges of some neurons are not taken for those of a layer that happens to be as large."""
    some = make_ranges().select(LAYOUT.select(neurons={"conv1": [0, 2]}))
    with pytest.raises(ValueError, match=r"expected 2 neurons in layer 'conv1', got 2 selected"):
        some.for_layout(NeuronLayout({"conv1": 2}))


def test_ranges_know_their_extractor() -> None:
    """Ranges refuse another extractor, showing both sides; where theirs is unknown, any will do."""
    ranges = make_ranges(fingerprint=make_fingerprint())
    ranges.check_fingerprint(make_fingerprint())
    make_ranges().check_fingerprint(make_fingerprint("other"))
    with pytest.raises(
        ValueError,
        match=r"these activation ranges were not made with this extractor: preprocessing differ: ranges clean:32, "
        r"extractor none",
    ):
        ranges.check_fingerprint(make_fingerprint(preprocessing="none"))


@pytest.mark.parametrize("fingerprint", [None, make_fingerprint()])
@pytest.mark.parametrize("widen", ["margin", "vdna", "none"])
def test_a_file_keeps_all(tmp_path: Path, widen: str, fingerprint: ExtractorFingerprint | None) -> None:
    """Saved ranges come back to the bit, selections and the makings included."""
    ranges = make_ranges(-1 / 3, 2 / 3, widen=widen, fingerprint=fingerprint).select(
        LAYOUT.select(neurons={"conv1": [3, 0], "norm": [1]})
    )
    loaded = load_ranges(ranges.save(tmp_path / "ffhq-0.5"))
    assert loaded.equals(ranges)
    assert torch.equal(loaded.observed_low, ranges.observed_low)
    assert torch.equal(loaded.observed_high, ranges.observed_high)
    assert loaded.header() == ranges.header()


def test_ranges_and_other_files_are_told_apart(tmp_path: Path) -> None:
    """A file of another kind is not read as ranges."""
    path = write_npz(tmp_path / "x.npz", "histogram", {}, {})
    with pytest.raises(ValueError, match=r"x\.npz: expected 'ranges', it holds 'histogram'"):
        load_ranges(path)
    with pytest.raises(ValueError, match=r"r\.npz: expected 'histogram'.* it holds 'ranges'"):
        load_vdna(make_ranges().save(tmp_path / "r"))


# ---- the vdna package's activation_ranges.json

_OBSERVED = make_ranges(-1 / 3, 2 / 3)


def _vdna_file(path: Path, low: dict[str, Any] | None = None, high: dict[str, Any] | None = None) -> Path:
    """A file as the vdna package has it, neurons in reverse, with some layers replaced."""
    parts = {
        name: {
            layer: {str(i): float(values[i]) for i in reversed(range(len(values)))} for layer, values in split.items()
        }
        for name, split in (
            ("mins_per_neuron", LAYOUT.split(_OBSERVED.observed_low)),
            ("maxs_per_neuron", LAYOUT.split(_OBSERVED.observed_high)),
        )
    }
    parts["mins_per_neuron"].update(low or {})
    parts["maxs_per_neuron"].update(high or {})
    path.write_text(json.dumps(parts))
    return path


def test_a_vdna_file_gives_its_ranges(tmp_path: Path) -> None:
    """Every neuron gets the extremes of its index, widened by the vdna rule; origin and extractor are kept."""
    high = {"conv1": {"10": 1, "2": 1, "0": 1, "1": 1}}
    path = _vdna_file(tmp_path / "r.json")
    ranges = load_vdna_ranges(path, LAYOUT, source="hub/r.json", fingerprint=make_fingerprint())
    assert torch.equal(ranges.observed_low, _OBSERVED.observed_low)
    assert torch.equal(ranges.high, (_OBSERVED.observed_high.double() * 1.2).float())
    assert (ranges.widen, ranges.n_images, ranges.sources) == ("vdna", 0, ("hub/r.json",))
    assert ranges.fingerprint == make_fingerprint()
    assert load_vdna_ranges(path, LAYOUT).sources == (str(path),)
    with pytest.raises(ValueError, match=r"expected the indices 0 to 3, missing are \[3\]"):
        load_vdna_ranges(_vdna_file(path, high=high), LAYOUT)


def test_indices_of_a_vdna_file_are_numbers(tmp_path: Path) -> None:
    """Neuron 10 comes after neuron 9, though its text does not."""
    neurons = {str(i): i for i in sorted(range(12), key=str)}
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"mins_per_neuron": {"a": neurons}, "maxs_per_neuron": {"a": neurons}}))
    assert load_vdna_ranges(path, NeuronLayout({"a": 12})).observed_low.tolist() == list(range(12))


def test_layers_that_the_extractor_lacks_are_left_out(tmp_path: Path) -> None:
    """An extractor of fewer layers takes its own; layers and neurons that the file lacks are an error with both."""
    path = _vdna_file(tmp_path / "r.json")
    one = LAYOUT.select(["conv2"])
    assert load_vdna_ranges(path, one).equals(load_vdna_ranges(path, LAYOUT).for_layout(one))
    with pytest.raises(
        ValueError, match=r"expected .* of \{'last': 5\} neurons, got \{'last': 0\} \(of layers conv1, conv2, norm\)"
    ):
        load_vdna_ranges(path, NeuronLayout({"conv1": 4, "last": 5}))
    path = _vdna_file(path, high={"norm": {"0": 1.0}})
    with pytest.raises(ValueError, match=r"expected maxs_per_neuron of \{'norm': 2\} neurons, got \{'norm': 1\}"):
        load_vdna_ranges(path, LAYOUT)


@pytest.mark.parametrize(
    "text",
    ["<html>not found</html>", "[]", "{}", '{"mins_per_neuron": {"conv1": 3}, "maxs_per_neuron": {}}', "\udc80",
     '{"mins_per_neuron": {"conv1": {"a": 1}}, "maxs_per_neuron": {}}',
     '{"mins_per_neuron": {"conv1": {"0": null}}, "maxs_per_neuron": {}}'],
)  # fmt: skip
def test_other_files_are_no_vdna_ranges(text: str, tmp_path: Path) -> None:
    """Whatever else lies at the address is an error that names the file."""
    (tmp_path / "r.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"r\.json: expected (activation ranges as vdna|the indices 0 to 0)"):
        load_vdna_ranges(tmp_path / "r.json", LAYOUT)


def test_impossible_extremes_of_a_vdna_file_are_refused(tmp_path: Path) -> None:
    """A minimum above the maximum, or NaN, names the layer."""
    path = _vdna_file(tmp_path / "r.json", low={"norm": {"0": 5.0, "1": float("nan")}})
    with pytest.raises(ValueError, match=r"r\.json: expected activation ranges .* NaN is no number"):
        load_vdna_ranges(path, LAYOUT)
    path = _vdna_file(tmp_path / "r.json", low={"norm": {"0": 5.0, "1": 0.0}})
    with pytest.raises(ValueError, match="low is above high for 1 neuron of layer 'norm'"):
        load_vdna_ranges(path, LAYOUT)
