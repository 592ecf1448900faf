"""From images to network input: one id serves files and tensors, CPU and GPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vdna_metrics.extractors.modes import Crop, Interpolation, PreprocessingMode
from vdna_metrics.functional.hashing import image_hashes, row_hashes
from vdna_metrics.layout import check_choice

if TYPE_CHECKING:
    from vdna_metrics.extractors.precomputed import PrecomputedFeatures


class ImageTypeError(TypeError, ValueError):
    """Images of a type that is not taken; as a ``ValueError`` the peers' FID raises it."""


@dataclass(frozen=True)
class Preprocessing:
    """Resizing, cropping and normalisation of images.

    Args:
        mode: how images are resized.
            ``"clean"``: antialiased, not rounded, clipped to [0, 255]; equals clean-fid's Pillow path within 0.003
            of 255 when bicubic.
            ``"legacy_tensorflow"``: bilinear without antialiasing, pixel corners aligned at the origin, as
            TensorFlow 1 and the first FID code.
            ``"legacy_pytorch"``: bilinear without antialiasing, pixel centres aligned, clipped.
            ``"torchmetrics"``: antialiased bilinear, not clipped, as ``torchmetrics.image.fid``.
            ``"none"``: nothing at all is done, the network gets what the user gave.
        size: height and width of the network's input; ``None`` keeps the images' own.
        crop: ``"none"`` squeezes the whole image into ``size``; ``"center"`` takes the largest central square first;
            ``"short_side_center"`` resizes the short side, then takes the centre.
        interpolation: filter of mode ``"clean"``.
        mean: subtracted from channel values in [0, 1].
        std: then divided by.
    """

    mode: PreprocessingMode = "clean"
    size: tuple[int, int] | None = None
    crop: Crop = "none"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        check_choice("preprocessing", self.mode, PreprocessingMode)
        check_choice("crop", self.crop, Crop)
        check_choice("interpolation", self.interpolation, Interpolation)
        if self.crop != "none" and self.size is None:
            raise ValueError(f"crop {self.crop!r} needs a size: without one images keep their own")
        if self.crop != "none" and self.mode == "none":
            raise ValueError(f"crop {self.crop!r} and preprocessing 'none', which leaves images as they are: give one")

    @property
    def id(self) -> str:
        """Readable identity, compared before DNAs are.

        Examples:
            >>> Preprocessing(size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).id
            'clean:bicubic:224x224:mean=0.5,0.5,0.5:std=0.5,0.5,0.5'
        """
        if self.mode == "none":
            return "none"
        parts: list[str] = [self.mode]
        if self.mode == "clean":
            parts.append(self.interpolation)
        parts.append("own-size" if self.size is None else f"{self.size[0]}x{self.size[1]}")
        if self.crop != "none":
            parts.append(f"crop={self.crop}")
        statistics = (("mean", self.mean), ("std", self.std))
        parts += [f"{name}={','.join(f'{v:g}' for v in values)}" for name, values in statistics]
        return ":".join(parts)

    @staticmethod
    def crop_of(id: str) -> Crop:
        """The crop that an `id` tells.

        Examples:
            >>> Preprocessing.crop_of(Preprocessing(size=(8, 8), crop="center").id), Preprocessing.crop_of("none")
            ('center', 'none')
        """
        found = [part.removeprefix("crop=") for part in id.split(":") if part.startswith("crop=")]
        return found[0] if found else "none"  # type: ignore[return-value]

    def resize(self, images: Tensor) -> Tensor:
        """``[N, 3, H, W]`` uint8 or float in [0, 255] -> ``[N, 3, *size]`` float32 in [0, 255]; "none" as given."""
        if self.mode == "none":
            return images
        x = images.to(torch.float32)
        if self.size is None:
            return x
        height, width = self.size
        if self.crop == "center":
            side = min(x.shape[-2:])
            x = _central(x, (side, side))
        elif self.crop == "short_side_center":
            scale = max(height / x.shape[-2], width / x.shape[-1])
            target = (max(height, round(x.shape[-2] * scale)), max(width, round(x.shape[-1] * scale)))
            return _central(self._resize_to(x, target), (height, width))
        return self._resize_to(x, (height, width))

    def _resize_to(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(x.shape[-2:]) == size:
            return x
        if self.mode == "clean":
            return F.interpolate(x, size, mode=self.interpolation, antialias=True, align_corners=False).clamp_(0, 255)
        if self.mode == "legacy_pytorch":
            return F.interpolate(x, size, mode="bilinear", align_corners=False).clamp_(0, 255)
        if self.mode == "torchmetrics":
            return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return _bilinear_from_origin(_bilinear_from_origin(x, size[1], dim=-1), size[0], dim=-2)

    def seen_part(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of an image that the network sees, to the nearest pixel: what a crop leaves of it.

        Examples:
            >>> Preprocessing(size=(32, 32), crop="short_side_center").seen_part(64, 100)
            (slice(0, 64, None), slice(18, 82, None))
        """
        if self.size is None or self.crop == "none":
            return slice(0, height), slice(0, width)
        scale = 1.0 if self.crop == "center" else max(self.size[0] / height, self.size[1] / width)
        wanted = (min(height, width),) * 2 if self.crop == "center" else self.size
        sides = (min(whole, round(side / scale)) for whole, side in zip((height, width), wanted, strict=True))
        rows, columns = map(_middle, (height, width), sides)
        return rows, columns

    def normalise(self, resized: Tensor) -> Tensor:
        """``[N, 3, H, W]`` float32 in [0, 255] -> network input."""
        if self.mode == "none":
            return resized
        # (x - 255 mean) / (255 std), not x / 255 first: for mean = 128/255 it is exactly (x - 128) / 128.
        return (resized - _channels(self.mean, resized.device)) / _channels(self.std, resized.device)

    def __call__(self, images: Tensor, *, normalize: bool = False) -> Tensor:
        """Check, resize and normalise a batch.

        Args:
            images: ``[N, 3, H, W]`` uint8, or float in [0, 1] with ``normalize=True``; anything in mode "none".
            normalize: whether images are floats in [0, 1]; they are scaled to [0, 255] with rounding.

        Raises:
            TypeError: for another dtype, also a ``ValueError``.
            ValueError: for another shape, and on CPU for values outside [0, 1]. On other devices such images become
                NaN instead, so that nothing waits for the device; the error then comes from ``compute``.
        """
        if not isinstance(images, Tensor):
            raise ImageTypeError(f"images must be a torch.Tensor, got {type(images).__name__}")
        if self.mode == "none":
            return images
        _check_images(images, normalize=normalize)
        if normalize:
            images = _scale_to_255(images)
        return self.normalise(self.resize(images))

    def hashes(self, images: Tensor, *, normalize: bool = False) -> Tensor:
        """What tells images apart that a call takes: `image_hashes` of their pixels, ``[N]`` int64."""
        if self.mode == "none" and (images.dtype != torch.uint8 or images.ndim != 4):  # whatever a module takes
            return row_hashes(images.reshape(len(images), -1))
        return image_hashes(_scale_to_255(images).byte() if normalize else images)


@dataclass(frozen=True)
class ResizeImage:
    """One image ``[3, H, W]`` to the network's size, for the workers that decode; picklable.

    Args:
        preprocess: of the network.

    Examples:
        >>> ResizeImage(Preprocessing(size=(4, 6)))(torch.zeros(3, 8, 8, dtype=torch.uint8)).shape
        torch.Size([3, 4, 6])
    """

    preprocess: Preprocessing | PrecomputedFeatures

    def __call__(self, image: Tensor) -> Tensor:
        """``[3, H, W]`` uint8 -> ``[3, *size]`` float32 in [0, 255]."""
        prepare = self.preprocess
        clean = isinstance(prepare, Preprocessing) and prepare.mode == "clean"
        if clean and image.shape[-2] * image.shape[-1] >= _LARGE:
            # As float32 it would take four times the memory; a channel at a time gives the same bits.
            return torch.stack([prepare.resize(channel[None, None])[0, 0] for channel in image])
        # Antialiased kernels give the same bits for any strides; others have a kernel of their own for decoded pixels.
        return prepare.resize(image[None] if clean else image[None].contiguous())[0]


_LARGE = 1 << 24  # pixels


@cache
def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    # Kept on the device: a copy a batch would make the host wait for it.
    return torch.tensor([255 * v for v in values], dtype=torch.float32, device=device).view(-1, 1, 1)


def _check_images(images: Tensor, *, normalize: bool) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        features = images.ndim == 2 and images.is_floating_point()
        hint = "; features [N, d] are for extractor=PrecomputedFeatures({layer: d})" if features else ""
        raise ValueError(f"images must be [N, 3, H, W] (RGB), got {list(images.shape)}{hint}")
    if images.layout is not torch.strided:
        raise ImageTypeError(f"images must be a dense tensor, got {images.layout}; to_dense() makes one")
    if 0 in images.shape[2:]:
        raise ValueError(f"images have no pixels: {list(images.shape)}")
    if normalize and not images.is_floating_point():
        raise ImageTypeError(
            f"normalize=True takes floats in [0, 1], got {images.dtype}; for uint8 use normalize=False"
        )
    if not normalize and images.dtype != torch.uint8:
        hint = "; for floats in [0, 1] use normalize=True" if images.is_floating_point() else ""
        raise ImageTypeError(f"images must be uint8 in [0, 255], got {images.dtype}{hint}")


def _scale_to_255(images: Tensor) -> Tensor:
    valid = (images >= 0) & (images <= 1)  # False for NaN
    if images.device.type == "cpu" and not valid.all():
        low, high = float(images.min()), float(images.max())
        raise ValueError(f"normalize=True takes images in [0, 1], got values in [{low:.4g}, {high:.4g}]")
    scaled = (images.to(torch.float32) * 255).round_()
    return scaled if images.device.type == "cpu" else scaled.where(valid, torch.nan)


def _central(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x[..., _middle(x.shape[-2], size[0]), _middle(x.shape[-1], size[1])]


def _middle(whole: int, side: int) -> slice:
    first = (whole - side) // 2
    return slice(first, first + side)


def _bilinear_from_origin(x: Tensor, size: int, *, dim: int) -> Tensor:
    # TensorFlow 1's resize_bilinear(align_corners=False): output i samples input i * scale, one axis at a time.
    position = torch.arange(size, dtype=torch.float32, device=x.device) * (x.shape[dim] / size)
    lower = position.long()
    upper = (lower + 1).clamp_(max=x.shape[dim] - 1)
    weight = (position - lower).view([-1] + [1] * (-1 - dim))
    return torch.lerp(x.index_select(dim, lower), x.index_select(dim, upper), weight)
