"""What ranking single images costs beside the network that looks at them, and how error bars grow with neurons.

A folder of drawn photographs is read, decoded, resized and looked at, once by the network alone and once by
`rank_images`; contestants take turns, and the processor's time of all threads is compared, which other work on the
machine disturbs little.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from _measure import beside_stored, interleaved, options, ratios, title, write_json
from PIL import Image

from vdna_metrics import create_extractor, load_reference, open_images
from vdna_metrics.analysis import rank_images
from vdna_metrics.build import Reading
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.images.batches import iterate_images
from vdna_metrics.images.procedural import procedural_images

BATCH = 32
COLUMNS = {"emd": "histogram", "nfd": "gaussian", "lfd": "layer_gaussian"}


def write_photographs(folder: Path, number: int) -> None:
    """JPEG files of 320 x 320 dead leaves."""
    for place, image in enumerate(procedural_images("dead_leaves_textured", number, size=320)):
        Image.fromarray(image).save(folder / f"{place:05}.jpg", quality=90)


def look(folder: Path, extractor: FeatureExtractor) -> None:
    """The network alone."""
    reading = iterate_images(
        open_images(folder), transform=ResizeImage(extractor.preprocess), batch_size=BATCH, workers=0
    )
    for batch in reading:
        extractor.from_resized(batch.images)


def main() -> None:
    """Print the table."""
    parser = options(__doc__, "few images and one repeat", 5)
    parser.add_argument("--images", type=int, default=256)
    arguments = parser.parse_args()
    repeats, number = (1, 32) if arguments.quick else (arguments.repeats, arguments.images)

    extractor = create_extractor("vdna_tiny")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photographs(folder, number)
        contestants: dict[str, Callable[[], object]] = {"network alone": lambda: look(folder, extractor)}
        reading = Reading(batch_size=BATCH, workers=0)
        for column, kind in COLUMNS.items():
            real = load_reference(f"bsds500/test@{extractor.name}", kind=kind)
            contestants[f"rank by {column}"] = lambda column=column, real=real: rank_images(
                folder, real, extractor, distance=column, reading=reading
            )
        taken = {what: clocks.processor for what, clocks in interleaved(contestants, repeats).items()}
    alone = taken["network alone"]
    rates = {what: ratios(alone, each) for what, each in taken.items()}
    print(title())
    print(f"{number} JPEG files of 320 x 320, {extractor.name}; of the network's rate: minimum, median, maximum")
    for what, (low, middle, high) in rates.items():
        print(f"{what:<16}{1e3 * median(taken[what]) / number:8.2f} ms  {low:5.2f} {middle:5.2f} {high:5.2f}")
    write_json(arguments.json, taken)
    if arguments.quick:
        beside_stored(__file__, {f"{what}, of the network's rate": rate[1] for what, rate in rates.items()})


if __name__ == "__main__":
    main()
