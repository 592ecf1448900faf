from .base import DistanceMetric as DistanceMetric
from .calibration import ActivationRange as ActivationRange
from .classes import ClassConditionalDistance as ClassConditionalDistance
from .distances import (
    GaussianDistanceMetric as GaussianDistanceMetric,
    HistogramDistanceMetric as HistogramDistanceMetric,
    LayerFrechetDistance as LayerFrechetDistance,
    NeuronFrechetDistance as NeuronFrechetDistance,
    NeuronWassersteinDistance as NeuronWassersteinDistance,
    VDNAEarthMoversDistance as VDNAEarthMoversDistance,
)
from .features import (
    DensityCoverage as DensityCoverage,
    FeatureDistanceMetric as FeatureDistanceMetric,
    ImprovedPrecisionRecall as ImprovedPrecisionRecall,
    InceptionScore as InceptionScore,
    KernelDistance as KernelDistance,
    KernelInceptionDistance as KernelInceptionDistance,
    MongeInceptionDistance as MongeInceptionDistance,
    SlicedWassersteinDistance as SlicedWassersteinDistance,
    VendiScore as VendiScore,
)
from .inception import FrechetInceptionDistance as FrechetInceptionDistance
from .ratio import FrechetDistanceRatio as FrechetDistanceRatio, FrechetNormaliser as FrechetNormaliser
