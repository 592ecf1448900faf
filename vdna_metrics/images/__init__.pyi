from .batches import (
    ImageBatch as ImageBatch,
)
from .batches import (
    ImageDataset as ImageDataset,
)
from .batches import (
    iterate_images as iterate_images,
)
from .dataset_table import (
    DatasetRecord as DatasetRecord,
)
from .datasets import (
    list_datasets as list_datasets,
)
from .datasets import (
    open_dataset as open_dataset,
)
from .decoding import (
    decode_image as decode_image,
)
from .opening import (
    open_images as open_images,
)
from .procedural import (
    open_procedural as open_procedural,
)
from .procedural import (
    procedural_images as procedural_images,
)
from .sources import (
    ImageSource as ImageSource,
)
from .sources import (
    evenly_spaced as evenly_spaced,
)
from .sources import (
    manifest_hash as manifest_hash,
)
from .sources import (
    select_images as select_images,
)
