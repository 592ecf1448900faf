"""What all metrics share."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.metric_tester import (
    DISTANCES,
    LAYERS,
    NETWORK,
    RANGES,
    DistanceContract,
    MetricContract,
    Network,
    assert_same,
    assert_states,
    feed,
    filled,
    images,
    make,
    observe_ranks,
    single_process,
    states,
)
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.wrappers import FeatureShare

from vdna_metrics import (
    ActivationRange,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    VDNAEarthMoversDistance,
    compare,
    create_extractor,
)


# Small batches have singular covariances; the warning has tests of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.* too few to estimate the covariance:UserWarning")


class TestVDNAEarthMoversDistance(DistanceContract):
    kind = "emd"


class TestNeuronFrechetDistance(DistanceContract):
    kind = "nfd"


class TestLayerFrechetDistance(DistanceContract):
    kind = "lfd"


class TestFrechetInceptionDistance(DistanceContract):
    kind = "fid"


class TestActivationRange(MetricContract):
    kind = "range"
