"""What each stage from a file to a DNA costs, which of them bounds a pass, and how fast whole passes are.

    python benchmarks/reading.py
    python benchmarks/reading.py --quick
    python benchmarks/reading.py --json reading.json

Stages are timed by one thread in the processor's time, which other work on the machine disturbs little; repeats are
interleaved, and the least and the median are told. What decodes (digest, decode, pixel hash, resize, stack) is done in
`--workers` processes, what counts (transfer, forward, fill) in one: with `w` workers a pass has at most
`min(w / decoding, 1 / counting)` images a second while there are cores for all. Passes run beside the bare network on
images that lie in memory already, in the same round, and are told in images a second and as a share of it. `clean-fid`
is its `get_folder_features` with the same network and size, and as many workers as cores: it decodes, resizes and
pools, and counts nothing.
`GOMP_SPINCOUNT=1000` is what commands set.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import interleaved, options, spread, title, write_json
from cleanfid import fid
from cleanfid.resize import make_resizer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vdna_metrics import Reading, build_dnas, create_extractor, open_images
from vdna_metrics.build.dnas import empty_distribution
from vdna_metrics.cli.process import keep_freed_memory
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.images.decoding import decode_bytes, decode_image, pixel_hash
from vdna_metrics.images.procedural import procedural_images

BATCH = 32
SIZES = {"JPEG 481 x 321": (481, 321), "JPEG 500 x 375": (500, 375), "JPEG 1024 x 1024": (1024, 1024)}
KINDS = (*SIZES, "PNG 481 x 321")
DECODING, COUNTING = ("digest", "decode", "pixel hash", "resize", "stack"), ("transfer", "forward", "fill")


def find_photographs(shared: Path, number: int) -> list[Image.Image]:
    """Photographs of BSDS500, or drawn images where there are none."""
    path = shared / "data" / "bsds500.zip"
    if path.is_file():
        source = open_images(path)
        return [Image.fromarray(decode_image(bytes(source.read(i)))) for i in range(min(number, len(source)))]
    print(f"no photographs at {path}: textured dead leaves take their place")
    return [Image.fromarray(image) for image in procedural_images("dead_leaves_textured", number, size=320)]


def encoded(photographs: Sequence[Image.Image], kind: str) -> list[bytes]:
    """Files of one kind."""
    files = []
    for photograph in photographs:
        size = SIZES.get(kind, (481, 321))
        options: dict[str, Any] = {"format": "PNG"} if kind.startswith("PNG") else {"format": "JPEG", "quality": 90}
        stream = io.BytesIO()
        photograph.resize(size, Image.Resampling.BICUBIC).save(stream, **options)
        files.append(stream.getvalue())
    return files


class _InMemory(Dataset[Tensor]):
    """A batch that is ready, so that a loader of it costs its transfer alone."""

    def __init__(self, batch: Tensor, number: int) -> None:
        self.batch, self.number = batch, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, _: int) -> Tensor:
        return self.batch.clone()


def cpu_ms(works: dict[str, Callable[[], Any]], images: int, repeats: int) -> dict[str, dict[str, float]]:
    """Least and median milliseconds of the processor an image, of works that take turns."""
    spreads = {name: spread(clocks.processor) for name, clocks in interleaved(works, repeats).items()}
    return {name: {"min": 1e3 * low / images, "median": 1e3 * mid / images} for name, (low, mid, _) in spreads.items()}


def time_stages(files: Sequence[bytes], extractor: FeatureExtractor, repeats: int) -> dict[str, dict[str, float]]:
    """Of each stage, of as many images as there are files."""
    resize, images = ResizeImage(extractor.preprocess), [decode_bytes(file).pixels for file in files]
    planes = [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in images]
    resized = [resize(each) for each in planes]
    batch = torch.stack(resized)
    activations = extractor.from_resized(batch)
    histogram = empty_distribution("histogram", extractor.layout, extractor)
    found = cpu_ms(
        {
            "digest": lambda: [hashlib.sha256(file).hexdigest() for file in files],
            "decode": lambda: [decode_bytes(file) for file in files],
            "pixel hash": lambda: [pixel_hash(pixels) for pixels in images],
            "resize": lambda: [resize(each) for each in planes],
            "stack": lambda: torch.stack(resized),
            "forward": lambda: extractor.from_resized(batch),
            "fill": lambda: histogram.fill_(activations),
        },
        len(files),
        repeats,
    )
    number = 8
    loader = DataLoader(_InMemory(batch, number), batch_size=None, num_workers=1, persistent_workers=True)
    found["transfer"] = cpu_ms({"": lambda: [each.shape for each in loader]}, number * len(files), repeats)[""]
    return found


def time_decoders(files: Sequence[bytes], repeats: int) -> dict[str, Any]:
    """Pillow alone, and torchvision's libjpeg: what they cost, and whether torchvision has the same pixels."""
    works: dict[str, Callable[[], Any]] = {
        "Pillow": lambda: [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    }
    same = None
    try:
        from torchvision.io import ImageReadMode, decode_image as decode

        tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
        theirs = [decode(each, ImageReadMode.RGB) for each in tensors]
        ours = [torch.from_numpy(decode_bytes(file).pixels).permute(2, 0, 1) for file in files]
        same = sum(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True)) / len(files)
        works["torchvision"] = lambda: [decode(each, ImageReadMode.RGB) for each in tensors]
    except (ImportError, RuntimeError):
        pass
    return {"ms": cpu_ms(works, len(files), repeats), "torchvision, share of images with the same pixels": same}


def time_passes(
    folder: Path, extractor: FeatureExtractor, settings: Sequence[tuple[int, int]], repeats: int
) -> list[dict[str, Any]]:
    """Whole passes, ours and clean-fid's, and the bare network, in turn; wall time, images a second."""
    source = open_images(folder)
    resize = ResizeImage(extractor.preprocess)
    some = [torch.from_numpy(decode_bytes(bytes(source.read(i))).pixels).permute(2, 0, 1) for i in range(BATCH)]
    batch, n_batches = torch.stack([resize(each) for each in some]), -(-len(source) // BATCH)
    lease = extractor.lease(list(extractor.layout))
    threads = torch.get_num_threads()
    height, width = batch.shape[2:]

    def ours(workers: int) -> None:
        build_dnas(source, extractor, reading=Reading(BATCH, workers))

    def cleanfid(workers: int) -> None:
        fid.get_folder_features(
            str(folder),
            lambda images: next(reversed(extractor.from_resized(images).values())).mean(dim=2).T,
            num_workers=workers,
            batch_size=BATCH,
            device=torch.device("cpu"),
            custom_fn_resize=make_resizer("PIL", False, "bicubic", (width, height)),
            verbose=False,
        )

    cores = max(settings)
    contestants = [("ours", ours, each) for each in settings] + [("clean-fid", cleanfid, cores)]
    rates: dict[tuple[str, int, int], list[tuple[float, float, float]]] = {}
    for repeat in range(repeats + 1):
        for who, run, (of_torch, workers) in contestants:
            torch.set_num_threads(threads)
            begin = time.perf_counter()
            for _ in range(n_batches):
                extractor.from_resized(batch)
            bare = n_batches * BATCH / (time.perf_counter() - begin)
            torch.set_num_threads(of_torch)
            begin, cpu = time.perf_counter(), sum(os.times()[:4])
            run(workers)
            rate = len(source) / (time.perf_counter() - begin)
            if repeat:
                cost = 1e3 * (sum(os.times()[:4]) - cpu) / len(source)
                rates.setdefault((who, of_torch, workers), []).append((rate, rate / bare, cost))
    torch.set_num_threads(threads)
    del lease
    return [
        {
            "who": who,
            "threads": of_torch,
            "workers": workers,
            "images a second": spread(r),
            "of the bare network": spread(s),
            "CPU ms an image": min(c),
        }
        for (who, of_torch, workers), found in rates.items()
        for r, s, c in [tuple(zip(*found, strict=True))]
    ]


def main() -> None:
    """Print the tables."""
    beside = Path(os.environ.get("VDNA_METRICS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    parser = options(__doc__, "few images", 5)
    parser.add_argument("--shared", type=Path, default=beside, help="folder with data/")
    parser.add_argument("--images", type=int, default=500, help="files of a pass")
    arguments = parser.parse_args()
    n_images, repeats = (48, 1) if arguments.quick else (arguments.images, arguments.repeats)
    kept, cores = keep_freed_memory(), os.cpu_count() or 1
    extractor, threads = create_extractor("vdna_tiny"), torch.get_num_threads()
    photographs = find_photographs(arguments.shared, n_images)
    print(f"{title()}, {cores} cores, freed memory is kept: {kept}")
    found: dict[str, Any] = {"kept": kept, "stages": {}, "decoders": {}}
    print("\nby one thread, milliseconds of the processor an image, the least of the repeats")
    print(f"{'':18}" + "".join(f"{stage:>11}" for stage in (*DECODING, *COUNTING, "decoding", "counting")))
    torch.set_num_threads(1)
    for kind in KINDS:
        files = encoded(photographs[:BATCH], kind)
        stages = found["stages"][kind] = time_stages(files, extractor, repeats)
        sums = [sum(stages[stage]["min"] for stage in each) for each in (DECODING, COUNTING)]
        cells = "".join(f"{stages[stage]['min']:11.2f}" for stage in (*DECODING, *COUNTING))
        print(f"{kind:18}{cells}{sums[0]:11.2f}{sums[1]:11.2f}", flush=True)
        found["decoders"][kind] = time_decoders(files, repeats)
        stages["images a second at most, by workers"] = {
            workers: 1e3 * min(workers / sums[0], 1 / sums[1]) for workers in (1, 2, 4, 8, 16)
        }
    print("\ndecoders alone, likewise")
    for kind, decoders in found["decoders"].items():
        told = ", ".join(f"{name} {each['min']:.2f}" for name, each in decoders["ms"].items())
        same = decoders["torchvision, share of images with the same pixels"]
        print(f"{kind:18}{told}" + ("" if same is None else f"; the same pixels in {same:.0%} of the images"))
    print("\nimages a second at most, from these costs, with a core for each process")
    for kind, stages in found["stages"].items():
        at_most = stages["images a second at most, by workers"]
        print(f"{kind:18}" + "".join(f"{workers:>4} workers {rate:6.0f}" for workers, rate in at_most.items()))
    torch.set_num_threads(threads)
    settings = [(t, w) for t in sorted({1, cores}) for w in sorted({0, 1, cores})]
    print(f"\npasses over {len(photographs)} files, JPEG 481 x 321; least, median, most")
    columns = f"{'images a second':>24}{'of the bare network':>24}{'CPU ms an image':>17}"
    print(f"{'':10}{'torch threads':>14}{'workers':>9}{columns}")
    with tempfile.TemporaryDirectory() as folder:
        for place, file in enumerate(encoded(photographs, "JPEG 481 x 321")):
            Path(folder, f"{place:05}.jpg").write_bytes(file)
        found["passes"] = time_passes(Path(folder), extractor, settings, repeats)
    for row in found["passes"]:
        rates = " ".join(f"{rate:6.1f}" for rate in row["images a second"])
        shares = " ".join(f"{share:6.2f}" for share in row["of the bare network"])
        told = f"{rates:>24}{shares:>24}{row['CPU ms an image']:17.2f}"
        print(f"{row['who']:10}{row['threads']:14}{row['workers']:9}{told}")
    write_json(arguments.json, found)


if __name__ == "__main__":
    main()
