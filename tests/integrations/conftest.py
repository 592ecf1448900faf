"""The recipes of `examples/training`, as modules to look into and as scripts to launch."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "training"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import one of the recipes by name."""
    monkeypatch.syspath_prepend(str(RECIPES))
    return importlib.import_module


@pytest.fixture
def launch() -> Callable[..., str]:
    """Run Python with arguments, where a name that ends in `.py` is a recipe; gives the line that it prints last."""

    def run(*arguments: object) -> str:
        command = [sys.executable, *(str(RECIPES / str(a)) if str(a).endswith(".py") else str(a) for a in arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    return run
