from .dnas import (
    build_dnas as build_dnas,
)
from .dnas import (
    calibrate as calibrate,
)
from .groups import (
    DealtSet as DealtSet,
)
from .groups import (
    build_dealt_dnas as build_dealt_dnas,
)
from .reading import (
    Reading as Reading,
)
