"""All that is claimed of a GPU, in one run: that results are the CPU's, that nothing waits, and what it costs.

It needs torch, torchmetrics and timm, and takes `vdna` as a peer where it is installed; weights are drawn from a seed,
so nothing is downloaded. One section after the other is run; what fails in one is printed and leaves the others alone.

- `counts`, `moments`: states filled on the device beside those of the CPU: counts the same, moments to 1e-12, by
  Triton's kernels and by torch's operations.
- `waiting`: after the first, `update` runs with torch's debug mode that raises where the host waits.
- `processes`: metrics compute over NCCL, as one process, what they compute alone.
- `kernels`: one layer counted by ours (`kernel`, `auto`: in ranges that are found), by torch's operations as they are
  used where Triton is not (`torch`), by one `index_add_`, by one `bincount`, by a `histc` a neuron and by vdna; beside
  them `read`, the minimum and maximum of `aminmax` over all activations, which reads each once.
- `fid`: update and compute beside torchmetrics' on one Inception; both values agree to 1e-4.
- `graphs`: a CUDA graph of `fill_`, and one of the network and `fill_`, replayed.
- `growth`: memory held by torch's allocator over many updates.
- `overhead`: a network alone, and `update` of a metric, or of three, which runs it too.

Repeats are interleaved and timed by CUDA events, gaps between kernels included; medians with minimum and maximum. The
exit status is 1 when a result was not the CPU's, or could not be had. `--device cpu --quick` runs what can be run
without a GPU, at sizes that say nothing.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import platform
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import timm
import torch
import torchmetrics
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance as TorchmetricsFID

from vdna_metrics import (
    ActivationRange,
    ActivationRanges,
    FrechetInceptionDistance,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    VDNAEarthMoversDistance,
    create_extractor,
)
from vdna_metrics.distributions import GaussianDistribution, LayerGaussianDistribution, empty_histogram
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.functional import accumulate_histogram_, extremes, grids, histogram
from vdna_metrics.functional.on_cuda import kernels_for
from vdna_metrics.layout import NeuronLayout

CHECKS = ("counts", "moments", "waiting", "graphs", "processes", "fid")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        section: to which it belongs.
        what: was looked at.
        held: whether a check held; none where nothing was checked.
        numbers: what was found, with units in their names.
        said: what else there is to say.
    """

    section: str
    what: str
    held: bool | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    said: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "NOT SO", None: ""}[self.held]
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return f"{self.section:10} {self.what:42} {mark:7}{numbers}  {self.said}".rstrip()


@dataclass(frozen=True)
class Setting:
    """Where and how large.

    Args:
        device: everything is computed there.
        quick: whether sizes are tiny.
        repeats: of everything that is timed.
        ends: when to start nothing more that is only timed, by `time.monotonic`.
    """

    device: torch.device
    quick: bool
    repeats: int
    ends: float

    @property
    def on_gpu(self) -> bool:
        """Whether there is something to wait for."""
        return self.device.type == "cuda"

    def images(self, n: int, side: int, seed: int = 0) -> Tensor:
        """Drawn images, uint8."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator).to(self.device)

    def timed(
        self, runs: dict[str, Callable[[], object]], *, repeats: int | None = None, warm: int = 2
    ) -> dict[str, dict[str, float]]:
        """Milliseconds of each, interleaved: median, minimum and maximum; fewer repeats when time is over."""
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(warm):  # compiles, allocates and reads weights
            for run in runs.values():
                run()
        for repeat in range(self.repeats if repeats is None else repeats):
            if repeat > 2 and time.monotonic() > self.ends:
                break
            for name, run in runs.items():
                taken[name].append(self._milliseconds(run))
        return {name: {"ms": median(each), "min": min(each), "max": max(each)} for name, each in taken.items()}

    def _milliseconds(self, run: Callable[[], object]) -> float:
        if not self.on_gpu:
            start = time.perf_counter()
            run()
            return 1e3 * (time.perf_counter() - start)
        torch.cuda.synchronize()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    @contextmanager
    def never_waiting(self) -> Iterator[None]:
        """On a GPU, raise where the host would wait."""
        if self.on_gpu:
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            if self.on_gpu:
                torch.cuda.set_sync_debug_mode("default")

    def vit(self, **options: Any) -> FeatureExtractor:
        """ViT-B/16 of drawn weights, all blocks and the last norm."""
        torch.manual_seed(0)
        name, size = ("vit_tiny_patch16_224", 32) if self.quick else ("vit_base_patch16_224", 224)
        network = timm.create_model(name, img_size=size, num_classes=0)
        layers = [*(f"blocks.{i}" for i in range(12)), "norm"]
        return create_extractor(network, layers=layers, size=size, mean=0.5, std=0.5, **options)

    def resnet(self, **options: Any) -> FeatureExtractor:
        """ResNet-50 of drawn weights, all blocks."""
        torch.manual_seed(0)
        name, blocks, size = ("resnet18", (2, 2, 2, 2), 32) if self.quick else ("resnet50", (3, 4, 6, 3), 224)
        network = timm.create_model(name, num_classes=0)
        layers = [f"layer{stage}.{block}" for stage, count in enumerate(blocks, 1) for block in range(count)]
        return create_extractor(network, layers=layers, size=size, mean=0.5, std=0.25, **options)

    @property
    def side(self) -> int:
        """Pixels of images that need no resizing."""
        return 32 if self.quick else 224


@contextmanager
def without_kernels() -> Iterator[None]:
    """Inside, torch's operations count."""
    with (
        mock.patch.object(histogram, "kernels_for", return_value=None),
        mock.patch.object(grids, "kernels_for", return_value=None),
    ):
        yield


def ranges_of(extractor: FeatureExtractor, images: Tensor) -> ActivationRanges:
    """Of what a network says to some images."""
    calibration = ActivationRange(extractor).to(images.device)
    calibration.update(images)
    return calibration.ranges()


def tokens(images: int, positions: int, neurons: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Activations of a transformer's layer, `[neurons, images, positions]`."""
    drawn = torch.randn(images, positions, neurons) * (0.1 + torch.rand(neurons) * 3)
    return drawn.to(dtype).permute(2, 0, 1)


def rectified(images: int, neurons: int, side: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Activations of a map, half of them zero, `[neurons, images, positions]`."""
    drawn = torch.randn(images, neurons, side, side) * (0.1 + torch.rand(neurons, 1, 1) * 3)
    return drawn.relu_().to(dtype).flatten(2).transpose(0, 1)


def _batches(setting: Setting) -> list[dict[str, Tensor]]:
    """Of several types, orders in memory and numbers of images, that reach farther each time."""
    torch.manual_seed(0)
    neurons = 12 if setting.quick else 300
    return [
        {
            "tokens": tokens(images, 21, neurons) * reach,
            "bfloat16": tokens(images, 21, neurons, torch.bfloat16) * reach,
            "without class token": tokens(images, 22, neurons)[:, :, 1:] * reach,
            "map": rectified(images, neurons, 28) * reach,
            "float16, 49 positions": rectified(images, neurons, 7, torch.float16) * reach,
            "channels last": rectified(images, neurons, 9).permute(1, 2, 0).contiguous().permute(2, 0, 1) * reach,
            "pooled": torch.randn(images, neurons).T[:, :, None] * reach,
            "dead": torch.zeros(3, images, 5),
        }
        for images, reach in ((33, 1.0), (64, 2.5), (1, 0.5))
    ]


def counts(setting: Setting) -> Iterator[Row]:
    """States of histograms beside those of the CPU."""
    batches = _batches(setting)
    layout = NeuronLayout({layer: len(x) for layer, x in batches[0].items()})
    ends = {layer: extremes(x.float()) for layer, x in batches[0].items()}
    low, high = ({layer: each[side].tolist() for layer, each in ends.items()} for side in (0, 1))
    given = ActivationRanges.from_extremes(low, high)
    ways = {"kernels": True, "torch": False} if kernels_for(torch.zeros(1, device=setting.device)) else {"torch": False}
    for name, ranges in (("given", given), ("auto", "auto")):
        for bins in (16,) if setting.quick else (2, 10, 1000, 5000):
            expected = empty_histogram(layout, ranges, bins)
            for batch in batches:
                expected.fill_(batch)
            for way, kernels in ways.items():
                found = empty_histogram(layout, ranges, bins, device=setting.device)
                with nullcontext() if kernels else without_kernels():
                    for batch in batches:
                        found.fill_({layer: _like(x, setting.device) for layer, x in batch.items()})
                same = torch.equal(found.state.cpu(), expected.state)
                yield Row("counts", f"{name} ranges, {bins} bins, {way}", same)
    found = empty_histogram(layout, given, 10, device=setting.device)
    poisoned = {layer: _like(x, setting.device) for layer, x in batches[1].items()}
    poisoned["map"][5, 2, 3] = torch.nan
    named = ""
    try:
        found.fill_(poisoned)
        found.check_finite()
    except ValueError as error:
        named = str(error)
    yield Row("counts", "NaN is noted, and its layer named", "in layer map:" in named)


def _like(x: Tensor, device: torch.device) -> Tensor:
    """A copy on a device, in the same order in memory."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device).copy_(x)


def moments(setting: Setting) -> Iterator[Row]:
    """Moments beside those of the CPU."""
    batches = _batches(setting)
    layout = NeuronLayout({layer: len(x) for layer, x in batches[0].items()})
    for kind in (GaussianDistribution, LayerGaussianDistribution):
        expected, found = kind.empty(layout), kind.empty(layout, device=setting.device)
        for batch in batches:
            expected.fill_(batch)
            found.fill_({layer: _like(x, setting.device) for layer, x in batch.items()})
        scale = expected.state.abs().amax()
        error = float((found.state.cpu() - expected.state).abs().amax() / scale)
        yield Row("moments", kind.kind, error < 1e-12, {"error": error})


def _metrics(extractor: FeatureExtractor, images: Tensor) -> dict[str, Callable[[], torchmetrics.Metric]]:
    ranges = ranges_of(extractor, images)
    return {
        "EMD": lambda: VDNAEarthMoversDistance(extractor, ranges=ranges),
        "EMD, auto ranges": lambda: VDNAEarthMoversDistance(extractor, ranges="auto"),
        "NFD": lambda: NeuronFrechetDistance(extractor),
        "LFD": lambda: LayerFrechetDistance(extractor),
    }


def waiting(setting: Setting) -> Iterator[Row]:
    """Whether `update` makes the host wait."""
    images = setting.images(4, setting.side)
    for network, extractor in (("ViT", setting.vit(precision="bf16")), ("ResNet", setting.resnet())):
        for name, make in _metrics(extractor, images).items():
            metric = make().to(setting.device)
            said = ""
            for real in (True, False):
                metric.update(images.clone(), real=real)
            try:
                with setting.never_waiting():
                    for real in (True, False):
                        metric.update(images.clone(), real=real)
            except RuntimeError as error:
                said = str(error).partition("\n")[0]
            held = not said if setting.on_gpu else None
            yield Row("waiting", f"{network}, {name}", held, said=said if setting.on_gpu else "no GPU")
            del metric


def graphs(setting: Setting) -> Iterator[Row]:
    """Recorded and replayed."""
    if not setting.on_gpu:
        yield Row("graphs", "CUDA graphs", said="no GPU")
        return
    layout, n = NeuronLayout({"tokens": 64, "map": 32}), 8
    torch.manual_seed(0)
    batches = [{"tokens": tokens(n, 21, 64), "map": rectified(n, 32, 14)} for _ in range(4)]
    ends = {layer: [3.0] * count for layer, count in layout.items()}
    given = ActivationRanges.from_extremes({layer: [-3.0] * count for layer, count in layout.items()}, ends)
    makers: dict[str, Callable[[torch.device], Any]] = {
        "EMD": lambda device: empty_histogram(layout, given, 100, device=device),
        "EMD, auto ranges": lambda device: empty_histogram(layout, "auto", 100, device=device),
        "NFD": lambda device: GaussianDistribution.empty(layout, device=device),
        "LFD": lambda device: LayerGaussianDistribution.empty(layout, device=device),
    }
    for name, make in makers.items():
        expected, found = make(torch.device("cpu")), make(setting.device)
        held_in = {layer: _like(x, setting.device) for layer, x in batches[0].items()}
        graph = _recorded(partial(found.fill_, held_in), found.state)
        for batch in batches:
            for layer, x in batch.items():
                held_in[layer].copy_(x)
            graph.replay()
            expected.fill_(batch)
        error = float(((found.state.cpu() - expected.state).abs().amax() / expected.state.abs().amax()).double())
        exact = name.startswith("EMD")
        held = torch.equal(found.state.cpu(), expected.state) if exact else error < 1e-12
        yield Row("graphs", f"fill_, {name}", held, {"error": error})
    extractor = setting.vit(precision="bf16")
    images = setting.images(n, setting.side)
    found = empty_histogram(extractor.layout, ranges_of(extractor, images), 1000, device=setting.device)
    graph = _recorded(lambda: found.fill_(extractor(images)), found.state)
    eager = found.with_state(found.zero())
    eager.fill_(extractor(images))
    graph.replay()
    once = found.state.clone()
    graph.replay()
    graph.replay()
    # A recorded product may take another algorithm than one that is not, and round otherwise.
    moved = float((once - eager.state).abs().sum() / eager.state.sum()) / 2
    held = torch.equal(found.state, 3 * once) and moved < 0.01
    yield Row("graphs", "network and fill_, EMD", held, {"moved": moved})


def _recorded(run: Callable[[], object], state: Tensor) -> torch.cuda.CUDAGraph:
    """A graph of what changes a state, which is as before."""
    before = state.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    state.copy_(before)
    return graph


def processes(setting: Setting) -> Iterator[Row]:
    """A group of one process: what is reduced is what was there."""
    backend = "nccl" if setting.on_gpu else "gloo"
    images, extractor = [setting.images(8, setting.side, seed) for seed in (0, 1)], setting.resnet()
    made = {name: make().to(setting.device) for name, make in _metrics(extractor, images[0]).items()}
    alone = {}
    for name, metric in made.items():
        for real in (True, False):
            metric.update(images[real].clone(), real=real)
        alone[name] = _computed(metric)
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group(
            backend, init_method=f"file://{Path(folder).resolve()}/rendezvous", rank=0, world_size=1
        )
        try:
            for name, metric in made.items():
                together = _computed(metric)
                error = abs(together - alone[name]) / max(1.0, alone[name])
                exact = name.startswith("EMD")
                yield Row("processes", f"{backend}, {name}", error <= (0 if exact else 1e-9), {"error": error})
        finally:
            torch.distributed.destroy_process_group()


def _computed(metric: torchmetrics.Metric) -> float:
    metric._computed = None
    return float(metric.compute())


class Inception(nn.Module):
    """`[N, 3, H, W]` uint8 -> `[N, num_features]`, of drawn weights; both FIDs are given it."""

    def __init__(self, quick: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.size, name = (32, "resnet18") if quick else (299, "inception_v3")
        self.network = timm.create_model(name, num_classes=0, **({} if quick else {"aux_logits": False}))
        self.num_features = int(self.network.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images."""
        x = nn.functional.interpolate(images.float(), (self.size, self.size), mode="bilinear", align_corners=False)
        features: Tensor = self.network((x - 128) / 128)
        return features


def fid(setting: Setting) -> Iterator[Row]:
    """Update and compute beside torchmetrics'."""
    network = Inception(setting.quick).eval()
    batch, n = (8, 4) if setting.quick else (64, 40)
    makers: dict[str, Callable[[], torchmetrics.Metric]] = {
        "ours": lambda: FrechetInceptionDistance(copy.deepcopy(network)),
        "torchmetrics": lambda: TorchmetricsFID(copy.deepcopy(network)),
    }
    built = {name: make().to(setting.device) for name, make in makers.items()}
    found = {}
    generated = (setting.images(batch, 64).float() * 0.7 + 30).to(torch.uint8)
    for name, metric in built.items():
        for seed in range(n):
            images = setting.images(batch, 64, seed)
            metric.update(images, real=True)
            metric.update((images.float() * 0.7 + 30).to(torch.uint8), real=False)
        found[name] = float(metric.compute())
    error = abs(found["ours"] / found["torchmetrics"] - 1)
    yield Row("fid", f"value of {batch * n} and {batch * n} images", error < 1e-4, {**found, "error": error})

    updates = {
        name: lambda metric=metric: metric.update(generated.clone(), real=False) for name, metric in built.items()
    }
    yield from _beside("fid", f"update of {batch}, ", setting.timed(updates), "ours")

    computes = {name: partial(_computed, metric) for name, metric in built.items()}
    yield from _beside("fid", "compute, ", setting.timed(computes, repeats=1 if setting.quick else 3, warm=0), "ours")


def _beside(section: str, what: str, times: dict[str, dict[str, float]], first: str) -> Iterator[Row]:
    for name, numbers in times.items():
        yield Row(section, f"{what}{name}", None, {**numbers, f"over {first}": numbers["ms"] / times[first]["ms"]})


def growth(setting: Setting) -> Iterator[Row]:
    """Memory over updates."""
    updates = 3 if setting.quick else 300
    images, extractor = setting.images(4, setting.side), setting.resnet()
    for name, make in _metrics(extractor, images).items():
        metric = make().to(setting.device)
        held: dict[str, float] = {}
        for done in range(1, updates + 1):
            metric.update(images.clone(), real=bool(done % 2))
            if setting.on_gpu and done in (updates // 3, updates):
                held[f"allocated MiB at {done}"] = torch.cuda.memory_allocated() / 2**20
                held[f"reserved MiB at {done}"] = torch.cuda.memory_reserved() / 2**20
        values = [*held.values()]
        yield Row("growth", f"{name}, {updates} updates", values[2:] == values[:2] if values else None, held)
        del metric


def kernels(setting: Setting) -> Iterator[Row]:
    """One layer, counted in several ways."""
    bins = 1000
    torch.manual_seed(0)
    layers = {
        "ViT-B block, 64 x 197 x 768, bf16": (tokens, (64, 197, 768, torch.bfloat16)),
        "ViT-B block, 64 x 197 x 768, fp32": (tokens, (64, 197, 768)),
        "ViT-B block, 8 x 197 x 768, bf16": (tokens, (8, 197, 768, torch.bfloat16)),
        "ResNet-50 layer1, 64 x 256 x 56², fp32": (rectified, (64, 256, 56)),
        "ResNet-50 layer4, 64 x 2048 x 7², bf16": (rectified, (64, 2048, 7, torch.bfloat16)),
    }
    if setting.quick:
        layers = {"tokens, 2 x 21 x 24": (tokens, (2, 21, 24)), "map, 2 x 8 x 7²": (rectified, (2, 8, 7))}
    for title, (draw, shape) in layers.items():
        drawn = draw(*shape)
        activations = _like(drawn, setting.device)
        runs = {}
        for name, run in _ways_to_count(activations, bins).items():
            try:
                run()
                runs[name] = run
            except Exception as error:
                yield Row("kernels", f"{title}, {name}", said=f"failed: {error}".partition("\n")[0])
        times = setting.timed(runs)
        for name, numbers in times.items():
            picoseconds = numbers["ms"] * 1e9 / activations.numel()
            rate = activations.nbytes / numbers["ms"] / 1e9
            more = {"ps an activation": picoseconds, "TB/s": rate, "over kernel": numbers["ms"] / times["kernel"]["ms"]}
            yield Row("kernels", f"{title}, {name}", None, {**numbers, **more})


def _ways_to_count(x: Tensor, bins: int) -> dict[str, Callable[[], object]]:
    neurons, device = len(x), x.device
    low, high = extremes(x.float())
    margin = (high - low) / 10
    low, high = low - margin, high + margin
    column = low[:, None, None], (high - low)[:, None, None]
    totals = torch.zeros(neurons, bins, dtype=torch.int64, device=device)
    below, above = torch.zeros(2, neurons, dtype=torch.int64, device=device)
    offsets = (torch.arange(neurons, device=device) * bins)[:, None, None]
    one = torch.ones((), dtype=torch.int64, device=device)
    auto = empty_histogram(NeuronLayout({"layer": neurons}), "auto", bins, device=device)

    def ours() -> None:
        accumulate_histogram_(totals, below, above, x, low, high)

    def by_torch() -> None:
        with without_kernels():
            ours()

    def index() -> Tensor:
        place = ((x.float() - column[0]) * bins / column[1]).clamp_(0, bins - 1)
        return (place.long() + offsets).flatten()

    def index_add() -> None:
        where = index()
        totals.view(-1).index_add_(0, where, one.expand(where.shape))

    def bincount() -> None:
        totals.view(-1).add_(torch.bincount(index(), minlength=neurons * bins))

    ends = list(zip(low.tolist(), high.tolist(), strict=True))

    def histc() -> None:
        for neuron, (start, end) in enumerate(ends):
            totals[neuron] += torch.histc(x[neuron].float(), bins, start, end).long()

    ways: dict[str, Callable[[], object]] = {
        "read": lambda: torch.aminmax(x),
        "kernel": ours,
        "auto": lambda: auto.fill_({"layer": x}),
        "torch": by_torch,
        "index_add": index_add,
        "bincount": bincount,
        "histc": histc,
    }
    if importlib.util.find_spec("vdna") is not None:
        from vdna.utils.stats import histogram_per_channel

        middle, half = (low + high) / 2, (high - low) / 2

        def by_vdna() -> None:
            peers = x.permute(1, 0, 2)[..., None].double()
            normalised = (peers - middle.view(1, -1, 1, 1)) / half.view(1, -1, 1, 1)
            totals.add_(histogram_per_channel(normalised, bins, [-1.0, 1.0]).to(device).long())

        ways["vdna"] = by_vdna
    return ways


def overhead(setting: Setting) -> Iterator[Row]:
    """What metrics add to networks."""
    options: dict[str, dict[str, Any]] = {
        "bf16": {"precision": "bf16"},
        "bf16, channels_last": {"precision": "bf16", "channels_last": True},
        "tf32": {"precision": "tf32"},
        "fp32": {},
        "bf16, compiled": {"precision": "bf16", "compile": True},
    }
    if not setting.on_gpu:
        options = {name: options[name] for name in ("fp32", "bf16")}
    networks = {"ViT": setting.vit, "ResNet": setting.resnet}
    for how, chosen in options.items():
        for network, build in networks.items():
            for n in (2,) if setting.quick else (64, 256):
                title = f"{network}, {how}, {n}"
                if time.monotonic() > setting.ends:
                    yield Row("overhead", title, said="left out: out of time")
                    continue
                try:
                    yield from _overhead(setting, title, build(**chosen), n)
                except Exception as error:
                    yield Row("overhead", title, said=f"failed: {error}".partition("\n")[0])


def _overhead(setting: Setting, title: str, extractor: FeatureExtractor, n: int) -> Iterator[Row]:
    images = setting.images(n, setting.side)
    makers = _metrics(extractor, images)
    groups = {**{name: [name] for name in makers}, "EMD + NFD + LFD of one forward": ["EMD", "NFD", "LFD"]}
    for group, names in groups.items():
        # Only these are alive: a network keeps what it says for all metrics that read it.
        metrics = [makers[name]().to(setting.device) for name in names]

        def update(metrics: list[torchmetrics.Metric] = metrics) -> None:
            batch = images.clone()
            for metric in metrics:
                metric.update(batch)

        times = setting.timed({"network": lambda: extractor(images.clone()), group: update})
        share = 100 * (times[group]["ms"] / times["network"]["ms"] - 1)
        numbers = {"network ms": times["network"]["ms"], **times[group], "adds %": share}
        yield Row("overhead", f"{title}, {group}", None, numbers)
        del metrics, update


SECTIONS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "counts": counts,
    "moments": moments,
    "waiting": waiting,
    "processes": processes,
    "kernels": kernels,
    "fid": fid,
    "graphs": graphs,
    "growth": growth,
    "overhead": overhead,
}


def main() -> int:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one repeat, for CI")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=400, help="start nothing that is only timed after so long")
    parser.add_argument("--json", type=Path, help="write the rows there, after each section")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type != "cuda" and not arguments.quick:
        print("without a GPU there is nothing to measure; --quick runs what can be run")
        return 0
    warnings.filterwarnings("ignore", message=".* images? (is|are) (too )?few")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    began = time.monotonic()
    setting = Setting(device, arguments.quick, 1 if arguments.quick else arguments.repeats, began + arguments.seconds)
    about = {
        "device": torch.cuda.get_device_name(device) if setting.on_gpu else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if setting.on_gpu else None,
        "triton": _version("triton"),
        "torchmetrics": torchmetrics.__version__,
        "timm": timm.__version__,
        "vdna": _version("vdna"),
        "kernels": kernels_for(torch.zeros(1, device=device)) is not None,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    rows: list[Row] = []
    for name in arguments.only:
        started = time.monotonic()
        try:
            for row in SECTIONS[name](setting):
                rows.append(row)
                print(row, flush=True)
        except Exception as error:
            traceback.print_exc()
            held = False if name in CHECKS else None
            rows.append(Row(name, "the rest", held, said=f"failed: {type(error).__name__}: {error}".partition("\n")[0]))
            print(rows[-1], flush=True)
        print(f"{name:10} took {time.monotonic() - started:.1f} s", flush=True)
        if setting.on_gpu:
            torch.cuda.empty_cache()
        if arguments.json is not None:
            arguments.json.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1))
    wrong = [row for row in rows if row.held is False]
    checked = sum(row.held is not None for row in rows)
    print(f"{checked - len(wrong)} of {checked} checks held, {time.monotonic() - began:.0f} s")
    for row in wrong:
        print(row)
    return 1 if wrong else 0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
