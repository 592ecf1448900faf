"""Downloads from a server on this machine, good and bad."""

from __future__ import annotations

import faulthandler
import hashlib
import logging
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.file_server import FileServer, file_server

from vdna_metrics import downloads
from vdna_metrics.downloads import DownloadError, RemoteFile, cache_folder, fetch, progress
from vdna_metrics.references.store import bundled_store, known_stores

CONTENT = bytes(range(256)) * 800  # 204 800 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server, and hardly any waiting before retries."""
    monkeypatch.setattr(downloads, "_PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "*")
    faulthandler.dump_traceback_later(300, exit=True)  # a server that holds us for ever would hold the tests, too
    with file_server() as running:
        yield running
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, without tokens of this machine."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def _left(folder: Path) -> list[str]:
    """Names of what lies in a folder, except locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once(server: FileServer, tmp_path: Path) -> None:
    """A file arrives whole with its sha256 beside it, and the next call asks nobody."""
    address = server.serve("w.pth", CONTENT)
    for _ in range(2):
        assert fetch(address, tmp_path / "new" / "w.pth").read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert _left(tmp_path / "new") == ["w.pth", "w.pth.sha256"]
    assert (tmp_path / "new" / "w.pth.sha256").read_text() == f"{SHA256}  w.pth\n"


@pytest.mark.parametrize("digits", [8, 64])
def test_the_expected_sha256_may_be_short(server: FileServer, tmp_path: Path, digits: int) -> None:
    """All digits of the sha256 or its first ones are compared, when the file comes and when it is there."""
    for _ in range(2):
        fetch(server.serve("w.pth", CONTENT), tmp_path / "w.pth", sha256=SHA256[:digits])
    with pytest.raises(DownloadError, match=rf"w\.pth has sha256 {SHA256}, expected 00000000: delete it"):
        fetch(server.serve("w.pth", CONTENT), tmp_path / "w.pth", sha256="00000000")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_wrong_file_is_not_kept(server: FileServer, tmp_path: Path) -> None:
    """A file with another sha256 is an error that shows both, and leaves nothing behind."""
    address = server.serve("w.pth", CONTENT)
    with pytest.raises(DownloadError) as error:
        fetch(address, tmp_path / "w.pth", sha256="0" * 64)
    for part in (address, str(tmp_path / "w.pth"), SHA256, "0" * 64):
        assert part in str(error.value)
    assert _left(tmp_path) == []


def test_a_changed_file_is_refused(server: FileServer, tmp_path: Path) -> None:
    """A file that is not what it was at its first use is an error, and is left as it is."""
    address = server.serve("w.pth", CONTENT)
    fetch(address, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"other")
    with pytest.raises(DownloadError, match=rf"was changed: it has sha256 \w{{64}}, at its first use it had {SHA256}"):
        fetch(address, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == b"other"


def test_a_file_put_there_by_hand_is_recorded(tmp_path: Path) -> None:
    """A file that the user brought needs no network, and its sha256 is kept from then on."""
    (tmp_path / "w.pth").write_bytes(CONTENT)
    fetch("https://host.invalid/w.pth", tmp_path / "w.pth")
    assert (tmp_path / "w.pth.sha256").read_text().startswith(SHA256)


def test_a_record_that_is_no_text_is_another_one(tmp_path: Path) -> None:
    """A damaged record of a file's sha256 is told as one that the file does not have."""
    (tmp_path / "w.pth").write_bytes(CONTENT)
    (tmp_path / "w.pth.sha256").write_bytes(b"\xff\xfe w.pth")
    with pytest.raises(DownloadError, match=r"w\.pth was changed: it has sha256 .* delete it, and its \.sha256"):
        fetch("https://host.invalid/w.pth", tmp_path / "w.pth")


@pytest.mark.parametrize("status", [404, 403, 401, 410])
def test_refusals_are_told_at_once(server: FileServer, tmp_path: Path, status: int) -> None:
    """A refusal is not tried again; the error has its status, the address and the target."""
    address = server.serve("w.pth", statuses=[status] * 9)
    with pytest.raises(DownloadError, match=rf"HTTP {status} ") as error:
        fetch(address, tmp_path / "w.pth")
    assert address in str(error.value)
    assert str(tmp_path / "w.pth") in str(error.value)
    assert error.value.status == status
    assert len(server.requests) == 1
    assert _left(tmp_path) == []


def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    """Statuses that pass are tried again, a few times."""
    fetch(server.serve("a.pth", CONTENT, statuses=[503, 429]), tmp_path / "a.pth")
    assert len(server.requests) == 3
    with pytest.raises(DownloadError, match="HTTP 503"):
        fetch(server.serve("b.pth", CONTENT, statuses=[503] * 9), tmp_path / "b.pth")
    assert len(server.requests) == 3 + 4


def test_nobody_there_is_told_at_once(tmp_path: Path) -> None:
    """A refused connection is an error within a moment, without retries."""
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        start = time.monotonic()
        with pytest.raises(DownloadError, match=r"could not be downloaded to .*w\.pth: .*refused"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/w.pth", tmp_path / "w.pth")
    assert time.monotonic() - start < 1


def test_a_slow_server_is_given_up(server: FileServer, tmp_path: Path) -> None:
    """A server that sends nothing within the timeout is an error that says so, after the retries."""
    address = server.serve("w.pth", CONTENT, stall=1.0)
    with pytest.raises(DownloadError, match=r"no answer within 0\.1 s after 0 of 204800 bytes"):
        fetch(address, tmp_path / "w.pth", timeout=0.1)
    assert len(server.requests) == 4
    assert not (tmp_path / "w.pth").exists()


def test_a_cut_connection_is_resumed(server: FileServer, tmp_path: Path) -> None:
    """A transfer that breaks off goes on from there, as long as the server says that the file is the same."""
    seen: list[int] = []
    with progress(lambda name, done, total: seen.append(done)):
        fetch(server.serve("w.pth", CONTENT, cuts=[100_000, 50_000]), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert server.asked("Range") == [None, "bytes=100000-", "bytes=150000-"]
    assert seen == sorted(seen)  # the progress goes on as well
    assert _left(tmp_path) == ["w.pth", "w.pth.sha256"]


def test_a_file_that_always_ends_early_is_refused(server: FileServer, tmp_path: Path) -> None:
    """A transfer that never gets further is an error with both numbers of bytes, and no file."""
    address = server.serve("w.pth", CONTENT, cuts=[1000] * 9, resumable=False)
    with pytest.raises(DownloadError, match="ended early, after 1000 of 204800 bytes"):
        fetch(address, tmp_path / "w.pth")
    assert len(server.requests) == 4  # the first and three more, of which none got much further
    assert not (tmp_path / "w.pth").exists()


def test_a_file_that_drips_by_reconnecting_is_given_up(server: FileServer, tmp_path: Path) -> None:
    """A byte a connection is no progress, however many there are."""
    address = server.serve("w.pth", CONTENT, cuts=[1] * 99)
    with pytest.raises(DownloadError, match="ended early"):
        fetch(address, tmp_path / "w.pth")
    assert len(server.requests) == 4


def test_another_call_resumes(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one call got, the next one does not ask for again."""
    monkeypatch.setattr(downloads, "_RETRIES", -1)
    address = server.serve("w.pth", CONTENT, cuts=[70_000])
    with pytest.raises(DownloadError, match="ended early"):
        fetch(address, tmp_path / "w.pth")
    fetch(address, tmp_path / "w.pth", sha256=SHA256)
    assert server.asked("Range") == [None, "bytes=70000-"]


@pytest.mark.parametrize("how", ["changed", "another address", "no tag", "no ranges", "whole part", "note lost"])
def test_what_cannot_be_resumed_begins_anew(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A part of another file, of unknown state, or on a server without ranges is thrown away and not built upon."""
    monkeypatch.setattr(downloads, "_RETRIES", -1)
    address = server.serve("w.pth", CONTENT[::-1], cuts=[70_000], tagged=how != "no tag", resumable=how != "no ranges")
    with pytest.raises(DownloadError, match="ended early"):
        fetch(address, tmp_path / "w.pth")
    monkeypatch.setattr(downloads, "_RETRIES", 1)
    if how == "another address":
        address = server.serve("mirror/w.pth", CONTENT)
    elif how in ("changed", "no ranges", "no tag"):
        server.files["/w.pth"].content = CONTENT
    if how == "whole part":
        (tmp_path / ".w.pth.part").write_bytes(CONTENT[::-1])
    elif how == "note lost":
        (tmp_path / ".w.pth.part.json").write_text("{")
    found = fetch(address, tmp_path / "w.pth").read_bytes()
    assert found == (CONTENT[::-1] if how in ("whole part", "note lost") else CONTENT)


def test_a_file_of_unknown_length_is_read_to_its_end(server: FileServer, tmp_path: Path) -> None:
    """A server that does not tell the length is believed when it ends, where the sha256 says that this is the end."""
    seen: list[int | None] = []
    with progress(lambda name, done, total: seen.append(total)):
        fetch(server.serve("w.pth", CONTENT, sized=False), tmp_path / "w.pth", sha256=SHA256)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert set(seen) == {None}


def test_a_cut_that_nothing_would_show_is_refused(server: FileServer, tmp_path: Path) -> None:
    """Without a length and without a sha256 a part would be recorded as the whole, so nothing is taken."""
    with pytest.raises(DownloadError, match="neither the file's length nor its sha256"):
        fetch(server.serve("w.pth", CONTENT, sized=False, cuts=[1000]), tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists()


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 226])
def test_only_the_file_is_taken_for_the_file(server: FileServer, tmp_path: Path, status: int) -> None:
    """Statuses that succeed without the file, as 204, or with a part of it, are errors and leave nothing."""
    with pytest.raises(DownloadError, match=f"HTTP {status}") as error:
        fetch(server.serve("w.pth", b"", answer=status), tmp_path / "w.pth")
    assert error.value.status == status
    assert not (tmp_path / "w.pth").exists()


@pytest.mark.parametrize("length", ["abc", "-1", "1e5", "+5", "²", "", "9" * 5000])
def test_a_length_that_is_none_is_refused(server: FileServer, tmp_path: Path, length: str) -> None:
    """What is no number of bytes is named, in the error of all downloads."""
    address = server.serve("w.pth", CONTENT, headers={"Content-Length": length})
    with pytest.raises(DownloadError, match="as Content-Length, got"):
        fetch(address, tmp_path / "w.pth")


@pytest.mark.parametrize(
    "place",
    [
        "http://[::1",
        "https://host:99999/w",
        "https://host:a/w",
        "//[",
        "https://\t/w",
        "https://a..b/w",
        f"https://{'a' * 300}/w",
        "http://127.0.0.1:\xb2/w",
        "http://\xe4\xff/w",
        "https://a\0b/w",
        "\xff\xfe",
    ],
)
def test_a_redirection_to_what_is_no_address_is_refused(server: FileServer, tmp_path: Path, place: str) -> None:
    """A Location that cannot be read is an error of the same type."""
    with pytest.raises(DownloadError):
        fetch(server.serve("w.pth", redirect=place), tmp_path / "w.pth")


def test_a_file_may_not_be_larger_than_the_limit(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file above the limit is refused by its stated length, or where it passes the limit; nothing of it is kept."""
    monkeypatch.setenv("VDNA_METRICS_MAX_DOWNLOAD_BYTES", "1000")
    with pytest.raises(DownloadError, match=r"expected at most 1000 bytes, got 204800; .*_MAX_DOWNLOAD_BYTES"):
        fetch(server.serve("a.pth", CONTENT), tmp_path / "a.pth")
    with pytest.raises(DownloadError, match="expected at most 1000 bytes, got at least"):
        fetch(server.serve("b.pth", CONTENT, sized=False), tmp_path / "b.pth", sha256=SHA256)
    assert all(path.stat().st_size == 0 for path in tmp_path.glob(".*.part"))
    fetch(server.serve("c.pth", CONTENT), tmp_path / "c.pth", limit=len(CONTENT))


def test_a_server_that_drips_is_given_up(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that come, but too few of them, or not all before the deadline, do not hold a program for ever."""
    monkeypatch.setattr(downloads, "_WINDOW", 0.05)
    address = server.serve("w.pth", CONTENT, drip=0.02)
    with pytest.raises(DownloadError, match="too slow to go on"):
        fetch(address, tmp_path / "w.pth")
    monkeypatch.setattr(downloads, "_SLOWEST", 0)
    with pytest.raises(DownloadError, match="not done in time"):
        fetch(address, tmp_path / "w.pth", deadline=0.2)


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_PARTS = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "interim answers": (b"HTTP", b"/1.1 100 Continue\r\n\r\nHTTP"),
    "header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "size of a chunk": (_CHUNKED, b"0"),
    "extension of a chunk": (_CHUNKED + b"5;x=", b"a"),
    "chunk": (_CHUNKED + b"fffff\r\n", b"a"),
    "trailer": (_CHUNKED + b"5\r\nabcde\r\n0\r\nX-A: ", b"a"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("part", _PARTS)
def test_the_deadline_holds_in_every_part_of_an_answer(server: FileServer, tmp_path: Path, part: str) -> None:
    """Wherever a server drips, it is given up when the time is over."""
    raw, endless = _PARTS[part]
    address = server.serve("w.pth", raw=raw, endless=endless, drip=0.02)
    with pytest.raises(DownloadError, match=r"w\.pth could not be downloaded to .*: not done in time, after"):
        fetch(address, tmp_path / "w.pth", deadline=0.3)
    assert not (tmp_path / "w.pth").exists()


@pytest.mark.parametrize("part", ["header", "size of a chunk", "extension of a chunk", "trailer"])
def test_the_least_rate_holds_in_every_part_of_an_answer(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A drip is too slow, whether it is of the file or around it."""
    monkeypatch.setattr(downloads, "_WINDOW", 0.2)
    raw, endless = _PARTS[part]
    address = server.serve("w.pth", raw=raw, endless=endless, drip=0.02)
    with pytest.raises(DownloadError, match="is too slow to go on"):
        fetch(address, tmp_path / "w.pth")


def test_a_deadline_holds_for_the_wait_for_another_process(server: FileServer, tmp_path: Path) -> None:
    """Where another process downloads the file and does not end, the deadline ends the wait for it."""
    with FileLock(tmp_path / ".w.pth.lock"), pytest.raises(DownloadError, match=r"w\.pth could not be downloaded"):
        fetch(server.serve("w.pth", CONTENT), tmp_path / "w.pth", deadline=0.2)
    assert server.requests == []


@pytest.mark.parametrize(
    ("raw", "endless"),
    [
        (_CHUNKED, b"1;" + b"x" * 60_000 + b"\r\na\r\n"),
        (_CHUNKED + b"1\r\na\r\n0\r\n", b"X: " + b"x" * 60_000 + b"\r\n"),
    ],
)
def test_what_lies_around_a_file_is_bounded(server: FileServer, tmp_path: Path, raw: bytes, endless: bytes) -> None:
    """Sizes of chunks and trailers may not be without an end, however fast they come."""
    with pytest.raises(DownloadError, match=r"expected at most 1048576 bytes of headers, got more"):
        fetch(server.serve("w.pth", raw=raw, endless=endless), tmp_path / "w.pth")


def test_a_page_that_comes_with_a_redirection_is_not_read(server: FileServer, tmp_path: Path) -> None:
    """A redirection with a page of terabytes, or one without an end, is followed; the page is nobody's business."""
    place = server.serve("w.pth", CONTENT)
    for length in (b"Content-Length: 999999999999999\r\n", b""):
        raw = b"HTTP/1.1 302 Found\r\n%sLocation: %s\r\n\r\n" % (length, place.encode())
        fetch(server.serve("old", raw=raw, endless=b"a" * 1000), tmp_path / f"{len(length)}.pth")


def test_words_of_a_server_are_printable(server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Control characters of a reason, a message, a redirection or a header reach neither an error nor the log."""
    words = {
        "reason": b"HTTP/1.1 404 \x1b[31mred\r\n\r\n",
        "busy": b"HTTP/1.1 503 \x1b[31mred\x85\r\n\r\n",
        "message": b"HTTP/1.1 403 Forbidden\r\nX-Error-Message: \x1b]0;title\x07\r\n\r\n",
        "place": b"HTTP/1.1 302 Found\r\nLocation: ftp://\x1b[31m\r\n\r\n",
        "header": b"HTTP/1.1 200 OK\r\nContent-Length: \x1b[31m\r\n\r\n",
    }
    with caplog.at_level(logging.INFO, "vdna_metrics"):
        for name, raw in words.items():
            with pytest.raises(DownloadError) as error:
                fetch(server.serve(name, raw=raw), tmp_path / name)
            assert str(error.value).isprintable()
    assert "trying again" in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)


@pytest.mark.parametrize("sha256", ["", "00", "x" * 64, "0" * 65])
def test_a_sha256_that_checks_nothing_is_refused(tmp_path: Path, sha256: str) -> None:
    """An empty or short sha256 of a hostile manifest does not switch the check off."""
    with pytest.raises(DownloadError, match="expected 8 to 64 hexadecimal digits"):
        fetch("https://host.invalid/w.pth", tmp_path / "w.pth", sha256=sha256)


def test_the_case_of_a_sha256_does_not_matter(server: FileServer, tmp_path: Path) -> None:
    """Digits in capitals are the same digits."""
    fetch(server.serve("w.pth", CONTENT), tmp_path / "w.pth", sha256=SHA256.upper())


def test_progress_is_told_to_whom_asked(server: FileServer, tmp_path: Path) -> None:
    """The function learns the name, every step from nothing to all, and the total; later downloads are not told."""
    calls: list[tuple[str, int, int | None]] = []
    with progress(lambda *call: calls.append(call)):
        fetch(server.serve("a.pth", CONTENT), tmp_path / "a.pth")
    fetch(server.serve("b.pth", CONTENT), tmp_path / "b.pth")
    assert calls[0] == ("a.pth", 0, len(CONTENT))
    assert calls[-1] == ("a.pth", len(CONTENT), len(CONTENT))
    assert {name for name, _, _ in calls} == {"a.pth"}


@pytest.mark.parametrize("large", [False, True])
def test_large_downloads_are_announced(
    server: FileServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    large: bool,
) -> None:
    """A large download is a logged warning, a small one information; nothing is printed, and progress replaces it."""
    monkeypatch.setattr(downloads, "_LARGE", 1000 if large else 10**9)
    with caplog.at_level(logging.INFO, "vdna_metrics"):
        fetch(server.serve("a.pth", CONTENT), tmp_path / "a.pth")
        with progress(lambda *_: None):
            fetch(server.serve("b.pth", CONTENT), tmp_path / "b.pth")
    levels = [(record.levelname, "a.pth" in record.getMessage()) for record in caplog.records]
    assert levels[0] == ("WARNING" if large else "INFO", True)
    assert {level for level, _ in levels[1:]} == {"INFO"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/w.pth",
        "ftp://127.0.0.1/w.pth",
        "file:///etc/passwd",
        "https:///w.pth",
        "https://a b/c",
        "w",
        "https://../w.pth",
        "https://./w.pth",
        "https://[::1/w.pth",
        "https://a:b/w",
        "https://host/a\\nb",
        "https://host/ä",
    ],
)
def test_other_addresses_are_refused(address: str, tmp_path: Path) -> None:
    """Only https, and http of this machine, is asked."""
    with pytest.raises(DownloadError, match="is not an address to download from"):
        fetch(address, tmp_path / "w.pth")
    assert _left(tmp_path) == []


def test_redirections_lead_to_allowed_places_only(server: FileServer, tmp_path: Path) -> None:
    """A redirection from the web to a file of this machine, or to plain http elsewhere, is not followed."""
    for elsewhere in ("file:///etc/passwd", "http://example.org/w.pth", "ftp://example.org/w.pth"):
        with pytest.raises(DownloadError, match=r"is not an address to download from|is not allowed"):
            fetch(server.serve("w.pth", redirect=elsewhere), tmp_path / "w.pth")


_CHILD = """
import sys
from vdna_metrics.downloads import fetch
print("ready", flush=True)
sys.stdin.readline()
fetch(sys.argv[1], sys.argv[2])
"""


def test_two_processes_download_once(server: FileServer, tmp_path: Path) -> None:
    """Of two processes that want one file at once, one downloads it and the other waits for that."""
    address = server.serve("w.pth", CONTENT, stall=0.5)
    command = [sys.executable, "-c", _CHILD, address, str(tmp_path / "w.pth")]
    root = str(Path(downloads.__file__).parents[1])
    children = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
    assert [child.returncode for child in children] == [0, 0]
    assert len(server.requests) == 1
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_an_interrupt_leaves_a_part_that_is_resumed(server: FileServer, tmp_path: Path) -> None:
    """Ctrl-C in the middle leaves no file, and the next call goes on."""

    def interrupt(name: str, done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    address = server.serve("w.pth", CONTENT)
    with pytest.raises(KeyboardInterrupt), progress(interrupt):
        fetch(address, tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists()
    got = (tmp_path / ".w.pth.part").stat().st_size
    fetch(address, tmp_path / "w.pth", sha256=SHA256)
    assert server.asked("Range") == [None, f"bytes={got}-"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_may_only_be_read_serves(tmp_path: Path) -> None:
    """A shared cache without leave to write gives its files, and downloads into it are an error that names it."""
    (tmp_path / "w.pth").write_bytes(CONTENT)
    tmp_path.chmod(0o500)
    try:
        fetch("https://host.invalid/w.pth", tmp_path / "w.pth", sha256=SHA256)
        with pytest.raises(DownloadError, match="Permission denied"):
            fetch("https://host.invalid/other.pth", tmp_path / "other.pth")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """What the file system refuses is an error of the same type, with address and target."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"https://host\.invalid/w\.pth could not be downloaded to .*file/w\.pth"):
        fetch("https://host.invalid/w.pth", tmp_path / "file" / "w.pth")


def test_errors_travel_between_processes() -> None:
    """A download error survives pickling, as between a DataLoader's workers."""
    assert str(pickle.loads(pickle.dumps(DownloadError("gone", 404)))) == "gone"


# ---- places in the cache


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VDNA_METRICS_HOME, else XDG_CACHE_HOME, else ~/.cache."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("VDNA_METRICS_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "vdna_metrics"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "vdna_metrics"


@pytest.mark.skipif(os.name == "nt", reason="a user has a home there")
def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home and a name of a folder there is no place for downloads; references that ship are found."""
    import pwd

    for name in ("HOME", "VDNA_METRICS_HOME", "XDG_CACHE_HOME", "VDNA_METRICS_STORES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(ValueError, match="no home folder: set VDNA_METRICS_HOME"):
        cache_folder()
    assert [store.location for store in known_stores()] == [bundled_store().location]


@pytest.mark.parametrize(
    ("source", "address", "path"),
    [
        ("hf-hub:a/b/c/d.pth", "https://huggingface.co/a/b/resolve/main/c/d.pth", "hf-hub/a/b/c/d.pth"),
        ("hf-hub:a/b@v 1/d.pth", "https://huggingface.co/a/b/resolve/v%201/d.pth", "hf-hub/a/b@v 1/d.pth"),
        ("https://host:8443/x/w.pth", "https://host:8443/x/w.pth", "host_8443/x/w.pth"),
        ("https://host/x/../w.pth", "https://host/x/../w.pth", "host/x/w.pth"),
        ("https://host", "https://host", "host/index"),
    ],
)
def test_every_source_has_its_place(
    source: str, address: str, path: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hub files and addresses keep their path below the cache folder, and never leave it."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    file = RemoteFile(source)
    assert file.address == address
    assert file.path == home / "downloads" / path
    assert file.cached is None


def test_queries_make_different_files(home: Path) -> None:
    """Addresses that differ after the question mark have places of their own, and keep their suffix."""
    paths = {RemoteFile(f"https://host/w.pth{query}").path for query in ("", "?id=1", "?id=2")}
    assert len(paths) == 3
    assert {path.name for path in paths} == {"w.pth"}


@pytest.mark.parametrize("source", ["hf-hub:a/b", "hf-hub:a/b/", "hf-hub:a/../c", "hf-hub:a/b/../../c", "hf-hub:/b/c"])
def test_malformed_hub_files_are_refused(source: str) -> None:
    """A hub file without owner, name and file, or with a way out of its folder, says how it is written."""
    with pytest.raises(ValueError, match=r"is written hf-hub:OWNER/NAME/FILE, got"):
        RemoteFile(source)


# ---- the hub


def test_hub_files_come_from_the_endpoint(server: FileServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_ENDPOINT is asked for the hub's address, follows to where the file is, and the file is kept."""
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
    place = server.serve("blob", CONTENT)
    server.serve("a/b/resolve/main/c/w.pth", redirect=place, linked_etag=f'"{SHA256}"')
    file = RemoteFile("hf-hub:a/b/c/w.pth")
    for _ in range(2):
        assert file.fetch().read_bytes() == CONTENT
    assert file.cached == home / "downloads/hf-hub/a/b/c/w.pth"
    assert [path for path, _ in server.requests] == ["/a/b/resolve/main/c/w.pth", "/blob"]


def test_the_hubs_sha256_is_checked(server: FileServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub states a large file's sha256, another file is refused."""
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    server.serve("a/b/resolve/main/w.pth", redirect=server.serve("blob", b"other"), linked_etag=f'"{SHA256}"')
    with pytest.raises(DownloadError, match=f"has sha256 {hashlib.sha256(b'other').hexdigest()}, expected {SHA256}"):
        RemoteFile("hf-hub:a/b/w.pth").fetch()


def test_tokens_stay_with_the_hub(server: FileServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_TOKEN opens a gated file, follows to the same host and not to another one."""
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.serve("blob", CONTENT)
    server.serve("old/b/resolve/main/w.pth", token="hf_secret", redirect="/new/b/resolve/main/w.pth")
    server.serve(
        "new/b/resolve/main/w.pth",
        token="hf_secret",
        redirect=f"{server.address.replace('127.0.0.1', 'localhost')}/blob",
    )
    assert RemoteFile("hf-hub:old/b/w.pth").fetch().read_bytes() == CONTENT
    assert server.asked("Authorization") == ["Bearer hf_secret", "Bearer hf_secret", None]


@pytest.mark.parametrize("status", [401, 403])
def test_gated_files_say_how_to_get_access(
    server: FileServer, home: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A gated file's error has the hub's words, the page with the licence, and the variable of the token."""
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    server.serve("a/b/resolve/main/w.pth", statuses=[status], message="Access to model a/b is restricted.")
    with pytest.raises(DownloadError) as error:
        RemoteFile("hf-hub:a/b/w.pth").fetch()
    for part in (
        "Access to model a/b is restricted.",
        "https://huggingface.co/a/b",
        "licence",
        "HF_TOKEN",
        str(status),
    ):
        assert part in str(error.value)
    assert error.value.status == status


def test_an_offline_hub_is_not_asked(server: FileServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE serves what is in the cache and refuses the rest, asking nobody."""
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server.serve("a/b/resolve/main/w.pth", CONTENT)
    file = RemoteFile("hf-hub:a/b/w.pth")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE forbids"):
        file.fetch()
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(CONTENT)
    assert file.fetch() == file.path
    assert server.requests == []
