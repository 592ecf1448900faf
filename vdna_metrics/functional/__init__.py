"""Tensors in, tensors out: counting, moments and distances, without state."""

from vdna_metrics.functional.emd import EMDUnit, cumulative_shares, earth_movers_distance, image_emd, image_pair_emd
from vdna_metrics.functional.frechet import covariance_factor, frechet_distance, neuron_frechet_distance
from vdna_metrics.functional.histogram import accumulate_histogram_, bin_index, extremes, histogram_counts
from vdna_metrics.functional.kernels import kernel_distance, vendi_score
from vdna_metrics.functional.moments import (
    accumulate_moments_,
    accumulate_scatter_,
    image_means,
    mean_and_covariance,
    mean_and_variance,
    recentre,
    recentre_scatter,
    to_float64,
)
from vdna_metrics.functional.neighbours import density_coverage, nearest_neighbours, precision_recall
from vdna_metrics.functional.positions import check_max_positions, subsample_positions

__all__ = [
    "EMDUnit",
    "accumulate_histogram_",
    "accumulate_moments_",
    "accumulate_scatter_",
    "bin_index",
    "check_max_positions",
    "covariance_factor",
    "cumulative_shares",
    "density_coverage",
    "earth_movers_distance",
    "extremes",
    "frechet_distance",
    "histogram_counts",
    "image_emd",
    "image_means",
    "image_pair_emd",
    "kernel_distance",
    "mean_and_covariance",
    "mean_and_variance",
    "nearest_neighbours",
    "neuron_frechet_distance",
    "precision_recall",
    "recentre",
    "recentre_scatter",
    "subsample_positions",
    "to_float64",
    "vendi_score",
]
