from .folders import (
    DNAFolder as DNAFolder,
    holds_dnas as holds_dnas,
    load_dna_folder as load_dna_folder,
)
from .formats.statistics import (
    export_statistics as export_statistics,
    import_statistics as import_statistics,
)
from .publish import (
    publish as publish,
)
from .store import (
    RangesRecord as RangesRecord,
    ReferenceRecord as ReferenceRecord,
    ReferenceStore as ReferenceStore,
    add_ranges as add_ranges,
    add_reference as add_reference,
    find_ranges as find_ranges,
    list_references as list_references,
    load_reference as load_reference,
    verify_store as verify_store,
)
