"""Sorted string tables and checkpoints made byte by byte.

Nothing of ``porting`` is used. Formats: LevelDB's ``table_format.md`` and
tensorflow/core ``tensor_bundle.proto``.
"""

from __future__ import annotations

import struct
from pathlib import Path

import google_crc32c
import numpy as np

MAGIC = 0xDB4775248B80FB57
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int8": 6, "int64": 9, "bool": 10, "string": 7,
          "bfloat16": 14, "float16": 19, "resource": 20}  # fmt: skip


def index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def shard_of(prefix: Path, number=0, shards=1) -> Path:
    return prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{shards:05d}")


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def block(pairs, restart_every=3) -> bytes:
    """A block's content, with prefix compression."""
    out, restarts, last = b"", [], b""
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def stored(content: bytes, kind: int = 0) -> bytes:
    """A block as it lies in the file, with type and checksum."""
    return content + bytes([kind]) + struct.pack("<I", masked(content + bytes([kind])))


def table(pairs, per_block=4, compress=None) -> bytes:
    """A whole table; ``compress`` turns a block's content into its compressed form."""
    out, index = b"", []
    pairs = list(pairs)
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        content = block(part)
        raw = stored(compress(content), 1) if compress else stored(content)
        index.append((part[-1][0], varint(len(out)) + varint(len(raw) - 5)))
        out += raw
    meta = stored(block([]))
    meta_at = len(out)
    out += meta
    listing = stored(block(index, 1))
    listing_at = len(out)
    out += listing
    footer = varint(meta_at) + varint(len(meta) - 5)
    footer += varint(listing_at) + varint(len(listing) - 5)
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def field(number: int, value) -> bytes:
    """A protocol buffer field: a number, or bytes for a message."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def shape_proto(shape) -> bytes:
    """A ``TensorShapeProto``."""
    return b"".join(field(2, field(1, side)) for side in shape)


def entry(dtype, shape, shard, offset, size, crc, slices=()) -> bytes:
    """A ``BundleEntryProto``; the checksum is a fixed32."""
    out = field(1, DTYPES[dtype]) + field(2, shape_proto(shape)) + field(3, shard)
    out += field(4, offset) + field(5, size) + varint(6 << 3 | 5) + struct.pack("<I", crc)
    return out + b"".join(field(7, slice_proto(part)) for part in slices)


def slice_proto(part) -> bytes:
    """A ``TensorSliceProto``: (start, length) along each axis, None for all of it."""
    extents = (b"" if e is None else field(1, e[0]) + field(2, e[1]) for e in part)
    return b"".join(field(1, extent) for extent in extents)


def slice_key(name: str, part) -> bytes:
    """The key of a slice, for starts and lengths below 64: one byte each in ordered code."""
    numbers = b"".join(
        b"\x80\x7f" if e is None else bytes([0x80 + e[0], 0x80 + e[1]]) for e in part
    )
    axes = bytes([1, len(part)]) if part else b"\0"
    return b"\0" + name.encode() + b"\0\1" + axes + numbers


def cut_out(values: np.ndarray, part) -> np.ndarray:
    """The values of a slice."""
    return values[tuple(slice(None) if e is None else slice(e[0], sum(e)) for e in part)]


def string_bytes(*strings: bytes) -> tuple[bytes, int]:
    """Strings as a bundle keeps them, and their masked checksum."""
    lengths = b"".join(len(s).to_bytes(4, "little") for s in strings)
    check = masked(lengths).to_bytes(4, "little")
    raw = b"".join(varint(len(s)) for s in strings) + check + b"".join(strings)
    return raw, masked(lengths + check + b"".join(strings))


def header(shards: int, endianness: int = 0) -> bytes:
    """A ``BundleHeaderProto``."""
    return field(1, shards) + (field(2, endianness) if endianness else b"")


def write_checkpoint(prefix: Path, tensors: dict[str, np.ndarray], shards=1, change=None,
                     compress=None, parts=None) -> None:  # fmt: skip
    """Write a checkpoint. ``change(key, numbers)`` may alter an entry's numbers to spoil it.

    ``parts`` lists, by name, the slices in which a tensor is kept; where ``change``
    returns None, the entry is left out.
    """
    data = [bytearray() for _ in range(shards)]
    pairs = [(b"", header(shards))]
    for number, (key, values, slices) in enumerate(
        sorted(_pieces(tensors, parts or {}), key=lambda p: p[0])
    ):
        raw, shard = b"" if slices else values.tobytes(), number % shards
        numbers = {
            "dtype": values.dtype.name,
            "shape": values.shape,
            "shard": shard,
            "offset": len(data[shard]),
            "size": len(raw),
            "crc": masked(raw),
            "slices": slices,
        }
        if change is not None:
            numbers = change(key.decode("latin-1"), numbers)
        if numbers is not None:
            pairs.append((key, entry(**numbers)))
        data[shard] += raw
    index_of(prefix).write_bytes(table(pairs, compress=compress))
    for shard, content in enumerate(data):
        shard_of(prefix, shard, shards).write_bytes(content)


def _pieces(tensors, parts):
    """Key, values and slices of every entry; a slice is an entry of its own."""
    for name, values in tensors.items():
        slices = parts.get(name, ())
        yield name.encode(), values, slices
        for part in slices:
            yield slice_key(name, part), np.ascontiguousarray(cut_out(values, part)), ()
