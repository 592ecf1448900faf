"""Weights: found, checked, and loaded without unpickling."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from vdna_metrics import ExtractorSpec, create_extractor
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import build_network, read_state_dict, weights_sha256
from vdna_metrics.files import sha256_of_file

SPEC = ExtractorSpec("r", "test_resnet", ["layer1"], size=32)


@pytest.fixture(scope="module")
def state_dict() -> dict[str, Tensor]:
    """Random weights of `SPEC`'s network."""
    torch.manual_seed(3)
    return timm.create_model("test_resnet").state_dict()


def _load(path: Path, **changes: object) -> tuple[dict[str, Tensor], str]:
    network, digest = build_network(replace(SPEC, weights=str(path), **changes))
    return network.state_dict(), digest


def _assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def _saved(contents: object, path: Path) -> Path:
    torch.save(contents, path)
    return path


def test_files_of_both_kinds_are_read(state_dict: dict[str, Tensor], tmp_path: Path) -> None:
    """The same weights come from a safetensors and from a torch file, in eval mode, frozen, with the same hash."""
    save_file(state_dict, tmp_path / "w.safetensors")
    found, digest = _load(tmp_path / "w.safetensors")
    _assert_equal(found, state_dict)
    other, other_digest = _load(_saved(state_dict, tmp_path / "w.pth"))
    _assert_equal(other, state_dict)
    assert digest == other_digest == weights_sha256(state_dict)
    network, _ = build_network(replace(SPEC, weights=str(tmp_path / "w.pth")))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_wrapped_weights_are_found(state_dict: dict[str, Tensor], tmp_path: Path) -> None:
    """Weights below a key of the file, and with the prefix of DataParallel, load alike; the key may also be absent."""
    wrapped = {"epoch": 3, "model": {f"module.{name}": tensor for name, tensor in state_dict.items()}}
    _assert_equal(_load(_saved(wrapped, tmp_path / "a.pth"), state_dict_key="model")[0], state_dict)
    _assert_equal(_load(_saved(state_dict, tmp_path / "b.pth"), state_dict_key="model")[0], state_dict)


def test_prefixes_are_ignored_on_either_side(state_dict: dict[str, Tensor], tmp_path: Path) -> None:
    """Weights with an ignored prefix may be missing or too many, and are not part of the hash."""
    trunk = {name: tensor for name, tensor in state_dict.items() if not name.startswith("fc.")}
    extra = {**trunk, "fc.other": torch.ones(2), "fc.third": torch.ones(3)}
    found, digest = _load(_saved(extra, tmp_path / "w.pth"), ignore_weights=("fc.",))
    assert all(torch.equal(found[name], tensor) for name, tensor in trunk.items())
    assert digest == weights_sha256(state_dict, ignore=("fc.",)) != weights_sha256(state_dict)


def test_step_counters_do_not_matter(state_dict: dict[str, Tensor], tmp_path: Path) -> None:
    """Files without, or with other, counters of batch norm steps load, and hash the same."""
    without = {name: tensor for name, tensor in state_dict.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(state_dict)
    assert _load(_saved(without, tmp_path / "w.pth"))[1] == weights_sha256(state_dict)
    counted = {name: t + 5 if name.endswith("num_batches_tracked") else t for name, t in state_dict.items()}
    assert weights_sha256(counted) == weights_sha256(state_dict)


@pytest.mark.parametrize("change", ["value", "name", "dtype", "shape"])
def test_the_hash_sees_every_change(state_dict: dict[str, Tensor], change: str) -> None:
    """One changed bit, name, type or shape changes the hash of weights; their order does not."""
    changed = dict(reversed(state_dict.items()))
    assert weights_sha256(changed) == weights_sha256(state_dict)
    tensor = changed.pop("fc.bias")
    if change == "value":
        tensor = tensor.clone()
        tensor[7] = torch.nextafter(tensor[7], torch.tensor(9.0))
    changed["fc.bias_" if change == "name" else "fc.bias"] = {
        "dtype": lambda: tensor.view(torch.int32),
        "shape": lambda: tensor.view(2, -1),
    }.get(change, lambda: tensor)()
    assert weights_sha256(changed) != weights_sha256(state_dict)


def test_what_does_not_fit_is_named(state_dict: dict[str, Tensor], tmp_path: Path) -> None:
    """Missing, unexpected and misshapen weights are counted and named, with the file and the architecture."""
    wrong = dict(state_dict)
    del wrong["fc.bias"]
    wrong["extra.weight"] = torch.ones(2)
    wrong["fc.weight"] = torch.ones(10, 96)
    path = _saved(wrong, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="does not fit test_resnet") as error:
        _load(path)
    assert str(path) in str(error.value)
    assert "1 weights missing (fc.bias), 1 unexpected (extra.weight)" in str(error.value)
    assert "1 of another shape (fc.weight: file [10, 96], network [1000, 96])" in str(error.value)


def test_many_misfits_are_shortened(tmp_path: Path) -> None:
    """A file of quite another network names three of each, not hundreds."""
    with pytest.raises(ValueError, match=r"\d+ weights missing \(([\w.]+, ){3}\.\.\.\), \d+ unexpected \(") as error:
        _load(_saved(timm.create_model("test_vit").state_dict(), tmp_path / "w.pth"))
    assert len(str(error.value)) < 600


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("open('ran', 'w').close()",))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_pickles_with_code_are_refused_and_not_run(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that would run code when unpickled is an error, and its code does not run."""
    monkeypatch.chdir(tmp_path)
    path = _saved({"weight": _Code()}, tmp_path / f"w{suffix}")
    with pytest.raises(ValueError, match=r"w\.\w+ is not a readable weights file"):
        read_state_dict(path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(ValueError, match="is not a readable weights file"):
        read_state_dict(tmp_path / "plain.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("contents", "key", "message"),
    [
        ({"model": {"w": torch.ones(1)}, "epoch": 3}, "state_dict", "has no entry 'state_dict'; it has: model, epoch"),
        ({"model": {"w": torch.ones(1)}, "epoch": 3}, None, "holds no tensors at its top; it has: model, epoch"),
        ({}, None, "holds no tensors at its top; it has: nothing"),
        (torch.ones(3), None, "holds a Tensor, not a state dict"),
        ([torch.ones(3)], "model", "holds a list, not a state dict"),
        ({"model": torch.ones(1), "epoch": 3}, "model", None),
    ],
)
def test_files_of_something_else_are_refused(
    contents: object, key: str | None, message: str | None, tmp_path: Path
) -> None:
    """A file that holds no weights where they are looked for is an error that says what it holds."""
    path = _saved(contents, tmp_path / "w.pth")
    if message is None:  # tensors at the top need no key
        assert list(read_state_dict(path, key)) == ["model"]
        return
    with pytest.raises(ValueError, match=message):
        read_state_dict(path, key)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(state_dict: dict[str, Tensor], suffix: str, tmp_path: Path) -> None:
    """A truncated file is an error that names it."""
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(state_dict, path)
    else:
        save_file(state_dict, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=f"w{suffix} is not a readable weights file"):
        read_state_dict(path)


def test_absent_files_are_named() -> None:
    """A weights file that is not there is an error that names spec and path."""
    with pytest.raises(ValueError, match=r"weights of 'r': no such file: /no/such\.pth"):
        _load(Path("/no/such.pth"))


def test_the_files_sha256_is_checked(state_dict: dict[str, Tensor], tmp_path: Path) -> None:
    """A file whose sha256 does not start as the spec says is refused, showing both; a prefix is enough."""
    path = _saved(state_dict, tmp_path / "w.pth")
    found = sha256_of_file(path)
    _load(path, sha256=found[:8])
    with pytest.raises(ValueError, match=f"has sha256 {found}, expected {'0' * 64}"):
        _load(path, sha256="0" * 64)


def test_seeded_weights_are_checked() -> None:
    """Seeded weights that come out other than the spec says are refused: another stream is another network."""
    with pytest.raises(ValueError, match=r"seeded weights of 'r' have sha256 \w{12}, the spec says 0000"):
        build_network(replace(SPEC, weights="seeded:0", sha256="0" * 64))


@pytest.mark.parametrize("name", ["mugs_vit_base", "dino_vit_base"])
def test_vit_base_checkpoints_load_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ViT-B checkpoint as Mugs publishes it, relation blocks included, or DINO's bare one, loads by weights_path."""
    for slow in ("timm.models.vision_transformer.trunc_normal_", "torch.nn.init.kaiming_uniform_"):
        monkeypatch.setattr(slow, lambda tensor, *_, **__: tensor)  # overwritten by the file anyway
    with torch.device("meta"):
        names = timm.create_model("vit_base_patch16_224", num_classes=0).state_dict()
    # One number for all of a tensor's elements: the file stays small.
    fake = {key: torch.tensor(i / 1e5).expand(like.shape) for i, (key, like) in enumerate(names.items())}
    file: dict[str, object] = dict(fake)
    if name == "mugs_vit_base":
        relation = {f"relation_blocks.0.{part}": torch.ones(3) for part in ("norm1.weight", "attn.qkv.weight")}
        file = {"state_dict": {f"module.{key}": tensor for key, tensor in (fake | relation).items()}, "epoch": 400}
    extractor = create_extractor(name, weights_path=_saved(file, tmp_path / "w.pth"))
    assert extractor.fingerprint.weights == weights_sha256(fake)
    assert dict(extractor.layout) == {**{f"block_{i}": 768 for i in range(12)}, "last_norm": 768}


def _check_unavailable(spec: ExtractorSpec, source: str) -> None:
    with pytest.raises(ValueError, match=f"weights of '{spec.name}' could not be had") as error:
        build_network(spec)
    for part in (source, "no route", "weights_path=", "--weights FILE", "'seeded_resnet18'"):
        assert part in str(error.value)


def _offline(*_: object, **__: object) -> None:
    raise URLError("no route")


def test_unavailable_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that cannot be downloaded are an error naming the source, the options, and a network without download."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", _offline)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", _offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", _offline)
    # Without their architectures, to be quick.
    _check_unavailable(replace(SPEC, weights=CATALOGUE["inception"].weights), "pt_inception-2015-12-05-6726825d.pth")
    _check_unavailable(replace(SPEC, weights=CATALOGUE["mugs_vit_base"].weights), "bramtoula/visual-dna-models")
    _check_unavailable(replace(SPEC, weights="timm"), "timm's weights of test_resnet")
    assert not list((tmp_path / "weights").iterdir())


def test_downloads_are_kept_and_checked(
    state_dict: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is downloaded once, and refused when its sha256 is not the stated one."""
    published = _saved(state_dict, tmp_path / "published.pth").as_uri()
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    asked = []

    def fetch(address: str, path: str, **options: object) -> None:
        asked.append((address, options["hash_prefix"]))
        Path(path).write_bytes((tmp_path / "published.pth").read_bytes())

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    address = published.replace("file://", "https://host")
    digest = sha256_of_file(tmp_path / "published.pth")
    for _ in range(2):
        _assert_equal(build_network(replace(SPEC, weights=address, sha256=digest[:8]))[0].state_dict(), state_dict)
    assert asked == [(address, digest[:8])]
    with pytest.raises(ValueError, match=f"has sha256 {digest}, expected ffff"):
        build_network(replace(SPEC, weights=address, sha256="ffff"))
