"""From images to network input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vdna_metrics.extractors.preprocess import Preprocessing, ResizeImage

MODES = ("clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics")


def _images(n: int = 2, height: int = 24, width: int = 18) -> Tensor:
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(7, 11), (40, 33)])
def test_images_are_treated_one_by_one(mode: str, size: tuple[int, int]) -> None:
    """An image gives the same input alone as inside a batch."""
    preprocess = Preprocessing(mode, size)
    images = _images(5)
    together = preprocess(images)
    assert together.shape == (5, 3, *size)
    for i in range(5):
        torch.testing.assert_close(preprocess(images[i : i + 1])[0], together[i], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_images_of_the_right_size_are_not_resized(mode: str) -> None:
    """Images that have the network's size already keep their values exactly."""
    images = _images()
    assert torch.equal(Preprocessing(mode, (24, 18)).resize(images), images.float())


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_is_a_batch(mode: str) -> None:
    """No images give no inputs, in the shape of the others."""
    assert Preprocessing(mode, (8, 9))(_images(0)).shape == (0, 3, 8, 9)


def test_images_keep_their_size_without_one() -> None:
    """Without a size every batch is normalised as it comes."""
    preprocess = Preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    images = _images()
    expected = (images.double() / 255 - torch.tensor([0.5, 0.25, 0.0]).view(3, 1, 1)) / torch.tensor(
        [0.5, 0.25, 1.0]
    ).view(3, 1, 1)
    torch.testing.assert_close(preprocess(images).double(), expected, rtol=0, atol=1e-6)


def test_inception_normalisation_is_exact() -> None:
    """Mean and std of 128/255 give exactly (x - 128) / 128, as the FID Inception was trained with."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    preprocess = Preprocessing("torchmetrics", mean=(128 / 255,) * 3, std=(128 / 255,) * 3)
    assert torch.equal(preprocess(levels), (levels.float() - 128) / 128)


def test_clean_is_clipped() -> None:
    """Bicubic overshoots at edges, and `clean` clips it to [0, 255]."""
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    images[..., 4:] = 255
    resized = Preprocessing("clean", (32, 32)).resize(images)
    assert resized.min() == 0
    assert resized.max() == 255


def test_interpolation_is_chosen_for_clean() -> None:
    """`clean` resizes bilinearly on request, and says so in its id."""
    images = _images()
    bilinear = Preprocessing("clean", (9, 9), interpolation="bilinear")
    expected = torch.nn.functional.interpolate(
        images.float(), (9, 9), mode="bilinear", antialias=True, align_corners=False
    )
    torch.testing.assert_close(bilinear.resize(images), expected)
    assert bilinear.id.startswith("clean:bilinear:9x9")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flip", [False, True])
def test_center_takes_the_largest_central_square(mode: str, flip: bool) -> None:
    """Crop `center` gives what the same central square cut by hand gives."""
    images = _images(2, 31, 20)
    square = images[..., 5:25, :]
    if flip:
        images, square = images.transpose(2, 3), square.transpose(2, 3)
    cropped = Preprocessing(mode, (8, 8), crop="center").resize(images)
    torch.testing.assert_close(cropped, Preprocessing(mode, (8, 8)).resize(square.contiguous()))


@pytest.mark.parametrize(("height", "width", "resized"), [(40, 20, (16, 8)), (20, 40, (8, 16)), (20, 41, (8, 16))])
def test_short_side_center_keeps_proportions(height: int, width: int, resized: tuple[int, int]) -> None:
    """Crop `short_side_center` resizes the short side to the size and takes the centre."""
    images = _images(2, height, width)
    whole = Preprocessing("clean", resized).resize(images)
    top, left = (resized[0] - 8) // 2, (resized[1] - 8) // 2
    cropped = Preprocessing("clean", (8, 8), crop="short_side_center").resize(images)
    torch.testing.assert_close(cropped, whole[..., top : top + 8, left : left + 8])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_are_scaled_with_rounding(dtype: torch.dtype) -> None:
    """Floats that were made from uint8 by a division by 255 give exactly the result of the uint8."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    preprocess = Preprocessing("clean", (9, 9), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    floats = (levels.double() / 255).to(dtype)
    assert torch.equal(preprocess(floats, normalize=True), preprocess(levels))


def test_images_are_left_alone() -> None:
    """The caller's images are never changed."""
    for mode in MODES:
        for images, normalize in ((_images(), False), (torch.rand(2, 3, 9, 9), True)):
            before = images.clone()
            Preprocessing(mode, (9, 9), mean=(0.5,) * 3)(images, normalize=normalize)
            assert torch.equal(images, before)


def test_none_hands_images_over() -> None:
    """Mode `none` gives the very tensor, with any number of channels."""
    images = torch.randint(0, 256, (2, 1, 5, 5), dtype=torch.uint8)
    assert Preprocessing("none")(images) is images
    floats = torch.full((2, 5, 4, 4), 7.0)
    assert Preprocessing("none")(floats, normalize=True) is floats


def test_memory_layout_does_not_matter() -> None:
    """Images in channels-last memory, and transposed views, give the values of contiguous ones."""
    images = _images()
    preprocess = Preprocessing("clean", (9, 12))
    expected = preprocess(images)
    torch.testing.assert_close(preprocess(images.to(memory_format=torch.channels_last)), expected, rtol=0, atol=1e-5)
    view = images.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(preprocess(view), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"mode": "clean", "size": (224, 224)}, "clean:bicubic:224x224:mean=0,0,0:std=1,1,1"),
        ({"mode": "clean", "size": None}, "clean:bicubic:own-size:mean=0,0,0:std=1,1,1"),
        ({"mode": "clean", "size": (8, 9), "crop": "center"}, "clean:bicubic:8x9:crop=center:mean=0,0,0:std=1,1,1"),
        ({"mode": "legacy_pytorch", "size": (8, 8)}, "legacy_pytorch:8x8:mean=0,0,0:std=1,1,1"),
        (
            {"mode": "torchmetrics", "size": (299, 299), "mean": (0.5,) * 3, "std": (0.25,) * 3},
            "torchmetrics:299x299:mean=0.5,0.5,0.5:std=0.25,0.25,0.25",
        ),
        ({"mode": "none"}, "none"),
    ],
)
def test_the_id_names_all_that_matters(arguments: dict[str, object], text: str) -> None:
    """The id spells out mode, size, crop and normalisation."""
    assert Preprocessing(**arguments).id == text


_FLOATS = torch.linspace(0, 1, 96).view(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("images", "normalize", "error", "message"),
    [
        (np.zeros((1, 3, 4, 4), np.uint8), False, TypeError, "images must be a torch.Tensor, got ndarray"),
        (
            torch.zeros(3, 4, 4, dtype=torch.uint8),
            False,
            ValueError,
            r"must be \[N, 3, H, W\] \(RGB\), got \[3, 4, 4\]",
        ),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), False, ValueError, r"got \[1, 1, 4, 4\]"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), False, ValueError, r"got \[1, 4, 4, 3\]"),
        (torch.zeros(1, 3, 0, 4, dtype=torch.uint8), False, ValueError, r"images have no pixels: \[1, 3, 0, 4\]"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), True, TypeError, "got torch.uint8; for uint8 use normalize=False"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), True, TypeError, r"takes floats in \[0, 1\], got torch.int64"),
        (
            _FLOATS,
            False,
            TypeError,
            r"uint8 in \[0, 255\], got torch.float32; for floats in \[0, 1\] use normalize=True",
        ),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), False, TypeError, "got torch.int64$"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bool), False, TypeError, "got torch.bool$"),
        (_FLOATS * 255, True, ValueError, r"takes images in \[0, 1\], got values in \[0, 255\]"),
        (_FLOATS - 1, True, ValueError, r"got values in \[-1, 0\]"),
        (_FLOATS.clone().index_fill_(0, torch.tensor([1]), torch.nan), True, ValueError, r"got values in \[nan, nan\]"),
        (_FLOATS.clone().index_fill_(0, torch.tensor([1]), torch.inf), True, ValueError, r"got values in \[0, inf\]"),
    ],
)
def test_wrong_images_are_refused(images: object, normalize: bool, error: type[Exception], message: str) -> None:
    """Wrong type, shape, channels, sizes and values are errors that say what came and what to do."""
    with pytest.raises(error, match=message):
        Preprocessing("clean", (8, 8))(images, normalize=normalize)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "cleen"}, "unknown preprocessing 'cleen'; known: clean, legacy_tensorflow"),
        ({"crop": "middle"}, "unknown crop 'middle'; known: none, center, short_side_center"),
        ({"interpolation": "nearest"}, "unknown interpolation 'nearest'; known: bicubic, bilinear"),
        ({"crop": "center"}, "crop 'center' needs a size"),
        ({"mode": "none", "size": (8, 8), "crop": "center"}, "crop 'center' and preprocessing 'none', which leaves"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, str], message: str) -> None:
    """Unknown modes, crops and filters are errors that list the known ones; a crop needs a size."""
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_nothing_is_read_away_from_the_cpu() -> None:
    """Away from the CPU no value is read, which would make the host wait for the device."""
    out = Preprocessing()(torch.full((1, 3, 2, 2), 2.0, device="meta"), normalize=True)
    assert out.device.type == "meta"  # no value was read: a meta tensor has none


def test_a_large_image_is_resized_by_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bits of one that is resized as a whole, which takes three times the memory."""
    image = torch.randint(0, 256, (3, 61, 47), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for preprocess in (Preprocessing(size=(20, 30)), Preprocessing(size=(20, 20), crop="short_side_center")):
        whole = ResizeImage(preprocess)(image)
        with monkeypatch.context() as patch:
            patch.setattr("vdna_metrics.extractors.preprocess._LARGE", 1)
            assert torch.equal(ResizeImage(preprocess)(image), whole)
