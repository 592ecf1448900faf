"""The metrics: ``update`` with images, ``compute`` a distance."""

from vdna_metrics.metrics.calibration import ActivationRange
from vdna_metrics.metrics.distances import LayerFrechetDistance, NeuronFrechetDistance, VDNAEarthMoversDistance
from vdna_metrics.metrics.inception import FrechetInceptionDistance

__all__ = [
    "ActivationRange",
    "FrechetInceptionDistance",
    "LayerFrechetDistance",
    "NeuronFrechetDistance",
    "VDNAEarthMoversDistance",
]
