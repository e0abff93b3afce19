"""Reading a sorted string table, the format of a checkpoint's ``.index``.

Format: LevelDB's table as TensorFlow keeps it, tensorflow/core/lib/io
``format.h`` and ``block.cc``: blocks of prefix-compressed keys, each followed
by a type byte and a masked CRC32C; an index block that points to the data
blocks; a footer of 48 bytes that points to the index block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from porting.errors import BadSource, UnsupportedSource

FOOTER = 48
MAGIC = 0xDB4775248B80FB57
_TRAILER = 5
_PLAIN, _SNAPPY = 0, 1
_GROWTH = 24 << 20
"""Bytes by which keys and unpacked blocks together may exceed the file."""
_VARINT_BYTES = 10
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes | memoryview) -> int:
    """CRC32C as TensorFlow stores it: rotated and offset (``crc32c.h``, ``Mask``)."""
    import google_crc32c

    crc = int(google_crc32c.value(bytes(data)))
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


class Table:
    """The bytes of one index file."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data = data
        self._path = path
        # What keys and compressed blocks may take in all before _GROWTH is touched.
        self._budget = len(data)

    def fail(self, at: int, what: str) -> BadSource:
        """The error for a place in this file."""
        return BadSource(
            f"{self._path}: damaged or cut short: {what} at byte {at:,}; "
            f"the file has {len(self._data):,} bytes"
        )

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, in the file's order, which is ascending.

        Raises:
            BadSource: a block is damaged, lies outside the file, or the keys
                are out of order.
            UnsupportedSource: a block is compressed in a way that is not known.
        """
        size = len(self._data)
        if size < FOOTER:
            raise self.fail(0, f"a table takes at least {FOOTER} bytes, found {size}")
        if struct.unpack_from("<Q", self._data, size - 8)[0] != MAGIC:
            raise self.fail(size - 8, "the mark that ends a table is missing")
        _, place = self._handle(self._data, size - FOOTER, size - 8, size - FOOTER)
        handle, _ = self._handle(self._data, place, size - 8, place)
        last: bytes | None = None
        used = 0
        for _, value in self._block(*handle):
            (at, length), _ = self._handle(value, 0, len(value), handle[0])
            used += length
            if used > size:
                raise self.fail(handle[0], "the index names blocks that overlap")
            for key, entry in self._block(at, length):
                if last is not None and key <= last:
                    raise self.fail(at, f"key {key[:80]!r} does not follow {last[:80]!r}")
                last = key
                yield key, entry

    def _handle(self, data: bytes, start: int, end: int, at: int) -> tuple[tuple[int, int], int]:
        """Offset and size of a block, and where the next handle begins."""
        offset, start = self._varint(data, start, end, at)
        length, start = self._varint(data, start, end, at)
        return (offset, length), start

    def _varint(self, data: bytes, start: int, end: int, at: int) -> tuple[int, int]:
        value = 0
        for count in range(_VARINT_BYTES):
            if start + count >= end:
                break
            byte = data[start + count]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value, start + count + 1
        raise self.fail(at, "a number does not end")

    def _block(self, at: int, length: int) -> Iterator[tuple[bytes, bytes]]:
        content = self._content(at, length)
        if len(content) < 4:
            raise self.fail(at, f"a block of {len(content)} bytes")
        restarts = struct.unpack_from("<I", content, len(content) - 4)[0]
        end = len(content) - 4 - 4 * restarts
        if end < 0:
            raise self.fail(at, f"a block of {len(content)} bytes claims {restarts:,} restarts")
        place, key = 0, b""
        while place < end:
            shared, place = self._varint(content, place, end, at)
            fresh, place = self._varint(content, place, end, at)
            size, place = self._varint(content, place, end, at)
            if shared > len(key) or place + fresh + size > end:
                raise self.fail(at, f"an entry behind {key[:80]!r} does not fit its block")
            self._spend(shared, at, f"its keys repeat {shared:,} bytes of the one before")
            key = key[:shared] + content[place : place + fresh]
            place += fresh
            yield key, content[place : place + size]
            place += size

    def _content(self, at: int, length: int) -> bytes:
        if at + length + _TRAILER > len(self._data):
            raise self.fail(at, f"a block claims {length:,} bytes")
        kind = self._data[at + length]
        stored = struct.unpack_from("<I", self._data, at + length + 1)[0]
        found = masked_crc32c(memoryview(self._data)[at : at + length + 1])
        if found != stored:
            raise self.fail(at, f"a block's CRC32C is {found:#010x}, stored is {stored:#010x}")
        content = self._data[at : at + length]
        if kind == _PLAIN:
            return content
        if kind == _SNAPPY:
            return self._unpacked(content, at)
        raise UnsupportedSource(f"{self._path}: block at byte {at:,} has compression type {kind}")

    def _spend(self, size: int, at: int, what: str) -> None:
        """Count what grows in memory beyond the file; no honest table grows by much."""
        self._budget -= size
        if self._budget < -_GROWTH:
            raise self.fail(at, what)

    def _unpacked(self, content: bytes, at: int) -> bytes:
        import cramjam

        length, _ = self._varint(content, 0, len(content), at)
        self._spend(length, at, f"a compressed block claims {length:,} bytes")
        try:
            return bytes(cramjam.snappy.decompress_raw(content))
        except cramjam.DecompressionError as error:
            raise self.fail(at, f"a compressed block cannot be unpacked ({error})") from error
