"""The checkpoint reader: named tensors out of either format, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from porting.errors import BadSource
from porting.sources.checkpoint.bundle import Bundle
from porting.sources.checkpoint.locate import Located, locate
from porting.sources.checkpoint.object_graph import GRAPH_KEY, full_names, not_weights, parse_graph
from porting.sources.checkpoint.slice_tables import SliceTables
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX, not_a_weight
from porting.sources.checkpoint.wire import Malformed
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
    takes; ``archive`` is the file that both were unpacked from, and ``shipped_in`` the
    folder with all that came in it. A tensor's bytes are touched, and their masked
    CRC32Cs verified, when it is read.

    Where ``tf.train.Checkpoint`` wrote it, a variable's name is what TensorFlow
    calls it, or its key where several are called so.
    """

    format = "checkpoint"

    def __init__(
        self, path: Path, located: Located, archive: Path | None = None,
        shipped_in: Path | None = None,
    ) -> None:  # fmt: skip
        self.path, self.prefix, self._archive = path, located.prefix, archive
        self.shipped_in = shipped_in
        self._store: Store = (
            SliceTables(located.tables) if located.tables else Bundle(located.prefix)
        )
        stored = self._store.tensors
        self._not_weights: dict[str, str] = {}
        names = self._read_graph() if GRAPH_KEY in stored else {}
        self._keys = {names.get(key, key): key for key in stored}
        self.tensors = {name: replace(stored[k], name=name) for name, k in self._keys.items()}
        averaged = any(name.endswith(EMA_SUFFIX) for name in self.tensors)
        self.weight_sets = ("ema", "raw") if averaged else ("raw",)

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and the shards, or the tables; of an archive, the archive itself."""
        return (self._archive,) if self._archive else self._store.files

    def not_a_weight(self, name: str) -> str | None:
        """By what the object graph says of it, else by its name."""
        return self._not_weights.get(name) or not_a_weight(name)

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
        return self._store.read(self._keys[name])

    def _read_graph(self) -> dict[str, str]:
        """Key -> name by the object graph, which also says what is no weight."""
        content = self._store.read(GRAPH_KEY)
        try:
            if content.shape != () or not isinstance(content[()], bytes):
                raise Malformed(f"it is of type {content.dtype} and shape {content.shape}")
            nodes = parse_graph(memoryview(content[()]))
        except Malformed as error:
            raise BadSource(
                f"{self._store.files[0]}: the object graph in {GRAPH_KEY} is damaged: {error}"
            ) from error
        names = full_names(nodes, self._store.tensors)
        self._not_weights = {names.get(key, key): why for key, why in not_weights(nodes).items()}
        return names
