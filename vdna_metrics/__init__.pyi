from . import analysis as analysis, functional as functional, leaderboard as leaderboard, reports as reports
from ._version import __version__ as __version__
from .analysis.coverage import (
    coverage as coverage,
    observed_ranges as observed_ranges,
    quantile_ranges as quantile_ranges,
)
from .build import Reading as Reading, build_dnas as build_dnas, calibrate as calibrate
from .dna import (
    VDNA as VDNA,
    Column as Column,
    Distance as Distance,
    GroupedDNA as GroupedDNA,
    compare as compare,
    list_distances as list_distances,
    load_vdna as load_vdna,
    principal_directions as principal_directions,
    register_distance as register_distance,
)
from .extractors import (
    Directions as Directions,
    ExtractorSpec as ExtractorSpec,
    FeatureExtractor as FeatureExtractor,
    GivenDirections as GivenDirections,
    PrecomputedFeatures as PrecomputedFeatures,
    create_extractor as create_extractor,
    list_extractors as list_extractors,
    load_spec as load_spec,
    shared_forward as shared_forward,
)
from .images import open_images as open_images
from .layout import NeuronLayout as NeuronLayout
from .metrics import (
    ActivationRange as ActivationRange,
    ClassConditionalDistance as ClassConditionalDistance,
    DensityCoverage as DensityCoverage,
    FrechetDistanceRatio as FrechetDistanceRatio,
    FrechetInceptionDistance as FrechetInceptionDistance,
    ImprovedPrecisionRecall as ImprovedPrecisionRecall,
    InceptionScore as InceptionScore,
    KernelDistance as KernelDistance,
    KernelInceptionDistance as KernelInceptionDistance,
    LayerFrechetDistance as LayerFrechetDistance,
    MongeInceptionDistance as MongeInceptionDistance,
    NeuronFrechetDistance as NeuronFrechetDistance,
    NeuronWassersteinDistance as NeuronWassersteinDistance,
    SlicedWassersteinDistance as SlicedWassersteinDistance,
    VDNAEarthMoversDistance as VDNAEarthMoversDistance,
    VendiScore as VendiScore,
)
from .neurons import (
    NeuronSelection as NeuronSelection,
    NeuronWeights as NeuronWeights,
    load_selection as load_selection,
    load_weights as load_weights,
)
from .ranges import ActivationRanges as ActivationRanges, load_ranges as load_ranges
from .references import (
    ImageSet as ImageSet,
    list_references as list_references,
    load_reference as load_reference,
    resolve as resolve,
)
