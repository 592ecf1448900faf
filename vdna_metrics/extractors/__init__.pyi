from .directions import Directions as Directions, GivenDirections as GivenDirections
from .grids import PositionGrid as PositionGrid
from .network import FeatureExtractor as FeatureExtractor, shared_forward as shared_forward
from .precomputed import PrecomputedFeatures as PrecomputedFeatures
from .preprocess import Preprocessing as Preprocessing
from .registry import (
    ExtractorLike as ExtractorLike,
    create_extractor as create_extractor,
    extractor_and_layout as extractor_and_layout,
    get_spec as get_spec,
    list_extractors as list_extractors,
)
from .spec import ExtractorSpec as ExtractorSpec, load_spec as load_spec
