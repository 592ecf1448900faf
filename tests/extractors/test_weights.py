"""Weights: found, checked, and loaded without unpickling."""

from __future__ import annotations

import hashlib
import io
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from helpers.file_server import FileServer, file_server
from safetensors.torch import save, save_file
from torch import Tensor

from vdna_metrics import ExtractorSpec, create_extractor
from vdna_metrics.downloads import RemoteFile
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import (
    build_network,
    cached_weights,
    read_state_dict,
    weights_address,
    weights_sha256,
)
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
    _load(path, sha256=found.upper())
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


# ---- where weights come from


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no hub to be reached by mistake."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("no_proxy", "*")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port that discards; nobody listens
    return tmp_path / "home"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server in the place of the hub."""
    with file_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


@pytest.mark.parametrize(
    ("weights", "file"),
    [
        (CATALOGUE["mugs_vit_base"].weights, "bramtoula/visual-dna-models/resolve/main/Mugs/mugs_vit_base/weights.pth"),
        ("timm", "timm/test_resnet.r160_in1k/resolve/main/model.safetensors"),
        ("http://127.0.0.1:9/published/w.pth", "published/w.pth"),
    ],
)
def test_unavailable_weights_say_what_to_do(weights: str, file: str, home: Path) -> None:
    """Weights that cannot be downloaded are soon an error naming address, file, reason, options and a way without."""
    start = time.monotonic()
    with pytest.raises(ValueError, match="weights of 'r' could not be had: ") as error:
        build_network(replace(SPEC, weights=weights))
    assert time.monotonic() - start < 5
    bring = f"bring {file.rsplit('/', 1)[-1]} here"
    for part in (f"http://127.0.0.1:9/{file} ", "refused", bring, "weights_path=", "--weights FILE", "'vdna_tiny'"):
        assert part in str(error.value)
    assert not [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_downloads_are_kept_and_checked(hub: FileServer, state_dict: dict[str, Tensor]) -> None:
    """Weights are downloaded once, and refused when their sha256 is not the stated one."""
    content = save(state_dict)
    address, digest = hub.serve("w.safetensors", content), hashlib.sha256(content).hexdigest()
    for _ in range(2):
        _assert_equal(build_network(replace(SPEC, weights=address, sha256=digest[:8]))[0].state_dict(), state_dict)
    assert len(hub.requests) == 1
    with pytest.raises(ValueError, match=f"weights of 'r' could not be had: .* has sha256 {digest}, expected ffffffff"):
        build_network(replace(SPEC, weights=address, sha256="ffffffff"))


def test_weights_path_goes_before_cache_and_address(
    hub: FileServer, state_dict: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local file is used and nobody asked; without one the cache is, without a connection; the address comes last."""
    other = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in state_dict.items()}
    spec = replace(SPEC, weights="hf-hub:a/b/w.safetensors", name="order")
    hub.serve("a/b/resolve/main/w.safetensors", save(state_dict))
    given = create_extractor(spec, weights_path=_saved(other, tmp_path / "other.pth"))
    assert given.fingerprint.weights == weights_sha256(other)
    assert (cached_weights(spec), hub.requests) == (None, [])
    from_hub = create_extractor(spec)
    assert from_hub.fingerprint.weights == weights_sha256(state_dict)
    path = cached_weights(spec)
    assert path is not None
    assert path.name == "w.safetensors"
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    assert create_extractor(spec).fingerprint == from_hub.fingerprint
    assert len(hub.requests) == 1


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_timms_weights_come_by_the_same_way(hub: FileServer, state_dict: dict[str, Tensor], file: str) -> None:
    """The file of timm is looked for as timm does, safetensors first, and kept in the same cache."""
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    content = save(state_dict) if file.endswith("safetensors") else buffer.getvalue()
    hub.serve(f"timm/test_resnet.r160_in1k/resolve/main/{file}", content)
    spec = replace(SPEC, weights="timm")
    for _ in range(2):
        _assert_equal(build_network(spec)[0].state_dict(), state_dict)
    assert len(hub.requests) == (1 if file.endswith("safetensors") else 2)
    path = cached_weights(spec)
    assert path is not None
    assert path.name == file


def test_timms_classifier_may_be_left_out(hub: FileServer, state_dict: dict[str, Tensor]) -> None:
    """A network without classes takes timm's file without its classifier; one with other classes is refused."""
    hub.serve("timm/test_resnet.r160_in1k/resolve/main/model.safetensors", save(state_dict))
    found = build_network(replace(SPEC, weights="timm", architecture_kwargs={"num_classes": 0}))[0].state_dict()
    _assert_equal(found, {name: tensor for name, tensor in state_dict.items() if not name.startswith("fc.")})
    with pytest.raises(ValueError, match=r"2 of another shape \(fc\.bias: file \[1000\], network \[7\]"):
        build_network(replace(SPEC, weights="timm", architecture_kwargs={"num_classes": 7}))


def test_timms_background_class_is_left_out(
    hub: FileServer, state_dict: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where timm says that a file counts a class before the first, the network's classes are taken."""
    config = timm.get_pretrained_cfg("test_resnet")
    config.label_offset = 1
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: config)
    file = {**state_dict, **{f"fc.{part}": torch.cat([t[:1] + 9, t]) for part, t in _classifier(state_dict).items()}}
    hub.serve("timm/test_resnet.r160_in1k/resolve/main/model.safetensors", save(file))
    _assert_equal(build_network(replace(SPEC, weights="timm"))[0].state_dict(), state_dict)


def _classifier(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {part: state_dict[f"fc.{part}"] for part in ("weight", "bias")}


def test_timms_files_fit_other_input_sizes(hub: FileServer) -> None:
    """Position embeddings are resampled by timm's own rule where the network is built for another size."""
    torch.manual_seed(1)
    file = timm.create_model("test_vit").state_dict()
    hub.serve("timm/test_vit.r160_in1k/resolve/main/model.safetensors", save(file))
    spec = ExtractorSpec("v", "test_vit", ["norm"], 96, weights="timm", architecture_kwargs={"img_size": 96})
    found = build_network(spec)[0].state_dict()
    expected = timm.create_model("test_vit", img_size=96, pretrained=True, pretrained_cfg_overlay={"state_dict": file})
    assert file["pos_embed"].shape != found["pos_embed"].shape
    _assert_equal(found, expected.state_dict())


def test_timm_without_weights_lists_what_it_has() -> None:
    """An architecture or tag without weights in timm is an error that names those there are."""
    with pytest.raises(ValueError, match=r"timm has no weights of 'test_resnet\.no', it has: test_resnet\.r160_in1k; "):
        build_network(replace(SPEC, weights="timm", architecture="test_resnet.no"))
    with pytest.raises(ValueError, match="timm has no weights of 'fid_inception', it has: none of this architecture"):
        build_network(replace(SPEC, weights="timm", architecture="fid_inception"))


def test_weights_may_come_with_the_package(
    state_dict: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`package:FILE` is a file beside the modules of the extractors."""
    monkeypatch.setattr("vdna_metrics.extractors.weights.__file__", str(tmp_path / "weights.py"))
    spec = replace(SPEC, weights="package:w.safetensors")
    with pytest.raises(ValueError, match=r"weights of 'r': no such file: .*w\.safetensors"):
        build_network(spec)
    save_file(state_dict, tmp_path / "w.safetensors")
    _assert_equal(build_network(spec)[0].state_dict(), state_dict)
    assert cached_weights(spec) == tmp_path / "w.safetensors"


@pytest.mark.usefixtures("home")
def test_where_weights_come_from_is_told_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card can say where weights come from and whether they are here; nothing is asked or built."""
    monkeypatch.delenv("HF_ENDPOINT")
    told = {
        "timm": "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors",
        "hf-hub:a/b/c.pth": "https://huggingface.co/a/b/resolve/main/c.pth",
        "https://host/w.pth": "https://host/w.pth",
        "seeded:3": "drawn with seed 3",
        None: "the architecture's own initialisation",
        "/no/w.pth": "/no/w.pth",
    }
    for weights, address in told.items():
        spec = replace(SPEC, weights=weights)
        assert weights_address(spec) == address
        assert cached_weights(spec) is None


def test_hostile_downloads_are_refused_and_not_run(
    hub: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downloaded file that would run code is an error, and its code does not run."""
    monkeypatch.chdir(tmp_path)
    address = hub.serve("w.pth", pickle.dumps({"w": _Code()}))
    with pytest.raises(ValueError, match=r"w\.pth is not a readable weights file"):
        build_network(replace(SPEC, weights=address))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_file_of_weights_is_said_to_be_none(tmp_path: Path) -> None:
    """Any other file, as a table of users, is refused by what it is not, not by how a reader fell over it."""
    path = tmp_path / "passwd"
    for content in (b"root:x:0:0:root:/root:/bin/bash\n", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"passwd is not a readable weights file: expected \.safetensors, or what"):
            read_state_dict(path)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """A TorchScript archive, such as OpenAI's CLIP, is an error that says what it is and how to get at its weights."""
    path = tmp_path / "ViT-B-16.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(ValueError, match=r"ViT-B-16\.pt is a TorchScript archive.*torch\.jit\.load\('ViT-B-16\.pt'\)"):
        read_state_dict(path)


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=lambda spec: spec.name)
def test_the_catalogues_sources_are_well_formed(spec: ExtractorSpec) -> None:
    """Every source of weights and ranges in the catalogue is one that is understood, timm's names included."""
    assert weights_address(spec)
    assert spec.ranges is None or RemoteFile(spec.ranges).repository
