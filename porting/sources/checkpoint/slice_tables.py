"""Checkpoints of format V1: tables whose values are slices of tensors.

Format: ``tensor_slice_writer.cc`` in tensorflow/core/util. The empty key holds
what is in the file; each slice lies under a key of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from porting.errors import BadSource, PortingError, UnsupportedSource
from porting.sources.checkpoint.saved_slices import SavedTensor, is_meta, parse_meta, parse_values
from porting.sources.checkpoint.slices import (
    Slice,
    check_tiling,
    describe,
    region,
    slice_key,
    slice_shape,
)
from porting.sources.checkpoint.table import FOOTER, MAGIC, MAX_ENTRIES, Table
from porting.sources.checkpoint.values import MAX_STRINGS, blank, info_of, is_read
from porting.sources.checkpoint.wire import Malformed, varint
from porting.sources.mapped import mapped
from porting.sources.source import TensorInfo

_MISSING = "its name says that the checkpoint has it (was it left behind in a copy?)"
_GROWTH = 16 << 20
"""Bytes by which a tensor, decoded, may exceed its files: an int64 can take one byte in them."""
_HEAD = 32


def begins_like_v1(head: bytes) -> bool:
    """Whether a file's first bytes (16 will do) are an entry of the empty key with a message."""
    try:
        size, place = varint(head, 2)
        if not head.startswith(b"\0\0") or head[place : place + 1] != b"\n":
            return False
        inner, after = varint(head, place + 1)
    except Malformed:
        return False
    return after + inner <= place + size


def looks_like_v1(path: Path) -> bool:
    """Whether a file holds a checkpoint of format V1, be it damaged."""
    if not path.is_file():
        return False
    try:
        data = mapped(path, "it was there a moment ago")
        if begins_like_v1(bytes(data[:_HEAD])):
            return True
        if not ends_like_a_table(path):
            return False
        first = next(Table(data, path).entries(), None)
    except PortingError:
        return False
    return first is not None and first[0] == b"" and is_meta(first[1])


def ends_like_a_table(path: Path) -> bool:
    """Whether a file ends with the mark of a sorted string table."""
    try:
        with path.open("rb") as stream:
            if path.stat().st_size < FOOTER:
                return False
            stream.seek(-8, 2)
            return int.from_bytes(stream.read(8), "little") == MAGIC
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor, its slices, and the number of the table that each lies in."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: list[Slice] = field(default_factory=list)
    homes: list[int] = field(default_factory=list)


class SliceTables:
    """The tensors of one or more tables, mapped into memory; each is decoded when it is read.

    Raises:
        BadSource: a file is missing or damaged, or slices do not make a whole.
        UnsupportedSource: a table is compressed unusually, or holds too many tensors.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        data = [mapped(path, _MISSING) for path in self.files]
        self._bytes = sum(len(view) for view in data)
        self._tables = [Table(view, p) for view, p in zip(data, self.files, strict=True)]
        self._tensors: dict[str, _Tensor] = {}
        self._listed = 0
        for number, table in enumerate(self._tables):
            self._gather(number, table)
        for tensor in self._tensors.values():
            self._check(tensor)

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What there is, by name."""
        return {name: info_of(name, t.shape, t.dtype) for name, t in self._tensors.items()}

    def read(self, key: str) -> np.ndarray:
        """One tensor, after the checksums of the blocks that hold it have been verified."""
        tensor = self._tensors[key]
        self._check_readable(tensor)
        target, whole = blank(tensor.dtype, tensor.shape)
        for part, home in zip(tensor.parts, tensor.homes, strict=True):
            target[region(part)] = self._values(tensor, part, home)
        return whole

    def _values(self, tensor: _Tensor, part: Slice, home: int) -> np.ndarray:
        what = f"{self.files[home]}: tensor {tensor.name!r}, slice {describe(part)}"
        found = self._tables[home].find(slice_key(tensor.name, part))
        if found is None:
            raise BadSource(f"{what}: the table lists it and has no entry for it")
        shape = slice_shape(part, tensor.shape)
        try:
            return parse_values(found, tensor.name, part, tensor.dtype, shape)
        except Malformed as error:
            raise BadSource(f"{what}: its entry is damaged: {error}") from error

    def _gather(self, number: int, table: Table) -> None:
        """Add what one table holds, by its first entry."""
        path = self.files[number]
        key, value = next(table.entries(), (None, memoryview(b"")))
        if key != b"" or not is_meta(value):
            raise BadSource(
                f"{path}: a table, but no checkpoint of format V1: its first entry does not list "
                "tensors (the index of a checkpoint of format V2 must be named .index)"
            )
        try:
            for tensor in parse_meta(value):
                self._add(tensor, number)
        except Malformed as error:
            raise BadSource(f"{path}: the list of its tensors is damaged: {error}") from error

    def _add(self, saved: SavedTensor, number: int) -> None:
        tensor = self._tensors.setdefault(saved.name, _Tensor(saved.name, saved.dtype, saved.shape))
        if (tensor.dtype, tensor.shape) != (saved.dtype, saved.shape):
            raise Malformed(
                f"tensor {saved.name!r} is of type {saved.dtype} and shape {saved.shape}, "
                f"before it was of {tensor.dtype} and {tensor.shape}"
            )
        tensor.parts.extend(saved.slices)
        tensor.homes.extend([number] * len(saved.slices))
        self._listed += 1 + len(saved.slices)
        if self._listed > 2 * MAX_ENTRIES:
            raise Malformed(f"over {MAX_ENTRIES:,} slices")

    def _check(self, tensor: _Tensor) -> None:
        if math.prod(tensor.shape) > self._bytes:
            raise BadSource(
                f"{self.files[0]}: tensor {tensor.name!r} of shape {tensor.shape} cannot lie in "
                f"{self._bytes:,} bytes"
            )
        try:
            check_tiling(tensor.parts, tensor.shape)
        except Malformed as error:
            raise BadSource(f"{self.files[0]}: tensor {tensor.name!r}: {error}") from error

    def _check_readable(self, tensor: _Tensor) -> None:
        count = math.prod(tensor.shape)
        what = f"{self.files[0]}: tensor {tensor.name!r}"
        if not is_read(tensor.dtype):
            raise UnsupportedSource(f"{what} is of type {tensor.dtype}, which is not read")
        if tensor.dtype == "string" and count > MAX_STRINGS:
            raise UnsupportedSource(f"{what} holds over {MAX_STRINGS:,} strings, which is not read")
        size = count * np.dtype(info_of(tensor.name, tensor.shape, tensor.dtype).dtype).itemsize
        if size > self._bytes + _GROWTH:
            raise UnsupportedSource(
                f"{what} takes {size:,} bytes out of {self._bytes:,}, which is not read"
            )
