"""FID with torchmetrics' signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.wrappers.feature_share import NetworkCache

from vdna_metrics.distributions import LayerGaussianDistribution
from vdna_metrics.dna.distances import LFD, Distance
from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
from vdna_metrics.extractors.modes import Crop, PreprocessingMode
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import create_extractor, raw_module_extractor
from vdna_metrics.extractors.response import probe_image
from vdna_metrics.extractors.weights import weights_sha256
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.metrics.base import ReferenceLike
from vdna_metrics.metrics.distances import GaussianDistanceMetric
from vdna_metrics.neurons import NeuronSelection

_SELECTIONS = (NeuronSelection, str, Path)
_LAYERS = {64: "block_0", 192: "block_1", 768: "block_2", 2048: "block_3"}


class _FeatureNetwork(nn.Module):
    """The network of a FID as torchmetrics' metrics hold theirs: images in, ``[N, d]`` out.

    It runs as the metric does: in eval mode, without gradients, once a batch for all that share it. What else is asked
    of it, the network itself answers; of casts and moves only a move has an effect.

    Args:
        extractor: whose network.
        layout: the layer and neurons.
    """

    def __init__(self, extractor: FeatureExtractor, layout: NeuronLayout) -> None:
        super().__init__()
        self.network = extractor.network
        self._extractor = extractor
        self._layout = layout
        self._lease: Any = None

    @property
    def forward(self) -> Callable[[Tensor], Tensor]:
        """The call itself.

        ``torchmetrics.wrappers.FeatureShare`` assigns a cache here, which takes a reused buffer for an old batch. It is
        left out, and batches are kept for one more reader instead.
        """
        return self._features

    @forward.setter
    def forward(self, cached: object) -> None:
        self._lease = self._extractor.lease(list(self._layout))

    def _features(self, images: Tensor) -> Tensor:
        read = self._extractor if self._lease is None else lambda x: self._lease(x)[0]
        (activations,) = self._layout.pick(read(images)).values()
        return activations.mean(dim=2).T.contiguous()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _FeatureNetwork:
        self._extractor._move_to(fn(torch.zeros(1)).device)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def __deepcopy__(self, memo: dict[int, Any]) -> _FeatureNetwork:
        return self

    def __repr__(self) -> str:
        return repr(self.network)  # by which FeatureShare knows networks


class _State:
    """A state that takes up, before anybody reads it, what was done to the moments given out of it."""

    def __init__(self, *, real: bool) -> None:
        self.real = real
        self.name = "real_state" if real else "generated_state"

    def __get__(self, metric: FrechetInceptionDistance | None, owner: type) -> Any:
        if metric is None:
            return self
        metric._take_up(self.real)
        return metric.__dict__[self.name]

    def __set__(self, metric: FrechetInceptionDistance, state: Tensor) -> None:
        metric._given.pop(self.real, None)
        metric.__dict__[self.name] = state


class _Moment:
    """A state of torchmetrics' class, by side and place: to be read, set and changed in place."""

    def __init__(self, place: int, *, real: bool) -> None:
        self.place = place
        self.real = real

    def __get__(self, metric: FrechetInceptionDistance | None, owner: type) -> Any:
        return self if metric is None else metric._moments(self.real)[self.place]

    def __set__(self, metric: FrechetInceptionDistance, value: Tensor | float) -> None:
        moment = metric._moments(self.real)[self.place]
        if value is moment:  # after a change in place
            return
        if self.real and metric.reference is not None:
            raise ValueError("real features cannot be set: the real side of this metric is its reference")
        with torch.inference_mode(False):
            moment.copy_(torch.as_tensor(value).detach())


class FrechetInceptionDistance(GaussianDistanceMetric):
    r"""FID: the Fréchet distance between Gaussians of the FID Inception's features.

    The first six arguments are those of ``torchmetrics.image.fid.FrechetInceptionDistance``, and so are the attributes
    that code reads and writes: one changed import is enough. The page "In place of FID" lists what is better here: for
    example, floats are scaled with rounding where torchmetrics truncates, and covariances that are rank deficient give
    a correct distance.

    Attributes of torchmetrics' class:
        real_features_sum, fake_features_sum: sum of the features, ``[d]`` float64. This and the next two may be read,
            set and changed in place; the metric's own state is another, around a centre.
        real_features_cov_sum, fake_features_cov_sum: sum of their products, ``[d, d]`` float64.
        real_features_num_samples, fake_features_num_samples: number of images, an int64 scalar.
        inception: the network, a ``torch.nn.Module`` that gives ``[N, d]``.
        used_custom_model: whether it is the user's.
        orig_dtype: type of its features; the distance has it, or that of ``set_dtype``, whichever is wider.

    Args:
        feature: 64, 192, 768 or 2048, the layer of the FID Inception by its number of neurons; or a
            ``torch.nn.Module`` that takes the images as they are given, whatever they are, and returns ``[N, d]``.
        reset_real_features: whether ``reset`` forgets real images.
        normalize: whether images are floats in [0, 1] instead of uint8.
        input_img_size: for a module without ``num_features``: size of the image that finds its ``d``, ``(3, H, W)``.
        feature_extractor_weights_path: local weights file of the FID Inception, as pytorch-fid and torch-fidelity
            publish it; downloaded when absent.
        antialias: whether images are resized with antialiasing; ``False`` resizes as TensorFlow 1 did.
        preprocessing: how images are resized instead of by ``antialias``, which a reference of others asks for:
            ``"clean"`` as clean-fid, ``"legacy_tensorflow"`` as ADM, StyleGAN, EDM and torch-fidelity,
            ``"legacy_pytorch"`` as pytorch-fid, ``"torchmetrics"``; see `Preprocessing`.
        crop: what of an image is looked at, see `Preprocessing`.
        neurons: of the neurons to look at, indices, a `NeuronSelection`, or its file; the distance of their marginal, a
            submatrix of the covariance.
        reference: layer Gaussian DNA of the real images: a ``VDNA``, a path, or a name from the store.
        state_device: where moments are kept, by default the metric's device.
        metric_kwargs: of ``torchmetrics.Metric``.

    Raises:
        TypeError: when ``feature`` is neither an int nor a module, or its ``num_features`` no number.
        ValueError: for another number, weights that cannot be had, or ``directions=``, which are a layer of their own.

    Source:
        Heusel et al.: GANs trained by a two time-scale update rule, NeurIPS 2017.

    Examples:
        >>> from vdna_metrics import FrechetInceptionDistance
        >>> features = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
        >>> fid = FrechetInceptionDistance(features, normalize=True, input_img_size=(3, 8, 8))
        >>> images = torch.rand(50, 3, 8, 8)
        >>> fid.update(images, real=True)
        >>> fid.update(images, real=False)
        >>> bool(fid.compute() < 1e-9)
        True
        >>> fid.real_features_num_samples, fid.inception(images).shape
        (tensor(50), torch.Size([50, 3]))
    """

    distance: ClassVar[Distance] = LFD
    feature_network = "inception"
    orig_dtype: torch.dtype
    real_state = _State(real=True)
    generated_state = _State(real=False)
    real_features_sum = _Moment(0, real=True)
    real_features_cov_sum = _Moment(1, real=True)
    real_features_num_samples = _Moment(2, real=True)
    fake_features_sum = _Moment(0, real=False)
    fake_features_cov_sum = _Moment(1, real=False)
    fake_features_num_samples = _Moment(2, real=False)

    def __init__(
        self,
        feature: int | nn.Module = 2048,
        reset_real_features: bool = True,
        normalize: bool = False,
        input_img_size: tuple[int, int, int] = (3, 299, 299),
        feature_extractor_weights_path: str | Path | None = None,
        antialias: bool = True,
        *,
        preprocessing: PreprocessingMode | None = None,
        crop: Crop | None = None,
        neurons: Sequence[int] | Tensor | NeuronSelection | str | Path | None = None,
        reference: ReferenceLike | None = None,
        state_device: torch.device | str | None = None,
        **metric_kwargs: Any,
    ) -> None:
        if "directions" in metric_kwargs:
            raise ValueError(
                "FrechetInceptionDistance is the distance of one layer: for directions take "
                "LayerFrechetDistance(..., directions={layer: n})"
            )
        self._given: dict[bool, tuple[list[Tensor], list[int]]] = {}  # moments of a side, and their versions
        # Many a subclass of torchmetrics' overrides `add_state` to make buffers of its states. It knows no others: ours
        # are made without it, and saved as buffers would be.
        own = type(self).add_state is not Metric.add_state
        self.__dict__["add_state"] = partial(Metric.add_state, self, persistent=own)
        extractor, layer = inception_extractor(
            feature, normalize, input_img_size, feature_extractor_weights_path, antialias, preprocessing, crop
        )
        super().__init__(
            extractor,
            reference=reference,
            layers=[layer],
            neurons=neurons if neurons is None or isinstance(neurons, _SELECTIONS) else {layer: neurons},
            normalize=normalize,
            reset_real_features=reset_real_features,
            state_device=state_device,
            **metric_kwargs,
        )
        del self.__dict__["add_state"]
        self.used_custom_model = isinstance(feature, nn.Module)
        dtypes = (parameter.dtype for parameter in extractor.network.parameters())
        self.orig_dtype = next(filter(lambda dtype: dtype.is_floating_point, dtypes), torch.float32)

    @property
    def inception(self) -> _FeatureNetwork:
        """The network, on the metric's device."""
        return _FeatureNetwork(self.extractor, self.layout).to(self.device)

    def __setattr__(self, name: str, value: Any) -> None:
        # Not a setter: torch registers a module before it would look for one. The network comes back moved or wrapped.
        if name != "inception":
            super().__setattr__(name, value)
            return
        network, cached = self.extractor.network, isinstance(value, NetworkCache)
        if cached and value.network is network:  # another metric is the first of a FeatureShare
            del network.forward  # its cache, see `_FeatureNetwork.forward`
            value.network = self.inception
            value.network.forward = None
        if not cached and all(part is not network for part in getattr(value, "modules", list)()):
            raise ValueError("a metric keeps its network: build FrechetInceptionDistance(feature=...) with another")

    def _activations(self, imgs: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        activations, changed = super()._activations(imgs)
        if imgs.shape[0]:
            self.orig_dtype = next(iter(activations.values())).dtype
        return activations, changed

    def _as_result(self, value: Tensor) -> Tensor:
        return value.to(device=self.device, dtype=torch.promote_types(self.dtype, self.orig_dtype))

    def _moments(self, real: bool) -> list[Tensor]:
        if real not in self._given:
            self._computed = None  # nobody tells of a change in place
            reference = self.reference if real else None
            with torch.inference_mode(False):
                given = self._side(real) if reference is None else reference.distribution
                side = LayerGaussianDistribution(self.layout, given.state)
                side = side.about(torch.zeros_like(side.centre))
                (scatter,) = side.scatters().values()
                moments = [side.first.clone(), scatter.clone(), side.state[0].long()]
            if reference is not None:
                return moments
            self._given[real] = moments, [moment._version for moment in moments]
        return self._given[real][0]

    def _take_up(self, real: bool) -> None:
        moments, versions = self._given.pop(real, ([], []))
        if [moment._version for moment in moments] == versions:
            return
        state = self.real_state if real else self.generated_state
        with torch.inference_mode():
            side = LayerGaussianDistribution(self.layout, state)
            (scatter,) = side.scatters().values()
            side.first.copy_(moments[0])
            scatter.copy_(moments[1].triu() + moments[1].triu(1).T)  # files keep one triangle
            side.centre.zero_()
            side.state[0] = moments[2]

    def __getstate__(self) -> dict[str, Any]:
        for real in list(self._given):
            self._take_up(real)
        return super().__getstate__()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # What torchmetrics' class saves: its network, and its states where they were made persistent.
        network = f"{prefix}inception."
        names = [name for name in state_dict if name.startswith(network)]
        weights = {name.removeprefix(network): state_dict.pop(name) for name in names}
        if weights and self.used_custom_model and weights_sha256(weights) != self.fingerprint.weights:
            raise ValueError(
                "the network of the checkpoint has other weights than feature=: load them into that module first, then "
                "build the metric"
            )
        for name, moment in vars(FrechetInceptionDistance).items():
            if isinstance(moment, _Moment) and prefix + name in state_dict:
                setattr(self, name, state_dict.pop(prefix + name))
                self._update_count = max(1, self._update_count)  # else compute warns of no update
        super()._load_from_state_dict(state_dict, prefix, *args)


def inception_extractor(
    feature: int | nn.Module,
    normalize: bool,
    input_img_size: tuple[int, int, int],
    weights_path: str | Path | None,
    antialias: bool,
    preprocessing: PreprocessingMode | None = None,
    crop: Crop | None = None,
) -> tuple[FeatureExtractor, str]:
    """The network that torchmetrics' ``feature=`` and the arguments beside it stand for, and the layer."""
    if isinstance(feature, nn.Module):
        for name, value in (("preprocessing", preprocessing), ("crop", crop)):
            if value is not None:
                raise ValueError(f"{name}={value!r} is for the FID Inception; a module gets images as they are given")
        known = getattr(feature, "num_features", None)
        if known is None:
            probe = probe_image(*input_img_size)
            return raw_module_extractor(feature, probe=probe / 255 if normalize else probe), "output"
        if not isinstance(known, int | Tensor):
            raise TypeError(f"num_features of feature must be an int or a Tensor, got {type(known).__name__}")
        return raw_module_extractor(feature, probe=int(known)), "output"
    if not isinstance(feature, int):
        raise TypeError(f"feature must be an int or a torch.nn.Module, got {type(feature).__name__}")
    if feature not in _LAYERS:
        raise ValueError(f"feature must be one of {tuple(_LAYERS)}, got {feature}")
    if preprocessing is None:
        preprocessing = "torchmetrics" if antialias else "legacy_tensorflow"
    elif not antialias:
        raise ValueError(f"antialias=False and preprocessing={preprocessing!r}: give one of them")
    if preprocessing not in FID_INCEPTIONS:
        raise ValueError(f"preprocessing must be one of {', '.join(FID_INCEPTIONS)}, got {preprocessing!r}")
    return create_extractor(FID_INCEPTIONS[preprocessing], weights_path=weights_path, crop=crop), _LAYERS[feature]
