"""Files that are written whole, and damage that is found."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.claims import write_sparse_zip

from vdna_metrics import files
from vdna_metrics.files import (
    SCHEMA,
    is_ours,
    limit_of,
    open_archive,
    plain_json,
    read_arrays,
    read_header,
    read_json,
    read_npz,
    sha256_of_file,
    write_npz,
)
from vdna_metrics.schema import ArrayField

ARRAYS = {
    "counts": np.arange(300, dtype=np.uint32).reshape(3, 100) ** 2,
    "mean": np.array([0.1, -np.pi, 1e30]),
    "none": np.zeros((0, 2)),
}
HEADER = {"n_images": 12, "names": ["a", "ü", "bad \udc80 name"], "options": {"x": None, "y": 0.1}}


@dataclass(frozen=True)
class Thing:
    """The schema of a file of tests."""

    n_images: int
    names: tuple[str, ...]
    options: Mapping[str, Any]

    def arrays(self) -> dict[str, ArrayField]:
        """Its arrays."""
        return {"counts": ArrayField((3, None), "u"), "mean": ArrayField((3,), "f8"), "none": ArrayField((0, 2), "f8")}


THING = {"thing": Thing}


@dataclass(frozen=True)
class Two:
    """The schema of a file of two arrays."""

    def arrays(self) -> dict[str, ArrayField]:
        """Both."""
        return {"values": ArrayField((None,), "f8"), "weights": ArrayField((4,), "f8")}


def _write(path: Path) -> Path:
    return write_npz(path, "thing", HEADER, ARRAYS)


def _rewrite(path: Path, change: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> Path:
    """Replace parts of a file's header and arrays, as somebody with NumPy would."""
    with np.load(path) as archive:
        members = dict(archive)
    header = {**json.loads(members["header"].tobytes()), **(change or {})}
    members["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez_compressed(path, **{**members, **(arrays or {})})
    return path


def _assert_whole(path: Path) -> None:
    thing, arrays = read_npz(path, THING)
    assert thing == Thing(12, tuple(HEADER["names"]), HEADER["options"])
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_header_and_arrays_come_back(tmp_path: Path) -> None:
    """What is written is read, with schema, kind and writer beside it."""
    path = _write(tmp_path / "x.npz")
    _assert_whole(path)
    header = read_header(path)
    assert header["schema"] == SCHEMA
    assert header["kind"] == "thing"
    assert header["writer"].startswith("vdna_metrics ")
    assert is_ours(path)


def test_numpy_reads_it_without_pickle(tmp_path: Path) -> None:
    """A file is an ordinary `.npz` of plain arrays."""
    with np.load(_write(tmp_path / "x.npz"), allow_pickle=False) as archive:
        assert sorted(archive.files) == ["counts", "header", "mean", "none"]
        np.testing.assert_array_equal(archive["counts"], ARRAYS["counts"])


@pytest.mark.parametrize(
    ("asked", "written"),
    [("ffhq-0.5", "ffhq-0.5.npz"), ("ffhq-0.5.npz", "ffhq-0.5.npz"), ("a", "a.npz"), ("a.tar", "a.tar.npz")],
)
def test_a_name_keeps_its_dots(tmp_path: Path, asked: str, written: str) -> None:
    """`.npz` is appended where it is missing, and nothing is taken from a name."""
    assert _write(tmp_path / asked) == tmp_path / written
    assert [path.name for path in tmp_path.iterdir()] == [written]


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two writings of the same content are equal to the byte, whenever they happen."""
    path = _write(tmp_path / "a.npz")
    assert sha256_of_file(path) == sha256_of_file(_write(tmp_path / "b.npz"))
    with zipfile.ZipFile(path) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Writing into a folder that does not exist says so."""
    with pytest.raises(ValueError, match=r"cannot write .*x.npz: folder .*missing does not exist"):
        _write(tmp_path / "missing" / "x.npz")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["numpy.lib.format.write_array", "os.fsync", "os.replace"])
def test_an_interrupted_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    """When writing fails at any step, the old file is as it was and no temporary one is left."""
    path = _write(tmp_path / "x.npz")
    before = path.read_bytes()

    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.raises(type(error)):
        write_npz(path, "thing", {}, {"other": np.ones(3)})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    """Writing again replaces the file."""
    write_npz(tmp_path / "x.npz", "thing", {}, {"other": np.ones(3)})
    _assert_whole(_write(tmp_path / "x.npz"))


@pytest.mark.skipif(os.name != "posix", reason="umask is POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_respects_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """A file is as readable as any other that the user makes, and the umask stays as it was."""
    before = os.umask(umask)
    try:
        path = _write(tmp_path / "x.npz")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_header_is_read_without_the_arrays(tmp_path: Path) -> None:
    """A header is readable where every array is damaged, which reading the arrays then says."""
    path = _write(tmp_path / "x.npz")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename != "header.npy":
                start = info.header_offset + 30 + len(info.filename)
                data[start : start + info.compress_size] = b"\xff" * info.compress_size
    path.write_bytes(data)
    assert read_header(path)["n_images"] == 12
    with pytest.raises(ValueError, match=r"x\.npz: member 'counts\.npy'"):
        read_npz(path, THING)


@pytest.mark.parametrize("share", [*range(0, 100, 10), 99.9])
def test_a_truncated_file_is_damaged(tmp_path: Path, share: float) -> None:
    """A file that was cut anywhere is refused by name."""
    path = _write(tmp_path / "x.npz")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share / 100)])
    with pytest.raises(ValueError, match=r"x\.npz is damaged or not an \.npz file"):
        read_npz(path, THING)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_never_changes_what_is_read(tmp_path: Path, bit: int) -> None:
    """Any single flipped bit is an error that names the file, or lies where nothing is read from."""
    path = _write(tmp_path / "x.npz")
    data = path.read_bytes()
    refused = 0
    for place in range(bit, len(data), 8):  # each byte once over all bits, which rotate
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        try:
            _assert_whole(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > len(data) / 16


@pytest.mark.parametrize(
    "change", [{"n_images": 13}, {"kind": "other"}, {"sha256": "0" * 64}, {"names": []}, {"writer": "x"}]
)
def test_a_changed_header_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """Changing, adding or replacing any value of the header is found."""
    path = _rewrite(_write(tmp_path / "x.npz"), change)
    with pytest.raises(ValueError, match=r"x\.npz was changed after it was written: the sha256 of its content is"):
        read_npz(path, {**THING, "other": Thing})


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean": np.array([0.1, -np.pi, 1e29])},
        {"counts": ARRAYS["counts"].astype(np.uint64)},
        {"counts": ARRAYS["counts"][:, :99]},
    ],
)
def test_changed_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    """Another value, type or shape is found, also where the schema leaves it open."""
    path = _rewrite(_write(tmp_path / "x.npz"), arrays=arrays)
    with pytest.raises(ValueError, match=r"x\.npz was changed after it was written"):
        read_npz(path, THING)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    """A file of a newer schema says who wrote it and what to do."""
    path = _rewrite(_write(tmp_path / "x.npz"), {"schema": SCHEMA + 1, "writer": "vdna_metrics 9"})
    for read in (read_header, lambda path: read_npz(path, THING)):
        with pytest.raises(ValueError, match=rf"schema {SCHEMA + 1} \(written by vdna_metrics 9\).*upgrade vdna_m"):
            read(path)


def test_another_kind_shows_both(tmp_path: Path) -> None:
    """A file of another kind is refused before its arrays are read."""
    with pytest.raises(ValueError, match=r"x\.npz: expected 'ranges' or 'gaussian', it holds 'thing'"):
        read_npz(_write(tmp_path / "x.npz"), {"ranges": Thing, "gaussian": Thing})


def _foreign(path: Path, content: str) -> None:
    if content == "images":
        np.savez(path, arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    elif content == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "text":
        path.write_text("n_images: 12\n")
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "pickled header":
        np.savez(path, header=np.array([{"schema": 1}], dtype=object))
    else:
        header = {"header of text": "[1, 2]", "header without schema": "{}", "schema of text": '{"schema": "2"}'}
        text = header.get(content, "not JSON")
        np.savez(path, header=np.frombuffer(text.encode(), np.uint8))


@pytest.mark.parametrize(
    "content",
    ["images", "array", "text", "empty", "pickled header", "header of text", "header without schema", "schema of text",
     "no JSON"],
)  # fmt: skip
def test_foreign_files_are_refused(tmp_path: Path, content: str) -> None:
    """Anything that this package did not write is refused by name, and nothing is unpickled."""
    path = tmp_path / "x.npz"
    _foreign(path, content)
    what = " is damaged or not an| has no header of ours: it was not|: member 'header|: expected JSON|: schema: "
    with pytest.raises(ValueError, match=rf"x\.npz({what})"):
        read_npz(path, THING)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    """An array of Python objects beside a good header is not unpickled."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = _rewrite(_write(tmp_path / "x.npz"), arrays={"mean": np.array([Bomb()], dtype=object)})
    with pytest.raises(
        ValueError, match=r"x\.npz: member 'mean\.npy': expected an array of numbers or text, got one of objects"
    ):
        read_npz(path, THING)
    assert not (tmp_path / "exploded").exists()


def test_objects_are_not_written(tmp_path: Path) -> None:
    """Arrays of Python objects are refused before anything is written."""
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_npz(tmp_path / "x.npz", "thing", {}, {"a": np.array([{}], dtype=object)})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_no_damage(tmp_path: Path) -> None:
    """A file that is not there is a FileNotFoundError with its path; a folder is no file of ours."""
    with pytest.raises(FileNotFoundError, match=r"no such file: .*x\.npz"):
        read_header(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"expected a regular file, got a folder"):
        read_header(tmp_path)


def test_is_ours_tells_images_from_dnas(tmp_path: Path) -> None:
    """`is_ours` looks for the header and never raises."""
    images = tmp_path / "images.npz"
    np.savez(images, arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "text.npz").write_text("no zip")
    assert not is_ours(images)
    assert not is_ours(tmp_path / "text.npz")
    assert not is_ours(tmp_path / "missing.npz")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    """The digest is that of the bytes, over more than one block."""
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert sha256_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(bytes(3 << 20))
    assert sha256_of_file(path) == hashlib.sha256(bytes(3 << 20)).hexdigest()


# ------------------------------------------------------------------------------------------------- claims of a file
def _npy(claim: str, values: bytes = b"\0" * 24) -> bytes:
    header = claim.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def _claim(dtype: str = "|u1", shape: str = "(24,)", order: str = "False") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}"


def _zip(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "claim",
    [_claim(), _claim("<f8", "(3,)"), _claim("<f4", "(2, 3)", "True"), _claim("|S8", "(3L,)"), _claim(">i4", "(6,)"),
     _claim("<U1", "(6,)"), _claim("|u1", "(4, 0, 6)")],
)  # fmt: skip
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, claim: str) -> None:
    """Every plain array that NumPy writes, in either order and byte order, with the lengths of Python 2."""
    data = _npy(claim, b"" if ", 0," in claim else bytes(range(24)) if "U" not in claim else b"a\0\0\0" * 6)
    path = _zip(tmp_path / "x.npz", ("a.npy", data))
    expected = np.lib.format.read_array(io.BytesIO(data.replace(b"3L,", b"3, ")))
    found = read_arrays(path, ["a"])["a"]
    assert (found.dtype, found.shape, found.flags.writeable) == (expected.dtype, expected.shape, True)
    np.testing.assert_array_equal(found, expected)
    assert read_arrays(path, ["b"]) == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_npy(_claim(shape="(100000000000, 8, 8, 3)")), "its header claims 19200000000000 bytes, .*; there are 24"),
        (_npy(_claim(shape="(25,)")), "its header claims 25 bytes, .*; there are 24"),
        (_npy(_claim(shape="(4294967296, 4294967296)")), r"expected an array of fewer than 2\*\*63 bytes"),
        (_npy(_claim(shape="(0, 4294967296, 4294967296)"), b""), r"expected an array of fewer than 2\*\*63 bytes"),
        (_npy(_claim(shape="(-5, 8)")), "expected the header of an array, got .*-5"),
        (_npy(_claim(shape="(True, 24)")), "expected the header of an array, got .*True"),
        (_npy(_claim(shape="I5, 20)")), "expected the header of an array, got .*I5"),
        (_npy(_claim(shape="(" * 60 + ")" * 60)), "expected the header of an array"),
        (_npy(_claim("|O", "(2,)")), "expected an array of numbers or text, got one of objects"),
        (_npy(_claim("<f7", "(3,)")), "expected the header of an array, got the type '<f7'"),
        (_npy(_claim("|S0", "(3,)")), r"expected an array of fewer than 2\*\*63 bytes"),
        (_npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }"), "expected the header of an array"),
        (_npy(_claim().replace("'descr'", "'shape'")), "expected the header of an array"),
        (b"x", "expected an array in NumPy's format, it begins with b'x'"),
        (b"", "expected an array in NumPy's format, it begins with b''"),
        (b"\x93NUMPY\x09\x00" + b" " * 90, "expected an array in NumPy's format"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 90, "expected the header of an array"),
    ],
)
def test_what_an_array_claims_is_compared_first(tmp_path: Path, data: bytes, message: str) -> None:
    """An array is refused by file and member before anything of the claimed size is allocated."""
    path = _zip(tmp_path / "x.npz", ("a.npy", data))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"x\.npz: member 'a\.npy': {message}"):
            read_arrays(path, ["a"])
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_members_that_are_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files of large arrays are refused by a limit that the environment raises, and lies about sizes at once."""
    path = _zip(tmp_path / "x.npz", ("a.npy", _npy(_claim(shape=f"({1 << 20},)"), bytes(1 << 20))))
    monkeypatch.setenv("VDNA_METRICS_MAX_ARRAY_BYTES", "1000000")
    with pytest.raises(
        ValueError,
        match=r"member 'a\.npy': its values: expected at most 1000000 bytes .* got 1048576; if you trust it, set "
        "VDNA_METRICS_MAX_ARRAY_BYTES",
    ):
        read_arrays(path, ["a"])
    monkeypatch.setenv("VDNA_METRICS_MAX_ARRAY_BYTES", str(1 << 20))
    assert read_arrays(path, ["a"])["a"].shape == (1 << 20,)
    # Both places where a zip file says how large the member is.
    data = path.read_bytes().replace((128 + (1 << 20)).to_bytes(4, "little"), (1 << 31).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"member 'a\.npy': it claims 2147483648 bytes, which do not fit into \d+"):
        read_arrays(path, ["a"])


@pytest.mark.parametrize("kind", ["directory of many entries", "directory of many bytes"])
def test_directories_are_limited_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Python reads all that the end of a file says its directory has, and makes an object of each entry."""
    path = tmp_path / "x.npz"
    if kind == "directory of many entries":
        _zip(path, *((f"{number}.npy", b"") for number in range(9)))
        monkeypatch.setenv("VDNA_METRICS_MAX_MEMBERS", "8")
        # What the end says of their number is not looked at, by zipfile either.
        path.write_bytes(path.read_bytes().replace(struct.pack("<2H", 9, 9), struct.pack("<2H", 3, 3)))
    else:
        write_sparse_zip(path, 6 << 30)
    tracemalloc.start()
    for read in (read_header, lambda path: read_arrays(path, ["0"])):
        with pytest.raises(
            ValueError, match=r"x\.npz: its (directory|headers): expected at most .*\(--limit members=\d"
        ):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
    if kind == "directory of many entries":
        monkeypatch.setenv("VDNA_METRICS_MAX_MEMBERS", "9")
        with open_archive(path) as (_, members):
            assert len(members) == 9


def test_arrays_of_one_file_have_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them may be within the limit of a file and all together not; nothing is read then."""
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(100), b=np.zeros(100), c=np.zeros(100))
    monkeypatch.setenv("VDNA_METRICS_MAX_ARRAY_BYTES", "1600")
    assert len(read_arrays(path, ["a", "b"])) == 2
    with pytest.raises(ValueError, match=r"x\.npz: its 3 arrays: expected at most 1600 bytes of arrays .*, got 2400;"):
        read_arrays(path, ["a", "b", "c"])


def test_no_array_is_read_before_all_are_known_to_fit(tmp_path: Path) -> None:
    """The last array's shape is refused before the first one is allocated."""
    path = tmp_path / "x.npz"
    values = {"values": np.zeros(1 << 22), "weights": np.zeros(3)}
    write_npz(path, "test", {}, values)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"x\.npz: member 'weights\.npy': expected f8 \[4\], got f8 \[3\]"):
        read_npz(path, {"test": Two})
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_what_is_no_regular_file_is_told(tmp_path: Path) -> None:
    """A folder or device is there, so nobody is told that it is not."""
    files.check_file(_zip(tmp_path / "x.npz"))
    for path, kind in ((tmp_path, "a folder"), (Path("/dev/null"), "a device")):
        if path.exists():
            with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: expected a regular file, got {kind}$"):
                files.check_file(path)


def test_errors_are_not_endless() -> None:
    """Of a name of thousands of letters some are shown, and so are the name of the file and the end of the sentence."""
    with pytest.raises(ValueError, match=r"^x\.npz: layer aaaa") as error, files.errors_of("x.npz"):
        raise ValueError(f"layer {'a' * 5000} is unknown; known: b")
    assert str(error.value).endswith("aaa is unknown; known: b")
    assert len(str(error.value)) < 2000
    with pytest.raises(ValueError, match=r"^x\.npz: mu: it is cut$"), files.errors_of("x.npz: mu"):
        raise ValueError("x.npz: it is cut")


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices are no files there")
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder"])
def test_nothing_but_a_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """A pipe, a link to a device and a folder are refused as outputs, and stay what they are."""
    path = tmp_path / "out"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    before = path.stat()
    for write in (files.check_writable, lambda there: files.write_whole(there, "text")):
        with pytest.raises(ValueError, match=rf"^cannot write .*out: it is {kind}$"):
            write(path)
    assert (path.stat().st_mode, path.is_symlink()) == (before.st_mode, kind == "a device")
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_of_an_array_does_not_change_its_hash(tmp_path: Path) -> None:
    """What lies in another order is hashed by parts, and reads the same."""
    array = np.arange(60_000.0).reshape(3, -1)
    for name, stored in (("c", array), ("fortran", np.asfortranarray(array))):
        write_npz(tmp_path / name, "thing", HEADER, {**ARRAYS, "mean": stored[:, 0], "counts": stored.astype("u4")})
    one, other = (read_header(tmp_path / f"{name}.npz")["sha256"] for name in ("c", "fortran"))
    assert one == other


@pytest.mark.parametrize("text", ["0", "-1", "1e9", "much", "1" * 30, "\uff11"])
def test_limits_are_whole_numbers(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is no number is an error that names its variable."""
    monkeypatch.setenv("VDNA_METRICS_MAX_JSON_BYTES", text)
    with pytest.raises(
        ValueError, match="expected VDNA_METRICS_MAX_JSON_BYTES to be a whole number of bytes of one JSON"
    ):
        limit_of("json_bytes")


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused(tmp_path: Path, compression: int) -> None:
    """NumPy stores or deflates; what else there is could be a bomb of any size."""
    path = _zip(tmp_path / "x.npz", ("a.npy", _npy(_claim())), compression=compression)
    with pytest.raises(ValueError, match=r"x\.npz: member 'a\.npy': expected it stored or deflated, got compression"):
        read_arrays(path, ["a"])


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """Which of them is meant cannot be known."""
    path = _zip(tmp_path / "x.npz", ("a.npy", _npy(_claim())), ("a", b"x"))
    with pytest.raises(ValueError, match=r"x\.npz: it has 'a' twice: members 'a\.npy' and 'a'"):
        read_arrays(path, ["a"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """A pipe would wait for its writer for ever."""
    os.mkfifo(tmp_path / "x.npz")
    for read in (read_header, lambda path: read_json(path, int, "a number")):
        with pytest.raises(ValueError, match=r"x\.npz.* regular file"):
            read(tmp_path / "x.npz")
    assert not is_ours(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "an object has 'a' twice"),
        ('{"a": [NaN]}', "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "1e999 is no number"),
        ("[" * 100_000, "Expecting value|maximum recursion depth|nested|more than"),
        ("[" * 101 + "]" * 101, "containers are nested in more than 100 levels"),
        ("[" + "[]," * 3 * 10**6 + "[]]", "expected at most 3000000 values in one JSON text, got 6000002"),
        ("[" + '"a",' * 3 * 10**6 + "0]", "expected at most 3000000 values in one JSON text, got 3000001"),
        ("1" * 10_000, "Exceeds the limit|more than"),
        ("", "Expecting value"),
        ("[1", "Expecting"),
    ],
)
def test_json_is_plain(text: str, message: str) -> None:
    """What another reader might read otherwise, or cannot hold, is refused."""
    with pytest.raises(ValueError, match=rf"^expected JSON: .*({message})"):
        plain_json(text)
    assert plain_json("[" * 100 + "]" * 100)
    assert plain_json(b'{"a": [1, 2.5, "\\udc80"]}') == {"a": [1, 2.5, "\udc80"]}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room there, or write elsewhere"),
        (errno.EFBIG, r"raise the limit on the size of files \(ulimit -f\), or write elsewhere"),
    ],
)
def test_a_full_disk_is_named_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    """The system's error of a write has no name of a file; ours has it, and advice, and nothing is half written."""

    def full(_: int) -> None:
        raise OSError(number, "it does not fit")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(OSError, match=rf"a\.txt could not be written: it does not fit; {advice}$") as error:
        files.write_whole(tmp_path / "a.txt", "after")
    assert error.value.errno == number
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("digits", [60, 5000])
def test_a_header_is_read_in_one_way(digits: int) -> None:
    """A run of digits that no shape ends in is refused at once; there are not as many readings as ways to split it."""
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1" * digits + "x"
    header = b"\x93NUMPY\2\0" + len(text).to_bytes(4, "little") + text.encode()
    with pytest.raises(ValueError, match="expected the header of an array"):
        files.read_array_header(io.BytesIO(header))
