"""Demo and tests with the oldest versions that pyproject.toml names, or with the newest that can be had.

Each Python gets an environment of its own, which is kept and used again:

    python scripts/check_versions.py floors --python python3.10
    python scripts/check_versions.py newest --python python3.12 --python python3.13 --extra parity
    python scripts/check_versions.py floors --python python3.10 --no-demo -- tests/dna -n 2

The tests of a peer package skip where it is not installed (--extra parity, --extra training).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SHOWN = ("torch", "torchvision", "torchmetrics", "timm", "numpy", "scipy", "matplotlib", "huggingface-hub")


def floors(project: dict[str, Any], extras: Sequence[str]) -> list[str]:
    """The oldest version of each requirement of a project and of some of its extras, as ``name==version``.

    Args:
        project: the table ``project`` of a pyproject.toml.
        extras: names of extras; those that they name in turn are theirs.

    Raises:
        ValueError: for a requirement without an oldest version.

    Examples:
        >>> floors({"name": "p", "dependencies": ["a>=1.2,<3", "b~=2.0.1"]}, [])
        ['a==1.2', 'b==2.0.1']
        >>> extras = {"test": ["p[data]", "c==1"], "data": ["ray[data]>=4"]}
        >>> floors({"name": "p", "dependencies": [], "optional-dependencies": extras}, ["test"])
        ['ray==4', 'c==1']
    """
    return [f"{name}=={version}" for name, version in _oldest(project, project["dependencies"], extras).items()]


def _oldest(project: dict[str, Any], lines: Sequence[str], extras: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        if requirement.name == project["name"]:
            found |= _oldest(project, [], sorted(requirement.extras))
            continue
        versions = [each.version for each in requirement.specifier if each.operator in (">=", "==", "~=")]
        if len(versions) != 1:
            raise ValueError(f"expected one oldest version of {requirement.name} in pyproject.toml, got {line!r}")
        found[requirement.name] = versions[0]
    for extra in extras:
        found |= _oldest(project, project["optional-dependencies"][extra], [])
    return found


def environment(folder: Path, python: str, pins: Sequence[str], extras: Sequence[str]) -> Path:
    """The Python of a virtual environment with the project, its extras, and versions that are pinned."""
    if not (folder / "bin" / "python").exists():
        _run([python, "-m", "venv", str(folder)])
    inside = folder / "bin" / "python"
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in pins), "utf-8")
    newer = ["--constraint", str(constraints)] if pins else ["--upgrade", "--upgrade-strategy", "eager"]
    wanted = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    _run([str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *newer, "-e", wanted])
    return inside


def check(python: Path, *, demo: bool, pytest_args: Sequence[str] | None) -> None:
    """Run the demo away from the checkout, and the tests.

    Args:
        python: of the environment.
        demo: whether to run it.
        pytest_args: which tests and how, by default all; ``None`` runs none.

    Raises:
        subprocess.CalledProcessError: when one of them fails.
    """
    report = f"""
import sys, importlib.metadata as known
print("Python", sys.version.split()[0], *(f"{{name}} {{known.version(name)}}" for name in {SHOWN}), sep=", ")
"""
    _run([str(python), "-c", report])
    if demo:
        with tempfile.TemporaryDirectory() as folder:
            _run([str(python), "-m", "vdna_metrics", "demo"], cwd=folder)
    if pytest_args is not None:
        # As `make test` does.
        kept = {"MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
        settings = {"OMP_NUM_THREADS": "1", **kept}
        _run([str(python), "-m", "pytest", "-p", "no:cacheprovider", *pytest_args], settings=settings)


def _run(command: Sequence[str], cwd: str | Path = ROOT, settings: dict[str, str] | None = None) -> None:
    # No PYTHONPATH: the environment's own installation has to answer.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=cwd, env=surroundings | (settings or {}), check=True)


def main() -> None:
    """Read the command line and check one Python after another."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s {floors,newest} --python PYTHON [options] [-- arguments of pytest]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("versions", choices=["floors", "newest"], help="which versions of the dependencies")
    parser.add_argument("--python", action="append", required=True, help="an interpreter; may be given several times")
    parser.add_argument("--extra", action="append", default=["test"], help="an extra beside test")
    parser.add_argument("--folder", type=Path, default=ROOT / ".versions", help="where the environments are kept")
    parser.add_argument("--no-demo", action="store_true", help="run the tests only")
    parser.add_argument("--no-tests", action="store_true", help="run the demo only")
    # By hand: argparse takes what follows "--" for positional arguments, of which those before it are the last.
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, pytest_args = parser.parse_args(sys.argv[1:end]), sys.argv[end + 1 :]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = floors(project, options.extra) if options.versions == "floors" else []
    failed = []
    for python in options.python:
        name = f"{options.versions}-{re.sub(r'[^A-Za-z0-9.]+', '-', python).strip('-')}"
        print(f"===== {name}", flush=True)
        started = time.monotonic()
        try:
            inside = environment(options.folder / name, python, pins, options.extra)
            check(inside, demo=not options.no_demo, pytest_args=None if options.no_tests else pytest_args)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{error}", flush=True)
        print(f"----- {name}: {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
