"""Reading a flatbuffer that may be damaged, cut short or hostile.

The generated classes of the ``flatbuffers`` package trust every offset and
length. Here each is checked against the file before it is followed. Offsets
may point anywhere, so tables can be made to overlap and a small file to
describe endless data; a sound file's vectors never overlap, so what is read of
them is charged against the file's size. The schema is followed to a fixed
depth: there is no cycle to run into.

Format: https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadSource

_UOFFSET = struct.Struct("<I")
_SOFFSET = struct.Struct("<i")
_VOFFSET = struct.Struct("<H")
_SCALARS = {code: struct.Struct(f"<{code}") for code in "?bBhHiIqQfd"}

MAX_TABLES = 1 << 16
"""Most elements that a vector of tables may have; published models have a few hundred."""


class Flatbuffer:
    """The bytes of one file, and how much of them vectors may still claim."""

    def __init__(self, data: memoryview, path: Path) -> None:
        self.data = data
        self.size = len(data)
        self.path = path
        # Twice, since writers may share a vector between two tables.
        self._budget = 2 * self.size

    def root(self) -> Table:
        """The table that the first four bytes point to."""
        return Table(self, self.offset(0, "root table"))

    def fail(self, at: int, what: str, problem: str) -> BadSource:
        """The error for a place in this file."""
        return BadSource(
            f"{self.path}: damaged or cut short: {what} at byte {at:,} {problem}; "
            f"the file has {self.size:,} bytes"
        )

    def unpack(self, layout: struct.Struct, at: int, what: str) -> Any:
        """One scalar at an absolute position."""
        if at < 0 or at + layout.size > self.size:
            raise self.fail(at, what, "lies outside the file")
        return layout.unpack_from(self.data, at)[0]

    def offset(self, at: int, what: str) -> int:
        """Follow the forward offset stored at ``at``."""
        target = at + int(self.unpack(_UOFFSET, at, what))
        if target == at or target + 4 > self.size:
            raise self.fail(at, what, f"points to byte {target:,}")
        return target

    def vector(self, at: int, item: int, what: str) -> tuple[int, int]:
        """Start and length of the vector that ``at`` points to, its end checked."""
        start = self.offset(at, what)
        length = int(self.unpack(_UOFFSET, start, what))
        if start + 4 + length * item > self.size:
            raise self.fail(start, what, f"claims {length:,} items of {item} bytes")
        return start + 4, length

    def charge(self, count: int, at: int, what: str) -> None:
        """Count ``count`` bytes as read."""
        self._budget -= count
        if self._budget < 0:
            raise self.fail(at, what, "overlaps other parts of the file")


class Table:
    """One table; fields are asked for by their slot in the schema."""

    __slots__ = ("_buffer", "_extent", "_vtable", "at")

    def __init__(self, buffer: Flatbuffer, at: int) -> None:
        self._buffer = buffer
        self.at = at
        self._vtable = at - int(buffer.unpack(_SOFFSET, at, "table"))
        self._extent = int(buffer.unpack(_VOFFSET, self._vtable, "field table"))
        if self._extent < 4 or self._vtable + self._extent > buffer.size:
            raise buffer.fail(self._vtable, "field table", f"claims {self._extent} bytes")
        size = int(buffer.unpack(_VOFFSET, self._vtable + 2, "field table"))
        if size < 4 or at + size > buffer.size:
            raise buffer.fail(at, "table", f"claims {size} bytes")

    def _field(self, slot: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._extent:
            return None
        relative = self._buffer.unpack(_VOFFSET, self._vtable + entry, "field table")
        return self.at + int(relative) if relative else None

    def scalar(self, slot: int, code: str, default: int | float = 0) -> Any:
        """A scalar field by its ``struct`` code, or the default."""
        at = self._field(slot)
        if at is None:
            return default
        return self._buffer.unpack(_SCALARS[code], at, "scalar field")

    def table(self, slot: int, what: str) -> Table | None:
        """A table field, or None where it is absent."""
        at = self._field(slot)
        return None if at is None else Table(self._buffer, self._buffer.offset(at, what))

    def tables(self, slot: int, what: str) -> Iterator[Table]:
        """The elements of a vector of tables; none where it is absent."""
        at = self._field(slot)
        if at is None:
            return
        start, length = self._buffer.vector(at, 4, what)
        if length > MAX_TABLES:
            raise self._buffer.fail(start, what, f"claims {length:,} items, over {MAX_TABLES:,}")
        self._buffer.charge(4 * length, start, what)
        for place in range(start, start + 4 * length, 4):
            yield Table(self._buffer, self._buffer.offset(place, what))

    def array(self, slot: int, dtype: str, what: str) -> np.ndarray:
        """A vector of scalars as a read-only view, empty where it is absent."""
        kind = np.dtype(dtype).newbyteorder("<")
        at = self._field(slot)
        if at is None:
            return np.empty(0, kind)
        start, length = self._buffer.vector(at, kind.itemsize, what)
        self._buffer.charge(length * kind.itemsize, start, what)
        return np.frombuffer(self._buffer.data, kind, length, start)

    def span(self, slot: int, what: str, item: int = 1, is_text: bool = False) -> tuple[int, int]:
        """Position and length of a vector, unread; (0, 0) where absent.

        An element takes ``item`` bytes; behind a text stands a zero.
        """
        at = self._field(slot)
        if at is None:
            return 0, 0
        start, length = self._buffer.vector(at, item, what)
        if is_text and start + length >= self._buffer.size:
            raise self._buffer.fail(start, what, "does not end")
        return start, length

    def text(self, slot: int, what: str) -> str:
        """A string field, empty where it is absent."""
        raw = self.array(slot, "u1", what).tobytes()
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._buffer.fail(self.at, what, "is not UTF-8 text") from None
