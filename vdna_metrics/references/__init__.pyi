from .adding import (
    add_ranges as add_ranges,
)
from .adding import (
    add_reference as add_reference,
)
from .adding import (
    add_references as add_references,
)
from .adding import (
    verify_store as verify_store,
)
from .folders import (
    DNAFolder as DNAFolder,
)
from .folders import (
    holds_dnas as holds_dnas,
)
from .folders import (
    load_dna_folder as load_dna_folder,
)
from .formats.exporting import (
    export_statistics as export_statistics,
)
from .formats.importing import (
    import_statistics as import_statistics,
)
from .publish import (
    publish as publish,
)
from .records import (
    RangesRecord as RangesRecord,
)
from .records import (
    ReferenceRecord as ReferenceRecord,
)
from .resolve import (
    ImageSet as ImageSet,
)
from .resolve import (
    resolve as resolve,
)
from .resolve import (
    resolve_images as resolve_images,
)
from .resolve import (
    resolve_together as resolve_together,
)
from .store import (
    ReferenceStore as ReferenceStore,
)
from .store import (
    find_ranges as find_ranges,
)
from .store import (
    list_references as list_references,
)
from .store import (
    load_grouped_reference as load_grouped_reference,
)
from .store import (
    load_reference as load_reference,
)
