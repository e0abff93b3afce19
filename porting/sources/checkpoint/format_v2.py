"""Checkpoints of format V2: an index, and shards of raw bytes.

Formats: ``tensor_bundle.proto`` and ``tensor_bundle.cc`` in tensorflow/core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.archive import Display
from porting.sources.checkpoint.table import Table
from porting.sources.checkpoint.tensors import (
    MAX_SLICES,
    MAX_STRINGS,
    Slice,
    check_tiling,
    describe,
    info_of,
    is_read,
    parse_slice,
    parse_stored_shape,
    slice_index,
    slice_key,
    slice_shape,
)
from porting.sources.crc32c import crc32c, masked, masked_crc32c
from porting.sources.memory import mapped
from porting.sources.protobuf import Bytes, Malformed, fields, integer, message, varint
from porting.sources.source import TensorInfo
from porting.sources.tensor_proto import (
    NUMBERS,
    as_values,
    empty_array,
    parse_dtype,
    stored_dtype,
)

MAX_SHARDS = 100_000
"""What five digits in a shard's name can count."""
_SLICE_MARK = b"\0"
"""First byte of every slice's key, and of no tensor's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``BundleEntryProto``: where a tensor lies.

    One with ``slices`` has no bytes of its own; each of its slices has an
    entry under its own key.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[Slice, ...]

    @property
    def expected_size(self) -> int | None:
        """Bytes that shape and type ask for, None where the type has no fixed size."""
        if self.dtype not in NUMBERS:
            return None
        return stored_dtype(self.dtype).itemsize * math.prod(self.shape)


class FormatV2:
    """The tensors of an index, its shards mapped into memory.

    Messages call files as ``display`` has them.

    Raises:
        BadSource: a file is missing or damaged, an entry points outside its shard, or
            a tensor's slices are not all of it.
        UnsupportedSource: it is big-endian, or compressed unusually.
    """

    def __init__(self, prefix: Path, display: Display) -> None:
        index = prefix.with_name(prefix.name + ".index")
        self._index = display(index)
        table = Table(mapped(index, "a checkpoint needs its .index", self._index), self._index)
        count, self._entries, self._slices = self._read_index(table)
        shards = [
            prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{count:05d}") for i in range(count)
        ]
        missing = f"{index.name} says that the checkpoint has it (was it left behind in a copy?)"
        self._shards = [display(shard) for shard in shards]
        self._data = [mapped(shard, missing, display(shard)) for shard in shards]
        self.files = (index, *shards)
        for name, entry in self._entries.items():
            what = f"{self._index}: tensor {name!r}"
            self._check_place(what, entry)
            if entry.slices:
                self._check_slices(what, name, entry)

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """The tensors by key."""
        return {name: info_of(name, e.shape, e.dtype) for name, e in self._entries.items()}

    def read(self, key: str) -> np.ndarray:
        """One tensor, after the checksums of all its bytes have been verified."""
        entry, what = self._entries[key], f"tensor {key!r}"
        if not is_read(entry.dtype) or (entry.slices and entry.dtype == "string"):
            in_slices = " and stored in slices" if entry.slices else ""
            raise UnsupportedSource(
                f"{self._index}: {what} is of type {entry.dtype}{in_slices}, which is not read"
            )
        if entry.dtype == "string":
            if math.prod(entry.shape) > MAX_STRINGS:
                raise UnsupportedSource(
                    f"{self._index}: {what} holds over {MAX_STRINGS:,} strings, which is not read"
                )
            try:
                strings, crc = _parse_strings(self._bytes_of(entry), entry.shape)
            except Malformed as error:
                raise BadSource(
                    f"{self._shards[entry.shard]}: {what} at byte {entry.offset:,} is damaged: "
                    f"{error}"
                ) from error
            self._verify(what, entry, crc)
            return strings
        if not entry.slices:
            return as_values(self._numbers(what, entry), entry.dtype)
        target, whole = empty_array(entry.dtype, entry.shape)
        for part in entry.slices:
            piece = self._slices[slice_key(key, part)]
            target[slice_index(part)] = self._numbers(f"{what}, slice {describe(part)},", piece)
        return whole

    def _bytes_of(self, entry: Entry) -> memoryview:
        return self._data[entry.shard][entry.offset : entry.offset + entry.size]

    def _numbers(self, what: str, entry: Entry) -> np.ndarray:
        """Numbers as they are stored, verified: a view of the file."""
        raw = self._bytes_of(entry)
        self._verify(what, entry, masked_crc32c(raw))
        return np.frombuffer(raw, stored_dtype(entry.dtype)).reshape(entry.shape)

    def _verify(self, what: str, entry: Entry, crc: int) -> None:
        if crc != entry.crc:
            raise BadSource(
                f"{self._shards[entry.shard]}: {what} at byte {entry.offset:,} is damaged: "
                f"CRC32C of its {entry.size:,} bytes is {crc:#010x}, stored is {entry.crc:#010x}"
            )

    def _check_place(self, what: str, entry: Entry) -> None:
        """Check that an entry's bytes lie within its shard, and are as many as its shape takes."""
        if entry.slices:
            return
        if entry.shard >= len(self._data):
            raise BadSource(f"{what} lies in shard {entry.shard}, there are {len(self._data)}")
        if entry.offset + entry.size > len(self._data[entry.shard]):
            raise BadSource(
                f"{what} lies outside its shard {self._shards[entry.shard].name}: {entry.size:,} "
                f"bytes at {entry.offset:,}, the file has {len(self._data[entry.shard]):,}"
            )
        if entry.expected_size not in (None, entry.size):
            raise BadSource(
                f"{what} of shape {entry.shape} and type {entry.dtype} takes "
                f"{entry.expected_size:,} bytes, its entry says {entry.size:,}"
            )

    def _check_slices(self, what: str, name: str, entry: Entry) -> None:
        """Check that the slices of a tensor are of its type, and together all of it."""
        try:
            for part in entry.slices:
                piece = self._slices[slice_key(name, part)]
                expected = (entry.dtype, slice_shape(part, entry.shape))
                if piece.slices or (piece.dtype, piece.shape) != expected:
                    raise BadSource(
                        f"{what}, slice {describe(part)}, is of type {expected[0]} and shape "
                        f"{expected[1]} by its tensor's entry, of {piece.dtype} and {piece.shape} "
                        "by its own"
                    )
                self._check_place(f"{what}, slice {describe(part)},", piece)
            size = entry.expected_size or math.prod(entry.shape)
            total = sum(len(data) for data in self._data)
            if size > total:
                raise BadSource(
                    f"{what} of shape {entry.shape} takes {size:,} bytes, its shards have "
                    f"{total:,} in all"
                )
            check_tiling(entry.slices, entry.shape)
        except Malformed as error:
            raise BadSource(f"{what}: {error}") from error

    def _read_index(self, table: Table) -> tuple[int, dict[str, Entry], dict[bytes, Entry]]:
        """How many shards there are, the tensors' entries and those of their slices."""
        header: dict[int, int | Bytes] | None = None
        entries: dict[str, Entry] = {}
        slices: dict[bytes, Entry] = {}
        slice_keys: set[bytes] = set()
        for key, value in table.entries():
            try:
                if header is None and not key:
                    header = dict(fields(value))
                    shards, big_endian = (integer(header.get(number, 0)) for number in (1, 2))
                elif key.startswith(_SLICE_MARK):
                    slices[key] = _parse_entry(value)
                    slice_keys.add(key)
                else:
                    name = key.decode("utf-8")
                    entries[name] = _parse_entry(value)
                    # Keys of slices come before all names: by now all have been seen.
                    for part in entries[name].slices:
                        part_key = slice_key(name, part)
                        if part_key not in slice_keys:
                            raise Malformed(
                                f"its slice {describe(part)} has no entry, or is listed twice"
                            )
                        slice_keys.remove(part_key)
            except (Malformed, UnicodeDecodeError) as error:
                raise BadSource(f"{self._index}: entry {key!r} is damaged: {error}") from error
        if header is None or not 0 < shards <= MAX_SHARDS:
            what = "no header" if header is None else f"{shards:,} shards"
            raise BadSource(f"{self._index}: not a checkpoint's index: it has {what}")
        if big_endian == 1:
            raise UnsupportedSource(
                f"{self._index}: was written on a big-endian machine, which is not read"
            )
        if slice_keys:
            raise BadSource(
                f"{self._index}: entry {min(slice_keys)!r} is a slice that no tensor lists"
            )
        return shards, entries, slices


def _parse_entry(data: Bytes) -> Entry:
    """Decode a ``BundleEntryProto``.

    Raises:
        Malformed: it is not such a message, or its numbers make no sense.
    """
    content: dict[int, int | Bytes] = {}
    slices: list[Slice] = []
    for number, value in fields(data):
        if number == 7:
            slices.append(parse_slice(message(value)))
        if len(slices) > MAX_SLICES:
            raise Malformed(f"over {MAX_SLICES:,} slices")
        content[number] = value
    shape = parse_stored_shape(message(content.get(2, b"")))
    shard, offset, size, crc = (integer(content.get(number, 0)) for number in (3, 4, 5, 6))
    if max(shard, offset, size) >= 1 << 63:
        raise Malformed("a negative shard, offset or size")
    return Entry(parse_dtype(content.get(1, 0)), shape, shard, offset, size, crc, tuple(slices))


def _parse_strings(raw: memoryview, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """The strings of a tensor, as bytes in an array of objects, and their masked CRC32C.

    Format: ``WriteStringTensor`` in tensorflow/core/util/tensor_bundle: the
    lengths as varints, their checksum, then the strings. The checksum of the tensor is over
    the lengths as fixed integers, their own checksum and the strings.

    Raises:
        Malformed: the lengths do not end, do not fit, or fail their checksum.
    """
    strings = np.empty(shape, object)
    lengths, place, crc = [], 0, 0
    for _ in range(strings.size):
        length, place = varint(raw, place)
        lengths.append(length)
        crc = crc32c(length.to_bytes(4 if length < 1 << 32 else 8, "little"), crc)
    if bytes(raw[place : place + 4]) != masked(crc).to_bytes(4, "little"):
        raise Malformed("the lengths of its strings fail their checksum")
    crc = crc32c(raw[place:], crc)
    place += 4
    if place + sum(lengths) != len(raw):
        raise Malformed(f"its strings take {sum(lengths):,} bytes, found {len(raw) - place:,}")
    for index, length in enumerate(lengths):
        strings.flat[index] = bytes(raw[place : place + length])
        place += length
    return strings, masked(crc)
