"""Run what the documentation shows, and check, or write, what it prints.

    python scripts/run_docs.py README.md docs/quickstart.md docs/cli.md
    python scripts/run_docs.py --write README.md docs/quickstart.md docs/cli.md

Each page runs from top to bottom in a folder that holds nothing but `examples/`. A `console` block holds commands after
`$ `, each with what it prints (without progress); a `python` block continues those before it, and a `text` block
right after it is what it prints. A block after a line `<!-- not run: why -->` is left alone, and so are blocks of other
languages.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(
    r"(?P<not_run><!-- not run:[^\n]*-->\n+)?^```(?P<language>python|console)[^\n]*\n(?P<body>.*?)^```\n"
    r"(?P<output>\n*^```text\n(?P<printed>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
# Progress, and what memory a pass takes.
_LEFT_OUT = (" images/s", "B of memory for ")
# The command of this checkout, as an installation would give it.
_PRELUDE = 'vdna-metrics() { "$PYTHON" -m vdna_metrics "$@"; }; python() { "$PYTHON" "$@"; }; '


def run_page(text: str) -> str:
    """The page with what its blocks print now."""
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def renewed(block: re.Match[str]) -> str:
        if block["not_run"]:
            return block[0]
        if block["language"] == "console":
            body = "".join(_console(block["body"]))
            return f"```console\n{body}```\n{block['output'] or ''}"
        printed = _python(block["body"], namespace)
        if not block["output"]:
            return block[0]
        return block[0][: block.start("printed") - block.start()] + printed + "```\n"

    return _BLOCK.sub(renewed, text)


def _console(body: str) -> Iterator[str]:
    for command in re.findall(r"^\$ (.*?(?<!\\)\n)", body, re.MULTILINE | re.DOTALL):
        yield f"$ {command}"
        # torchrun says something where the number of threads is not set.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHON": sys.executable, "COLUMNS": "100"}
        environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        run = subprocess.run(
            ["bash", "-c", _PRELUDE + command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        yield _tidy(run.stdout)


def _python(body: str, namespace: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(body, "<page>", "exec"), namespace)
    return _tidy(printed.getvalue())


def _tidy(printed: str) -> str:
    shown = printed.replace(f"{Path.cwd()}{os.sep}", "")
    lines = [line.rstrip() for line in shown.splitlines() if not any(words in line for words in _LEFT_OUT)]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""


def main() -> None:
    """Run pages; exit with 1 when one prints something else than it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="put what is printed into the pages")
    arguments = parser.parse_args()
    changed = False
    for page in [path.resolve() for path in arguments.pages]:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "examples").symlink_to(ROOT / "examples")
            os.chdir(folder)
            renewed = run_page(text)
            os.chdir(ROOT)
        if renewed != text:
            changed = True
            sys.stdout.writelines(
                difflib.unified_diff(text.splitlines(True), renewed.splitlines(True), str(page), "now")
            )
            if arguments.write:
                page.write_text(renewed, encoding="utf-8")
    sys.exit(1 if changed and not arguments.write else 0)


if __name__ == "__main__":
    main()
