"""Pickles of arrays are read, and nothing that a pickle names is ever run."""

from __future__ import annotations

import codecs
import collections
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pickles import REPEATED, repeated

from vdna_metrics.references.formats import unpickling
from vdna_metrics.references.formats.importing import load_torch
from vdna_metrics.references.formats.unpickling import is_legacy_torch, load_legacy_torch, load_pickle

ARRAYS = {
    "contiguous": np.arange(6.0).reshape(2, 3),
    "columns first": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    "axes in another order": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "float32": np.linspace(0, 1, 5, dtype=np.float32),
    "big endian": np.arange(4, dtype=">i4"),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "one number": np.array(3.5),
    "complex": np.array([1 + 2j]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name: str, protocol: int) -> None:
    """Arrays of numbers of every layout come back to the bit, with their type, in every protocol."""
    array = ARRAYS[name]
    found = np.array(load_pickle(pickle.dumps(array, protocol), "file"))
    found = found.astype(found.dtype.newbyteorder("="))
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers_come_back(protocol: int) -> None:
    """Dicts, lists, tuples, numbers, text, bytes and None come back, and NumPy's scalars as Python's numbers."""
    plain = {"n": 2, "deep": [(1.5, None), {"x": "ü", "y": b"\x00\xff", "z": b""}], "big": 1 << 70, "yes": True}
    assert load_pickle(pickle.dumps(plain, protocol), "file") == plain
    scalars = [np.float64(0.1), np.int32(-7), np.bool_(True)]
    assert load_pickle(pickle.dumps(scalars, protocol), "file") == [0.1, -7, True]


@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_both_numpys_are_read(core: bytes) -> None:
    """Arrays pickled by NumPy 1, whose functions had other addresses, are read as those of NumPy 2."""
    ours = pickle.dumps(np.arange(3.0), 2)
    theirs = ours.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", b"numpy." + core + b".")
    np.testing.assert_array_equal(load_pickle(theirs, "file"), np.arange(3.0))


class _Calls:
    """An object whose pickle has a function called."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def _calling(module: str, name: str, text: str = "touch mark") -> bytes:
    """A pickle that calls `module.name(text)`, whether or not there is such a thing."""
    named = b"".join(pickle.BINUNICODE + len(part).to_bytes(4, "little") + part.encode() for part in (module, name))
    argument = pickle.BINUNICODE + len(text).to_bytes(4, "little") + text.encode()
    return b"\x80\x04" + named + pickle.STACK_GLOBAL + argument + pickle.TUPLE1 + pickle.REDUCE + b"."


_SYSTEM = r"names (posix|nt)\.system,"
HOSTILE = {
    "os.system": (_calling("os", "system"), r"names os\.system,"),
    "os.system as it is pickled": (pickle.dumps(_Calls(os.system, "touch mark"), 2), _SYSTEM),
    "in a container": (pickle.dumps([1, {"a": (_Calls(os.system, "touch mark"),)}], 4), _SYSTEM),
    "in an old protocol": (b"cos\nsystem\n(S'touch mark'\ntR.", r"names os\.system,"),
    "as an instance": (b"(S'touch mark'\nios\nsystem\n.", r"names os\.system,"),
    "eval": (_calling("builtins", "eval", "open('mark', 'w')"), r"names builtins\.eval,"),
    "eval of Python 2": (_calling("__builtin__", "eval", "open('mark', 'w')"), r"names __builtin__\.eval,"),
    "exec": (pickle.dumps(_Calls(exec, "open('mark', 'w')"), 4), r"names builtins\.exec,"),
    "open": (pickle.dumps(_Calls(open, "mark", "w"), 4), r"names _?io\.open,"),
    "getattr": (pickle.dumps(_Calls(getattr, "text", "upper"), 4), r"names builtins\.getattr,"),
    "a path of names": (_calling("numpy", "ndarray.tofile"), r"names numpy\.ndarray\.tofile,"),
    "another of NumPy": (_calling("numpy.f2py.diagnose", "run_command"), r"names numpy\.f2py\.diagnose\.run_command,"),
    "NumPy's loader": (_calling("numpy", "load"), r"names numpy\.load,"),
    "NumPy's reconstructor, elsewhere": (_calling("numpy", "_reconstruct"), r"names numpy\._reconstruct,"),
    "a class": (pickle.dumps(collections.Counter("ab"), 2), r"names collections\.Counter,"),
    "storage outside of it": (b"\x80\x02X\x01\x00\x00\x00aQ.", "refers to what lies outside of it,"),
    "another encoding": (pickle.dumps(_Calls(codecs.encode, "mark", "rot13"), 2), "wants str encoded as 'rot13',"),
    "an array of objects": (pickle.dumps(np.array([_Calls(os.system, "touch mark")], object), 4), "of type 'O8',"),
    "fields": (pickle.dumps(np.zeros(2, [("a", "f8")]), 4), "of type 'V8',"),
    "text": (pickle.dumps(np.array(["a"]), 4), "of type 'U1',"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle that names anything but arrays is refused by that name, and what it names has not been run."""
    data, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^stats\.pkl is refused: it (holds an array )?{message}"):
        load_pickle(data, "stats.pkl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["os.system", "in a container", "as an instance", "an array of objects"])
def test_hostile_pickles_are_hostile(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own unpickler runs these, so that the refusals above mean something."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE[name][0])
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]


_DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8I00\nI01\ntR"


def _with_state(state: object) -> bytes:
    """A type of numbers that is then told to be something else."""
    return b"\x80\x02" + _DTYPE + pickle.dumps(state, 2)[2:-1] + b"b."


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((3, "|", None, ("a",), {"a": 1}, 8, 1, 0), "a type with fields"),
        ((3, "<", None, None, None, -1, -1, 63), "a type with fields"),
        ((3, "<", None, None, None, 4096, -1, 0), "a type with fields"),
        ((3, "x", None, None, None, -1, -1, 0), "byte order 'x'"),
        (({}, {"code": "O8"}), "a type with fields"),
    ],
)
def test_types_cannot_be_turned_into_others(state: object, message: str) -> None:
    """A type keeps to numbers: fields, sizes and flags, by which NumPy would read memory as objects, are refused."""
    with pytest.raises(ValueError, match=f"stats.pkl is refused: it holds an array of {message}"):
        load_pickle(_with_state(state), "stats.pkl")


_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nI0\nX\x01\x00\x00\x00btR"


def _array(shape: object, kind: bytes, data: object) -> bytes:
    """A pickle of an array in the words of NumPy 1, with any shape, type and contents."""
    shape, data = (pickle.dumps(part, 3)[2:-1] for part in (shape, data))
    return b"\x80\x03" + _ARRAY + b"(K\x01" + shape + kind + b"\x89" + data + b"tb."


def test_an_array_in_words() -> None:
    """The words of the next test make an array where all fits."""
    np.testing.assert_array_equal(load_pickle(_array((3,), _DTYPE, np.arange(3.0).tobytes()), "file"), np.arange(3.0))


@pytest.mark.parametrize(
    ("shape", "kind", "data", "message"),
    [
        ((4,), _DTYPE, b"\0" * 24, "damaged"),
        ((1 << 40,), _DTYPE, b"\0" * 24, "damaged"),
        ((-3,), _DTYPE, b"\0" * 24, "damaged"),
        ("abc", _DTYPE, b"\0" * 24, "refused: it holds an array whose shape is none"),
        ((1,) * 17, _DTYPE, b"\0" * 24, "refused: it holds an array whose shape is none"),
        ((3,), b"X\x02\x00\x00\x00f8", b"\0" * 24, "refused: it holds an array of type 'f8'"),
        ((3,), _DTYPE, [1, 2, 3], "refused: it holds an array of list"),
        ((3,), _DTYPE, 24, "refused: it holds an array of int"),
    ],
)
def test_arrays_take_only_what_fits(shape: object, kind: bytes, data: object, message: str) -> None:
    """An array's contents are bytes, as many as shape and type need."""
    with pytest.raises(ValueError, match=rf"^stats\.pkl is {message}"):
        load_pickle(_array(shape, kind, data), "stats.pkl")


def test_what_is_named_cannot_be_changed() -> None:
    """State given to a name itself is refused, and the next pickle is read as ever."""
    attack = b"\x80\x02cnumpy\nndarray\nN}X\x06\x00\x00\x00_buildK\x01s\x86b."
    with pytest.raises(ValueError, match="sets '_build' of what it names"):
        load_pickle(attack, "stats.pkl")
    np.testing.assert_array_equal(load_pickle(pickle.dumps(np.arange(2.0), 2), "file"), np.arange(2.0))


@pytest.mark.parametrize("end", [0, 1, 20, -1])
def test_cut_pickles_are_named(end: int) -> None:
    """A pickle that is cut short is an error with the name of its file."""
    whole = pickle.dumps({"mu": np.arange(9.0)}, 4)
    with pytest.raises(ValueError, match=r"stats\.pkl is damaged or not a pickle of arrays"):
        load_pickle(whole[:end], "stats.pkl")


def test_no_byte_makes_it_crash() -> None:
    """Any one byte of a pickle changed gives an array or an error of the reader, and nothing else."""
    whole = pickle.dumps({"mu": np.arange(3.0), "n": 7}, 4)
    messages = []
    for place in range(len(whole)):
        for value in (0, 0x52, 0x62, 0xFF):
            try:
                load_pickle(whole[:place] + bytes([value]) + whole[place + 1 :], "stats.pkl")
            except ValueError as error:
                messages.append(str(error))
    assert len(messages) > len(whole)
    assert all(message.startswith("stats.pkl is ") for message in messages)


_TUPLES = b"\x80\x02)" + b"q\x01h\x01\x86" * 60  # each of two of the last: 2**60 in all
BUDGETS = {
    "a place far out": (b"\x80\x02Nr\xff\xff\xff\x0f.", None),
    "many instructions": (b"\x80\x02]" + b"N0" * 60_000 + b".", "refused: it makes more than 25600000 bytes of its 1"),
    "shared tuples": (_TUPLES + b".", None),
    "shared tuples for a key": (b"\x80\x02}" + _TUPLES[2:] + b"Ns.", "refused: it has a key of type tuple"),
    "shared tuples for a type": (
        _array((3,), _DTYPE, b"").replace(b"f8", b"") + _TUPLES[2:] + b".", "refused|damaged"
    ),
    "shared tuples for an encoding": (b"\x80\x02c_codecs\nencode\nN" + _TUPLES[2:] + b"\x86R.", "encoded as tuple"),
    "tuples in tuples": (b"\x80\x02}" + b")" + b"\x85" * 50_000 + b"Ns.", "refused: it has a key of type tuple"),
    "lists in lists": (b"\x80\x02" + b"(" * 40_000 + b"l" * 40_000 + b".", None),
    "a list in itself": (b"\x80\x02]q\0h\0a.", None),
    "a set": (b"\x80\x04\x8f.", "refused: it has the instruction EMPTY_SET"),
    "an array of all memory": (_array((1 << 50,), _DTYPE, b""), "damaged"),
    "an array of wrapped size": (_array((1 << 32, 1 << 32), _DTYPE, b""), "damaged"),
    "a number of many digits": (b"\x80\x02L" + b"9" * 5000 + b"L\n.", "damaged"),
    "bytes that are not there": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "damaged"),
    "no mark": (b"\x80\x02Nt.", "damaged"),
    "no stack": (b"\x80\x020.", "damaged"),
    "what lies before a mark": (b"\x80\x02N(\x85.", "damaged"),
    "nothing put aside": (b"\x80\x02h\x07.", "damaged"),
    "a call of a list": (b"\x80\x02])R.", "refused: it calls a list"),
    "items for a tuple": (b"\x80\x02)Na.", "refused: it puts items into a tuple"),
    "an extension": (b"\x80\x02\x82\x01.", "refused: it has the instruction EXT1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUDGETS)
def test_a_pickle_has_a_budget(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is shared is hashed, shown or multiplied, and what an instruction makes is charged."""
    data, message = BUDGETS[name]
    monkeypatch.setattr(unpickling, "_FLOOR", 100_000 * unpickling._INSTRUCTION)
    tracemalloc.start()
    try:
        if message is None:
            load_pickle(data, "stats.pkl")
        else:
            with pytest.raises(ValueError, match=rf"^stats\.pkl is .*({message})") as raised:
                load_pickle(data, "stats.pkl")
            assert len(str(raised.value)) < 300
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 8, 40_000])
@pytest.mark.parametrize("name", REPEATED)
def test_what_is_made_again_and_again_is_charged(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is put aside once and used without end takes no more memory than the budget, whatever is made."""
    monkeypatch.setattr(unpickling, "_FLOOR", 1 << 22)
    data = repeated(name, size, 20_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^stats\.pkl is (refused|damaged)"):
            load_pickle(data, "stats.pkl", lambda *_: b"")
        assert tracemalloc.get_traced_memory()[1] < 2 * (1 << 22) + 4 * len(data)
    finally:
        tracemalloc.stop()


_CHILD = """
import sys
from pathlib import Path
from vdna_metrics.references.formats.unpickling import load_pickle

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) >> 10

data = Path(sys.argv[1]).read_bytes()
before = peak()
try:
    load_pickle(data, "stats.pkl", lambda *_: b"")
except ValueError:
    pass
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak of a process")
@pytest.mark.parametrize(
    "name",
    ["text that is encoded", "arrays of another byte order", "arrays from a buffer", "lists", "places", "tensors"],
)
def test_five_megabytes_stay_below_a_gigabyte(name: str, tmp_path: Path) -> None:
    """A hostile pickle of 5 MB takes less than 1 GB of memory, all told, by the budget that files have."""
    part = len(REPEATED[name](0)[1]) + 1
    path = tmp_path / "stats.pkl"
    path.write_bytes(repeated(name, 1_000_000, 4_000_000 // part))
    done = subprocess.run([sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 900


def test_the_limit_of_arrays_is_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget is no larger than the limit of an array, and the error names the variable that raises it."""
    data = pickle.dumps(np.zeros(1000))
    monkeypatch.setenv("VDNA_METRICS_MAX_ARRAY_BYTES", "9000")
    message = "makes more than 9000 bytes of its .*; if you trust it, set VDNA_METRICS_MAX_ARRAY_BYTES"
    with pytest.raises(ValueError, match=rf"^stats\.pkl is refused: it {message}$"):
        load_pickle(data, "stats.pkl")


@pytest.mark.parametrize("torch_file", [False, True])
def test_a_pickle_has_a_limit_of_its_own(torch_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is itself is limited, and not the tensors beside it."""
    path = tmp_path / "stats.pt"
    torch.save({"x": torch.zeros(4000)}, path) if torch_file else path.write_bytes(pickle.dumps({"x": "y" * 4000}))
    monkeypatch.setenv("VDNA_METRICS_MAX_PICKLE_BYTES", "400")
    if torch_file:
        assert load_torch(path, "stats.pt")["x"].shape == (4000,)
        monkeypatch.setenv("VDNA_METRICS_MAX_PICKLE_BYTES", "40")
    with pytest.raises(
        ValueError, match=r"its pickle: expected at most \d+ bytes of one pickle.*--limit pickle_bytes="
    ):
        load_torch(path, "stats.pt") if torch_file else load_pickle(path.read_bytes(), "stats.pt")


@pytest.mark.parametrize("instruction", [b"X\x00\x00\x40\x00", b"\x8d\x00\x00\x40\x00\x00\x00\x00\x00", b"V"])
def test_long_text_takes_no_more_than_its_bytes(instruction: bytes) -> None:
    """One letter of four bytes would have all take four, so long text has those of Latin-1 alone."""
    text = b"x" * ((4 << 20) - 4) + "\U0001f600".encode()
    data = b"\x80\x04" + instruction + text + b"\n" * (instruction == b"V") + b"."
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^stats\.pkl is (refused: it holds long text of other letters|damaged)"):
        load_pickle(data, "stats.pkl")
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()


def test_errors_of_hostile_text_are_short() -> None:
    """Megabytes of text in an instruction do not come back in the error."""
    for data in (
        b"\x80\x02S" + b"x" * 10**6 + b"\n.",
        b"\x80\x02I" + b"x" * 10**6 + b"\n.",
        b"\x80\x02c" + b"x " * 10**6,
    ):
        with pytest.raises(ValueError, match=r"^stats\.pkl is") as raised:
            load_pickle(data, "stats.pkl")
        assert len(str(raised.value)) < 400


# ------------------------------------------------------------------------------------------------------ files of torch
TENSORS = {
    "float64": torch.linspace(-1, 1, 5, dtype=torch.float64),
    "float16": torch.linspace(-1, 1, 5, dtype=torch.float16),
    "bfloat16": torch.linspace(-1e30, 1, 6, dtype=torch.bfloat16).reshape(2, 3).T,
    "bfloat16, one number": torch.tensor(3.5, dtype=torch.bfloat16),
    "bfloat16, none": torch.zeros(0, 2, dtype=torch.bfloat16),
    "int8": torch.arange(-3, 3, dtype=torch.int8),
    "int64": torch.arange(6).reshape(2, 3)[:, 1:],
    "uint8": torch.tensor([255, 0], dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_legacy_tensors_come_back(name: str) -> None:
    """Tensors of a torch file that is no archive come back to the bit, those of bfloat16 in float32."""
    stream, tensor = io.BytesIO(), TENSORS[name]
    torch.save({"x": tensor, "again": tensor, "y": [torch.zeros(3)]}, stream, _use_new_zipfile_serialization=False)
    assert is_legacy_torch(stream.getvalue()[:64])
    found = load_legacy_torch(partial(io.BytesIO, stream.getvalue()), "stats.pt")
    expected = tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    for array in (found["x"].array(), found["again"].array()):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    assert found["y"][0].array().tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_legacy_files_is_known(protocol: int) -> None:
    """A torch file that is no archive is told from a pickle, whatever protocol its pickles have."""
    stream = io.BytesIO()
    torch.save({"x": torch.ones(2)}, stream, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert is_legacy_torch(stream.getvalue()[:64])
    assert load_legacy_torch(partial(io.BytesIO, stream.getvalue()), "stats.pt")["x"].array().tolist() == [1.0, 1.0]
    assert not is_legacy_torch(pickle.dumps({"x": 1}, protocol)[:64])


def test_damaged_legacy_files_are_named() -> None:
    """A legacy file that is cut anywhere, or whose storages have other lengths, is an error with its name."""
    stream = io.BytesIO()
    torch.save({"x": torch.arange(4.0)}, stream, _use_new_zipfile_serialization=False)
    whole = stream.getvalue()
    for end in range(0, len(whole), 7):
        with pytest.raises(ValueError, match=r"^stats\.pt is damaged"):
            load_legacy_torch(partial(io.BytesIO, whole[:end]), "stats.pt")
    longer = whole[:-24] + (1 << 40).to_bytes(8, "little") + whole[-16:]
    with pytest.raises(ValueError, match=r"expected 4 numbers in storage '\d+', got 1099511627776"):
        load_legacy_torch(partial(io.BytesIO, longer), "stats.pt")


def test_the_pickles_of_a_legacy_file_share_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a legacy file's five pickles make is charged to one budget, that of the file."""
    several = pickle.dumps(["x" * 900] * 100) * 5
    monkeypatch.setattr(unpickling, "_FLOOR", 5 * 100 * unpickling._INSTRUCTION)
    monkeypatch.setattr(unpickling, "_TIMES", 0)
    assert load_pickle(several, "stats.pt")[0] == "x" * 900
    with pytest.raises(ValueError, match=r"^stats\.pt is refused: it makes more than 128000 bytes"):
        load_legacy_torch(partial(io.BytesIO, several), "stats.pt")
