"""Pickles written by hand: parts that are put aside, and what many more of them are made by a few bytes each."""

from __future__ import annotations

from collections.abc import Callable

_START, _END = b"\x80\x02", b"."


def text(value: str) -> bytes:
    """Text, on the stack."""
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def raw(value: bytes) -> bytes:
    """Bytes, on the stack."""
    return b"B" + len(value).to_bytes(4, "little") + value


def whole(number: int) -> bytes:
    """A whole number of any length, on the stack."""
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + len(data).to_bytes(4, "little") + data


def named(path: str) -> bytes:
    """What has this path, on the stack."""
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def tupled(*parts: bytes) -> bytes:
    """A tuple of parts."""
    return b"(" + b"".join(parts) + b"t"


def called(function: bytes, *arguments: bytes) -> bytes:
    """What a function gives."""
    return function + tupled(*arguments) + b"R"


def kept(part: bytes, place: int) -> bytes:
    """Put a part aside, from where `again` takes it."""
    return part + b"q" + bytes([place]) + b"0"


def again(place: int) -> bytes:
    """What was put aside."""
    return b"h" + bytes([place])


def pickled(*parts: bytes) -> bytes:
    """A pickle that ends with the last of these parts."""
    return _START + b"".join(parts) + _END


def number_type(order: str = ">") -> bytes:
    """``numpy.dtype`` of 8 bytes."""
    state = tupled(whole(3), text(order), b"NNN", whole(-1), whole(-1), whole(0))
    return called(named("numpy.dtype"), text("f8")) + state + b"b"


_RECONSTRUCT = named("numpy.core.multiarray._reconstruct")
_PERSISTENT = tupled(text("storage"), named("torch.FloatStorage"), text("0"), text("cpu"), whole(1)) + b"Q"
_TENSOR = tupled(_PERSISTENT, whole(0), b")", b")", b"\x89", b"}")
_AT_0, _CALL = again(0), again(0) + again(1) + b"R"

# Of a number of bytes: what is put aside, and the few bytes that make something of it once more.
Repeated = Callable[[int], tuple[bytes, bytes]]


def _call(path: str, *arguments: bytes) -> tuple[bytes, bytes]:
    return kept(named(path), 0) + kept(tupled(*arguments), 1), _CALL


REPEATED: dict[str, Repeated] = {
    "text that is encoded": lambda n: _call("_codecs.encode", text("a" * n), text("latin1")),
    "text of four bytes a character": lambda n: (kept(text("\U0001f600" + "a" * n), 0), _AT_0),
    "arrays of another byte order": lambda n: (
        kept(_RECONSTRUCT, 0)
        + kept(tupled(whole(1), tupled(whole(n // 8)), number_type(), b"\x89", raw(b"\0" * (n // 8 * 8))), 1),
        _AT_0 + b")R" + again(1) + b"b",
    ),
    "arrays from a buffer": lambda n: _call(
        "numpy.core.numeric._frombuffer", raw(b"\0" * (n // 8 * 8)), number_type(), tupled(whole(n // 8)), text("C")
    ),
    "numbers of NumPy": lambda n: _call("numpy.core.multiarray.scalar", number_type(), raw(b"\0" * max(8, n))),
    "empty arrays": lambda _: (kept(_RECONSTRUCT, 0), _AT_0 + b")R"),
    "types": lambda _: _call("numpy.dtype", text("f8")),
    "sizes": lambda n: _call("torch.Size", tupled(*[b"K\x01"] * (n // 2))),
    "sizes of large numbers": lambda n: _call("torch.Size", tupled(whole(1 << 8 * n))),
    "ordered pairs": lambda n: _call("collections.OrderedDict", b"(" + b"K\x01N\x86" * (n // 4) + b"l"),
    "pairs with a key of tuples": lambda _: _call(
        "collections.OrderedDict", b"])" + b"q\x02h\x02\x86" * 60 + b"N\x86a"
    ),
    "tensors": lambda _: _call("torch._utils._rebuild_tensor_v2", _TENSOR[1:-1]),
    "tensors of many dimensions": lambda n: _call(
        "torch._utils._rebuild_tensor_v2", _PERSISTENT, whole(0), *[tupled(*[b"K\x01"] * (n // 2))] * 2, b"\x89", b"}"
    ),
    "parameters": lambda _: _call(
        "torch._utils._rebuild_parameter",
        called(named("torch._utils._rebuild_tensor_v2"), _TENSOR[1:-1]),
        b"\x89",
        b"}",
    ),
    "storages": lambda _: (kept(_PERSISTENT[:-1], 0), _AT_0 + b"Q"),
    "storages of long tuples": lambda n: (kept(tupled(*[b"N"] * n), 0), _AT_0 + b"Q"),
    "calls with long tuples": lambda n: (kept(_RECONSTRUCT, 0) + kept(tupled(*[b"N"] * n), 1), _CALL),
    "states of long tuples": lambda n: (kept(number_type(), 0) + kept(tupled(*[b"N"] * n), 1), _AT_0 + again(1) + b"b"),
    "options": lambda _: (kept(named("argparse.Namespace"), 0), _AT_0 + b")\x81"),
    "devices": lambda n: _call("torch.device", text("c" * n)),
    "lists": lambda _: (b"", b"]"),
    "dicts of an item": lambda _: (b"", b"}K\x01Ns"),
    "tuples in tuples": lambda _: (kept(b")", 0), _AT_0 + again(0) + b"\x86q\x00"),
    "numbers": lambda _: (b"", b"M\xff\xff"),
    "places": lambda _: (b"", b"N\x94"),
    "keys of large numbers": lambda n: (kept(whole(1 << 8 * n), 0), b"}" + again(0) + b"Ns"),
    "names of long text": lambda n: (kept(text("a" * n), 0), _AT_0 + again(0) + b"\x93"),
}


def repeated(name: str, size: int, times: int) -> bytes:
    """A pickle of a list of what a few bytes make, as often as is asked, of a part of a size."""
    aside, part = REPEATED[name](size)
    return pickled(aside, b"]", (part + b"a") * times)
