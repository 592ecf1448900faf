from .classes import ClassSummary as ClassSummary, class_imbalance as class_imbalance, class_summary as class_summary
from .emd import (
    EMDUnit as EMDUnit,
    cumulative_shares as cumulative_shares,
    earth_movers_distance as earth_movers_distance,
    image_emd as image_emd,
    image_emd_by_position as image_emd_by_position,
    image_pair_emd as image_pair_emd,
)
from .frechet import (
    covariance_factor as covariance_factor,
    frechet_distance as frechet_distance,
    frechet_distance_ratio as frechet_distance_ratio,
    neuron_frechet_distance as neuron_frechet_distance,
)
from .grids import (
    codes_to_extremes as codes_to_extremes,
    extreme_codes as extreme_codes,
    grid as grid,
    power_of_two as power_of_two,
    regrid as regrid,
)
from .histogram import (
    accumulate_histogram_ as accumulate_histogram_,
    accumulate_on_grid_ as accumulate_on_grid_,
    bin_index as bin_index,
    extremes as extremes,
    histogram_counts as histogram_counts,
)
from .inception import inception_score as inception_score
from .intervals import squared_interval as squared_interval
from .kernels import (
    Kernel as Kernel,
    PolynomialKernel as PolynomialKernel,
    RBFKernel as RBFKernel,
    accumulate_unit_second_ as accumulate_unit_second_,
    cmmd as cmmd,
    kernel_distance as kernel_distance,
    kernel_mmd as kernel_mmd,
    vendi_score as vendi_score,
    vendi_score_from_moments as vendi_score_from_moments,
)
from .moments import (
    accumulate_moments_ as accumulate_moments_,
    accumulate_scatter_ as accumulate_scatter_,
    image_means as image_means,
    mean_and_covariance as mean_and_covariance,
    mean_and_variance as mean_and_variance,
)
from .neighbours import (
    density_coverage as density_coverage,
    nearest_neighbours as nearest_neighbours,
    precision_recall as precision_recall,
)
from .pixels import PIXEL_STATISTICS as PIXEL_STATISTICS, pixel_statistics as pixel_statistics
from .positions import (
    position_grid as position_grid,
    spread_over as spread_over,
    subsample_positions as subsample_positions,
)
from .regions import (
    intersection_over_union as intersection_over_union,
    majority_labels as majority_labels,
    pixels_at as pixels_at,
    project_pixels as project_pixels,
)
from .sliced import (
    histogram_wasserstein2 as histogram_wasserstein2,
    monge_inception_distance as monge_inception_distance,
    sample_wasserstein as sample_wasserstein,
    sliced_wasserstein as sliced_wasserstein,
)
