from .folders import (
    DNAFolder as DNAFolder,
)
from .folders import (
    holds_dnas as holds_dnas,
)
from .folders import (
    load_dna_folder as load_dna_folder,
)
from .formats.statistics import (
    export_statistics as export_statistics,
)
from .formats.statistics import (
    import_statistics as import_statistics,
)
from .publish import (
    publish as publish,
)
from .store import (
    RangesRecord as RangesRecord,
)
from .store import (
    ReferenceRecord as ReferenceRecord,
)
from .store import (
    ReferenceStore as ReferenceStore,
)
from .store import (
    add_ranges as add_ranges,
)
from .store import (
    add_reference as add_reference,
)
from .store import (
    find_ranges as find_ranges,
)
from .store import (
    list_references as list_references,
)
from .store import (
    load_reference as load_reference,
)
from .store import (
    verify_store as verify_store,
)
