"""A decoder of protocol buffers that checks every length against its message.

Format: protobuf's encoding guide. Callers pick the fields that they need, and skip the others.
TensorFlow's own message classes would need TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator

Bytes = bytes | memoryview
"""An encoded message: a view where the file is mapped into memory, so that nothing is copied."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES = 10
_LIMIT = (1 << 64) - 1


class Malformed(ValueError):
    """Bytes that are not a message of the expected type; the caller adds the file and the place."""


def fields(data: Bytes) -> Iterator[tuple[int, int | Bytes]]:
    """Field numbers and values: integers, or bytes for nested messages.

    Raises:
        Malformed: a field does not fit its message.
    """
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = varint(data, place)
            yield number, value
            continue
        length = _WIDTHS.get(kind)
        if kind == _BYTES:
            length, place = varint(data, place)
        if length is None or place + length > len(data):
            raise Malformed(f"field {number} of kind {kind} does not fit")
        chunk = data[place : place + length]
        place += length
        yield number, chunk if kind == _BYTES else int.from_bytes(chunk, "little")


def varint(data: Bytes, place: int) -> tuple[int, int]:
    """The unsigned 64-bit number at a position, and the position after it.

    Raises:
        Malformed: it does not end within the data, or within ten bytes.
    """
    value = 0
    for count in range(_VARINT_BYTES):
        if place + count >= len(data):
            break
        byte = data[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & _LIMIT, place + count + 1
    raise Malformed("a number does not end")


def signed(value: int) -> int:
    """A 64-bit number read as two's complement."""
    return value - (1 << 64) if value >> 63 else value


def integer(value: int | Bytes) -> int:
    """A field's value as a number.

    Raises:
        Malformed: it is a message.
    """
    if isinstance(value, int):
        return value
    raise Malformed("a message where a number belongs")


def message(value: int | Bytes) -> Bytes:
    """A field's value as a nested message.

    Raises:
        Malformed: it is a number.
    """
    if isinstance(value, int):
        raise Malformed("a number where a message belongs")
    return value


def text(value: int | Bytes) -> str:
    """A field's value as text.

    Raises:
        Malformed: it is a number, or not UTF-8.
    """
    try:
        return bytes(message(value)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"a name that is not UTF-8: {error}") from error
