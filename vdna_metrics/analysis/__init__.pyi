from .comparison import (
    DistanceMatrix as DistanceMatrix,
)
from .comparison import (
    DistanceName as DistanceName,
)
from .comparison import (
    GroupDistance as GroupDistance,
)
from .comparison import (
    GroupReport as GroupReport,
)
from .comparison import (
    Neighbour as Neighbour,
)
from .comparison import (
    SampleSizeCurve as SampleSizeCurve,
)
from .comparison import (
    compare_groups as compare_groups,
)
from .comparison import (
    distance_matrix as distance_matrix,
)
from .comparison import (
    nearest as nearest,
)
from .comparison import (
    ranking_discrepancy as ranking_discrepancy,
)
from .comparison import (
    sample_size_curve as sample_size_curve,
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
from .exemplars import (
    Exemplar as Exemplar,
)
from .exemplars import (
    Exemplars as Exemplars,
)
from .exemplars import (
    find_exemplars as find_exemplars,
)
from .explain import (
    DistanceParts as DistanceParts,
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
from .pairs import (
    compare_images as compare_images,
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
    rank_images as rank_images,
)
from .selection import (
    select_sensitive as select_sensitive,
)
from .uncertainty import (
    Agreement as Agreement,
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
