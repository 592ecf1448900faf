from . import (
    compare as compare,
)
from .columns import (
    Column as Column,
)
from .columns import (
    find_column as find_column,
)
from .columns import (
    list_columns as list_columns,
)
from .distances import (
    Distance as Distance,
)
from .distances import (
    find_distance as find_distance,
)
from .distances import (
    list_distances as list_distances,
)
from .distances import (
    register_distance as register_distance,
)
from .grouped import (
    GroupedDNA as GroupedDNA,
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
