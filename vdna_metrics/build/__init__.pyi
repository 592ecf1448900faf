from .dnas import build_dnas as build_dnas
from .leading import led as led
from .partitions import (
    Partition as Partition,
    attributes as attributes,
    class_folders as class_folders,
    disjoint_groups as disjoint_groups,
    grouped_labels as grouped_labels,
    labelled as labelled,
)
from .passes import calibrate as calibrate
from .reading import Reading as Reading
from .sampling import UnpaddedSampler as UnpaddedSampler
from .sets import BuiltSet as BuiltSet, build_set as build_set
