"""The tree of concepts and the draws of the experiment on representations."""

from __future__ import annotations

import importlib
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from vdna_metrics.analysis import read_concepts

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "experiments"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, as it is run."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("representations")


def test_the_tree_has_all_classes_of_both_sets(script: ModuleType) -> None:
    """ImageNet's 1000 ids and CIFAR's ten names are below one root; a cat is more like a dog than like a frog."""
    graph = read_concepts(SCRIPTS / "concepts.txt")
    assert sum(concept[0] == "n" and concept[1:].isdigit() for concept in graph.parents) == 1000
    assert all(concept in graph for concept in script.CIFAR)
    assert graph.similarity("cat", "dog") > graph.similarity("cat", "frog") > graph.similarity("cat", "truck")


def test_levels_take_each_class_once(script: ModuleType) -> None:
    """Seen classes are those of CIFAR's concepts, and the five levels have all others, the less alike the later."""
    graph = read_concepts(SCRIPTS / "concepts.txt")
    concepts = [concept for concept in graph.parents if concept[1:].isdigit()]
    levels = script.find_levels(graph, concepts)
    assert sorted(concept for level in levels.values() for concept in level) == sorted(concepts)
    assert "n02123045" in levels["seen"]  # tabby
    similar = graph.similarities(concepts, levels["seen"])
    bounds = [(max(similar[c] for c in levels[level]), min(similar[c] for c in levels[level])) for level in levels]
    assert all(before[1] >= after[0] for before, after in pairwise(bounds[1:]))


def test_as_many_images_of_each_class_are_drawn(script: ModuleType) -> None:
    """Places of n images a class, none twice, the same each time."""
    labels = ["a"] * 5 + ["b"] * 7
    places = script.of_each(labels, 3)
    assert [labels[place] for place in places] == ["a"] * 3 + ["b"] * 3
    assert len(set(places)) == 6
    assert places == script.of_each(labels, 3)
