"""The checkpoint reader: from the path that a user names to tensors, without TensorFlow.

A checkpoint is several files with one prefix, or, in format V1, one file or several numbered
ones. It may be named by the prefix, by one of the files, or by its directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from porting.errors import BadSource
from porting.sources.archive import Display, UnpackedArchive
from porting.sources.checkpoint.format_v1 import FormatV1, ends_like_a_table, looks_like_v1
from porting.sources.checkpoint.format_v2 import FormatV2
from porting.sources.checkpoint.weight_sets import (
    EMA_SUFFIX,
    GRAPH_KEY,
    Node,
    full_names,
    not_a_weight,
    not_weights,
    parse_object_graph,
)
from porting.sources.protobuf import Malformed
from porting.sources.source import Source

_SHARD = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})")
_PART_NAME = re.compile(r"(.+)-(?:\d{5}|\?{5})-of-(\d{5})")
_STATE = re.compile(r'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_STATE_LIMIT = 1 << 20


@dataclass(frozen=True)
class CheckpointFiles:
    """``prefix`` is what ``tf.train.Saver.restore`` takes; ``tables`` the files of format V1."""

    prefix: Path
    tables: tuple[Path, ...] = ()


def looks_like_checkpoint(path: Path) -> bool:
    """Whether a path names a checkpoint in one of its forms, by the files that exist."""
    if path.is_dir():
        return (path / "checkpoint").is_file() or any(_in_directory(path))
    if _index_of(path).is_file() or _SHARD.fullmatch(path.name) or _numbered_files(path):
        return True
    if not path.is_file():
        return False
    return path.suffix == ".index" or ends_like_a_table(path) or looks_like_v1(path)


def belongs_to_checkpoint(name: str) -> bool:
    """Whether a file of this name is part of a checkpoint, of format V2 or numbered."""
    return name == "checkpoint" or name.endswith(".index") or bool(_SHARD.fullmatch(name))


def locate(path: Path, display: Display = Path) -> CheckpointFiles:
    """The checkpoint that a path names; messages call files as ``display`` has them.

    Raises:
        BadSource: a directory holds no checkpoint, or more than one.
    """
    if path.is_dir():
        return _only_one_in(path, display)
    if path.suffix == ".index":
        return CheckpointFiles(path.with_suffix(""))
    if shard := _SHARD.fullmatch(path.name):
        return CheckpointFiles(path.with_name(shard[1]))
    tables = (path,) if ends_like_a_table(path) else ()
    return _at_prefix(path, display) or CheckpointFiles(path, tables)


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _at_prefix(prefix: Path, display: Display) -> CheckpointFiles | None:
    """The checkpoint whose files have a prefix."""
    if _index_of(prefix).is_file():
        return CheckpointFiles(prefix)
    if several := _numbered_files(prefix, display):
        return several
    return CheckpointFiles(prefix, (prefix,)) if looks_like_v1(prefix) else None


def _numbered_files(path: Path, display: Display = Path) -> CheckpointFiles | None:
    """The files ``path-00000-of-00002`` and so on, or those that ``path`` is one of."""
    one_of = _PART_NAME.fullmatch(path.name)
    stem = one_of[1] if one_of else path.name
    counts = {
        match[2]
        for file in _files_in(path.parent)
        if (match := _PART_NAME.fullmatch(file.name)) and match[1] == stem and looks_like_v1(file)
    }
    if one_of:
        counts &= {one_of[2]}
    if not counts:
        return None
    if len(counts) > 1:
        totals = " and of ".join(sorted(counts))
        raise BadSource(f"{display(path)}: files numbered of {totals}; name one")
    count = counts.pop()
    files = (path.with_name(f"{stem}-{i:05d}-of-{count}") for i in range(int(count)))
    return CheckpointFiles(path.with_name(f"{stem}-?????-of-{count}"), tuple(files))


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _in_directory(folder: Path, display: Display = Path) -> Iterator[CheckpointFiles]:
    """The checkpoints in a directory, by name."""
    prefixes = set()
    for file in _files_in(folder):
        checkpoint = None
        if file.suffix == ".index":
            checkpoint = CheckpointFiles(file.with_suffix(""))
        elif looks_like_v1(file):
            checkpoint = _numbered_files(file, display) or CheckpointFiles(file, (file,))
        if checkpoint is not None and checkpoint.prefix not in prefixes:
            prefixes.add(checkpoint.prefix)
            yield checkpoint


def _only_one_in(folder: Path, display: Display) -> CheckpointFiles:
    """The newest checkpoint of a directory by its ``checkpoint`` file, else the only one."""
    state = folder / "checkpoint"
    if not state.is_file() or looks_like_v1(state):
        checkpoints = list(_in_directory(folder, display))
        if len(checkpoints) == 1:
            return checkpoints[0]
        if checkpoints:
            names = ", ".join(checkpoint.prefix.name for checkpoint in checkpoints)
            raise BadSource(f"{display(folder)}: holds several checkpoints; name one of {names}")
        raise BadSource(
            f"{display(folder)}: no checkpoint in this directory: neither a file named "
            "'checkpoint', nor an .index file, nor one of format V1"
        )
    with state.open("rb") as stream:
        text = stream.read(_STATE_LIMIT).decode("utf-8", errors="replace")
    line = _STATE.search(text)
    if line is None:
        raise BadSource(f"{display(state)}: no line 'model_checkpoint_path: \"...\"' in it")
    # The name is relative to the folder, or of the machine that trained the network.
    beside = folder / PurePosixPath(line[1]).name
    for prefix in (folder / line[1], beside):
        if checkpoint := _at_prefix(prefix, display):
            return checkpoint
    index = display(_index_of(beside))
    raise BadSource(f"{display(state)}: names {line[1]!r}, but {index} does not exist")


def read_object_graph(store: FormatV1 | FormatV2, display: Display = Path) -> list[Node]:
    """The object graph that a checkpoint of TensorFlow 2 holds under :data:`GRAPH_KEY`.

    Raises:
        BadSource: it is damaged.
    """
    content = store.read(GRAPH_KEY)
    try:
        if content.shape != () or not isinstance(content[()], bytes):
            raise Malformed(f"it is of type {content.dtype} and shape {content.shape}")
        return parse_object_graph(memoryview(content[()]))
    except Malformed as error:
        raise BadSource(
            f"{display(store.files[0])}: the object graph in {GRAPH_KEY} is damaged: {error}"
        ) from error


class CheckpointSource(Source):
    """A TensorFlow checkpoint of format V1 or V2, its files mapped into memory.

    ``prefix`` is what ``tf.train.Saver.restore`` takes. A tensor's bytes are touched, and their
    masked CRC32Cs verified, when it is read.

    Where ``tf.train.Checkpoint`` wrote it, a variable's name is what TensorFlow
    calls it, or its key where several have one name. ``weight_set`` is what the weights are called
    where no averages are beside them.

    Raises:
        BadSource: there is none, or it is damaged.
        UnsupportedSource: it is sound, but big-endian or compressed unusually.
    """

    format = "checkpoint"

    def __init__(
        self, path: Path, files: CheckpointFiles | None = None,
        archive: UnpackedArchive | None = None, weight_set: str = "raw",
    ) -> None:  # fmt: skip
        files = files or locate(path)
        self.path, self.prefix, self.archive = path, files.prefix, archive
        display: Display = archive.display if archive else Path
        self._store: FormatV1 | FormatV2 = (
            FormatV1(files.tables, display) if files.tables else FormatV2(files.prefix, display)
        )
        infos = self._store.tensors
        names: dict[str, str] = {}
        self._not_weights: dict[str, str] = {}
        if GRAPH_KEY in infos:
            nodes = read_object_graph(self._store, display)
            names = full_names(nodes, infos)
            self._not_weights = {names.get(k, k): why for k, why in not_weights(nodes).items()}
        self._keys = {names.get(key, key): key for key in infos}
        self.tensors = {name: replace(infos[k], name=name) for name, k in self._keys.items()}
        has_averages = any(name.endswith(EMA_SUFFIX) for name in self.tensors)
        self.weight_sets = ("ema", "raw") if has_averages else (weight_set,)

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and the shards, or the tables; of an archive, the archive itself."""
        return (self.archive.file,) if self.archive else self._store.files

    def not_a_weight(self, name: str) -> str | None:
        """The rule by which a tensor is left out: by the object graph, else by its name."""
        return self._not_weights.get(name) or not_a_weight(name)

    def read(self, name: str) -> np.ndarray:
        """One tensor in TensorFlow's axis order, after its checksums have been verified.

        Slices are joined; bfloat16 comes as float32, strings as bytes in an array of
        objects. What lies in one piece in format V2 is a view of the file.

        Raises:
            KeyError: no tensor has that name.
            BadSource: its bytes do not have the stored checksum.
            UnsupportedSource: it is of a type that is not read, or takes far
                more memory than its file.
        """
        return self._store.read(self._keys[name])
