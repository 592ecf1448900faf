from .base import Distribution as Distribution, Kind as Kind
from .gaussian import (
    GaussianDistribution as GaussianDistribution,
    LayerGaussianDistribution as LayerGaussianDistribution,
)
from .histogram import HistogramDistribution as HistogramDistribution
