"""Patching a flatbuffer by appending to it: nothing in it moves.

Tables are those of the generated classes, read from the file as it was. A
table's fields are found through its list of places, which may lie anywhere: a
table gets another list where a field is to go, and is copied whole where one
is to come.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

_ALIGNMENT = 16

_EMPTY = struct.pack("<2H", 4, 4)
_WITH_DATA = struct.pack("<3H", 6, 8, 4)
_ELSEWHERE = struct.pack("<5H", 10, 24, 0, 8, 16)
"""Lists of places of a ``Buffer`` with no field, with ``data``, with ``offset`` and ``size``."""


def field_position(table: Any, field: int) -> int:
    """Where a field that is present lies in the file; ``field`` is its place in the list."""
    return int(table._tab.Pos + table._tab.Offset(field))


def append_vector(content: bytearray, at: int, length: int, values: bytes) -> None:
    """Append a vector of ``length`` elements and let the offset at ``at`` lead to it."""
    content.extend(bytes(-(len(content) + 4) % _ALIGNMENT))
    struct.pack_into("<I", content, at, len(content) - at)
    content.extend(struct.pack("<I", length))
    content.extend(values)


def append_buffers(content: bytearray, at: int, buffers: Sequence[bytes | tuple[int, int]]) -> None:
    """Append ``Buffer`` tables and let the offset at ``at`` lead to a vector of them.

    All of them are written: offsets lead forward alone, so that a vector behind the tables that
    were there before could not name them. A buffer is its bytes, or where in the file they
    begin and how many they are.
    """
    append_vector(content, at, len(buffers), bytes(4 * len(buffers)))
    entry = len(content) - 4 * len(buffers)
    for buffer in buffers:
        if not isinstance(buffer, bytes):
            table = _append_table(content, _ELSEWHERE, struct.pack("<4x2Q", *buffer))
        elif not buffer:
            table = _append_table(content, _EMPTY, b"")
        else:
            table = _append_table(content, _WITH_DATA, bytes(4))
            append_vector(content, table + 4, len(buffer), buffer)
        struct.pack_into("<I", content, entry, table - entry)
        entry += 4


def _append_table(content: bytearray, fields: bytes, values: bytes) -> int:
    """Append a table behind its list of places, and return where it lies, a multiple of 8."""
    content.extend(bytes(-(len(content) + len(fields)) % 8))
    content.extend(fields)
    content.extend(struct.pack("<i", len(fields)))
    content.extend(values)
    return len(content) - len(values) - 4


def remove_field(content: bytearray, table: Any, field: int) -> None:
    """Remove a field from a table."""
    start, fields = int(table._tab.Pos), _fields(content, table._tab)
    struct.pack_into("<H", fields, field, 0)
    content.extend(bytes(len(content) % 2))
    # Signed: the list may lie on either side of the table.
    struct.pack_into("<i", content, start, start - len(content))
    content.extend(fields)


def set_byte(content: bytearray, at: int, table: Any, field: int, value: int) -> None:
    """Set a field of one byte in a table of scalars, to which the offset at ``at`` leads."""
    if table.Offset(field):
        content[table.Pos + table.Offset(field)] = value
        return
    fields = _fields(content, table)
    size = struct.unpack_from("<H", fields, 2)[0]
    fields.extend(bytes(max(0, field + 2 - len(fields))))
    struct.pack_into("<HH", fields, 0, len(fields), size + 1)
    struct.pack_into("<H", fields, field, size)
    content.extend(bytes(len(content) % 2))
    places = len(content)
    content.extend(fields)
    content.extend(bytes((table.Pos - len(content)) % _ALIGNMENT))  # scalars stay aligned
    table_copy = len(content)
    content.extend(struct.pack("<i", table_copy - places))
    content.extend(content[table.Pos + 4 : table.Pos + size])
    content.append(value)
    struct.pack_into("<I", content, at, table_copy - at)


def _fields(content: bytearray, table: Any) -> bytearray:
    """A table's list of places: its own size, the table's size, then a place for each field."""
    start = table.Pos - struct.unpack_from("<i", content, table.Pos)[0]
    return content[start : start + struct.unpack_from("<H", content, start)[0]]
