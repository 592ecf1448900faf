"""References: images in, DNAs and ranges out, kept by name."""

from vdna_metrics.references.build import build_dnas, calibrate
from vdna_metrics.references.datasets import DatasetRecord, list_datasets, open_dataset
from vdna_metrics.references.dealing import DealtSet, DNAFolder, build_dealt_dnas, holds_dnas, load_dna_folder
from vdna_metrics.references.images import ImageSource, evenly_spaced, open_images, select_images
from vdna_metrics.references.importers import export_statistics, import_statistics
from vdna_metrics.references.publish import publish
from vdna_metrics.references.reading import Reading
from vdna_metrics.references.store import (
    RangesRecord,
    ReferenceRecord,
    ReferenceStore,
    add_ranges,
    add_reference,
    find_ranges,
    list_references,
    load_reference,
    verify_store,
)

__all__ = [
    "DNAFolder",
    "DatasetRecord",
    "DealtSet",
    "ImageSource",
    "RangesRecord",
    "Reading",
    "ReferenceRecord",
    "ReferenceStore",
    "add_ranges",
    "add_reference",
    "build_dealt_dnas",
    "build_dnas",
    "calibrate",
    "evenly_spaced",
    "export_statistics",
    "find_ranges",
    "holds_dnas",
    "import_statistics",
    "list_datasets",
    "list_references",
    "load_dna_folder",
    "load_reference",
    "open_dataset",
    "open_images",
    "publish",
    "select_images",
    "verify_store",
]
