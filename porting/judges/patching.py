"""Changing a flatbuffer by adding to its end: nothing in it moves.

Tables are those of the generated classes, read from the file as it was. A
table's fields are found through its list of places, which may lie anywhere: a
table gets another list where a field is to go, and is copied whole where one
is to come.
"""

from __future__ import annotations

import struct
from typing import Any

_ALIGNMENT = 16


def place(table: Any, field: int) -> int:
    """Where a field that is present lies in the file; ``field`` is its place in the list."""
    return int(table._tab.Pos + table._tab.Offset(field))


def point_at(content: bytearray, at: int, length: int, values: bytes) -> None:
    """Append a vector of ``length`` elements and let the offset at ``at`` lead to it."""
    content.extend(bytes(-(len(content) + 4) % _ALIGNMENT))
    struct.pack_into("<I", content, at, len(content) - at)
    content.extend(struct.pack("<I", length))
    content.extend(values)


def without(content: bytearray, table: Any, field: int) -> None:
    """Let a table lack a field."""
    start, fields = int(table._tab.Pos), _fields(content, table._tab)
    struct.pack_into("<H", fields, field, 0)
    content.extend(bytes(len(content) % 2))
    # Signed: the list may lie on either side of the table.
    struct.pack_into("<i", content, start, start - len(content))
    content.extend(fields)


def with_byte(content: bytearray, at: int, table: Any, field: int, value: int) -> None:
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
    listed = len(content)
    content.extend(fields)
    content.extend(bytes((table.Pos - len(content)) % _ALIGNMENT))  # scalars stay aligned
    copied = len(content)
    content.extend(struct.pack("<i", copied - listed))
    content.extend(content[table.Pos + 4 : table.Pos + size])
    content.append(value)
    struct.pack_into("<I", content, at, copied - at)


def _fields(content: bytearray, table: Any) -> bytearray:
    """A table's list of places: its own size, the table's size, then a place for each field."""
    start = table.Pos - struct.unpack_from("<i", content, table.Pos)[0]
    return content[start : start + struct.unpack_from("<H", content, start)[0]]
