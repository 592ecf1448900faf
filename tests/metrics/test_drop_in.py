"""FID in the place of torchmetrics': what public code does with that class, done with both.

Each usage was seen in public repositories (training loops, callbacks, benchmarks, subclasses). It gets a class, with a
module that stands for the Inception, and must end alike: in the same values and types, or in an error that is also
torchmetrics'.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers.metric_tester import images
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, MetricTracker
from torchmetrics.image.fid import FrechetInceptionDistance as TorchmetricsFID
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.wrappers import BootStrapper, FeatureShare, MinMaxMetric

from vdna_metrics import FrechetInceptionDistance

pytestmark = [
    pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit"),
]

FID = Any  # either class
SIZE = (3, 8, 8)
REAL, FAKE = images(40, 1, size=8), images(30, 2, size=8)
NAMES = [f"{side}_features_{moment}" for side in ("real", "fake") for moment in ("sum", "cov_sum", "num_samples")]


class Features(nn.Module):
    """``[N, ...]`` of any numbers to ``[N, 5]``; in float64, so that torchmetrics' formula has digits enough."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(64, 5, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Products with the first 64 numbers of each."""
        return (x.double() / (255 if x.dtype == torch.uint8 else 1)).flatten(1)[:, :64] @ self.weight


class Sized(Features):
    """It says its number of features, and takes 8 x 8 pixels only."""

    num_features: Any = 5

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 8, 8] to [N, 5]."""
        assert x.shape[1:] == SIZE
        return super().forward(x)


class Called(Features):
    """It is what its call is."""

    def __call__(self, x: Tensor) -> Tensor:
        """[N, ...] to [N, 5]."""
        return 2 * super().__call__(x)


class Squeezed(Features):
    """It gives `[5]` for one image."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] to [N, 5] or [5]."""
        return super().forward(x).squeeze()


class Single(Features):
    """It gives float32."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] to [N, 5]."""
        return super().forward(x).float()


class Given(nn.Identity):
    """The features themselves are given as images."""

    num_features = 5


def build(cls: FID, feature: nn.Module | None = None, **options: Any) -> Any:
    """A metric of either class on small images."""
    return cls(Features() if feature is None else feature, input_img_size=SIZE, **options)


def feed(metric: Any, real: Tensor | None = REAL, fake: Tensor | None = FAKE) -> Any:
    """Update both sides in batches of 16."""
    for side, name in ((real, True), (fake, False)):
        for batch in () if side is None else side.split(16):
            metric.update(batch, real=name)
    return metric


def moments(metric: Any, names: list[str] = NAMES) -> dict[str, Tensor]:
    """Copies of torchmetrics' states."""
    return {name: getattr(metric, name).clone() for name in names}


USAGES: dict[str, Callable[[FID], Any]] = {}
ERRORS: dict[str, Callable[[FID], Any]] = {}


def usage(function: Callable[[FID], Any]) -> Callable[[FID], Any]:
    """Register a usage that ends in values."""
    USAGES[function.__name__.strip("_").replace("_", " ")] = function
    return function


def error(function: Callable[[FID], Any]) -> Callable[[FID], Any]:
    """Register a usage that ends in an error."""
    ERRORS[function.__name__.strip("_").replace("_", " ")] = function
    return function


# ------------------------------------------------------------------------------------------------------ what goes in
@usage
def _two_sides(cls: FID) -> Any:
    return feed(build(cls)).compute()


@usage
def _images_by_keyword(cls: FID) -> Any:
    metric = build(cls)
    for imgs, real in ((REAL, 1), (FAKE, 0)):
        metric.update(imgs=imgs, real=real)
    return metric.compute()


@usage
def _real_by_position(cls: FID) -> Any:
    metric = build(cls)
    metric.update(REAL, True)
    metric.update(FAKE, False)
    return metric.compute().item()


@usage
def _arguments_by_position(cls: FID) -> Any:
    metric = cls(Features(), False, True, SIZE)
    return feed(metric, REAL / 255, FAKE / 255).compute()


@usage
def _image_by_image(cls: FID) -> Any:
    metric = build(cls)
    for image in REAL[:6]:
        metric.update(image.unsqueeze(0), real=True)
    metric.update(FAKE, real=False)
    return metric.compute()


@usage
def _floats_with_normalize(cls: FID) -> Any:
    return feed(build(cls, normalize=True), REAL / 255, FAKE / 255).compute()


@usage
def _floats_for_a_module_without_normalize(cls: FID) -> Any:
    return feed(build(cls), REAL / 127.5 - 1, FAKE / 127.5 - 1).compute()


@usage
def _half_precision_images(cls: FID) -> Any:
    return feed(build(cls), (REAL / 255).half(), (FAKE / 255).half()).compute()


@usage
def _integers_for_a_module(cls: FID) -> Any:
    return feed(build(cls, Sized()), REAL.long(), FAKE.long()).compute()


@usage
def _images_of_one_channel(cls: FID) -> Any:
    return feed(cls(Features(), input_img_size=(1, 8, 8)), REAL[:, :1], FAKE[:, :1]).compute()


@usage
def _videos(cls: FID) -> Any:
    return feed(build(cls), REAL.view(8, 5, 3, 8, 8), FAKE.view(6, 5, 3, 8, 8)).compute()


@usage
def _features_instead_of_images(cls: FID) -> Any:
    with torch.no_grad():
        return feed(cls(Given()), Features()(REAL).float(), Features()(FAKE).float()).compute()


@usage
def _an_empty_batch(cls: FID) -> Any:
    metric = feed(build(cls))
    metric.update(FAKE[:0], real=False)
    return metric.compute(), metric.fake_features_num_samples


@usage
def _images_with_a_graph(cls: FID) -> Any:
    fake = (FAKE / 255).requires_grad_() * 1
    return feed(build(cls), REAL / 255, fake).compute().requires_grad


@usage
def _under_inference_mode(cls: FID) -> Any:
    metric = build(cls)
    with torch.inference_mode():
        feed(metric)
        first = metric.compute()
        metric.reset()
        return first, feed(metric, REAL, FAKE[:20]).compute(), moments(metric)


# ------------------------------------------------------------------------------------------------------------ networks
@usage
def _a_module_that_says_its_features(cls: FID) -> Any:
    return feed(cls(Sized())).compute()


@usage
def _number_of_features_in_a_tensor(cls: FID) -> Any:
    network = Sized()
    network.num_features = torch.tensor(5)
    return feed(cls(network)).compute()


@error
def _number_of_features_in_words(cls: FID) -> Any:
    network = Sized()
    network.num_features = "five"
    return cls(network)


@usage
def _call_overridden(cls: FID) -> Any:
    return feed(build(cls, Called())).compute()


@usage
def _a_module_that_squeezes(cls: FID) -> Any:
    metric = feed(build(cls, Squeezed()))
    metric.update(FAKE[:1], real=False)
    return metric.compute()


@usage
def _a_scripted_module(cls: FID) -> Any:
    return feed(build(cls, torch.jit.trace(Features(), REAL))).compute()


@usage
def _a_module_in_float32(cls: FID) -> Any:
    metric = feed(build(cls, Single()))
    return metric.compute(), metric.orig_dtype, moments(metric)


@usage
def _features_by_the_metrics_network(cls: FID) -> Any:
    metric = build(cls)
    with torch.no_grad():
        return metric.inception(REAL)


@usage
def _network_moved_by_hand(cls: FID) -> Any:
    metric = feed(build(cls))
    metric.inception = metric.inception.to("cpu")
    metric.inception.eval()
    found = next(metric.inception.parameters()).device, isinstance(metric.inception, nn.Module)
    return found, metric.inception.weight.shape, feed(metric).compute()


@usage
def _network_wrapped_by_hand(cls: FID) -> Any:
    metric = build(cls)
    metric.inception = nn.Sequential(metric.inception)
    return feed(metric).compute()


# -------------------------------------------------------------------------------------------------------------- epochs
@usage
def _compute_twice(cls: FID) -> Any:
    metric = feed(build(cls))
    return metric.compute(), metric.compute(), feed(metric, None, FAKE[:9]).compute()


@usage
def _reset_for_the_next_epoch(cls: FID) -> Any:
    metric = feed(build(cls))
    metric.reset()
    return moments(metric), feed(metric, FAKE, REAL).compute()


@usage
def _real_features_kept(cls: FID) -> Any:
    metric = feed(build(cls, reset_real_features=False), REAL, None)
    found = []
    for part in FAKE.split(10):
        metric.update(part, real=False)
        found.append(metric.compute())
        metric.reset()
    return found, moments(metric)


@usage
def _kept_from_now_on(cls: FID) -> Any:
    metric = feed(build(cls))
    metric.reset_real_features = False
    metric.reset()
    return metric.real_features_num_samples, metric.fake_features_num_samples


@usage
def _a_copy_for_each_generator(cls: FID) -> Any:
    base = feed(build(cls), REAL, None)
    base.requires_grad_(False)
    return [feed(copied, None, FAKE).compute() for copied in (copy.deepcopy(base), base.clone())], moments(base)


@usage
def _counts_of_updates(cls: FID) -> Any:
    metric = feed(build(cls), REAL[:16], FAKE[:16])
    return metric.update_count, metric.update_called, metric.device, metric.dtype


# ------------------------------------------------------------------------------------------------ its states, in hand
@usage
def _states_read(cls: FID) -> Any:
    return moments(feed(build(cls)))


@usage
def _mean_and_covariance_of_the_states(cls: FID) -> Any:
    metric = feed(build(cls))
    n = int(metric.real_features_num_samples.item())
    mean = metric.real_features_sum / n
    return (metric.real_features_cov_sum - n * torch.outer(mean, mean)) / (n - 1), range(n)


@usage
def _saved_and_set(cls: FID) -> Any:
    saved, metric = moments(feed(build(cls), fake=None), NAMES[:3]), build(cls)
    for name, value in saved.items():
        setattr(metric, name, value.to(metric.device))
    feed(metric, None, FAKE)
    found = metric.compute(), moments(metric)
    metric.update(REAL, real=True)
    return found, moments(metric)


@usage
def _all_set(cls: FID) -> Any:
    saved, metric = moments(feed(build(cls))), build(cls)
    metric.update(FAKE[:3], real=True)  # which is overwritten
    for name in reversed(NAMES):
        setattr(metric, name, saved[name])
    metric.update(FAKE[:3], real=False)
    return metric.compute(), moments(metric)


@usage
def _restored_in_place_after_reset(cls: FID) -> Any:
    metric = feed(build(cls))
    saved = moments(metric, NAMES[:3])
    found = []
    for part in FAKE.split(10):
        metric.reset()
        for name, value in saved.items():
            getattr(metric, name).copy_(value)
        metric.update(part, real=False)
        found.append(metric.compute())
    return found, moments(metric)


@usage
def _copied_in_place_from_another(cls: FID) -> Any:
    one, other = feed(build(cls), fake=None), build(cls)
    with torch.inference_mode():
        for name in NAMES[:3]:
            getattr(other, name).copy_(getattr(one, name))
    return feed(other, None).compute()


@usage
def _zeroed_in_place(cls: FID) -> Any:
    metric = feed(build(cls))
    for name in NAMES[3:]:
        getattr(metric, name).zero_()
    return feed(metric, None, FAKE[:12]).compute(), moments(metric)


@usage
def _own_features_added(cls: FID) -> Any:
    metric, network = build(cls), Features()
    for batch, side in ((REAL, "real"), (FAKE, "fake")):
        with torch.no_grad():
            features = network(batch).double()
        metric.orig_dtype = features.dtype
        for name, value in (("sum", features.sum(dim=0)), ("cov_sum", features.T @ features), ("num_samples", 30)):
            setattr(metric, f"{side}_features_{name}", getattr(metric, f"{side}_features_{name}") + value)
    metric.real_features_num_samples += 10
    return feed(metric).compute(), moments(metric)


@usage
def _reduced_by_hand(cls: FID) -> Any:
    metric = feed(build(cls))
    for name in NAMES:  # as torch.distributed.all_reduce changes them
        getattr(metric, name).mul_(2)
    return metric.compute()


@usage
def _saved_to_a_file(cls: FID) -> Any:
    metric = feed(build(cls))
    metric.real_features_sum.mul_(2)
    return moments(pickle.loads(pickle.dumps(metric))), moments(copy.deepcopy(metric))


# ---------------------------------------------------------------------------------------------------------- subclasses
@usage
def _a_subclass_that_resizes(cls: FID) -> Any:
    class Resizing(cls):
        def update(self, imgs: Tensor, real: bool) -> None:
            imgs = nn.functional.interpolate(imgs.float(), size=8, mode="bicubic")
            super().update(imgs.clamp(0, 255).byte(), real)

    return feed(Resizing(Features(), input_img_size=SIZE), images(9, 1), images(9, 2)).compute()


@usage
def _a_subclass_with_its_own_update(cls: FID) -> Any:
    class Own(cls):
        def update(self, imgs: Tensor, real: bool) -> None:
            imgs = (imgs * 255).byte() if self.normalize and not self.used_custom_model else imgs
            features = self.inception(imgs)
            self.orig_dtype = features.dtype
            features = features.double()
            if real:
                self.real_features_sum += features.sum(dim=0)
                self.real_features_cov_sum += features.t().mm(features)
                self.real_features_num_samples += imgs.shape[0]
            else:
                self.fake_features_sum += features.sum(dim=0)
                self.fake_features_cov_sum += features.t().mm(features)
                self.fake_features_num_samples += imgs.shape[0]

    metric = feed(Own(Features(), input_img_size=SIZE))
    return metric.compute(), moments(metric)


@usage
def _a_subclass_with_its_own_reset(cls: FID) -> Any:
    class Keeping(cls):
        def reset(self) -> None:
            kept = {name: copy.deepcopy(getattr(self, name)) for name in NAMES[:3]}
            super().reset()
            for name, value in kept.items():
                setattr(self, name, value)

    metric = feed(Keeping(Features(), input_img_size=SIZE))
    metric.reset()
    return feed(metric, None, FAKE[:9]).compute(), moments(metric)


@usage
def _a_subclass_with_states_of_its_own(cls: FID) -> Any:
    class Counting(cls):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, imgs: Tensor, real: bool) -> None:
            super().update(imgs, real)
            self.batches += 1

    metric, other = (feed(Counting(Features(), input_img_size=SIZE)) for _ in range(2))
    metric.merge_state(other)
    seen = metric.batches.clone()
    metric.reset()
    return seen, metric.batches, feed(metric).compute()


@usage
def _a_compiled_module(cls: FID) -> Any:
    return feed(build(cls, torch.compile(Features(), backend="eager"))).compute()


@usage
def _a_module_in_parallel(cls: FID) -> Any:
    return feed(build(cls, nn.DataParallel(Features()))).compute()


@usage
def _a_subclass_with_its_own_compute(cls: FID) -> Any:
    class Named(cls):
        def compute(self) -> dict[str, Any]:
            mean = self.fake_features_sum / self.fake_features_num_samples
            return {"fid": super().compute(), "mean": mean}

    return feed(Named(Features(), input_img_size=SIZE)).compute()


@usage
def _a_subclass_with_buffers(cls: FID) -> Any:
    class Buffered(cls):
        def add_state(self, name: str, default: Tensor, *_: Any, **__: Any) -> None:
            self.register_buffer(name, default)

    metric, loaded = feed(Buffered(Features(), input_img_size=SIZE)), Buffered(Features(), input_img_size=SIZE)
    for name in NAMES:
        setattr(metric, name, getattr(metric, name) * 2)
    loaded.load_state_dict(metric.state_dict())
    loaded.orig_dtype = metric.orig_dtype
    return metric.compute(), moments(metric), loaded.compute()


# ------------------------------------------------------------------------------------------------- torchmetrics around
@usage
def _a_collection_of_both(cls: FID) -> Any:
    network = Features()
    collection = MetricCollection(
        {"fid": build(cls, network), "kid": KernelInceptionDistance(network, subset_size=10, subsets=3)}, prefix="val_"
    )
    feed(collection)
    torch.manual_seed(0)
    return collection.compute(), list(collection.clone(prefix="test_"))


def _shared(cls: FID, *, first: bool) -> Any:
    network = Features()
    both: list[Metric] = [build(cls, network), KernelInceptionDistance(network, subset_size=10, subsets=3)]
    share = feed(FeatureShare(both[:: 1 if first else -1]))
    torch.manual_seed(0)
    return dict(sorted(share.compute().items()))


@usage
def _feature_share_first(cls: FID) -> Any:
    return _shared(cls, first=True)


@usage
def _feature_share_last(cls: FID) -> Any:
    return _shared(cls, first=False)


@usage
def _tracked(cls: FID) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torchmetrics 1.6
        tracker = MetricTracker(build(cls), maximize=False)
    for part in FAKE.split(15):
        tracker.increment()
        feed(tracker, REAL, part)
    return tracker.compute_all(), tracker.best_metric(return_step=True)


@usage
def _smallest_and_largest(cls: FID) -> Any:
    metric = MinMaxMetric(build(cls, reset_real_features=False))
    return feed(metric, REAL, FAKE[:10]).compute(), feed(metric, None, FAKE[10:]).compute()


@usage
def _smallest_and_largest_of_batches(cls: FID) -> Any:
    metric = MinMaxMetric(build(cls, reset_real_features=False))
    feed(metric, fake=None)
    return [metric(part, real=False) for part in FAKE.split(10)]


@usage
def _bootstrapped(cls: FID) -> Any:
    metric = BootStrapper(build(cls), num_bootstraps=3, raw=True)
    torch.manual_seed(0)
    return feed(metric).compute()


@usage
def _a_callback_of_lightning(cls: FID) -> Any:
    module = nn.Module()
    module.fid = build(cls)
    module.train().to("cpu")
    return feed(module.fid).compute(), module.fid.training


@usage
def _gathered_over_processes(cls: FID) -> Any:
    def gather(x: Tensor, group: Any) -> list[Tensor]:
        return [x, x]

    metric = feed(build(cls, dist_sync_fn=gather, distributed_available_fn=lambda: True))
    found = metric.compute(), moments(metric)
    metric.sync(gather)
    inside = moments(metric)
    metric.unsync()
    return found, inside


@usage
def _alone_among_processes(cls: FID) -> Any:
    options = {"sync_on_compute": False, "compute_on_cpu": True, "compute_with_cache": False}
    return feed(build(cls, distributed_available_fn=lambda: True, **options)).compute()


@usage
def _merged(cls: FID) -> Any:
    metric = feed(build(cls), REAL[:20], FAKE)
    metric.merge_state(feed(build(cls), REAL[20:], FAKE[:3]))
    return metric.compute(), moments(metric)


@usage
def _cast(cls: FID) -> Any:
    metric = feed(build(cls)).half().double().to("cpu").cpu()
    return metric.compute(), metric.set_dtype(torch.float64).eval().compute()


@usage
def _plotted(cls: FID) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = feed(build(cls)).plot()
    found = isinstance(figure, plt.Figure), axes.get_ylim()[0] <= 0
    plt.close("all")
    return found


# --------------------------------------------------------------------------------------------------------- checkpoints
@usage
def _its_own_checkpoint(cls: FID) -> Any:
    metric, loaded = feed(build(cls)), build(cls)
    metric.persistent(True)
    loaded.persistent(True)
    loaded.load_state_dict(metric.state_dict())
    loaded.orig_dtype = metric.orig_dtype
    return loaded.compute(), moments(feed(loaded))


@usage
def _torchmetrics_checkpoint(cls: FID) -> Any:
    metric, loaded = feed(build(TorchmetricsFID)), build(cls, reset_real_features=False)
    metric.persistent(mode=True)
    loaded.persistent(mode=True)
    state = metric.state_dict()
    loaded.load_state_dict(state)
    loaded.reset()
    feed(loaded, None, FAKE)
    return loaded.compute(), moments(loaded), sorted(state)


@usage
def _torchmetrics_checkpoint_within_a_module(cls: FID) -> Any:
    saved, module = nn.ModuleDict({"fid": build(TorchmetricsFID)}), nn.ModuleDict({"fid": build(cls)})
    return str(module.load_state_dict(saved.state_dict(), strict=True))


@usage
def _statistics_of_the_real_side_loaded(cls: FID) -> Any:
    metric = build(cls)
    metric.load_state_dict(moments(feed(build(cls), fake=None), NAMES[:3]), strict=False)
    return feed(metric, None).compute()


# --------------------------------------------------------------------------------------------------------------- words
@usage
def _attributes(cls: FID) -> Any:
    metric = feed(build(cls, normalize=True), REAL / 255)
    names = ("used_custom_model", "orig_dtype", "normalize", "reset_real_features", "feature_network")
    constants = ("higher_is_better", "is_differentiable", "full_state_update", "plot_lower_bound")
    return [getattr(metric, name) for name in (*names, *constants)], metric.__class__.__name__


@error
def _no_images(cls: FID) -> Any:
    metric = build(cls)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        return metric.compute()


@error
def _one_image_of_a_side(cls: FID) -> Any:
    return feed(build(cls), REAL, FAKE[:1]).compute()


@error
def _no_generated_images(cls: FID) -> Any:
    return feed(build(cls), fake=None).compute()


def _built_wrongly(**options: Any) -> Callable[[FID], Any]:
    return lambda cls: cls(**{"feature": Features(), "input_img_size": SIZE, **options})


for _name, _options in {
    "a feature that is not there": {"feature": 100},
    "a feature that is a bool": {"feature": True},
    "a feature that is a word": {"feature": "inception"},
    "normalize in words": {"normalize": "yes"},
    "reset real features in numbers": {"reset_real_features": 1},
    "an argument that is not there": {"features": 64},
}.items():
    ERRORS[_name] = _built_wrongly(**_options)


def test_as_many_usages_as_were_seen() -> None:
    """No usage has lost its name to another: 41 were counted when this began, and more were found."""
    assert len(USAGES) + len(ERRORS) > 70


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
@pytest.mark.parametrize("name", USAGES)
def test_only_the_import_changes(name: str) -> None:
    """Code written for torchmetrics' class gives the same with ours."""
    theirs, ours = (USAGES[name](cls) for cls in (TorchmetricsFID, FrechetInceptionDistance))
    for one, other in zip(_leaves(theirs), _leaves(ours), strict=True):
        if isinstance(one, Tensor):
            rtol = 1e-6 if one.dtype == torch.float32 else 1e-9
            torch.testing.assert_close(other, one, rtol=rtol, atol=1e-9)
        else:
            assert one == (pytest.approx(other, rel=1e-9) if isinstance(one, float) else other)


@pytest.mark.parametrize("name", ERRORS)
def test_only_the_import_changes_in_errors(name: str) -> None:
    """What torchmetrics' class refuses, ours refuses with an error that is also of its kind."""
    with pytest.raises((TypeError, ValueError, RuntimeError, ModuleNotFoundError)) as theirs:
        ERRORS[name](TorchmetricsFID)
    if theirs.type is ModuleNotFoundError:
        pytest.skip("torchmetrics asks for torch-fidelity before anything else")
    with pytest.raises(theirs.type):
        ERRORS[name](FrechetInceptionDistance)


def _leaves(found: Any) -> Iterator[Any]:
    if isinstance(found, dict):
        yield list(found)
        found = list(found.values())
    if isinstance(found, list | tuple):
        for part in found:
            yield from _leaves(part)
    else:
        yield found
