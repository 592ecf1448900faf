from .base import (
    DistanceMetric as DistanceMetric,
)
from .calibration import (
    ActivationRange as ActivationRange,
)
from .distances import (
    GaussianDistanceMetric as GaussianDistanceMetric,
)
from .distances import (
    HistogramDistanceMetric as HistogramDistanceMetric,
)
from .distances import (
    LayerFrechetDistance as LayerFrechetDistance,
)
from .distances import (
    NeuronFrechetDistance as NeuronFrechetDistance,
)
from .distances import (
    VDNAEarthMoversDistance as VDNAEarthMoversDistance,
)
from .inception import (
    FrechetInceptionDistance as FrechetInceptionDistance,
)
