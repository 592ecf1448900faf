"""One pass over images: each goes through the network once, and what is kept of it can go on after an interrupt."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.build.reading import DEFAULT_READING, ImagesLike, Reading, open_any
from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.parts import some_images
from vdna_metrics.distributions.ranks import Ranks, heard
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.files import check_folder, is_ours, read_header, read_npz, write_npz
from vdna_metrics.fingerprint import ExtractorFingerprint, refuse_differences
from vdna_metrics.functional.hashing import image_hashes
from vdna_metrics.images.batches import (
    FACTS,
    BadImage,
    ImageDataset,
    Measure,
    bad_image,
    facts_of_batch,
    iterate_images,
)
from vdna_metrics.images.sources import ImageSource, content_digest, manifest_hash, select_images
from vdna_metrics.layout import NeuronLayout, check_type
from vdna_metrics.ranges import ActivationRanges, RangesSource, Widening, observe_extremes_
from vdna_metrics.schema import ArrayField, Count

_DIGITS = 16
_EVERY = 60.0  # seconds
_NAME = rf"[0-9a-f]{{{_DIGITS}}}-\d+-of-\d+\.npz"
_KIND = "checkpoint"
_FACT = "fact_"  # begins the name of an array of each of `FACTS`
_COST = 0.05  # of the time, at most

_WORTH_KEEPING = 10.0  # seconds of work
_SMALL = 1 << 22  # bytes of states that cost nothing to keep

States: TypeAlias = Mapping[str, Tensor | Distribution]
T = TypeVar("T")


class Checkpoint:
    """One file for one pass: its name holds the hash of what the pass does, so another pass never takes it.

    Args:
        folder: where the file lies; made when it is written.
        settings: all that decides the result, as plain containers.
        shard: ``(i, n)``, which part of the images.

    Raises:
        ValueError: when the pass was interrupted with another number of parts, or nothing can be written there.
    """

    def __init__(self, folder: Path, settings: Any, shard: tuple[int, int]) -> None:
        check_folder(folder)
        identity = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:_DIGITS]
        self.path = folder / f"{identity}-{shard[0] + 1}-of-{shard[1]}.npz"
        others = [path for path in folder.glob(f"{identity}-*.npz") if not path.stem.endswith(f"-of-{shard[1]}")]
        if others:
            raise ValueError(
                f"{others[0]} was left by {others[0].stem.rpartition('-')[2]} processes, now there are {shard[1]}: "
                f"go on with as many, or delete {folder} to begin again"
            )
        self._saved = time.monotonic()
        self._took = 0.0

    @staticmethod
    def files(folder: Path) -> list[Path]:
        """Those of all passes in a folder; other files of the same shape of name are not taken for ours."""
        named = (path for path in folder.glob("*.npz") if re.fullmatch(_NAME, path.name))
        return [path for path in named if path.is_file() and is_ours(path) and read_header(path)["kind"] == _KIND]

    def restore(self, states: Mapping[str, ArrayField]) -> tuple[CheckpointValues, dict[str, NDArray[Any]]] | None:
        """Values and arrays as they were saved, ``None`` when there are none.

        Args:
            states: what states there have to be.

        Raises:
            ValueError: when the file is damaged, or of other states.
        """
        try:
            file, arrays = read_npz(self.path, {_KIND: CheckpointFile}, arrays=states)
        except FileNotFoundError:
            return None
        return file.values, arrays

    def is_due(self, every: float = _EVERY) -> bool:
        """Whether it is time to save: after so many seconds, more where saving is slow."""
        return time.monotonic() - self._saved > max(every, self._took / _COST)

    def save(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Write values, plain containers, and arrays, whole or not at all.

        Another process may do the same pass, be done first and remove the folder meanwhile: then nothing is kept.
        """
        begin = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_npz(self.path, _KIND, {"values": dict(values)}, arrays, compress=False)
        except (OSError, ValueError) as error:
            if not isinstance(error, FileNotFoundError) and self.path.parent.is_dir():
                raise
        self._saved = time.monotonic()
        self._took = self._saved - begin


@dataclass(frozen=True)
class CheckpointValues:
    """How far a pass came, through which network: images and batches that were seen, and what was left out."""

    count: Count
    skipped: tuple[tuple[str, str], ...]
    next_batch: Count
    fingerprint: ExtractorFingerprint | None = None  # of the network; early ones do not tell


@dataclass(frozen=True)
class CheckpointFile:
    """What a checkpoint holds beside its states."""

    values: CheckpointValues

    def arrays(self) -> dict[str, ArrayField]:
        """Of each image that was seen its place, digest and facts."""
        facts = {f"{_FACT}{name}": ArrayField((None,), FACTS[name].kind) for name in FACTS.names or ()}
        return {"indices": ArrayField((None,), "i8"), "digests": ArrayField((None,), "S"), **facts}


@dataclass(frozen=True, eq=False)
class ActivationBatch:
    """What the neurons saw of some images.

    Args:
        activations: ``{layer: [neurons, N, positions]}``, on the network's device.
        indices: places of the N images in their source; empty where they have none.
        images: ``[N, 3, H, W]`` float32 in [0, 255], at the network's size, on its device, where they have places.
        hashes: gives what tells the N images apart, ``[N]`` int64, see `image_hashes`; ``None`` where they are no
            images.
        measured: what was measured of the N images at their own sizes, where they are decoded; a row each.
        sizes: height and width of the N images as they are stored, where they have places.
    """

    activations: dict[str, Tensor]
    indices: tuple[int, ...] = ()
    images: Tensor | None = None
    hashes: Callable[[], Tensor | None] = lambda: None
    measured: Tensor | None = None
    sizes: tuple[tuple[int, int], ...] = ()

    def among(self, layout: NeuronLayout | None, places: Mapping[int, int]) -> ActivationBatch:
        """Of some images and neurons.

        Args:
            layout: the neurons, ``None`` for none.
            places: ``{index here: index of the image there}``.
        """
        rows = [row for row, index in enumerate(self.indices) if index in places]
        activations = {layer: self.activations[layer] for layer in layout or ()}
        images = self.images
        if len(rows) < len(self.indices):
            chosen = torch.tensor(rows, dtype=torch.int64)
            activations = some_images(activations, chosen)
            images = None if images is None else images[chosen.to(images.device)]
        indices = tuple(places[self.indices[row]] for row in rows)
        picked = {} if layout is None else layout.pick(activations)
        sizes = tuple(self.sizes[row] for row in rows) if self.sizes else ()
        return ActivationBatch(picked, indices, images, measured=self.measured, sizes=sizes)


@dataclass
class Seen:
    """What a pass over images leaves beside its states."""

    name: str = "tensors"
    count: int = 0
    indices: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    facts: list[NDArray[Any]] = field(default_factory=list)  # of `FACTS`, a batch each
    skipped: list[tuple[str, str]] = field(default_factory=list)
    next_batch: int = 0
    names: tuple[str, ...] = ()  # of all images of the source
    unread: tuple[tuple[str, int], ...] = ()  # what else lies there

    def save(self, checkpoint: Checkpoint, states: States, fingerprint: ExtractorFingerprint) -> None:
        """Write this, the states, and which network filled them."""
        arrays = {name: _tensor(state).cpu().numpy() for name, state in states.items()}
        arrays |= {"indices": np.array(self.indices, np.int64), "digests": np.array(self.digests, "S64")}
        facts = self.all_facts
        arrays |= {f"{_FACT}{name}": np.ascontiguousarray(facts[name]) for name in FACTS.names or ()}
        values = {"count": self.count, "skipped": self.skipped, "next_batch": self.next_batch}
        checkpoint.save({**values, "fingerprint": fingerprint.to_json()}, arrays)

    def restore_(self, checkpoint: Checkpoint, states: States, fingerprint: ExtractorFingerprint) -> None:
        """Read what `save` wrote, where there is something; ``ValueError`` when another network filled the states."""
        expected = {
            name: ArrayField(
                (None,) if isinstance(state, Distribution) and state.grows else tuple(_tensor(state).shape),
                _tensor(state).cpu().numpy().dtype.str[1:],
                finite=False,
            )
            for name, state in states.items()
        }
        if (restored := checkpoint.restore(expected)) is None:
            return
        values, arrays = restored
        if values.fingerprint is not None:  # a forward that was edited since leaves no trace in the file's name
            found = values.fingerprint.differences(fingerprint)
            advice = f"; delete {checkpoint.path} to begin again"
            refuse_differences(f"{checkpoint.path} was left by another network", found, ("then", "now"), advice)
        for name, state in states.items():
            kept = torch.from_numpy(arrays[name])
            if isinstance(state, Distribution):
                state.take_(state.with_state(kept).state.to(state.state.device))
            else:
                state.copy_(kept)
        self.indices, self.digests = arrays["indices"].tolist(), arrays["digests"].astype(str).tolist()
        columns = [arrays[f"{_FACT}{name}"] for name in FACTS.names or ()]
        self.facts = [np.rec.fromarrays(columns, FACTS)]
        self.count, self.next_batch, self.skipped = values.count, values.next_batch, list(values.skipped)

    def sum_over_ranks_(self, states: States, device: torch.device | str) -> None:
        """Make this and the states those of all ranks, in the order of the source's names."""
        ranks = Ranks(device)
        for name, state in states.items():
            if isinstance(state, Distribution):
                state.take_(state.sum_over_ranks([state.state], ranks)[0])
            else:
                operation = {"low": dist.ReduceOp.MIN, "high": dist.ReduceOp.MAX}.get(name, dist.ReduceOp.SUM)
                state.copy_(ranks.all_reduce(state, operation))
        parts: list[Any] = [None] * dist.get_world_size()
        with heard():
            dist.all_gather_object(parts, (self.count, self.indices, self.digests, self.skipped, self.all_facts))
        self.count = sum(part[0] for part in parts)
        seen = [item for part in parts for item in zip(part[1], part[2], strict=True)]
        order = sorted(range(len(seen)), key=lambda place: seen[place][0])  # as one process would have met them
        self.indices, self.digests = ([seen[place][which] for place in order] for which in range(2))
        self.facts = [part[4] for part in parts]
        if self.indices:
            self.facts = [self.all_facts[order]]
        place_of = {name: place for place, name in enumerate(self.names)}
        self.skipped = sorted((item for part in parts for item in part[3]), key=lambda item: place_of[item[0]])

    @property
    def all_facts(self) -> NDArray[Any]:
        """``[images seen]`` of `FACTS`."""
        return np.concatenate(self.facts) if self.facts else np.empty(0, FACTS)

    @property
    def seen_names(self) -> tuple[str, ...]:
        """Names of the images that were seen."""
        return tuple(self.names[index] for index in self.indices)

    @property
    def manifest(self) -> str | None:
        """Hash of the images that were seen, where they have names."""
        return manifest_hash(self.seen_names, self.digests) if self.digests else None

    def among(self, images: ImageSource) -> Seen:
        """The same of some of the images, as if they alone had been read."""
        place_of = {name: place for place, name in enumerate(images.names)}
        rows = [row for row, name in enumerate(self.seen_names) if name in place_of]
        return Seen(
            images.name,
            len(rows),
            [place_of[self.names[self.indices[row]]] for row in rows],
            [self.digests[row] for row in rows],
            [self.all_facts[rows]],
            [item for item in self.skipped if item[0] in place_of],
            names=images.names,
            unread=self.unread,
        )

    def rows(self, state: Tensor) -> Tensor:
        """Of a state with a row for each image of the source those that were seen, in the source's order."""
        return state if len(self.indices) == len(state) else state[torch.tensor(self.indices, dtype=torch.int64)]


Fill = Callable[[ActivationBatch], None]


@dataclass(frozen=True, eq=False)
class ImageWork(Generic[T]):
    """What is made of single images in a pass, by itself or beside other things.

    Args:
        images: which images; `ActivationBatch.indices` are places among them.
        layout: layers and neurons that ``fill_`` gets, ``None`` for none.
        states: as in `run_pass`, and so are the others.
        settings: likewise.
        fill_: likewise.
        done: makes it of what is known of the images that were seen; ``None`` when a pass that went on after an
            interrupt has not kept all that is needed.
        measure: of an image at its own size, where it is decoded, what `ActivationBatch.measured` has a row of; of one
            of the works of a pass.
    """

    images: ImageSource
    layout: NeuronLayout | None
    states: States
    settings: Sequence[Any]
    fill_: Fill
    done: Callable[[Seen], T | None]
    measure: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class _SomeMeasured:
    """A `Measure` of some images, picklable."""

    places: frozenset[int]
    measure: Callable[[Tensor], Tensor]

    def __call__(self, index: int, image: Tensor) -> Tensor | None:
        return self.measure(image) if index in self.places else None


def run_works(
    images: ImageSource,
    extractor: FeatureExtractor,
    works: Mapping[str, ImageWork[Any]],
    reading: Reading,
    *,
    first: tuple[NeuronLayout | None, States, Sequence[Any], Fill] | None = None,
) -> tuple[Seen, dict[str, Any]]:
    """Do several things in one pass: each image is decoded once and goes through the network once.

    Args:
        images: all images of the pass, of which those of the works are some, by their names.
        extractor: frozen network.
        works: by names of their own.
        reading: how images are read.
        first: what is filled of all images: ``layout``, ``states``, ``settings`` and ``fill_`` of `run_pass`; other
            layers come along.

    Returns:
        What the pass leaves, and what each work made.

    Raises:
        ValueError: as `run_pass`.
    """
    layout, states, settings, fill_first_ = first or (None, {}, [], None)
    place_of = {name: place for place, name in enumerate(images.names)}
    places = {
        name: {place_of[image]: index for index, image in enumerate(work.images.names)} for name, work in works.items()
    }
    needed = {*(layout or ()), *(layer for work in works.values() for layer in work.layout or ())}
    layers = [layer for layer in extractor.layout if layer in needed]
    measures = [_SomeMeasured(frozenset(places[name]), work.measure) for name, work in works.items() if work.measure]
    if len(measures) > 1:
        raise ValueError(f"expected one work that measures images where they are decoded, got {len(measures)}")

    def fill_(batch: ActivationBatch) -> None:
        if fill_first_ is not None:
            fill_first_(batch)
        for name, work in works.items():
            some = batch.among(work.layout, places[name])
            if some.indices:
                work.fill_(some)

    seen = run_pass(
        images,
        extractor,
        extractor.layout.select(layers) if layers else None,
        reading,
        {**states, **{f"{name} {key}": each for name, work in works.items() for key, each in work.states.items()}},
        [*settings, *([name, *work.settings, list(work.images.names)] for name, work in works.items())],
        fill_,
        measure=next(iter(measures), None),
    )
    return seen, {name: work.done(seen.among(work.images)) for name, work in works.items()}


def run_work(work: ImageWork[T], extractor: FeatureExtractor, reading: Reading) -> T:
    """Do one thing in a pass of its own.

    Args:
        work: with the images.
        extractor: frozen network.
        reading: how images are read.

    Raises:
        ValueError: as `run_pass`.
    """
    seen = run_pass(work.images, extractor, work.layout, reading, work.states, work.settings, work.fill_)
    found = work.done(seen)
    assert found is not None
    return found


def run_beside(
    images: ImageSource, extractor: FeatureExtractor, works: Mapping[str, ImageWork[Any]], reading: Reading
) -> dict[str, Any]:
    """Works of a set whose other images need not be seen, in one pass over theirs."""
    wanted = {name for work in works.values() for name in work.images.names}
    some = select_images(images, [place for place, name in enumerate(images.names) if name in wanted])
    if reading.progress is not None:
        reading.progress(0, len(some))
    return run_works(some, extractor, works, reading)[1]


def _tensor(state: Tensor | Distribution) -> Tensor:
    return state.state if isinstance(state, Distribution) else state


def run_pass(
    images: ImagesLike,
    extractor: FeatureExtractor,
    layout: NeuronLayout | None,
    reading: Reading,
    states: States,
    settings: Sequence[Any],
    fill_: Fill,
    *,
    measure: Measure | None = None,
) -> Seen:
    """Run each image through a network once.

    Args:
        images: as in `build_dnas`.
        extractor: frozen network.
        layout: layers and neurons that ``fill_`` gets; with ``None`` the network is not run.
        reading: how images are read.
        states: what ``fill_`` fills, by name; kept by checkpoints and summed over ranks (``"low"`` and ``"high"`` are
            extremes). What is kept of each image is a tensor of zeros with a row for each image of the source.
        settings: all else that decides the states, as plain containers.
        fill_: puts a batch into ``states``.
        measure: of images at their own sizes, where they are decoded.

    Raises:
        ValueError: for unreadable images (unless skipped), no images, or a way of reading that is not possible.
    """
    seen, reading = Seen(), reading.on_this_rank()
    source = open_any(images)
    lease = extractor.lease(list(layout or ()))  # held as long as images come
    if isinstance(source, ImageSource):
        check_seen(source, extractor)
        seen.name, seen.names, seen.unread = source.name, source.names, source.unread
        _see_source_(seen, source, extractor, layout, reading, states, settings, fill_, measure)
    else:
        if (reading.shard != (0, 1) and not reading.all_ranks) or reading.checkpoint is not None:
            raise ValueError("shard and checkpoint need images that can be read by number, not an iterable of batches")
        for item in source:
            batch = _images_of(item, extractor)
            on_device = batch.to(reading.device)
            seen_of_it = extractor(on_device) if extractor.features is None else extractor.from_resized(on_device)
            activations = {} if layout is None else layout.pick(seen_of_it)
            facts = facts_of_batch(batch)  # while the device is busy
            fill_(ActivationBatch(activations, hashes=partial(_hashes_of, facts, batch)))
            seen.facts.append(facts)
            seen.count += next(iter(activations.values())).shape[1]
            if reading.progress is not None:
                reading.progress(seen.count, None)
    del lease
    if reading.all_ranks:
        seen.sum_over_ranks_(states, reading.device)
    if not seen.count and (reading.all_ranks or reading.shard == (0, 1)):
        raise ValueError(f"{seen.name}: no images")
    return seen


def _see_source_(
    seen: Seen,
    source: ImageSource,
    extractor: FeatureExtractor,
    layout: NeuronLayout | None,
    reading: Reading,
    states: States,
    settings: Sequence[Any],
    fill_: Fill,
    measure: Measure | None,
) -> None:
    checkpoint = None
    if reading.checkpoint is not None:
        decisive = [identity(source), FACTS.descr, sorted(states), list(settings), reading.batch_size, reading.skip_bad]
        checkpoint = Checkpoint(reading.checkpoint, decisive, reading.shard)
        seen.restore_(checkpoint, states, extractor.fingerprint)
    total = reading.images_of_part(len(source))
    for batch in iterate_images(
        source,
        transform=ResizeImage(extractor.preprocess),
        measure=measure,
        batch_size=reading.batch_size,
        workers=reading.workers,
        skip_bad=reading.skip_bad,
        shard=reading.shard,
        first_batch=seen.next_batch,
    ):
        if batch.indices:
            resized = batch.images.to(reading.device, non_blocking=True)
            activations = {} if layout is None else layout.pick(extractor.from_resized(resized))
            hashes = partial(_hashes_of, batch.facts)
            sizes = tuple(zip(batch.facts["height"].tolist(), batch.facts["width"].tolist(), strict=True))
            fill_(ActivationBatch(activations, batch.indices, resized, hashes, batch.measured, sizes))
        seen.count += len(batch.indices)
        seen.indices += batch.indices
        seen.digests += batch.digests
        seen.facts.append(batch.facts)
        seen.skipped += [(bad.name, bad.reason) for bad in batch.skipped]
        seen.next_batch = batch.end
        if reading.progress is not None:
            reading.progress(seen.count, total - len(seen.skipped))
        stopping = reading.stop is not None and reading.stop()
        if checkpoint is not None and (stopping or checkpoint.is_due()):
            seen.save(checkpoint, states, extractor.fingerprint)
        if stopping:
            raise KeyboardInterrupt
    if checkpoint is not None:  # another pass, over other images or for other states, may be interrupted
        small = sum(_tensor(state).nbytes for state in states.values()) <= _SMALL
        if checkpoint.is_due(every=0 if small else _WORTH_KEEPING):
            seen.save(checkpoint, states, extractor.fingerprint)


def _hashes_of(facts: NDArray[Any], images: Tensor | None = None) -> Tensor | None:
    """Of images by their facts; of those on another device, at whose pixels facts do not look, by themselves."""
    if images is not None and images.ndim == 4 and images.dtype == torch.uint8 and images.device.type != "cpu":
        return image_hashes(images)
    pixels = np.array(facts["pixels"])
    return torch.from_numpy(pixels.view(np.int64)) if pixels.all() else None


def identity(source: ImageSource) -> list[Any]:
    """Tells sets of images apart without reading all: name, images' names, and digests of a few."""
    return [source.name, source.names, [content_digest(source, i) for i in (0, len(source) // 2, len(source) - 1)]]


def check_pictures(source: ImageSource) -> None:
    """Raise ``ValueError`` for features, which have no pictures and no mirror images."""
    if source.features:
        raise ValueError(f"{source.name}: expected images, of which there are pictures, got features")


def read_resized(source: ImageSource, indices: Sequence[int], extractor: FeatureExtractor) -> dict[int, Tensor]:
    """Some images at the network's size.

    Args:
        source: the images.
        indices: of those to read.
        extractor: whose size they are resized to.

    Returns:
        ``{index: [3, H, W]}`` float32 in [0, 255].

    Raises:
        ValueError: for an image that cannot be read, and for features.
    """
    if indices:
        check_pictures(source)
    dataset = ImageDataset(source, ResizeImage(extractor.preprocess))
    found = {}
    for index in sorted(set(indices)):
        resized = dataset[index].image
        if isinstance(resized, str):
            raise ValueError(bad_image(source, BadImage(source.names[index], resized)))
        found[index] = resized
    return found


def as_pictures(resized: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Images as the network saw them, ``{index: uint8 [3, H, W]}``, of those of `read_resized`."""
    return {index: image.clamp(0, 255).round().byte() for index, image in resized.items()}


def read_pictures(source: ImageSource, indices: Sequence[int], extractor: FeatureExtractor) -> dict[int, Tensor]:
    """Some images as the network saw them, ``{index: uint8 [3, H, W]}``; see `read_resized`."""
    return as_pictures(read_resized(source, indices, extractor))


def check_seen(source: ImageSource, extractor: FeatureExtractor) -> None:
    """Raise ``ValueError`` unless a source has what an extractor takes: images, or features of its layers."""
    found, taken = dict(source.features), extractor.features
    if found and taken is None:
        raise ValueError(
            f"{source.name} holds features, which {extractor.name!r} cannot look at: give "
            f"extractor=PrecomputedFeatures({found})"
        )
    if taken is not None and found != taken.layers:
        holds = f"features {found}" if found else "images"
        raise ValueError(f"{source.name}: expected features {dict(taken.layers)}, got {holds}")


def _images_of(item: object, extractor: FeatureExtractor) -> Tensor:
    images = item[0] if isinstance(item, tuple | list) and item else item
    if extractor.features is not None:
        return extractor.features(images)  # type: ignore[arg-type]
    if not isinstance(images, Tensor):
        raise TypeError(f"batches must be tensors, or tuples that start with one, got {type(item).__name__}")
    return images


def calibrate(
    images: ImagesLike,
    extractor: ExtractorLike,
    *,
    widen: Widening = "margin",
    layers: Sequence[str] | None = None,
    name: str | None = None,
    reading: Reading = DEFAULT_READING,
) -> ActivationRanges:
    """Find each neuron's smallest and largest activation over a set of images.

    Args:
        images: as in `build_dnas`.
        extractor: frozen network, or its name.
        widen: widening rule, see `ActivationRanges`.
        layers: layers to look at, by default all.
        name: of the image set, by default the source's.
        reading: how images are read.

    Raises:
        ValueError: for unreadable images (unless skipped), no images, or activations that are not finite.
    """
    check_type("reading", reading, Reading)
    network = create_extractor(extractor)
    layout = network.layout.select(layers)
    fingerprint = network.fingerprint.select(list(layout))
    low = torch.full((layout.total,), torch.inf, device=reading.device)
    high = torch.full_like(low, -torch.inf)

    def widen_(batch: ActivationBatch) -> None:
        observe_extremes_(low, high, layout, batch.activations)

    settings = [fingerprint.digest, layout.to_json()]
    seen = run_pass(images, network, layout, reading, {"low": low, "high": high}, settings, widen_)
    if not seen.count:
        i, n = reading.shard
        raise ValueError(f"{seen.name}: no images in part {i + 1} of {n}, use fewer parts")
    return ActivationRanges(
        layout=layout,
        observed_low=low,
        observed_high=high,
        widen=widen,
        n_images=seen.count,
        fingerprint=fingerprint,
        sets=(RangesSource(name or seen.name, seen.count, seen.manifest, tuple(seen.skipped)),),
    )
