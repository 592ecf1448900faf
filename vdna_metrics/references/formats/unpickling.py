"""Pickles of others, read without running anything of theirs.

A pickle is a program: it names functions and has them called. Here its instructions are run by this module, which
knows those of plain data alone, and only what statistics consist of can be named. Nothing that is named is imported:
arrays and numbers of NumPy (pickled by versions 1 and 2, protocols 2 to 5) and tensors are rebuilt by functions that
check what they are given. Python's own unpickler takes nine bytes for a reason to ask for gigabytes, and hashes nested
tuples until it is stopped. Here the number of instructions is limited; the bytes that they copy from one another are
not yet.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INSTRUCTIONS = 1_000_000


def load_pickle(data: bytes, what: str, tensor_bytes: Callable[[str, int], bytes] | None = None) -> Any:
    r"""What a pickle of arrays, plain containers, numbers and text holds.

    Args:
        data: the pickle, of protocol 2 to 5.
        what: name of the file, for errors.
        tensor_bytes: of a file of torch, reads a storage by its name, of so many bytes.

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
    try:
        return _Machine(tensor_bytes).run(data)
    except _RefusedError as error:
        raise ValueError(
            f"{what} is refused: it {error}, and only arrays, plain containers, numbers and text are read from a pickle"
        ) from error
    except Exception as error:  # damaged bytes raise whatever the instruction that they happen to be raises
        raise ValueError(
            f"{what} is damaged or not a pickle of arrays ({str(error) or type(error).__name__})"
        ) from error


class _RefusedError(Exception):
    """What a pickle asked for and does not get."""


@dataclass(frozen=True)
class _Named:
    """Stands for what a pickle may name; a pickle can call it, and not change it."""

    build: Callable[..., Any]


def _shown(value: object) -> str:
    """For errors: text and numbers, and of anything else its type, since a repr of shared tuples never ends."""
    return repr(value)[:60] if type(value) in (str, int, float, bool) else type(value).__name__


class _Type:
    """``numpy.dtype`` of numbers. NumPy's own would take fields and flags from a pickle and trust them."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d{1,2}", code):
            raise _RefusedError(f"holds an array of type {_shown(code)}")
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        # Version, byte order; then subtype, names and fields, size and alignment, flags: those of numbers alone.
        if not isinstance(state, tuple) or state[2:8] != (None, None, None, -1, -1, 0) or any(state[8:]):
            raise _RefusedError("holds an array of a type with fields")
        if state[1] not in ("<", ">", "=", "|"):
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
        super().__setstate__((1, tuple(shape), _checked(kind).dtype, bool(fortran), data))  # type: ignore[arg-type]


def _checked(kind: object) -> _Type:
    if not isinstance(kind, _Type):
        raise _RefusedError(f"holds an array of type {_shown(kind)}")
    return kind


def _reconstruct(*_: object) -> NDArray[Any]:
    array: NDArray[Any] = _Array(0, np.int8)
    return array


def _from_buffer(data: Any, kind: object, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    flat = np.frombuffer(data, _checked(kind).dtype)
    array: NDArray[Any] = flat.reshape(shape, order="C" if order == "K" else order)
    return array if axes is None else array.transpose(axes)


def _scalar(kind: object, data: Any) -> Any:
    return np.frombuffer(data, _checked(kind).dtype, count=1)[0].item()


def _bytes_of(text: Any = "", encoding: object = "latin1") -> bytes:
    if encoding != "latin1":
        raise _RefusedError(f"wants text encoded as {_shown(encoding)}")
    return bytes(text.encode("latin1"))


@dataclass(frozen=True)
class _Storage:
    """Where the numbers of tensors lie in a file of torch."""

    dtype: str
    read: Callable[[str, int], bytes]
    name: str
    length: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file of torch, of which nothing has been read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool

    def array(self) -> NDArray[Any]:
        """Its numbers.

        Raises:
            ValueError: for a tensor that takes part in gradients, or has more numbers than its storage.
        """
        dtype, size = np.dtype(self.storage.dtype), int(np.prod(self.shape, dtype=object))
        if self.requires_grad:
            raise ValueError("expected a tensor of numbers, got one that requires grad")
        if min(self.shape, default=0) < 0 or size > self.storage.length:
            raise ValueError(f"expected at most the {self.storage.length} numbers of its storage, got {size}")
        data = self.storage.read(self.storage.name, self.storage.length * dtype.itemsize)
        strides = [stride * dtype.itemsize for stride in self.strides]
        return np.array(np.ndarray(self.shape, dtype, data, self.offset * dtype.itemsize, strides))


def _numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(value) is int and abs(value) < 1 << 62 for value in values):
        raise _RefusedError("holds a tensor whose shape is none")
    return values


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
_NAMES = {
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _Named(_Type),
    # Protocol 2 has no bytes: they are text to be encoded, or a call without arguments.
    "_codecs.encode": _Named(_bytes_of),
    "__builtin__.bytes": _Named(lambda: b""),
    **{f"numpy.{core}.multiarray._reconstruct": _NDARRAY for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _Named(_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Named(_from_buffer) for core in ("core", "_core")},
}
_STORAGES = {"Double": "f8", "Float": "f4", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1",
             "Byte": "u1", "Bool": "b1", "BFloat16": "V2"}  # fmt: skip
_TORCH_NAMES = {
    **_NAMES,
    "collections.OrderedDict": _Named(dict),
    "torch.Size": _Named(tuple),
    "torch._utils._rebuild_tensor_v2": _Named(_tensor),
    "torch._utils._rebuild_parameter": _Named(_parameter),
    **{f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()},
}

# Those that put their argument, a number, text or bytes, on the stack.
_PUSHED = {
    each.name
    for each in pickletools.opcodes
    if each.arg and not each.stack_before and each.stack_after not in ([], [pickletools.anyobject])
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}


@dataclass
class _Machine:
    """Runs a pickle: a stack, marks in it, and what was put aside."""

    tensor_bytes: Callable[[str, int], bytes] | None
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, data: bytes) -> Any:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if count == _INSTRUCTIONS:
                raise _RefusedError(f"has more than {_INSTRUCTIONS} instructions")
            if instruction.name == "STOP":
                return self.stack.pop()
            self._step(instruction.name, argument)
        raise pickle.UnpicklingError("it does not end")  # pragma: no cover, genops says so first

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
                if type(key) not in (str, int):
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
            words = self._taken(len(self.stack) - 2) if name == "STACK_GLOBAL" else argument.split(" ")
            full = ".".join(word if isinstance(word, str) else type(word).__name__ for word in words)
            known = _NAMES if self.tensor_bytes is None else _TORCH_NAMES
            if full not in known or name == "INST":
                raise _RefusedError(f"names {full[:80]}")
            self.stack.append(known[full])
        elif name == "REDUCE":
            named, arguments = self._taken(len(self.stack) - 2)
            if not isinstance(named, _Named) or not isinstance(arguments, tuple):
                raise _RefusedError(f"calls a {type(named).__name__}")
            self.stack.append(named.build(*arguments))
        elif name == "BUILD":
            state, built = self.stack.pop(), self.stack[-1]
            if isinstance(built, _Type | _Array):
                built.__setstate__(state)
            elif type(built) is not dict:  # torch gives a dict of states attributes
                attributes = state[-1] if isinstance(state, tuple) and state else state
                name = next(iter(attributes), "") if isinstance(attributes, dict) else ""
                raise _RefusedError(f"sets {_shown(name)} of what it names")
        elif name == "BINPERSID" and self.tensor_bytes is not None:
            kind, dtype, key, _, length = self.stack.pop()
            if kind != "storage" or dtype not in _STORAGES.values() or not isinstance(key, str):
                raise _RefusedError("holds no storage of torch")
            self.stack.append(_Storage(dtype, self.tensor_bytes, key, *_numbers((length,))))
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
