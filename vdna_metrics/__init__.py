"""Distances between sets of images by the distributions of neuron activations, for torchmetrics.

Everything here is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each name lives. Type checkers read the imports below, users the names in `__all__`.
_HOMES = {
    "ActivationRange": "metrics",
    "ActivationRanges": "ranges",
    "DealtDNA": "dna",
    "ExtractorSpec": "extractors",
    "FeatureExtractor": "extractors",
    "FrechetInceptionDistance": "metrics",
    "LayerFrechetDistance": "metrics",
    "NeuronFrechetDistance": "metrics",
    "NeuronLayout": "layout",
    "NeuronSelection": "neurons",
    "NeuronWeights": "neurons",
    "Reading": "references",
    "VDNA": "dna",
    "VDNAEarthMoversDistance": "metrics",
    "analysis": "",
    "build_dnas": "references",
    "calibrate": "references",
    "compare": "dna",
    "coverage": "dna.coverage",
    "create_extractor": "extractors",
    "functional": "",
    "list_extractors": "extractors",
    "list_references": "references",
    "load_ranges": "ranges",
    "load_reference": "references",
    "load_selection": "neurons",
    "load_vdna": "dna",
    "load_weights": "neurons",
    "open_images": "references",
    "quantile_ranges": "dna.quantiles",
    "reports": "",
}

__all__ = [
    "VDNA",
    "ActivationRange",
    "ActivationRanges",
    "DealtDNA",
    "ExtractorSpec",
    "FeatureExtractor",
    "FrechetInceptionDistance",
    "LayerFrechetDistance",
    "NeuronFrechetDistance",
    "NeuronLayout",
    "NeuronSelection",
    "NeuronWeights",
    "Reading",
    "VDNAEarthMoversDistance",
    "analysis",
    "build_dnas",
    "calibrate",
    "compare",
    "coverage",
    "create_extractor",
    "functional",
    "list_extractors",
    "list_references",
    "load_ranges",
    "load_reference",
    "load_selection",
    "load_vdna",
    "load_weights",
    "open_images",
    "quantile_ranges",
    "reports",
]

if TYPE_CHECKING:
    from vdna_metrics import analysis, functional, reports
    from vdna_metrics.dna import VDNA, DealtDNA, compare, load_vdna
    from vdna_metrics.dna.coverage import coverage
    from vdna_metrics.dna.quantiles import quantile_ranges
    from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor, create_extractor, list_extractors
    from vdna_metrics.layout import NeuronLayout
    from vdna_metrics.metrics import (
        ActivationRange,
        FrechetInceptionDistance,
        LayerFrechetDistance,
        NeuronFrechetDistance,
        VDNAEarthMoversDistance,
    )
    from vdna_metrics.neurons import NeuronSelection, NeuronWeights, load_selection, load_weights
    from vdna_metrics.ranges import ActivationRanges, load_ranges
    from vdna_metrics.references import (
        Reading,
        build_dnas,
        calibrate,
        list_references,
        load_reference,
        open_images,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vdna_metrics' has no attribute {name!r}")
    home = _HOMES[name]
    if home:
        return getattr(importlib.import_module(f"vdna_metrics.{home}"), name)
    return importlib.import_module(f"vdna_metrics.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
