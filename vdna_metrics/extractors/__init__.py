"""Frozen networks: images in, raw activations of every neuron out."""

from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.extractors.registry import (
    ExtractorLike,
    create_extractor,
    extractor_and_layout,
    get_spec,
    list_extractors,
)
from vdna_metrics.extractors.spec import ExtractorSpec

__all__ = [
    "ExtractorLike",
    "ExtractorSpec",
    "FeatureExtractor",
    "Preprocessing",
    "create_extractor",
    "extractor_and_layout",
    "get_spec",
    "list_extractors",
]
