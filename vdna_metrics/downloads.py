"""Downloads: one file from its address to its place in the cache, whole, checked, once."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from vdna_metrics.files import limit_of, limit_variable, sha256_of_file
from vdna_metrics.text import printable

HUB = "hf-hub:"
_DATASETS = "datasets/"

Report = Callable[[str, int, int | None], None]

_LOG = logging.getLogger("vdna_metrics")
_REPORT: ContextVar[Report | None] = ContextVar("vdna_metrics.downloads.report", default=None)
_BLOCK = 1 << 20
_LARGE = 20_000_000
_RETRIES = 3
_PROGRESS = (
    1 << 16
)  # bytes since the last failure that make it the first again: else a server could drip by reconnecting
_PAUSE = 1.0  # seconds before the first retry, twice as long before each further one
_SLOWEST, _WINDOW = 1000, 60.0  # bytes a second, over as many seconds
_LATE = "not done in time"
_AROUND = (
    1 << 20
)  # bytes of an answer that are none of the file, beyond as many as the file has: headers, sizes of chunks
_SMALL_FILE = 1 << 26  # a manifest of a store has some hundred bytes a reference
# Statuses of a server that may answer otherwise in a moment.
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DownloadError(ValueError):
    """A file could not be had, or is not the one that was expected.

    Args:
        message: what was asked for, why it failed, what to do.
        status: HTTP status of the refusal, ``None`` when there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(printable(message))  # it may have words of the server
        self.status = status


@contextmanager
def progress(report: Report) -> Iterator[None]:
    """Tell a function how downloads go.

    Without this, a download of more than 20 MB is announced once by a warning of ``logging``'s logger
    ``"vdna_metrics"``, which Python shows on standard error unless it is told otherwise; smaller ones, and the end,
    are of level INFO.

    Args:
        report: called with the file's name, the bytes so far, and the bytes in all or ``None`` when the server does
            not say.

    Examples:
        >>> with progress(lambda name, done, total: print(name, done, total)):
        ...     pass
    """
    token = _REPORT.set(report)
    try:
        yield
    finally:
        _REPORT.reset(token)


def cache_folder() -> Path:
    """Folder for downloaded files: ``VDNA_METRICS_HOME``, else ``~/.cache/vdna_metrics``.

    Raises:
        ValueError: for a user without a home, as in some containers, when the environment names no folder.
    """
    home = os.environ.get("VDNA_METRICS_HOME")
    if home:
        return Path(home)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vdna_metrics"
    except RuntimeError:
        raise ValueError("this user has no home folder: set VDNA_METRICS_HOME to a folder for downloads") from None


def fetch(
    address: str,
    target: str | Path,
    *,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    deadline: float = 86_400.0,
    limit: int | None = None,
) -> Path:
    """A file from its address; what is there already is checked and not downloaded again.

    The file arrives under a hidden name beside the target and is renamed when it is whole, so that an interruption
    leaves no half file. The next call goes on where it stopped, if the server says that the file is still the same
    (``If-Range``), and begins anew otherwise. Processes that want one file at once wait for the first of them. The
    file's sha256 is kept beside it, in ``target.sha256``, and compared at each later call.

    Args:
        address: ``https://...``; plain http is accepted from this very machine only.
        target: the file to be.
        sha256: hexadecimal sha256 of the file, or its first digits, at least 8.
        headers: of the request. ``Authorization`` does not follow a redirection to another host.
        timeout: seconds to wait for a connection, and for each further piece of the answer.
        deadline: seconds in all, from the first connection to the last byte, retries included. A server that sends less
            than 1 kB a second is given up earlier.
        limit: bytes that the file may have, by default ``download_bytes`` of `files.LIMITS`, 20 GB.

    Returns:
        The target.

    Raises:
        DownloadError: when the file cannot be had, is cut short, is too large, or has another sha256; and when neither
            its length nor its sha256 is known, so that a cut would pass for the end. The message names address, target
            and reason. Nothing is left at the target, and nothing that was there is removed.

    Examples:
        >>> fetch("ftp://host/weights.pth", "weights.pth")
        Traceback (most recent call last):
        ...
        vdna_metrics.downloads.DownloadError: 'ftp://host/weights.pth' is not an address to download from: ...
    """
    from filelock import FileLock

    target, sha256 = Path(target), _check_digits(sha256, address)
    if target.is_file():
        return _checked(target, sha256, address)
    _check_address(address)
    limits = _Limits(
        timeout, time.monotonic() + deadline, limit_of("download_bytes") if limit is None else limit, bool(sha256)
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=deadline):
            if target.is_file():  # another process was faster
                return _checked(target, sha256, address)
            published = _download(address, target, dict(headers or {}), limits)
            _accept(address, target, sha256 or published)
    except OSError as error:
        raise _failed(address, target, error.strerror or str(error)) from error
    return target


@dataclass(frozen=True)
class _Limits:
    """What a download may take.

    Args:
        timeout: seconds for each piece.
        end: when it is to be done, as ``time.monotonic`` counts.
        n_bytes: of the file.
        verified: whether its sha256 is known, so that a cut is seen.
    """

    timeout: float
    end: float
    n_bytes: int
    verified: bool


@dataclass(frozen=True)
class RemoteFile:
    """A file of the hub or at an address, with its place in the cache.

    Args:
        source: ``"hf-hub:OWNER/NAME/FILE"``, with ``datasets/OWNER`` for a dataset repository and ``NAME@REVISION`` for
            a revision, or ``"https://..."``.

    Examples:
        >>> RemoteFile("hf-hub:timm/resnet18.a1_in1k/model.safetensors").address
        'https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors'
    """

    source: str

    def __post_init__(self) -> None:
        if not self._is_hub:
            _check_address(self.source)
            return
        parts = self.source.removeprefix(HUB).removeprefix(_DATASETS).split("/")
        if len(parts) < 3 or not all(part.strip(".") for part in parts):
            raise ValueError(
                f"a file of the hub is written {HUB}OWNER/NAME/FILE, got {self.source!r}; "
                f"one of a dataset repository {HUB}{_DATASETS}OWNER/NAME/FILE"
            )

    @property
    def repository(self) -> str | None:
        """``owner/name`` of a file of the hub, ``datasets/owner/name`` where it is in a dataset repository."""
        if not self._is_hub:
            return None
        kind, owner, name, _ = self._hub_parts
        return f"{kind}{owner}/{name.split('@')[0]}"

    @property
    def _hub_parts(self) -> tuple[str, str, str, str]:
        whole = self.source.removeprefix(HUB)
        kind = _DATASETS if whole.startswith(_DATASETS) else ""
        owner, name, file = whole.removeprefix(kind).split("/", 2)
        return kind, owner, name, file

    @property
    def address(self) -> str:
        """Where it is downloaded from; ``HF_ENDPOINT`` may put another place before the hub's."""
        if not self._is_hub:
            return self.source
        kind, owner, name, file = self._hub_parts
        name, _, revision = name.partition("@")
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return f"{endpoint.rstrip('/')}/{kind}{owner}/{name}/resolve/{quote(revision or 'main', safe='')}/{quote(file)}"

    @property
    def path(self) -> Path:
        """Its place in the cache, whether it is there or not."""
        folder = cache_folder() / "downloads"
        if self._is_hub:
            return folder / "hf-hub" / self.source.removeprefix(HUB)
        parts = urlsplit(self.source)
        *folders, name = [part for part in parts.path.split("/") if part.strip(".")] or ["index"]
        # One path may stand for many files, told apart by the query.
        query = [hashlib.sha256(parts.query.encode()).hexdigest()[:12]] if parts.query else []
        return Path(folder, parts.netloc.replace(":", "_"), *folders, *query, name)

    @property
    def cached(self) -> Path | None:
        """The file in the cache, ``None`` when it has to be downloaded."""
        return self.path if self.path.is_file() else None

    def fetch(self, sha256: str | None = None, *, anew: bool = False) -> Path:
        """The file in the cache, downloaded when it is not there; see `fetch`.

        Args:
            sha256: of the file.
            anew: download it also when it is there, for small files that change; the old one stays where that fails.

        Raises:
            DownloadError: see `fetch`; for a gated file of the hub it says how to get access.
        """
        if not anew:
            return self._fetch(self.path, sha256)
        new = self._fetch(self.path.with_name(f".{self.path.name}.{os.getpid()}.new"), sha256, limit=_SMALL_FILE)
        os.replace(new, self.path)
        for changed in (new, self.path):
            _record_path(changed).unlink(missing_ok=True)
        return self.path

    def _fetch(self, target: Path, sha256: str | None, *, limit: int | None = None) -> Path:
        if self.repository is None or target.is_file():
            return fetch(self.address, target, sha256=sha256, limit=limit)
        if _is_set("HF_HUB_OFFLINE"):
            raise DownloadError(f"{self.address} is not at {target}, and HF_HUB_OFFLINE forbids to download it")
        # Its token, not its hf_hub_download: that tries for 20 s to reach a host that is not there, and no option of
        # it prevents that.
        from huggingface_hub import get_token

        token = None if _is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") else get_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return fetch(self.address, target, sha256=sha256, headers=headers, limit=limit)
        except DownloadError as error:
            if error.status not in (401, 403):
                raise
            raise DownloadError(
                f"{error}. The files of https://huggingface.co/{self.repository} may be gated: accept their licence "
                "there, and set HF_TOKEN to a token of the account that did",
                error.status,
            ) from error

    @property
    def _is_hub(self) -> bool:
        return self.source.startswith(HUB)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


class _InterruptedError(Exception):
    """What the next attempt may mend."""


class _GivenUpError(OSError):
    """What no further attempt can mend."""


class _Exchange:
    """One request and its answer, redirections included: how long they last, and how much comes.

    ``http.client`` looks at no clock while bytes come, be it one an hour, and takes headers without an end. So it reads
    through this.
    """

    def __init__(self, limits: _Limits) -> None:
        self.limits = limits
        self.received = self.of_file = 0
        self._since, self._before = time.monotonic(), 0

    def patience(self) -> float:
        """Seconds that may be waited for what comes next; an error where it is late, slow or too much."""
        now = time.monotonic()
        if now >= self.limits.end:
            raise _GivenUpError(f"{_LATE}, after {self.of_file} bytes of the file")
        if now - self._since >= _WINDOW:
            came = self.received - self._before
            if came < _SLOWEST * (now - self._since):
                raise _GivenUpError(f"{came} bytes in {now - self._since:.0f} s is too slow to go on")
            self._since, self._before = now, self.received
        if self.received - 2 * self.of_file > _AROUND:
            raise _GivenUpError(
                f"expected at most {_AROUND} bytes of headers, got more, after {self.of_file} bytes of the file"
            )
        return min(self.limits.timeout, self.limits.end - now)

    def handlers(self) -> tuple[type[HTTPHandler], type[HTTPSHandler]]:
        """Of ``urllib``, whose connections and answers this watches."""

        def watched(kind: Any) -> Callable[..., HTTPConnection]:
            def connect(*args: Any, **options: Any) -> HTTPConnection:
                connection: HTTPConnection = kind(*args, **{**options, "timeout": self.patience()})
                connection.response_class = answer  # type: ignore[assignment]
                return connection

            return connect

        def answer(sock: socket.socket, *args: Any, **options: Any) -> HTTPResponse:
            return HTTPResponse(_Watched(sock, self), *args, **options)  # type: ignore[arg-type]

        class Http(HTTPHandler):
            def do_open(self, http_class: Any, req: Request, **options: Any) -> HTTPResponse:
                return super().do_open(watched(http_class), req, **options)

        class Https(HTTPSHandler):
            def do_open(self, http_class: Any, req: Request, **options: Any) -> HTTPResponse:
                return super().do_open(watched(http_class), req, **options)

        return Http, Https


class _Watched(io.RawIOBase):
    """A socket that is read while its exchange has patience."""

    def __init__(self, sock: socket.socket, exchange: _Exchange) -> None:
        self._sock, self._exchange = sock, exchange
        self._file = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """All that ``HTTPResponse`` asks a socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._exchange.patience())
        try:
            count = self._file.readinto(buffer)
        except TimeoutError:
            self._exchange.patience()  # it may have been cut short by the deadline
            raise
        self._exchange.received += count or 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Redirects(HTTPRedirectHandler):
    """Redirections to allowed addresses; a token stays with its host."""

    published: str | None = None

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        fp.close()  # the page that comes with it would be read whole into memory
        newurl = urljoin(req.full_url, newurl)
        _check_address(newurl)
        self.published = _published_sha256(headers) or self.published
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            new.remove_header("Authorization")
        return new


def _check_address(address: str) -> None:
    allowed = False
    with suppress(ValueError):  # of a host or port that is none
        parts = urlsplit(address)
        host = parts.hostname or ""
        # Of dots alone it would be a folder above the cache's.
        secure = parts.scheme == "https" and host.strip(".") and parts.port != 0
        allowed = bool(secure or (parts.scheme == "http" and host in _LOOPBACK)) and address.isascii()
        allowed = allowed and not any(character <= " " or character in "\\\x7f" for character in address)
    if not allowed:
        raise DownloadError(f"{_short(address)!r} is not an address to download from: expected https:// and no blanks")


def _check_digits(sha256: str | None, address: str) -> str | None:
    """A sha256 as it is compared, refused where it would be no check at all."""
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{8,64}", sha256):
        raise DownloadError(f"{address}: expected 8 to 64 hexadecimal digits of a sha256, got {sha256!r}")
    return None if sha256 is None else sha256.lower()


def _published_sha256(headers: Any) -> str | None:
    """The sha256 that the hub states of a large file, which it keeps by that."""
    stated = str(headers.get("X-Linked-ETag") or "").strip('"').lower()
    return stated if len(stated) == 64 and all(digit in "0123456789abcdef" for digit in stated) else None


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.part.json")


def _download(address: str, target: Path, headers: dict[str, str], limits: _Limits) -> str | None:
    """Bring the whole file to the hidden name; returns the sha256 that the hub states of it."""
    part = _part(target)
    at_first = most = part.stat().st_size if part.exists() else 0
    failures = 0
    while True:
        try:
            return _attempt(address, target, headers, limits)
        except (_InterruptedError, URLError) as error:
            size = part.stat().st_size if part.exists() else 0
            failures = 0 if size >= most + _PROGRESS else failures + 1
            most = max(most, size)
            pause = _PAUSE * 2 ** (failures - 1)
            # A host that was never reached is not there: saying so at once is kinder than trying on.
            never = isinstance(error, URLError) and most == at_first
            if failures > _RETRIES or never or time.monotonic() + pause > limits.end:
                reason = error.reason if isinstance(error, URLError) else error
                if isinstance(reason, TimeoutError) and time.monotonic() >= limits.end:
                    reason = _LATE
                reason = _reason(reason, limits.timeout) if isinstance(reason, Exception) else reason
                raise _failed(address, target, str(reason)) from error
            _LOG.info("%s: %s; trying again", address, _short(str(error)))
            time.sleep(pause)


def _failed(address: str, target: Path, reason: str, status: int | None = None) -> DownloadError:
    return DownloadError(f"{address} could not be downloaded to {target}: {_short(reason)}", status)


def _short(text: str) -> str:
    """The beginning of what a server said, in one line."""
    text = printable(text)
    return text if len(text) <= 500 else f"{text[:497]}..."


def _attempt(address: str, target: Path, headers: dict[str, str], limits: _Limits) -> str | None:
    part, note = _part(target), _note(target)
    known = _read_note(note) if part.exists() else {}
    have = part.stat().st_size if known.get("validator") and known.get("address") == address else 0
    request = Request(address, headers={"User-Agent": "vdna_metrics", **headers})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known["validator"])
    redirects, exchange = _Redirects(), _Exchange(limits)
    try:
        response = build_opener(redirects, *exchange.handlers()).open(request)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # nothing there from where we stopped: not the same file
            part.unlink(missing_ok=True)
        reason = f"HTTP {error.code} {error.headers.get('X-Error-Message') or error.reason}"
        if error.code in (*_TRANSIENT, 416):
            raise _InterruptedError(reason) from error
        raise _failed(address, target, reason, error.code) from error
    except (URLError, DownloadError, _GivenUpError):
        raise
    except (ValueError, OverflowError, InvalidURL) as error:  # of an address or a header
        raise _failed(address, target, str(error)) from error
    except (OSError, HTTPException) as error:
        raise _InterruptedError(_reason(error, limits.timeout)) from error
    with response:
        if response.status not in (200, 206):
            raise _failed(address, target, f"HTTP {response.status} {response.reason}: no file", response.status)
        resumed = response.status == 206
        if resumed and not have:
            raise _failed(address, target, "HTTP 206: expected the whole file, got a part of it", 206)
        length = response.headers.get("Content-Length")
        if length is not None and not (length.isascii() and length.isdecimal() and len(length) < 20):
            raise _failed(address, target, f"expected a number of bytes as Content-Length, got {length!r}")
        total = int(length) + have * resumed if length is not None and not response.chunked else None
        sent = response.headers.get("Content-Range")
        if resumed and not str(sent).startswith(f"bytes {have}-"):
            part.unlink()
            raise _InterruptedError(f"expected the server to go on at {have}, got {sent}")
        etag = response.headers.get("ETag")
        strong = None if etag is None or etag.startswith("W/") else etag
        validator = strong or response.headers.get("Last-Modified")
        note.write_text(json.dumps({"address": address, "validator": validator}))
        published = _published_sha256(response.headers) or redirects.published
        if total is None and not response.chunked and not (limits.verified or published):
            raise _failed(
                address, target, "the server says neither the file's length nor its sha256, so a part would pass for it"
            )
        with open(part, "ab" if resumed else "wb") as file:
            _receive(response, file, target, address, total, exchange)
            file.flush()
            os.fsync(file.fileno())
    return published


def _receive(
    response: HTTPResponse, file: IO[bytes], target: Path, address: str, total: int | None, exchange: _Exchange
) -> None:
    report, limits = _REPORT.get(), exchange.limits
    size = file.tell()
    large = total is None or total - size > _LARGE
    level = logging.WARNING if large and report is None else logging.INFO
    amount = "a file" if total is None else f"{total / 1e6:.0f} MB"
    _LOG.log(level, "downloading %s from %s to %s", amount, address, target)
    while True:
        if max(size, total or 0) > limits.n_bytes:
            file.truncate(0)  # there is no use in going on
            told = f"expected at most {limits.n_bytes} bytes, got {'' if total else 'at least '}{total or size}"
            raise _failed(address, target, f"{told}; if you trust it, set {limit_variable('download_bytes')}")
        if report is not None:
            report(target.name, size, total)
        try:
            block = response.read1(_BLOCK)
        except _GivenUpError:
            raise
        except (OSError, HTTPException) as error:  # from the network only: what the disk says is not an interruption
            raise _InterruptedError(
                f"{_reason(error, limits.timeout)} after {size} of {total or 'unknown'} bytes"
            ) from error
        if not block:
            break
        file.write(block)
        size += len(block)
        exchange.of_file += len(block)
    if total is not None and size != total:
        raise _InterruptedError(f"the server ended early, after {size} of {total} bytes")
    _LOG.info("downloaded %s", target)


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return str(error) or type(error).__name__


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):  # none, or one that was cut short
        return {}
    return note if isinstance(note, dict) else {}


def _accept(address: str, target: Path, sha256: str | None) -> None:
    """Rename what has come, unless it is not what was expected."""
    part = _part(target)
    found = sha256_of_file(part)
    _note(target).unlink(missing_ok=True)
    if not found.startswith(sha256 or ""):
        part.unlink()  # going on from wrong bytes cannot help
        raise DownloadError(f"{address} sent a file for {target} that has sha256 {found}, expected {sha256}")
    os.replace(part, target)
    _record(target, found)


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _record(path: Path, sha256: str) -> None:
    with suppress(OSError):  # a folder of others that may only be read keeps no record
        _record_path(path).write_text(f"{sha256}  {path.name}\n")  # as sha256sum --check reads it


def _checked(path: Path, sha256: str | None, address: str) -> Path:
    """A file that is there, if it is the expected one and has not changed since its first use."""
    found = sha256_of_file(path)
    again = f"delete it, and its .sha256, to download it again from {address}"
    if sha256 is not None and not found.startswith(sha256):
        raise DownloadError(f"{path} has sha256 {found}, expected {sha256}: {again}")
    record = _record_path(path)
    recorded = record.read_text(errors="replace").split()[:1] if record.is_file() else []
    if recorded and recorded != [found]:
        before = recorded[0]
        raise DownloadError(f"{path} was changed: it has sha256 {found}, at its first use it had {before}: {again}")
    if not recorded:
        _record(path, found)
    return path
