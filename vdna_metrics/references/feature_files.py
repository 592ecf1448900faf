"""Files of precomputed features: `.npy`, `.npz` and torch files whose arrays are floats ``[N, d]`` and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vdna_metrics.extractors.precomputed import ONLY_LAYER
from vdna_metrics.files import array_headers, check_limit, errors_of, is_ours, read_arrays, read_npy
from vdna_metrics.references.formats.importing import load_torch, stored_array
from vdna_metrics.references.formats.unpickling import StoredTensor


def read_features(path: str | Path, loaded: Any = None) -> dict[str, NDArray[Any]] | None:
    """Features ``{layer: [N, d]}`` of a file; ``None`` where it holds anything else.

    What decides is the type and the shape, since images are uint8: each array has to be of floats with two axes. The
    array of an ``.npy``, of ``np.savez(path, x)`` or of ``torch.save(x, path)`` is the layer ``"features"``. Nothing is
    unpickled by Python or torch.

    Args:
        path: of the file.
        loaded: what `read_torch` gives of it.

    Raises:
        ValueError: when features are damaged or over their limit, or their layers have other numbers of rows.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {ONLY_LAYER: read_npy(path)} if _are_features(_headers(path)) else None
    if suffix == ".npz":
        headers = {} if is_ours(path) else _headers(path)
        found: dict[str, Any] = read_arrays(path, headers) if _are_features(headers) else {}
    elif suffix in _TORCH:
        found = _of_torch(path, loaded)
    else:
        return None
    if list(found) == ["arr_0"]:
        found = {ONLY_LAYER: found["arr_0"]}
    numbers = {layer: len(rows) for layer, rows in found.items()}
    if len(set(numbers.values())) > 1:
        raise ValueError(f"{path}: expected features of as many images in each layer, got {numbers}")
    return found or None


def _headers(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    try:
        return {name: (header.dtype.kind, header.shape) for name, header in array_headers(path).items()}
    except (ValueError, OSError):  # whoever reads it as images says what is wrong
        return {}


def _are_features(arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> bool:
    """Of kinds and shapes."""
    return bool(arrays) and all(kind == "f" and len(shape) == 2 and shape[1] for kind, shape in arrays.values())


def read_torch(path: str | Path) -> Any:
    """What a file of torch holds; ``None`` for others, and damaged ones."""
    if not Path(path).is_file() or Path(path).suffix.lower() not in _TORCH:
        return None
    try:
        return load_torch(Path(path), str(path))
    except ValueError:  # whoever imports it says what is wrong
        return None


_TORCH = (".pt", ".pth")


def _of_torch(path: Path, loaded: Any) -> dict[str, NDArray[Any]]:
    stored = loaded if isinstance(loaded, Mapping) else {ONLY_LAYER: loaded}
    if not all(isinstance(each, StoredTensor) for each in stored.values()):
        return {}
    if not _are_features({name: (each.dtype.kind, each.shape) for name, each in stored.items()}):
        return {}
    with errors_of(str(path)):
        check_limit("array_bytes", sum(each.nbytes for each in stored.values()), f"its {len(stored)} arrays")
    return {str(name): stored_array(each, str(name), str(path)) for name, each in stored.items()}
