from .auto_histogram import AutoHistogramDistribution as AutoHistogramDistribution, empty_histogram as empty_histogram
from .base import Distribution as Distribution
from .features import FeatureSample as FeatureSample
from .gaussian import (
    GaussianDistribution as GaussianDistribution,
    LayerGaussianDistribution as LayerGaussianDistribution,
)
from .histogram import Histogram as Histogram, HistogramDistribution as HistogramDistribution
from .kinds import Kind as Kind
