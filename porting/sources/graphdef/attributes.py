"""Attributes of a node, each decoded when it is asked for."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from porting.sources.checkpoint.wire import Bytes, Malformed, fields, integer, message, text, varint

Shape = tuple[int, ...] | None
"""Sides, -1 for one that is left open; None where not even their number is known."""

_LIST, _TEXT, _WHOLE, _REAL, _FLAG, _TYPE, _SHAPE, _TENSOR, _FUNCTION = (1, 2, 3, 4, 5, 6, 7, 8, 10)
"""Fields of ``AttrValue``."""


class Attributes:
    """The attributes of one node; one that is not there has TensorFlow's default.

    Raises (every method):
        Malformed: the attribute is of another kind.
    """

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, Bytes]) -> None:
        self._held = held

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        found = self._field(name, _TEXT)
        return default if found is None else text(found)

    def whole(self, name: str, default: int = 0) -> int:
        """A whole number, or the code of a type."""
        found = self._field(name, _WHOLE)
        found = self._field(name, _TYPE) if found is None else found
        return default if found is None else signed(integer(found))

    def real(self, name: str, default: float) -> float:
        """A number in single precision."""
        found = self._field(name, _REAL)
        if found is None:
            return default
        return float(struct.unpack("<f", integer(found).to_bytes(8, "little")[:4])[0])

    def flag(self, name: str, default: bool) -> bool:
        """True or false; protobuf leaves a false one empty."""
        found = self._field(name, _FLAG)
        return default if found is None else bool(integer(found))

    def wholes(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers, packed or not."""
        listed = self._field(name, _LIST)
        numbers: list[int] = []
        for number, value in () if listed is None else fields(message(listed)):
            if number == 3 and isinstance(value, int):
                numbers.append(signed(value))
            elif number == 3:
                numbers += packed(message(value))
        return tuple(numbers)

    def function(self, name: str) -> str:
        """The name of a function."""
        found = self._field(name, _FUNCTION)
        return "" if found is None else text(dict(fields(message(found))).get(1, b""))

    def functions(self) -> list[str]:
        """The names of all functions that the node may call."""
        return [found for name in self._held if (found := self.function(name))]

    def shape(self, name: str) -> Shape:
        """A shape."""
        found = self._field(name, _SHAPE)
        return None if found is None else parse_shape(message(found))

    def tensor(self, name: str) -> Bytes | None:
        """A ``TensorProto``, encoded."""
        found = self._field(name, _TENSOR)
        return None if found is None else message(found)

    def _field(self, name: str, number: int) -> int | Bytes | None:
        held = self._held.get(name)
        return None if held is None else dict(fields(held)).get(number)


def signed(value: int) -> int:
    """A number of 64 bits in two's complement."""
    return value - (1 << 64) if value >> 63 else value


def packed(data: Bytes) -> list[int]:
    """Whole numbers one behind the other."""
    numbers, place = [], 0
    while place < len(data):
        number, place = varint(data, place)
        numbers.append(signed(number))
    return numbers


def parse_shape(data: Bytes) -> Shape:
    """Decode a ``TensorShapeProto``.

    Raises:
        Malformed: it is no such message.
    """
    sides: list[int] = []
    for number, value in fields(data):
        if number == 2:
            size = dict(fields(message(value))).get(1, 0)
            sides.append(signed(integer(size)))
        elif number == 3 and value:
            return None
    if any(side < -1 for side in sides):
        raise Malformed(f"a shape {tuple(sides)}")
    return tuple(sides)
