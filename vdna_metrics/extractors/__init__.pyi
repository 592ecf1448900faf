from .network import (
    FeatureExtractor as FeatureExtractor,
)
from .preprocess import (
    Preprocessing as Preprocessing,
)
from .registry import (
    ExtractorLike as ExtractorLike,
)
from .registry import (
    create_extractor as create_extractor,
)
from .registry import (
    extractor_and_layout as extractor_and_layout,
)
from .registry import (
    get_spec as get_spec,
)
from .registry import (
    list_extractors as list_extractors,
)
from .spec import (
    ExtractorSpec as ExtractorSpec,
)
