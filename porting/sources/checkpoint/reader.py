"""The checkpoint reader: named tensors out of either format, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from porting.sources.checkpoint.bundle import Bundle
from porting.sources.checkpoint.locate import Located, locate
from porting.sources.checkpoint.slice_tables import SliceTables
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX
from porting.sources.source import Source, TensorInfo


class Store(Protocol):
    """What either format comes down to: tensors by key."""

    files: tuple[Path, ...]

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What there is, by key."""

    def read(self, key: str) -> np.ndarray:
        """One tensor, after its checksums have been verified."""


def open_checkpoint(path: Path) -> CheckpointSource:
    """Open a checkpoint by prefix, ``.index``, shard, directory, or file of format V1.

    Raises:
        BadSource: there is none, or it is damaged.
        UnsupportedSource: it is sound, but big-endian or compressed unusually.
    """
    return CheckpointSource(path, locate(path))


class CheckpointSource(Source):
    """A TensorFlow checkpoint of format V1 or V2, its files mapped into memory.

    ``path`` is what the user named, ``prefix`` what ``tf.train.Saver.restore``
    takes; ``archive`` is the file that both were unpacked from. A tensor's bytes are
    touched, and their masked CRC32Cs verified, when it is read.
    """

    format = "checkpoint"

    def __init__(self, path: Path, located: Located, archive: Path | None = None) -> None:
        self.path, self.prefix, self._archive = path, located.prefix, archive
        self._store: Store = (
            SliceTables(located.tables) if located.tables else Bundle(located.prefix)
        )
        self.tensors = self._store.tensors
        averaged = any(name.endswith(EMA_SUFFIX) for name in self.tensors)
        self.weight_sets = ("ema", "raw") if averaged else ("raw",)

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and the shards, or the tables; of an archive, the archive itself."""
        return (self._archive,) if self._archive else self._store.files

    def read(self, name: str) -> np.ndarray:
        """One tensor in TensorFlow's axis order, after its checksums have been verified.

        Slices are put together; bfloat16 comes as float32, strings as bytes in
        an array of objects. What lies in one piece in format V2 is a view of the file.

        Raises:
            KeyError: no tensor has that name.
            BadSource: its bytes do not give the stored checksum.
            UnsupportedSource: it is of a type that is not read, or takes far
                more memory than its file.
        """
        return self._store.read(name)
