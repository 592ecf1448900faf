from . import caveats as caveats, compare as compare
from .account import ImageAccount as ImageAccount
from .columns import Column as Column, find_column as find_column, list_columns as list_columns
from .distances import (
    Distance as Distance,
    find_distance as find_distance,
    list_distances as list_distances,
    register_distance as register_distance,
)
from .grouped import GroupedDNA as GroupedDNA
from .principal import principal_directions as principal_directions
from .serialization import load_vdna as load_vdna
from .vdna import VDNA as VDNA, ImageClusters as ImageClusters, Provenance as Provenance
