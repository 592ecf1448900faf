from . import (
    compare as compare,
)
from .grouped import (
    GroupedDNA as GroupedDNA,
)
from .grouped import (
    deal as deal,
)
from .serialization import (
    load_vdna as load_vdna,
)
from .vdna import (
    VDNA as VDNA,
)
from .vdna import (
    Provenance as Provenance,
)
