"""Tensors in, tensors out: counting, moments and distances, without state."""

from vdna_metrics.functional.emd import EMDUnit, earth_movers_distance
from vdna_metrics.functional.frechet import covariance_factor, frechet_distance, neuron_frechet_distance
from vdna_metrics.functional.histogram import accumulate_histogram_, bin_index, extremes, histogram_counts
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
from vdna_metrics.functional.positions import check_max_positions, subsample_positions

__all__ = [
    "EMDUnit",
    "accumulate_histogram_",
    "accumulate_moments_",
    "accumulate_scatter_",
    "bin_index",
    "check_max_positions",
    "covariance_factor",
    "earth_movers_distance",
    "extremes",
    "frechet_distance",
    "histogram_counts",
    "image_means",
    "mean_and_covariance",
    "mean_and_variance",
    "neuron_frechet_distance",
    "recentre",
    "recentre_scatter",
    "subsample_positions",
    "to_float64",
]
