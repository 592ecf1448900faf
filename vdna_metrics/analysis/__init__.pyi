from .concepts import ConceptGraph as ConceptGraph, concept_levels as concept_levels, read_concepts as read_concepts
from .descriptors import (
    LayerDescriptors as LayerDescriptors,
    coding_share as coding_share,
    dead_neurons as dead_neurons,
    describe as describe,
    feature_sparsity as feature_sparsity,
    redundancy as redundancy,
    sparsity as sparsity,
)
from .desensitise import (
    AttributeDistances as AttributeDistances,
    attribute_distances as attribute_distances,
    choose_attributes as choose_attributes,
    desensitise as desensitise,
    learn_weights as learn_weights,
    read_attribute_table as read_attribute_table,
    sensitivity_deviation as sensitivity_deviation,
    sensitivity_removal as sensitivity_removal,
    split_images as split_images,
    split_of as split_of,
)
from .diagnosis import (
    DiagnosedSet as DiagnosedSet,
    Diagnosis as Diagnosis,
    Fault as Fault,
    FaultName as FaultName,
    Sign as Sign,
    Thresholds as Thresholds,
    diagnose as diagnose,
)
from .explain import (
    DistanceParts as DistanceParts,
    Explanation as Explanation,
    LayerContribution as LayerContribution,
    NeuronContribution as NeuronContribution,
    emd_parts as emd_parts,
    explain as explain,
)
from .features import (
    CopyMatch as CopyMatch,
    CopyReport as CopyReport,
    Features as Features,
    Fidelity as Fidelity,
    RepeatedImages as RepeatedImages,
    collect_features as collect_features,
    find_copies as find_copies,
    measure_fidelity as measure_fidelity,
    repeated_images as repeated_images,
)
from .frechet_ratio import (
    FrechetRatio as FrechetRatio,
    NetworkRatio as NetworkRatio,
    frechet_distance_ratio as frechet_distance_ratio,
    frechet_normaliser as frechet_normaliser,
)
from .maps import DifferenceMap as DifferenceMap, DifferenceMaps as DifferenceMaps, difference_maps as difference_maps
from .matrices import (
    DistanceMatrix as DistanceMatrix,
    GroupDistance as GroupDistance,
    GroupReport as GroupReport,
    Neighbour as Neighbour,
    compare_groups as compare_groups,
    distance_matrix as distance_matrix,
    nearest as nearest,
    ranking_discrepancy as ranking_discrepancy,
)
from .pixels import extract_pixels as extract_pixels
from .probes import Probe as Probe, linear_probe as linear_probe, log_odds as log_odds, transfer_score as transfer_score
from .ranking import (
    ImageRanking as ImageRanking,
    LayerScore as LayerScore,
    RankedImage as RankedImage,
    rank_images as rank_images,
)
from .regions import RegionDistance as RegionDistance, RegionReport as RegionReport, compare_regions as compare_regions
from .representations import (
    Representation as Representation,
    coding_length as coding_length,
    describe_features as describe_features,
    intra_class_distance as intra_class_distance,
    singular_spectrum as singular_spectrum,
)
from .sample_size import SampleSizeCurve as SampleSizeCurve, sample_size_curve as sample_size_curve
from .score_tables import ScoreColumn as ScoreColumn, read_scores as read_scores
from .segmentation import (
    PixelClusters as PixelClusters,
    PixelLabeller as PixelLabeller,
    PixelSegmenter as PixelSegmenter,
    cluster_pixels as cluster_pixels,
    label_disagreement as label_disagreement,
    label_images as label_images,
    train_segmenter as train_segmenter,
)
from .selection import select_sensitive as select_sensitive
from .single_images import (
    Exemplar as Exemplar,
    Exemplars as Exemplars,
    compare_images as compare_images,
    find_exemplars as find_exemplars,
)
from .uncertainty import (
    BIAS_RULES as BIAS_RULES,
    Agreement as Agreement,
    BetweenRuns as BetweenRuns,
    BiasRule as BiasRule,
    Correlation as Correlation,
    Difference as Difference,
    Estimate as Estimate,
    Extrapolation as Extrapolation,
    JackknifedDistance as JackknifedDistance,
    NoiseFloor as NoiseFloor,
    RankAgreement as RankAgreement,
    RankedPair as RankedPair,
    Ranking as Ranking,
    Side as Side,
    agreement as agreement,
    average_runs as average_runs,
    between_runs as between_runs,
    compare_pair as compare_pair,
    extrapolate_frechet as extrapolate_frechet,
    jackknife_distance as jackknife_distance,
    noise_floor as noise_floor,
    rank_agreement as rank_agreement,
    rank_intervals as rank_intervals,
)
