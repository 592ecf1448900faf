"""A web server on this machine that serves bytes, and fails on request."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file of the server.

    Args:
        content: its bytes.
        cuts: after how many bytes the connection ends, one number for each of the first requests.
        resumable: whether ranges are answered.
        tagged: whether it has an ``ETag``.
        sized: whether its length is told.
        stall: seconds without a byte before the body.
        statuses: answered instead, one for each of the first requests.
        message: the hub's ``X-Error-Message``.
        token: the bearer token that it needs.
        redirect: where it really is.
        linked_etag: the hub's ``X-Linked-ETag`` of that redirection.
        headers: sent in place of those of the same name.
        answer: status of the answer, instead of 200 or 206.
        drip: seconds between two bytes of the body.
        raw: sent as it is instead of an answer.
        endless: sent after ``raw``, again and again, ``drip`` seconds apart.
    """

    content: bytes = b""
    cuts: list[int] = field(default_factory=list)
    resumable: bool = True
    tagged: bool = True
    sized: bool = True
    stall: float = 0.0
    statuses: list[int] = field(default_factory=list)
    message: str = ""
    token: str = ""
    redirect: str = ""
    linked_etag: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    answer: int = 0
    drip: float = 0.0
    raw: bytes = b""
    endless: bytes = b""


@dataclass
class FileServer:
    """Files by path, and the requests so far as ``(path, headers)``."""

    address: str
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def serve(self, path: str, content: bytes = b"", **how: object) -> str:
        """Put a file at ``/path``; returns its address."""
        self.files[f"/{path}"] = Served(content, **how)  # type: ignore[arg-type]
        return f"{self.address}/{path}"

    def asked(self, header: str) -> list[str | None]:
        """One header of each request."""
        return [headers.get(header) for _, headers in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FileServer

    def do_GET(self) -> None:
        self.close_connection = True
        headers = {name.title(): value for name, value in self.headers.items()}
        self.state.requests.append((self.path, headers))
        file = self.state.files.get(self.path)
        if file is None or file.statuses:
            self._answer(404 if file is None else file.statuses.pop(0), file)
        elif file.raw:
            self.wfile.write(file.raw)
            while file.endless:
                self.wfile.write(file.endless)
                time.sleep(file.drip)
        elif file.token and headers.get("Authorization") != f"Bearer {file.token}":
            self._answer(401, file)
        elif file.redirect:
            self._answer(302, file, {"Location": file.redirect, "X-Linked-ETag": file.linked_etag})
        else:
            self._send(file, headers)

    def _answer(self, status: int, file: Served | None, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        stated = {**(headers or {}), "X-Error-Message": file.message if file else "", "Content-Length": "0"}
        for name, value in stated.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _send(self, file: Served, headers: dict[str, str]) -> None:
        etag = f'"{hashlib.md5(file.content).hexdigest()}"'
        start = 0
        if file.resumable and "Range" in headers and headers.get("If-Range", etag) == etag:
            start = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(file.content) > 0:
            self._answer(416, file)
            return
        body = file.content[start:]
        self.send_response(file.answer or (206 if start else 200))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(file.content) - 1}/{len(file.content)}")
        if file.tagged:
            self.send_header("ETag", etag)
        for name, value in file.headers.items():
            self.send_header(name, value)
        if file.sized and "Content-Length" not in file.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.flush()
        time.sleep(file.stall)
        body = body[: file.cuts.pop(0)] if file.cuts else body
        for byte in body if file.drip else ():
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(file.drip)
        self.wfile.write(b"" if file.drip else body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is what some tests want."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A running server of such requests on a free port; its address."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A running server on a free port."""
    handler = type("Handler", (_Handler,), {})
    with serving(handler) as address:
        handler.state = FileServer(address)
        yield handler.state
