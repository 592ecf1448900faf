from . import analysis as analysis
from . import functional as functional
from . import leaderboard as leaderboard
from . import reports as reports
from ._version import __version__ as __version__
from .build import Reading as Reading
from .build import build_dnas as build_dnas
from .build import calibrate as calibrate
from .dna import VDNA as VDNA
from .dna import GroupedDNA as GroupedDNA
from .dna import compare as compare
from .dna import load_vdna as load_vdna
from .dna.coverage import coverage as coverage
from .dna.quantiles import quantile_ranges as quantile_ranges
from .extractors import (
    ExtractorSpec as ExtractorSpec,
)
from .extractors import (
    FeatureExtractor as FeatureExtractor,
)
from .extractors import (
    create_extractor as create_extractor,
)
from .extractors import (
    list_extractors as list_extractors,
)
from .images import open_images as open_images
from .layout import NeuronLayout as NeuronLayout
from .metrics import (
    ActivationRange as ActivationRange,
)
from .metrics import (
    FrechetInceptionDistance as FrechetInceptionDistance,
)
from .metrics import (
    LayerFrechetDistance as LayerFrechetDistance,
)
from .metrics import (
    NeuronFrechetDistance as NeuronFrechetDistance,
)
from .metrics import (
    VDNAEarthMoversDistance as VDNAEarthMoversDistance,
)
from .neurons import (
    NeuronSelection as NeuronSelection,
)
from .neurons import (
    NeuronWeights as NeuronWeights,
)
from .neurons import (
    load_selection as load_selection,
)
from .neurons import (
    load_weights as load_weights,
)
from .ranges import ActivationRanges as ActivationRanges
from .ranges import load_ranges as load_ranges
from .references import ImageSet as ImageSet
from .references import list_references as list_references
from .references import load_reference as load_reference
from .references import resolve as resolve
