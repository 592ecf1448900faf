"""Distances within classes: values, labels, references and memory; the contract is in `test_base`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.metric_tester import EXTRACTOR, LAYERS, RANGES, assert_same, images, make
from torch import Tensor, nn
from torchmetrics import MetricCollection

from vdna_metrics import VDNA, ClassConditionalDistance, NeuronFrechetDistance, VendiScore, build_dnas
from vdna_metrics.analysis import compare_groups
from vdna_metrics.build import labelled
from vdna_metrics.distributions.memory import LIMIT_VARIABLE
from vdna_metrics.functional import class_summary

NAMES = ["cat", "dog", "eel"]
REAL, GENERATED = images(18, 1), images(13, 2)
OF_REAL, OF_GENERATED = (
    torch.tensor(labels) for labels in ([0, 1, 2, 2, 1, 0] * 3, [2, 0, 0, 1, 1, 2, 2, 0, 0, 0, 1, 0, 2])
)


def _class_metric(kind: str = "emd", *, references: Any = None, **options: Any) -> ClassConditionalDistance:
    own = {name: options.pop(name) for name in ("reduction", "memory_limit") if name in options}
    return ClassConditionalDistance(make(kind, **options), 3, class_names=NAMES, references=references, **own)


def _fed(metric: ClassConditionalDistance) -> ClassConditionalDistance:
    if metric.references is None:
        metric.update(REAL, OF_REAL, real=True)
    for batch, labels in zip(GENERATED.split([5, 1, 7]), OF_GENERATED.split([5, 1, 7]), strict=True):
        metric.update(batch, labels)
    return metric


def _by_hand(kind: str, **options: Any) -> list[Tensor]:
    """The plain metric, of one class after the other."""
    values = []
    for label in range(3):
        metric = make(kind, **options)
        metric.update(REAL[label == OF_REAL], real=True)
        metric.update(GENERATED[label == OF_GENERATED])
        values.append(metric.compute())
    return values


@pytest.mark.parametrize("kind", ["emd", "auto", "lfd", "fid"])
def test_each_class_has_the_distance_of_its_images_alone(kind: str) -> None:
    """Values are those of the plain metric class by class; mean, worst and imbalance are `class_summary` of them."""
    expected = torch.stack(_by_hand(kind))
    by_class = _fed(_class_metric(kind, reduction="class")).compute()
    assert list(by_class) == NAMES
    assert_same(torch.stack(list(by_class.values())), expected.float(), rtol=1e-5, atol=1e-7)
    found = _fed(_class_metric(kind)).compute()
    counts = [torch.bincount(labels) for labels in (OF_GENERATED, OF_REAL)]
    summary = class_summary(expected, *counts)
    for name, value in vars(summary).items():
        assert_same(found[name].double(), value.double(), rtol=1e-5, atol=1e-7)


def test_weights_units_and_neurons_are_those_of_the_metric() -> None:
    """What is asked of the distance is asked of it in each class."""
    options: dict[str, Any] = {"unit": "range", "neurons": {"conv": [3, 1]}, "layers": ["conv"], "ranges": None}
    options |= {"weights": {"conv": [2.0, 0.5]}, "max_positions": 7}
    found = _fed(_class_metric(reduction="class", **options)).compute()
    assert_same(torch.stack(list(found.values())), torch.stack(_by_hand("emd", **options)))


def test_the_network_runs_once_a_batch(forwards: list[int]) -> None:
    """However many classes a batch holds, and beside the plain metric in a collection, which takes no labels."""
    collection = MetricCollection(
        {"all": make("emd"), "classes": _class_metric(), "each": _class_metric(reduction="class")}
    )
    collection.update(REAL, labels=OF_REAL, real=True)
    collection.update(GENERATED, labels=OF_GENERATED, real=False)
    assert forwards == [2]
    found = collection.compute()
    plain = make("emd")
    plain.update(REAL, real=True)
    plain.update(GENERATED)
    assert_same(found["all"], plain.compute())
    assert found["worst"] == max(found[name] for name in NAMES)
    assert sorted(map(len, collection.compute_groups.values())) == [1, 2]  # both of classes have one state


def test_classes_add_up_to_the_whole() -> None:
    """The DNA of all classes has the counts of one that knew no classes; those of each are of its images."""
    metric, plain = _fed(_class_metric()), make("emd")
    plain.update(GENERATED)
    assert torch.equal(metric.dna().distribution.state, plain.dna().distribution.state)
    assert {name: dna.n_images for name, dna in metric.dnas().items()} == {"cat": 6, "dog": 3, "eel": 4}


def _references(kind: str, **options: Any) -> dict[Any, VDNA]:
    classes = labelled([NAMES[label] for label in OF_REAL.tolist()])
    return build_dnas(REAL.numpy(), EXTRACTOR, [kind], partition=classes, **options)[kind]


@pytest.mark.parametrize("kind", ["emd", "lfd"])
def test_references_by_class_stand_for_real_images(kind: str) -> None:
    """DNAs that builders make of labels, by name, by label or in order, give what the images give."""
    made = {"emd": "histogram", "lfd": "layer_gaussian"}[kind]
    dnas = _references(made, **({"bins": 40, "ranges": RANGES} if kind == "emd" else {}))
    expected = _fed(_class_metric(kind)).compute()
    for given in (dnas, [dnas[name] for name in NAMES], {label: dnas[name] for label, name in enumerate(NAMES)}):
        found = _fed(_class_metric(kind, references=given))
        assert_same(found.compute(), expected, rtol=1e-5, atol=1e-7)
    report = compare_groups(found.dnas(), dnas, distance=kind)
    assert {group.n_reference for group in report.groups} == {6}
    assert report.worst.group == NAMES[int(expected["worst_class"])]
    assert report.mean == pytest.approx(float(expected["mean"]), rel=1e-5)


def test_classes_with_too_few_images_are_named() -> None:
    """On either side, with how many they have and how many it takes; the state is kept, and the next images help."""
    metric = _class_metric("nfd")
    metric.update(REAL, OF_REAL, real=True)
    metric.update(GENERATED[:4], [0, 0, 1, 0])
    message = "expected at least 2 generated images of each of 3 classes, got 1 of class 'dog', 0 of class 'eel'"
    for call in (metric.compute, lambda: metric(GENERATED[:4], [0, 0, 1, 0])):
        with pytest.raises(RuntimeError, match=message):
            call()
    metric.update(GENERATED[4:9], torch.tensor([1, 2, 2, 1, 1]))
    assert metric.dna().n_images == 9
    assert metric.compute()["mean"] > 0
    many = ClassConditionalDistance(make("nfd"), 100)
    many.update(REAL, np.arange(18) // 2, real=True)
    with pytest.raises(
        ValueError, match=r"real images of each of 100 classes, got 0 of class '9', .* and 86 classes more"
    ):
        many.compute()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 3], ValueError, "expected labels from 0 to 2, got 3"),
        ([0, 1, -1], ValueError, "expected labels from 0 to 2, got -1"),
        ([0, 1], ValueError, r"expected a label of each of 3 images, \[3\], got \[2\]"),
        (torch.zeros(3, 1, dtype=torch.int64), ValueError, r"\[3\], got \[3, 1\]"),
        (torch.ones(3), TypeError, "expected labels to be whole numbers, got float32"),
        (["cat", "dog", "eel"], TypeError, "expected labels to be whole numbers"),
    ],
)
def test_wrong_labels_change_nothing(labels: Any, error: type[Exception], message: str) -> None:
    """Labels of another number, type or range are refused before an image is counted."""
    metric = _fed(_class_metric())
    before = metric.generated_state.clone()
    with pytest.raises(error, match=message):
        metric.update(images(3, 5), labels)
    assert torch.equal(metric.generated_state, before)


class _Inverse(nn.Module):
    """Infinite where an image is black."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to the same."""
        return 1 / x


def test_a_batch_is_counted_whole_or_not_at_all() -> None:
    """Activations of one class that are not finite leave the other classes of the batch uncounted, too."""
    metric = ClassConditionalDistance(NeuronFrechetDistance(_Inverse()), 3)
    batch = torch.full((6, 3, 4, 4), 255, dtype=torch.uint8)
    batch[5] = 0
    with pytest.raises(ValueError, match="activations are not finite"):
        metric.update(batch, [0, 0, 1, 1, 2, 2])
    assert not metric.generated_state.any()
    metric.update(batch[:5], [0, 0, 1, 1, 2])
    assert metric.dna().n_images == 5


def test_memory_is_known_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """States of all classes and sides count against the limit, which an argument or the environment sets."""
    n_bytes = make("emd").generated_state.nbytes
    assert _class_metric(memory_limit=6 * n_bytes).generated_state.nbytes == 3 * n_bytes
    with pytest.raises(
        ValueError, match=r"ClassConditionalDistance: .* \(memory_limit\), got .*classes: 6 x .* fewer classes"
    ):
        _class_metric(memory_limit=6 * n_bytes - 1)
    with pytest.raises(ValueError, match="half of this machine's memory"):
        ClassConditionalDistance(make("emd"), 10**9)
    monkeypatch.setenv(LIMIT_VARIABLE, "10")
    with pytest.raises(ValueError, match=rf"\({LIMIT_VARIABLE}\).*raise the limit: memory_limit=bytes"):
        _class_metric()


def test_wrong_arguments_are_named() -> None:
    """Metrics that are none, or have images, a reference or another reduction, and classes without a reference."""
    dnas = _references("gaussian")
    seen = make("nfd")
    seen.update(REAL, real=True)
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (nn.Identity(), {}, TypeError, "expected metric to be DistanceMetric"),
        (make("kid"), {}, TypeError, "whose states do not grow, got KernelDistance"),
        (VendiScore(EXTRACTOR, layers=LAYERS), {}, TypeError, "of two sets, .* got VendiScore"),
        (seen, {}, ValueError, "that has seen no images, got .* 1 updates"),
        (make("nfd", reference=dnas["cat"]), {}, ValueError, "without reference, .*references="),
        (make("nfd", reduction="layer"), {}, ValueError, "reduction='mean'.*got .* reduction 'layer'"),
        (make("nfd"), {"num_classes": 0}, ValueError, "num_classes of at least 1"),
        (make("nfd"), {"class_names": ["a", "b"]}, ValueError, "Expected 3 class_names that differ, got 2: a, b"),
        (make("nfd"), {"reduction": "none"}, ValueError, "unknown reduction 'none'"),
        (make("nfd"), {"references": [dnas["cat"]]}, ValueError, "references of 3 classes, got 1"),
        (make("nfd"), {"references": {0: dnas["cat"], "2": dnas["eel"]}}, ValueError, r"class '1' .*known: 0, 2"),
        (make("lfd"), {"references": [dnas["cat"]] * 3}, ValueError, "class '0': the reference is a gaussian DNA"),
        (make("emd", bins=30), {"references": [_references("histogram", ranges=RANGES)["cat"]] * 3}, ValueError,
         "class '0': this reference does not fit the metric: bins differ: reference 1000, metric 30"),
    ]  # fmt: skip
    for metric, options, error, message in cases:
        with pytest.raises(error, match=message):
            ClassConditionalDistance(metric, **{"num_classes": 3, **options})
