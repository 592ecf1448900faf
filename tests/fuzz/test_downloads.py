"""Answers of a server that somebody else runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.file_server import FileServer, file_server
from helpers.fuzzing import fuzzed, outcome
from helpers.mutations import changed_bytes
from hypothesis import given, strategies as st

from vdna_metrics import downloads
from vdna_metrics.downloads import DownloadError, fetch

ANSWERS = {
    "redirection": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/a?b#c\r\nContent-Length: 0\r\n\r\n",
    "file": b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\nLast-Modified: now\r\n\r\nabcde',
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nabcde\r\n0\r\nX-A: b\r\n\r\n",
    "refusal": b"HTTP/1.1 403 Forbidden\r\nX-Error-Message: gated\r\nX-Linked-ETag: abc\r\n\r\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[FileServer]:
    """A server that says what it is told, and a client that asks once."""
    with pytest.MonkeyPatch.context() as patch, file_server() as running:
        patch.setattr(downloads, "_RETRIES", 0)
        patch.setenv("no_proxy", "*")
        yield running


@pytest.mark.parametrize("kind", ANSWERS)
@fuzzed
@given(data=st.data())
def test_answers(kind: str, server: FileServer, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """An answer that is no HTTP, or another one, gives the file or a `DownloadError`, and nothing half."""
    target = tmp_path_factory.mktemp("download") / "w.pth"
    address = server.serve("w.pth", raw=data.draw(changed_bytes(ANSWERS[kind])) or b" ")
    outcome(f"answers: {kind}", lambda: fetch(address, target, timeout=1, deadline=5), "", (DownloadError,))
    assert not target.exists() or target.with_name("w.pth.sha256").exists()
