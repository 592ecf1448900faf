"""Preprocessing against the resizers of clean-fid, torch-fidelity, torchmetrics and vdna."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.images import open_images
from vdna_metrics.images.decoding import decode_image

pytestmark = [
    pytest.mark.parity,
    # clean-fid's resizer, on every call.
    pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning"),
]

SIZES = (16, 224, 299, 512)


@pytest.fixture(scope="module")
def photographs(shared: Path) -> list[NDArray[np.uint8]]:
    """Photographs of several sizes and shapes, [H, W, 3]: BSDS500, ImageNet, thumbnails, and an odd crop."""
    found = []
    for name, indices in (
        ("bsds500.zip", (0, 250)),
        ("imagenet_sample_1000.zip", (3,)),
        ("cifar10_jpeg_test.zip", (5,)),
    ):
        source = open_images(shared / "data" / name)
        found += [decode_image(source.read(index)) for index in indices]
    return [*found, np.ascontiguousarray(found[0][3:100, 5:272])]


def _extremes() -> list[NDArray[np.uint8]]:
    checks = np.indices((33, 47)).sum(axis=0) % 2 * 255
    step = np.where(np.arange(60)[:, None] < 30, 0, 255) * np.ones(41)
    grays = [checks, step, np.full((1, 1), 200), np.arange(256).reshape(1, 256), np.full((300, 2), 255)]
    return [np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2) for gray in grays]


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


def _channels_first(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def _check_against_cleanfid(mode: str, library: str, filter_name: str, images: list[NDArray[np.uint8]]) -> None:
    from cleanfid.resize import make_resizer

    for size in SIZES:
        resizer = make_resizer(library, False, filter_name, (size, size))
        for image in images:
            ours = Preprocessing(mode, (size, size)).resize(_tensor(image))
            difference = (ours - _channels_first(resizer(image))).abs().max()
            assert difference <= 0.01, f"{image.shape} to {size}: {difference:.4f} of 255"


def test_clean_is_cleanfids_resizer_on_photographs(photographs: list[NDArray[np.uint8]]) -> None:
    """`clean` is within 0.01 of 255 of clean-fid's Pillow path on photographs, downwards and upwards."""
    _check_against_cleanfid("clean", "PIL", "bicubic", photographs)


def test_clean_is_cleanfids_resizer_on_extremes() -> None:
    """`clean` is within 0.01 of 255 of clean-fid's Pillow path on single pixels, lines, steps and checkerboards."""
    _check_against_cleanfid("clean", "PIL", "bicubic", _extremes())


def test_legacy_pytorch_is_cleanfids(photographs: list[NDArray[np.uint8]]) -> None:
    """`legacy_pytorch` is clean-fid's resizer of that name."""
    _check_against_cleanfid("legacy_pytorch", "PyTorch", "bilinear", [*photographs, *_extremes()])


def test_legacy_tensorflow_is_torch_fidelitys(photographs: list[NDArray[np.uint8]]) -> None:
    """`legacy_tensorflow` is torch-fidelity's copy of TensorFlow 1's resizer, to rounding."""
    tensorflow = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    for size in (16, 299):
        for image in [*photographs, *_extremes()]:
            theirs = tensorflow.interpolate_bilinear_2d_like_tensorflow1x(
                _tensor(image).float(), size=(size, size), align_corners=False
            )
            ours = Preprocessing("legacy_tensorflow", (size, size)).resize(_tensor(image))
            assert (ours - theirs).abs().max() <= 0.01, (image.shape, size)


class _Seen(Exception):  # noqa: N818
    """Carries the first convolution's input out of torchmetrics' network."""


class _FirstConvolution(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise _Seen(x)


@pytest.mark.parametrize(("antialias", "mode"), [(True, "torchmetrics"), (False, "legacy_tensorflow")])
def test_torchmetrics_is_torchmetrics_fids(antialias: bool, mode: str, photographs: list[NDArray[np.uint8]]) -> None:
    """Mode `torchmetrics` gives what torchmetrics' FID hands to its first convolution, `antialias=False` too."""
    pytest.importorskip("torch_fidelity")
    from torchmetrics.image.fid import NoTrainInceptionV3

    theirs = NoTrainInceptionV3.__new__(NoTrainInceptionV3)
    nn.Module.__init__(theirs)
    theirs.features_list, theirs.use_antialias = ["64"], antialias
    theirs.Conv2d_1a_3x3 = _FirstConvolution()
    ours = Preprocessing(mode, (299, 299), mean=(128 / 255,) * 3, std=(128 / 255,) * 3)
    for image in [*photographs[::2], *_extremes()]:
        with pytest.raises(_Seen) as seen:
            theirs(_tensor(image))
        assert (ours(_tensor(image)) - seen.value.args[0]).abs().max() <= 0.01 / 128, image.shape


def test_center_crop_is_vdnas(photographs: list[NDArray[np.uint8]]) -> None:
    """Crop `center` cuts the square that the vdna package cuts."""
    im = pytest.importorskip("vdna.utils.im")
    for image in photographs:
        square = im._make_np_img_square(image, "center")
        ours = Preprocessing("clean", (64, 64), crop="center").resize(_tensor(image))
        torch.testing.assert_close(ours, Preprocessing("clean", (64, 64)).resize(_tensor(square)), rtol=0, atol=1e-4)
