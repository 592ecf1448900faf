from .batches import ImageBatch as ImageBatch, ImageDataset as ImageDataset, iterate_images as iterate_images
from .clusters import ClusterRule as ClusterRule, cluster_images as cluster_images, likely_clusters as likely_clusters
from .dataset_table import DatasetRecord as DatasetRecord
from .datasets import list_datasets as list_datasets, open_dataset as open_dataset
from .decoding import decode_image as decode_image
from .opening import open_images as open_images
from .procedural import open_procedural as open_procedural, procedural_images as procedural_images
from .sources import (
    ImageSource as ImageSource,
    evenly_spaced as evenly_spaced,
    manifest_hash as manifest_hash,
    select_images as select_images,
)
