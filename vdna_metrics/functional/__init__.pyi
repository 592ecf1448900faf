from .emd import (
    EMDUnit as EMDUnit,
)
from .emd import (
    cumulative_shares as cumulative_shares,
)
from .emd import (
    earth_movers_distance as earth_movers_distance,
)
from .emd import (
    image_emd as image_emd,
)
from .emd import (
    image_pair_emd as image_pair_emd,
)
from .frechet import (
    covariance_factor as covariance_factor,
)
from .frechet import (
    frechet_distance as frechet_distance,
)
from .frechet import (
    neuron_frechet_distance as neuron_frechet_distance,
)
from .histogram import (
    accumulate_histogram_ as accumulate_histogram_,
)
from .histogram import (
    bin_index as bin_index,
)
from .histogram import (
    extremes as extremes,
)
from .histogram import (
    histogram_counts as histogram_counts,
)
from .kernels import (
    kernel_distance as kernel_distance,
)
from .kernels import (
    vendi_score as vendi_score,
)
from .moments import (
    accumulate_moments_ as accumulate_moments_,
)
from .moments import (
    accumulate_scatter_ as accumulate_scatter_,
)
from .moments import (
    image_means as image_means,
)
from .moments import (
    mean_and_covariance as mean_and_covariance,
)
from .moments import (
    mean_and_variance as mean_and_variance,
)
from .moments import (
    recentre as recentre,
)
from .moments import (
    recentre_scatter as recentre_scatter,
)
from .moments import (
    to_float64 as to_float64,
)
from .neighbours import (
    density_coverage as density_coverage,
)
from .neighbours import (
    nearest_neighbours as nearest_neighbours,
)
from .neighbours import (
    precision_recall as precision_recall,
)
from .positions import (
    check_max_positions as check_max_positions,
)
from .positions import (
    subsample_positions as subsample_positions,
)
