"""A metric of a distance that is registered outside the package is a short class."""

from __future__ import annotations

import inspect
import shutil
from typing import Any

import pytest
import torch
from helpers.distances import EVENNESS, JSD
from helpers.metric_tester import (
    DISTANCES,
    DistanceContract,
    Evenness,
    JensenShannon,
    MetricContract,
    assert_same,
    feed,
    filled,
    images,
    make,
)
from PIL import Image
from torchmetrics import MetricCollection

from vdna_metrics.metrics import DistanceMetric, GaussianDistanceMetric, HistogramDistanceMetric
from vdna_metrics.metrics.distances import DistanceMetricOptions, HistogramMetricOptions


class TestJensenShannon(DistanceContract):
    """The contract of every distance metric."""

    kind = "jsd"


class TestEvenness(MetricContract):
    """The contract of every metric; it has no real side."""

    kind = "evenness"


def test_a_distance_of_ones_own_is_measured() -> None:
    """The value is that of the distance on both sides' DNAs; reductions are those that it has."""
    metric = filled("jsd")
    assert_same(metric.compute(), JSD(metric.dna(real=True), metric.dna()).float())
    assert list(filled("jsd", reduction="layer").compute()) == ["conv", "last"]
    assert not metric.higher_is_better


def test_a_score_of_one_set_needs_no_real_images() -> None:
    """Real images are passed over, whether by `update` or `forward`, and there is no real side and no reference."""
    metric = make("evenness")
    metric.update(images(9, 2))
    value = metric.compute()
    assert_same(value, EVENNESS(None, metric.dna()).float())
    metric.update(images(12, 1), real=True)
    assert metric(images(12, 1), real=True) is None
    assert_same(metric.compute(), value)
    assert_same(make("evenness")(images(9, 2)), value)
    assert metric.higher_is_better
    assert set(metric.metric_state) == {"generated_state", "settings"}
    with pytest.raises(ValueError, match="scores generated images alone, it has no real side"):
        metric.dna(real=True)
    with pytest.raises(ValueError, match="scores generated images alone; leave reference= out"):
        make("evenness", reference=metric.dna())


def test_it_serves_a_collection_with_distances() -> None:
    """In one collection the real images go to those that need them."""
    together = MetricCollection({"emd": make("emd"), "evenness": make("evenness"), "jsd": make("jsd")})
    together.update(images(12, 1), real=True)
    together.update(images(9, 2), real=False)
    found = together.compute()
    for kind in found:
        assert_same(found[kind], filled(kind).compute())


def test_parts_that_a_distance_lacks_are_refused() -> None:
    """A distance that is one number has neither layers nor weights."""
    with pytest.raises(ValueError, match="is one number, without parts"):
        make("evenness", reduction="layer")
    with pytest.raises(ValueError, match="has no parts that could be weighted"):
        make("evenness", weights={"conv": [1.0] * 4, "last": [1.0] * 3})


def test_a_base_class_is_no_metric() -> None:
    """A class that names no distance cannot be built."""
    for base in (HistogramDistanceMetric, GaussianDistanceMetric):
        with pytest.raises(TypeError, match="names its distance"):
            base(torch.nn.AvgPool2d(8))


COMMON = {name for name, part in inspect.signature(DistanceMetric).parameters.items() if part.kind is part.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("metric", "own"),
    [
        (DISTANCES["emd"], {"unit", "bins", "ranges", "max_positions", "allow_subsampled"}),
        (DISTANCES["nfd"], set()),
        (DISTANCES["lfd"], set()),
        (JensenShannon, {"bins", "ranges", "max_positions", "allow_subsampled"}),
        (Evenness, {"bins", "ranges", "max_positions", "allow_subsampled"}),
    ],
)
def test_signatures_show_every_argument(metric: Any, own: set[str]) -> None:
    """`help()` and editors see all keyword arguments by name, and those of torchmetrics as ``**metric_kwargs``."""
    parts = inspect.signature(metric).parameters
    assert {name for name, part in parts.items() if part.kind is part.KEYWORD_ONLY} == COMMON | own
    assert next(iter(parts)) == "extractor"
    assert parts[list(parts)[-1]].kind is inspect.Parameter.VAR_KEYWORD
    assert len(COMMON) == 16


@pytest.mark.parametrize("above", [DISTANCES["fid"], DISTANCES["emd"]])
def test_subclasses_take_arguments_as_they_like(above: Any) -> None:
    """A subclass may have arguments of every kind beside ``**options``."""

    class Positional(above):
        def __init__(self, path: str, **options: Any) -> None: ...

    class Keyword(above):
        def __init__(self, *, path: str, **options: Any) -> None: ...

    class Anything(above):
        def __init__(self, *args: Any, **options: Any) -> None: ...

    for cls in (Positional, Keyword, Anything):
        cls(path="path")
        parts = inspect.signature(cls).parameters
        assert ("normalize" in parts) == (cls is not Anything)


def test_the_lists_of_arguments_agree() -> None:
    """The list for type checkers has the base class's arguments and torchmetrics', and that of histograms theirs."""
    of_torchmetrics = set(DistanceMetricOptions.__annotations__) - COMMON
    assert set(DistanceMetricOptions.__annotations__) >= COMMON
    flags = dict.fromkeys(("compute_on_cpu", "dist_sync_on_step", "sync_on_compute", "compute_with_cache"), True)
    functions = dict.fromkeys(("dist_sync_fn", "distributed_available_fn", "process_group"))
    assert of_torchmetrics == {*flags, *functions}
    assert make("nfd", **flags, **functions).compute_on_cpu
    parts = inspect.signature(HistogramDistanceMetric).parameters
    histogram = {name for name, part in parts.items() if part.kind is part.KEYWORD_ONLY}
    assert set(HistogramMetricOptions.__annotations__) - of_torchmetrics == histogram


def test_feeding_a_folder_as_reference_says_what_to_do(tmp_path: Any) -> None:
    """A folder or an archive of images is no DNA: the error says so, and how to make one."""
    (tmp_path / "photographs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photographs" / "black.png")
    shutil.make_archive(str(tmp_path / "photographs"), "zip", tmp_path / "photographs")
    for reference in ("photographs", "photographs.zip"):
        for path in (tmp_path / reference, str(tmp_path / reference)):
            with pytest.raises(ValueError, match=r"photographs.* has images and no DNA; `vdna-metrics make` makes one"):
                make("emd", reference=path)
    metric = make("emd")
    feed(metric, images(3, 1), real=True)
    assert metric.dna(real=True).n_images == 3
