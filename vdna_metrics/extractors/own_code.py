"""Networks that code of others makes: ``FILE.py:FACTORY``, and entry points of installed packages."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from vdna_metrics.extractors.execution import hermetic
from vdna_metrics.extractors.spec import FACTORY, PLUGIN, ExtractorSpec
from vdna_metrics.extractors.weights import build_network
from vdna_metrics.files import errors_of_code
from vdna_metrics.layout import near_names

ENTRY_POINTS = "vdna_metrics.extractors"

# Networks alive in this process, so that one name gives one network.
_MADE: weakref.WeakValueDictionary[tuple[Any, ...], nn.Module] = weakref.WeakValueDictionary()


class MadeTypeError(TypeError, ValueError):
    """Code of a user made something else than a network; a ``ValueError`` too."""


@cache
def plugins() -> Mapping[str, EntryPoint]:
    """Entry points of installed packages, by the names of their extractors; nothing of them is loaded."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def made_by_code(spec: ExtractorSpec, *, trust_code: bool) -> nn.Module | ExtractorSpec:
    """What the code that a spec names makes: a network, the same as long as it lives, or the spec of one.

    Args:
        spec: whose ``architecture`` is ``FILE.py:FACTORY`` or an entry point; its arguments are the factory's, its
            weights are loaded into the network.
        trust_code: whether to run a file; installed packages were trusted when they were installed.

    Raises:
        ValueError: when a file is not trusted, there is no such code, or it fails.
        TypeError: when it makes something else.
    """
    match = FACTORY.fullmatch(spec.architecture)
    if match is not None and not trust_code:
        path = Path(match["file"]).absolute()
        raise ValueError(
            f"{spec.name!r} is code: making this network would run {path} and call its {match['factory']}(), which can "
            "do whatever you can. If you trust that file, allow it by trust_code=True (--trust-code)"
        )
    with hermetic(), errors_of_code(spec.architecture):
        if match is None:
            code, source = "", plugins()[spec.architecture.removeprefix(PLUGIN)].load()
        else:
            code, source = _from_file(Path(match["file"]), match["factory"])
        key = (code, spec.architecture_id, spec.weights, spec.sha256, spec.state_dict_key)
        made: Any = _MADE.get(key)
        if made is None:
            made = source if isinstance(source, nn.Module | ExtractorSpec) else source(**spec.architecture_kwargs)
        if isinstance(made, nn.Module) and key not in _MADE:
            if spec.weights is not None:
                build_network(spec, network=made)
            _MADE[key] = made
    if not isinstance(made, nn.Module | ExtractorSpec):
        raise MadeTypeError(
            f"expected {spec.architecture} to give a torch.nn.Module or an ExtractorSpec, got {type(made).__name__}"
        )
    return made


def _from_file(path: Path, factory: str) -> tuple[str, Any]:
    """The sha256 of a file's text, and what it calls ``factory``."""
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with _imports_beside(path):
        found: Any = _module(path, f"{path.stem}_{digest[:8]}")
        for name in factory.split("."):
            if not hasattr(found, name):
                known = [each for each in vars(found) if not each.startswith("_")]
                raise ValueError(f"no {name!r} in it; {near_names(name, known)}")
            found = getattr(found, name)
    if isinstance(found, nn.Module | ExtractorSpec):
        return digest, found
    return digest, _with_imports(found, path)


def _module(path: Path, name: str) -> ModuleType:
    # Under a name of its own, so that no installed package is hidden, and another text is another module.
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _with_imports(factory: Callable[..., Any], path: Path) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        with _imports_beside(path):
            return factory(**arguments)

    return call


@contextmanager
def _imports_beside(path: Path) -> Iterator[None]:
    """Modules beside a file can be imported, as when Python runs it."""
    folder = str(path.absolute().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
