"""What the experiments share: options, networks, passes that go on where they stopped, the page they write."""

from __future__ import annotations

import argparse
import atexit
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _images import draw, quick_source, starting_with
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from vdna_metrics import VDNA, ActivationRanges, ExtractorSpec, calibrate, create_extractor
from vdna_metrics.build import Reading
from vdna_metrics.build.dnas import empty_distribution
from vdna_metrics.build.passes import ActivationBatch, run_pass
from vdna_metrics.distributions import Distribution, Kind
from vdna_metrics.dna import Provenance
from vdna_metrics.extractors import FeatureExtractor, get_spec
from vdna_metrics.extractors.modes import Crop
from vdna_metrics.files import replacing
from vdna_metrics.functional.moments import image_means
from vdna_metrics.images import ImageSource, open_images, select_images
from vdna_metrics.ranges import GivenRanges, load_ranges
from vdna_metrics.references import find_ranges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOCS = ROOT / "docs"
BLOCK = 200  # images between two files of a pass: what a killed process loses at most
BATCH = 16
CROP: Crop = "center"  # the paper's A.2: photographs are cropped to squares, then resized


# ------------------------------------------------------------------------------------------------------------- networks
@dataclass(frozen=True, eq=False)
class Network:
    """An extractor with the ranges of its histograms.

    Args:
        name: as on the page.
        extractor: the network.
        ranges: of histograms.
        identity: hash of both.
    """

    name: str
    extractor: FeatureExtractor
    ranges: GivenRanges
    identity: str


def mobilenetv2(weights: Path) -> ExtractorSpec:
    """A MobileNetV2 that was trained on ImageNet."""
    return ExtractorSpec(
        name="mobilenetv2",
        architecture="mobilenetv2_100",
        architecture_kwargs={"pad_type": "same"},
        weights=str(weights),
        layers=["blocks.0", "blocks.2", "blocks.4", "conv_head"],
        mean=0.5,
        std=0.5,
    )


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network saw of some images.

    Args:
        network: the network.
        source: the images' name.
        means: activations averaged over positions, ``[images, neurons]`` float64.
        states: of each subset's histograms, a block's each, in the smallest type that holds them.
    """

    network: Network
    source: str
    means: Tensor
    states: Mapping[str, Sequence[NDArray[np.unsignedinteger[Any]]]]

    def histogram(self, *subsets: str, less: Sequence[str] = ()) -> VDNA:
        """The histogram DNA of some subsets together, which have no image in common, less that of some within them."""
        empty = empty_distribution("histogram", self._layout, self.network.extractor, ranges=self.network.ranges)
        state = torch.zeros_like(empty.state)
        for subset in subsets:
            for part in self.states[subset]:
                state += torch.from_numpy(part.astype(np.int64))
        for subset in less:
            for part in self.states[subset]:
                state -= torch.from_numpy(part.astype(np.int64))
        return self._dna(empty.with_state(state))

    def gaussian(self, kind: Kind, rows: Sequence[int] | NDArray[Any] | None = None) -> VDNA:
        """The ``"gaussian"`` or ``"layer_gaussian"`` DNA of all images, or of those in some rows or of a mask."""
        chosen = self.means if rows is None else self.means[torch.as_tensor(np.asarray(rows))]
        distribution = empty_distribution(kind, self._layout, self.network.extractor)
        distribution.fill_({layer: x[..., None] for layer, x in self._layout.split(chosen.T.contiguous()).items()})
        return self._dna(distribution)

    @property
    def _layout(self) -> Any:
        return self.network.extractor.layout

    def _dna(self, distribution: Distribution) -> VDNA:
        extractor = self.network.extractor
        return VDNA(distribution, extractor.fingerprint, Provenance(extractor.name, (self.source,)))


# ----------------------------------------------------------------------------------------------------------- experiment
class Progress:
    """A line on the error stream: rewritten in a terminal, else every half minute."""

    def __init__(self, what: str, total: int, unit: str = "images") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._start, self._last = time.monotonic(), -np.inf
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, made_now: int | None = None) -> None:
        """Say how much is done, and of that how much in this run."""
        now = time.monotonic()
        last = done >= self._total
        if not last and now - self._last < (0.2 if self._terminal else 30):
            return
        self._last = now
        made = done if made_now is None else made_now
        rate = f", {made / max(now - self._start, 1e-9):.1f} a second" if made else ", found"
        line = f"{self._what}: {done} of {self._total} {self._unit}{rate}"
        end = "\n" if last or not self._terminal else ""
        print(f"\r\x1b[K{line}" if self._terminal else line, end=end, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Experiment:
    """One experiment's options, and where its results go.

    Args:
        name: of the script, and of its part of the page.
        quick: seconds, procedural images and the network that ships, nothing but a summary is printed.
        shared: folder with ``data`` and ``weights``.
        work: folder of what was done.
        extractor: a registry name instead of the page's networks, ``None`` for these.
        weights: that extractor's weights.
        device: where networks run.
        made: passes and files that this run made rather than found.
    """

    name: str
    quick: bool
    shared: Path
    work: Path
    extractor: str | None = None
    weights: Path | None = None
    device: str = "cpu"
    made: list[str] = field(default_factory=list)

    @property
    def for_the_page(self) -> bool:
        """Whether this run writes the page: with its networks and data."""
        return not self.quick and self.extractor is None

    @property
    def command(self) -> str:
        """How to run it."""
        return f"python benchmarks/experiments/{self.name}.py"

    # ---------------------------------------------------------------------------------------------------------- images
    def open(self, archive: str, *folders: str) -> ImageSource:
        """Images of an archive of the shared data, or of some of its folders, as ``open("bsds500.zip", "test/")``."""
        if self.quick:
            source = quick_source(archive)
        else:
            name, _, folder = archive.partition(":")
            path = self._file("data", name)
            source = open_images(f"{path}:{folder}" if folder else path)
        return starting_with(source, *folders) if folders else source

    def open_mnist(self) -> ImageSource:
        """The 10 000 digits of MNIST's test set."""
        if self.quick:
            return quick_source("mnist")
        data = gzip.decompress(self._file("data", "mnist_t10k-images-idx3-ubyte.gz").read_bytes())
        digits = np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)
        return replace(open_images(digits), name="mnist_t10k")

    def _file(self, *parts: str) -> Path:
        path = self.shared.joinpath(*parts)
        if not path.is_file():
            raise SystemExit(
                f"no shared data at {path}: set VDNA_METRICS_SHARED or --shared to the folder that has data/ and "
                "weights/, or run with --quick"
            )
        return path

    # -------------------------------------------------------------------------------------------------------- networks
    @cached_property
    def networks(self) -> dict[str, Network]:
        """The networks by name, calibrated where no ranges ship."""
        if self.quick:
            # Without its last layer of 1280 neurons, whose Fréchet distances take most of the time; without the crop,
            # since procedural images are square, as the ranges that ship.
            spec = get_spec("vdna_tiny")
            small = replace(spec, layers={layer: path for layer, path in spec.layers.items() if layer != "conv_head"})
            return {"vdna_tiny": self._network("vdna_tiny", create_extractor(small))}
        if self.extractor is not None:
            extractor = create_extractor(self.extractor, weights_path=self.weights, crop=CROP)
            return {self.extractor: self._network(self.extractor, extractor)}
        weights = self._file("weights", "mobilenetv2_100.tf_in1k.safetensors")
        return {
            "mobilenetv2": self._network("mobilenetv2", create_extractor(mobilenetv2(weights), crop=CROP)),
            "seeded_resnet18": self._network("seeded_resnet18", create_extractor("seeded_resnet18", crop=CROP)),
        }

    def _network(self, name: str, extractor: FeatureExtractor) -> Network:
        try:
            ranges = find_ranges(extractor)
            ranges.check_fingerprint(extractor.fingerprint)  # those that ship are of whole images
        except ValueError:
            ranges = self._calibrated(name, extractor)
        ends = ranges.low.numpy().tobytes() + ranges.high.numpy().tobytes()
        identity = hashlib.sha256(extractor.fingerprint.digest.encode() + ends).hexdigest()[:12]
        return Network(name, extractor, ranges, identity)

    def _calibrated(self, name: str, extractor: FeatureExtractor) -> ActivationRanges:
        """Ranges over photographs, small photographs and digits, as those that ship."""
        sets = {
            "bsds500": lambda: self.open("bsds500.zip"),
            "imagenet_sample_1000": lambda: self.open("imagenet_sample_1000.zip"),
            "cifar10_jpeg_test": lambda: draw(self.open("cifar10_jpeg_test.zip"), 1000),
            "mnist_t10k": lambda: draw(self.open_mnist(), 500),
        }
        ranges = None
        for place, (of, opened) in enumerate(sets.items()):
            path = self.work / "ranges" / f"{name}-{extractor.fingerprint.digest[:12]}-{of}.npz"
            if not path.exists():
                source = opened()
                progress = Progress(f"{name}, ranges, {place + 1} of {len(sets)}, {of}", len(source))
                path.parent.mkdir(parents=True, exist_ok=True)
                reading = Reading(BATCH, device=self.device, progress=lambda done, _, progress=progress: progress(done))
                calibrate(source, extractor, name=of, reading=reading).save(path)
            part = load_ranges(path)
            ranges = part if ranges is None else ranges + part
        assert ranges is not None
        return ranges

    # ---------------------------------------------------------------------------------------------------------- passes
    def keep(self, what: str, settings: Any, make: Callable[[], Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Arrays that are made once and then found in a file, which is written whole or not at all.

        Args:
            what: for people, the start of the file's name.
            settings: plain containers, all that decides what is made.
            make: makes it.
        """
        identity = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        path = self.work / self.name / f"{what}-{identity}.npz"
        if not path.exists():
            arrays = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                np.savez_compressed(file, **arrays)
            self.made.append(path.name)
        with np.load(path, allow_pickle=False) as found:
            return dict(found)

    def look(
        self, network: Network, source: ImageSource, subsets: Mapping[str, NDArray[np.bool_]] | None = None
    ) -> Seen:
        """Run images through a network, each once, and keep what all three distances need.

        Every image's activations averaged over positions are kept, of which Gaussians of any images can be made, and
        the histograms of subsets. Blocks of images that an earlier run looked at are not looked at again.

        Args:
            network: through which.
            source: the images; its name and the images' names tell what they are.
            subsets: ``{name: mask of images}`` of which histograms are made; one subset ``"all"`` by default.
        """
        masks = {"all": np.ones(len(source), np.bool_)} if subsets is None else subsets
        progress = Progress(f"{network.name}, {source.name}", len(source))
        means, states, made = [], dict[str, list[NDArray[Any]]](), 0
        for start in range(0, len(source), BLOCK):
            places = range(start, min(start + BLOCK, len(source)))
            part = select_images(source, places)
            within = {
                name: mask[start : places.stop] for name, mask in masks.items() if mask[start : places.stop].any()
            }
            settings = [
                network.identity, source.name, part.names,
                {name: np.flatnonzero(mask).tolist() for name, mask in within.items()},
            ]  # fmt: skip
            before = len(self.made)
            found = self.keep(
                f"{network.name}-{_plain(source.name)}-{start:05}",
                settings,
                lambda part=part, within=within: _look(network, part, within, self.device),
            )
            means.append(torch.from_numpy(found.pop("means")))
            for key, state in found.items():
                states.setdefault(list(within)[int(key.removeprefix("state_"))], []).append(state)
            made += len(places) * (len(self.made) > before)
            progress(places.stop, made)
        return Seen(network, source.name, torch.cat(means), states)

    # --------------------------------------------------------------------------------------------------------- results
    def save_picture(self, figure: Figure, name: str) -> str:
        """Save a picture of the page in 256 colours, and say how the page shows it."""
        folder = DOCS / "images" if self.for_the_page else self.work
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"experiments_{name}.png"
        figure.savefig(path, dpi=110, facecolor="white")
        with PillowImage.open(path) as image:
            small = image.convert("RGB").quantize(256, dither=PillowImage.Dither.NONE)
        small.save(path, optimize=True)
        return f"images/{path.name}"

    def write_section(self, markdown: str, name: str | None = None, *, page: str = "experiments.md") -> None:
        """Put results into a page, or print them where they are not of the page's networks and data.

        Args:
            markdown: what is to stand between the page's marks ``begin`` and ``end``.
            name: of the marks; the experiment's by default.
            page: in ``docs``.
        """
        name = name or self.name
        if not self.for_the_page:
            print(f"{name}\n\n{markdown.strip()}\n")
            return
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        path = DOCS / page
        text = path.read_text(encoding="utf-8")
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{path} must have the marks {begin} and {end} once each")
        head, rest = text.split(begin)
        _, tail = rest.split(end)
        with replacing(path) as file:
            file.write(f"{head}{begin}\n\n{markdown.strip()}\n\n{end}{tail}".encode())
        print(f"{path}: {name}")


def begin(script: str, description: str | None) -> Experiment:
    """The experiment that the command line asks for.

    Args:
        script: ``__file__``.
        description: ``__doc__``.
    """
    beside = Path(os.environ.get("VDNA_METRICS_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(
        description=(description or "").partition("\n")[0],
        epilog="What is done is kept in the folder --work; a run that was killed goes on there.",
    )
    parser.add_argument("--quick", action="store_true", help="seconds, with procedural images and vdna_tiny, for CI")
    parser.add_argument("--extractor", help="a registry name instead of the page's networks; the results are printed")
    parser.add_argument("--weights", type=Path, help="file of that extractor's weights")
    parser.add_argument("--device", default="cpu", help="where the networks run")
    parser.add_argument("--shared", type=Path, default=beside, help="folder with weights/ and data/")
    parser.add_argument("--work", type=Path, help="folder of what was done, by default .work beside the scripts")
    options = parser.parse_args()
    if options.weights is not None and options.extractor is None:
        parser.error("--weights is for --extractor")
    work = options.work
    if work is None:
        work = Path(tempfile.mkdtemp(prefix="vdna_metrics_")) if options.quick else HERE / ".work"
        if options.quick:
            atexit.register(shutil.rmtree, work)
    return Experiment(
        Path(script).stem, options.quick, options.shared, work, options.extractor, options.weights, options.device
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A table whose first columns are words, the others numbers."""
    ruler = ["---"] * words + ["---:"] * (len(header) - words)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows])


def _look(
    network: Network, source: ImageSource, subsets: Mapping[str, NDArray[np.bool_]], device: str
) -> dict[str, NDArray[Any]]:
    extractor = network.extractor
    empty = empty_distribution("histogram", extractor.layout, extractor, ranges=network.ranges, device=device)
    distributions = {name: empty.with_state(torch.zeros_like(empty.state)) for name in subsets}
    means = []

    def see_(batch: ActivationBatch) -> None:
        means.append(torch.cat([image_means(x) for x in batch.activations.values()], dim=1).cpu())
        for name, distribution in distributions.items():
            chosen = torch.from_numpy(np.flatnonzero(subsets[name][list(batch.indices)])).to(device)
            if len(chosen):
                whole = len(chosen) == len(batch.indices)
                picked = {layer: x if whole else x.index_select(1, chosen) for layer, x in batch.activations.items()}
                distribution.fill_(picked)

    run_pass(source, extractor, extractor.layout, Reading(BATCH, device=device), {}, [], see_)
    arrays = {"means": torch.cat(means).numpy()}
    for place, distribution in enumerate(distributions.values()):
        distribution.check_finite()
        state = distribution.state.cpu().numpy()
        arrays[f"state_{place}"] = state.astype(np.min_scalar_type(int(state.max())))
    return arrays


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:60]
