"""What the logging recipes write, read back."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vdna_metrics import VDNAEarthMoversDistance, compare

Recipe = Callable[[str], ModuleType]
NEURONS = {"early": [0, 5], "late": [2]}


@pytest.fixture
def metric(recipe: Recipe) -> VDNAEarthMoversDistance:
    """A metric that has seen images."""
    tiny = recipe("tiny")
    metric = VDNAEarthMoversDistance(tiny.extractor(), reference=tiny.references()["histogram"])
    metric.update(tiny.real_images()[:20] // 2)
    return metric


def test_histograms_are_those_of_the_dna(recipe: Recipe, metric: VDNAEarthMoversDistance) -> None:
    """Bins are joined without a count lost, between the ends of the neuron's range."""
    counts, edges = recipe("loggers").histogram(metric.dna(), "late", 2)
    dna = metric.dna().select(neurons={"late": [2]}).distribution
    assert counts.shape == (100,)
    assert counts[40] == dna.counts[0, 400:410].sum()
    assert counts.sum() == dna.counts.sum() == 20 * 6 * 6
    assert [edges[0], edges[-1]] == [float(dna.ranges.low), float(dna.ranges.high)]


def test_tensorboard(recipe: Recipe, metric: VDNAEarthMoversDistance, tmp_path: Path) -> None:
    """The event file holds a picture of the layers and the histograms of the neurons, at their step."""
    pytest.importorskip("tensorboard", reason="needs the extra `training`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    loggers = recipe("loggers")
    with SummaryWriter(tmp_path) as writer:
        loggers.to_tensorboard(writer, metric, NEURONS, step=7)
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    [picture] = read.Images("vdna/layers")
    assert picture.step == 7
    assert picture.width > picture.height > 300
    assert set(read.Tags()["histograms"]) == {"vdna/early/0", "vdna/early/5", "vdna/late/2"}
    for layer, indices in NEURONS.items():
        for neuron in indices:
            [event] = read.Histograms(f"vdna/{layer}/{neuron}")
            counts, edges = loggers.histogram(metric.dna(), layer, neuron)
            written = event.histogram_value
            assert event.step == 7
            assert written.bucket == counts.tolist()
            assert written.bucket_limit == edges[1:].tolist()
            assert written.num == counts.sum()
            assert written.sum == pytest.approx(np.average((edges[1:] + edges[:-1]) / 2, weights=counts) * counts.sum())


def _records(path: Path) -> Iterator[bytes]:
    # W&B's offline file: 7 bytes, then LevelDB's log format, of blocks that hold checksum, length, type and data.
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def _history(path: Path) -> dict[str, Any]:
    from wandb.proto import wandb_internal_pb2

    found: dict[str, Any] = {}
    for data in _records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            name, value = "/".join(item.nested_key) or item.key, json.loads(item.value_json)
            found |= (
                {f"{name}/{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
            )
    return found


@pytest.mark.slow
def test_wandb(
    recipe: Recipe, metric: VDNAEarthMoversDistance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offline run holds each layer's distance, a picture of them and the histograms of the neurons."""
    wandb = pytest.importorskip("wandb", reason="needs the extra `training`")
    for name in ("CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    loggers = recipe("loggers")
    quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True)
    with wandb.init(mode="offline", dir=tmp_path, settings=quiet) as run:
        loggers.to_wandb(run, metric, NEURONS, step=7)
    wandb.teardown()
    [file] = tmp_path.glob("wandb/offline-run-*/*.wandb")
    logged = _history(file)
    assert logged["_step"] == 7
    for layer, distance in compare.emd(metric.reference, metric.dna(), reduction="layer").items():
        assert logged[f"vdna/layers/{layer}"] == pytest.approx(float(distance))
    with Image.open(file.parent / "files" / logged["vdna/profile/path"]) as picture:
        assert picture.size == (logged["vdna/profile/width"], logged["vdna/profile/height"])
    for layer, indices in NEURONS.items():
        for neuron in indices:
            counts, edges = loggers.histogram(metric.dna(), layer, neuron)
            assert logged[f"vdna/{layer}/{neuron}/_type"] == "histogram"
            assert logged[f"vdna/{layer}/{neuron}/values"] == counts.tolist()
            assert logged[f"vdna/{layer}/{neuron}/bins"] == pytest.approx(edges.tolist())
