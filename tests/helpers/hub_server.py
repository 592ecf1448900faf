"""A stand-in for the Hugging Face hub: what makes a repository, commits to it and gives files out."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from helpers.file_server import serving

TOKEN = "hf_writer"


@dataclass
class Hub:
    """Dataset repositories: each a list of commits, a commit all its files.

    Args:
        address: of the server.
        commits: ``{repository: [(sha, {path: content})]}``.
        meanwhile: commits that somebody else makes just before the next one.
    """

    address: str
    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    meanwhile: list[dict[str, bytes]] = field(default_factory=list)

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Add a commit that has these files."""
        history = self.commits.setdefault(repository, [])
        sha = hashlib.sha1(f"{repository} {len(history)}".encode()).hexdigest()
        history.append((sha, files))
        return sha

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        """Files at a revision."""
        history = self.commits[repository]
        return history[-1][1] if revision == "main" else dict(history)[revision]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _answer(self, status: int, content: Any = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            if path.startswith("/api/datasets/"):
                repository = "/".join(path.removeprefix("/api/datasets/").split("/")[:2])
                sha = self.hub.commits[repository][-1][0]
                self._answer(
                    200, {"_id": "0", "id": repository, "sha": sha, "private": False, "tags": [], "siblings": []}
                )
            else:
                owner, name, _, revision, file = path.removeprefix("/datasets/").split("/", 4)
                self._answer(200, self.hub.files(f"{owner}/{name}", revision)[file])
        except (KeyError, ValueError):
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
            return
        path = urlsplit(self.path).path
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            known = repository in self.hub.commits
            if not known:
                self.hub.commit(repository, {".gitattributes": b""})
            address = f"{self.hub.address}/datasets/{repository}"
            self._answer(409 if known else 200, {"url": address, "name": repository, "id": repository})
            return
        owner, name, what, _ = path.removeprefix("/api/datasets/").split("/")
        repository = f"{owner}/{name}"
        if what == "preupload":
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self._answer(200, {"files": modes})
            return
        while self.hub.meanwhile:
            self.hub.commit(repository, self.hub.meanwhile.pop())
        self._commit(repository, [json.loads(line) for line in body.splitlines()])

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        head, files = self.hub.commits[repository][-1]
        files = dict(files)
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value["parentCommit"] != head:
                self._answer(412, {"error": "A commit has happened since. Please refresh and try again."})
                return
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = self.hub.commit(repository, files)
        self._answer(200, {"commitOid": sha, "commitUrl": f"{self.hub.address}/datasets/{repository}/commit/{sha}"})

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A running hub on a free port."""
    handler = type("Handler", (_Handler,), {})
    # Older huggingface_hub parses the answer to a commit with the endpoint that the environment named at the import.
    with serving(handler) as address, patch("huggingface_hub.constants.ENDPOINT", address):
        handler.hub = Hub(address)
        yield handler.hub
