"""Pooled activations of single images, of a sample that images alone decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.kinds import SAMPLE, Kind
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.functional.hashing import copy_keys, row_hashes
from vdna_metrics.functional.moments import image_means
from vdna_metrics.layout import NeuronLayout, check_count

if TYPE_CHECKING:
    from typing_extensions import Self

_SLACK = 2  # times as many images are held before the sample is drawn again
_GROWTH = 1.5  # of memory, where a state outgrows it
_MOST = 2**31


@dataclass(frozen=True, eq=False)
class _Entries:
    """Different images.

    Args:
        hashes: `[m]` int64.
        counts: how many images each is, `[m]` int64.
        rows: features of the first of them, `[r, neurons]` float32.
    """

    hashes: Tensor
    counts: Tensor
    rows: Tensor


@dataclass(frozen=True, eq=False)
class FeatureSample(Distribution):
    """Features of up to ``size`` images: activations of every neuron, positions averaged first.

    Every copy of every image has a key by a hash of its pixels and the number of its copies, see `copy_keys`; the
    smallest keys are the sample. So batches, order, ranks and machine do not matter: up to ``size`` images it is exact,
    and above a sample without replacement. Hashes and counts of all images are kept, 16 bytes for each different one,
    so that keys are those of all copies after a merge, and features of ``6 sqrt(size)`` more images than the sample
    has, since an image may be in that of a sum and just not in that of any part. (Were one farther off than that, which
    no trial has had, the next one would stand in for it.)

    Args:
        layout: the neurons.
        state: flat int64 ``[images | not finite a layer | different images m | images with features r | hashes and
            counts [2, m - r] of those without | hash, count and float32 features [neurons] of each other, in whole
            words]``. What is added comes at the end, in memory that is larger than the state.
        size: at most so many images.
    """

    kind: ClassVar[Kind] = "features"
    dtype: ClassVar[torch.dtype] = torch.int64
    min_images: ClassVar[int] = 2
    subtraction = "none"  # who fell out does not come back
    stored_as: ClassVar[str] = "feature_sample"  # features of caches had the other name first
    grows: ClassVar[bool] = True

    size: int = SAMPLE
    _lengths: tuple[int, int] | None = field(default=None, init=False, repr=False)
    _memory: Tensor | None = field(default=None, init=False, repr=False)  # of which the state is the first part

    @classmethod
    def empty(cls, layout: NeuronLayout, size: int = SAMPLE, *, device: torch.device | str = "cpu") -> FeatureSample:
        """One that has seen no image.

        Raises:
            TypeError: when ``size`` is not an int.
            ValueError: when it is below 2.
        """
        check_count("a sample of features", size, least=2)
        return cls(layout, cls._zeros(layout, 2, device), size)

    def __post_init__(self) -> None:
        if self.state.device.type == "cpu":  # elsewhere a look at the lengths would wait
            super().__post_init__()

    @property
    def lengths(self) -> tuple[int, int]:
        """Number of different images, and of those with features."""
        if self._lengths is None:
            start, known = 1 + len(self.layout), (0, 0)  # of a state that holds neither hashes nor features
            if len(self.state) > start + 2:
                many, rows = self.state[start : start + 2].tolist()
                known = int(many), int(rows)
            object.__setattr__(self, "_lengths", known)
        assert self._lengths is not None
        return self._lengths

    def body_size(self) -> int:
        """Lengths, hashes, counts and features."""
        many, rows = self.lengths
        return 2 + 2 * (many - rows) + rows * self._words

    def largest_nbytes(self, n_images: int | None = None) -> int:
        """Bytes of the largest state, but for hashes and counts of who fell out, with the memory that it grows into.

        Those take 16 bytes an image, and as much again while images wait for the next draw.
        """
        most = self._held * _SLACK
        return round(8 * self._words * min(most, most if n_images is None else n_images) * _GROWTH)

    @property
    def _held(self) -> int:
        """Copies whose images' features are kept."""
        return self.size + math.ceil(6 * math.sqrt(self.size))

    @property
    def _words(self) -> int:
        """Of an image with features."""
        return 2 + -(-self.layout.total // 2)

    def _entries(self) -> _Entries:
        many, rows = self.lengths
        _, others, records = self.body.split([2, 2 * (many - rows), rows * self._words])
        records, (hashes, counts) = records.view(rows, self._words), others.view(2, many - rows)
        return _Entries(
            torch.cat([records[:, 0], hashes]),
            torch.cat([records[:, 1], counts]),
            records.view(torch.float32)[:, 4 : 4 + self.layout.total],
        )

    def _with_entries(self, head: Tensor, entries: _Entries) -> Tensor:
        """The state of some entries."""
        rows = len(entries.rows)
        lengths = [head.new_full((1,), number) for number in (len(entries.hashes), rows)]
        others = [entries.hashes[rows:], entries.counts[rows:]]
        records = self._records(entries.hashes[:rows], entries.counts[:rows], entries.rows)
        return torch.cat([head, *lengths, *others, records.flatten()])

    def _records(self, hashes: Tensor, counts: Tensor, rows: Tensor) -> Tensor:
        """``[r, words]`` of images with features."""
        records = hashes.new_zeros(len(rows), self._words)
        records[:, 0], records[:, 1] = hashes, counts
        records.view(torch.float32)[:, 4 : 4 + self.layout.total] = rows
        return records

    def zero(self, device: torch.device | str | None = None) -> Tensor:
        """The state of no images, by default on the same device."""
        return self._zeros(self.layout, 2, device or self.state.device)

    def take_(self, state: Tensor) -> None:
        """Be of this state."""
        self._become_(state, None, None)

    def __getstate__(self) -> dict[str, Any]:
        """Without memory that the state is not yet in, and which a copy would no longer share with it."""
        return {**vars(self), "state": self.state.clone(), "_memory": None}

    def _become_(self, state: Tensor, lengths: tuple[int, int] | None, memory: Tensor | None) -> None:
        for name, value in (("state", state), ("_lengths", lengths), ("_memory", memory)):
            object.__setattr__(self, name, value)

    # ------------------------------------------------------------------------------------------------------- filling
    def _summarise(self, activations: Tensor) -> Tensor:
        return image_means(activations)

    def fill_(self, activations: Mapping[str, Tensor], hashes: Tensor | None = None) -> None:
        """Add a batch; see `Distribution.fill_`. The state is then another tensor, and one that was given as it was."""
        if self._memory is None:
            memory = self._with_room(0)
            self._become_(memory[: len(self.state)], self.lengths, memory)
        super().fill_(activations, hashes)

    def _add_(self, batch: Mapping[str, Tensor], summaries: Mapping[str, Tensor], hashes: Tensor | None) -> None:
        rows = torch.cat([summaries[layer] for layer in self.layout], dim=1).float()
        self._append_(row_hashes(rows) if hashes is None else hashes.to(rows.device), rows)

    def _absorb_(self, part: Self) -> None:
        entries = part._entries()
        if len(entries.rows) < len(entries.hashes):
            super()._absorb_(part)
            return
        self.state[: 1 + len(self.layout)] += part.state[: 1 + len(self.layout)]
        self._append_(entries.hashes, entries.rows)

    def _append_(self, new: Tensor, rows: Tensor) -> None:
        """Add hashes and features of images, which are not counted yet as different ones."""
        many, held = self.lengths
        # A draw sorts the hashes of all who fell out. So it waits until so many have come that their features take as
        # much memory as these: else its cost would grow with the square of the number of images.
        waiting = 2 * (many - held) // self._words
        if held and held + len(new) > _SLACK * self._held + waiting:
            head, entries = self.state[: 1 + len(self.layout)], self._sampled(self._entries())
            many, held = len(entries.hashes), len(entries.rows)
            self._become_(self._with_entries(head, entries), (many, held), None)
        records = self._records(new, torch.ones_like(new), rows).flatten()
        used = len(self.state)
        memory = self._with_room(len(records))
        memory[used : used + len(records)] = records
        memory[1 + len(self.layout) : 3 + len(self.layout)] += len(new)
        self._become_(memory[: used + len(records)], (many + len(new), held + len(new)), memory)

    def _with_room(self, words: int) -> Tensor:
        """Memory that begins with the state, with room for so many more words."""
        used, memory = len(self.state), self._memory
        if memory is None or len(memory) < used + words:
            memory = self.state.new_empty(used + max(words, round((_GROWTH - 1) * used)))
            memory[:used] = self.state
        return memory

    # ------------------------------------------------------------------------------------------------------ sampling
    def _sampled(self, entries: _Entries) -> _Entries:
        """Each image once, in the order of the hashes, with features of those that the sample is of."""
        hashes, counts, places, kept = self._chosen(entries.hashes, entries.counts, len(entries.rows))
        # Equal images have equal features, but for rounding in other batches: the smallest, in whatever order.
        rows = entries.rows.new_full((kept + 1, self.layout.total), torch.inf)  # the last one of who falls out
        rows.scatter_reduce_(0, places[:, None].expand_as(entries.rows), entries.rows, "amin")
        return _Entries(hashes, counts, rows[:kept])

    def _chosen(self, hashes: Tensor, counts: Tensor, held: int) -> tuple[Tensor, Tensor, Tensor, int]:
        """Each image once, those of the sample first, and how many these are; of the first held ones the new places.

        Who falls out has the place behind the sample.
        """
        found, place = hashes.unique(return_inverse=True)
        total = torch.zeros_like(found).index_add_(0, place, counts)
        candidates = place[:held].unique()
        chosen = candidates[_drawn(found[candidates], total[candidates], self._held).unique()]
        position = torch.full_like(found, len(chosen))
        position[chosen] = torch.arange(len(chosen), device=found.device)
        order = torch.cat([chosen, (position == len(chosen)).nonzero()[:, 0]])
        return found[order], total[order], position[place[:held]], len(chosen)

    def copied(self) -> Self:
        """The same images, with a state of its own: the sample drawn and in order, whatever the order they came in."""
        return self.with_state(self._with_entries(self.state[: 1 + len(self.layout)], self._sampled(self._entries())))

    def features(self) -> dict[str, Tensor]:
        """Of each layer the sample's features, ``{layer: [images, neurons]}`` float32, in an order as if shuffled."""
        entries = self._sampled(self._entries())
        held = slice(len(entries.rows))
        rows = entries.rows[_drawn(entries.hashes[held], entries.counts[held], self.size)]
        return {layer: rows[:, part] for layer, part in self.layout.slices().items()}

    def arrays(self) -> dict[str, Tensor]:
        """Hashes and counts of different images, ``[m]``, and features of the first of them, ``[r, neurons]``."""
        entries = self._entries()
        return {"image_hashes": entries.hashes, "image_counts": entries.counts, "features": entries.rows}

    def with_arrays(self, n_images: int, hashes: Tensor, counts: Tensor, rows: Tensor) -> Self:
        """What has these `arrays`, of so many images."""
        head = torch.tensor([n_images] + [0] * len(self.layout))
        return self.with_state(self._with_entries(head, _Entries(hashes, counts, rows)))

    @property
    def n_sampled(self) -> int:
        """Number of images in the sample."""
        return min(self.n_images, self.size)

    # ------------------------------------------------------------------------------------------------------- merging
    def with_state(self, state: Tensor) -> Self:
        """The same settings around another state."""
        return replace(self, state=state)

    def __add__(self, other: Distribution) -> Distribution:
        """The distribution over both sets of images; of the smaller sample."""
        least = replace(self, size=min(self.size, getattr(other, "size", self.size)))
        return Distribution.__add__(least, other)

    def merged(self, states: Iterable[Tensor]) -> Tensor:
        """The state of several sets of images from their states, at least two."""
        sets = [self.with_state(state) for state in states]
        head = torch.stack([each.state[: 1 + len(self.layout)] for each in sets]).sum(0)
        return self._with_entries(head, self._sampled(_joined([each._entries() for each in sets])))

    def sum_over_ranks(self, states: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
        """States over the images of all ranks; these exchange hashes and counts, then features of the sample alone."""
        return [self._of_all_ranks(self.with_state(state).copied(), ranks) for state in states]

    def _of_all_ranks(self, own: Self, ranks: Ranks) -> Tensor:
        head, mine = ranks.all_reduce(own.state[: 1 + len(self.layout)].clone()), own._entries()
        held = len(mine.rows)
        has = torch.arange(len(mine.hashes), device=head.device) < held
        table = ranks.all_gather_rows(torch.stack([mine.hashes, mine.counts, has.long()], dim=1))
        table = table[table[:, 2].argsort(descending=True, stable=True)]
        hashes, counts, _, kept = self._chosen(table[:, 0], table[:, 1], int(table[:, 2].sum()))
        places = torch.searchsorted(hashes[:kept].contiguous(), mine.hashes[:held])
        known = torch.cat([hashes[:kept], hashes.new_zeros(1)])[places] == mine.hashes[:held]
        rows = mine.rows.new_full((kept, self.layout.total), torch.inf)
        rows[places[known]] = mine.rows[known]
        rows = ranks.all_reduce(rows, torch.distributed.ReduceOp.MIN)
        return self._with_entries(head, _Entries(hashes, counts, rows))

    def select(self, selection: NeuronLayout) -> Self:
        """Keep the neurons of a selection of the layout."""
        entries = self._entries()
        found = replace(self, layout=selection, state=self._zeros(selection, 2, self.state.device))
        rows = entries.rows[:, self.layout.rows_of(selection).to(self.state.device)]
        found.take_(found._with_entries(self._selected_head(selection), replace(entries, rows=rows)))
        return found

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Nothing: samples of two sizes are both samples."""
        return []

    def check_possible(self) -> None:
        """Different images that add up to all, of which those of the sample have finite features, in order."""
        many, rows = self.lengths
        entries = self._entries()
        total = sum(entries.counts.tolist())
        if total != self.n_images or total > _MOST or (many and int(entries.counts.min()) < 1):
            raise ValueError(f"counts: expected from 1, {self.n_images} in all, got {total} in all of {many} images")
        if not entries.rows.isfinite().all():
            raise ValueError("features: expected finite numbers")
        if not torch.equal(self.copied().state, self.state):
            raise ValueError(
                f"hashes and features: expected different images, those of the sample of {self.size} first, both parts "
                f"in the order of their hashes, got others, {many} with {rows} rows of features"
            )


def _drawn(hashes: Tensor, counts: Tensor, number: int) -> Tensor:
    """Places of the images with the smallest keys, as often as they are drawn, in the order of the keys."""
    place, keys = copy_keys(hashes, counts)
    return place[keys.argsort(stable=True)[:number]]


def _joined(parts: Sequence[_Entries]) -> _Entries:
    """Those with features first."""
    held = [(part, slice(len(part.rows))) for part in parts] + [(part, slice(len(part.rows), None)) for part in parts]
    return _Entries(
        torch.cat([part.hashes[some] for part, some in held]),
        torch.cat([part.counts[some] for part, some in held]),
        torch.cat([part.rows for part in parts]),
    )
