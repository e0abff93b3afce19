"""Checkpoints of format V2: an index, and shards of raw bytes.

Format: ``tensor_bundle.proto`` and ``tensor_bundle.cc`` in tensorflow/core/util.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.checkpoint.checksum import masked_crc32c
from porting.sources.checkpoint.entries import Entry, Header, parse_entry, parse_header
from porting.sources.checkpoint.slices import (
    Slice,
    check_tiling,
    describe,
    region,
    slice_key,
    slice_shape,
)
from porting.sources.checkpoint.table import Table
from porting.sources.checkpoint.values import (
    MAX_STRINGS,
    array_of,
    blank,
    info_of,
    is_read,
    stored_array,
    strings_of,
)
from porting.sources.checkpoint.wire import Malformed
from porting.sources.mapped import mapped
from porting.sources.source import TensorInfo

MAX_SHARDS = 100_000
"""What five digits in a shard's name can count."""
_SLICE_MARK = b"\0"
"""First byte of every slice's key, and of no tensor's."""


class Bundle:
    """The tensors of an index, its shards mapped into memory.

    Raises:
        BadSource: a file is missing or damaged, an entry leads outside, or
            slices do not make a whole.
        UnsupportedSource: it is big-endian, or compressed unusually.
    """

    def __init__(self, prefix: Path) -> None:
        self.index = prefix.with_name(prefix.name + ".index")
        header, self._entries, self._slices = _read_index(self.index)
        shards = [
            prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{header.shards:05d}")
            for i in range(header.shards)
        ]
        missing = (
            f"{self.index.name} says that the checkpoint has it (was it left behind in a copy?)"
        )
        self._data = [mapped(shard, missing) for shard in shards]
        self.files = (self.index, *shards)
        self._bytes = sum(len(data) for data in self._data)
        for name, entry in self._entries.items():
            self._check(f"tensor {name!r}", entry)
        self._check_slices()

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What there is, by key."""
        return {name: info_of(name, e.shape, e.dtype) for name, e in self._entries.items()}

    def read(self, key: str) -> np.ndarray:
        """One tensor, after the checksums of all its bytes have been verified."""
        entry, what = self._entries[key], f"tensor {key!r}"
        if not is_read(entry.dtype) or (entry.slices and entry.dtype == "string"):
            kept = " and kept in slices" if entry.slices else ""
            raise UnsupportedSource(
                f"{self.index}: {what} is of type {entry.dtype}{kept}, which is not read"
            )
        if entry.dtype == "string":
            return self._strings(what, entry)
        if not entry.slices:
            return array_of(self._raw(what, entry), entry.dtype, entry.shape)
        target, whole = blank(entry.dtype, entry.shape)
        for part in entry.slices:
            piece = self._slices[slice_key(key, part)]
            raw = self._raw(f"{what}, slice {describe(part)},", piece)
            target[region(part)] = stored_array(raw, piece.dtype, piece.shape)
        return whole

    def _raw(self, what: str, entry: Entry) -> memoryview:
        raw = self._bytes_of(entry)
        self._compare(what, entry, masked_crc32c(raw))
        return raw

    def _strings(self, what: str, entry: Entry) -> np.ndarray:
        if math.prod(entry.shape) > MAX_STRINGS:
            raise UnsupportedSource(
                f"{self.index}: {what} holds over {MAX_STRINGS:,} strings, which is not read"
            )
        try:
            strings, found = strings_of(self._bytes_of(entry), entry)
        except Malformed as error:
            shard = self.files[1 + entry.shard]
            raise BadSource(
                f"{shard}: {what} at byte {entry.offset:,} is damaged: {error}"
            ) from error
        self._compare(what, entry, found)
        return strings

    def _bytes_of(self, entry: Entry) -> memoryview:
        return self._data[entry.shard][entry.offset : entry.offset + entry.size]

    def _compare(self, what: str, entry: Entry, found: int) -> None:
        if found != entry.crc:
            raise BadSource(
                f"{self.files[1 + entry.shard]}: {what} at byte {entry.offset:,} is damaged: "
                f"CRC32C of its {entry.size:,} bytes is {found:#010x}, stored is {entry.crc:#010x}"
            )

    def _check(self, what: str, entry: Entry) -> None:
        """An entry's own bytes lie within its shard and are as many as it takes."""
        if entry.slices:
            return
        if entry.shard >= len(self._data):
            raise BadSource(
                f"{self.index}: {what} lies in shard {entry.shard}, there are {len(self._data)}"
            )
        if entry.offset + entry.size > len(self._data[entry.shard]):
            shard = self.files[1 + entry.shard].name
            raise BadSource(
                f"{self.index}: {what} lies outside its shard {shard}: {entry.size:,} bytes at "
                f"{entry.offset:,}, the file has {len(self._data[entry.shard]):,}"
            )
        if entry.expected_size not in (None, entry.size):
            raise BadSource(
                f"{self.index}: {what} of shape {entry.shape} and type {entry.dtype} "
                f"takes {entry.expected_size:,} bytes, its entry says {entry.size:,}"
            )

    def _check_slices(self) -> None:
        for name, entry in self._entries.items():
            for part in entry.slices:
                self._check_slice(name, entry, part)
            if entry.slices:
                self._check_whole(name, entry)

    def _check_slice(self, name: str, entry: Entry, part: Slice) -> None:
        what = f"tensor {name!r}, slice {describe(part)},"
        kept = self._slices[slice_key(name, part)]
        try:
            expected = (entry.dtype, slice_shape(part, entry.shape))
        except Malformed as error:
            raise BadSource(f"{self.index}: tensor {name!r}: {error}") from error
        if kept.slices or (kept.dtype, kept.shape) != expected:
            raise BadSource(
                f"{self.index}: {what} is of type {expected[0]} and shape {expected[1]} by its "
                f"tensor's entry, of {kept.dtype} and {kept.shape} by its own"
            )
        self._check(what, kept)

    def _check_whole(self, name: str, entry: Entry) -> None:
        size = entry.expected_size or math.prod(entry.shape)
        if size > self._bytes:
            raise BadSource(
                f"{self.index}: tensor {name!r} of shape {entry.shape} takes {size:,} bytes, its "
                f"shards have {self._bytes:,} in all"
            )
        try:
            check_tiling(entry.slices, entry.shape)
        except Malformed as error:
            raise BadSource(f"{self.index}: tensor {name!r}: {error}") from error


def _read_index(path: Path) -> tuple[Header, dict[str, Entry], dict[bytes, Entry]]:
    """The header, the tensors' entries and those of their slices."""
    table = Table(mapped(path, "a checkpoint needs its .index"), path)
    header: Header | None = None
    entries: dict[str, Entry] = {}
    slices: dict[bytes, Entry] = {}
    unclaimed: set[bytes] = set()
    for key, value in table.entries():
        try:
            if header is None and not key:
                header = parse_header(value)
            elif key.startswith(_SLICE_MARK):
                slices[key] = parse_entry(value)
                unclaimed.add(key)
            else:
                name = key.decode("utf-8")
                entries[name] = parse_entry(value)
                # Keys of slices come before all names: by now they are known.
                _claim(name, entries[name].slices, unclaimed)
        except (Malformed, UnicodeDecodeError) as error:
            raise BadSource(f"{path}: entry {key!r} is damaged: {error}") from error
    if header is None or not 0 < header.shards <= MAX_SHARDS:
        found = "no header" if header is None else f"{header.shards:,} shards"
        raise BadSource(f"{path}: not a checkpoint's index: it has {found}")
    if header.big_endian:
        raise UnsupportedSource(f"{path}: was written on a big-endian machine, which is not read")
    if unclaimed:
        raise BadSource(f"{path}: entry {min(unclaimed)!r} is a slice that no tensor lists")
    return header, entries, slices


def _claim(name: str, parts: Sequence[Slice], unclaimed: set[bytes]) -> None:
    for part in parts:
        key = slice_key(name, part)
        if key not in unclaimed:
            raise Malformed(f"its slice {describe(part)} has no entry, or is listed twice")
        unclaimed.remove(key)
