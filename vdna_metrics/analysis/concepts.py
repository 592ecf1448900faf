"""How far concepts are from those that are known, in a graph of what is a kind of what, and levels of that."""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from vdna_metrics.files import errors_of, read_text
from vdna_metrics.layout import check_count, check_type, near_names


@dataclass(frozen=True, eq=False)
class ConceptGraph:
    """Which concept is a kind of which others, up to one root that all are kinds of.

    A concept's information content is ``−ln p``, where ``p`` is the share of all counts that it and what is below it
    have: of all concepts, or of instances where these were counted. The root has none.

    Args:
        parents: ``{concept: its parents}``; who is only a parent needs no entry.
        counts: ``{concept: instances of itself}``, those that are left out have none; by default each concept is one.

    Raises:
        ValueError: for a cycle, none or several roots, a count of an unknown concept or below 0, or a concept with
            no instance at or below it.

    Examples:
        >>> graph = ConceptGraph({"cat": ["animal"], "dog": ["animal"], "animal": ["thing"], "car": ["thing"]})
        >>> graph
        ConceptGraph(4 concepts below 'thing')
        >>> round(graph.similarity("cat", "dog"), 4), graph.similarity("cat", "car")
        (0.3174, 0.0)
    """

    parents: Mapping[str, Sequence[str]]
    counts: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        check_type("parents", self.parents, Mapping)
        if self.counts is not None:
            check_type("counts", self.counts, Mapping)
        if not self.parents:
            raise ValueError("expected a concept and its parent, got none")
        for concept, above in self.parents.items():
            check_type(f"the parents of {concept!r}", above, list, tuple)
        roots = sorted((concept for concept, above in self._above.items() if len(above) == 1), key=str)
        if len(roots) != 1:
            raise ValueError(f"expected one root, which all concepts are kinds of, got {reprlib.repr(roots)}")
        for concept, count in (self.counts or {}).items():
            self._check_known([concept])
            check_count(f"the count of {concept!r}", count, 0)
        if empty := sorted(self._above.keys() - (+self._totals).keys()):
            raise ValueError(f"expected an instance of each concept or of one below it, got none of {empty[0]!r}")

    def __len__(self) -> int:
        return len(self._above)

    def __contains__(self, concept: object) -> bool:
        return concept in self._above

    def __repr__(self) -> str:
        root = next(concept for concept, above in self._above.items() if len(above) == 1)
        return f"ConceptGraph({len(self) - 1} concepts below {root!r})"

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        """Each concept with all that it is a kind of, itself too."""
        try:
            order = tuple(TopologicalSorter(self.parents).static_order())
        except CycleError as error:
            raise ValueError(f"expected no concept below itself, got {' < '.join(error.args[1])}") from None
        above: dict[str, frozenset[str]] = {}
        for concept in order:
            above[concept] = frozenset([concept]).union(*(above[parent] for parent in self.parents.get(concept, ())))
        return above

    @cached_property
    def _totals(self) -> Counter[str]:
        totals: Counter[str] = Counter()
        for concept, above in self._above.items():
            own = 1 if self.counts is None else self.counts.get(concept, 0)
            for each in above:
                totals[each] += own
        return totals

    def is_a(self, concept: str, other: str) -> bool:
        """Whether a concept is a kind of another, or that one itself."""
        self._check_known([concept, other])
        return other in self._above[concept]

    def information(self, concept: str) -> float:
        """Information content of a concept, in nats; 0 of the root."""
        self._check_known([concept])
        return math.log(max(self._totals.values()) / self._totals[concept])

    def similarity(self, a: str, b: str) -> float:
        """Lin similarity of two concepts: ``2 IC(s) / (IC(a) + IC(b))``.

        ``s`` is what both are kinds of (a concept is one of itself), of several the one of the greatest information
        content.

        Returns:
            From 0, where they have nothing but the root in common, to 1, for one concept.

        Source:
            Lin, An information-theoretic definition of similarity, 1998; Sariyildiz, On the evaluation and
            generalization of visual representations, 2023, Eq. 3.1.
        """
        return self.similarities([a], [b])[a]

    def similarities(self, concepts: Iterable[str], seen: Iterable[str]) -> dict[str, float]:
        """Of each concept the greatest similarity to one of those that were seen: ``max_s sim(c, s)``.

        Of the seen concepts below what both are kinds of, the most similar is the one with the least information
        content. So one is kept for each, and what is asked takes as many steps as a concept has concepts above it.

        Args:
            concepts: of which it is asked.
            seen: at least one.

        Returns:
            ``{concept: similarity}`` in the order of the concepts.

        Raises:
            ValueError: for no seen concept, or one that is not in the graph.

        Source:
            Sariyildiz, On the evaluation and generalization of visual representations, 2023, Eq. 3.2.
        """
        concepts, seen = tuple(concepts), tuple(seen)
        self._check_known((*concepts, *seen))
        if not seen:
            raise ValueError("expected at least one concept that was seen, got none")
        least: dict[str, float] = {}
        for concept in seen:
            own = self.information(concept)
            for above in self._above[concept]:
                least[above] = min(own, least.get(above, math.inf))
        found = {}
        for concept in concepts:
            own = self.information(concept)
            shared = [above for above in self._above[concept] if above in least]
            # 0 / 0 only where both are the root, which is like itself.
            sums = [(2 * self.information(above), own + least[above]) for above in shared]
            found[concept] = max(twice / both if both > 0 else 1.0 for twice, both in sums)
        return found

    def _check_known(self, concepts: Iterable[str]) -> None:
        for concept in concepts:
            if concept not in self._above:
                raise ValueError(
                    f"no concept {concept!r} among {len(self)}; {near_names(str(concept), list(self._above))}"
                )


def concept_levels(
    graph: ConceptGraph, seen: Iterable[str], unseen: Iterable[str], *, levels: int = 5, size: int | None = None
) -> dict[str, tuple[str, ...]]:
    """Concepts in levels of decreasing similarity to those that were seen, as ImageNet-CoG has them.

    Unseen concepts are ranked by `ConceptGraph.similarities`, the most similar first and equally similar ones in the
    order in which they are given, and the list is cut into consecutive levels. With a size each has so many, from the
    two ends of the list and at even gaps between; without one, all concepts are used and sizes differ by at most one.

    Args:
        graph: of the concepts.
        seen: what a network was trained on.
        unseen: what it was not.
        levels: how many.
        size: concepts in each.

    Returns:
        ``{"L1": the nearest, "L2": ...}``, the ``groups`` of `grouped_labels`, which makes DNAs of all levels in one
        pass.

    Raises:
        ValueError: for a concept that is not in the graph, listed twice or both seen and unseen, or fewer concepts than
            levels ask for.

    Source:
        Sariyildiz, On the evaluation and generalization of visual representations, 2023, section 3.3.3: five levels of
        1000 out of 5146 concepts, WordNet as the graph, probabilities from the number of concepts below each.

    Examples:
        >>> graph = ConceptGraph({"cat": ["animal"], "dog": ["animal"], "animal": ["thing"], "car": ["thing"]})
        >>> concept_levels(graph, ["cat"], ["car", "dog"], levels=2)
        {'L1': ('dog',), 'L2': ('car',)}
    """
    check_type("graph", graph, ConceptGraph)
    check_count("levels", levels)
    seen, unseen = frozenset(seen), tuple(unseen)
    if twice := [concept for concept, number in Counter(unseen).items() if number > 1]:
        raise ValueError(f"expected unseen concepts that are listed once, got {twice[0]!r} again")
    if both := [concept for concept in unseen if concept in seen]:
        raise ValueError(f"expected concepts that are seen or unseen, got {both[0]!r} as both")
    if size is not None:
        check_count("size", size)
    if len(unseen) < levels * (size or 1):
        needed = f"{levels * (size or 1)} unseen concepts for {levels=}{'' if size is None else f', {size=}'}"
        raise ValueError(f"expected at least {needed}, got {len(unseen)}")
    similar = graph.similarities(unseen, seen)
    ranked = sorted(unseen, key=lambda concept: -similar[concept])
    if size is None:
        ends = [(k * len(ranked) // levels, (k + 1) * len(ranked) // levels) for k in range(levels)]
    else:
        starts = [k * (len(ranked) - size) // max(levels - 1, 1) for k in range(levels)]
        ends = [(start, start + size) for start in starts]
    return {f"L{k + 1}": tuple(ranked[start:end]) for k, (start, end) in enumerate(ends)}


def read_concepts(path: str | Path, counts: Mapping[str, int] | None = None) -> ConceptGraph:
    r"""Read a graph of concepts: a line for each ``child parent``, with white space between.

    A concept of several parents has several lines. Empty lines and what follows a ``#`` are passed over.

    Args:
        path: UTF-8.
        counts: as of `ConceptGraph`.

    Raises:
        OSError: when it cannot be read.
        ValueError: for another line, which is named, or as `ConceptGraph`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "animals.txt")
        ...     _ = path.write_text("cat animal\ndog animal  # so are wolves\n", encoding="utf-8")
        ...     read_concepts(path)
        ConceptGraph(2 concepts below 'animal')
    """
    parents: dict[str, list[str]] = {}
    with errors_of(str(path)), errors_of(f"{path} is no graph of concepts", (UnicodeDecodeError,)):
        for number, line in enumerate(read_text(path, "images"), 1):
            words = line.partition("#")[0].split()
            if words and len(words) != 2:
                raise ValueError(f"line {number}: expected 'CHILD PARENT', got {reprlib.repr(line.strip())}")
            if words:
                parents.setdefault(words[0], []).append(words[1])
        return ConceptGraph(parents, counts)
