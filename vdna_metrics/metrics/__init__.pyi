from .base import DistanceMetric as DistanceMetric
from .calibration import ActivationRange as ActivationRange
from .distances import (
    GaussianDistanceMetric as GaussianDistanceMetric,
    HistogramDistanceMetric as HistogramDistanceMetric,
    LayerFrechetDistance as LayerFrechetDistance,
    NeuronFrechetDistance as NeuronFrechetDistance,
    VDNAEarthMoversDistance as VDNAEarthMoversDistance,
)
from .inception import FrechetInceptionDistance as FrechetInceptionDistance
from .ratio import FrechetDistanceRatio as FrechetDistanceRatio, FrechetNormaliser as FrechetNormaliser
