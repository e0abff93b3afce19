"""The checkpoint reader: named tensors out of index and shards, without TensorFlow."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.checkpoint.entries import (
    SIZES,
    Entry,
    Header,
    Malformed,
    parse_entry,
    parse_header,
)
from porting.sources.checkpoint.locate import locate, looks_like_checkpoint
from porting.sources.checkpoint.table import Table, masked_crc32c
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX, not_a_weight
from porting.sources.extent import MOST_SIDES_READ, told
from porting.sources.source import Source, TensorInfo

__all__ = ["CheckpointSource", "looks_like_checkpoint", "open_checkpoint"]

MAX_SHARDS = 100_000
"""What five digits in a shard's name can count."""


def open_checkpoint(path: Path) -> CheckpointSource:
    """Open a checkpoint by prefix, ``.index``, shard or directory.

    Raises:
        BadSource: there is none, or it is damaged.
        UnsupportedSource: it is sound, but big-endian or compressed unusually.
    """
    return CheckpointSource(path, locate(path))


class CheckpointSource(Source):
    """A TensorFlow checkpoint of format V2, its shards mapped into memory.

    ``path`` is what the user named, ``prefix`` what ``tf.train.Saver.restore``
    takes; ``archive`` is the file that both were unpacked from. A tensor's bytes are
    touched, and its masked CRC32C verified, when it is read.
    """

    format = "checkpoint"

    def __init__(self, path: Path, prefix: Path, archive: Path | None = None) -> None:
        self.path, self.prefix, self._archive = path, prefix, archive
        self._index = self.prefix.with_name(self.prefix.name + ".index")
        header, self._entries = _read_index(self._index)
        self._shards = [
            self.prefix.with_name(f"{self.prefix.name}.data-{i:05d}-of-{header.shards:05d}")
            for i in range(header.shards)
        ]
        self._data = [_map(shard, self._index) for shard in self._shards]
        for name, entry in self._entries.items():
            self._check(name, entry)
        self.tensors = {name: _info(name, entry) for name, entry in self._entries.items()}
        averaged = any(name.endswith(EMA_SUFFIX) for name in self.tensors)
        self.weight_sets = ("ema", "raw") if averaged else ("raw",)

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and the shards; of an archive, the archive itself."""
        return (self._archive,) if self._archive else (self._index, *self._shards)

    def not_a_weight(self, name: str) -> str | None:
        """Optimizer slots and training steps are none."""
        return not_a_weight(name)

    def read(self, name: str) -> np.ndarray:
        """One tensor in TensorFlow's axis order, after its checksum has been verified.

        bfloat16 comes as float32; everything else as a view of the file.

        Raises:
            KeyError: no tensor has that name.
            BadSource: its bytes do not give the stored checksum.
            UnsupportedSource: it is partitioned, or not of numbers.
        """
        entry = self._entries[name]
        if len(entry.shape) > MOST_SIDES_READ:
            raise UnsupportedSource(
                f"{self.path}: tensor {name!r} has {len(entry.shape)} sides, at most "
                f"{MOST_SIDES_READ} are read"
            )
        if entry.slices or entry.dtype not in SIZES:
            kind = f"kept in {entry.slices} slices" if entry.slices else f"of type {entry.dtype}"
            raise UnsupportedSource(f"{self.path}: tensor {name!r} is {kind}, which is not read")
        shard = self._shards[entry.shard]
        raw = self._data[entry.shard][entry.offset : entry.offset + entry.size]
        found = masked_crc32c(raw)
        if found != entry.crc:
            raise BadSource(
                f"{shard}: tensor {name!r} at byte {entry.offset:,} is damaged: CRC32C of its "
                f"{entry.size:,} bytes is {found:#010x}, stored is {entry.crc:#010x}"
            )
        return _array(raw, entry)

    def _check(self, name: str, entry: Entry) -> None:
        if entry.slices:
            return
        if entry.shard >= len(self._shards):
            raise BadSource(
                f"{self._index}: tensor {name!r} lies in shard {entry.shard}, there are "
                f"{len(self._shards)}"
            )
        if entry.offset + entry.size > len(self._data[entry.shard]):
            raise BadSource(
                f"{self._index}: tensor {name!r} lies outside its shard "
                f"{self._shards[entry.shard].name}: {entry.size:,} bytes at {entry.offset:,}, the "
                f"file has {len(self._data[entry.shard]):,}"
            )
        expected = entry.expected_size
        if expected not in (None, entry.size):
            raise BadSource(
                f"{self._index}: tensor {name!r} of shape {entry.shape} and type {entry.dtype} "
                f"takes {told(expected)} bytes, its entry says {entry.size:,}"
            )


def _read_index(path: Path) -> tuple[Header, dict[str, Entry]]:
    try:
        table = Table(path.read_bytes(), path)
    except FileNotFoundError:
        raise BadSource(f"{path}: no such file; a checkpoint needs its .index") from None
    except OSError as error:
        raise BadSource(f"{path}: cannot be read: {error.strerror}") from error
    header: Header | None = None
    entries: dict[str, Entry] = {}
    for key, value in table.entries():
        try:
            if header is None and not key:
                header = parse_header(value)
            else:
                entries[key.decode("utf-8")] = parse_entry(value)
        except (Malformed, UnicodeDecodeError) as error:
            raise BadSource(f"{path}: entry {key!r} is damaged: {error}") from error
    if header is None or not 0 < header.shards <= MAX_SHARDS:
        found = "no header" if header is None else f"{header.shards:,} shards"
        raise BadSource(f"{path}: not a checkpoint's index: it has {found}")
    if header.big_endian:
        raise UnsupportedSource(f"{path}: was written on a big-endian machine, which is not read")
    return header, entries


def _map(shard: Path, index: Path) -> memoryview:
    try:
        with shard.open("rb") as stream:
            if shard.stat().st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise BadSource(
            f"{shard}: no such file; {index.name} says that the checkpoint has it "
            "(was it left behind in a copy?)"
        ) from None
    except OSError as error:
        raise BadSource(f"{shard}: cannot be read: {error.strerror}") from error


def _info(name: str, entry: Entry) -> TensorInfo:
    dtype = "float32" if entry.dtype == "bfloat16" else entry.dtype
    return TensorInfo(name, entry.shape, dtype, entry.dtype)


def _array(raw: memoryview, entry: Entry) -> np.ndarray:
    if entry.dtype == "bfloat16":
        # The upper half of a float32.
        wide = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(entry.shape)
    kind = np.dtype(entry.dtype).newbyteorder("<")
    return np.frombuffer(raw, kind).reshape(entry.shape)
