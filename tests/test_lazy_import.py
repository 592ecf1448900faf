"""What an import loads."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys

import pytest

import vdna_metrics
from vdna_metrics._exports import _RENAMED

_HEAVY = {"cleanfid", "huggingface_hub", "matplotlib", "rich", "timm", "torchvision"}


def _added(before: str, statement: str) -> set[str]:
    """Modules that a fresh interpreter loads for a statement, beyond those it has loaded before."""
    lines = [
        "import json, sys",
        before,
        "had = {*sys.modules}",
        statement,
        "print(json.dumps([*{*sys.modules} - had]))",
    ]
    child = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return set(json.loads(child.stdout))


def _packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import vdna_metrics` loads neither torch nor anything that is needed for special things only."""
    added = _added("", "import vdna_metrics")
    assert "vdna_metrics" in added
    assert not _packages(added) & {*_HEAVY, "torch", "torchmetrics", "numpy", "scipy", "PIL"}


def test_importing_a_metric_adds_nothing_heavy_to_torchmetrics() -> None:
    """A metric's import loads nothing heavy beyond what `import torchmetrics` has loaded, and says nothing.

    What opens stores, files of others and images waits for a reference; of a user's own module a metric is built
    without, too.
    """
    imported = "from vdna_metrics import VDNAEarthMoversDistance"
    added = _added("import torchmetrics", imported)
    assert "vdna_metrics.metrics.distances" in added
    assert not _packages(added) & {*_HEAVY, "PIL", "scipy"}
    assert not {name for name in added if name.startswith(("vdna_metrics.images", "vdna_metrics.references"))}
    built = "VDNAEarthMoversDistance(torch.nn.AvgPool2d(4), ranges='auto')"
    added = _added("import torch, torchmetrics", f"{imported}\n{built}")
    assert not _packages(added) & {*_HEAVY, "scipy"}


@pytest.mark.parametrize("name", vdna_metrics.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name of `__all__` resolves, and `dir` lists it."""
    assert getattr(vdna_metrics, name) is not None
    assert name in dir(vdna_metrics)


def test_other_names_are_no_attributes() -> None:
    """An unknown name is an AttributeError, so that `hasattr` works."""
    with pytest.raises(AttributeError, match="module 'vdna_metrics' has no attribute 'VDNAEMD'"):
        _ = vdna_metrics.VDNAEMD
    assert not hasattr(vdna_metrics, "VDNAEMD")


@pytest.mark.parametrize(
    ("package", "old", "new"), [(p, old, new) for p, names in _RENAMED.items() for old, new in names.items()]
)
def test_old_names_say_what_they_are_called_now(package: str, old: str, new: str) -> None:
    """A name of version 0.1 is an ImportError with the new name, which is there."""
    module = importlib.import_module(package)
    with pytest.raises(ImportError, match=re.escape(f"{package}.{old} of version 0.1 is now {new}")):
        getattr(module, old)
    with pytest.raises(ImportError, match=r"of version 0\.1 is now"):
        exec(f"from {package} import {old}")
    for path in re.findall(r"vdna_metrics(?:\.\w+)+", new):
        home, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(home), name)
