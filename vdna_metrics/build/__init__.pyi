from .dnas import (
    build_dnas as build_dnas,
)
from .partitions import (
    Partition as Partition,
)
from .partitions import (
    attributes as attributes,
)
from .partitions import (
    class_folders as class_folders,
)
from .partitions import (
    disjoint_groups as disjoint_groups,
)
from .partitions import (
    labelled as labelled,
)
from .ranges import (
    calibrate as calibrate,
)
from .reading import (
    Reading as Reading,
)
from .sets import (
    BuiltSet as BuiltSet,
)
from .sets import (
    build_set as build_set,
)
from .sets import (
    known_ranges as known_ranges,
)
