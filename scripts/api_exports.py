"""For the API pages: a package exports what its `__init__.pyi` lists, the list that `lazy_loader` reads too."""

from __future__ import annotations

import ast
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
