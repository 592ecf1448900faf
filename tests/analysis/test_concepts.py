"""Lin similarity in small graphs, by hand, and the levels that come of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import small_images
from helpers.dnas import tiny_extractor
from hypothesis import given, strategies as st

from vdna_metrics import build_dnas, calibrate
from vdna_metrics.analysis import ConceptGraph, concept_levels, read_concepts
from vdna_metrics.build import grouped_labels

# Eight concepts: below thing animal and tool, below animal cat, dog and bird, below tool saw and axe.
PARENTS = {
    "animal": ["thing"],
    "tool": ["thing"],
    "cat": ["animal"],
    "dog": ["animal"],
    "bird": ["animal"],
    "saw": ["tool"],
    "axe": ["tool"],
}
GRAPH = ConceptGraph(PARENTS)


def test_information_is_of_the_share_of_concepts_at_and_below() -> None:
    """Of 8 concepts 1 is at a leaf, 3 are at or below tool, 4 at or below animal, all at or below the root."""
    assert GRAPH.information("cat") == pytest.approx(math.log(8))
    assert GRAPH.information("tool") == pytest.approx(math.log(8 / 3))
    assert GRAPH.information("animal") == pytest.approx(math.log(2))
    assert GRAPH.information("thing") == 0


def test_similarities_by_hand() -> None:
    """Two animals share ln 2 of ln 8 each, a third; two tools ln(8/3); animal and tool nothing but the root."""
    assert GRAPH.similarity("cat", "dog") == pytest.approx(1 / 3)
    assert GRAPH.similarity("saw", "axe") == pytest.approx(math.log(8 / 3) / math.log(8))
    assert GRAPH.similarity("cat", "animal") == pytest.approx(2 * math.log(2) / (math.log(8) + math.log(2)))  # 1/2
    assert GRAPH.similarity("cat", "saw") == 0
    assert GRAPH.similarity("thing", "thing") == GRAPH.similarity("cat", "cat") == 1


def test_counts_of_instances_take_the_place_of_concepts() -> None:
    """With 6 cats, 1 dog, 1 bird, 4 saws, 4 axes of 16, animals are half: a cat and a dog share ln 2."""
    counts = {"cat": 6, "dog": 1, "bird": 1, "saw": 4, "axe": 4}
    graph = ConceptGraph(PARENTS, counts)
    expected = 2 * math.log(2) / (math.log(16 / 6) + math.log(16))
    assert graph.similarity("cat", "dog") == pytest.approx(expected)


def test_of_several_common_kinds_the_most_informative_counts() -> None:
    """A concept with two parents counts once below what both are kinds of, and shares the narrower one."""
    graph = ConceptGraph({"pet": ["animal"], "cat": ["animal", "pet"], "dog": ["pet"], "cow": ["animal"]})
    assert graph.information("animal") == 0  # 5 of 5
    assert graph.similarity("cat", "dog") == pytest.approx(math.log(5 / 3) / math.log(5))
    assert graph.similarity("cat", "cow") == 0


@st.composite
def _graphs(draw: st.DrawFn) -> ConceptGraph:
    """Concepts each below one or two earlier ones."""
    n = draw(st.integers(2, 12))
    above = {i: draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=2, unique=True)) for i in range(1, n)}
    return ConceptGraph({str(i): [str(parent) for parent in parents] for i, parents in above.items()})


def _oracle(graph: ConceptGraph, a: str, b: str) -> float:
    """From the parents alone: all that is above either, and of what is above both the most informative."""

    def above(concept: str) -> set[str]:
        return {concept}.union(*(above(parent) for parent in graph.parents.get(concept, ())))

    names = [str(i) for i in range(len(graph))]
    information = {c: -math.log(sum(c in above(each) for each in names) / len(names)) for c in names}
    both = information[a] + information[b]
    return 2 * max(information[c] for c in above(a) & above(b)) / both if both else 1.0


@given(_graphs(), st.data())
def test_similarity_is_lins_and_symmetric(graph: ConceptGraph, data: st.DataObject) -> None:
    """It is what the definition gives, from 0 to 1, 1 of a concept and itself, and the same the other way round."""
    names = st.sampled_from([str(i) for i in range(len(graph))])
    a, b = data.draw(names), data.draw(names)
    found = graph.similarity(a, b)
    assert found == pytest.approx(_oracle(graph, a, b), abs=1e-12)
    assert found == graph.similarity(b, a)
    assert 0 <= found <= 1 + 1e-12
    assert graph.similarity(a, a) == pytest.approx(1)


@given(_graphs(), st.data())
def test_a_set_is_as_similar_as_its_most_similar_concept(graph: ConceptGraph, data: st.DataObject) -> None:
    """`similarities` is the maximum over the seen concepts."""
    names = [str(i) for i in range(len(graph))]
    seen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    found = graph.similarities(names, seen)
    assert found == pytest.approx({c: max(graph.similarity(c, each) for each in seen) for c in names})


def test_levels_are_of_decreasing_similarity_and_keep_the_order_of_ties() -> None:
    """From cat: animals at a third in the order given, then tools at 0."""
    levels = concept_levels(GRAPH, ["cat"], ["axe", "bird", "saw", "dog"], levels=2)
    assert levels == {"L1": ("bird", "dog"), "L2": ("axe", "saw")}


def test_levels_of_a_size_reach_both_ends_with_even_gaps() -> None:
    """Of 5146 ranked concepts five levels of 1000 begin 1036 or 1037 apart and end with the last; as ImageNet-CoG's."""
    parents = {f"{i}": ["root"] for i in range(5146)} | {"seen": ["root"]}
    graph = ConceptGraph(parents)
    levels = concept_levels(graph, ["seen"], [f"{i}" for i in range(5146)], size=1000)
    assert [level[0] for level in levels.values()] == ["0", "1036", "2073", "3109", "4146"]
    assert [len(level) for level in levels.values()] == [1000] * 5
    assert levels["L5"][-1] == "5145"
    assert [len(level) for level in concept_levels(graph, ["seen"], [f"{i}" for i in range(13)]).values()] == [
        2, 3, 2, 3, 3
    ]  # fmt: skip


def test_levels_are_parts_of_one_pass() -> None:
    """The DNAs of levels are those of their classes' images; images of other classes are in none."""
    images, extractor = small_images(6, 0), tiny_extractor()
    classes = ["cat", "dog", "axe", "bird", "saw", "dog"]
    levels = concept_levels(GRAPH, ["cat"], ["dog", "bird", "axe"], levels=3)
    assert levels == {"L1": ("dog",), "L2": ("bird",), "L3": ("axe",)}
    partition = grouped_labels(classes, {"seen": ["cat"], **levels})
    assert partition.of_image[:, 0].tolist() == [0, 1, 3, 2, -1, 1]
    ranges = calibrate(images, extractor)
    made = build_dnas(images, extractor, ranges=ranges, partition=partition)["histogram"]
    alone = build_dnas(images[[1, 5]], extractor, ranges=ranges)["histogram"]
    assert made["L1"].n_images == 2
    assert np.array_equal(made["L1"].distribution.counts, alone.distribution.counts)


def test_a_file_has_a_line_a_parent(tmp_path: Path) -> None:
    """Comments and empty lines are passed over, a concept may have several lines."""
    path = tmp_path / "graph.txt"
    path.write_text("# ours\ncat animal\n\ncat\tpet # too\npet animal\r\n", encoding="utf-8")
    graph = read_concepts(path)
    assert graph.parents == {"cat": ["animal", "pet"], "pet": ["animal"]}
    assert ("cat" in graph, "dog" in graph, len(graph)) == (True, False, 3)
    path.write_text("cat animal\ncat and dog\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"graph\.txt: line 2: expected 'CHILD PARENT', got"):
        read_concepts(path)


@pytest.mark.parametrize(
    ("parents", "counts", "says"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, None, "no concept below itself, got"),
        ({"a": ["x"], "b": ["y"]}, None, r"one root, which all concepts are kinds of, got \['x', 'y'\]"),
        ({}, None, "a concept and its parent, got none"),
        ({"a": ["x"]}, {"z": 1}, "no concept 'z' among 2"),
        ({"a": ["x"]}, {"a": -1}, "the count of 'a' of at least 0"),
        ({"a": ["x"], "b": ["x"]}, {"a": 1}, "got none of 'b'"),
    ],
)
def test_what_is_no_graph_is_refused(parents: dict[str, list[str]], counts: dict[str, int] | None, says: str) -> None:
    """Cycles, several roots and counts that leave a concept empty are named."""
    with pytest.raises(ValueError, match=says):
        ConceptGraph(parents, counts)


def test_what_is_no_mapping_is_refused_by_its_type() -> None:
    """Counts without names, and levels of what is no graph."""
    with pytest.raises(TypeError, match="expected counts to be Mapping, got the list"):
        ConceptGraph({"a": ["b"]}, [1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected graph to be ConceptGraph"):
        concept_levels(None, ["cat"], ["dog"])  # type: ignore[arg-type]


def test_seen_concepts_may_come_once() -> None:
    """An iterator of them is read once."""
    assert concept_levels(GRAPH, iter(["cat"]), iter(["dog"]), levels=1) == {"L1": ("dog",)}


def test_levels_that_cannot_be_are_refused() -> None:
    """Too few concepts, unknown, repeated and contradictory ones are named."""
    with pytest.raises(ValueError, match="at least 3 unseen concepts for levels=3, got 2"):
        concept_levels(GRAPH, ["cat"], ["dog", "saw"], levels=3)
    with pytest.raises(ValueError, match="at least 4 unseen concepts for levels=2, size=2, got 3"):
        concept_levels(GRAPH, ["cat"], ["dog", "saw", "axe"], levels=2, size=2)
    with pytest.raises(ValueError, match="seen or unseen, got 'cat' as both"):
        concept_levels(GRAPH, ["cat"], ["dog", "cat"], levels=1)
    with pytest.raises(ValueError, match="listed once, got 'dog' again"):
        concept_levels(GRAPH, ["cat"], ["dog", "dog"], levels=1)
    with pytest.raises(ValueError, match="no concept 'dgo' among 8; did you mean 'dog'"):
        concept_levels(GRAPH, ["cat"], ["dgo"], levels=1)
    with pytest.raises(ValueError, match="at least one concept that was seen"):
        concept_levels(GRAPH, [], ["dog"], levels=1)
