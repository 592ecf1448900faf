from .adding import (
    add_normalisers as add_normalisers,
    add_ranges as add_ranges,
    add_reference as add_reference,
    publish as publish,
    verify_store as verify_store,
)
from .formats.exporting import export_statistics as export_statistics
from .formats.importing import import_statistics as import_statistics
from .image_sets import ImageSet as ImageSet
from .records import RangesRecord as RangesRecord, ReferenceRecord as ReferenceRecord
from .resolve import (
    load_dna_folder as load_dna_folder,
    resolve as resolve,
    resolve_dna as resolve_dna,
    resolve_images as resolve_images,
)
from .store import (
    ReferenceStore as ReferenceStore,
    find_normaliser as find_normaliser,
    find_ranges as find_ranges,
    list_references as list_references,
    load_reference as load_reference,
)
