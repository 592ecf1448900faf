"""Pickles of others, read without running anything of theirs.

A pickle is a program: it names functions and has them called. Here its instructions are run by this module, which
knows those of plain data alone, and only what statistics consist of can be named. Nothing that is named is imported:
arrays and numbers of NumPy (pickled by versions 1 and 2, protocols 2 to 5) and tensors are rebuilt by functions that
check what they are given. Python's own unpickler takes nine bytes for a reason to ask for gigabytes, and hashes nested
tuples until it is stopped. Here a file has one budget of bytes: each instruction is charged what it may make, text what
it takes in memory, and each call and state the text and bytes that it is given, since it may copy them.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.files import check_limit, errors_of, limit_of, limit_variable

TensorBytes = Callable[[str, int], bytes]

# The budget: of a small file a million instructions; arrays of a large one are decoded once and copied once.
_FLOOR = 1 << 28
_TIMES = 4
_INSTRUCTION = 256  # bytes that one makes at most, of its own
_SHORT = 16  # arguments of a call, dimensions of an array


def load_pickle(
    data: bytes | IO[bytes], what: str, tensor_bytes: TensorBytes | None = None, *, size: int | None = None
) -> Any:
    r"""What a pickle of arrays, plain containers, numbers and text holds.

    Args:
        data: the pickle, of protocol 2 to 5, or a file of it.
        what: name of the file, for errors.
        tensor_bytes: of a file of torch, reads a storage by its name, of so many bytes.
        size: of the pickle, where it is a file.

    Raises:
        ValueError: when it names anything else, which is then not looked up, or when it is damaged.

    Examples:
        >>> load_pickle(pickle.dumps({"num_items": 2, "raw_mean": np.arange(3.0)}), "stats.pkl")["raw_mean"].tolist()
        [0.0, 1.0, 2.0]
        >>> load_pickle(b"cos\nsystem\n(S'true'\ntR.", "stats.pkl")
        Traceback (most recent call last):
        ...
        ValueError: stats.pkl is refused: it names os.system, and only arrays, plain containers, numbers and text ...
    """
    source = _Source(io.BytesIO(data), len(data)) if isinstance(data, bytes) else _Source(data, size or 0)
    with errors_of(what):
        check_limit("pickle_bytes", source.size, "its pickle")
    with _errors_of(what):
        return _Machine(source, tensor_bytes).run()


# As `torch.save` wrote before version 1.6, and still does with `_use_new_zipfile_serialization=False`.
_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"


def is_legacy_torch(head: bytes) -> bool:
    """Whether a file that begins so is a torch file that is no zip archive."""
    return _LEGACY in head[:32]


def load_legacy_torch(opened: Callable[[], IO[bytes]], what: str) -> Any:
    """What a torch file holds that is no zip archive: pickles one after another, then the numbers of tensors.

    Args:
        opened: opens the file, once for the pickles and once for each tensor.
        what: name of the file, for errors.

    Raises:
        ValueError: as `load_pickle`.
    """
    places: dict[str, tuple[int, int]] = {}

    def tensor_bytes(name: str, size: int) -> bytes:
        start, there = places.get(name, (0, -1))
        if size != there:
            raise ValueError(f"expected {size} bytes of storage {name[:40]!r}, got {max(0, there)}")
        check_limit("array_bytes", size, "its bytes")
        with opened() as file:
            file.seek(start)
            return file.read(size)

    with opened() as file, _errors_of(what):
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        machine = _Machine(_Source(file, min(end, limit_of("pickle_bytes"))), tensor_bytes)
        # Two numbers that say what it is, what machine wrote it, the contents, the order of storages.
        *_, loaded, names = [machine.run() for _ in range(5)]
        place = file.tell()
        for name in names:
            storage = machine.storages[name]
            file.seek(place)
            length = int.from_bytes(file.read(8), "little")
            if length != storage.length or place + 8 + storage.nbytes > end:
                raise ValueError(f"expected {storage.length} numbers in storage {name[:40]!r}, got {length}")
            places[name] = place + 8, storage.nbytes
            place += 8 + storage.nbytes
        return loaded


@contextmanager
def _errors_of(what: str) -> Iterator[None]:
    try:
        yield
    except _OverError as error:
        raise ValueError(f"{what} is refused: it {error}") from error
    except _RefusedError as error:
        raise ValueError(
            f"{what} is refused: it {error}, and only arrays, plain containers, numbers and text are read from a "
            "pickle: save those alone"
        ) from error
    except Exception as error:  # damaged bytes raise whatever the instruction that they happen to be raises
        raise ValueError(
            f"{what} is damaged or not a pickle of arrays ({str(error)[:200] or type(error).__name__})"
        ) from error


class _RefusedError(Exception):
    """What a pickle asked for and does not get."""


class _OverError(Exception):
    """More than a pickle's budget."""


@dataclass(frozen=True)
class _Named:
    """Stands for what a pickle may name; a pickle can call it, and not change it."""

    build: Callable[..., Any]


def _shown(value: object) -> str:
    """For errors: text and numbers, and of anything else its type, since a repr of shared tuples never ends."""
    if isinstance(value, str):
        return repr(value[:60])
    return repr(value) if value is None or isinstance(value, bool | float) else type(value).__name__


class _Type:
    """``numpy.dtype`` of numbers. NumPy's own would take fields and flags from a pickle and trust them."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d{1,2}", code):
            raise _RefusedError(f"holds an array of type {_shown(code)}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # Version, byte order; then subtype, names and fields, size and alignment, flags: those of numbers alone.
        if state[2:] != (None, None, None, -1, -1, 0):
            raise _RefusedError("holds an array of a type with fields")
        if not isinstance(state[1], str) or state[1] not in ("<", ">", "=", "|"):
            raise _RefusedError(f"holds an array of byte order {_shown(state[1])}")
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order}{self.code}")


class _Array(np.ndarray[Any, np.dtype[Any]]):
    """An array that takes its contents from a pickle, after a look at them."""

    def __setstate__(self, state: Any, /) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(data, bytes):
            raise _RefusedError(f"holds an array of {type(data).__name__}")
        super().__setstate__((1, _numbers(shape), _checked(kind).dtype, bool(fortran), data))  # type: ignore[arg-type]


def _checked(kind: object) -> _Type:
    if not isinstance(kind, _Type):
        raise _RefusedError(f"holds an array of type {_shown(kind)}")
    return kind


def _reconstruct(*_: object) -> NDArray[Any]:
    array: NDArray[Any] = _Array(0, np.int8)
    return array


def _from_buffer(data: Any, kind: object, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    # Nothing but bytes: views of views of arrays would be freed by a recursion that Python does not bound.
    if not isinstance(data, bytes | bytearray) or not isinstance(order, str):
        raise _RefusedError(f"holds an array of {type(data).__name__}")
    flat = np.frombuffer(data, _checked(kind).dtype)
    array: NDArray[Any] = flat.reshape(_numbers(shape), order="F" if order == "F" else "C")
    return array if axes is None else array.transpose(_numbers(axes))


def _scalar(kind: object, data: Any) -> Any:
    return np.frombuffer(data, _checked(kind).dtype, count=1)[0].item()


def _bytes_of(text: Any = "", encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
        raise _RefusedError(f"wants {type(text).__name__} encoded as {_shown(encoding)}")
    return text.encode("latin1")


def _mapping(*items: object) -> dict[Any, Any]:
    if items:  # Python 2 gives pairs, whose keys would be hashed before anybody has looked at them
        raise _RefusedError("makes a dict of what it hands over")
    return {}


@dataclass(frozen=True)
class _Storage:
    """Where the numbers of tensors lie in a file of torch."""

    dtype: str
    read: TensorBytes
    name: str
    length: int

    @property
    def nbytes(self) -> int:
        """Of all its numbers."""
        return self.length * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file of torch, of which nothing has been read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array that holds its numbers."""
        return np.dtype("f4" if self.storage.dtype == _BFLOAT16 else self.storage.dtype)

    @property
    def nbytes(self) -> int:
        """Of that array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self) -> NDArray[Any]:
        """Its numbers, those of bfloat16 as float32, which holds them exactly.

        Raises:
            ValueError: for a tensor that takes part in gradients, or has more numbers than its storage.
        """
        dtype, size = np.dtype(self.storage.dtype), math.prod(self.shape)
        if self.requires_grad:
            raise ValueError("expected a tensor of numbers, got one that requires grad")
        if min(self.shape, default=0) < 0 or size > self.storage.length:
            raise ValueError(f"expected at most the {self.storage.length} numbers of its storage, got {size}")
        data = self.storage.read(self.storage.name, self.storage.nbytes)
        strides = [stride * dtype.itemsize for stride in self.strides]
        stored: NDArray[Any] = np.ndarray(self.shape, dtype, data, self.offset * dtype.itemsize, strides)
        if self.storage.dtype != _BFLOAT16:
            return np.array(stored)
        halves = np.zeros((*self.shape, 2), np.uint16)  # the first 16 bits of a float32
        halves[..., 1 if sys.byteorder == "little" else 0] = stored.view(np.uint16)
        return halves.view(np.float32)[..., 0]


_LARGEST = 1 << 62  # of shapes, strides, offsets


def _numbers(values: Any) -> tuple[int, ...]:
    fitting = isinstance(values, tuple) and len(values) <= _SHORT
    if not fitting or not all(type(value) is int and -_LARGEST < value < _LARGEST for value in values):
        raise _RefusedError("holds an array whose shape is none")
    return tuple(values)


def _tensor(storage: object, offset: object, shape: object, strides: object, grad: object, *_: object) -> StoredTensor:
    if not isinstance(storage, _Storage) or len(_numbers(shape)) != len(_numbers(strides)):
        raise _RefusedError("holds a tensor without numbers")
    (start,) = _numbers((offset,))
    return StoredTensor(storage, start, _numbers(shape), _numbers(strides), grad is not False)


def _parameter(tensor: object, grad: object, *_: object) -> StoredTensor:
    if not isinstance(tensor, StoredTensor):
        raise _RefusedError("holds a parameter without numbers")
    return StoredTensor(tensor.storage, tensor.offset, tensor.shape, tensor.strides, grad is not False)


_NDARRAY = _Named(_reconstruct)
_BFLOAT16 = "V2"
_STORAGES = {"Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": _BFLOAT16, "Long": "i8", "Int": "i4",
             "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "b1", "ComplexDouble": "c16",
             "ComplexFloat": "c8"}  # fmt: skip
_TYPES = ("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "int64", "int32", "int16", "int8",
          "uint8", "bool")  # fmt: skip
# Text stands for what can be named and not called: types of tensors.
_NAMES: dict[str, _Named | str] = {
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _Named(_Type),
    # Protocol 2 has no bytes: they are text to be encoded, or a call without arguments.
    "_codecs.encode": _Named(_bytes_of),
    "__builtin__.bytes": _Named(lambda: b""),
    **{f"numpy.{core}.multiarray._reconstruct": _NDARRAY for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _Named(_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Named(_from_buffer) for core in ("core", "_core")},
    "collections.OrderedDict": _Named(_mapping),
    "argparse.Namespace": _Named(_mapping),  # options of a training, which nobody asks for here
    "torch.Size": _Named(_numbers),
    "torch.device": _Named(lambda *_: "torch.device"),
    "torch._utils._rebuild_tensor_v2": _Named(_tensor),
    "torch._utils._rebuild_parameter": _Named(_parameter),
    **{f"torch.{name}": f"torch.{name}" for name in _TYPES},
    **{f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()},
}

_LINE = 8192  # bytes of names, and of numbers in digits
_NAME = 4096  # bytes of text that may have any letters


class _Source:
    """Instructions of a pickle as `pickletools.genops` gives them, without asking for more than is there.

    Lines are short, and long text is bytes of an array by protocol 2, each a letter of Latin-1: with others it would
    take four times its size.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = self._left = size
        self._file = file

    def read(self, size: int) -> bytes:
        """Bytes that are there."""
        return self._counted(self._file.read(min(size, self._left)))

    def readline(self) -> bytes:
        """A line, or the first part of a long one."""
        return self._counted(self._file.readline(min(_LINE, self._left)))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data

    def instructions(self) -> Iterator[tuple[str, Any]]:
        """Each with its argument."""
        while code := self.read(1):
            known = _CODES.get(code)
            if known is None:
                raise pickle.UnpicklingError(f"it has no instruction {code!r}")
            length = {"BINUNICODE": 4, "BINUNICODE8": 8}.get(known.name)
            if known.arg is None or length is None:
                yield known.name, known.arg and known.arg.reader(self)  # type: ignore[arg-type]
            else:
                yield known.name, self._text(int.from_bytes(self.read(length), "little"))
        raise pickle.UnpicklingError("it does not end")

    def _text(self, size: int) -> str:
        data = self.read(size)
        if len(data) < size:
            raise pickle.UnpicklingError(f"expected {size} bytes of text, got {len(data)}")
        if size > _NAME and np.frombuffer(data, np.uint8).max() > _LATIN:
            raise _RefusedError("holds long text of other letters than Latin-1")
        return data.decode("utf-8", "surrogatepass")


_LATIN = 0xC3  # the first byte of its last letter
_CODES = {each.code.encode("latin1"): each for each in pickletools.opcodes}


# Those that put their argument, a number, text or bytes, on the stack.
_PUSHED = {
    each.name
    for each in pickletools.opcodes
    if each.arg and not each.stack_before and each.stack_after not in ([], [pickletools.anyobject])
}
_KEYS = 1 << 31  # below which numbers are keys
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}


@dataclass
class _Machine:
    """Runs a pickle: a stack, marks in it, and what was put aside."""

    source: _Source
    tensor_bytes: TensorBytes | None
    spent: int = 0
    storages: dict[str, _Storage] = field(default_factory=dict)
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> Any:
        """Run the pickle that begins where the last one ended."""
        self.stack, self.marks, self.memo = [], [], {}
        for name, argument in self.source.instructions():
            self._charge(_INSTRUCTION + (sys.getsizeof(argument) if isinstance(argument, str) else 0))
            if name == "STOP":
                break
            self._step(name, argument)
        return self.stack.pop()

    def _charge(self, size: int) -> None:
        self.spent += size
        budget = min(max(_FLOOR, _TIMES * self.source.size), limit_of("array_bytes"))
        if self.spent > budget:
            capped = budget == limit_of("array_bytes")
            hint = f"; if you trust it, set {limit_variable('array_bytes')}" if capped else ""
            raise _OverError(f"makes more than {budget} bytes of its {self.source.size}{hint}")

    def _handed(self, arguments: Any) -> Any:
        """What a function or a state is given, which may copy the text and bytes in it."""
        if not isinstance(arguments, tuple) or len(arguments) > _SHORT:
            raise _RefusedError(f"hands over a {type(arguments).__name__}, expected a tuple of at most {_SHORT}")
        self._charge(sum(len(value) for value in arguments if isinstance(value, str | bytes | bytearray)))
        return arguments

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSHED:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(self._taken(len(stack) - int(name[-1]))))
        elif name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name in ("LIST", "APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            self._target(list, name == "LIST").extend(items)
        elif name in ("DICT", "SETITEM", "SETITEMS"):
            items = self._taken(len(stack) - 2) if name == "SETITEM" else self._marked()
            for key in items[::2]:
                # A large number is hashed anew each time, digit by digit.
                if type(key) is not str and (type(key) is not int or not -_KEYS < key < _KEYS):
                    raise _RefusedError(f"has a key of type {type(key).__name__}")
            self._target(dict, name == "DICT").update(zip(items[::2], items[1::2], strict=True))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "POP":
            stack.pop()
        elif name not in ("PROTO", "FRAME"):
            self._call(name, argument)

    def _call(self, name: str, argument: Any) -> None:
        """What is named, called and given state."""
        if name in ("GLOBAL", "INST", "STACK_GLOBAL"):
            words = self._taken(len(self.stack) - 2) if name == "STACK_GLOBAL" else argument.split(" ", 1)
            full = ".".join(word[:80] if isinstance(word, str) else type(word).__name__ for word in words)
            if full not in _NAMES or name == "INST":
                raise _RefusedError(f"names {full[:80]}")
            self.stack.append(_NAMES[full])
        elif name in ("REDUCE", "NEWOBJ"):
            named, arguments = self._taken(len(self.stack) - 2)
            if not isinstance(named, _Named):
                raise _RefusedError(f"calls a {type(named).__name__}")
            self.stack.append(named.build(*self._handed(arguments)))
        elif name == "BUILD":
            state, built = self.stack.pop(), self.stack[-1]
            if isinstance(built, _Type | _Array):
                built.__setstate__(self._handed(state))
            elif type(built) is not dict:  # torch gives a dict of states attributes
                attributes = state[-1] if isinstance(state, tuple) and state else state
                name = next(iter(attributes), "") if isinstance(attributes, dict) else ""
                raise _RefusedError(f"sets {_shown(name)} of what it names")
        elif name == "BINPERSID" and self.tensor_bytes is not None:
            # Files that are no archives have a sixth: of which other storage it is a part, which none is today.
            kind, dtype, key, _, length, *part = self._handed(self.stack.pop())
            words = isinstance(kind, str) and isinstance(dtype, str) and isinstance(key, str)
            if not words or kind != "storage" or dtype not in _STORAGES.values() or part not in ([], [None]):
                raise _RefusedError("holds no storage of torch")
            self.storages[key] = _Storage(dtype, self.tensor_bytes, key, *_numbers((length,)))
            self.stack.append(self.storages[key])
        else:
            outside = name in ("PERSID", "BINPERSID")
            raise _RefusedError("refers to what lies outside of it" if outside else f"has the instruction {name}")

    def _taken(self, start: int) -> list[Any]:
        """The stack from a place on, removed from it."""
        if start < (self.marks[-1] if self.marks else 0):
            raise pickle.UnpicklingError("its stack is too short")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _marked(self) -> list[Any]:
        return self._taken(self.marks.pop())

    def _target(self, kind: type[Any], new: bool) -> Any:
        if new:
            self.stack.append(kind())
        if type(self.stack[-1]) is not kind:
            raise _RefusedError(f"puts items into a {type(self.stack[-1]).__name__}")
        return self.stack[-1]
