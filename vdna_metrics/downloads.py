"""Downloads: one file from its address to its place in the cache, whole, checked, once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from vdna_metrics.files import sha256_of_file

HUB = "hf-hub:"
_DATASETS = "datasets/"

Report = Callable[[str, int, int | None], None]

_LOG = logging.getLogger("vdna_metrics")
_REPORT: ContextVar[Report | None] = ContextVar("vdna_metrics.downloads.report", default=None)
_BLOCK = 1 << 20
_LARGE = 20_000_000
_RETRIES = 3
_PAUSE = 1.0  # seconds before the first retry, twice as long before each further one
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
        super().__init__(message)
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
    """Folder for downloaded files: ``VDNA_METRICS_HOME``, else ``~/.cache/vdna_metrics``."""
    home = os.environ.get("VDNA_METRICS_HOME")
    if home:
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vdna_metrics"


def fetch(
    address: str,
    target: str | Path,
    *,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> Path:
    """A file from its address; what is there already is checked and not downloaded again.

    The file arrives under a hidden name beside the target and is renamed when it is whole, so that an interruption
    leaves no half file. The next call goes on where it stopped, if the server says that the file is still the same
    (``If-Range``), and begins anew otherwise. Processes that want one file at once wait for the first of them. The
    file's sha256 is kept beside it, in ``target.sha256``, and compared at each later call.

    Args:
        address: ``https://...``; plain http is accepted from this very machine only.
        target: the file to be.
        sha256: hexadecimal sha256 of the file, or its first digits.
        headers: of the request. ``Authorization`` does not follow a redirection to another host.
        timeout: seconds to wait for a connection, and for each further piece of the file.

    Returns:
        The target.

    Raises:
        DownloadError: when the file cannot be had, is cut short, or has another sha256; the message names address,
            target and reason. Nothing is left at the target, and nothing that was there is removed.

    Examples:
        >>> fetch("ftp://host/weights.pth", "weights.pth")
        Traceback (most recent call last):
        ...
        vdna_metrics.downloads.DownloadError: ftp://host/weights.pth is not an address to download from: ...
    """
    from filelock import FileLock

    target = Path(target)
    if target.is_file():
        return _checked(target, sha256, address)
    _check_address(address)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if target.is_file():  # another process was faster
                return _checked(target, sha256, address)
            published = _download(address, target, dict(headers or {}), timeout)
            _accept(address, target, sha256 or published)
    except OSError as error:
        raise DownloadError(f"{address} could not be downloaded to {target}: {error}") from error
    return target


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
            anew: download it also when it is there, for files that change; the old one stays where that fails.

        Raises:
            DownloadError: see `fetch`; for a gated file of the hub it says how to get access.
        """
        if not anew:
            return self._fetch(self.path, sha256)
        new = self._fetch(self.path.with_name(f".{self.path.name}.{os.getpid()}.new"), sha256)
        os.replace(new, self.path)
        for changed in (new, self.path):
            _record_path(changed).unlink(missing_ok=True)
        return self.path

    def _fetch(self, target: Path, sha256: str | None) -> Path:
        if self.repository is None or target.is_file():
            return fetch(self.address, target, sha256=sha256)
        if _is_set("HF_HUB_OFFLINE"):
            raise DownloadError(f"{self.address} is not at {target}, and HF_HUB_OFFLINE forbids to download it")
        # Its token, not its hf_hub_download: that tries for 20 s to reach a host that is not there, and no option of
        # it prevents that.
        from huggingface_hub import get_token

        token = None if _is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") else get_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return fetch(self.address, target, sha256=sha256, headers=headers)
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


class _Redirects(HTTPRedirectHandler):
    """Redirections to allowed addresses; a token stays with its host."""

    published: str | None = None

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        newurl = urljoin(req.full_url, newurl)
        _check_address(newurl)
        self.published = _published_sha256(headers) or self.published
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            new.remove_header("Authorization")
        return new


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    secure = parts.scheme == "https" and parts.hostname
    if not (secure or (parts.scheme == "http" and parts.hostname in _LOOPBACK)) or len(address.split()) != 1:
        raise DownloadError(f"{address} is not an address to download from: expected https:// and no blanks")


def _published_sha256(headers: Any) -> str | None:
    """The sha256 that the hub states of a large file, which it keeps by that."""
    stated = str(headers.get("X-Linked-ETag") or "").strip('"').lower()
    return stated if len(stated) == 64 and all(digit in "0123456789abcdef" for digit in stated) else None


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.part.json")


def _download(address: str, target: Path, headers: dict[str, str], timeout: float) -> str | None:
    """Bring the whole file to the hidden name; returns the sha256 that the hub states of it."""
    part = _part(target)
    at_first = most = part.stat().st_size if part.exists() else 0
    failures = 0
    while True:
        try:
            return _attempt(address, target, headers, timeout)
        except (_InterruptedError, URLError) as error:
            size = part.stat().st_size if part.exists() else 0
            failures = 0 if size > most else failures + 1
            most = max(most, size)
            # A host that was never reached is not there: saying so at once is kinder than trying on.
            if failures > _RETRIES or (isinstance(error, URLError) and most == at_first):
                reason = error.reason if isinstance(error, URLError) else error
                reason = _reason(reason, timeout) if isinstance(reason, Exception) else reason
                raise DownloadError(f"{address} could not be downloaded to {target}: {reason}") from error
            _LOG.info("%s: %s; trying again", address, error)
            time.sleep(_PAUSE * 2 ** (failures - 1))


def _attempt(address: str, target: Path, headers: dict[str, str], timeout: float) -> str | None:
    part, note = _part(target), _note(target)
    known = _read_note(note) if part.exists() else {}
    have = part.stat().st_size if known.get("validator") and known.get("address") == address else 0
    request = Request(address, headers={"User-Agent": "vdna_metrics", **headers})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known["validator"])
    redirects = _Redirects()
    try:
        response = build_opener(redirects).open(request, timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # nothing there from where we stopped: not the same file
            part.unlink(missing_ok=True)
        reason = f"HTTP {error.code} {error.headers.get('X-Error-Message') or error.reason}"
        if error.code in (*_TRANSIENT, 416):
            raise _InterruptedError(reason) from error
        raise DownloadError(f"{address} could not be downloaded to {target}: {reason}", error.code) from error
    except URLError:
        raise
    except (OSError, HTTPException) as error:
        raise _InterruptedError(_reason(error, timeout)) from error
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = int(length) + have * resumed if length is not None else None
        sent = response.headers.get("Content-Range")
        if resumed and not str(sent).startswith(f"bytes {have}-"):
            part.unlink()
            raise _InterruptedError(f"expected the server to go on at {have}, got {sent}")
        etag = response.headers.get("ETag")
        strong = None if etag is None or etag.startswith("W/") else etag
        validator = strong or response.headers.get("Last-Modified")
        note.write_text(json.dumps({"address": address, "validator": validator}))
        published = _published_sha256(response.headers) or redirects.published
        with open(part, "ab" if resumed else "wb") as file:
            _receive(response, file, target, address, total, timeout)
            file.flush()
            os.fsync(file.fileno())
    return published


def _receive(
    response: HTTPResponse, file: IO[bytes], target: Path, address: str, total: int | None, timeout: float
) -> None:
    report = _REPORT.get()
    size = file.tell()
    large = total is None or total - size > _LARGE
    level = logging.WARNING if large and report is None else logging.INFO
    amount = "a file" if total is None else f"{total / 1e6:.0f} MB"
    _LOG.log(level, "downloading %s from %s to %s", amount, address, target)
    while True:
        if report is not None:
            report(target.name, size, total)
        try:
            block = response.read1(_BLOCK)
        except (OSError, HTTPException) as error:  # from the network only: what the disk says is not an interruption
            raise _InterruptedError(f"{_reason(error, timeout)} after {size} of {total or 'unknown'} bytes") from error
        if not block:
            break
        file.write(block)
        size += len(block)
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
    recorded = record.read_text().split()[:1] if record.is_file() else []
    if recorded and recorded != [found]:
        before = recorded[0]
        raise DownloadError(f"{path} was changed: it has sha256 {found}, at its first use it had {before}: {again}")
    if not recorded:
        _record(path, found)
    return path
