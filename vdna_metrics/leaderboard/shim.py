"""Until the functions of `analysis` take columns."""

from __future__ import annotations

from typing import Any

from vdna_metrics.analysis import comparison, uncertainty
import importlib
from vdna_metrics.dna.columns import Column

NAMES: Any = {"emd": "emd", "nfd": "neuron_frechet", "lfd": "layer_frechet"}


def _options(column: Column) -> Any:
    return {"distance": NAMES[column.distance.name], "layers": column.layers, "weights": column.weights}


def jackknife_distance(a: Any, b: Any, *, distance: Column, **options: Any) -> Any:
    return uncertainty.jackknife_distance(a, b, **_options(distance), **options)


def noise_floor(a: Any, n: int, *, distance: Column, **options: Any) -> Any:
    return uncertainty.noise_floor(a, n, **_options(distance), **options)


def extrapolate_frechet(a: Any, b: Any, *, distance: Column, **options: Any) -> Any:
    return uncertainty.extrapolate_frechet(a, b, **_options(distance), **options)


def compare_groups(a: Any, b: Any, *, distance: Column) -> Any:
    if distance.distance.name in NAMES:
        return comparison.compare_groups(a, b, **_options(distance))
    return None


def explain(a: Any, b: Any, *, distance: Column) -> Any:
    return importlib.import_module('vdna_metrics.analysis.explain').explain(a, b, weights=distance.weights)


def is_linear(column: Column) -> bool:
    return column.distance.bias == "jackknife"
