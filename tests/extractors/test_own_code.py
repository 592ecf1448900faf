"""Networks by the code that makes them: files of the user's, and installed packages."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vdna_metrics import NeuronFrechetDistance, create_extractor, list_extractors
from vdna_metrics.extractors.own_code import plugins
from vdna_metrics.extractors.registry import get_spec, is_as_named
from vdna_metrics.extractors.spec import ExtractorSpec

CODE = """
import beside
from dataclasses import dataclass
from torch import nn
from vdna_metrics import ExtractorSpec

@dataclass
class Width:
    width: "int" = 4

class Net(nn.Module):
    def __init__(self, width=Width().width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.head = nn.Conv2d(width, 2, 1)
    def forward(self, x):
        return self.head(self.conv(x))

def build(width=4):
    import beside_lazily
    beside.CALLS.append(width)
    return Net(width)

def spec():
    return ExtractorSpec("of_the_file", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0")

class Several:
    net = Net()

def wrong():
    return {"a": 1}

def broken():
    raise KeyError("checkpoint")

def empty():
    return ExtractorSpec("free", "test_resnet", size=32, weights="seeded:0")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of code, in which we are."""
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("CALLS = []\n")
    (tmp_path / "beside_lazily.py").write_text("")
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if name.startswith(("net_", "beside")):
            del sys.modules[name]


def _built(name: str = "net.py:build", **options: Any) -> Any:
    return create_extractor(name, trust_code=True, **options)


def test_code_is_run_when_it_is_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without trust nothing of the file is run, and the error says what would be, and how to allow it."""
    monkeypatch.setattr("vdna_metrics.extractors.own_code._module", lambda *_: pytest.fail("it was run"))
    for made in ("net.py:build", ExtractorSpec("mine", "net.py:build", {"output": ""}, None)):
        with pytest.raises(
            ValueError, match=rf"would run {folder}.net\.py and call its build\(\), .* trust_code=True \(--trust-code\)"
        ):
            create_extractor(made)
        with pytest.raises(ValueError, match="trust_code=True"):
            NeuronFrechetDistance(made)


@pytest.mark.usefixtures("folder")
def test_a_name_gives_one_network_while_it_lives() -> None:
    """The file is run and its function called once, for several readers and layers too; other text is other code."""
    extractor = _built(size=16, layers=["conv"])
    assert _built(size=16, layers=["conv"]) is extractor
    other = _built(size=16, crop="center")
    assert (other.network, dict(other.layout)) == (extractor.network, {"output": 2})
    assert sys.modules["beside"].CALLS == [4]
    metric = NeuronFrechetDistance("net.py:build", layers=["conv"], size=16, trust_code=True)
    assert metric.extractor is extractor
    Path("net.py").write_text(CODE.replace("nn.Conv2d(width, 2, 1)", "nn.Conv2d(width, 3, 1)"))
    assert dict(_built().layout) == {"output": 3}


@pytest.mark.usefixtures("folder")
def test_what_it_is_called() -> None:
    """DNAs have the file's name and the function's, without folders; the fingerprint is that of a module."""
    extractor = _built(str(Path("net.py").absolute()) + ":build")
    assert extractor.name == "net.py:build"
    assert extractor.fingerprint.architecture.startswith("module:net_")
    assert extractor.fingerprint.architecture.endswith(".Net")
    moved = Path("elsewhere")
    moved.mkdir()
    for name in ("net.py", "beside.py", "beside_lazily.py"):
        (moved / name).write_text(Path(name).read_text())
    assert _built("elsewhere/net.py:build").fingerprint.architecture == extractor.fingerprint.architecture


@pytest.mark.usefixtures("folder")
def test_arguments_weights_and_input_are_given_beside() -> None:
    """`architecture_kwargs` are the function's, weights are loaded from a file of weights, and images come as told."""
    network = _built(architecture_kwargs={"width": 7}).network
    torch.save(network.state_dict(), "weights.pth")
    extractor = _built(
        architecture_kwargs={"width": 7}, weights_path="weights.pth", size=(8, 8), mean=0.5, std=[0.1, 0.2, 0.3]
    )
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, extractor.network.state_dict()[name])
    assert extractor.fingerprint.preprocessing == "clean:bicubic:8x8:mean=0.5,0.5,0.5:std=0.1,0.2,0.3"
    with pytest.raises(ValueError, match=r"does not fit net\.py:build: .* of another shape"):
        _built(weights_path="weights.pth")


@pytest.mark.usefixtures("folder")
def test_code_may_give_a_spec_or_be_a_module() -> None:
    """A spec that code makes is that spec, by its own name; a module that lies in the file is taken as it is."""
    spec = ExtractorSpec("of_the_file", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0")
    extractor = _built("net.py:spec")
    assert extractor is create_extractor(spec)
    with pytest.raises(ValueError, match="size, mean, std and preprocessing are for modules"):
        _built("net.py:spec", size=64)
    with pytest.raises(ValueError, match="has its own: select among them"):
        _built("net.py:spec", layers=["layer1"])
    metric = NeuronFrechetDistance("net.py:spec", layers=["layer1"], trust_code=True)
    assert list(metric.layout) == ["layer1"]
    assert list(_built("net.py:empty", layers=["layer3"]).layout) == ["layer3"]
    assert dict(_built("net.py:Several.net").layout) == {"output": 2}
    assert dict(_built("net.py:Net").layout) == {"output": 2}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none.py:build", ValueError, r"none\.py:build: no such file: none\.py"),
        ("net.py:biuld", ValueError, r"net\.py:biuld: no 'biuld' in it; did you mean 'build'"),
        (
            "net.py:wrong",
            TypeError,
            r"expected net\.py:wrong to give a torch\.nn\.Module or an ExtractorSpec, got dict",
        ),
        ("net.py:broken", ValueError, r"net\.py:broken: it failed with KeyError: 'checkpoint'"),
        ("bad.py:build", ValueError, r"bad\.py:build: it failed with ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_code_that_gives_nothing(name: str, error: type[Exception], message: str) -> None:
    """What is not there, not a network, or fails is told by the name that was given."""
    Path("bad.py").write_text("import nowhere")
    with pytest.raises(error, match=message):
        _built(name)


@pytest.mark.usefixtures("folder")
def test_an_extractor_of_code_is_pickled_as_its_name() -> None:
    """Another process of the same folder builds it again; other weights there are an error."""
    torch.save(_built().network.state_dict(), "weights.pth")
    data = pickle.dumps(_built(weights_path="weights.pth"))
    assert len(data) < 4000
    assert pickle.loads(data).name == "net.py:build"


def test_records_that_name_code_are_as_named() -> None:
    """Code is a question of trust of its own; weights that a record names for it are one of files, as for others."""
    spec = get_spec("net.py:build")
    assert is_as_named(spec)
    assert not is_as_named(get_spec("net.py:build", weights_path="theirs.pth"))


# ---------------------------------------------------------------------------------------------------------- packages
PLUGIN = """
from torch import nn
from vdna_metrics import ExtractorSpec

def network():
    return nn.AvgPool2d(2)

SPEC = ExtractorSpec("theirs", "test_resnet", ["layer1"], size=32, weights="seeded:0")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with entry points is installed."""
    (tmp_path / "some_networks.py").write_text(PLUGIN)
    info = tmp_path / "some_networks-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-networks\nVersion: 1\n")
    entries = {"pool": "network", "small": "SPEC", "broken": "absent", "vdna_tiny": "network"}
    lines = [f"{name} = some_networks:{value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[vdna_metrics.extractors]", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    plugins.cache_clear()
    yield
    plugins.cache_clear()
    sys.modules.pop("some_networks", None)


@pytest.mark.usefixtures("package")
def test_installed_packages_bring_networks() -> None:
    """An entry point is a name like ours, listed without being loaded; it gives a module, or a spec by that name."""
    assert {"pool", "small", "vdna_tiny"} <= set(list_extractors())
    assert "some_networks" not in sys.modules
    pool, small = create_extractor("pool", size=8), create_extractor("small")
    assert (pool.name, dict(pool.layout), pool.fingerprint.architecture) == (
        "pool",
        {"output": 3},
        "module:torch.nn.modules.pooling.AvgPool2d",
    )
    assert (small.name, list(small.layout), small.fingerprint.architecture) == ("small", ["layer1"], "test_resnet")
    assert create_extractor("pool", size=8) is pool
    assert NeuronFrechetDistance("pool", size=8).extractor is pool
    assert pickle.loads(pickle.dumps(pool)) is pool


@pytest.mark.usefixtures("package")
def test_our_names_stay_ours_and_broken_entries_are_named() -> None:
    """A package cannot take a name of the catalogue, and one that cannot be loaded is an error where it is used."""
    assert create_extractor("vdna_tiny").fingerprint.architecture == "short_mobilenetv2"
    with pytest.raises(ValueError, match=r"entry-point:broken: it failed with AttributeError: .*absent"):
        create_extractor("broken")


def test_modules_need_no_trust() -> None:
    """A module is there already: whether code is trusted changes nothing."""
    network = nn.AvgPool2d(2)
    assert create_extractor(network, trust_code=True) is create_extractor(network)
