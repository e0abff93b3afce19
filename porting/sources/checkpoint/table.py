"""A reader of sorted string tables, the format of a checkpoint's index.

Format: LevelDB's table as TensorFlow writes it, tensorflow/core/lib/io
``format.h`` and ``block.cc``: blocks of prefix-compressed keys, each followed
by a type byte and a masked CRC32C; an index block that points to the data
blocks; a footer of 48 bytes that points to the index block.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from porting.errors import BadSource, UnsupportedSource
from porting.sources.crc32c import masked_crc32c
from porting.sources.protobuf import Bytes

FOOTER = 48
MAGIC = 0xDB4775248B80FB57
_TRAILER = 5
_NO_COMPRESSION, _SNAPPY = 0, 1
_GROWTH = 24 << 20
"""Bytes by which keys and unpacked blocks together may exceed the file."""
_VARINT_BYTES = 10
MAX_ENTRIES = 1 << 15
"""Most entries, and most blocks, of a table; a network has some hundred variables."""


class Table:
    """The bytes of one table, in memory or mapped into it.

    A block is read, and its checksum verified, when one of its entries is requested.
    Values are views of the file where their block is not compressed. ``path`` is what messages
    name the file by.
    """

    def __init__(self, data: Bytes, path: Path) -> None:
        self._data = memoryview(data)
        self._path = path

    def fail(self, at: int, what: str) -> BadSource:
        """The error for a position in this file."""
        return BadSource(
            f"{self._path}: damaged or cut short: {what} at byte {at:,}; "
            f"the file has {len(self._data):,} bytes"
        )

    def entries(self) -> Iterator[tuple[bytes, memoryview]]:
        """All keys with their values, in the file's order, which is ascending.

        Raises:
            BadSource: a block is damaged, lies outside the file, or the keys
                are out of order.
            UnsupportedSource: a block has an unknown compression type,
                or there are more entries than :data:`MAX_ENTRIES`.
        """
        self._budget = len(self._data)
        last: bytes | None = None
        count = 0
        for _, at, length in self._blocks:
            for key, entry in self._block(at, length):
                if last is not None and key <= last:
                    raise self.fail(at, f"key {key[:80]!r} does not follow {last[:80]!r}")
                last, count = key, count + 1
                self._check_count(count, "entries")
                yield key, entry

    def find(self, key: bytes) -> memoryview | None:
        """The value of one key, None where the table has no such key.

        Raises:
            BadSource: the block that it belongs to is damaged.
            UnsupportedSource: that block has an unknown compression type.
        """
        # Each block is listed under a key that none of its own exceeds.
        place = bisect_left(self._blocks, (key,))
        if place == len(self._blocks):
            return None
        self._budget = len(self._data)
        _, at, length = self._blocks[place]
        return next((value for other, value in self._block(at, length) if other == key), None)

    @cached_property
    def _blocks(self) -> list[tuple[bytes, int, int]]:
        """The data blocks: a key that none of its own exceeds, offset, size."""
        size = len(self._data)
        if size < FOOTER:
            raise self.fail(0, f"a table takes at least {FOOTER} bytes, found {size}")
        if struct.unpack_from("<Q", self._data, size - 8)[0] != MAGIC:
            raise self.fail(size - 8, "the magic number that ends a table is missing")
        _, place = self._handle(self._data, size - FOOTER, size - 8, size - FOOTER)
        handle, _ = self._handle(self._data, place, size - 8, place)
        self._budget = size
        blocks: list[tuple[bytes, int, int]] = []
        total = 0
        for key, value in self._block(*handle):
            (at, length), _ = self._handle(value, 0, len(value), handle[0])
            total += length
            if total > size:
                raise self.fail(handle[0], "the index names blocks that overlap")
            if blocks and key <= blocks[-1][0]:
                raise self.fail(handle[0], f"block {key[:80]!r} does not follow its neighbour")
            blocks.append((key, at, length))
            self._check_count(len(blocks), "blocks")
        return blocks

    def _check_count(self, count: int, what: str) -> None:
        if count > MAX_ENTRIES:
            raise UnsupportedSource(
                f"{self._path}: has over {MAX_ENTRIES:,} {what}, which is not read"
            )

    def _handle(
        self, data: memoryview, start: int, end: int, at: int
    ) -> tuple[tuple[int, int], int]:
        """Offset and size of a block, and where the next handle begins."""
        offset, start = self._varint(data, start, end, at)
        length, start = self._varint(data, start, end, at)
        return (offset, length), start

    def _varint(self, data: memoryview, start: int, end: int, at: int) -> tuple[int, int]:
        value = 0
        for count in range(_VARINT_BYTES):
            if start + count >= end:
                break
            byte = data[start + count]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value, start + count + 1
        raise self.fail(at, "a number does not end")

    def _block(self, at: int, length: int) -> Iterator[tuple[bytes, memoryview]]:
        """The entries of a block."""
        content = self._content(at, length)
        if len(content) < 4:
            raise self.fail(at, f"a block of {len(content)} bytes")
        restarts = struct.unpack_from("<I", content, len(content) - 4)[0]
        end = len(content) - 4 - 4 * restarts
        if end < 0:
            raise self.fail(at, f"a block of {len(content)} bytes claims {restarts:,} restarts")
        place, key = 0, b""
        while place < end:
            repeats, place = self._varint(content, place, end, at)
            fresh, place = self._varint(content, place, end, at)
            size, place = self._varint(content, place, end, at)
            if repeats > len(key) or place + fresh + size > end:
                raise self.fail(at, f"an entry behind {key[:80]!r} does not fit its block")
            self._grow(repeats, at, f"its keys repeat {repeats:,} bytes of the one before")
            key = key[:repeats] + bytes(content[place : place + fresh])
            place += fresh
            yield key, content[place : place + size]
            place += size

    def _content(self, at: int, length: int) -> memoryview:
        """The bytes of a block, verified and decompressed."""
        if at + length + _TRAILER > len(self._data):
            raise self.fail(at, f"a block claims {length:,} bytes")
        kind = self._data[at + length]
        checksum = struct.unpack_from("<I", self._data, at + length + 1)[0]
        crc = masked_crc32c(self._data[at : at + length + 1])
        if crc != checksum:
            raise self.fail(at, f"a block's CRC32C is {crc:#010x}, stored is {checksum:#010x}")
        content = self._data[at : at + length]
        if kind == _NO_COMPRESSION:
            return content
        if kind != _SNAPPY:
            raise UnsupportedSource(
                f"{self._path}: block at byte {at:,} has compression type {kind}"
            )
        import cramjam

        size, _ = self._varint(content, 0, len(content), at)
        self._grow(size, at, f"a compressed block claims {size:,} bytes")
        try:
            return memoryview(cramjam.snappy.decompress_raw(content))
        except cramjam.DecompressionError as error:
            raise self.fail(at, f"a compressed block cannot be unpacked ({error})") from error

    def _grow(self, size: int, at: int, what: str) -> None:
        """Count memory beyond the file's own size; that of a sound table is small."""
        self._budget -= size
        if self._budget < -_GROWTH:
            raise self.fail(at, what)
