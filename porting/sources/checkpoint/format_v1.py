"""Checkpoints of format V1: tables whose values are slices of tensors.

Formats: ``tensor_slice_writer.cc`` and ``saved_tensor_slice.proto`` in tensorflow/core/util. The
empty key lists what is in the file; each slice has a key of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from porting.errors import BadSource, PortingError, UnsupportedSource
from porting.sources.archive import Display
from porting.sources.checkpoint.table import FOOTER, MAGIC, MAX_ENTRIES, Table
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
from porting.sources.memory import mapped
from porting.sources.protobuf import Bytes, Malformed, fields, message, text, varint
from porting.sources.source import TensorInfo
from porting.sources.tensor_proto import (
    empty_array,
    parse_dtype,
    stored_dtype,
    string_values,
    value_chunks,
)

_MISSING = "its name says that the checkpoint has it (was it left behind in a copy?)"
_GROWTH = 16 << 20
"""Bytes by which a decoded tensor may exceed its files: an int64 can take one byte in them."""
_HEAD = 32


def begins_like_v1(head: bytes) -> bool:
    """Whether a file's first bytes (16 suffice) are an entry of the empty key with a message."""
    try:
        size, place = varint(head, 2)
        if not head.startswith(b"\0\0") or head[place : place + 1] != b"\n":
            return False
        inner, after = varint(head, place + 1)
    except Malformed:
        return False
    return after + inner <= place + size


def looks_like_v1(path: Path) -> bool:
    """Whether a file holds a checkpoint of format V1, sound or damaged."""
    if not path.is_file():
        return False
    try:
        data = mapped(path)
        if begins_like_v1(bytes(data[:_HEAD])):
            return True
        if not ends_like_a_table(path):
            return False
        first = next(Table(data, path).entries(), None)
    except PortingError:
        return False
    return first is not None and first[0] == b"" and _is_tensor_list(first[1])


def ends_like_a_table(path: Path) -> bool:
    """Whether a file ends with the magic number of a sorted string table."""
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
    """``SavedSliceMeta``: a tensor, its slices, and the number of the file that has each."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    slices: list[Slice] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


class FormatV1:
    """The tensors of one or more tables, mapped into memory; each is decoded when it is read.

    Messages call files as ``display`` has them.

    Raises:
        BadSource: a file is missing or damaged, or a tensor's slices are not all of it.
        UnsupportedSource: a table is compressed unusually, or holds too many tensors.
    """

    def __init__(self, files: Sequence[Path], display: Display) -> None:
        self.files = tuple(files)
        self._paths = [display(file) for file in files]
        data = [mapped(f, _MISSING, path) for f, path in zip(files, self._paths, strict=True)]
        self._bytes = sum(len(view) for view in data)
        self._tables = [Table(view, p) for view, p in zip(data, self._paths, strict=True)]
        self._tensors: dict[str, _Tensor] = {}
        count = 0
        for number, (path, table) in enumerate(zip(self._paths, self._tables, strict=True)):
            key, value = next(table.entries(), (None, memoryview(b"")))
            if key != b"" or not _is_tensor_list(value):
                raise BadSource(
                    f"{path}: a table, but not a checkpoint of format V1: its first entry does not "
                    "list tensors (the index of a checkpoint of format V2 must be named .index)"
                )
            try:
                for tensor in _parse_tensor_list(value):
                    self._add(tensor, number)
                    count += 1 + len(tensor.slices)
                    if count > 2 * MAX_ENTRIES:
                        raise Malformed(f"over {MAX_ENTRIES:,} slices")
            except Malformed as error:
                raise BadSource(f"{path}: the list of its tensors is damaged: {error}") from error
        for tensor in self._tensors.values():
            what = f"{self._paths[0]}: tensor {tensor.name!r}"
            if math.prod(tensor.shape) > self._bytes:
                raise BadSource(
                    f"{what} of shape {tensor.shape} cannot lie in {self._bytes:,} bytes"
                )
            try:
                check_tiling(tensor.slices, tensor.shape)
            except Malformed as error:
                raise BadSource(f"{what}: {error}") from error

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """The tensors by name."""
        return {name: info_of(name, t.shape, t.dtype) for name, t in self._tensors.items()}

    def read(self, key: str) -> np.ndarray:
        """One tensor, after the checksums of the blocks that hold it have been verified."""
        tensor = self._tensors[key]
        count = math.prod(tensor.shape)
        what = f"{self._paths[0]}: tensor {tensor.name!r}"
        if not is_read(tensor.dtype):
            raise UnsupportedSource(f"{what} is of type {tensor.dtype}, which is not read")
        if tensor.dtype == "string" and count > MAX_STRINGS:
            raise UnsupportedSource(f"{what} holds over {MAX_STRINGS:,} strings, which is not read")
        size = count * np.dtype(info_of(tensor.name, tensor.shape, tensor.dtype).dtype).itemsize
        if size > self._bytes + _GROWTH:
            raise UnsupportedSource(
                f"{what} takes {size:,} bytes out of {self._bytes:,}, which is not read"
            )
        target, whole = empty_array(tensor.dtype, tensor.shape)
        for part, number in zip(tensor.slices, tensor.files, strict=True):
            what = f"{self._paths[number]}: tensor {tensor.name!r}, slice {describe(part)}"
            entry = self._tables[number].find(slice_key(tensor.name, part))
            if entry is None:
                raise BadSource(f"{what}: the table lists it and has no entry for it")
            try:
                target[slice_index(part)] = _parse_slice_values(entry, tensor, part)
            except Malformed as error:
                raise BadSource(f"{what}: its entry is damaged: {error}") from error
        return whole

    def _add(self, part: _Tensor, number: int) -> None:
        """Add what one file has of a tensor."""
        tensor = self._tensors.setdefault(part.name, _Tensor(part.name, part.dtype, part.shape))
        if (tensor.dtype, tensor.shape) != (part.dtype, part.shape):
            raise Malformed(
                f"tensor {part.name!r} is of type {part.dtype} and shape {part.shape}, "
                f"before it was of {tensor.dtype} and {tensor.shape}"
            )
        tensor.slices.extend(part.slices)
        tensor.files.extend([number] * len(part.slices))


def _is_tensor_list(data: Bytes) -> bool:
    """Whether the value of the empty key is a ``SavedTensorSliceMeta``."""
    try:
        return isinstance(dict(fields(data)).get(1), (bytes, memoryview))
    except Malformed:
        return False


def _parse_tensor_list(data: Bytes) -> Iterator[_Tensor]:
    """Decode the value of the empty key: a ``SavedTensorSliceMeta``.

    Raises:
        Malformed: it is not such a message; the tensor at fault is named.
    """
    for number, value in fields(message(dict(fields(data)).get(1, b""))):
        if number != 1:
            continue
        fields_of_tensor: dict[int, int | Bytes] = {}
        slices: list[Slice] = []
        for part, content in fields(message(value)):
            if part == 4:
                slices.append(parse_slice(message(content)))
            if len(slices) > MAX_SLICES:
                raise Malformed(f"over {MAX_SLICES:,} slices of one tensor")
            fields_of_tensor[part] = content
        name = text(fields_of_tensor.get(1, b""))
        try:
            dtype = parse_dtype(fields_of_tensor.get(3, 0))
            shape = parse_stored_shape(message(fields_of_tensor.get(2, b"")))
        except Malformed as error:
            raise Malformed(f"tensor {name!r}: {error}") from error
        yield _Tensor(name, dtype, shape, slices)


def _parse_slice_values(data: Bytes, tensor: _Tensor, part: Slice) -> np.ndarray:
    """Decode a ``SavedTensorSlices`` that must hold one slice of a tensor.

    Raises:
        Malformed: it is not such a message, holds another slice, or not as many
            values as the slice has.
    """
    content = dict(fields(message(dict(fields(data)).get(2, b""))))
    name, other = text(content.get(1, b"")), parse_slice(message(content.get(2, b"")))
    if (name, other) != (tensor.name, part):
        raise Malformed(f"it holds slice {describe(other)} of {name!r}")
    values, shape = message(content.get(3, b"")), slice_shape(part, tensor.shape)
    dtype, count = stored_dtype(tensor.dtype), math.prod(shape)
    if tensor.dtype == "string":
        array, place = np.empty(count, object), 0
        for place, string in enumerate(string_values(values), 1):
            if place <= count:
                array[place - 1] = string
    else:
        if count > len(values):
            raise Malformed(f"it holds {len(values):,} bytes for {count:,} values")
        array, place = np.empty(count, dtype), 0
        numbers = array.view(f"<f{dtype.itemsize // 2}") if dtype.kind == "c" else array
        for chunk in value_chunks(values, tensor.dtype):
            if place + len(chunk) <= len(numbers):
                numbers[place : place + len(chunk)] = chunk
            place += len(chunk)
        count = len(numbers)
    if place != count:
        raise Malformed(f"it holds {place:,} values, its slice has {count:,}")
    return array.reshape(shape)
