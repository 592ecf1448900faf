from .dnas import (
    build_dnas as build_dnas,
    calibrate as calibrate,
)
from .groups import (
    DealtSet as DealtSet,
    build_dealt_dnas as build_dealt_dnas,
)
from .reading import (
    Reading as Reading,
)
