"""For the API pages: exports as `__init__.pyi` lists them, for `lazy_loader` too; inherited keyword arguments."""

from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import Any

import griffe


class StubExports(griffe.Extension):
    """Give each package with a stub the exports that the stub lists."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Set the exports of a package and of the packages in it."""
        for module in (pkg, *filter(lambda one: not one.is_alias, pkg.modules.values())):
            stub = Path(str(module.filepath)).with_suffix(".pyi")
            if stub.name == "__init__.pyi" and stub.exists():
                imports = (node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom))
                module.exports = [name.asname or name.name for node in imports for name in node.names]


class InheritedOptions(griffe.Extension):
    """Give each `TypedDict` that extends another the fields of both, for griffe's `unpack_typeddict`."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Copy the fields of the classes of a package and of the packages in it."""
        for module in filter(lambda one: not one.is_alias, pkg.modules.values()):
            self.on_package(pkg=module)
        for options in filter(lambda one: not one.is_alias, pkg.classes.values()):
            for base in filter(None, (pkg.classes.get(str(base)) for base in options.bases)):
                if "TypedDict" in map(str, base.bases):
                    for name, field in base.attributes.items():
                        options.set_member(name, copy.copy(field))
