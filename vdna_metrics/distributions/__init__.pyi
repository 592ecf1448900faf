from .base import (
    Distribution as Distribution,
)
from .base import (
    Kind as Kind,
)
from .gaussian import (
    GaussianDistribution as GaussianDistribution,
)
from .gaussian import (
    LayerGaussianDistribution as LayerGaussianDistribution,
)
from .histogram import (
    HistogramDistribution as HistogramDistribution,
)
