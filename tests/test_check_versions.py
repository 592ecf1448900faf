"""The oldest versions that `scripts/check_versions.py` installs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def floors() -> Callable[..., list[str]]:
    """The function of the script."""
    spec = importlib.util.spec_from_file_location("check_versions", ROOT / "scripts" / "check_versions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., list[str]] = module.floors
    return found


PROJECT: dict[str, Any] = {
    "name": "p",
    "dependencies": ["a>=1.2,<3", "b~=2.0.1"],
    "optional-dependencies": {"test": ["p[data]", "c==1", "d[x]>=4; python_version<'4'"], "data": ["e>=5"]},
}


def test_the_oldest_version_of_each_is_pinned(floors: Callable[..., list[str]]) -> None:
    """Lower bounds become the version itself, extras of the project bring theirs, upper bounds say nothing."""
    assert floors(PROJECT, []) == ["a==1.2", "b==2.0.1"]
    assert floors(PROJECT, ["test"]) == ["a==1.2", "b==2.0.1", "e==5", "c==1", "d==4"]


def test_a_requirement_without_an_oldest_version_is_refused(floors: Callable[..., list[str]]) -> None:
    """A requirement without a lower bound is named, and not left to be the newest."""
    with pytest.raises(ValueError, match=r"expected one oldest version of a in pyproject\.toml, got 'a<3'"):
        floors({**PROJECT, "dependencies": ["a<3"]}, [])


def test_every_requirement_of_the_project_has_an_oldest_version(floors: Callable[..., list[str]]) -> None:
    """The project's own requirements, and all of its extras, can be pinned."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = floors(project, list(project["optional-dependencies"]))
    assert len(pinned) >= len(project["dependencies"]) + len(project["optional-dependencies"])
