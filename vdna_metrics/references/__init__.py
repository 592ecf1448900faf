"""References: images in, DNAs and ranges out, kept by name."""

from vdna_metrics.references.build import Reading, build_dnas, calibrate
from vdna_metrics.references.images import ImageSource, open_images
from vdna_metrics.references.store import ReferenceRecord, list_references, load_reference

__all__ = [
    "ImageSource",
    "Reading",
    "ReferenceRecord",
    "build_dnas",
    "calibrate",
    "list_references",
    "load_reference",
    "open_images",
]
