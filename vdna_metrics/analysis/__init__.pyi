from .comparison import (
    build_group_dnas as build_group_dnas,
)
from .copies import (
    CopyMatch as CopyMatch,
)
from .copies import (
    CopyReport as CopyReport,
)
from .copies import (
    find_copies as find_copies,
)
from .descriptors import (
    LayerDescriptors as LayerDescriptors,
)
from .descriptors import (
    coding_length as coding_length,
)
from .descriptors import (
    coding_share as coding_share,
)
from .descriptors import (
    dead_neurons as dead_neurons,
)
from .descriptors import (
    describe as describe,
)
from .descriptors import (
    redundancy as redundancy,
)
from .descriptors import (
    sparsity as sparsity,
)
from .desensitise import (
    AttributeDistances as AttributeDistances,
)
from .desensitise import (
    attribute_distances as attribute_distances,
)
from .desensitise import (
    build_attribute_dnas as build_attribute_dnas,
)
from .desensitise import (
    desensitise as desensitise,
)
from .desensitise import (
    learn_weights as learn_weights,
)
from .desensitise import (
    read_attribute_table as read_attribute_table,
)
from .desensitise import (
    sensitivity_deviation as sensitivity_deviation,
)
from .desensitise import (
    sensitivity_removal as sensitivity_removal,
)
from .desensitise import (
    split_images as split_images,
)
from .desensitise import (
    split_of as split_of,
)
from .discrepancy import (
    ranking_discrepancy as ranking_discrepancy,
)
from .explain import (
    DistanceParts as DistanceParts,
)
from .explain import (
    Exemplar as Exemplar,
)
from .explain import (
    Exemplars as Exemplars,
)
from .explain import (
    Explanation as Explanation,
)
from .explain import (
    LayerContribution as LayerContribution,
)
from .explain import (
    NeuronContribution as NeuronContribution,
)
from .explain import (
    emd_parts as emd_parts,
)
from .explain import (
    explain as explain,
)
from .explain import (
    find_exemplars as find_exemplars,
)
from .fidelity import (
    Features as Features,
)
from .fidelity import (
    Fidelity as Fidelity,
)
from .fidelity import (
    collect_features as collect_features,
)
from .fidelity import (
    measure_fidelity as measure_fidelity,
)
from .groups import (
    GroupDistance as GroupDistance,
)
from .groups import (
    GroupReport as GroupReport,
)
from .groups import (
    compare_groups as compare_groups,
)
from .matrices import (
    DistanceMatrix as DistanceMatrix,
)
from .matrices import (
    Neighbour as Neighbour,
)
from .matrices import (
    distance_matrix as distance_matrix,
)
from .matrices import (
    nearest as nearest,
)
from .ranking import (
    ImageRanking as ImageRanking,
)
from .ranking import (
    LayerScore as LayerScore,
)
from .ranking import (
    RankedImage as RankedImage,
)
from .ranking import (
    compare_images as compare_images,
)
from .ranking import (
    rank_images as rank_images,
)
from .sample_size import (
    SampleSizeCurve as SampleSizeCurve,
)
from .sample_size import (
    sample_size_curve as sample_size_curve,
)
from .selection import (
    select_sensitive as select_sensitive,
)
from .uncertainty import (
    BIAS_RULES as BIAS_RULES,
)
from .uncertainty import (
    Agreement as Agreement,
)
from .uncertainty import (
    BiasRule as BiasRule,
)
from .uncertainty import (
    Difference as Difference,
)
from .uncertainty import (
    Estimate as Estimate,
)
from .uncertainty import (
    Extrapolation as Extrapolation,
)
from .uncertainty import (
    JackknifedDistance as JackknifedDistance,
)
from .uncertainty import (
    NoiseFloor as NoiseFloor,
)
from .uncertainty import (
    RankedPair as RankedPair,
)
from .uncertainty import (
    Ranking as Ranking,
)
from .uncertainty import (
    Side as Side,
)
from .uncertainty import (
    agreement as agreement,
)
from .uncertainty import (
    compare_pair as compare_pair,
)
from .uncertainty import (
    extrapolate_frechet as extrapolate_frechet,
)
from .uncertainty import (
    jackknife_distance as jackknife_distance,
)
from .uncertainty import (
    noise_floor as noise_floor,
)
from .uncertainty import (
    rank_intervals as rank_intervals,
)
