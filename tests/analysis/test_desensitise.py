"""Weights that ignore one attribute and keep the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vdna_metrics import ActivationRanges, compare
from vdna_metrics.analysis import (
    AttributeDistances,
    attribute_distances,
    desensitise,
    learn_weights,
    read_attribute_table,
    sensitivity_deviation,
    sensitivity_removal,
    split_images,
    split_of,
)
from vdna_metrics.distributions import GaussianDistribution, HistogramDistribution, LayerGaussianDistribution
from vdna_metrics.dna import VDNA, Column, Distance
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.images import open_images
from vdna_metrics.layout import NeuronLayout

ATTRIBUTES = ("tint", "blur", "noise", "grid", "crop", "glow")
OWN, SHARED, FREE = 6, 6, 12  # neurons of each attribute, neurons that all move, neurons that none moves
LAYERS = NeuronLayout({"early": 24, "late": 36})
DISTANCES = {"histogram": "emd", "gaussian": "neuron_frechet", "layer_gaussian": "layer_frechet"}


def _empty(kind: str) -> Any:
    if kind == "histogram":
        ends = torch.full((LAYERS.total,), 6.0)
        return HistogramDistribution.empty(ActivationRanges(LAYERS, -ends, ends, widen="none"), 100)
    return (GaussianDistribution if kind == "gaussian" else LayerGaussianDistribution).empty(LAYERS)


def _planted(kind: str, seed: int, images: int = 150) -> dict[tuple[str, bool], VDNA]:
    """DNAs of images with and without attributes, each of which moves its own neurons, by 2, and some that all move."""
    order = np.random.default_rng(0).permutation(LAYERS.total)  # so that both layers see every attribute
    stream = np.random.default_rng([1, seed])
    fingerprint = ExtractorFingerprint("planted", "ab" * 32, "none", {layer: layer for layer in LAYERS})
    dnas = {}
    for i, attribute in enumerate(ATTRIBUTES):
        for moved in (2.0, 0.0):
            activations = stream.standard_normal((LAYERS.total, images, 4))
            activations[order[i * OWN : (i + 1) * OWN]] += moved
            activations[order[len(ATTRIBUTES) * OWN :][:SHARED]] += moved / 2
            distribution = _empty(kind)
            distribution.fill_(LAYERS.split(torch.from_numpy(activations).float()))
            dnas[attribute, moved > 0] = VDNA(distribution, fingerprint)
    return dnas


@pytest.mark.parametrize("loss", ["squared", "absolute"])
@pytest.mark.parametrize("kind", ["histogram", "gaussian"])
def test_a_planted_attribute_is_removed(kind: str, loss: Any) -> None:
    """Neuron-wise weights learnt on some images remove over 90 % on others, and move the other attributes little."""
    train, validation, test = (attribute_distances(_planted(kind, seed), distance=DISTANCES[kind]) for seed in range(3))
    for attribute in ATTRIBUTES[:2]:
        weights = desensitise(train, validation, attribute, loss=loss)
        assert weights.made["loss"] == loss
        assert sensitivity_removal(test.values, weights.values, attribute) > 90
        assert sensitivity_deviation(test.values, weights.values, attribute) < 8
        assert weights.made["validation"]["removal"] > 90
        with_it, without = (_planted(kind, 2)[attribute, value] for value in (True, False))
        plain, weighed = (
            getattr(compare, DISTANCES[kind])(with_it, without, weights=given) for given in (None, weights)
        )
        assert abs(float(weighed)) < 0.1 * float(plain)


def test_layers_alone_remove_less() -> None:
    """With a weight a layer, where every layer sees every attribute, far less can be had than with one a neuron."""
    splits = [attribute_distances(_planted("layer_gaussian", seed), distance="layer_frechet") for seed in range(2)]
    weights = desensitise(*splits, "tint")
    assert (weights.per, len(weights.values)) == ("layer", 2)
    removal = sensitivity_removal(splits[1].values, weights.values, "tint")
    deviation = sensitivity_deviation(splits[1].values, weights.values, "tint")
    assert not (removal > 80 and deviation < 20)
    planted = _planted("layer_gaussian", 1)
    pair = planted["blur", True], planted["blur", False]
    assert float(compare.layer_frechet(*pair, weights=weights)) == pytest.approx(  # type: ignore[arg-type]
        float(splits[1].values["blur"] @ weights.values)
    )


def _table(rows: dict[str, list[float]]) -> dict[str, Tensor]:
    return {attribute: torch.tensor(row) for attribute, row in rows.items()}


def test_weights_begin_as_the_mean() -> None:
    """Without a step the weighted distance is the mean: nothing is removed and nothing moves."""
    distances = _table({"a": [1.0, 2.0, 0.0], "b": [0.0, 1.0, 5.0]})
    weights = learn_weights(distances, distances, "a", max_steps=0)
    assert weights.tolist() == [1 / 3] * 3
    assert sensitivity_removal(distances, weights, "a") == pytest.approx(0)
    assert sensitivity_deviation(distances, weights, "a") == pytest.approx(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": float("nan")}, "positive, finite learning_rate, got nan"),
        ({"learning_rate": -1.0}, "positive, finite learning_rate, got -1.0"),
        ({"learning_rate": float("inf")}, "positive, finite learning_rate, got inf"),
        ({"max_steps": -5}, "max_steps of at least 0, got -5"),
        ({"patience": 0}, "patience of at least 1, got 0"),
    ],
)
def test_steps_that_learn_nothing_are_refused(options: Any, message: str) -> None:
    """A rate, or a number of steps, with which weights would stay what they begin as is refused."""
    distances = _table({"a": [1.0, 2.0], "b": [0.0, 1.0]})
    with pytest.raises(ValueError, match=message):
        learn_weights(distances, distances, "a", **options)


@pytest.mark.parametrize("measure", [sensitivity_removal, sensitivity_deviation])
def test_weights_that_are_not_finite_are_refused(measure: Any) -> None:
    """Neither measure is NaN."""
    distances = _table({"a": [1.0, 2.0], "b": [0.0, 1.0]})
    with pytest.raises(ValueError, match="finite weights, got 1 that are NaN or infinite"):
        measure(distances, torch.tensor([0.5, torch.nan]), "a")


def test_removal_and_deviation_by_hand() -> None:
    """Both are relative to the mean distance; an overshoot below 0 removes no more than one above."""
    distances = _table({"a": [4.0, 2.0], "b": [0.0, 3.0], "c": [5.0, 5.0]})
    weights = torch.tensor([0.0, 0.4])
    assert sensitivity_removal(distances, weights, "a") == pytest.approx(100 * (1 - 0.8 / 3))
    assert sensitivity_deviation(distances, weights, "a") == pytest.approx(100 * (0.3 / 1.5 + 3 / 5) / 2)
    assert sensitivity_removal(distances, -weights, "a") == sensitivity_removal(distances, weights, "a")
    assert sensitivity_removal(distances, 10 * weights, "a") < 0


def test_corrected_distances_may_be_below_zero() -> None:
    """Neurons below 0 count in removal and deviation; a mean that is not above 0 is refused, as both in learning."""
    distances = _table({"a": [4.0, -1.0], "b": [0.0, 3.0]})
    assert sensitivity_removal(distances, torch.tensor([0.5, 0.5]), "a") == pytest.approx(0)
    assert sensitivity_removal(distances, torch.tensor([0.25, 1.0]), "a") == pytest.approx(100)
    with pytest.raises(ValueError, match=r"of 'a' must be .* finite and not negative"):
        learn_weights(distances, distances, "a")
    with pytest.raises(ValueError, match="the mean distance of 'b' is not above 0"):
        sensitivity_deviation(distances | _table({"b": [1.0, -1.0]}), torch.ones(2), "a")


def test_an_unknown_loss_is_named() -> None:
    """The known ones are told."""
    x = _table({"a": [1.0], "b": [1.0]})
    with pytest.raises(ValueError, match="unknown loss 'cubed'; known: squared, absolute"):
        learn_weights(x, x, "a", loss="cubed")  # type: ignore[arg-type]


def test_an_attribute_on_shared_neurons_cannot_be_removed_alone() -> None:
    """Two attributes on the very same neurons go together: the numbers say so, finite, and nothing is hidden."""
    distances = _table({"a": [3.0, 1.0, 0.0], "twin": [3.0, 1.0, 0.0]})
    weights = learn_weights(distances, distances, "a")
    removal, deviation = (f(distances, weights, "a") for f in (sensitivity_removal, sensitivity_deviation))
    assert weights.isfinite().all()
    assert removal == pytest.approx(50, abs=0.1)  # the least of x² + (x - 1)²
    assert removal == pytest.approx(deviation, abs=1e-6)


@pytest.mark.parametrize(("loss", "expected"), [("squared", [1 / 3, 7 / 9]), ("absolute", [-1 / 3, 1])])
def test_weights_have_the_least_loss(loss: Any, expected: list[float]) -> None:
    """By hand, N times the weights: the squared loss gives up some of all, the absolute one all of what costs least."""
    distances = _table({"a": [3.0, 1.0], "b": [1.0, 0.0], "c": [0.0, 1.0]})
    weights = learn_weights(distances, distances, "a", loss=loss, learning_rate=0.002)
    assert (2 * weights).tolist() == pytest.approx(expected, abs=0.01)


def test_weights_may_be_kept_from_below_zero() -> None:
    """`non_negative` gives weights, and with them distances, that are never below 0; less is removed."""
    train, validation = (attribute_distances(_planted("histogram", seed)) for seed in range(2))
    free, kept = (desensitise(train, validation, "tint", non_negative=value) for value in (False, True))
    assert float(free.values.min()) < 0 <= float(kept.values.min())
    assert 0 < kept.made["validation"]["removal"] < free.made["validation"]["removal"]


def test_learning_is_the_same_each_time() -> None:
    """The same distances give the same weights to the bit, whatever the order of the other attributes."""
    x = _table({"a": [1.0, 2.0, 0.0], "b": [0.0, 1.0, 5.0], "c": [2.0, 0.0, 1.0]})
    assert torch.equal(learn_weights(x, x, "a"), learn_weights(x, x, "a"))
    turned = dict(reversed(x.items()))
    torch.testing.assert_close(learn_weights(turned, turned, "a"), learn_weights(x, x, "a"))


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_steps_are_those_of_torchs_adam(loss: Any) -> None:
    """The steps are Adam's, as `torch.optim` takes them, down either loss."""
    measure = torch.square if loss == "squared" else torch.abs
    x = _table({"a": [1.0, 2.0, 0.5], "b": [0.0, 1.0, 5.0], "c": [2.0, 0.2, 1.0]})
    d = torch.stack([row.double() / row.double().sum() for row in x.values()])
    scale = torch.ones(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([scale], lr=0.02)
    for steps in range(1, 8):
        adam.zero_grad()
        s = d @ scale
        (measure(s[0]) + measure(s[1:] - 1).mean()).backward()
        adam.step()
        found = learn_weights(x, x, "a", loss=loss, learning_rate=0.02, max_steps=steps)
        torch.testing.assert_close(found, scale.detach() / 3, rtol=1e-9, atol=0)


def test_the_validation_split_says_when_to_stop() -> None:
    """Weights are those of the least loss on the validation split, not the last; where it only grows, the first."""
    train = _table({"a": [4.0, 0.0], "b": [0.0, 4.0]})
    turned = _table({"a": [0.0, 4.0], "b": [4.0, 0.0]})
    assert learn_weights(train, turned, "a", patience=5).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("train", "validation", "attribute", "message"),
    [
        ({"a": [1.0]}, {"a": [1.0]}, "a", "'a' is the only attribute: there must be others"),
        ({"smile": [1.0], "b": [1.0]}, {"smile": [1.0], "b": [1.0]}, "smil", "unknown attribute 'smil'; did you mean"),
        ({"a": [1.0], "b": [1.0]}, {"a": [1.0], "c": [1.0]}, "a", "attributes differ: train a, b, validation a, c"),
        ({"a": [1.0], "b": [1.0]}, {"a": [1.0, 1.0], "b": [1.0, 1.0]}, "a", "train 1, validation 2"),
        ({"a": [1.0], "b": [1.0, 2.0]}, {"a": [1.0], "b": [1.0]}, "a", "numbers of neurons differ: {'a': 1, 'b': 2}"),
        ({"a": [0.0], "b": [1.0]}, {"a": [1.0], "b": [1.0]}, "a", "all distances of 'a' are 0"),
        ({"a": [-1.0], "b": [1.0]}, {"a": [1.0], "b": [1.0]}, "a", "of 'a' must be .* not negative"),
        ({"a": [1.0], "b": [torch.nan]}, {"a": [1.0], "b": [1.0]}, "a", "of 'b' must be .* finite"),
    ],
)
def test_what_cannot_be_learnt_is_refused(train: Any, validation: Any, attribute: str, message: str) -> None:
    """There must be two attributes at least, the same in both splits, with distances that tell something."""
    with pytest.raises(ValueError, match=message):
        learn_weights(_table(train), _table(validation), attribute)


def test_distances_of_other_neurons_do_not_mix() -> None:
    """The splits are distances of one kind over the same neurons, and so are all attributes."""
    dnas = _planted("histogram", 0, images=4)
    whole, part = attribute_distances(dnas), attribute_distances(dnas, distance=Column("emd", neurons={"late": [0, 5]}))
    assert {len(row) for row in part.values.values()} == {2}
    with pytest.raises(ValueError, match="train and validation are other distances, or of other neurons"):
        desensitise(whole, part, "tint")
    mixed = {
        key: dna.select(["late"]) if key[0] == "blur" else dna for key, dna in dnas.items() if key[0] in "tint blur"
    }
    with pytest.raises(ValueError, match="the DNAs of 'blur' have other neurons than those of 'tint'"):
        attribute_distances(mixed)
    del dnas["glow", False]
    with pytest.raises(ValueError, match="there is no DNA of images without 'glow'"):
        attribute_distances(dnas)


def test_distances_are_those_of_the_registry() -> None:
    """Any distance with parts is taken, by name or as a value; one without, or of one set alone, is refused."""
    distance = Distance(
        "variation", "total variation", "Half the sum of differences of shares.", "histogram", _variation, unit="share"
    )
    dnas = _planted("histogram", 0, images=4)
    found = attribute_distances(dnas, distance=distance)
    assert (found.distance, found.unit, found.per) == ("variation", None, "neuron")
    expected: Any = distance(dnas["blur", True], dnas["blur", False], reduction="none")
    assert torch.equal(found.values["blur"], torch.cat(list(expected.values())))
    assert attribute_distances(dnas, distance=Column("emd", unit="range")).unit == "range"
    for other in (replace(distance, per=None), replace(distance, arity=1)):
        with pytest.raises(ValueError, match="total variation has no distances by neuron or layer between two sets"):
            attribute_distances(dnas, distance=other)


def _variation(reference: Any, generated: Any) -> dict[str, Tensor]:
    shares = [side.counts / side.counts.sum(dim=1, keepdim=True) for side in (reference, generated)]
    return reference.layout.split((shares[0] - shares[1]).abs().sum(dim=1).double() / 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "text",
    [
        "image_id,Smiling,Wearing Hat\na.png,1,-1\nb.png,-1,1\n",
        "\nimage,Smiling,Wearing Hat\r\na.png,1,0\r\nb.png,0,1\r\n",
        "\ufeffSmiling,Wearing Hat\na.png, 1, 0\nb.png, 0, 1",
    ],
)
def test_tables_are_read(tmp_path: Path, text: str) -> None:
    """A table with commas is read, with a name for the images' column or none, and with 0 or -1 for without."""
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert read_attribute_table(tmp_path / "t.csv") == {
        "a.png": {"Smiling": True, "Wearing Hat": False},
        "b.png": {"Smiling": False, "Wearing Hat": True},
    }


def test_celebas_own_table_is_read(tmp_path: Path) -> None:
    """CelebA's text has the number of images first, then names without one for the images' column, and blanks."""
    (tmp_path / "t.txt").write_text("2\nSmiling Young \n000001.jpg -1  1\n000002.jpg  1 -1\n")
    assert read_attribute_table(tmp_path / "t.txt") == {
        "000001.jpg": {"Smiling": False, "Young": True},
        "000002.jpg": {"Smiling": True, "Young": False},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this has 0 lines"),
        ("image,a\n", "this has 1 lines"),
        ("image,a\nx.png,2\n", "line 2: a is '2', expected 1, 0 or -1"),
        ("image,a,b\n\nx.png,1\n", "line 3: 1 values for 2 attributes"),
        ("image,a\nx.png,1\nx.png,0\n", "line 3: x.png is listed twice"),
        ("image,a,a\nx.png,1,0\n", r"each with its own name, got \['a', 'a'\]"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """What is no such table is refused, with the line."""
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_attribute_table(tmp_path / "t.csv")


def test_a_name_decides_the_split() -> None:
    """The split hangs on the name alone, about 6 to 2 to 2, and never moves: none may learn from test images."""
    names = [f"{i:06}.jpg" for i in range(2000)]
    shares = {split: sum(split_of(name) == split for name in names) for split in ("train", "validation", "test")}
    assert shares == {"train": 1180, "validation": 386, "test": 434}


def test_splits_are_disjoint_and_keep_their_attributes() -> None:
    """Each image that the table tells of is in one split with its own attributes; others are left out."""
    source = open_images(np.arange(60, dtype=np.uint8)[:, None, None, None].repeat(3, 3))
    table = {name: {"even": int(name) % 2 == 0} for name in source.names[:-7]}
    splits = split_images(source, table)
    assert sorted(int(name) for part, _ in splits.values() for name in part.names) == list(range(53))
    for split, (part, has) in splits.items():
        assert all(split_of(name) == split for name in part.names)
        assert [int(part.read(i)[0, 0, 0]) for i in range(len(part))] == [int(name) for name in part.names]  # type: ignore[call-overload]
        assert has["even"] == [int(name) % 2 == 0 for name in part.names]


def test_names_that_do_not_meet_are_shown() -> None:
    """Where table and images name different things, one of each is shown."""
    source = open_images(np.zeros((4, 2, 2, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"there are train 0.*the first is '0'.*the table has 0 \(its first is 'x.jpg'\)"
    ):
        split_images(source, {"x.jpg": {"a": True}})


def test_values_can_be_made_by_hand() -> None:
    """Distances from elsewhere are taken with the layout and network that they are of."""
    layout, fingerprint = NeuronLayout({"l": 2}), ExtractorFingerprint("x", "", "none", {"l": "l"})
    values = _table({"a": [1.0, 0.0], "b": [0.0, 1.0]})
    given = AttributeDistances(layout, fingerprint, "neuron_frechet", None, values)
    weights = desensitise(given, given, "a")
    torch.testing.assert_close(weights.by_layer["l"], torch.tensor([0.0, 0.5]).double(), rtol=0, atol=1e-3)
