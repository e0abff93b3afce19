"""From what a user names to the prefix of a checkpoint.

A checkpoint is several files with one prefix. It may be named by the prefix,
by one of the files, or by its directory.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from porting.errors import BadSource
from porting.sources.checkpoint.table import FOOTER, MAGIC

_DATA = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})")
_STATE = re.compile(r'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_STATE_LIMIT = 1 << 20


def looks_like_checkpoint(path: Path) -> bool:
    """Whether a path names a checkpoint in one of its forms, by what lies there."""
    if path.is_dir():
        return (path / "checkpoint").is_file() or any(path.glob("*.index"))
    if _index_of(path).is_file() or _DATA.fullmatch(path.name):
        return True
    if not path.is_file():
        return False
    return _ends_like_a_table(path) or path.suffix == ".index"


def locate(path: Path) -> Path:
    """The prefix: what ``tf.train.Saver.restore`` takes.

    Raises:
        BadSource: a directory holds no checkpoint, or more than one.
    """
    if path.is_dir():
        return _in_directory(path)
    if path.suffix == ".index":
        return path.with_suffix("")
    shard = _DATA.fullmatch(path.name)
    return path.with_name(shard[1]) if shard else path


def belongs_to_checkpoint(name: str) -> bool:
    """Whether a file of this name is part of a checkpoint."""
    return name == "checkpoint" or name.endswith(".index") or bool(_DATA.fullmatch(name))


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _ends_like_a_table(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            if path.stat().st_size < FOOTER:
                return False
            stream.seek(-8, 2)
            return int.from_bytes(stream.read(8), "little") == MAGIC
    except OSError:
        return False


def _in_directory(folder: Path) -> Path:
    state = folder / "checkpoint"
    if state.is_file():
        return _newest(state)
    prefixes = sorted(folder.glob("*.index"))
    if len(prefixes) == 1:
        return prefixes[0].with_suffix("")
    if prefixes:
        names = ", ".join(place.stem for place in prefixes)
        raise BadSource(f"{folder}: holds several checkpoints; name one of {names}")
    raise BadSource(
        f"{folder}: no checkpoint in this directory: neither a file named "
        "'checkpoint' nor an .index file"
    )


def _newest(state: Path) -> Path:
    """The prefix that a ``checkpoint`` file names, relative to its own folder."""
    with state.open("rb") as stream:
        text = stream.read(_STATE_LIMIT).decode("utf-8", errors="replace")
    found = _STATE.search(text)
    if found is None:
        raise BadSource(f"{state}: no line 'model_checkpoint_path: \"...\"' in it")
    prefix = state.parent / found[1]
    if _index_of(prefix).is_file():
        return prefix
    # The name may be of the machine that trained it.
    beside = state.parent / PurePosixPath(found[1]).name
    if _index_of(beside).is_file():
        return beside
    raise BadSource(f"{state}: names {found[1]!r}, but {_index_of(beside)} does not exist")
